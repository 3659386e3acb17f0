package conform_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/rpc/conform"
)

const data = "../../testdata"

// TestReplay plays every recorded scenario against the real binary. What differs from 0.3.9 must stand in
// DIFFERENCES.md, and every row there must still explain something.
func TestReplay(t *testing.T) {
	table, err := conform.LoadDifferences(filepath.Join(data, "conform/DIFFERENCES.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, scenario := range []string{"basic", "errors", "framing", "logs"} {
		t.Run(scenario, func(t *testing.T) {
			want, err := conform.Load(filepath.Join(data, "wire/transcripts", scenario+".jsonl"))
			if err != nil {
				t.Fatal(err)
			}
			got := replay(t, scenario)
			for _, open := range table.Explain(scenario, conform.Compare(want, got)) {
				t.Errorf("not explained: %v", open)
			}
		})
	}
	for _, known := range table {
		if known.Hits == 0 && !t.Failed() {
			t.Errorf("%s explains nothing any more: remove it", known.ID)
		}
	}
}

// replay starts a server on the scenario's files and plays its steps.
func replay(t *testing.T, scenario string) []conform.Line {
	t.Helper()
	run := t.TempDir()
	files := map[string]string{}
	source := filepath.Join(data, "wire/cfg", scenario)
	entries, err := os.ReadDir(filepath.Join(source, "services"))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		text, err := os.ReadFile(filepath.Join(source, "services", entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[entry.Name()] = conform.Replace(string(text), map[string]string{"RUN": run})
	}
	server := testkit.Start(t, files, testkit.Options{Args: []string{"--log-level", "debug"}})
	steps, err := conform.LoadSteps(filepath.Join(source, "steps.json"), map[string]string{"RUN": run, "CFG": server.Dir})
	if err != nil {
		t.Fatal(err)
	}
	player := conform.Player{Socket: server.Socket, Timeout: 2 * time.Second, Sleep: pause, Shell: func(command string) error {
		shell := exec.Command("sh", "-c", command)
		shell.Dir = run
		shell.Env = append(os.Environ(), "RUN="+run, "CFG="+server.Dir, "SOCK="+server.Socket)
		_ = shell.Run() // the recording tool did not look at the outcome either
		return nil
	}}
	lines, err := player.Play(steps)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// pause waits as long as the recording waited between its steps: what the services do meanwhile is part of the scenario.
func pause(seconds float64) {
	timer := time.NewTimer(time.Duration(seconds * float64(time.Second)))
	<-timer.C
}
