package proc

import (
	"errors"
	"fmt"
	"syscall"
)

// The steps of a start that can fail, in the order in which they are taken. A start that fails names one of them, and
// the supervisor shows it as the kind of a spawn_error.
const (
	StepEnvFile      = "env_file" // the file of env_file
	StepEnvFromFile  = "env_from_file"
	StepCredentials  = "credentials" // the copies, or what they are made from
	StepUser         = "user"        // the user's name, or setuid
	StepGroup        = "group"       // the group's name, or setgid
	StepGroups       = "groups"      // the supplementary groups
	StepExec         = "exec"        // the program: not found, not executable, of no known format
	StepInterpreter  = "interpreter" // the program behind #!, or the dynamic loader
	StepDir          = "dir"         // the working directory
	StepTTY          = "tty"         // the terminal
	StepCgroup       = "cgroup"      // the control group or one of its limits
	StepFork         = "fork"        // the process itself: EAGAIN, out of memory, out of descriptors
	StepOOMScore     = "oom_score_adj"
	StepNice         = "nice"
	StepUmask        = "umask"
	StepLimits       = "limits"
	StepCapabilities = "capabilities"
	StepPrivileges   = "no_new_privileges"
)

// Error is why a start failed: the step and one line for people ("cannot execute \"redis\": not found in PATH …").
type Error struct {
	Step   string // one of the Step constants
	Detail string // one line, lower case, with the cause and the next step where there is one
	Errno  syscall.Errno
}

// Error returns the line for people.
func (e *Error) Error() string { return e.Detail }

// Unwrap returns the system call's error number, so that errors.Is works; nil when there is none.
func (e *Error) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}

// LostGroup reports whether a start failed because its control group was removed before the fork.
func LostGroup(err *Error) bool {
	return err != nil && err.Step == StepCgroup && (err.Errno == syscall.ENOENT || err.Errno == syscall.ENODEV)
}

func failf(step string, errno syscall.Errno, format string, args ...any) *Error {
	return &Error{Step: step, Errno: errno, Detail: fmt.Sprintf(format, args...)}
}

// errnoOf digs the error number out of err, 0 when there is none.
func errnoOf(err error) syscall.Errno {
	var e syscall.Errno
	if errors.As(err, &e) {
		return e
	}
	return 0
}
