// Package early is what process 1 must do before anything else: take over every signal. An unhandled TERM, HUP or QUIT, or
// even an ABRT from outside, ends a Go program with status 2, which is a kernel panic on a machine. Its init runs among the
// first of the program, because it needs next to nothing and the packages of this module come early in the alphabet.
//
// What cannot be closed from Go is the time between the runtime's own handlers and this init (about 1 ms on a small virtual
// machine) in which a TERM, QUIT, ABRT or a synchronous signal from outside ends the process: the runtime unblocks those
// whatever it inherits. Nobody sends them at boot. Over a re-execution (SIGUSR2, a panic) a signal of those that arrives
// in the exec itself (2 to 3 ms) is lost, one that arrives in that millisecond is fatal; INT and HUP are ignored meanwhile, and
// every other signal is blocked and so stays pending until Notify opens it in the one thread that listens. Children would
// inherit the mask too, so they are started through Unmask. Whoever sends SIGUSR2 should wait for its line on the console
// before sending TERM.
package early

import (
	"os"
	"os/signal"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Unmask is the argv[0] under which this binary empties the signal mask and executes argv[1] with the arguments behind
// it. It never returns.
const Unmask = "zinit-unmask"

// NSignals is one more than the highest signal number.
const NSignals = 65

var (
	counts = new(tally)
	page   = -1 // the memfd that counts is in, -1 = ordinary memory
	bell   = -1
	on     bool
	masked bool
)

// tally counts signals that arrived and were not taken yet.
type tally [NSignals]atomic.Uint32

func init() {
	if len(os.Args) > 2 && os.Args[0] == Unmask {
		unmask()
	}
	switch role(os.Args, os.Getpid() == 1) {
	case "zinit-pid1":
		Comm("zinit-pid1")
		masked = readMask()
		Listen()
		raiseNofile()
	case "zinit-server":
		Comm("zinit-server")
		raiseNofile()
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
	case len(args) > 1 && (args[1] == "pid1" || args[1] == "init"):
		return "zinit-pid1"
	case len(args) > 1 && args[1] == "server":
		return "zinit-server"
	}
	return ""
}

// Comm sets the name that /proc/PID/comm shows; from an init function it is the main thread's and so the process's.
func Comm(name string) {
	b, err := syscall.BytePtrFromString(name)
	if err == nil {
		_, _, _ = syscall.RawSyscall6(syscall.SYS_PRCTL, syscall.PR_SET_NAME, uintptr(unsafe.Pointer(b)), 0, 0, 0, 0)
	}
}

// Listen takes over every signal that the runtime lets go of. SIGURG stays the scheduler's. It is idempotent.
func Listen() {
	if on {
		return
	}
	on = true
	// Notify takes a millisecond or two, with a thread to create: until then those that would end the process are ignored.
	fatal := [...]syscall.Signal{syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGINT, syscall.SIGABRT}
	var found [len(fatal)]sigaction
	for i, n := range fatal {
		var action sigaction
		action[0] = 1 // SIG_IGN
		sigactionCall(n, &action, &found[i])
	}
	share()
	ch := make(chan os.Signal, 256)
	for i, n := range fatal {
		signal.Notify(ch, n)
		if found[i][0] > 1 { // else the runtime itself has just put its handler there
			sigactionCall(n, &found[i], nil)
		}
	}
	all := make([]os.Signal, 0, NSignals)
	for n := 1; n < NSignals; n++ {
		if s := syscall.Signal(n); s != syscall.SIGURG && s != syscall.SIGKILL && s != syscall.SIGSTOP {
			all = append(all, s)
		}
	}
	signal.Notify(ch, all...)
	fillGaps()
	bell, _ = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	go relay(ch)
}

// fillGaps gives the signals that the runtime leaves to the C library (32, 34) a handler that drops them. The kernel
// shields an init from a signal with the default action only if its main thread does not happen to block it while another
// thread does not: a kill -32 at the wrong instant ended a container. The runtime's own handler would end the process, and
// an ignored signal would stay ignored in every child.
func fillGaps() {
	var handled sigaction
	if sigactionCall(syscall.SIGWINCH, nil, &handled) != 0 || handled[0] <= 1 {
		return
	}
	drop := dropSignal
	handled[0] = **(**uintptr)(unsafe.Pointer(&drop))
	for n := syscall.Signal(1); n < NSignals; n++ {
		var now sigaction
		if n != syscall.SIGKILL && n != syscall.SIGSTOP && sigactionCall(n, nil, &now) == 0 && now[0] == 0 {
			sigactionCall(n, &handled, nil)
		}
	}
}

// dropSignal is called by the kernel, as a signal handler: it must stay without a frame and touch nothing.
//
//go:nosplit
//go:noinline
//go:norace
func dropSignal() {}

// sigactionCall is rt_sigaction(2) behind the runtime's back.
func sigactionCall(n syscall.Signal, set, old *sigaction) syscall.Errno {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(n), uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), 8, 0, 0)
	return errno
}

// relay counts what arrives, so that a flood of one signal can never push out another, and rings the bell.
func relay(ch <-chan os.Signal) {
	for s := range ch {
		n, ok := s.(syscall.Signal)
		if !ok || n < 0 || int(n) >= NSignals {
			continue
		}
		counts[n].Add(1)
		Ring()
	}
}

var one = [8]byte{0: 1, 7: 0}

// Ring makes Bell readable.
func Ring() {
	if bell >= 0 {
		_, _ = unix.Write(bell, one[:])
	}
}

// Bell returns the descriptor that becomes readable when a signal came, -1 when there is none (then ask Take again and
// again).
func Bell() int {
	if bell < 0 {
		bell, _ = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	}
	return bell
}

// Take returns how often signal n came since the last call.
func Take(n int) int { return int(counts[n].Swap(0)) }

// share puts the counts into a page that the next image can read: until the kernel ends them, in the exec, the other
// threads go on receiving signals.
func share() {
	fd, err := unix.MemfdCreate("zinit-signals", unix.MFD_CLOEXEC)
	if err != nil {
		return
	}
	if unix.Ftruncate(fd, pageSize) == nil && unix.Fallocate(fd, 0, 0, pageSize) == nil {
		if mem, err := unix.Mmap(fd, 0, pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err == nil {
			counts, page = (*tally)(unsafe.Pointer(&mem[0])), fd
			return
		}
	}
	_ = unix.Close(fd)
}

const pageSize = 4096

// Page returns the descriptor of the counts, -1 = none, for the next image.
func Page() int { return page }

// Adopt adds the counts of the image before, and closes its page.
func Adopt(fd int) {
	if fd < 0 {
		return
	}
	var st unix.Stat_t
	if unix.Fstat(fd, &st) == nil && st.Size == pageSize {
		if mem, err := unix.Mmap(fd, 0, pageSize, unix.PROT_READ, unix.MAP_SHARED); err == nil {
			before := (*tally)(unsafe.Pointer(&mem[0]))
			for n := range before {
				counts[n].Add(before[n].Load())
			}
			_ = unix.Munmap(mem)
		}
	}
	_ = unix.Close(fd)
	Ring()
}

// Masked reports whether this process was started with blocked signals, which its children inherit.
func Masked() bool { return masked }

// readMask asks the main thread for a mask that the runtime leaves as it was found.
func readMask() bool {
	var set unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, nil, &set); err != nil {
		return false
	}
	const width = int(unsafe.Sizeof(set.Val[0])) * 8
	for _, n := range []int{int(unix.SIGHUP), int(unix.SIGINT), int(unix.SIGUSR1), int(unix.SIGTERM)} {
		if set.Val[(n-1)/width]&(1<<((n-1)%width)) != 0 {
			return true
		}
	}
	return false
}

// Block prepares the calling thread to execute another program, over which HUP and INT are ignored and the rest blocked.
// Hush takes it back.
func Block() {
	for i, n := range ignored {
		// Not signal.Ignore: for an instant the runtime would take the signal for one that ends the process.
		var action sigaction
		action[0] = 1 // SIG_IGN
		sigactionCall(n, &action, &actions[i])
	}
	blocking = true
	var set unix.Sigset_t
	for i := range set.Val {
		set.Val[i] = ^set.Val[i]
	}
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &set, nil)
}

// Hush blocks in the calling thread what its own writes could cause: SIGPIPE, which would look like one from outside, and
// SIGTTOU, with which a terminal could stop it. Other signals are opened.
func Hush() {
	var set unix.Sigset_t
	const width = int(unsafe.Sizeof(set.Val[0])) * 8
	for _, n := range []int{int(unix.SIGPIPE), int(unix.SIGTTOU)} {
		set.Val[(n-1)/width] |= 1 << ((n - 1) % width)
	}
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &set, nil)
	if blocking {
		for i, n := range ignored {
			sigactionCall(n, &actions[i], nil)
		}
	}
	blocking = false
}

// sigaction is the kernel's struct, of which only the handler, its first word, matters here.
type sigaction [8]uintptr

var (
	ignored  = [...]syscall.Signal{syscall.SIGHUP, syscall.SIGINT}
	actions  [len(ignored)]sigaction // what Block found
	blocking bool
)

// unmask empties the mask and executes what was asked for. A program named by descriptor must not inherit that one.
func unmask() {
	var set unix.Sigset_t
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &set, nil)
	if fd, found := strings.CutPrefix(os.Args[1], "/proc/self/fd/"); found {
		if n, err := strconv.Atoi(fd); err == nil {
			syscall.CloseOnExec(n)
		}
	}
	err := syscall.Exec(os.Args[1], os.Args[2:], os.Environ())
	_, _ = unix.Write(2, []byte(os.Args[1]+": "+err.Error()+"\n"))
	unix.Exit(127)
}

// raiseNofile makes room for the log pipes of many services: a kernel gives process 1 no more than 4096 descriptors. It is
// done behind the runtime's back, which goes on giving children the limits that it found at its start.
func raiseNofile() {
	const want = 1 << 19
	var now unix.Rlimit
	if unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &now) != nil || now.Cur >= want {
		return
	}
	if now.Max < want && setNofile(want, want) {
		return
	}
	setNofile(min(now.Max, want), now.Max)
}

func setNofile(soft, hard uint64) bool {
	lim := unix.Rlimit{Cur: soft, Max: hard}
	_, _, errno := syscall.RawSyscall6(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, uintptr(unsafe.Pointer(&lim)), 0, 0, 0)
	return errno == 0
}
