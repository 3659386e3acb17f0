package proc

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
)

// The signals that the supervisor sends of its own accord, by the numbers of this machine.
const (
	SIGHUP  = graph.Signal(unix.SIGHUP)
	SIGKILL = graph.Signal(unix.SIGKILL)
	SIGTERM = graph.Signal(unix.SIGTERM)
	SIGCONT = graph.Signal(unix.SIGCONT)
)

// Death is the signal that a child has ended, as os/signal delivers it.
type Death = os.Signal
