package proc

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
)

// Whether /proc is that of our own pid namespace: not asked yet, yes, no.
const (
	procUnasked int32 = iota
	procOurs
	procForeign
)

var procState atomic.Int32

// CheckProc looks whether /proc is there and shows the pid namespace that we are in; call it again when something else
// may be mounted there. After an error no number is taken from it: the processes it names are others, or nobody's. Control
// groups, and what the kernel says about our own children, remain.
func CheckProc() error {
	err := lookAtProc()
	if err != nil {
		procState.Store(procForeign)
		return err
	}
	procState.Store(procOurs)
	return nil
}

func lookAtProc() error {
	self, err := os.Readlink("/proc/self")
	if errors.Is(err, os.ErrNotExist) {
		if _, err := os.Stat("/proc/uptime"); err == nil {
			return errors.New("/proc is that of another pid namespace, in which this process does not exist")
		}
		return errors.New("there is no /proc")
	}
	if err != nil {
		return fmt.Errorf("cannot use /proc: %w", cause(err))
	}
	if self != strconv.Itoa(os.Getpid()) || nested() {
		return errors.New("/proc is that of another pid namespace: it calls this process " + self +
			", which is " + strconv.Itoa(os.Getpid()))
	}
	return nil
}

// nested reports whether the line NSpid of our own status begins in a namespace above ours: it has a number for each
// from the one of /proc down to ours.
func nested() bool {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		if numbers, ok := strings.CutPrefix(line, "NSpid:"); ok {
			return len(strings.Fields(numbers)) > 1
		}
	}
	return false
}

// Usable reports whether the numbers in /proc are those of our pid namespace; see CheckProc.
func Usable() bool { return usable() }

// usable reports whether the numbers in /proc mean something to us.
func usable() bool {
	state := procState.Load()
	if state == procUnasked {
		_ = CheckProc()
		state = procState.Load()
	}
	return state == procOurs
}
