package rpc

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/zinit/zinit/rpc/wire"
)

func TestAppendResult(t *testing.T) {
	shared := wire.Tree{Nodes: []wire.TreeNode{{Name: "a"}}}
	for _, c := range []struct {
		v    any
		want string
	}{
		{[]string(nil), `[]`},
		{[]wire.Listed(nil), `[]`},
		{[]wire.LogLine(nil), `[]`},
		{logTexts(nil), `[]`},
		{logTexts{{Content: "x", Stream: "stdout", TimestampMS: 1}}, `["1 [stdout] x"]`},
		{true, `true`},
		{false, `false`},
		{json.RawMessage("{\n\"a\": 1}"), `{"a":1}`},
		{json.RawMessage(`{"a": 1}`), `{"a": 1}`},
		{wire.OK{OK: true}, `{"ok":true}`},
		{wire.Output{Output: "<&>\u2028"}, `{"output":"<&>\u2028"}`},
		{wire.Plan{}, `{"added":[],"removed":[],"changed":[],"config_errors":[],"actions":[]}`},
		{wire.Children{}, `{"children":[]}`},
		{shared, `{"ascii":"","nodes":[{"name":"a","state":{"state":""},"is_target":false,"dependencies":[]}]}`},
		{wire.Ping{Version: "1"}, `{"version":"1","pid":0,"uptime_ms":0,"mode":"","features":[]}`},
		{map[string]any{"a": nil}, `{"a":null}`},
	} {
		b, err := appendResult([]byte("x"), c.v)
		if err != nil || string(b) != "x"+c.want {
			t.Errorf("%#v: %s %v, want %s", c.v, b, err, c.want)
		}
	}
	if shared.Nodes[0].Dependencies != nil {
		t.Error("the backend's own list was written to")
	}
	for _, v := range []any{json.RawMessage(`{`), json.RawMessage(nil), func() {}, map[string]any{"a": make(chan int)}} {
		if b, err := appendResult([]byte("x"), v); err == nil || string(b) != "x" {
			t.Errorf("%#v: %s %v", v, b, err)
		}
	}
}

// TestDecodeListed: rows are read as encoding/json reads them.
func TestDecodeListed(t *testing.T) {
	n, big, mem, cpu := 7, int64(1<<60), uint64(9), 1.5
	rows := []wire.Listed{
		{},
		{Name: "a\"\u00e9\n", State: wire.State{State: "running", PID: &n}, UptimeMS: &big, Restarts: -3, Class: "system", Wanted: "up",
			Text: "x", MemoryBytes: &mem, CPUPercent: &cpu, NextRestartMS: &big, IsTarget: true},
		{Name: "b", State: wire.State{State: "exited", ExitCode: &n}},
		{Name: "c", State: wire.State{State: "exited"}},
		{Name: "d", State: wire.State{State: "blocked", WaitingOn: []string{"x", "y"}, ConflictsWith: []string{"z"}}},
		{Name: "e", State: wire.State{State: "failed", Reason: &wire.Reason{Type: "signal", Signal: &n, Kind: "oom", Detail: "d"}}},
	}
	texts := []string{string(appendList(nil, rows)), `[]`, ` [ { "name" : "x" , "new" : [1,{"a":2}] , "uptime_ms" : null } ] `,
		`null`, `{}`, `[1]`, `[{"name":1}]`, `[{"restarts":"x"}]`, `[{"state":[]}]`, `[{"uptime_ms":1.5}]`, `[{`, `[{"state":{"pid":true}}]`}
	for _, text := range texts {
		var want []wire.Listed
		wantErr := json.Unmarshal([]byte(text), &want)
		got, err := decodeListed([]byte(text))
		if text == "null" {
			wantErr = err // a list is never null
		}
		if (err != nil) != (wantErr != nil) || err == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n%+v %v, encoding/json reads\n%+v %v", text, got, err, want, wantErr)
		}
	}
}

// TestUnencodable: an answer that is no JSON is an internal error, and the connection works on.
func TestUnencodable(t *testing.T) {
	fake := newFake("a")
	fake.kill = func(string, string) (wire.OK, error) {
		return wire.OK{}, wire.NewError(wire.CodeNotRunning, "no").With("bad", func() {})
	}
	conn := dialRaw(t, serveFake(t, badDocument{fake}, ServerOptions{}).path)
	if text := conn.ask(strings.TrimSpace(req(4, "service.get", `{"name":"a"}`))); !strings.Contains(text, `"id":4,"error":{"code":-32603`) {
		t.Error(text)
	}
	if text := conn.ask(strings.TrimSpace(req(5, "service.kill", `{"name":"a"}`))); !strings.Contains(text, `"id":5,"error":{"code":-32002,"message":"no"`) {
		t.Error(text)
	}
	if text := conn.ask(pingLine); !strings.Contains(text, `"version"`) {
		t.Error(text)
	}
}

type badDocument struct{ *fakeBackend }

func (badDocument) Get(string) (json.RawMessage, error) { return json.RawMessage(`{"a":`), nil }
