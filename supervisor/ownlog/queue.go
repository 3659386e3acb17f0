package ownlog

import (
	"io"
	"strconv"
	"sync"
	"time"
)

// queueMax is how many bytes of lines may wait for somebody to read them.
const queueMax = 256 << 10

// Queue is a writer behind which a slow or stuck one may stand, such as a terminal that was stopped or a pipe that nobody
// reads: Write never waits for it. What finds no room is dropped and counted, and the count is told where lines go on. It
// may be used by several goroutines.
type Queue struct {
	out  io.Writer
	json bool

	mu      sync.Mutex
	waiting []byte
	lost    int // lines dropped since the last one that was taken
	writing bool
	idle    *sync.Cond // writing has become false
}

// NewQueue puts a queue before out. With json, what is said about lost lines is an object.
func NewQueue(out io.Writer, json bool) *Queue {
	q := &Queue{out: out, json: json}
	q.idle = sync.NewCond(&q.mu)
	return q
}

// Write takes whole lines, or drops them. It never fails.
func (q *Queue) Write(b []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting)+len(b) > queueMax {
		q.lost++
		return len(b), nil
	}
	q.tellLost()
	q.waiting = append(q.waiting, b...)
	q.begin()
	return len(b), nil
}

// begin lets a goroutine write what waits; there is none while nothing does. The caller has the lock.
func (q *Queue) begin() {
	if !q.writing {
		q.writing = true
		go q.write()
	}
}

func (q *Queue) write() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) > 0 {
		some := q.waiting
		q.waiting = nil
		q.mu.Unlock()
		_, _ = q.out.Write(some) // where it fails there is nobody to tell
		q.mu.Lock()
		if len(q.waiting) == 0 {
			q.tellLost()
		}
	}
	q.writing = false
	q.idle.Broadcast()
}

// tellLost says how many lines are missing here. The caller has the lock.
func (q *Queue) tellLost() {
	if q.lost == 0 {
		return
	}
	text := strconv.Itoa(q.lost) + " lines are missing here: nobody read them in time; they are in zinit logs zinit"
	if q.json {
		text = `{"level":"WARN","msg":"` + text + `"}`
	} else {
		text = "warning: " + text
	}
	q.waiting, q.lost = append(append(q.waiting, text...), '\n'), 0
}

// Flush waits until everything is written, for a bounded time; it reports whether it is.
func (q *Queue) Flush(patience time.Duration) bool {
	late := false
	timer := time.AfterFunc(patience, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		late = true
		q.idle.Broadcast()
	})
	defer timer.Stop()
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.writing && !late {
		q.idle.Wait()
	}
	return !q.writing
}
