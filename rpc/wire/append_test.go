package wire

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// The same types without their methods: encoding/json writes them by their tags.
type (
	plainListed Listed
	plainStatus Status
	plainLine   LogLine
	plainFollow Follow
	plainOK     OK
	plainReason Reason
)

// fill sets every member of v to something that is not its zero value.
func fill(random *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(random, v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(random, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(random, v.Index(0))
		fill(random, v.Index(1))
	case reflect.String:
		v.SetString(randomText(random))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64:
		v.SetFloat(random.NormFloat64() * 1000)
	case reflect.Uint64:
		v.SetUint(random.Uint64() | 1)
	default:
		v.SetInt(int64(random.Int32()) - math.MaxInt32/2)
	}
}

func randomText(random *rand.Rand) string {
	pieces := []string{"a", "\"", "\\", "\n", "\r", "\t", "\x00", "\x1f", "\x7f", "ä", "😀", "\u2028", "<&>", "\xff", "\xe2\x82", "plain text"}
	var text strings.Builder
	for range 1 + random.IntN(6) {
		text.WriteString(pieces[random.IntN(len(pieces))])
	}
	return text.String()
}

func decode(t *testing.T, b []byte) any {
	t.Helper()
	var v any
	decoder := json.NewDecoder(strings.NewReader(string(b)))
	decoder.UseNumber()
	if err := decoder.Decode(&v); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return v
}

// TestAppendEqualsTags compares what is written by hand with what the tags say, with all members set and with none.
func TestAppendEqualsTags(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	check := func(written []byte, plain any) {
		t.Helper()
		if !utf8.Valid(written) {
			t.Fatalf("%q is not UTF-8", written)
		}
		want, err := json.Marshal(plain)
		if err != nil {
			t.Fatal(err)
		}
		if got, wanted := decode(t, written), decode(t, want); !reflect.DeepEqual(got, wanted) {
			t.Errorf("written  %s\nby tags  %s", written, want)
		}
	}
	for range 300 {
		var listed Listed
		var status Status
		var line LogLine
		var follow Follow
		var ok OK
		var reason Reason
		for _, v := range []any{&listed, &status, &line, &follow, &ok, &reason} {
			fill(random, reflect.ValueOf(v).Elem())
		}
		check(listed.AppendJSON(nil), plainListed(listed))
		check(status.AppendJSON(nil), plainStatus(status))
		check(line.AppendJSON(nil), plainLine(line))
		check(follow.AppendJSON(nil), plainFollow(follow))
		check(ok.AppendJSON(nil), plainOK(ok))
		check(reason.AppendJSON(nil), plainReason(reason))
	}
	check(Listed{}.AppendJSON(nil), plainListed{})
	check(Status{}.AppendJSON(nil), plainStatus{})
	check(LogLine{}.AppendJSON(nil), plainLine{})
	check(Follow{Lines: []LogLine{}}.AppendJSON(nil), plainFollow{Lines: []LogLine{}})
	check(OK{}.AppendJSON(nil), plainOK{})
	check(Reason{}.AppendJSON(nil), plainReason{})
}

func TestStateAs039ReadsIt(t *testing.T) {
	n := func(v int) *int { return &v }
	for _, c := range []struct {
		state State
		want  string
	}{
		{State{State: "inactive"}, `{"state":"inactive"}`},
		{State{State: "blocked"}, `{"state":"blocked","waiting_on":[]}`},
		{State{State: "blocked", WaitingOn: []string{"db"}, ConflictsWith: []string{"x"}},
			`{"state":"blocked","waiting_on":["db"],"conflicts_with":["x"]}`},
		{State{State: "starting"}, `{"state":"starting","pid":0}`},
		{State{State: "running", PID: n(7)}, `{"state":"running","pid":7}`},
		{State{State: "running", PID: n(0)}, `{"state":"running","pid":0}`},
		{State{State: "exited"}, `{"state":"exited","exit_code":null}`},
		{State{State: "exited", ExitCode: n(0)}, `{"state":"exited","exit_code":0}`},
		{State{State: "failed", Reason: &Reason{Type: "signal", Signal: n(9), Kind: "oom"}},
			`{"state":"failed","reason":{"type":"signal","signal":9,"kind":"oom"}}`},
		{State{State: "failed", Reason: &Reason{Type: "exit_code"}}, `{"state":"failed","reason":{"type":"exit_code","code":0}}`},
		{State{State: "failed", Reason: &Reason{Type: "spawn_error"}}, `{"state":"failed","reason":{"type":"spawn_error","message":""}}`},
		{State{State: "failed", Reason: &Reason{Type: "start_timeout"}}, `{"state":"failed","reason":{"type":"start_timeout"}}`},
		{State{State: "failed", Reason: &Reason{Type: "health_check_failed"}},
			`{"state":"failed","reason":{"type":"health_check_failed","attempts":0}}`},
		{State{State: "failed", Reason: &Reason{Type: "dependency_failed", Service: "db"}},
			`{"state":"failed","reason":{"type":"dependency_failed","service":"db"}}`},
		{State{State: "failed", Reason: &Reason{Type: "missing_dependency", Dependency: "db"}},
			`{"state":"failed","reason":{"type":"missing_dependency","dependency":"db"}}`},
		{State{State: "failed"}, `{"state":"failed","reason":{"type":"spawn_error","message":""}}`},
	} {
		got := string(c.state.AppendJSON(nil))
		if got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
		var back State
		if err := json.Unmarshal([]byte(got), &back); err != nil {
			t.Errorf("%s: %v", got, err)
		}
		if again := string(back.AppendJSON(nil)); again != got {
			t.Errorf("%s comes back as %s", got, again)
		}
	}
}

func TestLogText(t *testing.T) {
	line := LogLine{Content: "say \"hi\"\t\xff", Stream: "stderr", TimestampMS: 1795503119523}
	if got, want := string(line.AppendText(nil)), `"1795503119523 [stderr] say \"hi\"\t`+"\ufffd"+`"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestOldTypes holds what 0.3.9's clients read with a fixed type.
func TestOldTypes(t *testing.T) {
	why := Why{Name: "web", Blocked: true, PortConflict: &PortConflict{Port: 80, PID: 12, Process: "nginx"},
		ProcessConflict: &PortConflict{Filter: "ngin", PID: 12, Process: "nginx"}}
	b, err := json.Marshal(why)
	if err != nil {
		t.Fatal(err)
	}
	var old struct {
		Waiting   []string     `json:"waiting_on"`
		Conflicts []string     `json:"conflicts_with"`
		Port      string       `json:"port_conflict"`
		Process   oldProcesses `json:"process_conflict"`
	}
	if err := json.Unmarshal(b, &old); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	if old.Port != "port 80 in use by external process: nginx (PID 12)" || old.Process.Filter != "ngin" ||
		len(old.Process.Processes) != 1 || old.Process.Processes[0] != (oldProcess{12, "nginx"}) ||
		old.Waiting == nil || old.Conflicts == nil {
		t.Errorf("%s: %+v", b, old)
	}
	var back Why
	if err := json.Unmarshal(b, &back); err != nil || back.PortConflict == nil || *back.PortConflict != *why.PortConflict {
		t.Errorf("%s comes back as %+v: %v", b, back, err)
	}
	why.PortConflict.Service = "apache"
	if got := why.PortConflict.portText(); got != "port 80 in use by service apache" {
		t.Error(got)
	}

	status := XinetStatus{Name: "p", Listen: []string{"unix:/a", "tcp:127.0.0.1:80"}, ActiveConnections: 3}
	b, err = json.Marshal(status)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), `"listen":"unix:/a, tcp:127.0.0.1:80"`) {
		t.Errorf("%s", b)
	}
	var backStatus XinetStatus
	if err := json.Unmarshal(b, &backStatus); err != nil || !reflect.DeepEqual(backStatus, status) {
		t.Errorf("%s comes back as %+v: %v", b, backStatus, err)
	}

	for _, text := range []string{`{"listen":["/a","h:1"]}`, `{"listen":"/a"}`, `{"listen":null}`, `{}`} {
		var config XinetConfig
		if err := json.Unmarshal([]byte(text), &config); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if strings.Contains(text, "/a") != (len(config.Listen) > 0 && config.Listen[0] == "/a") {
			t.Errorf("%s: %v", text, config.Listen)
		}
	}
}

func BenchmarkListed1000(b *testing.B) {
	pid, up := 4711, int64(123456)
	rows := make([]Listed, 1000)
	for i := range rows {
		rows[i] = Listed{Name: "service-0123", State: State{State: "running", PID: &pid}, UptimeMS: &up, Class: "user", Wanted: "up"}
	}
	buf := make([]byte, 0, 1<<20)
	b.ReportAllocs()
	for b.Loop() {
		buf = buf[:0]
		for i := range rows {
			buf = rows[i].AppendJSON(buf)
		}
	}
	b.SetBytes(int64(len(buf)))
}
