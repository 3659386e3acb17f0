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
