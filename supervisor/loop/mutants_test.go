package loop

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

var simMutants = flag.Bool("mutants", false, "let TestSimMutants build the loop with each planted bug")

// mutants are bugs of the loop: in a file one text in place of another. The first three are those that the simulator found (at worlds 12902, 2977, 1240).
var mutants = []struct{ name, file, right, wrong string }{
	{"a number is free before the keeper lets go of it", "child.go", "			_ = d.keeper.Untrack(c.pid)\n		}\n		_ = d.keeper.Track", "		}\n		_ = d.keeper.Track"},
	{"a survivor that has ended becomes the main process", "reap.go", "return !d.isThere(p) })", "return false })"},
	{"a pid that was found is not written down", "restore.go", "		d.diary.run(c) // this server", "		// this server"},
	{"an exit before its start's answer is forgotten", "driver.go", "if len(d.children.early) > 0 {", "if false {"},
	{"an exit before its start's answer is an orphan's", "reap.go", "			d.children.early[e.PID] = e\n", "			d.world.Reap(e.PID)\n"},
	{"an exit is acknowledged before the journal has it", "reap.go", "	d.mainsExited([]*ending{end})\n}", "	d.acknowledge(end)\n	d.mainsExited([]*ending{end})\n}"},
	{"a start is not written down", "child.go", "	d.diary.run(c)\n	fault.Here(\"spawned\")", "	fault.Here(\"spawned\")"},
	{"a tree is let go of while it lives", "trees.go", "alive[c.gen] == Lifeless:", "true:"},
	{"a pid file that hangs is waited for", "reap.go", "late := d.world.After(pidFilePatience,", "late := d.world.After(1000*pidFilePatience,"},
	{"what is shown lags behind", "driver.go", "	if len(d.touched) > 0 || d.allDirty {", "	if len(d.touched) > 1 || d.allDirty {"},
	{"the lost of the time between are not let go of", "begin.go", "	for _, c := range d.lost {\n		d.settleLost(c)\n	}\n", ""},
}

// TestSimMutants builds the loop with each planted bug: the simulator must find it.
func TestSimMutants(t *testing.T) {
	for _, m := range mutants {
		text, err := os.ReadFile(m.file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(string(text), m.right) != 1 {
			t.Errorf("%s: %s does not have %q once: the bug must be planted elsewhere", m.name, m.file, m.right)
			continue
		}
		if !*simMutants {
			continue // they are still where they are planted; each takes a build
		}
		t.Run(m.name, func(t *testing.T) { find(t, m.file, strings.Replace(string(text), m.right, m.wrong, 1)) })
	}
}

// find runs the simulator with a changed file.
func find(t *testing.T, file, text string) {
	dir := t.TempDir()
	changed := filepath.Join(dir, file)
	if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	here, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	overlay, _ := json.Marshal(map[string]map[string]string{"Replace": {here: changed}})
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "test", "-vet=off", "-overlay", list, "-run", "TestSim$", "-worlds", strconv.Itoa(*simSeeds), ".").CombinedOutput()
	switch {
	case err == nil:
		t.Errorf("not found within %d worlds", *simSeeds)
	case !strings.Contains(string(out), "world "):
		t.Errorf("it cannot be built: %s", out)
	default:
		found := string(out)
		found = found[strings.Index(found, "world "):]
		t.Log(found[:strings.Index(found, "\n")])
	}
}
