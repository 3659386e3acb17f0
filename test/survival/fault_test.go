package survival

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/test/survival/storm"
)

// windows are the instants in which a SIGKILL could lose something, as the architecture notes list them, with the points
// of internal/fault that lie in them: the server is killed at each of them, at every passing of every operation below. One
// of them alone: go test ./test/survival -run 'TestFaults/g-file'. The others are TestPartialLine for (e), and the storms
// for all that nobody thought of.
var windows = []struct {
	name   string
	points []string
	only   string // the one operation for which it is tried, "" = all
}{
	{"a-pipe", []string{"store", "fork"}, ""},          // a pipe that only the server holds
	{"b-pid", []string{"forked", "spawned"}, ""},       // a fork whose pid is not recorded
	{"c-exit", []string{"exit", "ack", "release"}, ""}, // an exit that is reaped, recorded, told of
	{"d-read", []string{"read"}, ""},                   // bytes that are read and not recorded
	{"f-reply", []string{"reply"}, ""},                 // an answer that is not sent after the act
	{"g-file", []string{"file", "filed"}, "crash"},     // a place in a log file that is recorded and not written, or written and not recorded
	{"h-step", []string{"journal", "action"}, ""},      // between what is recorded and what is done
	{"h-hook", []string{"hook"}, ""},                   // a hook that runs
	{"h-resume", []string{"resumed"}, ""},              // taking over itself
	{"h-exec", []string{"exec"}, "upgrade"},            // the executable that comes is announced and not there
	{"i-notice", []string{"notice", "heed"}, ""},       // a service's word that is read and not recorded
}

// busy are points that the service beside the one that is operated on passes all the time.
var busy = []string{"read", "file", "filed"}

// passingsMax bounds how often one operation may pass one point; none but the busy ones comes near.
const passingsMax = 30

// faultWorld is a keeper with a server that can be told where to die.
type faultWorld struct {
	t    *testing.T
	s    *testkit.Server
	dir  string // files by the name of a point: ZINIT_FAULT
	work string
	died map[string]int // by point
	made int            // services defined
}

// operation is something to be done while the server dies.
type operation struct {
	name    string
	wish    string                                                     // of the operator, from when on it must get through: "up", "down", "" = none
	prepare func(w *faultWorld) string                                 // makes the service, and returns its name
	act     func(w *faultWorld, c *rpc.Client, name string)            // must get through, though it may be interrupted
	settled func(w *faultWorld, st wire.StatusFull) bool               // what the service must come to without further help
	check   func(w *faultWorld, st wire.StatusFull, runs []run) string // "" = as it must be
}

// run is one run of a service as itself has noted it.
type run struct {
	id     string
	ended  bool
	double bool
}

func TestFaults(t *testing.T) {
	self := self(t)
	w := &faultWorld{t: t, dir: t.TempDir(), work: t.TempDir(), died: map[string]int{}}
	files := map[string]string{"steady.toml": fmt.Sprintf("[service]\nname = \"steady\"\nexec = [%q]\nenv = {ZT_ROLE = \"lines\", ZT_PER_TICK = \"1\", ZT_TICK_MS = \"10\"}\n"+
		"[logging]\nbuffer_lines = 2000000\nbuffer_bytes = 16000000\nfile = %q\nrotate_bytes = 1000000000\n", self, filepath.Join(w.work, "steady.log"))}
	w.s = testkit.Start(t, files, testkit.Options{Bin: testkit.Binary(t, "zinit_fault"), Applet: "pid1", Env: []string{"ZINIT_FAULT=" + w.dir}})
	steady := w.s.AwaitState(w.s.Client(), "steady", "running")
	for _, window := range windows {
		t.Run(window.name, func(t *testing.T) {
			for _, op := range operations(self) {
				for _, point := range window.points {
					if window.only == "" || window.only == op.name {
						t.Run(op.name+"/"+point, func(t *testing.T) { w.sweep(t, &op, point) })
					}
				}
			}
		})
	}
	st, err := w.s.Client().StatusFull(ctx, "steady")
	if err != nil || st.PID != steady.PID || st.Incarnation != steady.Incarnation {
		t.Errorf("the service beside it: pid %d incarnation %d, at first %d %d (%v)", st.PID, st.Incarnation, steady.PID, steady.Incarnation, err)
	}
	w.checkSteady()
	t.Logf("deaths by point: %v", w.died)
	for point, died := range w.died {
		if died == 0 {
			t.Errorf("the server never died at %s: is the point still there?", point)
		}
	}
}

// TestPartialLine is window (e): a line of which the server had read a part, or half of it twice, when it died.
func TestPartialLine(t *testing.T) {
	const rounds = 3
	file := filepath.Join(t.TempDir(), "notes")
	s := testkit.Start(t, map[string]string{"halves.toml": fmt.Sprintf("[service]\nname = \"halves\"\nexec = [%q]\nenv = {ZT_ROLE = \"halves\", ZT_FILE = %q}\n",
		self(t), file)}, testkit.Options{Applet: "pid1"})
	pid := s.AwaitState(s.Client(), "halves", "running").PID
	noted := func() string { b, _ := os.ReadFile(file); return string(b) }
	for round := range rounds {
		for _, piece := range []string{"one", " two", " three\n"} {
			s.Await("a piece", func() bool { return strings.Contains(noted(), fmt.Sprintf("%d%s", round, piece)) })
			killServer(t, s, storm.ServerOf(s.PID()))
			if err := syscall.Kill(pid, syscall.SIGUSR1); err != nil {
				t.Fatal(err)
			}
		}
	}
	var got []string
	s.Await("the lines", func() bool {
		lines, err := s.Client().Logs(ctx, rpc.LogQuery{Names: []string{"halves"}, Lines: 1000})
		got = got[:0]
		for _, l := range lines {
			got = append(got, l.Content)
		}
		return err == nil && len(got) >= rounds
	})
	if want := slices.Repeat([]string{"one two three"}, rounds); !slices.Equal(got, want) {
		t.Errorf("lines %q, want %q", got, want)
	}
}

// checkSteady: every line of the service that nobody touched, once and in order, in the ring and in its file.
func (w *faultWorld) checkSteady() {
	lines, err := w.s.Client().Logs(ctx, rpc.LogQuery{Names: []string{"steady"}, Lines: 2000000})
	if err != nil || len(lines) == 0 {
		w.t.Fatalf("%d lines, %v", len(lines), err)
	}
	book := storm.Lines{}
	for _, l := range lines {
		if err := book.See(l.Content); err != nil {
			w.t.Error(err)
		}
	}
	if err := storm.SameAsFile(lines, filepath.Join(w.work, "steady.log"), wait.Patience); err != nil {
		w.t.Error(err)
	}
	w.t.Logf("%d lines, in the ring and in the file, each once and in order", len(lines))
}

// sweep does the operation anew with the server dying at the first, second, third… passing of the point, until it gets
// through without passing it that often.
func (w *faultWorld) sweep(t *testing.T, op *operation, point string) {
	outer := w.t
	if outer.Failed() {
		t.SkipNow() // an error of before has failed the test already, and every further one would only follow from it
	}
	w.t = t
	defer func() { w.t = outer }()
	w.died[point] += 0
	for n := 1; n <= passingsMax; n++ {
		name := op.prepare(w)
		file, old := filepath.Join(w.dir, point), storm.ServerOf(w.s.PID())
		if err := os.WriteFile(file, []byte(strconv.Itoa(n)), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := rpc.Dial(ctx, w.s.Socket)
		if err != nil {
			t.Fatal(err)
		}
		op.act(w, c, name)
		c.Close()
		if point != "read" && slices.Contains(busy, point) {
			w.s.Await("passing "+point, func() bool { _, err := os.Stat(file); return err != nil })
		}
		_, err = os.Stat(file)
		if err != nil { // the file is gone a moment before the server, which may answer meanwhile from what it showed before
			w.s.Await("the death of the server", func() bool { return storm.ServerOf(w.s.PID()) != old })
		}
		if err != nil && op.wish != "" && w.wish(name) != op.wish {
			w.again(op, name) // it died before it had taken the request, at what was still going on
		} else if err != nil && point == "reply" && op.name != "oneshot" {
			w.again(op, name) // whoever got no answer asks again, which changes nothing; but a oneshot runs again when asked
		}
		if point == "resumed" && n == 1 {
			w.killServer() // the one that comes back dies while it takes over
		}
		w.await(t, op, name, n)
		if os.Remove(file) == nil {
			w.remove(name)
			return
		}
		w.died[point]++
		w.remove(name)
		if t.Failed() {
			return
		}
	}
	if !slices.Contains(busy, point) {
		t.Errorf("still passed %s after %d times", point, passingsMax)
	}
}

// await waits until the service is where it must come to, and looks at what happened on the way.
func (w *faultWorld) await(t *testing.T, op *operation, name string, n int) {
	var st wire.StatusFull
	var err error
	var bad string
	if !wait.Until(wait.Patience, func() bool {
		c, dialErr := rpc.Dial(ctx, w.s.Socket)
		if err = dialErr; err != nil {
			return false
		}
		defer c.Close()
		if st, err = c.StatusFull(ctx, name); err != nil || !op.settled(w, st) {
			bad = "not there yet"
			return false
		}
		bad = op.check(w, st, w.runs(name))
		return bad == ""
	}) {
		t.Fatalf("passing %d: %s: %s; runs %v; %s, %s, last exit %+v, restarts %d (%v)\n%s", n, name, bad, w.runs(name),
			st.State.State, st.Cause, st.LastExit, st.Restarts, err, autopsy(w.s.Command.Process.Pid)+w.s.Logs())
	}
	runs := w.runs(name)
	w.checkOutput(t, name, n, runs)
	for _, r := range w.runs(name) {
		if r.double {
			t.Errorf("passing %d: two copies at once: %v", n, runs)
		}
	}
}

// checkOutput: every run's first and last line, once, in order.
func (w *faultWorld) checkOutput(t *testing.T, name string, n int, runs []run) {
	var want, got []string
	for _, r := range runs {
		if want = append(want, "begin "+r.id); r.ended {
			want = append(want, "end "+r.id)
		}
	}
	ok := wait.Until(wait.Patience, func() bool {
		c, err := rpc.Dial(ctx, w.s.Socket)
		if err != nil {
			return false
		}
		defer c.Close()
		lines, err := c.Logs(ctx, rpc.LogQuery{Names: []string{name}, Lines: 1000})
		got = got[:0]
		for _, l := range lines {
			got = append(got, l.Content)
		}
		return err == nil && strings.Join(got, "\n") == strings.Join(want, "\n")
	})
	if !ok {
		t.Errorf("passing %d: lines %q, want %q", n, got, want)
	}
}

// runs reads what the service has noted.
func (w *faultWorld) runs(name string) []run {
	b, _ := os.ReadFile(filepath.Join(w.work, name))
	var runs []run
	for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		word, id, _ := strings.Cut(line, " ")
		switch word {
		case "begin":
			runs = append(runs, run{id: id})
		case "double":
			runs = append(runs, run{id: id, double: true})
		case "end":
			for i := range runs {
				if runs[i].id == id {
					runs[i].ended = true
				}
			}
		}
	}
	return runs
}

// define adds a service that plays the role "run", and waits until it is in a state, "" = is not started.
func (w *faultWorld) define(self, kind, state, env, more string) string {
	w.made++
	name := fmt.Sprintf("%s%d", kind, w.made)
	text := fmt.Sprintf(`{"service":{"name":%q,"exec":%q,"env":{"ZT_ROLE":"run","ZT_FILE":%q%s}%s},"lifecycle":{"restart_delay_ms":10,"restart_delay_max_ms":10,"max_restarts":0}}`,
		name, self, filepath.Join(w.work, name), env, more)
	c, err := rpc.Dial(ctx, w.s.Socket)
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Add(ctx, raw(text), false); err != nil {
		w.t.Fatal(err)
	}
	if state != "" {
		if _, err := c.Start(ctx, name, rpc.Change{Wait: true}); err != nil {
			w.t.Fatal(err)
		}
		w.s.AwaitState(c, name, state)
		w.s.Await(name+" to begin", func() bool { return len(w.runs(name)) > 0 })
	}
	return name
}

// wish is what the server that came back knows of the operator's.
func (w *faultWorld) wish(name string) (wanted string) {
	w.s.Await("an answer about "+name, func() bool {
		c, err := rpc.Dial(ctx, w.s.Socket)
		if err != nil {
			return false
		}
		defer c.Close()
		st, err := c.StatusFull(ctx, name) // the one that is about to die may still take the connection
		wanted = st.Wanted
		return err == nil
	})
	return wanted
}

func (w *faultWorld) again(op *operation, name string) {
	c, err := rpc.Dial(ctx, w.s.Socket)
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	op.act(w, c, name)
}

func (w *faultWorld) ping() {
	w.s.Await("an answer", func() bool {
		c, err := rpc.Dial(ctx, w.s.Socket)
		if err != nil {
			return false
		}
		defer c.Close()
		_, err = c.Ping(ctx)
		return err == nil
	})
}

func (w *faultWorld) killServer() {
	pid := 0
	w.s.Await("a server", func() bool { pid = storm.ServerOf(w.s.Command.Process.Pid); return pid > 0 })
	if syscall.Kill(pid, syscall.SIGKILL) != nil {
		w.t.Fatal("there is no server to kill")
	}
}

func (w *faultWorld) remove(name string) {
	c, err := rpc.Dial(ctx, w.s.Socket)
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	for range 2 { // the server may die at this very moment
		_, err = c.Remove(ctx, name, true)
		var answer *wire.Error
		if err == nil || errors.As(err, &answer) && answer.Code == wire.CodeNotFound {
			err = nil
			break
		}
	}
	if err != nil {
		w.t.Errorf("cannot remove %s: %v", name, err)
	}
	w.s.Await(name+" to end", func() bool {
		for _, r := range w.runs(name) {
			if pid, _ := strconv.Atoi(strings.Fields(r.id)[1]); syscall.Kill(pid, 0) == nil {
				return false
			}
		}
		return true
	})
}

// signal reaches the service's present process.
func (w *faultWorld) signal(name string, sig syscall.Signal) {
	runs := w.runs(name)
	pid, _ := strconv.Atoi(strings.Fields(runs[len(runs)-1].id)[1])
	if err := syscall.Kill(pid, sig); err != nil {
		w.t.Fatalf("%s: %v", name, err)
	}
}

// operations are what is done while the server dies. None is asked twice: what the server has taken must be done.
func operations(self string) []operation {
	running := func(w *faultWorld, st wire.StatusFull) bool { return st.State.State == "running" }
	oneRun := func(w *faultWorld, st wire.StatusFull, runs []run) string {
		if len(runs) != 1 || runs[0].ended {
			return "want one run"
		}
		return ""
	}
	crashed := func(w *faultWorld, st wire.StatusFull, runs []run) string {
		switch {
		case len(runs) != 2 || !runs[0].ended || runs[1].ended:
			return "want a run that ended and one that runs"
		case st.LastExit == nil || st.LastExit.Code == nil || *st.LastExit.Code != 42:
			return "the exit status was lost"
		case st.Restarts != 1:
			return "want one restart"
		}
		return ""
	}
	return []operation{
		{"start", "up",
			func(w *faultWorld) string { return w.define(self, "start", "", "", "") },
			func(w *faultWorld, c *rpc.Client, name string) { _, _ = c.Start(ctx, name, rpc.Change{Wait: true}) },
			running, oneRun},
		{"start and say ready", "up",
			func(w *faultWorld) string {
				return w.define(self, "notify", "", `,"ZT_READY":"1"`, `,"ready":"notify"`)
			},
			func(w *faultWorld, c *rpc.Client, name string) { _, _ = c.Start(ctx, name, rpc.Change{Wait: true}) },
			running, oneRun},
		{"start and write ready", "up",
			func(w *faultWorld) string { return w.define(self, "newline", "", `,"ZT_READY":"3"`, `,"ready":"fd:3"`) },
			func(w *faultWorld, c *rpc.Client, name string) { _, _ = c.Start(ctx, name, rpc.Change{Wait: true}) },
			running, oneRun},
		{"start with hooks", "up",
			func(w *faultWorld) string {
				return w.define(self, "hooked", "", "", `,"pre_start":"true","post_stop":"true"`)
			},
			func(w *faultWorld, c *rpc.Client, name string) { _, _ = c.Start(ctx, name, rpc.Change{Wait: true}) },
			running, oneRun},
		{"crash", "",
			func(w *faultWorld) string { return w.define(self, "crash", "running", "", "") },
			func(w *faultWorld, c *rpc.Client, name string) { w.signal(name, syscall.SIGUSR1) },
			func(w *faultWorld, st wire.StatusFull) bool { return st.State.State == "running" && st.Restarts > 0 },
			crashed},
		{"crash of an adopted one", "",
			func(w *faultWorld) string {
				name := w.define(self, "adopted", "running", "", "")
				w.killServer()
				w.ping()
				return name
			},
			func(w *faultWorld, c *rpc.Client, name string) { w.signal(name, syscall.SIGUSR1) },
			func(w *faultWorld, st wire.StatusFull) bool { return st.State.State == "running" && st.Restarts > 0 },
			crashed},
		{"reload", "",
			func(w *faultWorld) string {
				name := w.define(self, "before", "running", "", "")
				w.s.Write(map[string]string{name + "new.toml": fmt.Sprintf("[service]\nname = %q\nexec = \"sleep 100000\"\n", name+"new")})
				return name
			},
			func(w *faultWorld, c *rpc.Client, name string) { _, _ = c.Reload(ctx, true) },
			func(w *faultWorld, st wire.StatusFull) bool { return st.State.State == "running" },
			func(w *faultWorld, st wire.StatusFull, runs []run) string {
				w.s.Write(map[string]string{st.Name + "new.toml": ""})
				c := w.s.Client()
				if _, err := c.Reload(ctx, true); err != nil {
					return err.Error()
				}
				if _, err := c.StatusFull(ctx, st.Name+"new"); err == nil {
					return "the removed service is still there"
				}
				return oneRun(w, st, runs)
			}},
		{"upgrade", "",
			func(w *faultWorld) string { return w.define(self, "upgraded", "running", "", "") },
			func(w *faultWorld, c *rpc.Client, name string) { _, _ = c.Upgrade(ctx, "") },
			running, oneRun},
		{"stop", "down",
			func(w *faultWorld) string { return w.define(self, "stop", "running", "", "") },
			func(w *faultWorld, c *rpc.Client, name string) { _, _ = c.Stop(ctx, name, rpc.Change{Wait: true}) },
			func(w *faultWorld, st wire.StatusFull) bool {
				return st.PID == 0 && st.Wanted == "down" && st.State.State != "stopping"
			},
			func(w *faultWorld, st wire.StatusFull, runs []run) string {
				if len(runs) != 1 || !runs[0].ended || st.LastExit == nil || st.LastExit.Code == nil || *st.LastExit.Code != 7 {
					return "want one run that ended with 7"
				}
				return ""
			}},
		{"stop with hooks", "down",
			func(w *faultWorld) string {
				return w.define(self, "unhooked", "running", "", fmt.Sprintf(`,"stop_command":"kill $(cut -d' ' -f3 %[1]s/$ZINIT_SERVICE) 2>/dev/null; :","post_stop":"echo post >>%[1]s/$ZINIT_SERVICE"`, w.work))
			},
			func(w *faultWorld, c *rpc.Client, name string) { _, _ = c.Stop(ctx, name, rpc.Change{Wait: true}) },
			func(w *faultWorld, st wire.StatusFull) bool {
				return st.PID == 0 && st.Wanted == "down" && st.State.State != "stopping"
			},
			func(w *faultWorld, st wire.StatusFull, runs []run) string {
				b, _ := os.ReadFile(filepath.Join(w.work, st.Name))
				switch {
				case len(runs) != 1 || !runs[0].ended || st.LastExit == nil || st.LastExit.Code == nil || *st.LastExit.Code != 7:
					return "want one run that ended with 7"
				case !strings.HasSuffix(string(b), "post\n"):
					return "post_stop did not run"
				}
				return ""
			}},
		{"oneshot", "up",
			func(w *faultWorld) string { return w.define(self, "once", "", `,"ZT_ONCE":"1"`, `,"oneshot":true`) },
			func(w *faultWorld, c *rpc.Client, name string) { _, _ = c.Start(ctx, name, rpc.Change{Wait: true}) },
			func(w *faultWorld, st wire.StatusFull) bool { return st.State.State == "exited" },
			func(w *faultWorld, st wire.StatusFull, runs []run) string {
				if len(runs) != 1 || !runs[0].ended {
					return "a oneshot must run exactly once"
				}
				return ""
			}},
	}
}
