package proc

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/testkit/need"
)

// TestChildHasDefaultScheduling: what the server was put under by chrt, nice, ionice and taskset is
// its own.
func TestChildHasDefaultScheduling(t *testing.T) {
	need.Root(t)
	for _, program := range []string{"chrt", "ionice", "taskset"} {
		need.Program(t, program)
	}
	all := everyProcessor()
	const line = "chrt -p $$ | cut -d: -f2; ionice -p $$; nice; grep Cpus_allowed: /proc/self/status"
	look := func(t *testing.T, change func(*Spec)) string {
		return strings.Join(strings.Fields(runLine(t, line, change)), " ")
	}
	want := look(t, nil)
	if !strings.Contains(want, "SCHED_OTHER 0") {
		t.Fatalf("the test itself runs with %s", want)
	}
	everyWay(t, func(t *testing.T, change func(*Spec)) {
		runtime.LockOSThread() // for good: this thread ends with its goroutine
		one := unix.CPUSet{}
		for i := range 1024 {
			if all.IsSet(i) {
				one.Set(i)
				break
			}
		}
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			t.Fatal(err)
		}
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, 7); err != nil {
			t.Fatal(err)
		}
		if _, _, errno := syscall.RawSyscall(unix.SYS_IOPRIO_SET, ioWhoSelf, 0, 2<<13|7); errno != 0 {
			t.Fatal(errno)
		}
		if got := look(t, change); got != want {
			t.Errorf("under nice, ionice and taskset: %s, want %s", got, want)
		}
		attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 5}
		need.That(t, unix.SchedSetAttr(0, &attr, 0) == nil, "real-time priorities")
		if got := look(t, change); got != want {
			t.Errorf("under chrt: %s, want %s", got, want)
		}
		nice := func(s *Spec) { change(s); s.Identity.Nice = intp(3) }
		if got := look(t, nice); !strings.Contains(got, "SCHED_OTHER 0") || !strings.Contains(got, " 3 Cpus") {
			t.Errorf("with nice = 3 under chrt: %s", got)
		}
	})
}

// TestPipesBelongToTheUser: a program may open /dev/stdout and /dev/stderr by name.
func TestPipesBelongToTheUser(t *testing.T) {
	need.Root(t)
	everyWay(t, func(t *testing.T, change func(*Spec)) {
		got := runLine(t, "echo out > /dev/stdout; echo err > /dev/stderr; id -u", func(s *Spec) {
			s.Identity = graph.Identity{User: "54321", Group: "54321"}
			change(s)
		})
		if got != "out\nerr\n54321\n" {
			t.Errorf("got %q", got)
		}
	})
}

// identityTries are what a server without the right to change identities is asked to start.
var identityTries = []graph.Identity{
	{User: "root"}, {Group: "0"}, {User: "0", Group: "0"}, {User: "54321", Group: "54321"}, {Group: "54321"},
	{Groups: []string{"54321"}},
}

func init() {
	helpers["identities"] = func([]string) {
		for _, refused := range []bool{false, true} {
			for _, umask := range []*int{nil, intp(0o022)} {
				cloneRefused.Store(refused)
				for _, id := range identityTries {
					id.Umask = umask
					pid, err := Start(&Spec{Plan: Plan{Path: "/bin/true", Argv: []string{"true"}}, Files: []int{0, 1, 2}, Identity: id,
						TrampolinePath: "/proc/self/exe"})
					if err != nil {
						fmt.Println(err.Step, err.Detail)
						continue
					}
					waitPID(pid)
					fmt.Println("ok")
				}
				fmt.Println()
			}
		}
	}
}

// TestIdentityWithoutPrivileges: root without capabilities, and root of a user namespace that
// denies setgroups, may start what changes nothing, and hear what is missing otherwise.
func TestIdentityWithoutPrivileges(t *testing.T) {
	need.Root(t)
	unshare := need.Program(t, "unshare")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		plan Plan
		id   graph.Identity
		want []string
	}{
		{"no capabilities", Plan{Path: exe, Argv: []string{"helper"}}, graph.Identity{Groups: []string{"9"}, Capabilities: &graph.Capabilities{Bounding: []string{}}},
			[]string{"ok", "ok", "ok",
				"groups cannot set the supplementary groups to []: operation not permitted: the supervisor has no CAP_SETGID",
				"group cannot become group 54321: operation not permitted: the supervisor has no CAP_SETGID",
				"groups cannot set the supplementary groups to [54321]: operation not permitted: the supervisor has no CAP_SETGID"}},
		{"user namespace", Plan{Path: unshare, Argv: []string{"unshare", "-U", "-r", exe}}, graph.Identity{Groups: []string{}},
			[]string{"ok", "ok", "ok",
				"group cannot become group 54321: invalid argument: this user namespace does not map it (/proc/self/gid_map)",
				"group cannot become group 54321: invalid argument: this user namespace does not map it (/proc/self/gid_map)",
				"groups cannot set the supplementary groups to [54321]: operation not permitted: this user namespace denies setgroups (/proc/self/setgroups)"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := newOutput(t)
			pid := mustStart(t, &Spec{Plan: test.plan, Files: o.files(t), Identity: test.id,
				Env: []string{helperVariable + "=identities", "PATH=" + DefaultPath}})
			got := o.all(t)
			waitPID(pid)
			if want := strings.Repeat(strings.Join(test.want, "\n")+"\n\n", 4); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}
