package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/terminal"
)

// format is the value of -o.
type format string

// The formats.
const (
	formatTable format = "table"
	formatWide  format = "wide"
	formatJSON  format = "json"
	formatJSONL format = "jsonl"
	formatName  format = "name"
)

var formats = []string{"table", "wide", "json", "jsonl", "name"}

// machine reports whether the format is read by programs.
func (f format) machine() bool { return f == formatJSON || f == formatJSONL }

// output is stdout: buffered, and quiet once its reader has gone.
type output struct {
	w        *bufio.Writer
	style    style
	terminal bool
	strip    bool // --color never: not even the colours of services
	width    int  // columns of the terminal, 0 = no terminal: nothing is cut
	closed   bool // the reader went away (EPIPE)
	cancel   context.CancelFunc
	failure  error
}

func newOutput(w io.Writer, cancel context.CancelFunc) *output {
	o := &output{w: bufio.NewWriterSize(w, 64<<10), terminal: terminal.Is(w), cancel: cancel}
	if o.terminal {
		o.width = terminalWidth(w)
	}
	return o
}

// print adds text. The first failure to write is kept for flush.
func (o *output) print(text string) {
	if o.failure == nil {
		_, err := o.w.WriteString(text)
		o.note(err)
	}
}

func (o *output) flush() error {
	if o.failure == nil {
		o.note(o.w.Flush())
	}
	if o.closed {
		return nil
	}
	return o.failure
}

func (o *output) note(err error) {
	if err == nil {
		return
	}
	o.failure = failf(exitFailed, "cannot write to standard output: %v", cause(err))
	if errors.Is(err, syscall.EPIPE) {
		o.closed = true
		o.cancel()
	}
}

// cause is the innermost text of an error about a file: without the path, which the caller names.
func cause(err error) error {
	var path *os.PathError
	var link *os.LinkError
	var call *os.SyscallError
	switch {
	case errors.As(err, &path):
		return path.Err
	case errors.As(err, &link):
		return link.Err
	case errors.As(err, &call):
		return call.Err
	}
	return err
}

// document prints one value: json indented, jsonl one line each element of a list.
func (o *output) document(f format, value any) {
	raw := document(value)
	if f == formatJSONL {
		o.lines(raw)
		return
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, raw, "", "  "); err != nil {
		o.failure = err
		return
	}
	o.print(indented.String() + "\n")
}

func (o *output) lines(raw []byte) {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		o.print(string(raw) + "\n")
		return
	}
	for _, one := range list {
		o.print(string(one) + "\n")
	}
}

// print shows a result in the chosen format: value for programs, the names for -o name, text for people.
func (v *invocation) print(value any, names []string, text func() string) error {
	switch {
	case v.format.machine():
		v.out.document(v.format, value)
	case v.format == formatName && names != nil:
		for _, name := range names {
			v.out.print(name + "\n")
		}
	default:
		v.out.print(text())
	}
	return nil
}

func descriptor(stream any) (int, bool) {
	if f, ok := stream.(interface{ Fd() uintptr }); ok {
		return int(f.Fd()), true
	}
	return -1, false
}

func terminalWidth(stream any) int {
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n >= 20 {
		return n
	}
	fd, _ := descriptor(stream)
	if size, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ); err == nil && size.Col >= 20 {
		return int(size.Col)
	}
	return 80
}
