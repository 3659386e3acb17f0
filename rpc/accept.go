package rpc

import (
	"errors"
	"os"
	"syscall"
)

// openReserve opens a descriptor to give up when there are no others; nil when that fails.
func openReserve() *os.File {
	file, err := os.Open(os.DevNull)
	if err != nil {
		return nil
	}
	return file
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
