package storm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
)

// standing is a service's status before the storm.
type standing = wire.StatusFull

// prepare brings every service into the state that must survive.
func (s *Storm) prepare() error {
	c, err := s.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	states := map[string]string{"once0": "exited", "once1": "exited", "backoff": "failed", "user": "running", "slow": "running", "down": "running"}
	for i := range liners {
		states[fmt.Sprintf("line%d", i)] = "running"
	}
	for name, state := range states {
		if _, err := s.await(c, name, state); err != nil {
			return err
		}
	}
	if err := s.ask(c); err != nil {
		return err
	}
	s.before = map[string]standing{}
	for _, name := range steady() {
		if s.before[name], err = c.StatusFull(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// ask says what an operator says.
func (s *Storm) ask(c *rpc.Client) error {
	slow, err := c.StatusFull(ctx, "slow")
	if err != nil {
		return err
	}
	if !wait.Until(s.Patience, func() bool { return s.ignores(slow.PID, syscall.SIGTERM) }) {
		return errors.New("slow does not ignore SIGTERM")
	}
	if _, err := c.Stop(ctx, "slow", rpc.Change{}); err != nil {
		return err
	}
	if _, err := c.Stop(ctx, "down", rpc.Change{Wait: true}); err != nil {
		return err
	}
	guest := fmt.Sprintf(`{"service":{"name":"guest","exec":%q,"env":{%q:"sleep"}}}`, s.Self, role)
	if _, err := c.Add(ctx, json.RawMessage(guest), false); err != nil {
		return err
	}
	if _, err := c.Start(ctx, "guest", rpc.Change{Wait: true}); err != nil {
		return err
	}
	_, err = s.await(c, "slow", "stopping")
	return err
}

// await waits until a service is in a state.
func (s *Storm) await(c *rpc.Client, name, state string) (full wire.StatusFull, err error) {
	if !wait.Until(s.Patience, func() bool {
		full, err = c.StatusFull(ctx, name)
		return err == nil && full.State.State == state
	}) {
		return full, fmt.Errorf("%s is %s, not %s (%w)", name, full.State.State, state, err)
	}
	return full, nil
}

// steady are the services that nothing but the storm touches.
func steady() []string {
	names := []string{"once0", "once1", "backoff", "slow", "down", "guest", "base", "user"}
	for i := range liners {
		names = append(names, fmt.Sprintf("line%d", i))
	}
	return names
}

// ignores looks into the /proc of the keeper: the numbers may be those of a namespace.
func (s *Storm) ignores(pid int, sig syscall.Signal) bool {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/root/proc/%d/status", s.Keeper, pid))
	for _, line := range strings.Split(string(b), "\n") {
		if hex, ok := strings.CutPrefix(line, "SigIgn:\t"); ok {
			mask, _ := strconv.ParseUint(hex, 16, 64)
			return mask>>(sig-1)&1 == 1
		}
	}
	return false
}

// connect connects and asks all the time: while no server is there the connection waits in the backlog.
func (s *Storm) connect() {
	tick := time.NewTicker(s.Tick / 5)
	defer tick.Stop()
	for ; !s.over(); <-tick.C {
		within, cancel := context.WithTimeout(ctx, s.Patience)
		c, err := rpc.Dial(within, s.Socket)
		if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) {
			s.refused.Add(1)
		}
		if err == nil {
			if _, err := c.Ping(within); err == nil {
				s.pings.Add(1)
			}
			c.Close()
		}
		cancel()
	}
}

// persist asks over one client that connects anew by itself: none of its calls may fail.
func (s *Storm) persist() {
	within, cancel := context.WithCancel(ctx)
	defer cancel()
	c, err := rpc.Dial(within, s.Socket, rpc.WithReconnect(s.Patience))
	if err != nil {
		s.complain("%v", err)
		return
	}
	defer c.Close()
	tick := time.NewTicker(s.Tick)
	defer tick.Stop()
	for ; !s.over(); <-tick.C {
		list, err := c.ListFull(within, false)
		if err != nil {
			s.complain("a client that reconnects: %v", err)
			return
		}
		if len(list) < liners+crashers {
			s.complain("a client that reconnects: a list of %d services", len(list))
		}
		s.lists.Add(1)
	}
}

// follow reads every line as a client does that reconnects and goes on from its numbers.
func (s *Storm) follow() {
	within, cancel := context.WithCancel(ctx)
	go func() { <-s.stop; cancel() }()
	var wg sync.WaitGroup
	for i := range liners {
		name := fmt.Sprintf("line%d", i)
		wg.Add(1)
		go func() {
			defer wg.Done()
			s.followOne(within, name)
		}()
	}
	wg.Wait()
}

func (s *Storm) followOne(within context.Context, name string) {
	var next uint64 = 1
	book := Lines{}
	for within.Err() == nil {
		c, err := rpc.Dial(within, s.Socket)
		if err != nil {
			continue
		}
		_ = c.FollowLogs(within, rpc.LogQuery{Names: []string{name}, Since: next}, func(f wire.Follow) error {
			if f.Missed > 0 {
				s.complain("%s: the follower missed %d lines", name, f.Missed)
			}
			for _, l := range f.Lines {
				if l.Seq != next {
					s.complain("%s: sequence %d, want %d (%q)", name, l.Seq, next, l.Content)
				}
				next = l.Seq + 1
				s.see(book, name, l.Content)
			}
			return nil
		})
		c.Close()
	}
}

// Lines counts the lines of each stream of a service that plays "lines".
type Lines map[string]int

// See checks one line against the generator's list.
func (b Lines) See(text string) error {
	var kind string
	var n int
	if _, err := fmt.Sscanf(text, "%s %d end", &kind, &n); err != nil || text != fmt.Sprintf("%s %d end", kind, n) {
		return fmt.Errorf("mangled line %q", text)
	}
	want := b[kind]
	b[kind] = n + 1
	if n != want {
		return fmt.Errorf("line %s %d, want %d", kind, n, want)
	}
	return nil
}

func (s *Storm) see(book Lines, name, text string) {
	if err := book.See(text); err != nil {
		s.complain("%s: %v", name, err)
	}
}

// watchCodes reads the last exit of each crasher all the time, and complains about one that is not in the generator's list.
func (s *Storm) watchCodes() {
	last := map[string]uint64{}
	tick := time.NewTicker(s.Tick)
	defer tick.Stop()
	for ; !s.over(); <-tick.C {
		within, cancel := context.WithTimeout(ctx, s.Patience)
		c, err := rpc.Dial(within, s.Socket)
		for i := 0; err == nil && !s.over(); i = (i + 1) % crashers {
			name := fmt.Sprintf("crash%d", i)
			var full wire.StatusFull
			before := s.runsOf(name)
			if full, err = c.StatusFull(within, name); err != nil {
				break
			}
			if full.Incarnation < last[name] {
				s.complain("%s: incarnation %d after %d", name, full.Incarnation, last[name])
			}
			last[name] = full.Incarnation
			s.checkCode(name, full, before)
			<-tick.C
		}
		if c != nil {
			c.Close()
		}
		cancel()
	}
}

// runsOf counts the runs of a crasher that have noted their code.
func (s *Storm) runsOf(name string) int {
	b, _ := os.ReadFile(filepath.Join(s.Work, name))
	return strings.Count(string(b), "\n")
}

// checkCode compares what is shown with what the runs themselves have noted, of which there were before when it was asked.
func (s *Storm) checkCode(name string, full wire.StatusFull, before int) {
	if full.LastExit == nil {
		return
	}
	if full.LastExit.Code == nil {
		s.complain("%s: an exit status was lost: %+v", name, *full.LastExit)
		return
	}
	runs := s.runsOf(name)
	code := *full.LastExit.Code
	// Meanwhile more may have begun, and the last one or two of before may not have ended, or not be known to have.
	for n := runs - 1; n >= max(0, before-3); n-- {
		if code == exitCodeOf(n) {
			return
		}
	}
	s.complain("%s: last exit %d after %d to %d runs", name, code, before, runs)
}
