package rpc

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// openReserve opens a descriptor to give up when there are no others; nil when that fails.
func openReserve() *os.File {
	file, err := os.Open(os.DevNull)
	if err != nil {
		return nil
	}
	return file
}

// affordable lowers a number of connections to half of the descriptors that the process may have: the other half is for
// the services.
func affordable(connections int) int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil || limit.Cur > 1<<20 {
		return connections
	}
	return min(connections, max(int(limit.Cur/2), 4))
}

func outOfDescriptors(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM) ||
		errors.Is(err, syscall.ENOBUFS)
}

// passing errors concern one connection, not the listener.
func passing(err error) bool {
	return errors.Is(err, syscall.ECONNABORTED) || errors.Is(err, syscall.EINTR) || errors.Is(err, syscall.EPROTO) ||
		errors.Is(err, os.ErrDeadlineExceeded)
}
