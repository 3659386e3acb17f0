package cli

import (
	"bufio"
	"bytes"
	"testing"

	"github.com/zinit/zinit/rpc/wire"
)

// printed is what logs writes of lines.
func printed(o output, format string, lines ...wire.LogLine) string {
	var b bytes.Buffer
	o.w = bufio.NewWriter(&b)
	p := &logPrinter{out: &o, format: format}
	p.lines(lines)
	_ = o.flush()
	return b.String()
}

// Colours of services are shown where colour is, and taken away with --color never; nothing else steers a terminal.
func TestLogColors(t *testing.T) {
	l := wire.LogLine{Content: "\x1b[1A\x1b[31mred\x1b[0m", Stream: "stderr"}
	for _, c := range []struct {
		name string
		out  output
		want string
	}{
		{"terminal", output{terminal: true, style: style{on: true}}, `\x1b[1A` + "\x1b[31mred\x1b[0m\x1b[0m\n"},
		{"terminal without colour", output{terminal: true}, `\x1b[1Ared` + "\n"},
		{"pipe", output{}, l.Content + "\n"},
		{"pipe, never", output{strip: true}, "\x1b[1Ared\n"},
	} {
		if got := printed(c.out, "cat", l); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// The pieces of a long line are one line with cat; one whose next piece does not come is ended first.
func TestLogPieces(t *testing.T) {
	piece := wire.LogLine{Content: "a", Service: "web", Stream: "stdout", Continued: true}
	end, other := piece, piece
	end.Content, end.Continued = "b", false
	other.Content, other.Continued, other.Stream = "err", false, "stderr"
	for _, c := range []struct {
		lines []wire.LogLine
		want  string
	}{
		{[]wire.LogLine{piece, piece, end, end}, "aab\nb\n"},
		{[]wire.LogLine{piece, other, end}, "a\nerr\nb\n"},
	} {
		if got := printed(output{}, "cat", c.lines...); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
