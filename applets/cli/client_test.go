package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/version"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
)

// fakeServer answers like a supervisor with a fixed set of services. What a test does not set up panics, which shows
// as an internal error.
type fakeServer struct {
	rpc.Backend
	names  []string
	start  func(ctx context.Context, name string, c rpc.Change) (wire.OK, error)
	status func(name string) (wire.StatusFull, error)
	wait   func(ctx context.Context, names []string, goal string, ms int64) (wire.Waited, error)
	logs   func(q rpc.LogQuery) ([]wire.LogLine, error)
	follow func(ctx context.Context, q rpc.LogQuery, send func(wire.Follow) error) error
	why    func(name string) (wire.Why, error)
	add    func(config json.RawMessage, persist bool) (wire.Added, error)
	remove func(name string, cascade bool) (wire.OK, error)
	plan   wire.Plan
	power  error

	mu   sync.Mutex
	seen []string
}

func (f *fakeServer) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = append(f.seen, fmt.Sprintf(format, args...))
}

func (f *fakeServer) noted() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.seen)
}

func (f *fakeServer) find(name string) error {
	if !slices.Contains(f.names, name) {
		return wire.NewError(wire.CodeNotFound, "service not found: "+name)
	}
	return nil
}

func (f *fakeServer) List() []string { return f.names }
func (f *fakeServer) ListFull(bool) ([]wire.Listed, error) {
	list := []wire.Listed{}
	for _, name := range f.names {
		list = append(list, wire.Listed{Name: name, State: wire.State{State: "running", PID: ptr(7)}, Class: "user", Wanted: "up"})
	}
	return list, nil
}
func (f *fakeServer) Start(ctx context.Context, name string, c rpc.Change) (wire.OK, error) {
	f.note("start %s %+v", name, c)
	if err := f.find(name); err != nil {
		return wire.OK{}, err
	}
	if f.start != nil {
		return f.start(ctx, name, c)
	}
	return wire.OK{OK: true, Outcome: "done", State: &wire.State{State: "running", PID: ptr(7)}}, nil
}
func (f *fakeServer) Stop(_ context.Context, name string, c rpc.Change) (wire.OK, error) {
	f.note("stop %s %+v", name, c)
	return wire.OK{OK: true, Outcome: "done", State: &wire.State{State: "inactive"}}, f.find(name)
}
func (f *fakeServer) Kill(name, signal string) (wire.OK, error) {
	f.note("kill %s %s", name, signal)
	if name == "down" {
		return wire.OK{}, wire.NewError(wire.CodeNotRunning, "down is not running")
	}
	return wire.OK{OK: true}, f.find(name)
}
func (f *fakeServer) StatusFull(name string) (wire.StatusFull, error) {
	if err := f.find(name); err != nil {
		return wire.StatusFull{}, err
	}
	if f.status != nil {
		return f.status(name)
	}
	return wire.StatusFull{Name: name, State: wire.State{State: "running", PID: ptr(7)}, PID: 7}, nil
}
func (f *fakeServer) Wait(ctx context.Context, names []string, goal string, ms int64) (wire.Waited, error) {
	for _, name := range names {
		if err := f.find(name); err != nil {
			return wire.Waited{}, err
		}
	}
	return f.wait(ctx, names, goal, ms)
}
func (f *fakeServer) Logs(q rpc.LogQuery) ([]wire.LogLine, error) {
	if f.logs == nil {
		return nil, nil
	}
	return f.logs(q)
}
func (f *fakeServer) FollowLogs(ctx context.Context, q rpc.LogQuery, send func(wire.Follow) error) error {
	return f.follow(ctx, q, send)
}
func (f *fakeServer) Why(name string) (wire.Why, error) { return f.why(name) }
func (f *fakeServer) Plan() (wire.Plan, error)          { return f.plan, nil }
func (f *fakeServer) Ping() wire.Ping {
	return wire.Ping{Version: "9", PID: 5, UptimeMS: 61000, Mode: "server"}
}
func (f *fakeServer) Reload(context.Context, bool) (wire.Plan, error) { return f.plan, nil }
func (f *fakeServer) Add(_ context.Context, config json.RawMessage, persist bool) (wire.Added, error) {
	f.note("add %s %v", config, persist)
	return f.add(config, persist)
}
func (f *fakeServer) Remove(_ context.Context, name string, r wire.Removal) (wire.OK, error) {
	return f.remove(name, r.Cascade)
}
func (f *fakeServer) Shutdown(p rpc.Power) (func(), error) {
	f.note("power %s", p)
	return func() {}, f.power
}

// serve starts the fake on a socket of its own.
func serve(t *testing.T, f *fakeServer) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := rpc.NewServer(f, rpc.ServerOptions{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = server.Close(ctx)
		_ = listener.Close()
		<-done
	})
	return socket
}

// ran is what one run of the client left.
type ran struct {
	code     int
	out, err string
}

func run(t *testing.T, socket string, line ...string) ran {
	t.Helper()
	var out, errs strings.Builder
	code := Main(append([]string{"zinit", "--socket", socket}, line...), strings.NewReader(""), &out, &errs)
	return ran{code, out.String(), errs.String()}
}

func words(line string) []string { return strings.Fields(line) }

func TestChanges(t *testing.T) {
	f := &fakeServer{names: []string{"api", "blocked", "down", "fails", "slow", "web-1", "web-2"}}
	f.start = func(_ context.Context, name string, c rpc.Change) (wire.OK, error) {
		switch {
		case !c.Wait:
			return wire.OK{OK: true}, nil
		case name == "blocked":
			return wire.OK{OK: true, Outcome: "blocked", State: &wire.State{State: "blocked"}, Text: "is blocked: requires db, which failed: exited with code 1"}, nil
		case name == "fails":
			return wire.OK{OK: true, Outcome: "failed", State: &wire.State{State: "failed"}, Text: "failed: exited with code 3, restart 1 of 10 in 1 s"}, nil
		case name == "slow":
			return wire.OK{OK: true, Outcome: "timed_out", State: &wire.State{State: "starting"}}, nil
		}
		return wire.OK{OK: true, Outcome: "done", State: &wire.State{State: "running", PID: ptr(7)}}, nil
	}
	socket := serve(t, f)
	for _, c := range []struct {
		line string
		want ran
	}{
		{"start api", ran{0, "api: running, pid 7\n", ""}},
		{"start -q api", ran{0, "", ""}},
		{"start api --no-wait", ran{0, "api: starting, not waited for\n", ""}},
		{"start blocked", ran{1, "", "zinit: blocked is blocked: requires db, which failed: exited with code 1; it stays wanted up (zinit why blocked)\n"}},
		{"start fails", ran{1, "", "zinit: cannot start fails: exited with code 3, restart 1 of 10 in 1 s (zinit logs fails)\n"}},
		{"start slow --timeout 1s", ran{124, "", "zinit: timed out waiting to start slow, which is still starting; nothing is undone (zinit why slow)\n"}},
		{"start apu", ran{5, "", "zinit: cannot start apu: no such service; did you mean api?\n"}},
		{"start zzz api fails", ran{5, "api: running, pid 7\n", "zinit: cannot start zzz: no such service (zinit list shows all)\nzinit: cannot start fails: exited with code 3, restart 1 of 10 in 1 s (zinit logs fails)\n"}},
		{"start web-*", ran{0, "web-1: running, pid 7\nweb-2: running, pid 7\n", ""}},
		{"start x*", ran{5, "", "zinit: no service matches x* (zinit list shows all)\n"}},
		{"start", ran{2, "", "zinit: start needs NAME... (see: zinit start --help)\n"}},
		{"start api --timeout soon", ran{2, "", "zinit: cannot read --timeout \"soon\": want a duration such as 30s, 10m or 2d\n"}},
		{"stop api", ran{0, "api: stopped\n", ""}},
		{"-o name start api", ran{0, "api\n", ""}},
		{"kill api", ran{0, "api: sent SIGTERM\n", ""}},
		{"kill api hup", ran{0, "api: sent SIGHUP\n", ""}},
		{"kill down", ran{7, "", "zinit: cannot signal down: down is not running\n"}},
		{"kill api SIGWHAT", ran{2, "", "zinit: unknown signal \"SIGWHAT\": want a name of signal(7) such as SIGTERM, or 1 to 64\n"}},
		{"ping", ran{0, "zinit 9 answers: pid 5, up 1m01s, mode server\n", ""}},
		{"ping extra", ran{2, "", "zinit: ping takes no arguments, got \"extra\"\n"}},
		{"list -o name", ran{0, "api\nblocked\ndown\nfails\nslow\nweb-1\nweb-2\n", ""}},
		{"list web-* -o name", ran{0, "web-1\nweb-2\n", ""}},
		{"list nothing", ran{5, "", "zinit: no service matches nothing (zinit list shows all)\n"}},
		{"list -o xml", ran{2, "", "zinit: unknown output format \"xml\": want one of table, wide, json, jsonl, name\n"}},
		{"is-active api", ran{0, "", ""}},
		{"status zzz", ran{4, "", "zinit: cannot show zzz: no such service (zinit list shows all)\n"}},
		{"is-active zzz", ran{5, "", "zinit: cannot look at zzz: no such service (zinit list shows all)\n"}},
		{"__complete start we", ran{0, "web-1\nweb-2\n", ""}},
		{"shutdown", ran{0, "shutting down: services are stopped in order\n", ""}},
	} {
		if got := run(t, socket, words(c.line)...); got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", c.line, got, c.want)
		}
	}
}

func TestFlagsReachTheServer(t *testing.T) {
	f := &fakeServer{names: []string{"a"}}
	socket := serve(t, f)
	run(t, socket, "start", "a", "--no-deps", "--timeout", "1.5")
	run(t, socket, "stop", "a", "--no-wait")
	run(t, socket, "kill", "a", "-9")
	want := []string{"start a {Wait:true TimeoutMS:1500 NoDeps:true RunOnly:false}", "stop a {Wait:false TimeoutMS:0 NoDeps:false RunOnly:false}", "kill a SIGKILL"}
	if got := f.noted(); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestChangesAsJSON(t *testing.T) {
	f := &fakeServer{names: []string{"a", "b"}}
	socket := serve(t, f)
	one := run(t, socket, "start", "a", "--json")
	var single map[string]any
	if err := json.Unmarshal([]byte(one.out), &single); err != nil || single["name"] != "a" || single["outcome"] != "done" || single["state"] != "running" {
		t.Errorf("one name: %v %+v", err, one)
	}
	two := run(t, socket, "start", "a", "zz", "--json")
	var list []map[string]any
	if err := json.Unmarshal([]byte(two.out), &list); err != nil || len(list) != 2 || list[1]["code"] != 5.0 || two.code != 5 {
		t.Errorf("two names: %v %+v", err, two)
	}
	lines := run(t, socket, "start", "a", "b", "-o", "jsonl")
	if got := strings.Count(lines.out, "\n"); got != 2 {
		t.Errorf("jsonl has %d lines: %s", got, lines.out)
	}
}

// TestManyAtTheSameTime: names are started together, not one after the other, and reported in order.
func TestManyAtTheSameTime(t *testing.T) {
	f := &fakeServer{names: []string{"a", "b", "c"}}
	var arrived sync.WaitGroup
	arrived.Add(3)
	f.start = func(ctx context.Context, name string, _ rpc.Change) (wire.OK, error) {
		arrived.Done()
		arrived.Wait() // hangs unless all three are on their way
		return wire.OK{OK: true, Outcome: "done", State: &wire.State{State: "exited", ExitCode: ptr(0)}}, nil
	}
	got := run(t, serve(t, f), "start", "c", "a", "b")
	if want := (ran{0, "c: exited 0\na: exited 0\nb: exited 0\n", ""}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestWait(t *testing.T) {
	f := &fakeServer{names: []string{"a", "b"}}
	f.wait = func(_ context.Context, names []string, goal string, ms int64) (wire.Waited, error) {
		switch {
		case goal == "failed":
			return wire.Waited{}, wire.NewError(wire.CodeNotRunning, "a can no longer become failed: it is exited")
		case goal == "gone":
			return wire.Waited{}, wire.NewError(wire.CodeTimedOut, "timed out")
		case ms != 30000:
			return wire.Waited{}, wire.NewError(wire.CodeInternal, fmt.Sprint(ms))
		}
		return wire.Waited{States: []wire.Listed{{Name: "a", State: wire.State{State: "running"}}}}, nil
	}
	socket := serve(t, f)
	for _, c := range []struct {
		line string
		want ran
	}{
		{"wait a", ran{0, "a: running\n", ""}},
		{"wait a --for failed", ran{1, "", "zinit: a can no longer become failed: it is exited (zinit why a)\n"}},
		{"wait a b --for gone --timeout 2s", ran{124, "", "zinit: timed out after 2s waiting for a, b to be gone\n"}},
		{"wait a --for happy", ran{2, "", "zinit: unknown state \"happy\" for --for: want one of running, ready, exited, failed, inactive, gone\n"}},
		{"wait a c", ran{5, "", "zinit: cannot wait for c: no such service (zinit list shows all)\n"}},
	} {
		if got := run(t, socket, words(c.line)...); got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", c.line, got, c.want)
		}
	}
}

// TestInterrupted: Ctrl-C ends the waiting only, and says so.
func TestInterrupted(t *testing.T) {
	f := &fakeServer{names: []string{"a"}}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	f.start = func(ctx context.Context, _ string, _ rpc.Change) (wire.OK, error) {
		cancel()
		<-ctx.Done()
		return wire.OK{}, ctx.Err()
	}
	socket := serve(t, f)
	var out, errs strings.Builder
	v := newInvocation(ctx, cancel, strings.NewReader(""), &out, &errs)
	code := v.finish(v.run([]string{"-s", socket, "start", "a"}))
	want := "zinit: stopped waiting, nothing is undone: a may still be starting (zinit status a)\n"
	if code != 130 || errs.String() != want || out.String() != "" {
		t.Errorf("code %d, stdout %q, stderr %q", code, out.String(), errs.String())
	}
}

func TestUnreachable(t *testing.T) {
	for _, line := range []string{"list", "start a", "is-active a", "logs -f", "shutdown", "status a"} {
		got := run(t, "/nonexistent/socket", words(line)...)
		if got.code != 69 || got.out != "" || strings.Count(got.err, "\n") != 1 || !strings.Contains(got.err, "/nonexistent/socket") {
			t.Errorf("%s: %+v", line, got)
		}
	}
	if got := run(t, "/nonexistent/socket", "__complete", "start", ""); got.code != 0 || got.out != "" || got.err != "" {
		t.Errorf("completion without a server: %+v", got)
	}
	if got := run(t, "/nonexistent/socket", "version"); got.code != 0 || got.out != "zinit "+version.String()+"\n" {
		t.Errorf("version without a server: %+v", got)
	}
}

func logLine(service string, ms int64, seq uint64, text string) wire.LogLine {
	return wire.LogLine{Service: service, Stream: "stdout", TimestampMS: noon.UnixMilli() + ms, Seq: seq, Content: text}
}

func TestLogs(t *testing.T) {
	inUTC(t)
	f := &fakeServer{names: []string{"db", "web"}}
	f.logs = func(q rpc.LogQuery) ([]wire.LogLine, error) {
		f.note("%+v", q)
		if slices.Contains(q.Names, "nope") {
			return nil, wire.NewError(wire.CodeNotFound, "service not found: nope")
		}
		return []wire.LogLine{logLine("web", 5, 1, "two"), logLine("db", 1, 1, "one \x1b[31m"), logLine("web", 9, 2, "three")}, nil
	}
	socket := serve(t, f)
	for _, c := range []struct {
		line string
		want ran
	}{
		{"logs", ran{0, "2026-03-01 12:00:00.001 db  | one \x1b[31m\n2026-03-01 12:00:00.005 web | two\n2026-03-01 12:00:00.009 web | three\n", ""}},
		{"logs db web", ran{0, "2026-03-01 12:00:00.001 db  | one \x1b[31m\n2026-03-01 12:00:00.005 web | two\n2026-03-01 12:00:00.009 web | three\n", ""}},
		{"logs web -o cat", ran{0, "one \x1b[31m\ntwo\nthree\n", ""}},
		{"logs web nope -o cat", ran{5, "one \x1b[31m\ntwo\nthree\n", "zinit: cannot show the log of nope: no such service (zinit list shows all)\n"}},
		{"logs zinit nope -o cat", ran{5, "one \x1b[31m\ntwo\nthree\n", "zinit: cannot show the log of nope: no such service (zinit list shows all)\n"}},
		{"logs nope nope", ran{5, "", "zinit: cannot show the log of nope: no such service (zinit list shows all)\n"}},
		{"logs nope", ran{5, "", "zinit: cannot show the log of nope: no such service (zinit list shows all)\n"}},
		{"logs -n x", ran{2, "", "zinit: cannot read --lines \"x\": want a number or all\n"}},
		{"logs --since later", ran{2, "", "zinit: cannot read --since \"later\": want 10m (ago), HH:MM, today, yesterday, \"2006-01-02 15:04\" or RFC 3339\n"}},
		{"logs -g (", ran{2, "", "zinit: cannot read the regular expression \"(\": missing closing ): `(`\n"}},
		{"logs --stream out", ran{2, "", "zinit: unknown stream \"out\": want stdout, stderr or syslog\n"}},
		{"logs -o xml", ran{2, "", "zinit: unknown output format \"xml\": want short, cat or json\n"}},
	} {
		if got := run(t, socket, words(c.line)...); got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", c.line, got, c.want)
		}
	}
	f.seen = nil
	run(t, socket, "logs", "web", "-n20", "--stream", "stderr", "-g", "x y", "--since", "2026-03-01T12:00:00Z")
	run(t, socket, "logs", "-n", "all")
	want := []string{
		fmt.Sprintf("%+v", rpc.LogQuery{Names: []string{"web"}, Lines: 20, Stream: "stderr", Grep: "x y", SinceMS: noon.UnixMilli()}),
		fmt.Sprintf("%+v", rpc.LogQuery{Lines: 1<<31 - 1}),
	}
	if got := f.noted(); !slices.Equal(got, want) {
		t.Errorf("queries\n got %q\nwant %q", got, want)
	}
	var line map[string]any
	if got := run(t, socket, "logs", "--json"); json.Unmarshal([]byte(strings.SplitN(got.out, "\n", 2)[0]), &line) != nil || line["service"] != "db" || line["pid"] != 0.0 {
		t.Errorf("json: %q", got.out)
	}
}

func TestFollow(t *testing.T) {
	inUTC(t)
	f := &fakeServer{names: []string{"web"}}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	f.follow = func(ctx context.Context, q rpc.LogQuery, send func(wire.Follow) error) error {
		if err := send(wire.Follow{Lines: []wire.LogLine{logLine("web", 0, 1, "first")}}); err != nil {
			return err
		}
		if err := send(wire.Follow{Lines: []wire.LogLine{logLine("web", 1, 9, "second")}, Missed: 7, Service: "web"}); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}
	out := &watched{until: "second\n", done: cancel}
	var errs strings.Builder
	v := newInvocation(ctx, cancel, strings.NewReader(""), out, &errs)
	code := v.finish(v.run([]string{"-s", serve(t, f), "logs", "web", "-f"}))
	if want := "2026-03-01 12:00:00.000 first\n2026-03-01 12:00:00.001 second\n"; out.String() != want || code != 130 {
		t.Errorf("code %d, got %q", code, out.String())
	}
	if want := "zinit: web: 7 lines overwritten before they could be shown\n"; errs.String() != want {
		t.Errorf("stderr %q", errs.String())
	}
}

// watched is an output that calls done once it has seen a text.
type watched struct {
	strings.Builder
	until string
	done  func()
}

func (w *watched) Write(p []byte) (int, error) {
	n, err := w.Builder.Write(p)
	if strings.Contains(w.String(), w.until) {
		w.done()
	}
	return n, err
}

// TestReaderGoesAway: `zinit logs -f | head` ends quietly.
func TestReaderGoesAway(t *testing.T) {
	f := &fakeServer{names: []string{"web"}}
	f.follow = func(ctx context.Context, _ rpc.LogQuery, send func(wire.Follow) error) error {
		for seq := uint64(1); ctx.Err() == nil; seq++ {
			if err := send(wire.Follow{Lines: []wire.LogLine{logLine("web", int64(seq), seq, "again")}}); err != nil {
				return err
			}
		}
		return ctx.Err()
	}
	f.logs = func(rpc.LogQuery) ([]wire.LogLine, error) { return []wire.LogLine{logLine("web", 0, 1, "once")}, nil }
	socket := serve(t, f)
	for _, line := range []string{"logs -f", "logs", "list", "help"} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Close()
		var errs strings.Builder
		code := Main(append([]string{"zinit", "-s", socket}, words(line)...), strings.NewReader(""), w, &errs)
		_ = w.Close()
		if code != 0 || errs.String() != "" {
			t.Errorf("%s: code %d, stderr %q", line, code, errs.String())
		}
	}
}

func TestFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close() //nolint:errcheck // nothing was written
	var errs strings.Builder
	if code := Main([]string{"zinit", "help"}, strings.NewReader(""), full, &errs); code != 1 || !strings.Contains(errs.String(), "no space left on device") {
		t.Errorf("code %d, stderr %q", code, errs.String())
	}
}

func TestAddService(t *testing.T) {
	f := &fakeServer{names: []string{"db", "web"}}
	f.add = func(config json.RawMessage, persist bool) (wire.Added, error) {
		if strings.Contains(string(config), `"db"`) {
			return wire.Added{}, wire.NewError(wire.CodeExists, "db exists")
		}
		a := wire.Added{Name: "web", Warnings: []string{}}
		if persist {
			a.Path = ptr("/etc/zinit/services/web.toml")
		}
		return a, nil
	}
	socket := serve(t, f)
	file := filepath.Join(t.TempDir(), "web.toml")
	if err := os.WriteFile(file, []byte("[service]\nname = \"web\"\nexec = \"sleep 1\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(t.TempDir(), "bad.toml")
	if err := os.WriteFile(bad, []byte("[service]\nname = \"bad\"\nexce = \"sleep 1\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		line string
		want ran
	}{
		{"add-service " + file, ran{0, "web: added, not saved: it is gone when the server ends; not started (start it: zinit start web)\n", ""}},
		{"add-service " + file + " --persist", ran{0, "web: added, saved as /etc/zinit/services/web.toml; not started (start it: zinit start web)\n", ""}},
		{"add-service web --exec true --start", ran{0, "web: added, not saved: it is gone when the server ends\nweb: running, pid 7\n", ""}},
		{"add-service db --exec true", ran{1, "", "zinit: cannot add db: it exists (change its file and: zinit reload; or first: zinit remove db)\n"}},
		{"add-service", ran{2, "", "zinit: add-service needs FILE, or NAME and --exec COMMAND (see: zinit add-service --help)\n"}},
		{"add-service --exec true", ran{2, "", "zinit: add-service --exec needs a NAME (see: zinit add-service --help)\n"}},
		{"add-service x --exec true -e NOVALUE", ran{2, "", "zinit: cannot read --env \"NOVALUE\": want NAME=VALUE\n"}},
		{"add-service /nonexistent.toml", ran{1, "", "zinit: cannot read /nonexistent.toml: no such file or directory (to add one without a file: zinit add-service NAME --exec COMMAND)\n"}},
		{"add-service " + file + " --oneshot", ran{2, "", "zinit: --oneshot belongs to --exec; with a file it stands in the file\n"}},
	} {
		if got := run(t, socket, words(c.line)...); got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", c.line, got, c.want)
		}
	}
	if got := run(t, socket, "add-service", bad); got.code != 6 || !strings.Contains(got.err, "bad.toml:3:1: error: ") || !strings.Contains(got.err, "exec") {
		t.Errorf("bad file: %+v", got)
	}
	f.seen = nil
	run(t, socket, words("add-service web --exec true -e A=1,2 --after db,cache --requires x --restart always --restart-delay 250 --restart-delay-max 2s --max-restarts 3")...)
	want := `{"dependencies":{"after":["db","cache"],"requires":["x"]},"lifecycle":{"max_restarts":3,"restart":"always","restart_delay_max_ms":2000,"restart_delay_ms":250},` +
		`"service":{"env":{"A":"1,2"},"exec":"true","name":"web"}}`
	if got := f.noted(); len(got) != 1 || !strings.Contains(got[0], want) {
		t.Errorf("document %q\nwant %s", got, want)
	}
}

func TestRemove(t *testing.T) {
	f := &fakeServer{names: []string{"db"}}
	f.remove = func(name string, cascade bool) (wire.OK, error) {
		if !cascade {
			return wire.OK{}, wire.NewError(wire.CodeUnsafeRemoval, "cannot remove db: required by api, web").With("dependents", []string{"api", "web"})
		}
		return wire.OK{OK: true}, nil
	}
	socket := serve(t, f)
	for _, c := range []struct {
		line string
		want ran
	}{
		{"remove db", ran{1, "", "zinit: cannot remove db: api, web require it (with them: zinit remove --cascade db)\n"}},
		{"delete db --cascade", ran{0, "db: removed\n", ""}},
	} {
		if got := run(t, socket, words(c.line)...); got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", c.line, got, c.want)
		}
	}
}

func TestStatusCodes(t *testing.T) {
	f := &fakeServer{names: []string{"done", "failed", "run", "stopped"}}
	f.status = func(name string) (wire.StatusFull, error) {
		s := wire.StatusFull{Name: name, Wanted: "up"}
		switch name {
		case "run":
			s.State = wire.State{State: "running"}
		case "done":
			s.State, s.Oneshot = wire.State{State: "exited", ExitCode: ptr(0)}, true
		case "stopped":
			s.State, s.Oneshot, s.Wanted = wire.State{State: "exited", ExitCode: ptr(0)}, true, "down"
		case "failed":
			s.State = wire.State{State: "failed"}
		}
		return s, nil
	}
	socket := serve(t, f)
	for line, want := range map[string]int{
		"is-active run": 0, "is-active done": 0, "is-active stopped": 3, "is-active failed": 3, "is-active run failed": 3, "status run done": 0,
		"status failed": 3, "status run zzz": 4, "is-failed failed": 0, "is-failed run": 1, "is-failed failed run": 1, "is-failed zzz": 5,
	} {
		if got := run(t, socket, words(line)...); got.code != want {
			t.Errorf("%s: code %d, want %d", line, got.code, want)
		}
	}
}

func TestPowerRefused(t *testing.T) {
	f := &fakeServer{power: wire.NewError(wire.CodeNotPermitted, "zinit is not process 1 of a machine here")}
	got := run(t, serve(t, f), "poweroff")
	want := ran{4, "", "zinit: cannot poweroff: zinit is not process 1 of a machine here (to stop the services and the server: zinit shutdown)\n"}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// A server that goes away is asked again, one that stays away is given up within the timeout, and what is no matter of that
// ends at once.
func TestGoOn(t *testing.T) {
	t.Parallel()
	lost := &rpc.TransportError{Socket: "/s", Op: "connect", Err: syscall.ECONNREFUSED}
	v := &invocation{ctx: t.Context(), quiet: true, err: io.Discard}
	n := 0
	if err := v.goOn(0, func() error {
		if n++; n < 3 {
			return lost
		}
		return nil
	}); err != nil || n != 3 {
		t.Errorf("asked %d times: %v", n, err)
	}
	if err := v.goOn(30*time.Millisecond, func() error { return lost }); !errors.Is(err, lost) {
		t.Errorf("got %v, want %v", err, lost)
	}
	for _, err := range []error{errors.New("refused"), &rpc.TransportError{Err: syscall.EACCES}, &wire.Error{Code: wire.CodeNotFound}} {
		n = 0
		if got := v.goOn(0, func() error { n++; return err }); got != err || n != 1 {
			t.Errorf("%v: asked %d times, got %v", err, n, got)
		}
	}
}
