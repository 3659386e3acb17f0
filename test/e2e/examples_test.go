package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zinit/zinit/internal/testkit"
)

// example builds a program of testdata/examples.
func example(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	cmd := exec.Command("go", "build", "-o", path, "./testdata/examples/"+name)
	cmd.Dir = testkit.Root()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// outcome runs a program to its end.
func outcome(path string, args ...string) (code int, stdout, stderr string) {
	cmd := exec.Command(path, args...)
	var out, err strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &err
	_ = cmd.Run()
	return cmd.ProcessState.ExitCode(), out.String(), err.String()
}

// TestExampleDeploy: a program on rpc.Client restarts two services, and tells why the third does not come back.
func TestExampleDeploy(t *testing.T) {
	deploy := example(t, "deploy")
	flag := filepath.Join(t.TempDir(), "good")
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := testkit.Start(t, map[string]string{
		"db.toml":  "[service]\nname = \"db\"\nexec = \"sleep 1000\"\n",
		"api.toml": "[service]\nname = \"api\"\nexec = \"sleep 1000\"\n[dependencies]\nrequires = [\"db\"]\n",
		"bad.toml": "[service]\nname = \"bad\"\noneshot = true\nexec = \"sh -c 'test -e " + flag + " || { echo no flag; exit 3; }'\"\n" +
			"[lifecycle]\nrestart = \"never\"\n",
	}, testkit.Options{})
	code, stdout, stderr := outcome(deploy, "-s", s.Socket, "db", "api")
	if code != 0 || stdout != "db runs\napi runs\n" {
		t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if err := os.Remove(flag); err != nil {
		t.Fatal(err)
	}
	code, _, stderr = outcome(deploy, "-s", s.Socket, "bad", "api")
	if code != 1 || !strings.Contains(stderr, "bad did not come back") || !strings.Contains(stderr, "| no flag") {
		t.Errorf("code %d, stderr %q", code, stderr)
	}
	if code, _, stderr = outcome(deploy, "-s", s.Socket, "nosuch"); code != 1 || !strings.Contains(stderr, "nosuch") {
		t.Errorf("code %d, stderr %q", code, stderr)
	}
	if code, _, _ = outcome(deploy, "-s", filepath.Join(t.TempDir(), "none"), "db"); code != 69 {
		t.Errorf("without a server: code %d", code)
	}
}

// TestExampleBlackbox: a program on logring keeps the last lines of what it runs.
func TestExampleBlackbox(t *testing.T) {
	blackbox := example(t, "blackbox")
	if code, stdout, stderr := outcome(blackbox, "sh", "-c", "echo hello; echo there >&2"); code != 0 || stdout+stderr != "" {
		t.Errorf("a command that ends well: code %d, %q %q", code, stdout, stderr)
	}
	code, _, stderr := outcome(blackbox, "-n", "2", "sh", "-c", "for i in 1 2 3 4 5; do echo line $i; done; exit 7")
	if code != 7 || !strings.Contains(stderr, "(3 earlier lines are not kept)") || !strings.Contains(stderr, "| line 5") ||
		strings.Contains(stderr, "line 3") {
		t.Errorf("code %d, stderr %q", code, stderr)
	}
	if code, _, stderr = outcome(blackbox, "sh", "-c", "kill -KILL $$"); code != 128+9 || !strings.Contains(stderr, "killed") {
		t.Errorf("killed: code %d, stderr %q", code, stderr)
	}
	if code, _, _ = outcome(blackbox, "/nonexistent/program"); code != 127 {
		t.Errorf("not there: code %d", code)
	}
}
