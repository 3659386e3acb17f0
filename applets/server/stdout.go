package server

import (
	"bufio"
	"encoding/json"
	"io"
	"strings"
	"time"

	"github.com/zinit/zinit/logring"
)

// ownLogName is the pseudo-service of the server's own messages, which go to stderr already.
const ownLogName = "zinit"

// copyLogs writes the output of all services to w as it comes, for a container whose engine collects it: plain, with the
// service's name before each line, or as one JSON object a line. It ends when done is closed and everything is written.
// A reader of w that is slow holds up nobody: the rings are the queue, and what they lose is told.
// f was begun before the first service started.
func copyLogs(f *logring.Follower, w io.Writer, format string, done <-chan struct{}) {
	defer f.Close()
	out := bufio.NewWriterSize(w, 64<<10)
	for last := false; ; {
		for b, ok := f.Next(followBatch); ok; b, ok = f.Next(followBatch) {
			if b.Service != ownLogName {
				writeBatch(out, &b, format)
			}
		}
		if out.Flush() != nil || last {
			return
		}
		select {
		case <-f.C:
		case <-done:
			last = true // what came until now is still written
		}
	}
}

// followBatch is how many lines are taken from a ring at a time.
const followBatch = 512

// stdoutLine is one line in JSON, with the field names of the shipped logs.
type stdoutLine struct {
	Timestamp string `json:"timestamp"`
	Service   string `json:"service"`
	Stream    string `json:"stream"`
	Seq       uint64 `json:"seq"`
	PID       int32  `json:"pid"`
	Message   string `json:"message"`
}

func writeBatch(out *bufio.Writer, b *logring.Batch, format string) {
	if b.Missed > 0 && format != "json" {
		_, _ = out.WriteString(b.Service + " | [lines lost: the reader of stdout was too slow]\n")
	}
	for i := range b.Records {
		r := &b.Records[i]
		switch format {
		case "json":
			line, _ := json.Marshal(stdoutLine{Timestamp: time.UnixMilli(r.TimeMS).UTC().Format("2006-01-02T15:04:05.000Z"),
				Service: b.Service, Stream: streamWord(r.Stream), Seq: r.Seq, PID: r.PID,
				Message: strings.ToValidUTF8(string(r.Text), "\uFFFD")})
			_, _ = out.Write(line)
		case "prefix":
			_, _ = out.WriteString(b.Service + " | ")
			_, _ = out.Write(r.Text)
		default:
			_, _ = out.Write(r.Text)
		}
		_ = out.WriteByte('\n')
	}
}

func streamWord(s uint8) string {
	switch s {
	case logring.Stdout:
		return "stdout"
	case logring.Stderr:
		return "stderr"
	}
	return "syslog"
}
