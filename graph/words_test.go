package graph

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestSignals(t *testing.T) {
	for text, want := range map[string]Signal{
		"SIGTERM": 15, "TERM": 15, "term": 15, "sigterm": 15, "15": 15, "1": 1, "64": 64, "HUP": 1, "SIGSYS": 31, "SIGIO": 29,
		"POLL": 29, "IOT": 6, "CLD": 17, "SIGRTMIN": 34, "RTMIN+3": 37, "SIGRTMIN+30": 64, "SIGRTMAX": 64, "RTMAX-1": 63,
		"SIGRTMAX-30": 34, "32": 32, "SIGSTKFLT": 16,
	} {
		if got, err := ParseSignal(text); err != nil || got != want {
			t.Errorf("%s: %d %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "65", "-1", "+9", "SIG", "SIGFOO", "SIGSIGTERM", "RTMIN+31", "RTMAX-31", "RTMIN-1", "RTMAX+1",
		"RTMIN3", "RTMIN+x", "9 ", "SIGTERM\n", "RTMIN+99999999999999999999"} {
		if got, err := ParseSignal(text); err == nil {
			t.Errorf("%q is taken for %d", text, got)
		}
	}
	for s := Signal(1); s <= 64; s++ {
		if got, err := ParseSignal(s.Name()); err != nil || got != s {
			t.Errorf("%d is written %s and read %d %v", s, s.Name(), got, err)
		}
	}
}

func TestWords(t *testing.T) {
	check(t, ClassWords(), ParseClass)
	check(t, StatusWords(), ParseStatus)
	check(t, RestartWords(), ParseRestart)
	check(t, OnExitWords(), ParseOnExit)
	check(t, KillModeWords(), ParseKillMode)
	if k, err := ParseKillMode("group"); err != nil || k != KillControlGroup {
		t.Errorf("group: %v %v", k, err)
	}
	check(t, HealthWords(), ParseHealthType)
	check(t, MethodWords(), ParseHealthMethod)
	check(t, readyKindWords, ParseReadyKind)
	if r, err := ParseRestart("on_failure"); err != nil || r != RestartOnFailure {
		t.Errorf("on_failure: %v %v", r, err)
	}
	for _, text := range []string{"notify", "fd:3", "fd:1023"} {
		if r, err := ParseReady(text); err != nil || r.String() != text {
			t.Errorf("%s: %v %v", text, r, err)
		}
	}
	for _, text := range []string{"", "fd", "fd:", "fd:2", "fd:1024", "fd:x", "Notify"} {
		if r, err := ParseReady(text); err == nil {
			t.Errorf("%q is taken for %v", text, r)
		}
	}
}

func check[T fmt.Stringer](t *testing.T, words []string, parse func(string) (T, error)) {
	t.Helper()
	for _, w := range words {
		if v, err := parse(w); err != nil || v.String() != w {
			t.Errorf("%s: %v %v", w, v, err)
		}
	}
	if _, err := parse("nonsense"); err == nil {
		t.Errorf("nonsense is taken for one of %v", words)
	}
}

func TestNearest(t *testing.T) {
	known := []string{"exec", "env", "env_file", "oneshot", "requires", "restart", "restart_delay_ms", "dir"}
	for name, want := range map[string]string{"exce": "exec", "exe": "exec", "require": "requires", "one_shot": "oneshot",
		"restart_delay": "restart_delay_ms", "dirr": "dir", "xyz": "", "cwd": "", "environment": "", "exec": "", "": "", "di": ""} {
		if got := Nearest(name, slices.Values(known)); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0 ms", time.Microsecond: "1 ms", 350 * time.Millisecond: "350 ms",
		999 * time.Millisecond: "999 ms", time.Second - 1: "1 s",
		4 * time.Second: "4 s", 125 * time.Second: "2 min 5 s", 2 * time.Minute: "2 min", 200 * time.Minute: "3 h 20 min",
		50 * time.Hour: "2 d 2 h", -time.Second: "0 ms"} {
		if got := Duration(d); got != want {
			t.Errorf("%d: got %q, want %q", d, got, want)
		}
	}
}
