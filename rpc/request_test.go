package rpc

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/zinit/zinit/rpc/wire"
)

// TestLines holds one answer for one line, as a client sees it.
func TestLines(t *testing.T) {
	server := serveFake(t, newFake("a", "b"), ServerOptions{})
	const end = `,"method":"service.is_running","params":{"name":"a"}}`
	for _, c := range []struct{ send, id, code string }{
		{`{"jsonrpc":"2.0","id":1` + end, "1", "0"},
		{`{"jsonrpc":"2.0","id":-9223372036854775808` + end, "-9223372036854775808", "0"},
		{`{"jsonrpc":"2.0","id":-9223372036854775809` + end, "0", "-32700"},
		{`{"jsonrpc":"2.0","id":18446744073709551615` + end, "18446744073709551615", "0"},
		{`{"jsonrpc":"2.0","id":18446744073709551616` + end, "0", "-32700"},
		{`{"jsonrpc":"2.0","id":1e3` + end, "0", "-32700"},
		{`{"jsonrpc":"2.0","id":true` + end, "0", "-32700"},
		{`{"jsonrpc":"2.0","id":{}` + end, "0", "-32700"},
		{`{"jsonrpc":"2.0","id":"ü\n"` + end, `"ü\n"`, "0"},
		{`{"jsonrpc":"2.0","id":""` + end, `""`, "0"},
		{`{"jsonrpc":"2.0","id":null` + end, "null", "0"},
		{`{"jsonrpc":"2.0","\u0069d":5,"m\u0065thod":"service.is_runn\u0069ng","params":{"n\u0061me":"a"}}`, "5", "0"},
		{`{"method":"service.is_running","params":{"name":"a"},"id":3,"jsonrpc":"2.0"}`, "3", "0"},
		{`{"jsonrpc":"2.0","id":3,"method":"service.is_running","params":["a"]}`, "3", "0"},
		{`{"jsonrpc":"2.0","id":3,"method":"service.is_running","params":["a","b"]}`, "3", "-32602"},
		{`{"jsonrpc":"2.0","id":3,"method":"service.is_running","params":[]}`, "3", "-32602"},
		{`{"jsonrpc":"2.0","id":3,"method":"service.is_running","params":[null]}`, "3", "-32602"},
		{`{"jsonrpc":"2.0","id":3,"method":"service.is_running","params":{"name":"a","name":"b"}}`, "3", "-32602"},
		{`{"jsonrpc":"2.0","id":3,"method":"service.is_running","params":{"name":"a","nmae":"b"}}`, "3", "-32602"},
		{`{"jsonrpc":"2.0","id":3,"method":"service.tree","params":{"name":null}}`, "3", "0"},
		{`{"jsonrpc":"2.0","id":3,"method":"service.start","params":{"name":"a","wait":"yes"}}`, "3", "-32602"},
		{`{"jsonrpc":"2.0","id":3,"method":"service.start","params":{"name":"a","timeout_ms":-1}}`, "3", "-32602"},
		{`{"jsonrpc":"2.0","id":3,"method":"service.start","params":{"name":"a","timeout_ms":1.5}}`, "3", "-32602"},
		{`{"jsonrpc":"2.0","id":3,"method":"service.kill","params":{"name":"a","signal":9}}`, "3", "0"},
		{`{"jsonrpc":"2.0","id":3,"method":"service.kill","params":{"name":"a","signal":[]}}`, "3", "-32602"},
		{`{"jsonrpc":"2.0","id":3,"method":"service.wait","params":{"names":["a"]}}`, "3", "0"},
		{`{"jsonrpc":"2.0","id":3,"method":"service.wait","params":{"names":"a"}}`, "3", "0"},
		{`{"jsonrpc":"2.0","id":3,"method":"service.wait","params":{"names":["a",1]}}`, "3", "-32602"},
		{`{"jsonrpc":"2.0","id":3,"method":"service.set","params":{}}`, "3", "-32602"},
		{`{"jsonrpc":"2.0","id":3,"method":"service.set","params":{"config":[]}}`, "3", "-32602"},
		{`{"jsonrpc":"2.0","id":3,"method":"logs.get","params":{"stream":"stdin"}}`, "3", "-32602"},
		{`{"jsonrpc":"2.0","id":3,"method":"logs.get","params":{"lines":true}}`, "3", "0"},
		{`{"jsonrpc":"2.0","id":3,"method":"system.png"}`, "3", "-32601"},
		{`[]`, "0", "-32700"},
		{`[1]`, "0", "-32700"},
		{`["2.0",5,"service.is_running",{"name":"a"}]`, "5", "0"},
		{`["2.0",5,"service.is_running",{"name":"a"},1]`, "0", "-32700"},
		{`["2.0",5]`, "0", "-32700"},
		{`[{"jsonrpc":"2.0","id":1` + end, "0", "-32700"},
		{`[{"jsonrpc":"2.0","id":1` + end + `]]`, "0", "-32700"},
		{`{"jsonrpc":"2.0","id":1,"method":"a","method":"b"}`, "0", "-32700"},
		{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}", "0", "-32700"},
		{"\xff\xfe", "0", "-32700"},
		{"\x00", "0", "-32700"},
	} {
		conn := dialRaw(t, server.path)
		text := conn.ask(c.send)
		r := parseReply(t, text)
		if string(r.ID) != c.id || json.Number(c.code).String() != itoa(int(r.code())) {
			t.Errorf("%s: %s, want id %s code %s", c.send, text, c.id, c.code)
		}
		if r.Error != nil && r.Error.Data["kind"] != r.Error.Code.Kind() {
			t.Errorf("%s: %s: data.kind is not the code as a word", c.send, text)
		}
		if next := conn.ask(`{"jsonrpc":"2.0","id":99` + end); !strings.Contains(next, `"id":99,"result":true`) {
			t.Errorf("after %s: %s", c.send, next)
		}
	}
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

// TestMessages: an error says which name, which member, and what is near.
func TestMessages(t *testing.T) {
	server := serveFake(t, newFake("a"), ServerOptions{})
	conn := dialRaw(t, server.path)
	for _, c := range []struct{ method, params, want string }{
		{"service.lst", `{}`, `did you mean "service.list"`},
		{"service.status", `{"nmae":"a"}`, `service.status: unknown parameter "nmae" (did you mean "name"?)`},
		{"service.status", `{"zzz":"a"}`, `service.status: unknown parameter "zzz" (it takes name)`},
		{"system.ping", `{"junk":1}`, `system.ping: unknown parameter "junk" (it takes none)`},
		{"system.ping", `[1]`, `system.ping takes at most 0 parameters (it takes none)`},
		{"service.start", `{"name":"a","wait":1}`, `service.start: 'wait' must be true or false, not 1`},
		{"service.get", `{"name":5}`, `missing 'name' parameter: it must be a string, not a number`},
		{"logs.filter", `{}`, `missing 'service' parameter`},
		{"service.status", `{"name":"ghost"}`, `service not found: ghost`},
		{"xinet.set", `{"config":{"name":"p","listn":"/a"}}`, `xinet.set: unknown member "listn" (did you mean "listen"?)`},
		{"xinet.set", `{"name":"p","bogus":1}`, `xinet.set: unknown member "bogus" (it takes name, listen, backend, service, `},
		{"service.set", `{"config":{},"confg":{}}`, `service.set: unknown parameter "confg" (did you mean "config"?)`},
	} {
		r := parseReply(t, conn.ask(`{"jsonrpc":"2.0","id":1,"method":"`+c.method+`","params":`+c.params+`}`))
		if r.Error == nil || !strings.Contains(r.Error.Message, c.want) {
			t.Errorf("%s %s: %+v, want %q", c.method, c.params, r.Error, c.want)
		}
	}
}

// TestXinetMembers: the list that requests are checked against is the type that they are read into.
func TestXinetMembers(t *testing.T) {
	fields := reflect.TypeFor[wire.XinetConfig]()
	for i := range fields.NumField() {
		name, _, _ := strings.Cut(fields.Field(i).Tag.Get("json"), ",")
		if i >= len(xinetMembers) || xinetMembers[i].name != name {
			t.Errorf("member %d is %q, the list of known members has %v", i, name, xinetMembers)
		}
	}
	if len(xinetMembers) != fields.NumField() {
		t.Errorf("%d known members, the type has %d", len(xinetMembers), fields.NumField())
	}
}

func TestLenient(t *testing.T) {
	server := serveFake(t, newFake("a"), ServerOptions{Lenient: true})
	conn := dialRaw(t, server.path)
	if r := parseReply(t, conn.ask(`{"jsonrpc":"2.0","id":1,"method":"xinet.set","params":{"name":"p","bogus":1}}`)); r.Error != nil {
		t.Errorf("an unknown member of a proxy: %v", r.Error)
	}
	for _, params := range []string{`{"name":"a","junk":1}`, `["a",1,2]`} {
		if r := parseReply(t, conn.ask(`{"jsonrpc":"2.0","id":1,"method":"service.status","params":`+params+`}`)); r.Error != nil {
			t.Errorf("%s: %v", params, r.Error)
		}
	}
}

// TestConfigForms: the config wrapped, bare, by place, with the options beside it.
func TestConfigForms(t *testing.T) {
	fake := newFake("a")
	server := serveFake(t, fake, ServerOptions{})
	conn := dialRaw(t, server.path)
	for _, c := range []struct{ method, params, want string }{
		{"service.set", `{"config":{"service":{"name":"x"}}}`, `set {"service":{"name":"x"}} false`},
		{"service.set", `{"config":{"service":{"name":"x"}},"dry_run":true}`, `set {"service":{"name":"x"}} true`},
		{"service.set", `{"service":{"name":"x"},"health":null}`, `set {"service":{"name":"x"},"health":null} false`},
		{"service.set", `{"service":{"name":"x"},"dry_run":true,"health":null}`, `set {"service":{"name":"x"},"health":null} true`},
		{"service.set", `[{"service":{"name":"x"}},true]`, `set {"service":{"name":"x"}} true`},
		{"service.add", `{"service":{"name":"x"},"persist":true}`, `add {"service":{"name":"x"}} true`},
		{"xinet.set", `{"config":{"name":"p","listen":["/a"],"backend":"h:1","service":"a"}}`,
			`xinet {Name:p Listen:[/a] Backend:h:1 Service:a ConnectTimeout:0 IdleTimeout:0 SingleConnection:false}`},
		{"xinet.set", `{"name":"p","listen":"/a","backend":"h:1","service":"a","idle_timeout":5}`,
			`xinet {Name:p Listen:[/a] Backend:h:1 Service:a ConnectTimeout:0 IdleTimeout:5 SingleConnection:false}`},
	} {
		before := len(fake.notes())
		r := parseReply(t, conn.ask(`{"jsonrpc":"2.0","id":1,"method":"`+c.method+`","params":`+c.params+`}`))
		notes := fake.notes()
		if r.Error != nil || len(notes) != before+1 || notes[before] != c.want {
			t.Errorf("%s %s: %v, backend saw %q, want %q", c.method, c.params, r.Error, notes[before:], c.want)
		}
	}
}

// TestLogQueries: what the parameters of the log methods become.
func TestLogQueries(t *testing.T) {
	fake := newFake("a", "b")
	server := serveFake(t, fake, ServerOptions{})
	conn := dialRaw(t, server.path)
	for _, c := range []struct{ method, params, want string }{
		{"logs.get", `{}`, `logs {Names:[] Lines:100 Stream: SinceMS:0 UntilMS:0 Since:0 Grep:}`},
		{"logs.get", `{"name":"a","lines":0}`, `logs {Names:[a] Lines:0 Stream: SinceMS:0 UntilMS:0 Since:0 Grep:}`},
		{"logs.get", `{"name":"a","lines":"2"}`, `logs {Names:[a] Lines:100 Stream: SinceMS:0 UntilMS:0 Since:0 Grep:}`},
		{"logs.get", `{"name":"a","lines":-1}`, `logs {Names:[a] Lines:100 Stream: SinceMS:0 UntilMS:0 Since:0 Grep:}`},
		{"logs.tail", `["a",3]`, `logs {Names:[a] Lines:3 Stream: SinceMS:0 UntilMS:0 Since:0 Grep:}`},
		{"logs.tail", `{"names":["a","b"],"since":5,"until":9,"since_seq":18446744073709551615,"grep":"x","stream":"stderr"}`,
			`logs {Names:[a b] Lines:100 Stream:stderr SinceMS:5 UntilMS:9 Since:18446744073709551615 Grep:x}`},
		{"logs.filter", `{"service":"a","stream":"stderr","since":1,"lines":1}`,
			`logs {Names:[a] Lines:1 Stream:stderr SinceMS:1 UntilMS:0 Since:0 Grep:}`},
		{"logs.filter", `["a","stdout",7,2]`, `logs {Names:[a] Lines:2 Stream:stdout SinceMS:7 UntilMS:0 Since:0 Grep:}`},
		{"logs.filter", `{"name":"a"}`, `logs {Names:[a] Lines:2147483647 Stream: SinceMS:0 UntilMS:0 Since:0 Grep:}`},
	} {
		before := len(fake.notes())
		r := parseReply(t, conn.ask(`{"jsonrpc":"2.0","id":1,"method":"`+c.method+`","params":`+c.params+`}`))
		notes := fake.notes()
		if r.Error != nil || len(notes) != before+1 || notes[before] != c.want {
			t.Errorf("%s %s: %v, backend saw %q, want %q", c.method, c.params, r.Error, notes[before:], c.want)
		}
	}
}

func TestBatches(t *testing.T) {
	fake := newFake("a")
	server := serveFake(t, fake, ServerOptions{})
	conn := dialRaw(t, server.path)
	ask := func(text string) []reply {
		t.Helper()
		var replies []reply
		answer := conn.ask(text)
		if err := json.Unmarshal([]byte(answer), &replies); err != nil {
			t.Fatalf("%s: %s: %v", text, answer, err)
		}
		return replies
	}
	const running = `"method":"service.is_running","params":{"name":"a"}}`
	replies := ask(`[{"jsonrpc":"2.0","id":1,` + running + `,7,{"jsonrpc":"2.0",` + running +
		`,{"jsonrpc":"2.0","id":2,"method":"x"},{"id":3},["2.0",4,"system.ping"],{"jsonrpc":"2.0","id":5,"method":"logs.follow"}]`)
	want := []struct {
		id   string
		code wire.Code
	}{{"1", 0}, {"0", wire.CodeRequest}, {"2", wire.CodeMethod}, {"0", wire.CodeParse}, {"0", wire.CodeRequest}, {"5", wire.CodeRequest}}
	if len(replies) != len(want) {
		t.Fatalf("%d answers: %+v", len(replies), replies)
	}
	for i, r := range replies {
		if string(r.ID) != want[i].id || r.code() != want[i].code {
			t.Errorf("answer %d: id %s code %d, want %s %d", i, r.ID, r.code(), want[i].id, want[i].code)
		}
	}
	// A batch of notifications has no answer at all; changes in it are carried out in order.
	conn.send(`[{"jsonrpc":"2.0","method":"service.stop","params":["a"]},{"jsonrpc":"2.0","method":"service.start","params":["a"]}]` + "\n")
	if answer := conn.ask(`{"jsonrpc":"2.0","id":9,` + running); !strings.Contains(answer, `"id":9`) {
		t.Error(answer)
	}
	notes := strings.Join(fake.notes(), "; ")
	if !strings.Contains(notes, "stop a {Wait:false TimeoutMS:0 NoDeps:false RunOnly:false}; start a {Wait:false TimeoutMS:0 NoDeps:false RunOnly:false}") {
		t.Error(notes)
	}
	// A big one comes in one line, whatever its size.
	big := "[" + strings.Repeat(`{"jsonrpc":"2.0","id":1,"method":"service.list"},`, 9000) + `{"jsonrpc":"2.0","id":2,"method":"service.list"}]`
	if replies := ask(big); len(replies) != 9001 {
		t.Errorf("%d answers", len(replies))
	}
}
