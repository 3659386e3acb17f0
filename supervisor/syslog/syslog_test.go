package syslog

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/logring"
)

func TestParse(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"PRI too large", "<192>hello", "<192>hello"},
		{"PRI with zeros", "<013>hello", "hello"},
		{"glibc", "<13>Oct 11 22:14:15 su[42]: 'su root' failed", "su[42]: 'su root' failed"},
		{"one digit day", "<34>Oct  1 02:14:15 su: x", "su: x"},
		{"with host", "<34>Oct  1 02:14:15 box su: x", "su: x"},
		{"other host", "<34>Oct  1 02:14:15 other su: x", "other su: x"},
		{"no time", "<13>hello", "hello"},
		{"RFC 3339 time", "<13>2026-01-02T03:04:05.123456+01:00 box app: x", "app: x"},
		{"no priority", "hello", "hello"},
		{"bad priority", "<1x>hello", "<1x>hello"},
		{"empty", "", ""},
		{"only priority", "<13>", ""},
		{"newline and NUL", "<13>hello\n\x00", "hello"},
		{"5424", "<165>1 2003-10-11T22:14:15.003Z box evntslog 12 ID47 - An event", "evntslog[12]: An event"},
		{"5424 with data", `<165>1 2003-10-11T22:14:15.003Z box app - - [a@1 k="v\]\" ]"][b] text`, `app: [a@1 k="v\]\" ]"][b] text`},
		{"5424 with BOM", "<165>1 - - app - - - \xef\xbb\xbftext", "app: text"},
		{"5424 all nil", "<165>1 - - - - - - text", "text"},
		{"5424 no message", "<165>1 - - app - - -", "app: "},
		{"5424 open element", `<165>1 - - app - - [a text`, `1 - - app - - [a text`},
		{"5424 short", "<165>1 - -", "1 - -"},
		{"begins with 1", "<13>1 apple", "1 apple"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got, _ := parse([]byte(test.in), "box"); string(got) != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestParsePriority(t *testing.T) {
	for in, want := range map[string]string{
		"<0>x": "kern.emerg", "<27>Oct 11 22:14:15 su: x": "daemon.err", "<191>1 - - app - - - x": "local7.debug", "<013>x": "user.notice",
		"x": "user.notice", "": "user.notice", "<192>x": "user.notice", "<-1>x": "user.notice", "<>x": "user.notice", "<1234>x": "user.notice",
	} {
		if _, p := parse([]byte(in), "box"); p.Facility()+"."+p.Severity() != want {
			t.Errorf("%q is %s.%s, want %s", in, p.Facility(), p.Severity(), want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`<165>1 2003-10-11T22:14:15.003Z box app - - [a@1 k="v\]\" ]"][b] text`))
	f.Add([]byte("<13>Oct 11 22:14:15 su[42]: x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, priority := parse(b, "box")
		if _, ok := priority.PRI(); len(got) > len(b)+8 || !ok {
			t.Errorf("%q became %q, %d", b, got, priority)
		}
	})
}

type fixture struct {
	a    *logring.Arena
	s    *Server
	path string
	fd   int
}

func newFixture(t *testing.T, owner func(int32, uint32) string) *fixture {
	t.Helper()
	a, err := logring.New(16 << 20)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{a: a, path: filepath.Join(t.TempDir(), "log")}
	if f.fd, err = Listen(f.path); err != nil {
		t.Fatal(err)
	}
	if f.s, err = Serve(f.fd, a, Options{Host: "box", Owner: owner}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.s.Close()
		_ = a.Close()
	})
	return f
}

func (f *fixture) await(t *testing.T, service string, n int) []logring.Record {
	t.Helper()
	var recs []logring.Record
	if !wait.Until(wait.Patience, func() bool {
		recs = f.a.Ring(service, logring.Limits{}).Last(10_000, nil)
		return len(recs) >= n
	}) {
		t.Fatalf("%s: %d messages came, want %d", service, len(recs), n)
	}
	return recs
}

// The sender's process decides, not the tag.
func TestFiledByCredentials(t *testing.T) {
	self := int32(os.Getpid())
	f := newFixture(t, func(pid int32, uid uint32) string {
		if pid == self && uid == uint32(os.Getuid()) {
			return "web"
		}
		return ""
	})
	conn, err := net.Dial("unixgram", f.path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, message := range []string{"<13>Oct 11 22:14:15 sshd[1]: forged tag", "<26>two\nlines\n", "<13>" + strings.Repeat("x", 100_000)} {
		if _, err := conn.Write([]byte(message)); err != nil {
			t.Fatal(err)
		}
	}
	recs := f.await(t, "web", 5)
	want := []string{"sshd[1]: forged tag", "two", "lines", strings.Repeat("x", logring.MaxLine), strings.Repeat("x", 100_000-logring.MaxLine)}
	for i, rec := range recs {
		if string(rec.Text) != want[i] || rec.PID != self || rec.Stream != logring.Syslog || rec.Continued != (i == 3) {
			t.Errorf("record %d is %.60q of %d", i, rec.Text, rec.PID)
		}
		if pri, _ := rec.Priority.PRI(); pri != []int{13, 26, 26, 13, 13}[i] { // every line of a message has it
			t.Errorf("record %d has priority %d", i, pri)
		}
	}
}

func TestLogger(t *testing.T) {
	logger := need.Program(t, "logger")
	f := newFixture(t, nil)
	for _, format := range []string{"--rfc3164", "--rfc5424=notime,nohost", "--rfc5424"} {
		cmd := exec.Command(logger, "-u", f.path, format, "-p", "local3.warning", "-t", "tagged", "hello", "from", format)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if out, err := exec.Command(logger, "-u", f.path, "-t", "tagged", "plain").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, rec := range f.await(t, Service, 4) {
		text := string(rec.Text)
		if !strings.Contains(text, "tagged") || !(strings.Contains(text, "hello from") || strings.HasSuffix(text, "plain")) ||
			strings.Contains(text, "<") || rec.PID == 0 {
			t.Errorf("got %q of %d", text, rec.PID)
		}
		want := "local3.warning"
		if strings.HasSuffix(text, "plain") {
			want = "user.notice"
		}
		if got := rec.Priority.Facility() + "." + rec.Priority.Severity(); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}

// A flood is taken as it comes: the sender is never told to wait for longer than the test allows.
func TestFloodDoesNotBlock(t *testing.T) {
	f := newFixture(t, nil)
	conn, err := net.Dial("unixgram", f.path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(wait.Patience))
	const total = 20_000
	for i := range total {
		if _, err := fmt.Fprintf(conn, "<13>message %d", i); err != nil {
			t.Fatal(err)
		}
	}
	if !wait.Until(wait.Patience, func() bool { return f.s.Received() >= total }) {
		t.Fatalf("%d of %d came", f.s.Received(), total)
	}
	recs := f.await(t, Service, 1000)
	if got := string(recs[len(recs)-1].Text); got != fmt.Sprint("message ", total-1) {
		t.Errorf("the last is %q", got)
	}
}

func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	first, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o666 {
		t.Errorf("mode %v, %v", st, err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "another daemon") {
		t.Errorf("a second one: %v", err)
	}
	_ = unix.Close(first)
	again, err := Listen(path) // stale
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(again)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(file); err == nil {
		t.Error("a file was replaced")
	}
	if _, err := Listen("/nonexistent/log"); err == nil {
		t.Error("no error")
	}
}
