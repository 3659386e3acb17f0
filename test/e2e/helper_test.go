package e2e

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/rpc"
)

// helperVariable makes the test binary one of the helpers, which services in these tests run.
const helperVariable = "E2E_HELPER"

func init() {
	words := strings.Fields(os.Getenv(helperVariable))
	if len(words) == 0 {
		return
	}
	if f := helpers[words[0]]; f != nil {
		f(words[1:])
	}
	os.Exit(0)
}

var helpers = map[string]func(args []string){
	"notify":  helpNotify,
	"succeed": helpSucceed,
	"listen":  helpListen,
	"pretend": helpPretend,
	"crowd":   helpCrowd,
	"fuse":    helpFuse,

	"headless": helpHeadless,
	"noprctl":  helpNoPrctl,

	"fuse-daemon": helpFuseDaemon,
}

// helper is the exec line and env table of a service that runs a helper.
func helper(t *testing.T, words string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("exec = [%q]\nenv = {%s = %q}\n", self, helperVariable, words)
}

func say(state string) {
	if sent, err := daemon.SdNotify(false, state); !sent || err != nil {
		fmt.Println("notify:", sent, err)
		os.Exit(9)
	}
}

// helpNotify is a service that uses go-systemd: it says that it is ready and sends pings, as many as asked for (all of
// them without a number), at half of the time that sd_watchdog_enabled tells.
func helpNotify(args []string) {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		fmt.Println("watchdog:", err)
		os.Exit(8)
	}
	fmt.Println("watchdog", every, os.Getenv("WATCHDOG_PID") == strconv.Itoa(os.Getpid()))
	say(daemon.SdNotifyReady + "\nSTATUS=serving by go-systemd")
	pings := 1 << 30
	if len(args) > 0 {
		pings, _ = strconv.Atoi(args[0])
	}
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	var tick <-chan time.Time
	if every > 0 {
		tick = time.Tick(every / 2)
	}
	for {
		select {
		case <-tick:
			if pings > 0 {
				pings--
				say(daemon.SdNotifyWatchdog)
			}
		case <-reload:
			say(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec() + "\nSTATUS=reading files")
		}
	}
}

// helpSucceed is a program that at SIGUSR2 starts a successor and hands its service over by MAINPID. Who says it, and when
// the predecessor ends, is the first word; the second one is the pid of the predecessor, which the first of them has not.
func helpSucceed(args []string) {
	how := args[0]
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR2)
	ready := daemon.SdNotifyReady + "\nMAINPID=" + strconv.Itoa(os.Getpid())
	if len(args) == 1 || how == "predecessor" {
		ready = daemon.SdNotifyReady
	}
	say(ready)
	if len(args) > 1 {
		old, _ := strconv.Atoi(args[1])
		must(syscall.Close(3)) // the predecessor waits for that
		switch how {
		case "after": // the predecessor goes on for a while beside its successor
			<-asked
			must(syscall.Kill(old, syscall.SIGTERM))
		case "at-once": // as soon as the word has been sent
			must(syscall.Kill(old, syscall.SIGKILL))
		}
	}
	<-asked
	self, err := os.Executable()
	must(err)
	must(os.Setenv(helperVariable, fmt.Sprintf("succeed %s %d", how, os.Getpid())))
	up, ours, err := os.Pipe()
	must(err)
	pid, err := syscall.ForkExec(self, []string{self}, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2, ours.Fd()}})
	must(err)
	must(ours.Close())
	if how == "predecessor" {
		_, _ = up.Read(make([]byte, 1))
		say("MAINPID=" + strconv.Itoa(pid))
		os.Exit(0)
	}
	forever()
}

// helpListen listens on a port of loopback; with "deaf" it ignores SIGTERM, with a path it writes its pid there, and
// says there when it gets a SIGTERM.
func helpListen(args []string) {
	if len(args) > 1 && args[1] == "deaf" {
		signal.Ignore(syscall.SIGTERM)
	}
	l, err := net.Listen("tcp", "127.0.0.1:"+args[0])
	if err != nil {
		fmt.Println(err)
		os.Exit(7)
	}
	if len(args) > 1 && args[1][0] == '/' {
		must(os.WriteFile(args[1]+".new", []byte(strconv.Itoa(os.Getpid())), 0o644))
		must(os.Rename(args[1]+".new", args[1]))
		end := make(chan os.Signal, 1)
		signal.Notify(end, syscall.SIGTERM)
		go func() {
			<-end
			must(os.WriteFile(args[1]+".term", nil, 0o644))
			os.Exit(0)
		}()
	}
	for {
		c, err := l.Accept()
		if err == nil {
			c.Close()
		}
	}
}

// helpPretend sends a state to somebody else's socket and stays.
func helpPretend(args []string) {
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: args[0], Net: "unixgram"})
	if err == nil {
		_, err = c.Write([]byte(strings.Join(args[1:], "\n")))
	}
	fmt.Println("pretended", err)
	forever()
}

// helpCrowd forks as many processes as asked for, in sessions of their own, that ignore SIGTERM, and is one itself.
func helpCrowd(args []string) {
	n, _ := strconv.Atoi(args[0])
	sleep, err := syscallLookPath("sleep")
	if err != nil {
		os.Exit(6)
	}
	signal.Ignore(syscall.SIGTERM)
	for i := range n {
		attr := &syscall.ProcAttr{Env: []string{"I=" + strconv.Itoa(i)}, Sys: &syscall.SysProcAttr{Setsid: i%2 == 0}}
		if _, err := syscall.ForkExec(sleep, []string{"sleep", "100000"}, attr); err != nil {
			fmt.Println("fork:", err)
			os.Exit(5)
		}
	}
	fmt.Println("all there")
	forever()
}

// forever waits for a signal that ends the process. It has a timer, so that Go sees no deadlock.
func forever() {
	for {
		time.Sleep(time.Hour)
	}
}

func syscallLookPath(name string) (string, error) {
	for _, dir := range []string{"/bin/", "/usr/bin/"} {
		if _, err := os.Stat(dir + name); err == nil {
			return dir + name, nil
		}
	}
	return "", os.ErrNotExist
}

// bothWays runs a test with control groups, if there are any, and without.
func bothWays(t *testing.T, test func(t *testing.T, env []string)) {
	t.Run("groups", func(t *testing.T) { test(t, nil) })
	t.Run("proc", func(t *testing.T) { test(t, []string{"ZINIT_CGROUP=0"}) })
}

// hasLine tells whether a service's log has a line with a text.
func hasLine(s *testkit.Server, name, text string) func() bool {
	return func() bool {
		out, _, _ := s.Zinit("logs", name, "-n", "50")
		return strings.Contains(out, text)
	}
}

// change is what a start, stop or restart asks for.
func change(wait bool) rpc.Change { return rpc.Change{Wait: wait} }
