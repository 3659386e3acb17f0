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
		gap   uint64
	}{
		{"the first", []wire.LogLine{line(1, 100), line(2, 100)}, 2, 0},
		{"again after a reconnection", []wire.LogLine{line(1, 100), line(2, 100), line(3, 101)}, 1, 0},
		{"a server that counts anew", []wire.LogLine{line(1, 200), line(2, 200)}, 2, 0},
		{"again after that", []wire.LogLine{line(2, 200), line(3, 200)}, 1, 0},
		{"the clock went back", []wire.LogLine{line(4, 50)}, 1, 0},
		{"overwritten meanwhile", []wire.LogLine{line(4, 50), line(9, 300), line(10, 300)}, 2, 4},
	} {
		got, gaps := dropSeen(c.lines, last)
		var gap uint64
		for _, g := range gaps {
			gap += g.Missed
		}
		if len(got) != c.want || gap != c.gap {
			t.Errorf("%s: %d lines, want %d, and a gap of %d, want %d", c.why, len(got), c.want, gap, c.gap)
		}
	}
}
