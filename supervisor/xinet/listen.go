package xinet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/zinit/zinit/internal/sleep"
)

// acceptPauseMax bounds the back-off of accepting while the process has no descriptors left.
const acceptPauseMax = time.Second

// endpoint is one bound address. A proxy that replaces another takes its endpoints over.
type endpoint struct {
	address  address
	listener net.Listener
	file     fs.FileInfo // of a Unix socket, to remove only what is ours
	owner    atomic.Pointer[proxy]
	closed   atomic.Bool
}

// bind listens on an address. A dead Unix socket is replaced, its directory created; anything else in the way is an error.
func bind(a address) (*endpoint, error) {
	if a.network == "unix" {
		if err := clearPath(a.target); err != nil {
			return nil, fmt.Errorf("cannot listen on %s: %w", a, err)
		}
	}
	listener, err := net.Listen(a.network, a.target)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", a, bareError(err))
	}
	e := &endpoint{address: a, listener: listener}
	if unix, ok := listener.(*net.UnixListener); ok {
		unix.SetUnlinkOnClose(false)
		e.file, _ = os.Lstat(a.target)
	}
	return e, nil
}

// clearPath makes way for a Unix socket.
func clearPath(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return bareError(err)
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return bareError(err)
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("something that is no socket has this name")
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = conn.Close()
		return errors.New("another process listens there")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return bareError(err)
	}
	return os.Remove(path)
}

func bareError(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// accept hands connections to the endpoint's owner until close.
func (e *endpoint) accept(ctx context.Context) {
	pause := time.Duration(0)
	for {
		conn, err := e.listener.Accept()
		if err == nil {
			pause = 0
			e.owner.Load().take(ctx, conn)
			continue
		}
		if e.closed.Load() || ctx.Err() != nil {
			return
		}
		if pause == 0 {
			e.owner.Load().log("cannot accept a connection", "address", e.address.String(), "error", err)
		}
		pause = min(max(2*pause, 5*time.Millisecond), acceptPauseMax)
		if !sleep.For(ctx, pause) {
			return
		}
	}
}

// shown is the address for people: where a port was left to the kernel, the one it gave.
func (e *endpoint) shown() string {
	if e.address.network == "tcp" {
		return "tcp:" + e.listener.Addr().String()
	}
	return e.address.String()
}

// close stops listening and removes a socket file that is still ours.
func (e *endpoint) close() {
	e.closed.Store(true)
	if e.file != nil {
		if now, err := os.Lstat(e.address.target); err == nil && os.SameFile(now, e.file) {
			_ = os.Remove(e.address.target)
		}
	}
	_ = e.listener.Close()
}
