package e2e

import (
	"strings"
	"testing"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
)

// TestWithoutDevNull: where there is no /dev, or a file in the place of /dev/null, standard input of services, hooks and
// checks is the end of an empty pipe: open, and at its end.
func TestWithoutDevNull(t *testing.T) {
	need.Root(t)
	unshare := need.Program(t, "unshare")
	for _, null := range []string{"true", "echo something >/dev/null"} {
		s := testkit.Start(t, map[string]string{
			"one.toml": service("one", "exec = '''[ -p /dev/stdin ] || [ -p /proc/self/fd/0 ]; echo pipe $?; cat; echo end $?; sleep 100000'''\n"+
				"pre_start = \"cat && echo hook ended\"\n"),
			"ready.toml": service("ready", sleeper+"[health]\ntype = \"exec\"\ntarget = \"cat\"\ninterval_ms = 20\n"),
		}, testkit.Options{Under: []string{unshare, "--mount", "--fork", "sh", "-c",
			"mount -t tmpfs none /dev && { " + null + "; } && exec \"$@\"", "sh"}})
		c := s.Client()
		s.AwaitState(c, "ready", "running")
		for _, line := range []string{"hook ended", "pipe 0", "end 0"} {
			s.Await(line, hasLine(s, "one", line))
		}
		if out, _, _ := s.Zinit("logs", "one"); strings.Contains(out, "something") {
			t.Errorf("it reads what is in the file:\n%s", out)
		}
	}
}
