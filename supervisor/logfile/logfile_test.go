package logfile

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/logring"
)

type report struct {
	err  error
	lost uint64
}

type fixture struct {
	a    *logring.Arena
	fs   *Files
	path string

	mu      sync.Mutex
	reports []report
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	a, err := logring.New(32 << 20)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{a: a, path: filepath.Join(t.TempDir(), "logs", "x.log")}
	if err := os.Mkdir(filepath.Dir(f.path), 0o755); err != nil {
		t.Fatal(err)
	}
	f.fs = New(a, Options{RetryMin: time.Millisecond, RetryMax: 10 * time.Millisecond, Report: f.report})
	t.Cleanup(func() {
		f.fs.Close(context.Background())
		_ = a.Close()
	})
	return f
}

func (f *fixture) report(_, _ string, err error, lost uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reports = append(f.reports, report{err, lost})
}

func (f *fixture) reported() []report {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]report(nil), f.reports...)
}

func (f *fixture) log(service, text string) {
	f.a.Ring(service, logring.Limits{}).Append(logring.Record{Text: []byte(text)})
}

func (f *fixture) flush(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait.Patience)
	defer cancel()
	f.fs.Flush(ctx)
	if ctx.Err() != nil {
		t.Fatal("flush does not end")
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var r io.Reader = in
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(in); err != nil {
			t.Fatal(err)
		}
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAppend(t *testing.T) {
	f := newFixture(t)
	f.log("s", "before the file was asked for")
	f.fs.Set("s", &Config{Path: f.path})
	f.log("s", "one")
	f.a.Ring("s", logring.Limits{}).Append(logring.Record{Text: []byte("cut"), Continued: true})
	f.log("s", " here")
	f.flush(t)
	f.log("s", "a\x00b\xff")
	f.flush(t)
	if got, want := content(t, f.path), "one\ncut here\na\x00b\xff\n"; got != want {
		t.Errorf("file is %q, want %q", got, want)
	}
	sink, ok := f.fs.Sink("s")
	if !ok || sink.Written != 4 || sink.Lost+sink.Errors+sink.Queued != 0 || sink.Target != f.path {
		t.Errorf("sink is %+v", sink)
	}
	f.fs.Set("s", nil)
	f.log("s", "not any more")
	if _, ok := f.fs.Sink("s"); ok || strings.Contains(content(t, f.path), "any more") {
		t.Error("the file goes on")
	}
}

// TestFormats: what each format makes of the same lines.
func TestFormats(t *testing.T) {
	host, _ := os.Hostname()
	for format, want := range map[graph.FileFormat]string{
		graph.FilePlain: "a cut\nb\xff\n",
		graph.FileTime:  "2026-01-31T12:00:00.007Z a \n2026-01-31T12:00:00.007Z cut\n2026-01-31T12:00:00.007Z b\xff\n",
		graph.FileJSON: `{"timestamp":"2026-01-31T12:00:00.007Z","message":"a ","host":"HOST","service":"s","stream":"stdout","seq":1,"pid":7,"continued":true}
{"timestamp":"2026-01-31T12:00:00.007Z","message":"cut","host":"HOST","service":"s","stream":"stdout","seq":2,"pid":7}
{"timestamp":"2026-01-31T12:00:00.007Z","message":"b\ufffd","host":"HOST","service":"s","stream":"stderr","seq":3,"pid":7}
`,
	} {
		f := newFixture(t)
		f.fs.Set("s", &Config{Path: f.path, Format: format})
		at := time.Date(2026, 1, 31, 12, 0, 0, 7e6, time.UTC).UnixMilli()
		ring := f.a.Ring("s", logring.Limits{})
		ring.Append(logring.Record{TimeMS: at, PID: 7, Text: []byte("a "), Continued: true})
		ring.Append(logring.Record{TimeMS: at, PID: 7, Text: []byte("cut")})
		ring.Append(logring.Record{TimeMS: at, PID: 7, Text: []byte("b\xff"), Stream: logring.Stderr})
		f.flush(t)
		got := strings.ReplaceAll(content(t, f.path), `"host":"`+host+`"`, `"host":"HOST"`)
		if got = strings.ReplaceAll(got, "\uFFFD", `\ufffd`); got != want {
			t.Errorf("%s: the file is\n%s\nwant\n%s", format, got, want)
		}
	}
}

func TestTwoServicesShareAFile(t *testing.T) {
	f := newFixture(t)
	f.fs.Set("a", &Config{Path: f.path})
	f.fs.Set("b", &Config{Path: f.path})
	for i := range 1000 {
		f.log("a", fmt.Sprint("a ", i))
		f.log("b", fmt.Sprint("b ", i))
	}
	f.flush(t)
	next := map[string]int{}
	for line := range strings.Lines(content(t, f.path)) {
		var who string
		var n int
		if _, err := fmt.Sscan(line, &who, &n); err != nil || n != next[who] {
			t.Fatalf("line %q, want number %d", line, next[who])
		}
		next[who]++
	}
	if next["a"] != 1000 || next["b"] != 1000 {
		t.Errorf("lines: %v", next)
	}
}

func TestRotation(t *testing.T) {
	for _, zip := range []bool{false, true} {
		t.Run(fmt.Sprint("gzip=", zip), func(t *testing.T) {
			f := newFixture(t)
			f.fs.Set("s", &Config{Path: f.path, Rotate: 1000, Keep: 3, Gzip: zip})
			for i := range 100 { // 10 bytes each, 100 a file: 1000 bytes and no more
				f.log("s", fmt.Sprintf("line %04d", i))
			}
			for i := 100; i < 550; i++ {
				f.log("s", fmt.Sprintf("line %04d", i))
			}
			f.flush(t)
			suffix := ""
			if zip {
				suffix = ".gz"
				wait.For(t, "the compression", func() bool { _, err := os.Stat(f.path + ".1"); return err != nil })
			}
			first := 550 - 50
			for i, name := range []string{f.path, f.path + ".1" + suffix, f.path + ".2" + suffix, f.path + ".3" + suffix} {
				got := content(t, name)
				if want := fmt.Sprintf("line %04d\n", first-i*100); !strings.HasPrefix(got, want) {
					t.Errorf("%s begins with %.10q, want %q", name, got, want)
				}
				if want := 1000; i > 0 && len(got) != want {
					t.Errorf("%s has %d bytes, want %d", name, len(got), want)
				}
			}
			if entries, _ := os.ReadDir(filepath.Dir(f.path)); len(entries) != 4 {
				t.Errorf("files: %v", entries)
			}
		})
	}
}

func TestLineLongerThanTheFile(t *testing.T) {
	f := newFixture(t)
	f.fs.Set("s", &Config{Path: f.path, Rotate: 10, Keep: 1})
	f.log("s", strings.Repeat("x", 50))
	f.log("s", "short")
	f.flush(t)
	if got := content(t, f.path) + content(t, f.path+".1"); got != "short\n"+strings.Repeat("x", 50)+"\n" {
		t.Errorf("files hold %q", got)
	}
}

// rotate_keep that was lowered holds from the next turn on; one that is huge costs nothing.
func TestKeepIsChanged(t *testing.T) {
	f := newFixture(t)
	for keep, want := range map[int]int{math.MaxInt32: 11, 3: 4} {
		_ = os.RemoveAll(filepath.Dir(f.path))
		if err := os.Mkdir(filepath.Dir(f.path), 0o755); err != nil {
			t.Fatal(err)
		}
		f.fs.Set("s", &Config{Path: f.path, Rotate: 10, Keep: math.MaxInt32})
		for i := range 10 {
			f.log("s", fmt.Sprintf("line %04d", i))
		}
		f.flush(t)
		f.fs.Set("s", &Config{Path: f.path, Rotate: 10, Keep: keep})
		f.log("s", "line 0010")
		f.flush(t)
		if entries, _ := os.ReadDir(filepath.Dir(f.path)); len(entries) != want || content(t, f.path+".1") != "line 0009\n" {
			t.Errorf("keep %d: %d files, want %d", keep, len(entries), want)
		}
	}
}

func TestKeepNone(t *testing.T) {
	f := newFixture(t)
	f.fs.Set("s", &Config{Path: f.path, Rotate: 10})
	for i := range 100 {
		f.log("s", fmt.Sprintf("line %04d", i))
	}
	f.flush(t)
	if entries, _ := os.ReadDir(filepath.Dir(f.path)); len(entries) != 1 || content(t, f.path) != "line 0099\n" {
		t.Errorf("files: %v", entries)
	}
}

// A missing directory stops nothing: said once, counted, tried again, and what the ring still has is written.
func TestMissingDirectory(t *testing.T) {
	f := newFixture(t)
	f.a.Ring("s", logring.Limits{Lines: 10, Bytes: 4096})
	if err := os.Remove(filepath.Dir(f.path)); err != nil {
		t.Fatal(err)
	}
	f.fs.Set("s", &Config{Path: f.path})
	f.log("s", fmt.Sprintf("%099d", 0))
	wait.For(t, "the first error, which ends the hold", func() bool { return len(f.reported()) == 1 })
	wait.For(t, "the end of the hold", func() bool { s, _ := f.fs.Sink("s"); return s.Errors > 1 })
	for i := 1; i < 1000; i++ {
		f.log("s", fmt.Sprintf("%099d", i))
	}
	wait.For(t, "some errors", func() bool { s, _ := f.fs.Sink("s"); return s.Errors > 3 })
	sink, _ := f.fs.Sink("s")
	if got := f.reported(); len(got) != 1 || !strings.Contains(got[0].err.Error(), "no such file") || sink.Last == "" {
		t.Errorf("reports %v, sink %+v", got, sink)
	}
	if sink.Lost+sink.Queued+sink.Written != 1000 || sink.Lost < 900 {
		t.Errorf("sink is %+v", sink)
	}
	if err := os.Mkdir(filepath.Dir(f.path), 0o755); err != nil {
		t.Fatal(err)
	}
	wait.For(t, "the file", func() bool { return len(f.reported()) == 2 })
	f.flush(t)
	after, _ := f.fs.Sink("s")
	if got := f.reported()[1]; got.err != nil || got.lost != after.Lost || after.Lost+after.Written != 1000 || after.Last != "" {
		t.Errorf("report %+v, sink %+v", got, after)
	}
	if got := content(t, f.path); !strings.HasSuffix(got, fmt.Sprintf("%099d\n", 999)) || uint64(strings.Count(got, "\n")) != after.Written {
		t.Errorf("file has %d lines", strings.Count(got, "\n"))
	}
}

func TestReopen(t *testing.T) {
	f := newFixture(t)
	f.fs.Set("s", &Config{Path: f.path})
	f.log("s", "old")
	f.flush(t)
	if err := os.Rename(f.path, f.path+".moved"); err != nil {
		t.Fatal(err)
	}
	f.fs.Reopen()
	f.log("s", "new")
	f.flush(t)
	if old, now := content(t, f.path+".moved"), content(t, f.path); old != "old\n" || now != "new\n" {
		t.Errorf("moved %q, new %q", old, now)
	}
}

// A hung disk (here: a pipe that nobody reads) ends the hold after Stall; the ring goes on.
func TestStallEndsTheHold(t *testing.T) {
	f := newFixture(t)
	f.fs.opt.Stall = 5 * time.Millisecond
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	ring := f.a.Ring("s", logring.Limits{Lines: 100, Bytes: 16 << 10})
	f.fs.Set("s", &Config{Path: fmt.Sprintf("/proc/self/fd/%d", w.Fd())})
	for range 3000 {
		f.log("s", strings.Repeat("x", 99))
	}
	wait.For(t, "the hold to end", func() bool { return !ring.Congested() })
	go func() { _, _ = io.Copy(io.Discard, r) }()
	f.flush(t)
}

// finishPending: the server died with a batch begun; every size that the file can have then.
func TestPendingBatchAfterCrash(t *testing.T) {
	for there := range len("one\ntwo\nthree\n") + 1 {
		f := newFixture(t)
		f.fs.Set("s", &Config{Path: f.path})
		f.log("s", "zero")
		f.flush(t)
		f.fs.Close(context.Background()) // the marks stay, as after a crash
		for _, text := range []string{"one", "two", "three"} {
			f.log("s", text)
		}
		m, _ := f.a.Ring("s", logring.Limits{}).Mark("file:" + f.path)
		p := m.Get()
		p.Values[valOffset], p.Values[valTo], p.Values[valLength] = 5, 5, uint64(len("one\ntwo\nthree\n"))
		m.Set(p)
		file, err := os.OpenFile(f.path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = file.WriteString("one\ntwo\nthree\n"[:there])
		_ = file.Close()

		f.fs = New(f.a, Options{})
		f.fs.Set("s", &Config{Path: f.path})
		f.log("s", "four")
		f.flush(t)
		f.fs.Close(context.Background())
		if got, want := content(t, f.path), "zero\none\ntwo\nthree\nfour\n"; got != want {
			t.Errorf("%d bytes were there: file is %q", there, got)
		}
	}
}
