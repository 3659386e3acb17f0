package ownlog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit/wait"
)

// valve lets nothing through until it is opened.
type valve struct {
	open  chan struct{}
	mu    sync.Mutex
	taken bytes.Buffer
}

func (v *valve) Write(b []byte) (int, error) {
	<-v.open
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.taken.Write(b)
}

// TestNobodyReads: while nothing is read no line waits, however many there are; what found no room is counted where they go
// on, and the rest comes whole and in order.
func TestNobodyReads(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		v := &valve{open: make(chan struct{})}
		q := NewQueue(v, asJSON)
		log := slog.New(New(Options{Out: q, JSON: asJSON, Burst: 1 << 20, All: 1 << 20}))
		const many = 20000
		done := make(chan struct{})
		go func() {
			for i := range many {
				log.Info(fmt.Sprintf("line %d", i))
			}
			close(done)
		}()
		select {
		case <-done:
		case <-time.After(wait.Patience):
			t.Fatal("a line waits for its reader")
		}
		if q.Flush(time.Millisecond) {
			t.Error("it says that all is written")
		}
		close(v.open)
		if !q.Flush(wait.Patience) {
			t.Fatal("it is never written")
		}
		log.Info("line " + fmt.Sprint(many))
		q.Flush(wait.Patience)
		lines := strings.Split(strings.TrimSuffix(v.taken.String(), "\n"), "\n")
		told, missing := 0, 0
		for i, line := range lines {
			if asJSON && !json.Valid([]byte(line)) {
				t.Fatalf("line %d is no object: %q", i, line)
			}
			if at := strings.Index(line, " lines are missing"); at >= 0 {
				told++
				if _, err := fmt.Sscanf(strings.TrimLeft(line[:at], `abcdefghijklmnopqrstuvwxyzWARN":,{ `), "%d", &missing); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				continue
			}
			if want := fmt.Sprintf("line %d", i-told+missing); !strings.Contains(line, want) {
				t.Fatalf("line %d is %q, want %q", i, line, want)
			}
		}
		if told != 1 || missing == 0 || len(lines)-told+missing != many+1 {
			t.Errorf("%d lines, %d missing, told %d times", len(lines), missing, told)
		}
	}
}
