package proc

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
)

// maskCleared marks that the supervisor has executed itself already; Environ does not pass it on.
const maskCleared = "ZINIT_MASK_CLEARED"

// ClearMaskOrReexec makes sure that children will start with an empty signal mask. A child gets the mask of the thread
// that forks it, and the Go runtime gives every new thread the mask that the process was started with, less the signals
// it needs; that cannot be changed for all threads later. So a supervisor that was started with a non-empty mask clears
// it and executes itself once, with the same arguments, environment and descriptors: call it before anything else. It
// returns when nothing is to be done, or with an error when the mask stays.
func ClearMaskOrReexec() error {
	again := os.Getenv(maskCleared) != ""
	os.Unsetenv(maskCleared)
	mask, err := maskOf("self", "SigBlk")
	if err != nil || mask == 0 {
		return err
	}
	if again {
		return fmt.Errorf("cannot clear the signal mask: it is %x after executing again", mask)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var none unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &none, nil); err != nil {
		return fmt.Errorf("cannot clear the signal mask: %w", err)
	}
	err = syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), maskCleared+"=1"))
	return fmt.Errorf("cannot execute again with a cleared signal mask: %w", err)
}

// maskOf reads a signal set of /proc/PID/status.
func maskOf(pid, field string) (uint64, error) {
	data, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0, fmt.Errorf("cannot read signal sets: %w", err)
	}
	for line := range strings.SplitSeq(string(data), "\n") {
		if value, ok := strings.CutPrefix(line, field+":\t"); ok {
			return strconv.ParseUint(value[max(0, len(value)-16):], 16, 64) // MIPS writes 128 signals
		}
	}
	return 0, fmt.Errorf("cannot find %s in /proc/%s/status", field, pid)
}

// DefaultDispositions sets every ignored signal to its default action, because children inherit what is ignored (nohup,
// a shell's background jobs). The Go runtime leaves ignored signals alone that it has no handler for. Call it before
// signal.Notify, which installs handlers, and never call signal.Ignore.
func DefaultDispositions() error {
	ignored, err := maskOf("self", "SigIgn")
	if err != nil {
		return err
	}
	for sig := 1; ignored != 0 && sig <= 64; sig++ {
		if ignored>>(sig-1)&1 == 0 {
			continue
		}
		var action [64]byte // struct sigaction: all zero is SIG_DFL with nothing set
		_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&action)), 0,
			sigsetSize, 0, 0)
		if errno != 0 {
			return fmt.Errorf("cannot reset signal %d: %w", sig, errno)
		}
	}
	return nil
}

// SealDescriptors marks every descriptor from 3 on close-on-exec, so that what the supervisor inherited by accident does
// not reach its services. Descriptors that it was given on purpose stay open in the supervisor itself.
func SealDescriptors() error {
	const closeRangeCloexec = 4
	err := unix.CloseRange(3, ^uint(0)>>(unsafe.Sizeof(uint(0))*8-32), closeRangeCloexec)
	if err == nil {
		return nil
	}
	for _, fd := range listNumbers("/proc/self/fd", nil) { // before Linux 5.11
		if fd >= 3 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// GrowDescriptors makes the kernel's table of this process's descriptors large enough for n of them. In a program of
// several threads the kernel waits for a grace period of some 10 ms each time the table is doubled, which otherwise
// happens in the middle of a start of many services. It blocks for that time.
func GrowDescriptors(n int) {
	if fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, n); err == nil {
		unix.Close(fd)
	}
}

// subreaper says that orphans become children of this process.
var subreaper atomic.Bool

// deathSignals reports whether children may ask for a signal at our death: a sandbox that refuses prctl(2) does not let them,
// and a service without it is better than none.
var deathSignals = sync.OnceValue(func() bool {
	var sig int32
	return unix.Prctl(unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&sig)), 0, 0, 0) == nil
})

// BecomeSubreaper makes orphans of our descendants children of this process.
func BecomeSubreaper() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot become a child subreaper: %w", err)
	}
	subreaper.Store(true)
	return nil
}

// originalNofile is the limit of descriptors that services inherit, and whether it is another than that of the
// supervisor itself. The Go runtime raises the soft limit when a program starts and keeps the old one to itself;
// only syscall.Exec sets it again, so we let it fail to execute nothing and raise the limit once more.
var originalNofile = sync.OnceValues(func() (unix.Rlimit, bool) {
	var raised, original unix.Rlimit
	_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &raised)
	_ = syscall.Exec("", []string{""}, nil)
	_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &original)
	if original == raised {
		return original, false
	}
	_ = setNofile(&raised)
	return original, true
})

// setNofile sets the limit of descriptors of this process.
func setNofile(l *unix.Rlimit) syscall.Errno {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, uintptr(unsafe.Pointer(l)), 0, 0, 0)
	return errno
}

// Exec executes another program in place, with the limit of descriptors that this one was started with. It returns
// only on failure.
func Exec(path string, argv, env []string) error {
	var own unix.Rlimit
	_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &own)
	if original, changed := originalNofile(); changed {
		_ = setNofile(&original)
		defer func() { _ = setNofile(&own) }()
	}
	return syscall.Exec(path, argv, env)
}

// programsReady is how many threads may fork at the same time without a copy of all descriptors, whatever is opened first.
const programsReady = 2

// Prepare brings a freshly started supervisor into the state that its children shall inherit: no descriptors, default
// dispositions, umask 022, and makes it a child subreaper. It returns the first error after having tried everything.
// ClearMaskOrReexec comes before it.
func Prepare() error {
	originalNofile()
	everyProcessor()
	if canClone {
		reservePrograms(programsReady)
	}
	errs := []error{SealDescriptors(), DefaultDispositions(), BecomeSubreaper()}
	unix.Umask(0o022)
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// oomScorePath is where a process sets its own adjustment.
const oomScorePath = "/proc/self/oom_score_adj"

// ownOOMScore is the oom_score_adj of the supervisor, which is the administrator's or the keeper's to set; 0 where it cannot
// be read.
var ownOOMScore = sync.OnceValue(func() int {
	data, err := os.ReadFile(oomScorePath)
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(data)))
	return n
})

// oomScore is what oom_score_adj of a child is set to, nil = it is left as the supervisor's own: what the definition says,
// else 0 where the supervisor is protected more than that, which no service inherits. One above 0 is meant for all that
// runs below it, and only the privileged could lower it.
func oomScore(id *graph.Identity) *int {
	if id.OOMScoreAdj == nil && ownOOMScore() < 0 {
		return new(int)
	}
	return id.OOMScoreAdj
}
