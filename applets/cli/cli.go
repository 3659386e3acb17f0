// Package cli is the client: the commands that people and scripts type. Every command speaks to the server through
// rpc.Client, except check, schema, install, image and completion, which need none.
//
// The rules that hold for all commands: stdout is the result and stderr everything else; an error is one line that says
// what failed, which name, and the next step; the exit codes are those of errors.go; flags may stand after names.
package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/zinit/zinit/internal/project"
	"github.com/zinit/zinit/internal/terminal"
	"github.com/zinit/zinit/rpc"
)

// invocation is one run of the client: its streams, its global flags, and the connection once there is one.
type invocation struct {
	ctx         context.Context
	in          io.Reader
	out         *output
	err         io.Writer
	errStyle    style
	errTerminal bool
	now         func() time.Time

	socket  string
	system  bool             // not the project's server
	project *project.Project // that the commands are about, nil = none, or not looked for yet
	quiet   bool
	format  format
	conn    *rpc.Client
	app     *cli.App
}

// Main runs the client. args[0] is the name it was called by: reboot, poweroff, halt and shutdown act as those
// commands. The result is the exit code.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// With somebody listening for SIGPIPE a write to a closed pipe is an error instead of the end of the process.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	v := newInvocation(ctx, cancel, stdin, stdout, stderr)
	defer v.close()
	name := "zinit"
	if len(args) > 0 {
		name, args = filepath.Base(args[0]), args[1:]
	}
	if isPowerName(name) {
		return v.finish(v.powerMain(name, args))
	}
	return v.finish(v.run(args))
}

func newInvocation(ctx context.Context, cancel context.CancelFunc, stdin io.Reader, stdout, stderr io.Writer) *invocation {
	v := &invocation{ctx: ctx, in: stdin, err: stderr, now: time.Now, format: formatTable}
	v.out = newOutput(stdout, cancel)
	v.errTerminal = terminal.Is(stderr)
	v.errStyle = style{on: terminal.WantColor("auto", v.errTerminal)}
	v.app = newApp(v)
	return v
}

// run parses args (without the program's name) and carries the command out.
func (v *invocation) run(args []string) error {
	args, help, err := arrange(v.app, args)
	if err != nil {
		return err
	}
	if help != nil {
		return v.printHelp(help.path)
	}
	return v.dispatch(args)
}

// finish prints the error, if it has a text, and returns the exit code. A reader of stdout that went away is no error.
func (v *invocation) finish(err error) int {
	if flushed := v.out.flush(); err == nil {
		err = flushed
	}
	if v.out.closed {
		return exitOK
	}
	if err == nil {
		return exitOK
	}
	if v.ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return exitInterrupted
	}
	if text := describe(err); text != "" {
		v.complain(text)
	}
	return exitCode(err)
}

// complain writes one line to stderr.
func (v *invocation) complain(text string) {
	_ = v.out.flush()
	_, _ = io.WriteString(v.err, v.errStyle.paint(red, "zinit:")+" "+terminal.Escape(text)+"\n")
}

// say writes one line of the result of a change; -q silences it.
func (v *invocation) say(text string) {
	if !v.quiet {
		v.out.print(text + "\n")
	}
}

// note writes a line for people to stderr; -q silences it.
func (v *invocation) note(text string) {
	if !v.quiet {
		_ = v.out.flush()
		_, _ = io.WriteString(v.err, terminal.Escape(text)+"\n")
	}
}

// client connects on first use.
func (v *invocation) client() (*rpc.Client, error) {
	if v.conn != nil {
		return v.conn, nil
	}
	where, err := v.where()
	if err != nil {
		return nil, err
	}
	conn, err := rpc.DialDefault(v.ctx, where)
	if err != nil {
		return nil, v.projectDown(err)
	}
	v.conn = conn
	return conn, nil
}

// another opens a connection of its own, for calls that run at the same time.
func (v *invocation) another(options ...rpc.Option) (*rpc.Client, error) {
	first, err := v.client()
	if err != nil {
		return nil, err
	}
	return rpc.Dial(v.ctx, first.Socket(), options...)
}

func (v *invocation) close() {
	if v.conn != nil {
		_ = v.conn.Close()
	}
}
