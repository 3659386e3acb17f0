package proc

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// OpenPidfd opens a descriptor for a process that is known by pid and start time (in ticks, 0 = any). It becomes readable
// in poll(2) when the process ends. The error is ErrGone when that process does not exist any more, also when the pid
// has another process by now. The caller closes it.
func OpenPidfd(pid int, start uint64) (int, error) {
	if pid <= 0 {
		return -1, ErrGone
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ESRCH {
		return -1, ErrGone
	}
	if err != nil {
		return -1, err
	}
	unix.CloseOnExec(fd)
	if start == 0 {
		return fd, nil
	}
	// The descriptor pins the process it names, so what /proc says now is about the same one if the start time is right.
	p, err := ReadProcess(pid)
	if err != nil || p.Start != start {
		unix.Close(fd)
		return -1, ErrGone
	}
	return fd, nil
}

// SignalProcess sends a signal to exactly the process with this pid and start time, or to none (ErrGone).
func SignalProcess(pid int, start uint64, sig unix.Signal) error {
	fd, err := OpenPidfd(pid, start)
	switch {
	case err == nil:
		defer unix.Close(fd)
		return signalPidfd(fd, pid, start, sig)
	case !noPidfd(err):
		return err
	}
	return signalPID(pid, start, sig)
}

// signalPidfd sends a signal through the pidfd of the process with this pid and start time; ErrGone when it has ended.
// A sandbox may know pidfds and not the call that signals through one: kill(2) tells whether it is that, or the process
// that may not be signalled.
func signalPidfd(fd, pid int, start uint64, sig unix.Signal) error {
	err := unix.PidfdSendSignal(fd, sig, nil, 0)
	switch {
	case err == unix.ESRCH:
		return ErrGone
	case noPidfd(err):
		return signalPID(pid, start, sig)
	}
	return err
}

func signalPID(pid int, start uint64, sig unix.Signal) error {
	p, err := ReadProcess(pid)
	if err != nil || start != 0 && p.Start != start {
		return ErrGone
	}
	if err := unix.Kill(pid, sig); err != unix.ESRCH {
		return err
	}
	return ErrGone
}

// noPidfd tells a kernel (before 5.3) or a sandbox without pidfds.
func noPidfd(err error) bool {
	return errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM)
}

// SignalGroup sends a signal to the process group of a main process that is our child, or was: it must not have been
// reaped yet (a zombie keeps the number from being used again). ErrGone when nobody is left in the group.
func SignalGroup(main int, sig unix.Signal) error {
	if main <= 1 {
		return ErrGone // 0 and -1 would be our own group and everybody
	}
	if err := unix.Kill(-main, sig); err != unix.ESRCH {
		return err
	}
	return ErrGone
}

// WaitPidfds waits until all processes behind the descriptors have ended, or the time is over; it tells which have not.
func WaitPidfds(fds []int, limit time.Duration) (left []int) {
	deadline := time.Now().Add(limit)
	left = append(left, fds...)
	for len(left) > 0 {
		polled := make([]unix.PollFd, len(left))
		for i, fd := range left {
			polled[i] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
		}
		wait := max(time.Until(deadline), 0)
		n, err := unix.Poll(polled, int((wait+time.Millisecond-1)/time.Millisecond))
		if err == unix.EINTR {
			continue
		}
		if n <= 0 || err != nil {
			return left
		}
		left = left[:0]
		for _, p := range polled {
			if p.Revents == 0 {
				left = append(left, int(p.Fd))
			}
		}
	}
	return nil
}
