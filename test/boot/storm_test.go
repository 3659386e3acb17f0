package boot

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit"
)

var (
	stormKills = flag.Int("storm-kills", 300, "how often the server is killed in the storm inside of a machine")
	stormTime  = flag.Duration("storm-time", 100*time.Second, "for how long at most after the first 25; a busy host has no time for all of them")
	stormSeed  = flag.Uint64("storm-seed", 1, "seed of the times between two kills")
)

// TestStorm is the kill storm of test/survival with the binary as /init: an initramfs that holds nothing but it and one
// static program, which plays the services, kills the server, and checks.
func TestStorm(t *testing.T) {
	t.Parallel()
	helper, config := stormHelper(t)
	config["services/storm.toml"] = fmt.Sprintf("[service]\nname = \"storm\"\noneshot = true\nexec = [\"/bin/storm\", \"-kills\", \"%d\", \"-for\", \"%s\", \"-seed\", \"%d\"]\n"+
		"[lifecycle]\nrestart = \"never\"\n", *stormKills, *stormTime, *stormSeed)
	i := image{config: config, add: []string{helper + ":/bin/storm"}}
	m := boot(t, i.build(t), "quiet zinit.log=error", "-m", "256")
	m.say("STORM: begins")
	m.say("STORM: killed 25 within") // each of these has its own patience
	m.say("STORM: kills end")
	m.say("STORM: ended\n")
	if !strings.Contains(m.text(), "STORM: passed\n") {
		t.Error("something was lost, see the console")
	}
	for _, line := range regexp.MustCompile(`(?m)^STORM: .*$`).FindAllString(m.text(), -1) {
		t.Log(line)
	}
	m.press("ctrl-alt-delete")
	m.ends(restarted)
}

// stormHelper builds the program that runs the storm and asks it for the services.
func stormHelper(t *testing.T) (helper string, config map[string]string) {
	t.Helper()
	dir := t.TempDir()
	helper = filepath.Join(dir, "storm")
	build := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-ldflags", "-s -w", "-o", helper, "./test/survival/storm/guest")
	build.Dir = testkit.Root()
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the storm: %v\n%s", err, out)
	}
	if out, err := exec.Command(helper, "-write", dir+"/services").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	files, err := filepath.Glob(dir + "/services/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d service files, %v", len(files), err)
	}
	config = map[string]string{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		config["services/"+filepath.Base(file)] = string(b)
	}
	return helper, config
}
