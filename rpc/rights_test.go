package rpc

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/rpc/wire"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestRightsDecided: of every member that a method for everybody can answer, the table says what is shown of it, once.
func TestRightsDecided(t *testing.T) {
	rows := map[reflect.Type]sight{}
	for _, row := range sights() {
		rows[reflect.TypeOf(row.of)] = row
	}
	reached := map[reflect.Type]bool{}
	var walk func(where string, typ reflect.Type)
	walk = func(where string, typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || reached[typ] || typ == reflect.TypeFor[wire.LogLine]() {
			return
		}
		reached[typ] = true
		row, known := rows[typ]
		if !known {
			t.Errorf("%s: %s has no row in the table of rights: nothing of it is shown", where, typ)
			return
		}
		listed := slices.Concat(strings.Fields(row.states), strings.Fields(row.told), strings.Fields(row.hidden))
		for i := range typ.NumField() {
			name, at := typ.Field(i).Name, 0
			for _, l := range listed {
				if l == name {
					at++
				}
			}
			if at != 1 {
				t.Errorf("%s: %s.%s stands in %d columns of the table of rights, not in one", where, typ, name, at)
			}
			walk(where+"."+name, typ.Field(i).Type)
		}
		for _, name := range listed {
			if _, there := typ.FieldByName(name); !there {
				t.Errorf("the table of rights names %s.%s, which does not exist", typ, name)
			}
		}
	}
	for name, m := range methods() {
		if m.access != accessRead {
			continue
		}
		walk(name, reflect.TypeOf(m.result))
		if m.item != nil {
			walk(name, reflect.TypeOf(m.item))
		}
	}
	for typ := range rows {
		if !reached[typ] {
			t.Errorf("%s has a row in the table of rights and is in no answer for everybody", typ)
		}
	}
}

// telling answers every query with values in all members.
type telling struct{ *fakeBackend }

// full fills every member: texts with their type and name, so that what comes through can be told apart.
func full[T any]() T {
	v := reflect.New(reflect.TypeFor[T]()).Elem()
	fill(v, "secret")
	return v.Interface().(T)
}

func fill(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint64:
		v.SetUint(7)
	case reflect.Float64:
		v.SetFloat(7)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), text)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), text)
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]int{"running": 7}))
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), "secret "+v.Type().Field(i).Name)
		}
	default:
		panic("a kind that no answer had: " + v.Kind().String())
	}
}

func (telling) SystemStatus() (wire.SystemStatus, error)     { return full[wire.SystemStatus](), nil }
func (telling) Boot() (wire.Boot, error)                     { return full[wire.Boot](), nil }
func (telling) ListFull(bool) ([]wire.Listed, error)         { return full[[]wire.Listed](), nil }
func (telling) Status(string) (wire.Status, error)           { return full[wire.Status](), nil }
func (telling) StatusFull(string) (wire.StatusFull, error)   { return full[wire.StatusFull](), nil }
func (telling) Stats(string) (wire.Stats, error)             { return full[wire.Stats](), nil }
func (telling) Children(string) (wire.Children, error)       { return full[wire.Children](), nil }
func (telling) Why(string) (wire.Why, error)                 { return full[wire.Why](), nil }
func (telling) Tree(string) (wire.Tree, error)               { return full[wire.Tree](), nil }
func (telling) Events(uint64, int) (wire.Events, error)      { return full[wire.Events](), nil }
func (telling) XinetList() []string                          { return []string{"proxy"} }
func (telling) XinetStatus(string) (wire.XinetStatus, error) { return full[wire.XinetStatus](), nil }
func (telling) XinetStatusAll() []wire.XinetStatus           { return full[[]wire.XinetStatus]() }
func (telling) Jobs() ([]wire.Job, error)                    { return full[[]wire.Job](), nil }
func (telling) JobHistory(string) ([]wire.JobRun, error)     { return full[[]wire.JobRun](), nil }
func (telling) Get(string) (json.RawMessage, error)          { return json.RawMessage(`{"secret":"Get"}`), nil }
func (telling) Plan() (wire.Plan, error)                     { return full[wire.Plan](), nil }
func (telling) DebugState() (string, error)                  { return "secret state", nil }
func (telling) ProcessTree(string) (string, error)           { return "secret tree", nil }
func (telling) Logs(LogQuery) ([]wire.LogLine, error)        { return full[[]wire.LogLine](), nil }
func (telling) FollowLogs(_ context.Context, _ LogQuery, send func(wire.Follow) error) error {
	return send(full[wire.Follow]())
}
func (telling) FollowEvents(_ context.Context, _ uint64, send func(wire.Event) error) error {
	return send(full[wire.Event]())
}
func (telling) Wait(context.Context, []string, string, int64) (wire.Waited, error) {
	return full[wire.Waited](), nil
}

// stranger is a connection of a user with the right to states only.
func stranger(t *testing.T, s *Server) *line {
	t.Helper()
	need.Root(t)
	fds := make(chan [2]int, 1)
	go func() {
		runtime.LockOSThread() // the thread has another user from here on, and ends with this function
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), 65534, ^uintptr(0)); errno != 0 {
			t.Errorf("cannot become another user: %v", errno)
		}
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Error(err)
		}
		fds <- pair
	}()
	pair := <-fds
	conns := make([]*net.UnixConn, 2)
	for i, fd := range pair {
		file := os.NewFile(uintptr(fd), "pair")
		conn, err := net.FileConn(file)
		if err != nil {
			t.Fatal(err)
		}
		_ = file.Close()
		conns[i] = conn.(*net.UnixConn)
	}
	s.admit(conns[0])
	t.Cleanup(func() { _ = conns[1].Close() })
	_ = conns[1].SetDeadline(time.Now().Add(patience))
	return &line{t, conns[1], bufio.NewReaderSize(conns[1], 1<<20)}
}

// leaves are the values of an answer by their paths, without those that say nothing.
func leaves(to map[string]string, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for key, member := range v {
			leaves(to, path+"."+key, member)
		}
	case []any:
		for _, element := range v {
			leaves(to, path+"[]", element)
		}
	case nil:
	default:
		if text := fmt.Sprint(v); text != "" && text != "0" && text != "false" {
			to[path] = text
		}
	}
}

// TestRights asks every method as one who may everything and as one who may see states only, and compares member by
// member. The golden file is the list to be read: what is new in it was decided by somebody.
func TestRights(t *testing.T) {
	server := serveFake(t, telling{newFake("a")}, ServerOptions{})
	call := func(l *line, m *method) map[string]string {
		params := map[string]any{}
		for _, p := range m.params {
			switch {
			case p.kind == kindStrings:
				params[p.name] = []string{"a"}
			case p.name == "name" || p.name == "service":
				params[p.name] = "a"
			}
		}
		b, _ := json.Marshal(params)
		answer := l.ask(strings.TrimSuffix(req(1, m.name, string(b)), "\n"))
		if m.stream != nil && strings.Contains(answer, `"result"`) {
			answer = l.next()
		}
		var v map[string]any
		if err := json.Unmarshal([]byte(answer), &v); err != nil {
			t.Fatalf("%s: %s: %v", m.name, answer, err)
		}
		found := map[string]string{}
		for _, member := range []string{"result", "params"} {
			leaves(found, "", v[member])
		}
		if e, _ := v["error"].(map[string]any); e != nil {
			found["error"] = fmt.Sprint(e["code"])
		}
		return found
	}
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(methods())) {
		m := lookup(name)
		if m.access == accessWrite {
			other := stranger(t, server.Server)
			if answer := other.ask(strings.TrimSuffix(req(1, name, `{}`), "\n")); parseReply(t, answer).code() != wire.CodeNotPermitted {
				t.Errorf("%s by one who may see states only: %s", name, answer)
			}
			lines = append(lines, name+" refused")
			continue
		}
		all, some := call(dialRaw(t, server.path), m), call(stranger(t, server.Server), m)
		if some["error"] == fmt.Sprint(int(wire.CodeNotPermitted)) {
			lines = append(lines, name+" refused")
			continue
		}
		if name == "rpc.discover" {
			if !maps.Equal(all, some) {
				t.Errorf("rpc.discover differs for one who may see states only")
			}
			continue
		}
		for _, path := range slices.Sorted(maps.Keys(all)) {
			what := "shown"
			switch some[path] {
			case all[path]:
			case "":
				what = "hidden"
			default:
				what = "told: " + some[path]
			}
			lines = append(lines, strings.TrimRight(name+" "+strings.TrimPrefix(path, "."), " ")+" "+what)
		}
		for path := range some {
			if all[path] == "" {
				t.Errorf("%s: %s is shown to those who may see states only", name, path)
			}
		}
	}
	got, file := strings.Join(lines, "\n")+"\n", filepath.Join("testdata", "rights.golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("what is shown has changed (go test ./rpc -update, and read the difference):\n%s", got)
	}
}

// TestRightsOfErrors: an error tells a peer with the right to states only what was wrong with its request, and nothing of
// what a check or a program said.
func TestRightsOfErrors(t *testing.T) {
	f := newFake("a")
	f.wait = func(context.Context, []string, string, int64) (wire.Waited, error) {
		return wire.Waited{}, wire.NewError(wire.CodeTimedOut, "timed out: https://user:secret@host said no").With("cause", "secret")
	}
	f.followEvent = func(context.Context, uint64, func(wire.Event) error) error { panic("secret") }
	server := serveFake(t, f, ServerOptions{})
	l := stranger(t, server.Server)
	if answer := l.ask(`{"jsonrpc":"2.0","id":1,"method":"service.status","params":{"name":"b"}}`); !strings.Contains(answer, "not found: b") {
		t.Errorf("%s", answer)
	}
	answer := l.ask(`{"jsonrpc":"2.0","id":1,"method":"service.wait","params":{"names":["a"]}}`)
	if parseReply(t, answer).code() != wire.CodeTimedOut || strings.Contains(answer, "secret") || !strings.Contains(answer, "timed out; only root") {
		t.Errorf("%s", answer)
	}
	l.ask(`{"jsonrpc":"2.0","id":1,"method":"events.subscribe"}`)
	if end := l.next(); !strings.Contains(end, `"end"`) || strings.Contains(end, "secret") {
		t.Errorf("%s", end)
	}
}
