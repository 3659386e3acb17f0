package jobs

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func run(job string, n int) Run {
	at := time.Unix(1_800_000_000+int64(n), 0).UTC()
	return Run{Job: job, Gen: uint64(n + 1), Began: at, Ended: at.Add(time.Second), Cause: "schedule"}
}

func TestHistoryOutlivesTheServer(t *testing.T) {
	dir := t.TempDir()
	h := Open(dir, "jobs.jsonl", slog.Default())
	for n := range 30 {
		h.Add(run("backup", n), 20)
	}
	left := run("backup", 30)
	left.Left = "the run before has not ended"
	h.Add(left, 20)
	h.Add(run("report", 5), 20)
	h.Flush(10 * time.Second)

	h = Open(dir, "jobs.jsonl", slog.Default())
	if last, ok := h.Last("backup", false); !ok || last.Gen != 30 {
		t.Errorf("last run: %+v, %v", last, ok)
	}
	if got := h.LastRuns(); len(got) != 2 || got["backup"] != run("backup", 29).Began.UnixNano() {
		t.Errorf("last runs: %v", got)
	}
	h.Add(run("backup", 31), 20)
	h.Flush(10 * time.Second)
	if runs := h.Of("backup"); len(runs) != 20 || runs[18].Left == "" || runs[19].Gen != 32 {
		t.Errorf("%d runs, %+v", len(runs), runs)
	}
}

// TestTornFile: a line that was cut by a power failure costs itself and nothing else.
func TestTornFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "jobs.jsonl")
	whole := encode([]Run{run("a", 1), run("a", 2), run("a", 3)})
	for cut := range len(whole) {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		h := Open(dir, "jobs.jsonl", slog.Default())
		if got, want := len(h.Of("a")), 3*cut/len(whole); got < want {
			t.Fatalf("cut at %d: %d runs, want %d", cut, got, want)
		}
	}
}

func TestCompaction(t *testing.T) {
	dir := t.TempDir()
	h := Open(dir, "jobs.jsonl", slog.Default())
	for n := range 3 * compactAt {
		h.Add(run(fmt.Sprintf("job%d", n%3), n), 5)
		if n%100 == 0 {
			h.Flush(10 * time.Second)
		}
	}
	h.Flush(10 * time.Second)
	h = Open(dir, "jobs.jsonl", slog.Default())
	if h.lines > 2*compactAt+100 {
		t.Errorf("%d lines for 15 runs", h.lines)
	}
	if runs := h.Of("job0"); len(runs) < 5 || runs[len(runs)-1].Gen < 3*compactAt-3 {
		t.Errorf("%d runs", len(runs))
	}
}

// TestNoPlace: where nothing can be written memory serves.
func TestNoPlace(t *testing.T) {
	h := Open("/proc/nowhere", "jobs.jsonl", slog.New(slog.DiscardHandler))
	h.Add(run("a", 1), 5)
	h.Flush(10 * time.Second)
	if len(h.Of("a")) != 1 {
		t.Error("the run is forgotten")
	}
}

// TestRunWithoutEnd: what began is known when the server, or the machine, was gone at its end; an end that comes later is its own.
func TestRunWithoutEnd(t *testing.T) {
	dir := t.TempDir()
	h := Open(dir, "jobs.jsonl", slog.Default())
	begun := run("a", 1)
	begun.Ended, begun.Log, begun.From = time.Time{}, "x", 7
	h.Begin(begun, 5)
	h.Begin(begun, 5) // a stop that was cancelled
	h.Flush(10 * time.Second)

	h = Open(dir, "jobs.jsonl", slog.Default())
	if last, ok := h.Last("a", false); !ok || !last.Ended.IsZero() || last.From != 7 {
		t.Errorf("%+v, %v", last, ok)
	}
	if _, ok := h.Last("a", true); ok {
		t.Error("a run that goes on counts as the last one")
	}
	h.End(run("a", 1), 5)
	h.Begin(run("a", 2), 5)
	h.Flush(10 * time.Second)

	h = Open(dir, "jobs.jsonl", slog.Default())
	if runs := h.Of("a"); len(runs) != 2 || runs[0].Ended.IsZero() || runs[0].From != 7 || runs[1].Gen != 3 {
		t.Errorf("%+v", runs)
	}
}

// TestTornFileGoesOn: what is added after a power cut is not lost with the torn line, wherever that ends.
func TestTornFileGoesOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "jobs.jsonl")
	whole := encode([]Run{run("a", 1), run("a", 2), run("a", 3)})
	for cut := range len(whole) + 1 {
		torn := [][]byte{whole[:cut]}
		if cut < len(whole) { // a file system may give back zeros for what it had not written
			torn = append(torn, append(bytes.Clone(whole[:cut]), make([]byte, len(whole)-cut)...))
		}
		for _, data := range torn {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			h := Open(dir, "jobs.jsonl", slog.New(slog.DiscardHandler))
			before := h.Of("a")
			if complete := bytes.Count(whole[:cut], []byte("\n")); len(before) < complete {
				t.Fatalf("cut at %d: %d runs are left of %d whole lines", cut, len(before), complete)
			}
			h.Add(run("a", 7), 20)
			h.Flush(10 * time.Second)
			after := Open(dir, "jobs.jsonl", slog.New(slog.DiscardHandler)).Of("a")
			if len(after) != len(before)+1 || after[len(after)-1].Gen != 8 {
				t.Fatalf("cut at %d: %d runs before, %d after one more", cut, len(before), len(after))
			}
		}
	}
}

// TestFullDisk: what could not be written is written when there is room again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "jobs.jsonl")
	if err := os.Symlink("/dev/full", path); err != nil {
		t.Fatal(err)
	}
	var told bytes.Buffer
	h := Open(dir, "jobs.jsonl", slog.New(slog.NewTextHandler(&told, nil)))
	h.Add(run("a", 1), 20)
	h.Flush(10 * time.Second)
	if len(h.Of("a")) != 1 || strings.Count(told.String(), "no space left") != 1 {
		t.Fatalf("%d runs, told: %s", len(h.Of("a")), told.String())
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	h.Add(run("a", 2), 20)
	h.Flush(10 * time.Second)
	if runs := Open(dir, "jobs.jsonl", slog.Default()).Of("a"); len(runs) != 2 {
		t.Errorf("%d runs are on the disk, want 2", len(runs))
	}
}

// TestNewerHistory: lines of a newer version are read as far as they are understood, and the others cost only themselves.
func TestNewerHistory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lines := `{"version":9}
{"job":"a","gen":1,"began":"2026-11-30T12:00:00Z","ended":"2026-11-30T12:00:01Z","cause":"moon","host":{"name":"x"}}
{"job":"a","gen":"two"}
["a"]
{"job":"a","gen":3,"began":"2026-11-30T12:02:00Z","ended":"2026-11-30T12:02:01Z","cause":"schedule"}
`
	if err := os.WriteFile(filepath.Join(dir, "jobs.jsonl"), []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	h := Open(dir, "jobs.jsonl", slog.Default())
	h.Add(run("a", 9), 20)
	h.Flush(10 * time.Second)
	if runs := h.Of("a"); len(runs) != 3 || runs[0].Cause != "moon" || runs[1].Gen != 3 {
		t.Errorf("%d runs: %+v", len(runs), runs)
	}
	if data, _ := os.ReadFile(filepath.Join(dir, "jobs.jsonl")); !strings.HasPrefix(string(data), lines) {
		t.Error("the lines of the newer version were rewritten")
	}
}
