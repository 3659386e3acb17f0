package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/zinit/zinit/applets"
	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/rpc"
)

// appletNames are the names under which the test binary is the program itself, so that the scripts run the true applets.
var appletNames = []string{"zinit", "zinit-server", "zinit-pid1", applets.Trampoline, "reboot", "poweroff", "halt", "shutdown"}

func TestMain(m *testing.M) {
	commands := map[string]func(){}
	for _, name := range appletNames {
		commands[name] = func() { os.Exit(applets.Main(os.Args)) }
	}
	testscript.Main(m, commands)
}

// TestScript runs testdata/script/*.txtar: the client and a real server with real processes. New goldens:
// UPDATE_SCRIPTS=1 go test -run TestScript/NAME .
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") == "1",
		Deadline:            time.Now().Add(5 * time.Minute),
		Setup: func(env *testscript.Env) error {
			env.Setenv("ZINIT_SOCKET", filepath.Join(env.WorkDir, "s.sock"))
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("ZINIT_STATE_DIR", filepath.Join(env.WorkDir, "state"))
			env.Setenv("TZ", "UTC")
			env.Setenv("NO_COLOR", "")
			return nil
		},
		Condition: scriptCondition,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"await-server": cmdAwaitServer,
			"await":        cmdAwait,
			"await-line":   cmdAwaitLine,
			"await-log":    cmdAwaitLog,
			"rpc":          cmdRPC,
			"sig":          cmdSig,
			"normalise":    cmdNormalise,
			"code":         cmdCode,
		},
	})
}

func scriptCondition(name string) (bool, error) {
	switch name {
	case "root":
		return os.Geteuid() == 0, nil
	case "cgroup2":
		_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
		return err == nil, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// scriptPatience is how long a script waits for what must happen.
const scriptPatience = 15 * time.Second

// eventually calls try until it is content, and fails with the last reason when that takes too long.
func eventually(ts *testscript.TestScript, what string, try func() error) {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.Now().Add(scriptPatience)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s: %v", what, err)
		}
		<-ticker.C
	}
}

func scriptClient(ts *testscript.TestScript) (*rpc.Client, error) {
	return rpc.Dial(context.Background(), ts.Getenv("ZINIT_SOCKET"))
}

func mustClient(ts *testscript.TestScript) *rpc.Client {
	client, err := scriptClient(ts)
	ts.Check(err)
	return client
}

// cmdAwaitServer waits until a server answers.
func cmdAwaitServer(ts *testscript.TestScript, neg bool, args []string) {
	eventually(ts, "await-server", func() error {
		client, err := scriptClient(ts)
		if err != nil {
			return err
		}
		defer client.Close() //nolint:errcheck // nothing is left to send
		_, err = client.Ping(context.Background())
		return err
	})
}

// cmdAwait is `await STATE NAME...`: waits until the services are in a state.
func cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || neg {
		ts.Fatalf("usage: await STATE NAME...")
	}
	client := mustClient(ts)
	defer client.Close() //nolint:errcheck // nothing is left to send
	for _, name := range args[1:] {
		eventually(ts, "await "+args[0]+" "+name, func() error {
			status, err := client.Status(context.Background(), name)
			if err == nil && status.State != args[0] {
				err = fmt.Errorf("it is %s %s", status.State, status.Error)
			}
			return err
		})
	}
}

// cmdAwaitLine is `await-line FILE REGEX`: waits until a file has a matching line.
func cmdAwaitLine(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 || neg {
		ts.Fatalf("usage: await-line FILE REGEX")
	}
	pattern := regexp.MustCompile("(?m)" + args[1])
	eventually(ts, "await-line "+args[0], func() error {
		data, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && !pattern.Match(data) {
			err = fmt.Errorf("no line matches %s in:\n%s", args[1], data)
		}
		return err
	})
}

// cmdAwaitLog is `await-log NAME REGEX`: waits until a service has written a matching line.
func cmdAwaitLog(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 || neg {
		ts.Fatalf("usage: await-log NAME REGEX")
	}
	client := mustClient(ts)
	defer client.Close() //nolint:errcheck // nothing is left to send
	eventually(ts, "await-log "+args[0], func() error {
		lines, err := client.Logs(context.Background(), rpc.LogQuery{Names: args[:1], Lines: 1, Grep: args[1]})
		if err == nil && len(lines) == 0 {
			err = fmt.Errorf("no line matches %s", args[1])
		}
		return err
	})
}

// cmdRPC is `rpc METHOD [PARAMS]`: prints the result as compact JSON; with ! it must fail and the error is printed.
func cmdRPC(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: rpc METHOD [PARAMS]")
	}
	client := mustClient(ts)
	defer client.Close() //nolint:errcheck // nothing is left to send
	var params any
	if len(args) == 2 {
		params = json.RawMessage(args[1])
	}
	var result json.RawMessage
	err := client.Call(context.Background(), args[0], params, &result)
	switch {
	case neg && err == nil:
		ts.Fatalf("rpc %s succeeded: %s", args[0], result)
	case neg:
		_, _ = fmt.Fprintln(ts.Stdout(), err)
	default:
		ts.Check(err)
		_, _ = fmt.Fprintf(ts.Stdout(), "%s\n", result)
	}
}

// cmdSig is `sig SIGNAL NAME`: sends a signal to the main process of a service, past the server.
func cmdSig(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 || neg {
		ts.Fatalf("usage: sig SIGNAL NAME")
	}
	signal, err := graph.ParseSignal(args[0])
	ts.Check(err)
	client := mustClient(ts)
	defer client.Close() //nolint:errcheck // nothing is left to send
	status, err := client.Status(context.Background(), args[1])
	ts.Check(err)
	if status.PID <= 1 {
		ts.Fatalf("%s has no process: it is %s", args[1], status.State)
	}
	ts.Check(syscall.Kill(status.PID, syscall.Signal(signal)))
}

// changing are the parts of an output that differ from run to run, and what stands for them in a golden file.
var changing = []struct {
	pattern *regexp.Regexp
	stand   string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?`), "TIME"},
	{regexp.MustCompile(`\b\d\d:\d\d:\d\d\.\d{3}\b`), "TIME"},
	{regexp.MustCompile(`\b(pid|PID)([ =:]+)\d+`), "${1}${2}N"},
	{regexp.MustCompile(`("(?:pid|ppid|incarnation)": ?)[1-9]\d*`), "${1}N"},
	{regexp.MustCompile(`("[a-z_]+_ms": ?)\d+`), "${1}T"},
	{regexp.MustCompile(`("(?:memory_bytes|cpu_percent)": ?)[\d.e+-]+`), "${1}N"},
	{regexp.MustCompile(`\b\d+(\.\d+)?(ms|s|m\d\ds|h\d\dm|d\d\dh)\b`), "T"},
	{regexp.MustCompile(`\b\d+ (ms|s|min|h|d)\b( \d+ (s|min|h))?`), "T"},
	{regexp.MustCompile(`\b\d+(\.\d+)?[KMGT]\b|\b\d+B\b`), "SIZE"},
	{regexp.MustCompile(`\b\d+(\.\d+)?%`), "P%"},
	{regexp.MustCompile(`(?m)^(\[.\]  \S+ +[a-z]+(?: \d+)?)  +(\d+|-)  +(T|-)  +`), "$1  $2  $3  "},
	{regexp.MustCompile(`(?m)^(\[.\]  \S+ +[a-z]+(?: \d+)?  )\d+  `), "${1}N  "},
	{regexp.MustCompile(`(?m)^( +NAME +STATE) +PID +UPTIME +`), "$1  PID  UPTIME  "},
	{regexp.MustCompile(`processes +PID +MEMORY +CPU TIME`), "processes  PID  MEMORY  CPU TIME"},
	{regexp.MustCompile(`(?m)^ +\d+ +(SIZE) +(T) +`), "             N  $1  $2  "},
	{regexp.MustCompile(`(cgroup )/\S+|process group and /proc\S*.*`), "TRACKING"},
}

// cmdNormalise is `normalise FROM TO`: FROM is a file, stdout or stderr.
func cmdNormalise(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 || neg {
		ts.Fatalf("usage: normalise FROM TO")
	}
	text := strings.ReplaceAll(ts.ReadFile(args[0]), ts.Getenv("WORK"), "$WORK")
	for _, c := range changing {
		text = c.pattern.ReplaceAllString(text, c.stand)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o644))
}

// cmdCode is `code N COMMAND...`: runs a command that must end with exit code N. Its output is stdout and stderr.
func cmdCode(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || neg {
		ts.Fatalf("usage: code N COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("code: %v", err)
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("%s ended with %d, want %s", strings.Join(args[1:], " "), code, args[0])
	}
}
