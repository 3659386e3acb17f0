package rpc

import (
	"testing"

	"github.com/zinit/zinit/rpc/wire"
)

func TestDropSeen(t *testing.T) {
	last := map[string]delivered{}
	line := func(seq uint64, ms int64) wire.LogLine {
		return wire.LogLine{Service: "a", Seq: seq, TimestampMS: ms}
	}
	for _, c := range []struct {
		why   string
		lines []wire.LogLine
		want  int
	}{
		{"the first", []wire.LogLine{line(1, 100), line(2, 100)}, 2},
		{"again after a reconnection", []wire.LogLine{line(1, 100), line(2, 100), line(3, 101)}, 1},
		{"a server that counts anew", []wire.LogLine{line(1, 200), line(2, 200)}, 2},
		{"again after that", []wire.LogLine{line(2, 200), line(3, 200)}, 1},
		{"the clock went back", []wire.LogLine{line(4, 50)}, 1},
	} {
		if got := len(dropSeen(c.lines, last)); got != c.want {
			t.Errorf("%s: %d lines, want %d", c.why, got, c.want)
		}
	}
}
