package ownlog

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// change logs a transition as the driver does.
func change(log *slog.Logger, service, from, to, detail string) {
	level := slog.LevelInfo
	if to == "failed" {
		level = slog.LevelWarn
	}
	log.Log(context.Background(), level, service+": "+from+" -> "+to+detail, "service", service, "pid", 7, Transition(from, to, to == "failed"))
}

// pass lets the clock of the test's bubble go on and its timers act; no real time passes (see package synctest).
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestTransitionIsNotShown(t *testing.T) {
	for _, format := range []bool{false, true} {
		var out bytes.Buffer
		change(slog.New(New(Options{Out: &out, JSON: format})), "web", "starting", "running", "")
		if !format && out.String() != "info: web: starting -> running service=web pid=7\n" {
			t.Errorf("got %q", out.String())
		}
		var members map[string]any
		if format && (json.Unmarshal(out.Bytes(), &members) != nil || len(members) != 5) {
			t.Errorf("got %q", out.String())
		}
	}
}

// The start of many services: the first ones by themselves, then one line; a failure between them is told at once.
func TestManyStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(New(Options{Out: &out}))
		for i := range 1000 {
			name := fmt.Sprint("s", i)
			if i%2 == 0 {
				change(log, name, "inactive", "blocked", "")
			}
			change(log, name, "starting", "running", "")
			if i == 900 {
				change(log, name, "running", "failed", " (exited with code 1)")
			}
		}
		pass(time.Second)
		got := lines(&out)
		want := "info: and 1450 more transitions of 967 services: 967 starting -> running, 483 inactive -> blocked; `zinit events` has them within=1s"
		if len(got) != 52 || got[51] != want || got[50] != "warning: s900: running -> failed (exited with code 1) service=s900 pid=7" {
			t.Errorf("%d lines, the last are\n%s\nwant\n%s", len(got), strings.Join(got[max(0, len(got)-2):], "\n"), want)
		}
		out.Reset()
		pass(20 * time.Second)
		if out.Len() > 0 {
			t.Errorf("afterwards: %s", out.String())
		}
		change(log, "s1", "starting", "running", "")
		if got := lines(&out); got[0] != "info: s1: starting -> running service=s1 pid=7" {
			t.Errorf("later: %q", got)
		}
	})
}

// A storm that goes on costs fewer and fewer lines; every service that fails is named in every window.
func TestStormThatGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		h := New(Options{Out: &out})
		log := slog.New(h)
		const services, seconds = 200, 60
		for range seconds * 10 {
			for i := range services {
				change(log, fmt.Sprint("s", i), "starting", "running", "")
				change(log, fmt.Sprint("s", i), "running", "failed", " (exited with code 1), restart in 100ms")
			}
			pass(100 * time.Millisecond)
		}
		h.Flush()
		failed, told, summaries, sum := map[string]int{}, 0, 0, 0
		for _, line := range lines(&out) {
			var n int
			switch {
			case strings.Contains(line, "more"):
				summaries++
				if _, err := fmt.Sscanf(line[strings.Index(line, "and "):], "and %d more", &n); err != nil {
					t.Fatal(line)
				}
				sum += n
			case strings.Contains(line, "failed"):
				failed[strings.Fields(line)[1]]++
				told++
			default:
				told++
			}
		}
		if told+sum != 2*services*seconds*10 {
			t.Errorf("%d told and %d summarised are not %d", told, sum, 2*services*seconds*10)
		}
		for name, n := range failed {
			if n < seconds/10 {
				t.Errorf("%s failed all the time and is named %d times in %d s", name, n, seconds)
			}
		}
		if len(failed) != services || summaries > 40 || told > 2200 {
			t.Errorf("%d services named, %d summaries, %d lines", len(failed), summaries, told)
		}
	})
}

// One service in a crash loop: five times each, then the summaries.
func TestCrashLoopOfOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(New(Options{Out: &out}))
		for i := range 100 {
			change(log, "web", "starting", "running", "")
			change(log, "web", "running", "failed", fmt.Sprintf(" (exited with code 1), restart in %dms", i)) // the text differs
		}
		change(log, "db", "running", "failed", " (killed by SIGSEGV)")
		pass(time.Second)
		got := lines(&out)
		if len(got) != 13 || !strings.Contains(got[10], "db: running -> failed") ||
			!strings.HasPrefix(got[11], "info: and 95 more transitions of 1 service: 95 starting -> running;") ||
			!strings.HasPrefix(got[12], "warning: and 95 more failures of 1 service: 95 web;") {
			t.Errorf("got\n%s", strings.Join(got, "\n"))
		}
	})
}

// Who asks for debugging gets every line.
func TestDebugHoldsNothing(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(New(Options{Out: &out, Level: slog.LevelDebug}))
	for i := range 1000 {
		change(log, fmt.Sprint("s", i), "starting", "running", "")
	}
	if n := len(lines(&out)); n != 1000 {
		t.Errorf("%d lines", n)
	}
}

func TestSummariesAreJSONToo(t *testing.T) {
	var out bytes.Buffer
	h := New(Options{Out: &out, JSON: true})
	for i := range 100 {
		change(slog.New(h), fmt.Sprint("s", i), "starting", "running", "")
	}
	h.Flush()
	var got struct{ Level, Msg string }
	last := lines(&out)[50]
	if err := json.Unmarshal([]byte(last), &got); err != nil || got.Level != "INFO" || !strings.HasPrefix(got.Msg, "and 50 more transitions of 50 services") {
		t.Errorf("%v: %s", err, last)
	}
}
