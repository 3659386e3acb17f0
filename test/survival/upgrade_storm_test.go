package survival

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
)

var upgradeRounds = flag.Int("upgrade-rounds", 352, "how often something is asked for during an upgrade")

// upgradePoints are the named points of an upgrade, in the old image and then in the new one.
var upgradePoints = []string{"checked", "handover", "handed", "paused", "holding", "held", "exec",
	"image", "inherited", "restored", "resumed"}

// during is something asked for at some instant of an upgrade, and what must have come of it: once.
type during struct {
	name  string
	ends  bool // the server ends
	ask   func(r *upgradeRound)
	check func(r *upgradeRound)
}

// upgradeRound is one upgrade during which one thing is asked for.
type upgradeRound struct {
	t       *testing.T
	s       *testkit.Server
	c       *rpc.Client // connected before the upgrade
	server  int         // pid
	work    string
	number  int
	id      uint64 // of the upgrade
	answers chan error
}

// call asks over the connection that was there before, beside the test: the server may be waiting.
func (r *upgradeRound) call(method string, params any) {
	go func() {
		within, stop := context.WithTimeout(ctx, wait.Patience)
		defer stop()
		r.answers <- r.c.Call(within, method, params, nil)
	}()
}

func (r *upgradeRound) signal(sig syscall.Signal) {
	r.answers <- nil
	if err := syscall.Kill(r.server, sig); err != nil {
		r.t.Errorf("signal %v: %v", sig, err)
	}
}

func (r *upgradeRound) count(word string) int {
	b, _ := os.ReadFile(filepath.Join(r.work, "words"))
	return strings.Count(string(b), word+"\n")
}

func (r *upgradeRound) once(word string, want int) {
	r.t.Helper()
	if !wait.Until(wait.Patience, func() bool { return r.count(word) >= want }) || r.count(word) != want {
		r.t.Errorf("%q %d times, want %d\n%s", word, r.count(word), want, r.s.Logs())
	}
}

// upgrades awaits that this many upgrades were begun since and including the round's own, and the last one is done.
func (r *upgradeRound) upgrades(n uint64) {
	r.t.Helper()
	var last *wire.LastUpgrade
	ok := wait.Until(wait.Patience, func() bool {
		c, err := rpc.Dial(ctx, r.s.Socket)
		if err != nil {
			return false
		}
		defer c.Close()
		st, err := c.SystemStatus(ctx)
		last = st.LastUpgrade
		return err == nil && last != nil && last.ID == r.id+n-1 && last.Outcome == "done"
	})
	if !ok {
		r.t.Errorf("the last upgrade is %+v, want number %d to be done\n%s", last, r.id+n-1, r.s.Logs())
	}
}

// things are what is asked for. The service writes a word at its start and for each signal it gets.
func things() []during {
	stopped := func(r *upgradeRound) {
		if code := r.s.Wait(); code != 0 {
			r.t.Errorf("the server ended with %d\n%s", code, r.s.Logs())
		}
		r.once("term", 1)
		r.once("up", 1)
	}
	extra := func(r *upgradeRound) string { return fmt.Sprintf("extra%d", r.number) }
	write := func(r *upgradeRound) {
		r.s.Write(map[string]string{extra(r) + ".toml": fmt.Sprintf("[service]\nname = %q\nexec = \"sleep 100000\"\n", extra(r))})
	}
	loaded := func(r *upgradeRound) {
		ok := wait.Until(wait.Patience, func() bool {
			c, err := rpc.Dial(ctx, r.s.Socket)
			if err != nil {
				return false
			}
			defer c.Close()
			st, err := c.Status(ctx, extra(r))
			return err == nil && st.State == "running"
		})
		if !ok {
			r.t.Errorf("the file that was there before the reload is not loaded\n%s", r.s.Logs())
		}
		r.upgrades(1)
	}
	return []during{
		{name: "TERM", ends: true, ask: func(r *upgradeRound) { r.signal(syscall.SIGTERM) }, check: stopped},
		{name: "shutdown", ends: true, ask: func(r *upgradeRound) { r.call("system.shutdown", nil) }, check: stopped},
		{name: "HUP", ask: func(r *upgradeRound) { write(r); r.signal(syscall.SIGHUP) }, check: loaded},
		{name: "reload", ask: func(r *upgradeRound) { write(r); r.call("service.reload", nil) }, check: loaded},
		{name: "USR1", ask: func(r *upgradeRound) { r.signal(syscall.SIGUSR1) }, check: func(r *upgradeRound) { r.upgrades(2) }},
		{name: "upgrade", ask: func(r *upgradeRound) { r.call("system.upgrade", nil) }, check: func(r *upgradeRound) { r.upgrades(2) }},
		{name: "restart", ask: func(r *upgradeRound) { r.call("service.restart", map[string]any{"name": "one"}) },
			check: func(r *upgradeRound) { r.once("up", 2); r.once("term", 1); r.upgrades(1) }},
		{name: "kill", ask: func(r *upgradeRound) {
			r.call("service.kill", map[string]any{"name": "one", "signal": "SIGUSR2"})
		}, check: func(r *upgradeRound) { r.once("usr2", 1); r.upgrades(1) }},
	}
}

// TestUpgradeStorm: what is asked for by signal or request at any instant of an upgrade is carried out once, by the old
// image or by the new one. Every second round it is asked at a named point, else at a chance instant after the answer.
func TestUpgradeStorm(t *testing.T) {
	for _, applet := range applets {
		t.Run(applet, func(t *testing.T) {
			t.Parallel()
			upgradeStorm(t, applet, *upgradeRounds/len(applets))
		})
	}
}

func upgradeStorm(t *testing.T, applet string, rounds int) {
	bin, list := testkit.Binary(t, "zinit_fault"), things()
	chance := rand.New(rand.NewPCG(*seed, uint64(len(applet))))
	var r *upgradeRound
	var points string
	for n := 0; n < rounds && !t.Failed(); {
		// One server for all rounds until one ends it.
		t.Run(fmt.Sprintf("from %d", n), func(t *testing.T) {
			work := t.TempDir()
			points = t.TempDir()
			s := testkit.Start(t, map[string]string{"one.toml": wordy(work)},
				testkit.Options{Applet: applet, Bin: bin, Env: []string{"ZINIT_FAULT=" + points}})
			for ended := false; !ended && n < rounds && !t.Failed(); n++ {
				thing := list[n%len(list)]
				point := upgradePoints[n/(2*len(list))%len(upgradePoints)]
				if n/len(list)%2 == 0 {
					point = ""
				}
				r = &upgradeRound{t: t, s: s, c: s.Client(), work: work, number: n, answers: make(chan error, 1)}
				r.server = serverPIDOf(t, r.c)
				r.run(thing, points, point, time.Duration(chance.Int64N(int64(5*time.Millisecond))))
				if t.Failed() {
					t.Logf("round %d: %s at %q", n, thing.name, point)
				}
				ended = thing.ends
			}
		})
	}
}

// wordy is a service that writes what happens to it into a file.
func wordy(work string) string {
	return fmt.Sprintf("[service]\nname = \"one\"\nexec = ['sh', '-c', '''cd %s; trap \"echo term >>words; exit 0\" TERM; "+
		"trap \"echo usr2 >>words\" USR2; echo up >>words; while :; do sleep 1000 & wait; done''']\n", work)
}

func (r *upgradeRound) run(thing during, points, point string, after time.Duration) {
	r.t.Helper()
	r.s.Await("the service", func() bool { return r.count("up") == 1 })
	file := filepath.Join(points, point)
	if point != "" {
		_ = os.Remove(file + ".here")
		if err := os.WriteFile(file, []byte("wait"), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	up, err := rpc.Dial(ctx, r.s.Socket)
	if err != nil {
		r.t.Fatal(err)
	}
	defer up.Close()
	answered := make(chan error, 1)
	go func() {
		var u wire.Upgrade
		err := up.Call(ctx, "system.upgrade", nil, &u)
		r.id = u.ID
		answered <- err
	}()
	if point == "" {
		if err := <-answered; err != nil {
			r.t.Fatal(err)
		}
		time.Sleep(after) // a chance instant
		thing.ask(r)
	} else {
		r.s.Await("the point "+point, func() bool { _, err := os.Stat(file + ".here"); return err == nil })
		thing.ask(r)
		time.Sleep(after) // a chance instant: what was asked for may have got anywhere
		_ = os.Remove(file)
		if err := <-answered; err != nil {
			r.t.Fatal(err)
		}
	}
	if err := <-r.answers; err != nil {
		r.t.Errorf("%s: the answer: %v\n%s", thing.name, err, r.s.Logs())
	}
	thing.check(r)
	if !thing.ends {
		// The next round begins with a fresh service.
		c := r.s.Client()
		_, stopped := c.Stop(ctx, "one", rpc.Change{Wait: true})
		_ = os.Remove(filepath.Join(r.work, "words"))
		if _, err := c.Start(ctx, "one", rpc.Change{Wait: true}); err != nil || stopped != nil {
			r.t.Error(err, stopped)
		}
	}
}

// TestUpgradeUntraced: where nobody may trace the server, signals in the milliseconds of the execution are lost. A flood of
// SIGHUP does not end it then.
func TestUpgradeUntraced(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t, map[string]string{"one.toml": wordy(t.TempDir())},
		testkit.Options{Bin: self(t), Env: []string{"ZT_UNTRACED=" + testkit.Binary(t, "")}})
	c := s.Client()
	pid, one := serverPIDOf(t, c), s.AwaitState(c, "one", "running")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for syscall.Kill(pid, syscall.SIGHUP) == nil {
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Microsecond): // a pace: the server must get on
			}
		}
	}()
	for n := range 5 {
		r := &upgradeRound{t: t, s: s}
		s.Await("an upgrade to begin", func() bool { // not while it reloads
			up, err := rpc.Dial(ctx, s.Socket)
			if err != nil {
				return false
			}
			defer up.Close()
			u, err := up.Upgrade(ctx, "")
			r.id = u.ID
			return err == nil
		})
		r.upgrades(1)
		if t.Failed() {
			t.Fatalf("upgrade %d", n)
		}
	}
	close(stop)
	<-stopped
	if !strings.Contains(s.Logs(), "cannot hold signals back") {
		t.Error("signals were held back")
	}
	if now := s.AwaitState(s.Client(), "one", "running"); now.PID != one.PID || now.Incarnation != one.Incarnation {
		t.Errorf("the service was restarted: %d after %d", now.PID, one.PID)
	}
}
