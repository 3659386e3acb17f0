package ownlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zinit/zinit/logring"
)

func lines(b *bytes.Buffer) []string {
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}

func TestText(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(New(Options{Out: &out}))
	log.Debug("hidden")
	log.Info("service started", "service", "web", "pid", 42)
	log.With("service", "db").WithGroup("exit").Warn("ended", "code", 1, slog.Group("g", "a", "b c"))
	log.Error("two\nlines", "err", errors.New("no \"such\" thing"), "empty", "")
	want := []string{
		"info: service started service=web pid=42",
		"warning: ended service=db exit.code=1 exit.g.a=\"b c\"",
		`error: "two\nlines" err="no \"such\" thing" empty=""`,
	}
	if got := lines(&out); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestTimeOnATerminal(t *testing.T) {
	var out bytes.Buffer
	slog.New(New(Options{Out: &out, Time: true})).Info("x")
	if _, err := time.Parse("15:04:05.000 info: x\n", out.String()); err != nil {
		t.Error(err)
	}
}

func TestJSON(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(New(Options{Out: &out, JSON: true}))
	log.With("service", "web").Info("started", "pid", 42)
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got["msg"] != "started" || got["service"] != "web" || got["pid"] != 42.0 || got["level"] != "INFO" {
		t.Errorf("got %v", got)
	}
}

// The same lines stand in the ring of zinit, those before the arena too.
func TestFiledInTheRing(t *testing.T) {
	a, err := logring.New(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	h := New(Options{Out: &bytes.Buffer{}, JSON: true})
	log := slog.New(h)
	log.Info("early")
	h.SetArena(a)
	log.Warn("late", "service", "web")
	recs := a.Ring(Service, logring.Limits{}).Last(10, nil)
	if len(recs) != 2 || string(recs[0].Text) != "info: early" || string(recs[1].Text) != "warning: late service=web" ||
		recs[0].Priority.Severity() != "info" || recs[1].Priority.Severity() != "warning" ||
		recs[1].Stream != logring.Stderr || recs[1].PID == 0 || time.Since(time.UnixMilli(recs[0].TimeMS)) > time.Minute {
		t.Errorf("got %+v", recs)
	}
}

// A crash loop of one service, and one of many.
func TestStormIsSummarised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		h := New(Options{Out: &out})
		log := slog.New(h)
		for i := range 100 {
			log.Warn("service failed", "service", "web", "pid", i)
		}
		log.Warn("service failed", "service", "db", "pid", 7)
		pass(11 * time.Second)
		got := lines(&out)
		if len(got) != 7 || got[5] != "warning: service failed service=db pid=7" ||
			got[6] != "warning: service failed more=95 within=10s service=web" {
			t.Errorf("got\n%s", strings.Join(got, "\n"))
		}

		out.Reset()
		for i := range 1000 {
			log.Info("service running", "service", fmt.Sprint("s", i))
		}
		h.Flush()
		got = lines(&out)
		if len(got) != 51 || got[50] != "info: service running more=950 within=10s services=950" {
			t.Errorf("%d lines, the last is %s", len(got), got[len(got)-1])
		}
		out.Reset()
		log.Info("service running", "service", "s1")
		if got := lines(&out); got[0] != "info: service running service=s1" {
			t.Errorf("a new window: %q", got)
		}
		h.Flush()
	})
}

func TestConcurrentUse(t *testing.T) {
	var out bytes.Buffer
	h := New(Options{Out: &out, Burst: 1 << 20, All: 1 << 20})
	var done sync.WaitGroup
	for i := range 8 {
		done.Add(1)
		go func() {
			defer done.Done()
			log := slog.New(h).With("service", i)
			for range 100 {
				log.Info("x")
			}
		}()
	}
	done.Wait()
	for _, line := range lines(&out) {
		if !strings.HasPrefix(line, "info: x service=") {
			t.Fatalf("torn line %q", line)
		}
	}
	if n := len(lines(&out)); n != 800 {
		t.Errorf("%d lines", n)
	}
}
