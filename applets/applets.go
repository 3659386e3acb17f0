// Package applets decides which program the one binary is.
package applets

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/zinit/zinit/applets/cli"
	"github.com/zinit/zinit/applets/pid1"
	"github.com/zinit/zinit/applets/pid1/early"
	"github.com/zinit/zinit/applets/server"
	"github.com/zinit/zinit/supervisor/proc"
)

// Trampoline is the hidden name under which the binary prepares a service's process before it executes the program.
const Trampoline = "zinit-exec"

// Main runs the applet that argv asks for and returns its exit code. The name decides first: zinit-pid1 and init are
// the PID 1 shim, zinit-server is the server, anything else is the client, whose first argument may name an applet.
func Main(argv []string) int {
	run, argv := choose(argv)
	if run == nil {
		return cli.Main(argv, os.Stdin, os.Stdout, os.Stderr)
	}
	return run(argv)
}

// IsClient tells whether argv asks for the client: all it needs is to be quick.
func IsClient(argv []string) bool {
	run, _ := choose(argv)
	return run == nil
}

// choose returns the applet that argv asks for, nil for the client, and the arguments it gets.
func choose(argv []string) (run func([]string) int, args []string) {
	name := "zinit"
	if len(argv) > 0 {
		name = filepath.Base(argv[0])
	}
	switch name {
	case Trampoline:
		return proc.TrampolineMain, argv
	case "zinit-pid1":
		return pid1.Main, argv
	case "init":
		return initMain, argv
	case "zinit-server":
		return server.Main, argv
	}
	if len(argv) > 1 {
		switch argv[1] {
		case "init":
			if !early.IsShim(argv[2:], os.Getpid() == 1) {
				return nil, argv
			}
			fallthrough
		case "pid1":
			return pid1.Main, append([]string{"zinit-pid1"}, argv[2:]...)
		case "server":
			return server.Main, append([]string{"zinit-server"}, argv[2:]...)
		case "switch-root":
			return pid1.SwitchRoot, argv[1:]
		}
	} else if os.Getpid() == 1 {
		// Only a bare `zinit` that is process 1 is the shim, so that `docker run IMAGE zinit list` is a list.
		return pid1.Main, []string{"zinit-pid1"}
	}
	return nil, argv
}

// initMain refuses to be init when it is not process 1: somebody typed `init` and meant something else.
func initMain(argv []string) int {
	if os.Getpid() == 1 {
		return pid1.Main(argv)
	}
	fmt.Fprintln(os.Stderr, "init: not process 1; to run services below this process use: zinit pid1 --config DIR")
	return 2
}
