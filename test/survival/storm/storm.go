package storm

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/rpc"
)

// Storm is one run. The exported fields are set before Begin.
type Storm struct {
	Socket   string
	Self     string        // executable that plays the services, see Play
	Work     string        // directory for what the services note
	Keeper   int           // process whose child the server is
	Tick     time.Duration // between two bursts of lines, >= 1 ms
	Pause    time.Duration // the longest between two kills; the shortest is a fiftieth of it
	Seed     uint64        // of the pauses
	Patience time.Duration // how long anything may take
	End      time.Time     // no kills after it but the first Least, zero = no limit
	Progress func(kills int)

	before  map[string]standing
	refused atomic.Int64 // connects that were refused
	pings   atomic.Int64
	lists   atomic.Int64
	lines   int
	stop    chan struct{}
	wg      sync.WaitGroup

	mu  sync.Mutex
	bad []string
}

var ctx = context.Background()

const (
	liners   = 8 // of them filers into a file as well
	filers   = 2
	crashers = 4
	badMax   = 20 // complaints that are kept
)

func (s *Storm) complain(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.bad) < badMax {
		s.bad = append(s.bad, fmt.Sprintf(format, args...))
	}
}

// Config makes the services: name of a file -> TOML.
func (s *Storm) Config() map[string]string {
	files := map[string]string{}
	service := func(name, play, env, more string) {
		files[name+".toml"] = fmt.Sprintf("[service]\nname = %q\nexec = [%q]\nenv = {%s = %q%s}\n%s", name, s.Self, role, play, env, more)
	}
	file := func(name string) string { return fmt.Sprintf(", ZT_FILE = %q", filepath.Join(s.Work, name)) }
	for i := range liners {
		name := fmt.Sprintf("line%d", i)
		logging := "[logging]\nbuffer_lines = 2000000\nbuffer_bytes = 16000000\n"
		if i < filers {
			logging += fmt.Sprintf("file = %q\nrotate_bytes = 1000000000\n", s.logFile(name))
		}
		service(name, "lines", fmt.Sprintf(`, ZT_PER_TICK = "%d", ZT_TICK_MS = "%d"`, 1+i%3, s.Tick.Milliseconds()), logging)
	}
	for i := range crashers {
		name := fmt.Sprintf("crash%d", i)
		service(name, "crash", file(name), "[lifecycle]\nrestart_delay_ms = 20\nrestart_delay_max_ms = 40\nmax_restarts = 0\n")
	}
	for i := range 2 {
		name := fmt.Sprintf("once%d", i)
		service(name, "once", file(name), "oneshot = true\n")
	}
	service("backoff", "fail", "", "[lifecycle]\nrestart_delay_ms = 86400000\nrestart_delay_max_ms = 86400000\n")
	service("slow", "stubborn", "", "[lifecycle]\nstop_timeout_ms = 86400000\n")
	service("down", "sleep", "", "")
	service("base", "sleep", "", "")
	service("user", "sleep", "", "[dependencies]\nrequires = [\"base\"]\n")
	return files
}

func (s *Storm) logFile(name string) string { return filepath.Join(s.Work, name+".log") }

// Begin brings every service into the state that must survive, and starts the clients that watch.
func (s *Storm) Begin() error {
	s.stop = make(chan struct{})
	if err := s.prepare(); err != nil {
		return err
	}
	for _, watch := range []func(){s.connect, s.persist, s.follow, s.watchCodes} {
		s.wg.Add(1)
		go func() { defer s.wg.Done(); watch() }()
	}
	return nil
}

// Finish ends the clients, checks everything, and returns what is not as it must be.
func (s *Storm) Finish() []string {
	close(s.stop)
	s.wg.Wait()
	c, err := s.dial()
	if err != nil {
		return append(s.bad, err.Error())
	}
	defer c.Close()
	s.compare(c)
	s.checkLines(c)
	s.checkFiles(c)
	s.checkCrashes(c)
	if n := s.refused.Load(); n > 0 {
		s.complain("connect was refused %d times", n)
	}
	if _, err := c.Kill(ctx, "slow", "SIGKILL"); err != nil { // it would hold up the end for a day
		s.complain("%v", err)
	}
	return s.bad
}

// Summary tells how much there was to lose.
func (s *Storm) Summary() string {
	return fmt.Sprintf("%d lines, each once and in order, %d pings and %d lists answered", s.lines, s.pings.Load(), s.lists.Load())
}

func (s *Storm) over() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// Kill is the storm: SIGKILL, again and again. It returns how often, fewer than n only when the time is over. Where the
// machine is so slow that no server comes as far as an answer the pauses grow for a while: one that is always killed in its
// first millisecond shows nothing.
func (s *Storm) Kill(n int) (killed int, err error) {
	random := rand.New(rand.NewPCG(s.Seed, 0))
	longest, answered := s.Pause, s.pings.Load()
	for killed < n && (killed < Least || s.End.IsZero() || time.Now().Before(s.End)) {
		pause := time.NewTimer(longest / 50 * time.Duration(1+random.IntN(50)))
		<-pause.C
		pid := ServerOf(s.Keeper)
		if pid <= 0 || syscall.Kill(pid, syscall.SIGKILL) != nil {
			continue
		}
		if !wait.Until(s.Patience, func() bool { return ServerOf(s.Keeper) != pid }) {
			return killed, fmt.Errorf("server %d outlives SIGKILL", pid)
		}
		if killed++; s.Progress != nil {
			s.Progress(killed)
		}
		if killed%silence == 0 {
			now := s.pings.Load()
			if now == answered {
				longest = min(2*longest, pauseMax)
			} else {
				longest = max(longest/2, s.Pause)
			}
			answered = now
		}
	}
	return killed, nil
}

// Least is how many kills a storm has on the busiest host: fewer would show little.
const Least = 25

// The pauses grow after this many kills without an answer, up to pauseMax.
const (
	silence  = 5
	pauseMax = 2 * time.Second
)

// Gap is the time from SIGKILL of the server to the first answer of another one.
func (s *Storm) Gap() (time.Duration, error) {
	pid := ServerOf(s.Keeper)
	began := time.Now()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return 0, fmt.Errorf("cannot kill server %d: %w", pid, err)
	}
	if !wait.Until(s.Patience, func() bool {
		c, err := s.dial()
		if err != nil {
			return false
		}
		defer c.Close()
		ping, err := c.Ping(ctx)
		return err == nil && ping.PID != pid
	}) {
		return 0, fmt.Errorf("no answer within %v", s.Patience)
	}
	return time.Since(began), nil
}

// dial connects within the patience.
func (s *Storm) dial() (*rpc.Client, error) {
	within, cancel := context.WithTimeout(ctx, s.Patience)
	defer cancel()
	return rpc.Dial(within, s.Socket)
}

// ServerOf is the keeper's child called zinit-server, 0 while there is none.
func ServerOf(keeper int) int {
	children, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", keeper))
	for _, file := range children {
		b, _ := os.ReadFile(file)
		for _, word := range strings.Fields(string(b)) {
			pid, _ := strconv.Atoi(word)
			comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
			stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
			if len(tasks) < 2 {
				continue // a child that a dead server was forking, before its exec
			}
			if strings.TrimSpace(string(comm)) == "zinit-server" && !strings.Contains(string(stat), ") Z ") {
				return pid
			}
		}
	}
	return 0
}
