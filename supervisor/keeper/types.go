package keeper

import (
	"errors"
	"time"
)

// Version is the version of the protocol. Either side ignores message types that it does not know, so that a keeper and
// a server of different releases go on together; the number only grows when that is not enough.
const Version = 1

// What a store holds at most. A server that asks for more is told no by a count, never by an error that could stop it.
const (
	MaxName    = 128       // bytes of a service's name
	MaxPath    = 4000      // bytes of a path or text
	MaxPipes   = 65536     // log pipes
	MaxTracked = 65536     // processes, and exits of such that wait for their AckExit
	MaxUnknown = 4096      // exits of other orphans; the oldest goes first
	MaxFiles   = 256       // named descriptors beside listener, arena and journal
	MaxFrame   = 16 * 1024 // bytes of one message
	maxEntries = 100       // entries, and descriptors, of one message
)

// Names under which the three descriptors that every server keeps are stored.
const (
	fileListener = "listener"
	fileArena    = "arena"
	fileJournal  = "journal"
)

// UpgradeWindow is how long a new executable has to prove itself until the keeper lets go of the one before.
const UpgradeWindow = 60 * time.Second

// Mode is what the keeper is.
type Mode uint8

// The modes of pid1.
const (
	Machine   Mode = iota // process 1 of a machine
	Container             // process 1 of a pid namespace
	Plain                 // an ordinary process and child subreaper
)

// String returns the mode as status and logs write it.
func (m Mode) String() string {
	switch m {
	case Machine:
		return "machine"
	case Container:
		return "container"
	case Plain:
		return "keeper"
	}
	return "?"
}

// Reason is why the server ends, as it tells its keeper. An end without a word is a crash.
type Reason uint8

// The reasons. ByeStop leaves the choice to what was asked by signal, else the machine is powered off.
const (
	ByeNone     Reason = iota
	ByeStop            // everything is stopped; Code is the container's exit status
	PowerOff           // machine: switch off
	Reboot             // machine: restart
	Halt               // machine: stop the processor
	ByeUpgrade         // start the executable of Upgrade in my place
	ByeRefused         // cannot start and it is pointless to try again: a container ends with Code
	nReasons           // the end of the valid ones
	maxExitCode = 255
)

// Order is what the keeper asks of the server: the signals it received, as reliable messages.
type Order uint8

// The orders. OrderKill is the second stop request of a container: what still runs is killed at once.
const (
	OrderStop Order = iota + 1
	OrderPowerOff
	OrderReboot
	OrderHalt
	OrderKill
	OrderReload
	OrderUpgrade
	nOrders
)

// String returns the order as messages write it.
func (o Order) String() string {
	names := [...]string{"none", "stop", "power off", "reboot", "halt", "kill", "reload", "upgrade"}
	if int(o) < len(names) {
		return names[o]
	}
	return "?"
}

// Pipe is the read end of a log pipe. Stream is 1 for stdout and 2 for stderr.
type Pipe struct {
	Service string
	Gen     uint64
	Stream  uint8
	FD      int
}

// File is a named descriptor. Path is free text that goes with it, for a listener the socket's path.
type File struct {
	Name string
	Path string
	FD   int
}

// Exit is how a process ended that the keeper reaped. Start is its start time in clock ticks since boot (field 22 of
// /proc/PID/stat), 0 when /proc could not tell. Gen is what Track said, 0 for a process that was not tracked.
type Exit struct {
	PID    int
	Start  uint64
	Gen    uint64
	Code   int32 // exit code, valid when Signal == 0
	Signal int32 // > 0: killed by it
	Core   bool
	Tag    uint64 // the mark of supervisor/proc (bit 63 is set), or the incarnation that its control group names; 0 = neither
	At     int64  // CLOCK_MONOTONIC when it was reaped, ns; 0 = not known
	seq    uint64
}

// Handover is everything the keeper holds, given to each new server. The descriptors are the caller's and close-on-exec.
type Handover struct {
	Version     int     // the keeper's protocol version
	Mode        Mode    // what the keeper is
	PID         int     // the keeper's process
	Starts      int     // how many servers were started, this one included
	Order       Order   // an order that the last server had not carried out, 0 = none
	Orders      []Order // others that the image before did not take, when this process executed another in its place
	StartedAt   int64   // when the keeper started, CLOCK_BOOTTIME nanoseconds
	SpawnedAt   int64   // when this server was started, CLOCK_BOOTTIME nanoseconds
	Target      string  // kernel word zinit.target=, "" = everything
	LastCrash   string  // how the server before ended, "" = it said bye or there was none
	RolledBack  string  // set when an upgrade was taken back: the reason
	Lost        int     // pipes and pids that the keeper could not hold (limits)
	Listener    int     // -1 = none
	SocketPath  string  // of Listener
	Arena       int     // -1 = none
	Journal     int     // -1 = none
	Pipes       []Pipe
	Files       []File
	Exits       []Exit
	Tracked     map[int]uint64 // pid -> gen
	Executable  string         // path of the executable that the keeper starts, for messages
	UpgradeDone bool           // this server is the first start after Upgrade
}

// Event is one word from the keeper to a running server: Exits or Order is set.
type Event struct {
	Exits []Exit
	Order Order
}

// ErrGone says that the other side has closed the connection or is gone.
var ErrGone = errors.New("the other side of the keeper socket is gone")

var (
	errFrame   = errors.New("malformed keeper message")
	errNoHello = errors.New("no answer from the keeper")
)
