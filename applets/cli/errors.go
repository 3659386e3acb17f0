package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
)

// The exit codes of the client; `zinit help exit-codes` explains them.
const (
	exitOK            = 0
	exitFailed        = 1
	exitUsage         = 2
	exitNotActive     = 3 // status, is-active
	exitNoPermission  = 4
	exitStatusUnknown = 4 // status of a name that does not exist, as service managers do
	exitNoService     = 5
	exitBadConfig     = 6
	exitNotRunning    = 7
	exitUnreachable   = 69 // EX_UNAVAILABLE of sysexits.h
	exitTimedOut      = 124
	exitInterrupted   = 130
)

// exitError is an error with the exit code it means. An empty text says that everything was said already.
type exitError struct {
	code int
	text string
}

func (e *exitError) Error() string { return e.text }

func failf(code int, format string, args ...any) error {
	return &exitError{code, fmt.Sprintf(format, args...)}
}

func usagef(format string, args ...any) error { return failf(exitUsage, format, args...) }

// silent ends with a code and no further word.
func silent(code int) error {
	if code == exitOK {
		return nil
	}
	return &exitError{code: code}
}

// codeTable maps what the server answers to exit codes; what is not in it is exitFailed.
var codeTable = map[wire.Code]int{
	wire.CodeNotFound:      exitNoService,
	wire.CodeNotRunning:    exitNotRunning,
	wire.CodeInvalidConfig: exitBadConfig,
	wire.CodeCycle:         exitBadConfig,
	wire.CodeValidation:    exitBadConfig,
	wire.CodeNotPermitted:  exitNoPermission,
	wire.CodeTimedOut:      exitTimedOut,
}

// exitCode is the code that an error means.
func exitCode(err error) int {
	var own *exitError
	var answer *wire.Error
	var lost *rpc.TransportError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &own):
		return own.code
	case errors.As(err, &answer):
		if code, ok := codeTable[answer.Code]; ok {
			return code
		}
		return exitFailed
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM), errors.Is(err, os.ErrPermission):
		return exitNoPermission
	case errors.As(err, &lost):
		return exitUnreachable
	}
	return exitFailed
}

// describe is an error as people read it: what the library says, and the next step.
func describe(err error) string {
	var lost *rpc.TransportError
	var down *noServer
	if errors.As(err, &down) {
		return err.Error()
	}
	if !errors.As(err, &lost) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err.Error()
	}
	switch {
	case lost.Sent:
		return err.Error() + "; look with: zinit status"
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return err.Error() + " (no server is running there; start one with: zinit server, or name another socket with: --socket PATH)"
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return err.Error() + " (become root or a member of the socket's group)"
	}
	return err.Error()
}

// worst is the code that several results together return: the highest.
func worst(a, b int) int { return max(a, b) }

func isCode(err error, code wire.Code) bool {
	var answer *wire.Error
	return errors.As(err, &answer) && answer.Code == code
}
