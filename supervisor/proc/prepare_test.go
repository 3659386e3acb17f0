package proc

import (
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/zinit/zinit/internal/testkit/need"
)

func init() {
	// prepared prints the signal sets of a child, after the supervisor's own preparations.
	helpers["prepared"] = func([]string) {
		if err := ClearMaskOrReexec(); err != nil {
			os.Stdout.WriteString(err.Error())
			return
		}
		if err := Prepare(); err != nil {
			os.Stdout.WriteString(err.Error())
			return
		}
		// What a supervisor asks for, as it must not change what its children get.
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGPIPE, syscall.SIGCHLD)
		for _, plan := range []Plan{
			// Not by a shell: dash clears its own mask.
			{Path: "/bin/grep", Argv: []string{"grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"}},
			shellPlan("umask; ls /proc/self/fd | grep -cvx 3; echo $" + maskCleared + "; cat /proc/self/oom_score_adj"),
		} {
			pid, serr := Start(&Spec{Plan: plan, Files: []int{0, 1, 2}, Env: os.Environ()})
			if serr != nil {
				os.Stdout.WriteString(serr.Detail)
				return
			}
			waitPID(pid)
		}
	}
}

// TestOOMScore: a child of a supervisor that is protected is not, whichever way it is started; else it has what the
// supervisor has. Only the privileged can go below 0, so that the protection is pretended.
func TestOOMScore(t *testing.T) {
	own := ownOOMScore
	defer func() { ownOOMScore = own }()
	before, err := os.ReadFile(oomScorePath)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(oomScorePath, []byte("200"), 0); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.WriteFile(oomScorePath, before, 0); err != nil {
			t.Error(err)
		}
		cloneRefused.Store(false)
	}()
	said := 300
	for _, refused := range []bool{false, true} {
		cloneRefused.Store(refused)
		for _, c := range []struct {
			own  int
			said *int
			want string
		}{{-900, nil, "0"}, {200, nil, "200"}, {-900, &said, "300"}} {
			ownOOMScore = func() int { return c.own }
			out, err := os.CreateTemp(t.TempDir(), "out")
			if err != nil {
				t.Fatal(err)
			}
			spec := &Spec{Plan: Plan{Path: "/bin/cat", Argv: []string{"cat", oomScorePath}}, Files: []int{0, int(out.Fd()), 2}, Env: os.Environ()}
			spec.Identity.OOMScoreAdj = c.said
			pid, fail := Start(spec)
			if fail != nil {
				t.Fatal(fail)
			}
			waitPID(pid)
			got, err := os.ReadFile(out.Name())
			if err != nil || strings.TrimSpace(string(got)) != c.want {
				t.Errorf("supervisor at %d, clone refused %v: %q %v, want %s", c.own, refused, got, err, c.want)
			}
		}
	}
}

const preparedWant = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n0022\n3\n\n0\n"

func TestPreparedSupervisorGivesCleanChildren(t *testing.T) {
	help, _ := exec.Command("env", "--help").Output()
	need.That(t, strings.Contains(string(help), "--block-signal"), "env with --block-signal (coreutils 8.31)")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// env(1) ignores and blocks for us: a Go program gives its children no other mask than its own.
	for _, blocked := range []string{"", "TERM,USR1", "CHLD", "USR2,CHLD,PIPE,HUP,ALRM"} {
		args := []string{"--ignore-signal=HUP,INT,QUIT,TSTP,USR1,PIPE,CHLD"}
		if blocked != "" {
			args = append(args, "--block-signal="+blocked)
		}
		args = append(args, helperVariable+"=prepared", self)
		got, err := exec.Command("env", args...).CombinedOutput()
		if err != nil || string(got) != preparedWant {
			t.Errorf("blocked %q: %v\ngot\n%s\nwant\n%s", blocked, err, got, preparedWant)
		}
	}
}
