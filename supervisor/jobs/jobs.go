// Package jobs remembers the runs of services that have a schedule, over restarts and reboots: when they ran, how they
// ended, and which were left out. The history is a file of one JSON object a line in the state directory. Lines are only
// appended, so that a power cut loses the newest at most; when the file has grown it is written anew and renamed.
package jobs

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Run is one run of a job, or one that was due and left out.
type Run struct {
	Job    string    `json:"job"`
	Gen    uint64    `json:"gen"`              // the incarnation, 0 = left out
	Began  time.Time `json:"began"`            // or when it was due
	Ended  time.Time `json:"ended"`            // zero = it goes on, or the server was gone when it ended; of one that was left out: Began
	Cause  string    `json:"cause"`            // schedule, asked, restart, …
	Code   *int      `json:"code,omitempty"`   // exit code
	Signal *int      `json:"signal,omitempty"` // that killed it
	Failed string    `json:"failed,omitempty"` // why it counts as failed
	Left   string    `json:"left,omitempty"`   // the rule that left it out
	Log    string    `json:"log,omitempty"`    // the log arena that From counts in
	From   uint64    `json:"from,omitempty"`   // the sequence number of its first line
}

// History holds the runs. Its methods are safe for concurrent use and never wait for a disk.
type History struct {
	path string // "" = memory only
	log  *slog.Logger

	mu      sync.Mutex
	runs    map[string][]Run // oldest first
	lines   int              // in the file
	pending []Run            // to be appended
	writing bool
	idle    sync.Cond // broadcast when nothing is being written
	failed  bool      // a failure was told
	torn    bool      // the file ends within a line, or lacks what could not be written: it is to be written anew
}

// maxFile bounds what is read of the file.
const maxFile = 64 << 20

// compactAt is how many lines more than runs the file may have before it is written anew.
const compactAt = 1000

// Open reads the history of a server from its state directory; dir "" keeps it in memory only. What cannot be read is told
// and counts as nothing.
func Open(dir, name string, log *slog.Logger) *History {
	h := &History{log: log, runs: map[string][]Run{}}
	h.idle.L = &h.mu
	if dir == "" {
		return h
	}
	h.path = filepath.Join(dir, name)
	f, err := os.Open(h.path)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			log.Warn("cannot read the history of jobs", "file", h.path, "error", err)
		}
		return h
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		log.Warn("the history of jobs is no regular file and is not read", "file", h.path)
		return h
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		log.Warn("cannot read the history of jobs", "file", h.path, "error", err)
	}
	for line := range bytes.Lines(data) {
		var r Run
		if h.lines++; json.Unmarshal(line, &r) == nil && r.Job != "" && !h.merge(r) {
			h.runs[r.Job] = append(h.runs[r.Job], r)
		}
	}
	h.torn = len(data) > 0 && data[len(data)-1] != '\n' // a power cut: the next line must not become part of it
	return h
}

// Add appends a run, of which the newest keep of its job are kept, and reports whether it says something new: runs that one
// rule leaves out one after the other are one entry, which ends with the last of them.
func (h *History) Add(r Run, keep int) (fresh bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := h.runs[r.Job]
	if n := len(list); n > 0 && r.Left != "" && list[n-1].Left == r.Left {
		list[n-1].Ended = r.Ended
		return false
	}
	h.add(r, keep)
	return true
}

// Begin notes that a run begins. One of the same incarnation goes on.
func (h *History) Begin(r Run, keep int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open(r.Job, r.Gen) == nil {
		h.add(r, keep)
	}
}

// End notes how a run ended that has begun with the same incarnation; what that said stays.
func (h *History) End(r Run, keep int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	begun := h.open(r.Job, r.Gen)
	if begun == nil {
		h.add(r, keep)
		return
	}
	r.Began, r.Cause, r.Log, r.From = begun.Began, begun.Cause, begun.Log, begun.From
	*begun = r
	h.save(r)
}

// open is the run of a job with this incarnation that has not ended, nil = none.
func (h *History) open(job string, gen uint64) *Run {
	list := h.runs[job]
	for i := len(list) - 1; i >= 0; i-- {
		if r := &list[i]; r.Gen == gen && r.Left == "" && r.Ended.IsZero() {
			return r
		}
	}
	return nil
}

// merge takes the end of a run that has begun.
func (h *History) merge(r Run) bool {
	begun := h.open(r.Job, r.Gen)
	if begun == nil || r.Left != "" || r.Ended.IsZero() || !begun.Began.Equal(r.Began) {
		return false
	}
	*begun = r
	return true
}

// add appends a run, and forgets the oldest of its job beyond keep.
func (h *History) add(r Run, keep int) {
	list := append(h.runs[r.Job], r)
	if len(list) > keep {
		list = slices.Delete(list, 0, len(list)-keep)
	}
	h.runs[r.Job] = list
	h.save(r)
}

// save has a line written.
func (h *History) save(r Run) {
	if h.path == "" {
		return
	}
	h.pending = append(h.pending, r)
	if !h.writing {
		h.writing = true
		go h.write()
	}
}

// Of returns the runs of a job, oldest first.
func (h *History) Of(job string) []Run {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.runs[job])
}

// Last returns the last run of a job that was not left out. One that has no end counts only where none goes on.
func (h *History) Last(job string, goesOn bool) (Run, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range slices.Backward(h.runs[job]) {
		if r.Left == "" && !(goesOn && r.Ended.IsZero()) {
			return r, true
		}
	}
	return Run{}, false
}

// LeftOut returns the rule that left out the last run of a job that was due, "" where it ran.
func (h *History) LeftOut(job string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if runs := h.runs[job]; len(runs) > 0 {
		return runs[len(runs)-1].Left
	}
	return ""
}

// LastRuns returns when each job ran last, in ns since 1970.
func (h *History) LastRuns() map[string]int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	last := map[string]int64{}
	for job, runs := range h.runs {
		for _, r := range runs {
			if r.Left == "" {
				last[job] = max(last[job], r.Began.UnixNano())
			}
		}
	}
	return last
}

// Flush waits until all is written, or for a time at most.
func (h *History) Flush(limit time.Duration) {
	stop := time.AfterFunc(limit, h.idle.Broadcast)
	defer stop.Stop()
	until := time.Now().Add(limit)
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.writing && time.Now().Before(until) {
		h.idle.Wait()
	}
}

// write appends what is pending, on a goroutine of its own.
func (h *History) write() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.pending) > 0 {
		batch, whole := h.pending, []Run(nil)
		h.pending = nil
		kept := 0
		for _, runs := range h.runs {
			kept += len(runs)
		}
		if h.torn || h.lines+len(batch) > kept+compactAt {
			for _, runs := range h.runs {
				whole = append(whole, runs...)
			}
			slices.SortStableFunc(whole, func(a, b Run) int { return a.Began.Compare(b.Began) })
		}
		h.mu.Unlock()
		var err error
		if whole != nil {
			err = h.rewrite(whole)
		} else {
			err = h.append(batch)
		}
		h.mu.Lock()
		if h.lines += len(batch); whole != nil && err == nil {
			h.lines = len(whole)
		}
		if err != nil && !h.failed {
			h.log.Warn("cannot write the history of jobs; it is kept in memory", "file", h.path, "error", err)
		}
		h.failed, h.torn = err != nil, err != nil
	}
	h.writing = false
	h.idle.Broadcast()
}

func (h *History) append(batch []Run) error {
	if err := os.MkdirAll(filepath.Dir(h.path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(h.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(encode(batch))
	return errors.Join(err, f.Sync(), f.Close())
}

// rewrite replaces the file, so that a reader sees the old one or the new one.
func (h *History) rewrite(runs []Run) error {
	if err := os.MkdirAll(filepath.Dir(h.path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(h.path), ".jobs-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(encode(runs))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), h.path)
}

func encode(runs []Run) []byte {
	var out []byte
	for _, r := range runs {
		line, err := json.Marshal(r)
		if err == nil {
			out = append(append(out, line...), '\n')
		}
	}
	return out
}
