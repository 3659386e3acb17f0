package proc

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/testkit/need"
)

// readable makes a folder that every user can reach; those of t.TempDir cannot be.
func readable(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "zinit-proc-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestIdentityIsSet(t *testing.T) {
	need.Root(t)
	withAccounts(t, "web:x:54321:54322::/srv/web:/bin/sh\n", "web:x:54322:\nwww:x:54330:web\nssl:x:54331:web\n")
	for _, test := range []struct {
		name string
		id   graph.Identity
		want string // uid gid groups
	}{
		{"user by name", graph.Identity{User: "web"}, "54321 54322 54330 54331"},
		{"user by number", graph.Identity{User: "54321"}, "54321 54322 54330 54331"},
		{"user and group", graph.Identity{User: "web", Group: "ssl", Groups: []string{}}, "54321 54331"},
		{"numbers without entries", graph.Identity{User: "60001", Group: "60002", Groups: []string{"60003", "60004"}}, "60001 60002 60003 60004"},
		{"group alone", graph.Identity{Group: "www"}, "0 54330"},
		{"groups alone", graph.Identity{Groups: []string{"www", "9"}}, "0 0 9 54330"},
	} {
		t.Run(test.name, func(t *testing.T) {
			everyWay(t, func(t *testing.T, change func(*Spec)) {
				got := runLine(t, "awk '/^(Uid|Gid|Groups)/ {$1=\"\"; print}' /proc/self/status", func(s *Spec) { s.Identity = test.id; change(s) })
				lines := strings.Split(strings.TrimSpace(got), "\n")
				f := strings.Fields(test.want)
				ids := func(n string) string { return strings.Repeat(n+" ", 3) + n }
				if len(lines) < 2 || strings.TrimSpace(lines[0]) != ids(f[0]) || strings.TrimSpace(lines[1]) != ids(f[1]) {
					t.Fatalf("got\n%s\nwant %s", got, test.want)
				}
				groups := ""
				if len(lines) > 2 {
					groups = strings.Join(strings.Fields(lines[2]), " ")
				}
				if test.id.User == "" && test.id.Groups == nil {
					return // the supervisor's own, whatever they are here
				}
				if groups != strings.Join(f[2:], " ") {
					t.Errorf("groups %q, want %q", groups, f[2:])
				}
			})
		})
	}
}

func TestIdentityFailures(t *testing.T) {
	need.Root(t)
	dir := readable(t)
	if err := os.Mkdir(dir+"/closed", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/closed/prog", []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	nobody := graph.Identity{User: "54321", Group: "54321"}
	everyWay(t, func(t *testing.T, change func(*Spec)) {
		for _, test := range []struct {
			name   string
			spec   Spec
			step   string
			detail string
		}{
			{"a directory of root", Spec{Plan: shellPlan("true"), Dir: dir + "/closed", Identity: nobody}, StepDir,
				"cannot change to the directory " + dir + "/closed: permission denied at " + dir + "/closed"},
			{"a program in it", Spec{Plan: Plan{Path: dir + "/closed/prog", Argv: []string{"prog"}}, Identity: nobody}, StepExec,
				"cannot execute " + dir + "/closed/prog: permission denied at " + dir + "/closed"},
		} {
			s := test.spec
			change(&s)
			_, err := Start(&s)
			if err == nil || err.Step != test.step || err.Detail != test.detail {
				t.Errorf("%s:\n got %+v\nwant %s", test.name, err, test.detail)
			}
		}
	})
}

func TestOnlyRootBecomesAnother(t *testing.T) {
	need.Root(t)
	o := newOutput(t)
	s := &Spec{Plan: Plan{Path: "", Argv: []string{"helper"}}, Files: o.files(t), Env: []string{helperVariable + "=become", "PATH=" + DefaultPath},
		Identity: graph.Identity{User: "54321", Group: "54321"}}
	makeReachable(t, s)
	pid := mustStart(t, s)
	want := "user cannot become user 60000: the supervisor is not root\nself ok\n" +
		"nice cannot set the nice value to -5: permission denied\nlimits cannot set the limit core to 1:infinity: operation not permitted\n"
	if got := o.all(t); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	waitPID(pid)
}

func init() {
	helpers["become"] = func([]string) {
		zero := unix.Rlimit{Cur: 0, Max: 0}
		_ = unix.Prlimit(0, unix.RLIMIT_CORE, &zero, nil)
		try := func(id graph.Identity) {
			pid, err := Start(&Spec{Plan: shellPlan("true"), Files: []int{0, 1, 2}, Identity: id, TrampolinePath: "/proc/self/exe"})
			if err != nil {
				fmt.Println(err.Step, err.Detail)
				return
			}
			waitPID(pid)
			fmt.Println("self ok")
		}
		try(graph.Identity{User: "60000", Group: "60000"})
		try(graph.Identity{User: "54321", Group: "54321"})
		try(graph.Identity{Nice: intp(-5)})
		try(graph.Identity{Limits: []graph.Limit{{Name: "core", Soft: 1, Hard: ^uint64(0)}}})
	}
}

func TestSettingsReachTheProgram(t *testing.T) {
	need.Root(t)
	inf := ^uint64(0)
	for _, test := range []struct {
		name, line, want string
		id               graph.Identity
	}{
		{"umask", "umask", "0077", graph.Identity{Umask: intp(0o077)}},
		{"umask 0", "umask", "0000", graph.Identity{Umask: intp(0)}},
		{"nice up", "nice", "7", graph.Identity{Nice: intp(7)}},
		{"nice down", "nice", "-5", graph.Identity{Nice: intp(-5)}},
		{"oom_score_adj", "cat /proc/self/oom_score_adj", "300", graph.Identity{OOMScoreAdj: intp(300)}},
		{"oom_score_adj as a user", "cat /proc/self/oom_score_adj; id -u", "300 54321",
			graph.Identity{OOMScoreAdj: intp(300), User: "54321", Group: "54321"}},
		{"no_new_privileges", "grep NoNewPrivs /proc/self/status", "NoNewPrivs: 1", graph.Identity{NoNewPrivileges: true}},
		{"limits", "ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Hc; ulimit -Sv", "4096 8192 0 unlimited unlimited",
			graph.Identity{Limits: []graph.Limit{{Name: "core", Soft: 0, Hard: inf}, {Name: "nofile", Soft: 4096, Hard: 8192}}}},
		{"a limit too small for the trampoline itself", "ulimit -Sn; ulimit -Sp", "5 1",
			graph.Identity{User: "54399", Group: "54399", Limits: []graph.Limit{{Name: "nproc", Soft: 1, Hard: 1}, {Name: "nofile", Soft: 5, Hard: 5}}}},
		{"little memory", "ulimit -Sv; ulimit -Sd; ulimit -Ss", "16384 8192 512", graph.Identity{Limits: []graph.Limit{
			{Name: "as", Soft: 16 << 20, Hard: inf}, {Name: "data", Soft: 8 << 20, Hard: inf}, {Name: "stack", Soft: 512 << 10, Hard: inf}}}},
		{"bounding set", "grep -E 'Cap(Prm|Eff|Bnd|Inh|Amb)' /proc/self/status | cut -f2 | sort -u", "0000000000000000 0000000000000401",
			graph.Identity{Capabilities: &graph.Capabilities{Bounding: []string{"CAP_CHOWN", "CAP_NET_BIND_SERVICE"}}}},
		{"empty bounding set", "grep -E 'Cap(Prm|Eff|Bnd|Inh|Amb)' /proc/self/status | cut -f2 | sort -u", "0000000000000000",
			graph.Identity{Capabilities: &graph.Capabilities{Bounding: []string{}}}},
		{"ambient for a user", "grep -E 'Cap(Inh|Prm|Eff|Amb)' /proc/self/status | cut -f2 | sort -u; id -u", "0000000000000400 54321",
			graph.Identity{User: "54321", Group: "54321", Capabilities: &graph.Capabilities{Ambient: []string{"CAP_NET_BIND_SERVICE"}}}},
		{"ambient and bounding and no_new_privileges for a user", "grep -E 'Cap|NoNew' /proc/self/status | cut -f2 | sort -u", "0000000000000400 1",
			graph.Identity{User: "54321", Group: "54321", NoNewPrivileges: true,
				Capabilities: &graph.Capabilities{Bounding: []string{"net_bind_service"}, Ambient: []string{"NET_BIND_SERVICE"}}}},
		{"a user has none", "grep -E 'Cap(Inh|Prm|Eff|Amb)' /proc/self/status | cut -f2 | sort -u", "0000000000000000",
			graph.Identity{User: "54321", Group: "54321", NoNewPrivileges: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := runLine(t, test.line, func(s *Spec) { s.Identity = test.id; s.Path = shellPath })
			if strings.Join(strings.Fields(got), " ") != test.want {
				t.Errorf("got %q, want %q", strings.Fields(got), test.want)
			}
		})
	}
}

func TestSettingsThatCannotBeApplied(t *testing.T) {
	need.Root(t)
	inf := ^uint64(0)
	text, _ := os.ReadFile("/proc/sys/fs/nr_open")
	mostFiles := strings.TrimSpace(string(text))
	for _, test := range []struct {
		id           graph.Identity
		step, detail string
	}{
		{graph.Identity{Limits: []graph.Limit{{Name: "nofile", Soft: inf, Hard: inf}}}, StepLimits,
			"cannot set the limit nofile to infinity:infinity: operation not permitted: fs.nr_open allows " + mostFiles + " at most"},
		{graph.Identity{Limits: []graph.Limit{{Name: "bogus"}}}, StepLimits, `cannot set the limit "bogus": no such name in getrlimit(2)`},
		{graph.Identity{Limits: []graph.Limit{{Name: "core", Soft: 2, Hard: 1}}}, StepLimits, "cannot set the limit core: soft 2 is above hard 1"},
		{graph.Identity{OOMScoreAdj: intp(5000)}, StepOOMScore, "cannot set oom_score_adj to 5000: invalid argument"},
		{graph.Identity{Capabilities: &graph.Capabilities{Bounding: []string{"CAP_BOGUS"}}}, StepCapabilities,
			`cannot set the capability "CAP_BOGUS": no such name in capabilities(7)`},
		{graph.Identity{Capabilities: &graph.Capabilities{Bounding: []string{}, Ambient: []string{"CAP_CHOWN"}}}, StepCapabilities, ""},
	} {
		_, err := Start(&Spec{Plan: shellPlan("true"), Identity: test.id})
		if err == nil || err.Step != test.step || test.detail != "" && err.Detail != test.detail {
			t.Errorf("%+v:\n got %+v\nwant %s %s", test.id, err, test.step, test.detail)
		}
	}
	noChildren(t)
}

func TestTrampolineRefusesOtherCallers(t *testing.T) {
	o := newOutput(t)
	for _, argv := range [][]string{{TrampolineName}, {TrampolineName, "x"}, {TrampolineName, "report=3", "bogus=1", "--", "/bin/true", "true"},
		{TrampolineName, "report=3", "nice=x", "--", "/bin/true", "true"}, {TrampolineName, "report=3", "--", "/bin/true"}} {
		s := &Spec{Plan: Plan{Path: "/proc/self/exe", Argv: argv}, Files: o.files(t)}
		if status := waitPID(mustStart(t, s)); status.Code != 2 {
			t.Errorf("%q: %+v", argv, status)
		}
	}
	if got := o.all(t); !strings.Contains(got, "zinit-exec is used by zinit itself") {
		t.Errorf("got %q", got)
	}
}

func TestNamesOfLimitsAndCapabilities(t *testing.T) {
	for name, want := range map[string]int{"cpu": unix.RLIMIT_CPU, "nofile": unix.RLIMIT_NOFILE, "RLIMIT_AS": unix.RLIMIT_AS, "Core": unix.RLIMIT_CORE,
		"nproc": unix.RLIMIT_NPROC, "memlock": unix.RLIMIT_MEMLOCK, "rttime": unix.RLIMIT_RTTIME, "stack": unix.RLIMIT_STACK} {
		if n, ok := LimitNumber(name); !ok || n != want {
			t.Errorf("%s: %d %v", name, n, ok)
		}
	}
	for name, want := range map[string]int{"CAP_CHOWN": unix.CAP_CHOWN, "net_admin": unix.CAP_NET_ADMIN, "CAP_BPF": unix.CAP_BPF,
		"cap_checkpoint_restore": unix.CAP_CHECKPOINT_RESTORE, "CAP_SYS_ADMIN": unix.CAP_SYS_ADMIN, "SETFCAP": unix.CAP_SETFCAP} {
		if n, ok := CapabilityNumber(name); !ok || n != want {
			t.Errorf("%s: %d %v", name, n, ok)
		}
	}
	for _, bad := range []string{"", "cap_", "nofiles", "rlimit_"} {
		if _, ok := LimitNumber(bad); ok {
			t.Errorf("limit %q", bad)
		}
		if _, ok := CapabilityNumber(bad); ok {
			t.Errorf("capability %q", bad)
		}
	}
}

// TestMaySearch: a folder is of use to those who can search it and all above it.
func TestMaySearch(t *testing.T) {
	dir := filepath.Join(readable(t), "a", "b")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	me, group, other := os.Geteuid(), os.Getegid(), 54321
	for _, row := range []struct {
		mode     os.FileMode
		uid, gid int
		want     bool
	}{
		{0o711, other, other, true}, {0o710, other, other, false}, {0o710, other, group, true}, {0o701, other, group, false},
		{0o100, 0, 0, true}, {0o755, me, group, true},
	} {
		if err := os.Chmod(filepath.Dir(dir), row.mode); err != nil {
			t.Fatal(err)
		}
		if got := MaySearch(dir, &Credential{UID: row.uid, GID: row.gid}); got != row.want {
			t.Errorf("mode %o for %d:%d: %v, want %v", row.mode, row.uid, row.gid, got, row.want)
		}
	}
	if MaySearch(dir+"/missing", &Credential{UID: other, GID: other}) {
		t.Error("a folder that is not there can be reached")
	}
}
