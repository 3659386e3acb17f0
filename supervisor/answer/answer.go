// Package answer answers the questions of clients: from the View that the loop has published last, from the events, the
// rings and /proc. It never asks the loop, so that no answer queues behind it, and changes nothing.
package answer

import (
	"sync/atomic"
	"time"

	"github.com/zinit/zinit/logring"
	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/jobs"
	"github.com/zinit/zinit/supervisor/logfile"
	"github.com/zinit/zinit/supervisor/proc"
	"github.com/zinit/zinit/supervisor/ship"
	"github.com/zinit/zinit/supervisor/view"
)

// About says who answers.
type About struct {
	Version       string
	Mode          string // machine, container, keeper or server
	ConfigDirs    []string
	Socket        string // path of the control socket
	Survives      bool   // a keeper is above, so that the services outlive a crash of this server
	Starts        int    // servers since the keeper began
	LastCrash     string // how the server before ended, "" = it did not crash
	RolledBack    string // the version that did not come up after an upgrade, "" = none
	KeeperStartNS int64  // CLOCK_BOOTTIME of pid1's start
}

// Sources is what the answers are made from. All of it may be read at any time, from any goroutine.
type Sources struct {
	About
	Views     *view.Publisher
	Events    *view.EventLog
	Tally     *view.Tally
	Boot      *view.BootLine
	Clock     view.Clock
	Defs      *atomic.Pointer[view.Definitions]
	Arena     *logring.Arena
	Files     *logfile.Files
	Ship      *ship.Shipper
	Jobs      *jobs.History
	Scanner   *proc.Scanner
	Cgroups   *proc.Root // nil: none
	NoCgroups string     // why not
	Done      <-chan struct{}

	LastUpgrade *atomic.Pointer[wire.LastUpgrade]
}

// Reader answers. Its methods are the questions of rpc.Backend that change nothing.
type Reader struct {
	from    Sources
	started time.Time
	stats   *statsKeeper
	usage   usageCache
}

// New makes a Reader. The first View must be published before it is asked.
func New(from Sources) *Reader {
	return &Reader{from: from, started: time.Now(), stats: newStatsKeeper()}
}

// Boot is the time line of the start.
func (s *Reader) Boot() (wire.Boot, error) {
	w := s.from.Boot.Wire(s.from.Views.Load())
	if s.from.Boot.Kernel() {
		w.KernelMS = float64(s.from.KeeperStartNS) / 1e6
	}
	return w, nil
}
