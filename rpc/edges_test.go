package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/zinit/zinit/rpc/wire"
)

// TestScannerMessages: what is wrong and where, as a person reads it.
func TestScannerMessages(t *testing.T) {
	for text, want := range map[string]string{
		"":                           "the line ends where a value is expected at line 1 column 0",
		"  ":                         "the line ends where a value is expected at line 1 column 2",
		"x":                          "a value is expected at line 1 column 1",
		"tru":                        "expected true at line 1 column 1",
		"falze":                      "expected false at line 1 column 1",
		"[nul]":                      "expected null at line 1 column 2",
		"{":                          "the line ends inside an object at line 1 column 1",
		`{"a":1`:                     "the line ends inside an object at line 1 column 6",
		`{"a":1 "b":2}`:              "expected , or } at line 1 column 8",
		"{1":                         "a member name in quotes is expected at line 1 column 2",
		"{,}":                        "a member name in quotes is expected at line 1 column 2",
		`{"a":1,}`:                   "a member name in quotes is expected at line 1 column 8",
		`{"a":1,2`:                   "a member name in quotes is expected at line 1 column 8",
		`{"a":1,`:                    "a member name in quotes is expected at line 1 column 7",
		`{"a"}`:                      "expected : at line 1 column 5",
		`{"a":}`:                     "a value is expected at line 1 column 6",
		"[":                          "the line ends where a value is expected at line 1 column 1",
		"[1":                         "the line ends inside an array at line 1 column 2",
		"[1 2]":                      "expected , or ] at line 1 column 4",
		"[1,]":                       "a value is expected at line 1 column 4",
		"[,1]":                       "a value is expected at line 1 column 2",
		`"a`:                         "the line ends inside a string at line 1 column 2",
		`"\`:                         "the line ends inside a string at line 1 column 2",
		"\"\t\"":                     "a control character inside a string at line 1 column 2",
		`"\x"`:                       "an unknown escape at line 1 column 3",
		`"\u12`:                      "four hex digits are expected after \\u at line 1 column 5",
		`"\u12g4"`:                   "four hex digits are expected after \\u at line 1 column 6",
		"-":                          "a digit is expected at line 1 column 1",
		"1.":                         "a digit is expected after the point at line 1 column 2",
		"1e+":                        "a digit is expected in the exponent at line 1 column 3",
		strings.Repeat("[", 101):     "nesting over 100 levels at line 1 column 101",
		strings.Repeat(`{"a":`, 101): "nesting over 100 levels at line 1 column 501",
	} {
		s := scanner{data: []byte(text)}
		if err := s.value(0); err == nil || err.Error() != want {
			t.Errorf("%.20q: %v, want %s", text, err, want)
		}
	}
	for text, want := range map[string]string{`{"a":[}`: "a value is expected at line 1 column 7", `[{"a":tru}]`: "expected true at line 1 column 7", `{"a`: "the line ends inside a string at line 1 column 3"} {
		s := scanner{data: []byte(text)}
		if err := s.value(0); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// TestScannerAgreesOnRandomText with encoding/json, over texts that are nearly JSON.
func TestScannerAgreesOnRandomText(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	pieces := []string{"{", "}", "[", "]", ",", ":", `"a"`, `"\u00eF"`, `"\u0`, `"\/"`, "1", "-0", "0.5", "1e5", "1E+2", "-", "true", "false", "null", " ", "\t", "\n", "01",
		`"`, `\`, "x", "/", ";", "9", `"é"`, "\x1f"}
	valid := 0
	for range 60000 {
		var text string
		for range 1 + r.IntN(7) {
			text += pieces[r.IntN(len(pieces))]
		}
		s := scanner{data: []byte(text)}
		err := s.value(0)
		if err == nil {
			s.space()
		}
		got := err == nil && s.pos == len(text)
		if got != json.Valid([]byte(text)) {
			t.Fatalf("%q: %v, encoding/json says %v", text, err, !got)
		}
		if got {
			valid++
		}
	}
	if valid < 500 {
		t.Errorf("only %d were valid", valid)
	}
	for c := range 256 {
		if got, want := isHex(byte(c)), strings.IndexByte("0123456789abcdefABCDEF", byte(c)) >= 0; got != want {
			t.Errorf("%q is a hex digit: %v", rune(c), got)
		}
	}
}

// TestKinds of values, and their texts.
func TestKinds(t *testing.T) {
	for text, want := range map[string]string{`"x"`: "a string", `{}`: "an object", `[]`: "an array", "true": "a boolean", "false": "a boolean",
		"null": "null", "1": "a number", "-1": "a number"} {
		if got := kindOf([]byte(text)); got != want {
			t.Errorf("%s is %s", text, got)
		}
		if got := short([]byte(text)); got != text {
			t.Errorf("%s is shown as %s", text, got)
		}
	}
	long := `"` + strings.Repeat("x", 18) + `"`
	if short([]byte(long)) != long || short([]byte(long+" ")) != "a string" {
		t.Error("what is long is shown in full, or what is not, is not")
	}
	for text, want := range map[string]string{`"x"`: "x", `"a\nb"`: "a\nb", `"\u00e9"`: "é", `""`: "", `"\ud800"`: "\ufffd"} {
		if got := unquote([]byte(text)); got != want {
			t.Errorf("%s is %q", text, got)
		}
	}
}

// TestAccepts: which values each kind of parameter takes, and how it is called.
func TestAccepts(t *testing.T) {
	values := []string{`"x"`, "true", "false", "0", "-1", "9223372036854775807", "9223372036854775808", "18446744073709551616", "1.5", "65535", "65536", `["a"]`, `[]`,
		`["a",1]`, `{}`}
	for kind, c := range map[paramKind]struct{ words, takes string }{
		kindString:  {"a string", `"x"`},
		kindBool:    {"true or false", "true false"},
		kindInt:     {"an integer from 0 on", "0 9223372036854775807 65535 65536"},
		kindCount:   {"an integer from 0 on", "0 9223372036854775807 65535 65536"},
		kindNumber:  {"an integer", "0 -1 9223372036854775807 65535 65536"},
		kindSeq:     {"a sequence number", "0 9223372036854775807 9223372036854775808 65535 65536"},
		kindStrings: {"an array of strings", `"x" ["a"] []`},
		kindSignal:  {"the name or number of a signal", `"x" 0 65535`},
		kindObject:  {"an object", "{}"},
	} {
		var takes []string
		for _, v := range values {
			if kind.accepts([]byte(v)) {
				takes = append(takes, v)
			}
		}
		if got := strings.Join(takes, " "); got != c.takes || kind.words() != c.words {
			t.Errorf("%s takes %s, want %s as %s", kind.words(), got, c.takes, c.words)
		}
	}
	if paramKind(200).accepts([]byte("1")) {
		t.Error("an unknown kind takes something")
	}
}

// TestArgs: every getter, of what is there and of what is not.
func TestArgs(t *testing.T) {
	m := &method{name: "m", params: []param{{name: "text"}, {name: "flag", kind: kindBool}, {name: "number", kind: kindInt, preset: "7"}, {name: "list", kind: kindStrings},
		{name: "sig", kind: kindSignal}, {name: "seq", kind: kindSeq}, {name: "doc", kind: kindObject}, {name: "count", kind: kindCount, preset: "9"}}}
	var a args
	if err := a.bind(m, []byte(`{"text":"a\tb","flag":true,"number":5,"list":["x","y\u00e9"],"sig":9,"seq":18446744073709551615,"doc":{"a":1},"count":-3}`), false); err != nil {
		t.Fatal(err)
	}
	if a.text(0) != "a\tb" || !a.flag(1) || a.integer(2) != 5 || !slices.Equal(a.strings(3), []string{"x", "yé"}) || a.signal(4) != "9" ||
		a.seq(5) != 1<<64-1 || string(a.document(6)) != `{"a":1}` || a.count(7) != 9 || a.given(7) || !a.given(0) {
		t.Errorf("%+v", a)
	}
	own := a.clone()
	a.raw[0][1] = 'z'
	if own.text(0) != "a\tb" || a.text(0) != "z\tb" {
		t.Error("a clone shares the text")
	}
	if err := a.bind(m, []byte(`{"flag":false,"list":"one","sig":"HUP","number":null,"count":3000000000}`), false); err != nil {
		t.Fatal(err)
	}
	if a.flag(1) || a.integer(2) != 7 || !slices.Equal(a.strings(3), []string{"one"}) || a.signal(4) != "HUP" || a.count(7) != 1<<31-1 || a.text(0) != "" || a.seq(5) != 0 {
		t.Errorf("%+v", a)
	}
	if err := a.bind(m, []byte(`["t",null,4]`), false); err != nil || a.text(0) != "t" || a.flag(1) || a.integer(2) != 4 || a.strings(3) != nil || a.signal(4) != "" {
		t.Errorf("by place: %v, %+v", err, a)
	}
	for _, c := range []struct{ params, want string }{
		{`{"txt":1}`, `m: unknown parameter "txt" (did you mean "text"?)`},
		{`{"completely":1}`, `m: unknown parameter "completely" (it takes text, flag, number, list, sig, seq, doc, count)`},
		{`{"text":1}`, "m: 'text' must be a string, not 1"},
		{`{"text":["a long array of strings"]}`, "m: 'text' must be a string, not an array"},
		{`{"text":"a","t\u0065xt":"b"}`, `m: parameter "text" is given twice`},
		{`[1,2,3,4,5,6,7,8,9]`, "m takes at most 8 parameters (it takes text, flag, number, list, sig, seq, doc, count)"},
	} {
		if err := a.bind(m, []byte(c.params), false); err == nil || err.Error() != c.want {
			t.Errorf("%s: %v, want %s", c.params, err, c.want)
		}
	}
	m = &method{name: "n", params: []param{{name: "name", required: true}, {name: "size", kind: kindInt, required: true}}}
	for _, c := range []struct{ params, want string }{
		{``, "missing 'name' parameter"}, {`{"name":5}`, "missing 'name' parameter: it must be a string, not a number"}, {`{"name":"x"}`, "missing 'size' parameter"},
		{`{"name":"x","size":"y"}`, `n: 'size' must be an integer from 0 on, not "y"`}, {`7`, "missing 'name' parameter"},
	} {
		if err := a.bind(m, []byte(c.params), false); err == nil || err.Error() != c.want {
			t.Errorf("%s: %v, want %s", c.params, err, c.want)
		}
	}
	none := &method{name: "none"}
	if err := a.bind(none, []byte(`{"x":1}`), false); err == nil || err.Error() != `none: unknown parameter "x" (it takes none)` {
		t.Error(err)
	}
	if err := a.bind(none, []byte(`{"x":1}`), true); err != nil {
		t.Errorf("lenient: %v", err)
	}
	if err := a.bind(none, []byte(`[1]`), true); err != nil {
		t.Errorf("lenient, by place: %v", err)
	}
	bare := &method{name: "b", bareConfig: true, params: []param{{name: "config", kind: kindObject, required: true}, {name: "dry", kind: kindBool}}}
	for _, c := range []struct {
		params   string
		lenient  bool
		doc, err string
	}{
		{`{"service":{"a":1},"health":2,"dry":true}`, false, `{"service":{"a":1},"health":2}`, ""},
		{`{"config":{"x":1},"dry":true}`, false, `{"x":1}`, ""},
		{`{"config":{"x":1},"service":2}`, false, "", `b: unknown parameter "service" (it takes config, dry)`},
		{`{"config":{"x":1},"service":2}`, true, `{"x":1}`, ""},
		{`{"config":null,"service":2}`, false, `{"service":2}`, ""},
		{`{"dry":true}`, false, "", "missing 'config' parameter"},
	} {
		err := a.bind(bare, []byte(c.params), c.lenient)
		if c.err != "" && (err == nil || err.Error() != c.err) || c.err == "" && (err != nil || string(a.document(0)) != c.doc) {
			t.Errorf("%s: %v, %s", c.params, err, a.raw[0])
		}
	}
}

// TestEdits is the distance of the textbook.
func TestEdits(t *testing.T) {
	var naive func(a, b string) int
	naive = func(a, b string) int {
		switch {
		case a == "":
			return len(b)
		case b == "":
			return len(a)
		}
		cost := 1
		if a[0] == b[0] {
			cost = 0
		}
		return min(naive(a[1:], b)+1, naive(a, b[1:])+1, naive(a[1:], b[1:])+cost)
	}
	r := rand.New(rand.NewPCG(3, 3))
	text := func() string {
		b := make([]byte, r.IntN(6))
		for i := range b {
			b[i] = byte('a' + r.IntN(3))
		}
		return string(b)
	}
	for range 2000 {
		if a, b := text(), text(); edits(a, b) != naive(a, b) {
			t.Fatalf("%q to %q: %d, want %d", a, b, edits(a, b), naive(a, b))
		}
	}
	forty := strings.Repeat("x", 40)
	if edits(forty, forty) != 0 || edits(forty+"x", forty+"x") != 40 || edits("", forty+"x") != 40 || edits(forty+"x", "") != 40 {
		t.Error("the bound is another")
	}
	params := []param{{name: "ab"}, {name: "name"}, {name: "names"}}
	for name, want := range map[string]string{"xy": "", "nam": "name", "namess": "names", "nxyz": "", "nmae": "name", "a": "ab", "nameq": "name"} {
		if got := nearest(name, params); got != want {
			t.Errorf("near %s is %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string]string{
		`"service.lst"`: `unknown method "service.lst" (did you mean "service.list"?)`, `"zzzzzzzzzzzz"`: `unknown method "zzzzzzzzzzzz"`,
		`"` + strings.Repeat("m", 60) + `"`: `unknown method "` + strings.Repeat("m", 60) + `"`,
		`"` + strings.Repeat("m", 61) + `"`: `unknown method "` + strings.Repeat("m", 60) + `…"`,
	} {
		if err := unknownMethod([]byte(name)); err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestDecodeListedOfEverything: each member alone as encoding/json reads it, and each with a value that it cannot have.
func TestDecodeListedOfEverything(t *testing.T) {
	values := []string{`"x"`, `""`, `"running"`, `"inactive"`, `"exited"`, `"user"`, `"up"`, `"down"`, `"a\nb"`, "1", "-1", "1.5", "true", "false", "null", "[]", `["a"]`, "{}",
		`{"type":"signal","signal":9}`, "99999999999999999999"}
	known := map[string]string{ // where this reads more or less than encoding/json, which for null keeps what was there
		"name null": "x", "state.state null": "x", "class null": "x", "wanted null": "x", "text null": "x", "restarts null": "x", "state.pid null": "x", "state null": "x",
	}
	for _, member := range []string{"name", "is_target", "uptime_ms", "restarts", "next_restart_ms", "class", "wanted", "text", "memory_bytes", "cpu_percent", "state",
		"state.state", "state.pid", "state.exit_code", "state.waiting_on", "state.conflicts_with", "state.reason", "unknown"} {
		for _, v := range values {
			if member == "is_target" && v != "true" && v != "false" || known[member+" "+v] != "" {
				continue
			}
			row := fmt.Sprintf(`[{%q:%s}]`, member, v)
			if inner, ok := strings.CutPrefix(member, "state."); ok {
				row = fmt.Sprintf(`[{"state":{%q:%s}}]`, inner, v)
			}
			var want []wire.Listed
			wantErr := json.Unmarshal([]byte(row), &want)
			got, err := decodeListed([]byte(row))
			if (err != nil) != (wantErr != nil) || err == nil && !reflect.DeepEqual(got, want) {
				t.Errorf("%s:\n%+v %v, encoding/json reads\n%+v %v", row, got, err, want, wantErr)
			}
		}
	}
	for text, want := range map[string]string{"{}": "an array is expected", "[1]": "an object is expected, not a number", `[{"name":1}]`: "a string is expected, not a number",
		"[{}": "the line ends inside an array at line 1 column 3"} {
		if _, err := decodeListed([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestStateDir is where the variables say.
func TestStateDir(t *testing.T) {
	for _, c := range []struct {
		env  Environment
		want string
	}{
		{env(0, "ZINIT_STATE_DIR", "/s", "HOME", "/root"), "/s"}, {env(0, "HOME", "/root", "XDG_STATE_HOME", "/x"), "/var/lib/zinit"},
		{env(7, "HOME", "/h", "XDG_STATE_HOME", "/x"), "/x/zinit"}, {env(7, "HOME", "/h"), "/h/.local/state/zinit"}, {env(7), ""},
		{env(7, "ZINIT_STATE_DIR", "/s"), "/s"},
	} {
		if got := c.env.StateDir(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	if dir, legacy := env(7, "exists:/hero/cfg/zinit", "", "exists:hero/cfg/zinit", "").ConfigDir(); legacy {
		t.Errorf("without a home the old directory is %s", dir)
	}
	here := System()
	dir := t.TempDir()
	if !here.Exists(dir) || here.Exists(filepath.Join(dir, "none")) || here.UID != os.Geteuid() || here.Getenv("PATH") != os.Getenv("PATH") {
		t.Error("this process's own environment is another")
	}
}

// TestWordsOfACommandLine.
func TestWordsOfACommandLine(t *testing.T) {
	words := []string{"zinit", "--socket=/a", "--socket", "/b", "-s"}
	for _, c := range []struct{ got, want string }{
		{valueOf(words, "--socket="), "/a"}, {valueOf(words, "--none="), ""}, {valueOf(nil, "x"), ""}, {valueOf([]string{"x="}, "x="), ""},
		{wordAfter(words, "--socket"), "/b"}, {wordAfter(words, "zinit"), "--socket=/a"}, {wordAfter(words, "-s"), ""}, {wordAfter(words, "--none"), ""},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
	dir := t.TempDir()
	private := filepath.Join(dir, "p")
	if err := checkPrivate(private, os.Getuid()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("one that is not there: %v", err)
	}
	if err := os.Mkdir(private, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := checkPrivate(private, os.Getuid()); err != nil {
		t.Error(err)
	}
	if err := checkPrivate(private, os.Getuid()+1); err == nil || !strings.Contains(err.Error(), "belongs to user") {
		t.Errorf("another's: %v", err)
	}
	for _, mode := range []os.FileMode{0o720, 0o702} {
		if err := os.Chmod(private, mode); err != nil {
			t.Fatal(err)
		}
		if err := checkPrivate(private, os.Getuid()); err == nil || !strings.Contains(err.Error(), "can be written by others") {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := checkPrivate(file, os.Getuid()); err == nil || !strings.Contains(err.Error(), "is not a directory") {
		t.Errorf("a file: %v", err)
	}
	if !env(7).trusted("/elsewhere/zinit.sock") || !env(987654).trusted("/tmp/zinit-987654/zinit.sock") {
		t.Error("a place of nobody is not trusted")
	}
}

// TestSchemas of every kind of type.
func TestSchemas(t *testing.T) {
	type inner struct {
		Name string `json:"name"`
	}
	type outer struct {
		inner
		Pointer *int               `json:"pointer"`
		List    []bool             `json:"list,omitempty"`
		Map     map[string]float64 `json:"map"`
		Hidden  int                `json:"-"`
		Untold  int
		Itself  *outer          `json:"itself,omitempty"`
		Raw     json.RawMessage `json:"raw"`
	}
	types := schemas{}
	text := func(v any) string { b, _ := json.Marshal(v); return string(b) }
	if got := text(types.of(reflect.TypeOf(outer{}))); got != `{"$ref":"#/components/schemas/outer"}` {
		t.Error(got)
	}
	want := `{"properties":{"itself":{"oneOf":[{"$ref":"#/components/schemas/outer"},{"type":"null"}]},"list":{"items":{"type":"boolean"},"type":"array"},` +
		`"map":{"additionalProperties":{"type":"number"},"type":"object"},"name":{"type":"string"},"pointer":{"oneOf":[{"type":"integer"},{"type":"null"}]},` +
		`"raw":{"type":"object"}},"required":["pointer","map","raw"],"type":"object"}`
	if got := text(types["outer"]); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := text(types.of(nil)); got != `{"type":"object"}` {
		t.Error(got)
	}
	for _, v := range []any{wire.State{}, wire.Reason{}, wire.XinetStatus{}, wire.Why{}} {
		types.of(reflect.TypeOf(v))
	}
	for name, parts := range map[string][]string{
		"State":       {`"exit_code":{"type":["integer","null"]}`, `"state":{"enum":["inactive","blocked","starting","running","stopping","exited","failed"]}`},
		"Reason":      {`"type":{"enum":["exit_code","signal",`},
		"XinetStatus": {`"listen":{"type":"string"}`, `"listen_addrs":{"items":{"type":"string"},"type":"array"}`, `"listen"]`},
		"Why":         {`"port_conflict":{"type":"string"}`, `"process_conflict":{"type":"object"}`},
	} {
		for _, part := range parts {
			if got := text(types[name]); !strings.Contains(got, part) {
				t.Errorf("%s: %s is not in %s", name, part, got)
			}
		}
	}
	if got := text(types.method(lookup("logs.follow"))["x-notification"]); !strings.Contains(got, `"method":"`) {
		t.Errorf("logs.follow: %s", got)
	}
	if types.method(lookup("system.ping"))["x-notification"] != nil {
		t.Error("a ping has notifications")
	}
	if got := text(param{kind: kindInt, preset: "7"}.schema()); got != `{"default":7,"minimum":0,"type":"integer"}` {
		t.Error(got)
	}
}

// TestStateText: what those see who may see states only.
func TestStateText(t *testing.T) {
	one, nine := 1, 9
	for _, c := range []struct {
		s    wire.State
		want string
	}{
		{wire.State{State: "running"}, "is running"}, {wire.State{State: "blocked", WaitingOn: []string{"a", "b"}, ConflictsWith: []string{"c"}}, "is blocked: waits for a, b"},
		{wire.State{State: "blocked", ConflictsWith: []string{"c", "d"}}, "is blocked: conflicts with c, d"},
		{wire.State{State: "failed", Reason: &wire.Reason{Type: "exit_code", Code: &one, Detail: "secret"}}, "is failed: exit code 1"},
		{wire.State{State: "failed", Reason: &wire.Reason{Type: "signal", Signal: &nine}}, "is failed: signal 9"},
		{wire.State{State: "failed", Reason: &wire.Reason{Type: "dependency_failed", Dependency: "db"}}, "is failed: dependency failed db"},
		{wire.State{State: "failed", Reason: &wire.Reason{Type: "missing_dependency", Service: "x", Dependency: "y"}}, "is failed: missing dependency x y"},
	} {
		if got := stateText(c.s); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// TestAsError keeps an error of ours, with its code as a word, and words others.
func TestAsError(t *testing.T) {
	for _, c := range []struct {
		err  error
		code wire.Code
		text string
	}{
		{&wire.Error{Code: wire.CodeNotRunning, Message: "m"}, wire.CodeNotRunning, "m"}, {fmt.Errorf("around: %w", wire.NewError(wire.CodeParams, "p")), wire.CodeParams, "p"},
		{&syntaxError{"bad", 3}, wire.CodeParams, "bad at line 1 column 3"}, {os.ErrDeadlineExceeded, wire.CodeInternal, "i/o timeout"},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), wire.CodeTimedOut, "timed out"}, {errors.New("else"), wire.CodeInternal, "else"},
	} {
		if e := asError(c.err); e.Code != c.code || e.Message != c.text || e.Data["kind"] != c.code.Kind() {
			t.Errorf("%v: %+v", c.err, e)
		}
	}
	for _, c := range []struct{ raw, want string }{{`{"service":{"name":"a"}}`, "a"}, {`{"target":{"name":"t"}}`, "t"}, {`{}`, ""}} {
		added := pendingAdded(&args{raw: [maxParams][]byte{[]byte(c.raw)}}).(wire.Added)
		if added.Name != c.want || !added.Pending {
			t.Errorf("%s: %+v", c.raw, added)
		}
	}
	for _, c := range []struct {
		names []string
		want  string
	}{{nil, `{"started":[],"count":0}`}, {[]string{"a", "b"}, `{"started":["a","b"],"count":2}`}} {
		got, err := bulk("started", c.names, nil, nil)
		if raw, _ := got.(json.RawMessage); err != nil || string(raw) != c.want {
			t.Errorf("%s, %v", raw, err)
		}
	}
	if _, err := bulk("started", nil, nil, os.ErrClosed); err != os.ErrClosed {
		t.Error(err)
	}
}

// TestDropSeenGaps: a line that comes next is no gap.
func TestDropSeenGaps(t *testing.T) {
	last := map[string]delivered{"a": {4, 100}}
	lines := []wire.LogLine{{Service: "a", Seq: 5, TimestampMS: 100}, {Service: "b", Seq: 9, TimestampMS: 1}, {Service: "a", Seq: 8, TimestampMS: 101}}
	got, gaps := dropSeen(lines, last)
	if len(got) != 3 || len(gaps) != 1 || gaps[0].Missed != 2 || gaps[0].Service != "a" || last["b"].seq != 9 || last["a"] != (delivered{8, 101}) {
		t.Errorf("%v, gaps %v, last %v", got, gaps, last)
	}
	for _, c := range []struct{ newest, began, want int64 }{{50, 100, 50}, {100, 100, 100}, {1000, 100, 100}, {5000, 100, 5000 - followSlack}} {
		if got := resumeAt(c.newest, c.began); got != c.want {
			t.Errorf("newest %d, begun %d: %d, want %d", c.newest, c.began, got, c.want)
		}
	}
}

// TestRequestMessages of lines that are no requests.
func TestRequestMessages(t *testing.T) {
	for line, want := range map[string]string{
		"": "the line is empty at line 1 column 0", "  ": "the line is empty at line 1 column 2", ` "x"`: "a request must be an object, not a string",
		"5": "a request must be an object, not a number", "{}": `missing member "jsonrpc"`, `{"jsonrpc":"2.0"}`: `missing member "method"`,
		`{"jsonrpc":"2.0","id":1,"id":2,"method":"a"}`: `duplicate member "id"`, `{"jsonrpc":"2.0","method":"a"} x`: "trailing characters at line 1 column 32",
		`["2.0",1,"a",{},5]`: "a request as an array has 4 elements, not more", `{"jsonrpc":"2.0",`: "a member name in quotes is expected at line 1 column 17",
		`["2.0",1,tru]`: "expected true at line 1 column 10",
	} {
		if _, err := parseRequest([]byte(line)); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", line, err, want)
		}
	}
	req, err := parseRequest([]byte(`{"jsonrpc":"2.0","i\u0064":7,"method":"a","params":null,"more":1}`))
	if err != nil || string(req.id) != "7" || req.params != nil {
		t.Errorf("%+v, %v", req, err)
	}
}
