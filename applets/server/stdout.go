package server

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/zinit/zinit/internal/terminal"
	"github.com/zinit/zinit/logring"
	"github.com/zinit/zinit/supervisor/ownlog"
	"github.com/zinit/zinit/supervisor/ship"
)

// stdoutCopy writes the output of all services to a stream as it comes, for a container whose engine collects it: plain,
// with the service's name before each line, or as one JSON object a line, which the server's own lines are then among. As
// text they are not: they go to stderr. A reader of the stream that is slow holds up nobody: the rings are the queue, and
// what they lose is told.
type stdoutCopy struct {
	out    *bufio.Writer
	format string              // plain, prefix or json
	host   string              // what JSON names as the host
	show   func(string) string // makes text fit for the stream, nil = as it is
	cut    cutLine
	buf    []byte
	arena  *logring.Arena
	marks  map[string]placed
	copied map[string]uint64 // by service the line after the last one that was written, and not yet marked
}

// placed is the mark in a ring that says how far it was copied.
type placed struct {
	ring *logring.Ring
	mark *logring.Mark
}

// stdoutMark is its name. It outlives the server with the lines: the next one goes on there.
const stdoutMark = "stdout"

// copiedBefore is by service the first line that the server before has not copied. A service without an entry is copied from
// now on.
func copiedBefore(a *logring.Arena) map[string]uint64 {
	from := map[string]uint64{}
	for _, name := range a.Names() {
		if ring := a.Find(name); ring != nil {
			if mark, known := ring.Mark(stdoutMark); known {
				from[name] = mark.Get().Seq
			}
		}
	}
	return from
}

// cutLine is whose line was written without its end, because it is longer than the rings keep in one piece.
type cutLine struct {
	open    bool
	service string
	stream  uint8
	pid     int32
}

// newStdoutCopy makes one. when says whether services may have colours on a terminal: auto, always or never.
func newStdoutCopy(a *logring.Arena, w io.Writer, format, when string) *stdoutCopy {
	c := &stdoutCopy{out: bufio.NewWriterSize(w, 64<<10), format: format, arena: a, marks: map[string]placed{}, copied: map[string]uint64{}}
	c.host, _ = os.Hostname()
	switch onTerminal := terminal.Is(w); {
	case onTerminal:
		color := terminal.WantColor(when, true)
		c.show = func(text string) string { return terminal.Show(text, color) }
	case when == "never":
		c.show = terminal.Strip
	}
	return c
}

// run copies what f has until done is closed and everything is written.
func (c *stdoutCopy) run(f *logring.Follower, done <-chan struct{}) {
	defer f.Close()
	for last := false; ; {
		for b, ok := f.Next(followBatch); ok; b, ok = f.Next(followBatch) {
			if b.Service != ownlog.Service || c.format == "json" {
				c.batch(&b)
			}
			if n := len(b.Records); n > 0 {
				c.copied[b.Service] = b.Records[n-1].Seq + 1
			}
			if len(b.Records) == followBatch && !c.flush() { // a flood does not let this loop end
				return
			}
		}
		if !c.flush() || last {
			return
		}
		select {
		case <-f.C:
		case <-done:
			last = true // what came until now is still written
		}
	}
}

// flush writes what is buffered and notes how far each service was copied.
func (c *stdoutCopy) flush() bool {
	if c.out.Flush() != nil {
		return false
	}
	for service, next := range c.copied {
		ring := c.arena.Find(service)
		if ring == nil {
			continue
		}
		at := c.marks[service]
		if at.ring != ring {
			at.ring = ring
			at.mark, _ = ring.Mark(stdoutMark)
			c.marks[service] = at
		}
		at.mark.Set(logring.Position{Seq: next})
	}
	clear(c.copied)
	return true
}

// followBatch is how many lines are taken from a ring at a time.
const followBatch = 512

func (c *stdoutCopy) batch(b *logring.Batch) {
	if b.Missed > 0 {
		c.lost(b)
	}
	for i := range b.Records {
		r := &b.Records[i]
		switch c.format {
		case "json":
			c.json(b.Service, r)
		case "prefix":
			c.text(b.Service+" | ", string(r.Text))
			_ = c.out.WriteByte('\n')
		default:
			c.plain(b.Service, r)
		}
	}
}

// lost says that lines of a service were given up before they could be written: in the name of the service, as a warning.
func (c *stdoutCopy) lost(b *logring.Batch) {
	text := fmt.Sprintf("%d lines lost: the reader of stdout was too slow", b.Missed)
	if b.Missed == 1 {
		text = "1 line lost: the reader of stdout was too slow"
	}
	if c.format == "json" {
		const daemon, warning = 3, 4
		rec := logring.Record{TimeMS: time.Now().UnixMilli(), Stream: logring.Stderr, PID: int32(os.Getpid()),
			Priority: logring.MakePriority(daemon, warning), Text: []byte(text)}
		if len(b.Records) > 0 {
			rec.Seq = b.Records[0].Seq - 1 // of the last lost line
		}
		c.json(b.Service, &rec)
		return
	}
	c.endCut()
	_, _ = c.out.WriteString(b.Service + " | [" + text + "]\n")
}

// json writes a line with the members that forwarded lines have.
func (c *stdoutCopy) json(service string, r *logring.Record) {
	c.buf = ship.AppendJSON(c.buf[:0], c.host, service, r)
	_, _ = c.out.Write(c.buf)
}

// plain writes the text alone. The pieces of a line that was cut become one line again; one whose next piece is missing is
// ended before another line.
func (c *stdoutCopy) plain(service string, r *logring.Record) {
	whose := cutLine{r.Continued, service, r.Stream, r.PID}
	if was := c.cut; was.open && (was.service != service || was.stream != r.Stream || was.pid != r.PID) {
		c.endCut()
	}
	c.text("", string(r.Text))
	if c.cut = whose; !r.Continued {
		_ = c.out.WriteByte('\n')
	}
}

func (c *stdoutCopy) endCut() {
	if c.cut.open {
		_ = c.out.WriteByte('\n')
		c.cut.open = false
	}
}

func (c *stdoutCopy) text(prefix, text string) {
	if c.show != nil {
		text = c.show(text)
	}
	_, _ = c.out.WriteString(prefix)
	_, _ = c.out.WriteString(text)
}
