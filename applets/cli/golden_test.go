package cli

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zinit/zinit/rpc/wire"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("no golden file (go test ./applets/cli -update): %v", err)
	}
	if got != string(want) {
		t.Errorf("%s differs\n--- want\n%s--- got\n%s", name, want, got)
	}
}

func ptr[T any](v T) *T { return &v }

// noon is the clock of the golden files.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(before time.Duration) string { return noon.Add(-before).Format(time.RFC3339Nano) }

func exampleList() []wire.Listed {
	return []wire.Listed{
		{Name: "api", State: wire.State{State: "running", PID: ptr(1234)}, UptimeMS: ptr(int64(192000)), Class: "user", Wanted: "up",
			MemoryBytes: ptr(uint64(12_900_000)), CPUPercent: ptr(0.42)},
		{Name: "db", State: wire.State{State: "starting", PID: ptr(77)}, UptimeMS: ptr(int64(350)), Class: "user", Wanted: "up", Text: "its tcp check has not passed"},
		{Name: "migrate", State: wire.State{State: "exited", ExitCode: ptr(0)}, Class: "user", Wanted: "up"},
		{Name: "network", State: wire.State{State: "running", PID: ptr(0)}, IsTarget: true, Class: "system", Wanted: "up"},
		{Name: "old", State: wire.State{State: "inactive"}, Class: "user", Wanted: "down"},
		{Name: "web-frontend", State: wire.State{State: "blocked", WaitingOn: []string{"db"}}, Class: "user", Wanted: "up",
			Text: "requires db, which is starting: its tcp check has not passed"},
		{Name: "worker", State: wire.State{State: "failed", Reason: &wire.Reason{Type: "exit_code", Code: ptr(1)}}, Restarts: 3,
			NextRestartMS: ptr(int64(4200)), Class: "user", Wanted: "up", Text: "exited with code 1"},
	}
}

func TestListTable(t *testing.T) {
	golden(t, "list", listTable(exampleList(), style{}, 0, false))
	golden(t, "list-wide", listTable(exampleList(), style{}, 0, true))
	golden(t, "list-narrow", listTable(exampleList(), style{}, 72, false))
	golden(t, "list-color", listTable(exampleList(), style{on: true}, 0, false))
}

func exampleStatus() wire.StatusFull {
	return wire.StatusFull{
		Name: "api", State: wire.State{State: "running", PID: ptr(1234)}, PID: 1234, Since: at(192 * time.Second),
		StartedAt: at(193 * time.Second), ReadyAt: at(192 * time.Second), Wanted: "up", Class: "user", StatusKey: "start",
		Cause: "is running (pid 1234) for 3 min 12 s", Restarts: 1, MaxRestarts: 10, BackoffMS: 2000,
		LastExit: &wire.Exit{Code: ptr(1), Text: "exited with code 1", At: at(195 * time.Second)},
		Health: &wire.HealthStatus{Type: "http", Target: "http://127.0.0.1:8080/health", Checks: 19, LastOK: ptr(true),
			LastDetail: "200 OK", LastAt: at(4 * time.Second)},
		Dependencies: []wire.Dependency{
			{Name: "db", DepType: "requires", State: wire.State{State: "running", PID: ptr(77)}, Satisfied: true},
			{Name: "cache", DepType: "requires", Binds: true, State: wire.State{State: "failed"}},
			{Name: "migrate", DepType: "after", State: wire.State{State: "exited", ExitCode: ptr(0)}, Satisfied: true},
			{Name: "ghost", DepType: "wants", Missing: true},
		},
		Processes: []wire.Process{
			{PID: 1234, PPID: 1, Name: "api", Cmdline: "/usr/bin/api --port 8080", State: "sleeping", MemoryBytes: 12_000_000, CPUMS: 1200},
			{PID: 1240, PPID: 1234, Name: "sh", Cmdline: "sh -c 'sleep 5'", State: "sleeping", MemoryBytes: 900_000, CPUMS: 3},
			{PID: 1241, PPID: 1240, Name: "sleep", State: "zombie"},
		},
		MemoryBytes: 12_900_000, CPUPercent: 0.42, Tracking: "cgroup", Cgroup: "/sys/fs/cgroup/zinit/api.7", Ports: []int{8080},
		Source: "/etc/zinit/services/api.toml", Warnings: []string{"port 8080 is below no firewall"},
		Sinks: []wire.Sink{
			{Target: "/var/log/api.log", Delivery: "written", Written: 120, Errors: 2, Lost: 1, Last: "no space left on device"},
			{Target: "syslog+tcp://log:514", Delivery: "sent", Written: 119, Errors: 2},
		},
		Log: []wire.LogLine{
			{Content: "listening on :8080", Stream: "stdout", TimestampMS: noon.UnixMilli()},
			{Content: "\x1b[31mred\x1b[0m and \rback", Stream: "stderr", TimestampMS: noon.UnixMilli() + 12},
		},
	}
}

func TestStatusPage(t *testing.T) {
	inUTC(t)
	golden(t, "status", statusPage(exampleStatus(), style{}, 0, noon))
	failed := wire.StatusFull{
		Name: "worker", State: wire.State{State: "failed"}, Since: at(2 * time.Second), Cause: "failed: exited with code 1, restart 4 of 10 in 4 s",
		Restarts: 3, MaxRestarts: 10, BackoffMS: 8000, NextRestartMS: ptr(int64(4200)), Ephemeral: true, Wanted: "up", Class: "system", Oneshot: true,
		LastExit: &wire.Exit{Text: "exited with code 1", At: at(2 * time.Second)},
	}
	golden(t, "status-failed", statusPage(failed, style{}, 0, noon))
}

// inUTC makes the local time zone UTC for one test. Such a test must not run in parallel.
func inUTC(t *testing.T) {
	before := time.Local
	time.Local = time.UTC
	t.Cleanup(func() { time.Local = before })
}

func TestOverviewPage(t *testing.T) {
	golden(t, "overview", overviewPage(wire.SystemStatus{
		Version: "1.0.0", PID: 1, UptimeMS: 93784000, Mode: "machine", ConfigDirs: []string{"/etc/zinit"}, Socket: "/run/zinit.sock",
		Tracking: "cgroup /sys/fs/cgroup/zinit", Counts: map[string]int{"running": 12, "failed": 1, "blocked": 1, "exited": 2},
		Failed:       []wire.CauseLink{{Name: "worker", State: wire.State{State: "failed"}, Text: "failed: exited with code 1, gave up after 10 restarts"}},
		Blocked:      []wire.CauseLink{{Name: "web", State: wire.State{State: "blocked"}, Text: "is blocked: requires worker"}},
		Problems:     []wire.Problem{{File: "/etc/zinit/services/x.toml", Line: 3, Column: 1, Severity: "error", Message: "unknown key exce, did you mean exec?"}},
		ServerStarts: 2, LastCrash: "killed by SIGKILL", LogArenaBytes: 4 << 20,
	}, style{}))
}

func TestWhyPage(t *testing.T) {
	golden(t, "why", whyPage(wire.Why{
		Name: "api", Blocked: true, WaitingOn: []string{"db", "cache"}, ConflictsWith: []string{"old-api"},
		Cause: []wire.CauseLink{
			{Name: "api", State: wire.State{State: "blocked"}, Text: "is blocked: requires web (and 2 more)"},
			{Name: "web", State: wire.State{State: "blocked"}, Text: "is blocked: requires db"},
			{Name: "db", State: wire.State{State: "failed"}, Text: "failed: exited with code 1, restart 3 of 10 in 4 s"},
		},
	}, style{}))
}

func exampleTree() []wire.TreeNode {
	running := wire.State{State: "running", PID: ptr(5)}
	return []wire.TreeNode{
		{Name: "db", State: running},
		{Name: "cache", State: wire.State{State: "failed"}},
		{Name: "web", State: running, Dependencies: []wire.Dependency{
			{Name: "db", DepType: "requires", State: running}, {Name: "cache", DepType: "after"}, {Name: "ghost", DepType: "wants", Missing: true}}},
		{Name: "api", State: running, Dependencies: []wire.Dependency{{Name: "web", DepType: "requires", Binds: true, State: running}}},
		{Name: "all", IsTarget: true, State: running, Dependencies: []wire.Dependency{
			{Name: "api", DepType: "requires", State: running}, {Name: "web", DepType: "requires", State: running}}},
	}
}

func TestTreeText(t *testing.T) {
	var b strings.Builder
	for _, c := range []struct {
		name    string
		reverse bool
	}{{"", false}, {"api", false}, {"", true}, {"db", true}} {
		text, ok := treeText(exampleTree(), c.name, c.reverse, style{})
		if !ok {
			t.Fatalf("no tree for %q", c.name)
		}
		b.WriteString(text + "----\n")
	}
	golden(t, "tree", b.String())
	if _, ok := treeText(exampleTree(), "nothing", false, style{}); ok {
		t.Error("a tree of a name that does not exist")
	}
}

func exampleBoot() wire.Boot {
	return wire.Boot{
		KernelMS: 312, PID1MS: 341.2, ServerMS: 356.4, LoadedMS: 371.9, DoneMS: 1243.2, Critical: []string{"web", "api", "db"},
		Services: []wire.BootService{
			{Name: "api", DueMS: 372, StartMS: 520, ReadyMS: 1120.5, Waited: "db"},
			{Name: "db", DueMS: 372, StartMS: 374, ReadyMS: 519},
			{Name: "late", DueMS: 372, StartMS: 374, ReadyMS: -1},
			{Name: "never", DueMS: -1, StartMS: -1, ReadyMS: -1},
			{Name: "stuck", DueMS: 372, StartMS: -1, ReadyMS: -1, Waited: "late"},
			{Name: "web", DueMS: 372, StartMS: 1121, ReadyMS: 1243.2, Waited: "api"},
			{Name: "worker <&>", DueMS: 372, StartMS: 375, ReadyMS: 381.3},
		},
	}
}

func TestBoot(t *testing.T) {
	golden(t, "boot", bootPage(exampleBoot(), 5, style{}))
	golden(t, "boot-svg", bootSVG(exampleBoot()))
	unfinished := exampleBoot()
	unfinished.DoneMS, unfinished.KernelMS, unfinished.PID1MS, unfinished.Critical = 0, 0, 0, nil
	golden(t, "boot-unfinished", bootPage(unfinished, 0, style{}))
}

func TestPlan(t *testing.T) {
	v := &invocation{out: newOutput(&strings.Builder{}, func() {})}
	plan := wire.Plan{Actions: []wire.PlanAction{
		{Name: "api", Action: "restart", Reason: "requires db, exec changed"}, {Name: "cache", Action: "update", Reason: "stop_timeout_ms changed"},
		{Name: "db", Action: "restart", Reason: "exec changed"}, {Name: "new", Action: "add", Reason: "new file"}, {Name: "old", Action: "remove", Reason: "its file is gone"},
	}}
	golden(t, "plan", v.planText(plan, false)+"----\n"+v.planText(plan, true)+"----\n"+v.planText(wire.Plan{}, true))
}

func TestDocument(t *testing.T) {
	var b strings.Builder
	for _, value := range []any{
		exampleList()[0], exampleList()[2], exampleList()[5], exampleList()[6], wire.StatusFull{Name: "x", State: wire.State{State: "inactive"}},
		wire.Why{}, exampleTree()[1], exampleBoot().Services[0], wire.Plan{}, wire.Event{}, wire.SystemStatus{}, wire.Added{}, []wire.Listed(nil),
		changed{Name: "a", State: wire.State{State: "running", PID: ptr(4)}},
	} {
		b.WriteString(string(document(value)) + "\n")
	}
	golden(t, "document", b.String())
}
