package server

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/logring"
)

func testArena(t *testing.T) *logring.Arena {
	t.Helper()
	a, err := logring.New(logring.MinTotal)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

// copied is what is written of what write appends.
func copied(t *testing.T, format string, a *logring.Arena, write func()) string {
	t.Helper()
	var out bytes.Buffer
	f := a.Follow(nil, nil)
	write()
	done := make(chan struct{})
	close(done)
	newStdoutCopy(a, &out, format, "auto").run(f, done)
	return out.String()
}

func line(text string) logring.Record {
	return logring.Record{TimeMS: 1, Stream: logring.Stdout, PID: 7, Text: []byte(text)}
}

// A line that the rings keep in pieces is one line in plain output, even with the service's name elsewhere between them.
func TestStdoutPlainJoinsPieces(t *testing.T) {
	t.Parallel()
	a := testArena(t)
	long := strings.Repeat("x", 2*logring.MaxLine+10)
	got := copied(t, "plain", a, func() {
		a.Ring("web", logring.Limits{Lines: 100, Bytes: 400 << 10}).Append(line(long))
		a.Ring("web", logring.Limits{}).Append(line("next"))
	})
	if want := long + "\nnext\n"; got != want {
		t.Errorf("%d bytes in %d lines, want %d in 2", len(got), strings.Count(got, "\n"), len(want))
	}
	begun := line("begun")
	begun.Continued = true
	got = copied(t, "plain", a, func() {
		a.Ring("web", logring.Limits{}).Append(begun)
		other := line("of another stream")
		other.Stream = logring.Stderr
		a.Ring("web", logring.Limits{}).Append(other)
	})
	if want := "begun\nof another stream\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// JSON has the members of forwarded lines, the server's own lines, and what was lost.
func TestStdoutJSON(t *testing.T) {
	t.Parallel()
	a := testArena(t)
	long := strings.Repeat("é", logring.MaxLine/2) + "end"
	got := copied(t, "json", a, func() {
		own := line("zinit server")
		own.Priority, own.Stream = logring.MakePriority(3, 6), logring.Stderr
		a.Ring("zinit", logring.Limits{}).Append(own)
		a.Ring("web", logring.Limits{Lines: 100, Bytes: 400 << 10}).Append(line(long))
		few := a.Ring("few", logring.Limits{Lines: 2, Bytes: 4 << 10})
		for i := range 5 {
			few.Append(line(strconv.Itoa(i)))
		}
	})
	type entry struct {
		Timestamp, Service, Stream, Message, Severity, Facility string
		Host                                                    *string
		Seq                                                     uint64
		PID                                                     int
		Continued                                               bool
	}
	byService := map[string][]entry{}
	for _, text := range strings.Split(strings.TrimSuffix(got, "\n"), "\n") {
		var e entry
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			t.Fatalf("%.100s: %v", text, err)
		}
		if e.Timestamp == "" || e.Stream == "" || e.Host == nil {
			t.Errorf("members are missing: %.200s", text)
		}
		byService[e.Service] = append(byService[e.Service], e)
	}
	if own := byService["zinit"]; len(own) != 1 || own[0].Message != "zinit server" || own[0].Severity != "info" || own[0].Facility != "daemon" {
		t.Errorf("the server's own line: %+v", own)
	}
	if web := byService["web"]; len(web) != 2 || !web[0].Continued || web[1].Continued || web[0].Message+web[1].Message != long {
		t.Errorf("%d pieces of the long line", len(web))
	}
	few := byService["few"]
	if len(few) != 3 || few[0].Message != "3 lines lost: the reader of stdout was too slow" || few[0].Severity != "warning" || few[1].Message != "3" {
		t.Errorf("the lost lines: %+v", few)
	}
	if len(few) > 1 && few[0].Seq+1 != few[1].Seq {
		t.Errorf("the notice has number %d, the line after %d", few[0].Seq, few[1].Seq)
	}
}

// The next server goes on with the line after the last one that this one has written, for services that it knows.
func TestStdoutGoesOn(t *testing.T) {
	t.Parallel()
	a := testArena(t)
	a.Ring("old", logring.Limits{}).Append(line("before it was copied"))
	if got := copied(t, "plain", a, func() { a.Ring("web", logring.Limits{}).Append(line("one")) }); got != "one\n" {
		t.Errorf("got %q", got)
	}
	a.Ring("web", logring.Limits{}).Append(line("two"))
	var out bytes.Buffer
	done := make(chan struct{})
	close(done)
	newStdoutCopy(a, &out, "plain", "auto").run(a.Follow(nil, copiedBefore(a)), done)
	if out.String() != "two\n" {
		t.Errorf("the next server wrote %q", out.String())
	}
}

// On a terminal the colours of services stay, and nothing else that steers it.
func TestStdoutOnTerminal(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	for when, want := range map[string]string{
		"auto": `web | \x1b[2J` + "\x1b[31mred\x1b[0m\x1b[0m", "never": `web | \x1b[2Jred`,
	} {
		master, slave := pty(t)
		c := newStdoutCopy(testArena(t), slave, "prefix", when)
		c.batch(&logring.Batch{Service: "web", Records: []logring.Record{line("\x1b[2J\x1b[31mred\x1b[0m")}})
		_ = c.out.Flush()
		got, err := bufio.NewReader(master).ReadString('\n')
		if got = strings.TrimRight(got, "\r\n"); err != nil || got != want {
			t.Errorf("%s: got %q, want %q (%v)", when, got, want, err)
		}
	}
}

func pty(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	need.That(t, err == nil, "/dev/ptmx")
	t.Cleanup(func() { _ = master.Close() })
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slave.Close() })
	return master, slave
}
