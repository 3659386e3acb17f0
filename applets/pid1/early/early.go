// Package early is what process 1 must do before anything else: take over every signal. An unhandled TERM, HUP or QUIT, or
// even an ABRT from outside, ends a Go program with status 2, which is a kernel panic on a machine. Its init runs among the
// first of the program, because it needs next to nothing and the packages of this module come early in the alphabet.
//
// The runtime's way with signals (signal.Notify, a channel, a goroutine) is not enough for process 1: a flood keeps its
// threads in their handlers, so that nothing else is done, setting it up takes a millisecond or two, and what the last
// threads take before an exec is lost. So the handlers are our own (handler_amd64.s): they count, and block the signal in
// the thread that took it, until the loop opens it again.
//
// A re-execution (SIGUSR2, a panic) loses nothing: everything is blocked and stays pending over the exec, and what the
// runtime opens before this init has run is kept away by a tracer for that time (see Holder). Where tracing is forbidden, a
// TERM, QUIT, ABRT, INT or HUP that arrives in these few milliseconds is lost, and in the time between the runtime's handlers
// and this init (below 1 ms on a calm machine) TERM, QUIT and ABRT end the process. That time is there in the very first
// start, too.
package early

import (
	"os"
	"os/signal"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Unmask is the argv[0] under which this binary empties the signal mask and executes argv[1] with the arguments behind
// it. It never returns.
const Unmask = "zinit-unmask"

// OwnListenPID in the environment of a program that is started through Unmask or Limits becomes LISTEN_PID with its pid,
// which nobody knows before (sd_listen_fds(3)).
const OwnListenPID = "LISTEN_PID=self"

// Limits is the same and sets the limits that programs on a machine may expect, see machineNofile.
const Limits = "zinit-limits"

// machineNofile are the descriptors that a service on a machine has if its configuration does not say: the soft limit of
// old, because of select(2), and the hard one of systemd. A kernel starts process 1 with 1024 and 4096.
var machineNofile = syscall.Rlimit{Cur: 1024, Max: 524288}

// ServerSignals gets the server's signals from here on: what comes before the server can act waits in it.
var ServerSignals = make(chan os.Signal, 64)

func init() {
	if len(os.Args) > 2 && (os.Args[0] == Unmask || os.Args[0] == Limits) {
		unmask()
	}
	if len(os.Args) == 1 && (os.Args[0] == Holder || os.Args[0] == HolderOfAll) {
		hold(os.Args[0] == HolderOfAll)
	}
	switch role(os.Args, os.Getpid() == 1) {
	case "zinit-pid1":
		runtime.LockOSThread() // from an init: the main goroutine stays on the main thread, which alone keeps its pid over an exec
		Comm("zinit-pid1")
		Listen()
		raiseNofile()
	case "zinit-server":
		Comm("zinit-server")
		signal.Notify(ServerSignals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT,
			syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE)
	}
}

// role tells which of the long-running applets the arguments ask for, as applets.Main decides; "" = another.
func role(args []string, first bool) string {
	if len(args) == 0 {
		return ""
	}
	switch name := path.Base(args[0]); {
	case name == "zinit-pid1" || name == "init" && first:
		return "zinit-pid1"
	case name == "zinit-server":
		return name
	case name == "zinit-exec" || name == "init":
		return ""
	case len(args) == 1 && first:
		return "zinit-pid1"
	case len(args) > 1 && (args[1] == "pid1" || args[1] == "init" && IsShim(args[2:], first)):
		return "zinit-pid1"
	case len(args) > 1 && args[1] == "server":
		return "zinit-server"
	}
	return ""
}

// IsShim reports whether `zinit init` with these words behind it is 0.3.9's name of pid1, as it is as process 1 and with flags;
// else it is the client's command that writes a zinit.toml.
func IsShim(words []string, first bool) bool {
	for _, word := range words {
		if len(word) > 0 && word[0] == '-' && word != "-h" && word != "--help" {
			return true
		}
	}
	return first
}

// Comm sets the name that /proc/PID/comm shows; from an init function it is the main thread's and so the process's.
func Comm(name string) {
	b, err := syscall.BytePtrFromString(name)
	if err == nil {
		_, _, _ = syscall.RawSyscall6(syscall.SYS_PRCTL, syscall.PR_SET_NAME, uintptr(unsafe.Pointer(b)), 0, 0, 0, 0)
	}
}

// unmask empties the mask and executes what was asked for. A program named by descriptor must not inherit that one.
func unmask() {
	setMask(sigset{})
	var now syscall.Rlimit
	if os.Args[0] == Limits && syscall.Getrlimit(unix.RLIMIT_NOFILE, &now) == nil {
		lim := machineNofile
		lim.Max = max(lim.Max, now.Max)
		if syscall.Setrlimit(unix.RLIMIT_NOFILE, &lim) != nil { // through the runtime: the exec then leaves it
			lim.Max = now.Max
			lim.Cur = min(lim.Cur, lim.Max)
			_ = syscall.Setrlimit(unix.RLIMIT_NOFILE, &lim)
		}
	}
	if fd, found := strings.CutPrefix(os.Args[1], "/proc/self/fd/"); found {
		if n, err := strconv.Atoi(fd); err == nil {
			syscall.CloseOnExec(n)
		}
	}
	env := os.Environ()
	if at := slices.Index(env, OwnListenPID); at >= 0 {
		env[at] = "LISTEN_PID=" + strconv.Itoa(os.Getpid())
	}
	err := syscall.Exec(os.Args[1], os.Args[2:], env)
	_, _ = unix.Write(2, []byte("zinit-pid1: cannot execute "+os.Args[1]+": "+err.Error()+"\n"))
	if err == syscall.ENOENT {
		unix.Exit(127)
	}
	unix.Exit(126)
}

// raiseNofile makes room for the log pipes of many services where the hard limit is low: a kernel gives process 1 no more
// than 4096 descriptors. It is done behind the runtime's back, which does not give children the old limits any more then:
// they are started through Limits.
func raiseNofile() {
	const want = 1 << 19
	var now unix.Rlimit
	if unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &now) == nil && now.Max < want {
		lim := unix.Rlimit{Cur: want, Max: want}
		_, _, errno := syscall.RawSyscall6(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, uintptr(unsafe.Pointer(&lim)), 0, 0, 0)
		raised = errno == 0
	}
}

var raised bool

// Raised reports whether children would inherit more descriptors than they should.
func Raised() bool { return raised }
