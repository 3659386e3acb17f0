package logfile

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/logring"
	"github.com/zinit/zinit/supervisor/output"
)

func init() {
	helpers["server"] = helperServer
	helpers["full"] = helperFullDisk
}

// helperServer opens the arena (3), reads the pipe (4) of service s and writes the file that the argument names.
func helperServer() {
	a, err := logring.Open(3)
	if err != nil {
		panic(err)
	}
	r, err := output.New(a, output.Options{})
	if err != nil {
		panic(err)
	}
	fs := New(a, Options{})
	fs.Set("s", &Config{Path: os.Args[1], Rotate: 64 << 10, Keep: 10_000, Gzip: true})
	if err := r.Add(4, output.Source{Service: "s", Gen: 1}); err != nil {
		panic(err)
	}
	a.FlushUnclaimed(0)
	_, _ = os.Stdout.Write([]byte("ready\n"))
	_, _ = os.Stdin.Read(make([]byte, 1))
	r.Drain([]uint64{1})
	ctx, cancel := context.WithTimeout(context.Background(), wait.Patience)
	defer cancel()
	fs.Flush(ctx)
	fs.Close(context.Background())
}

// The server is killed again and again while it writes and rotates: the files together have each line once, in order.
func TestWriterIsKilled(t *testing.T) {
	a, err := logring.New(8 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	a.Ring("s", logring.Limits{}).Append(logring.Record{Text: []byte("0")})
	path := filepath.Join(t.TempDir(), "x.log")
	m, _ := a.Ring("s", logring.Limits{}).Mark("file:" + path)
	m.Set(logring.Position{Seq: 1})
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	total := make(chan int)
	stop := make(chan struct{})
	go func() {
		n := 1
		for {
			var b []byte
			for range 1 + rand.IntN(500) {
				b = append(strconv.AppendInt(b, int64(n), 10), '\n')
				n++
			}
			_, _ = write.Write(b)
			select {
			case <-stop:
				total <- n
				return
			default:
			}
		}
	}()
	const kills = 100
	for life := range kills {
		cmd, hold := startServer(t, a.FD(), read, path)
		if life < kills-1 {
			time.Sleep(time.Duration(rand.IntN(10_000)) * time.Microsecond) // nothing is waited for: the kill comes at any instant
			_ = cmd.Process.Kill()
		} else {
			close(stop)
			want := <-total
			_ = hold.Close()
			_ = cmd.Wait()
			checkFiles(t, path, want)
		}
		_ = cmd.Wait()
		_ = hold.Close()
	}
}

func startServer(t *testing.T, arena int, pipe *os.File, path string) (*exec.Cmd, *os.File) {
	t.Helper()
	dup, err := unix.FcntlInt(uintptr(arena), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	memfd := os.NewFile(uintptr(dup), "arena")
	defer memfd.Close()
	stdin, hold, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	cmd := exec.Command("/proc/self/exe", path)
	cmd.Env = append(os.Environ(), "ZINIT_LOGFILE_HELPER=server")
	cmd.ExtraFiles = []*os.File{memfd, pipe}
	cmd.Stdin, cmd.Stderr = stdin, os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if n, _ := out.Read(make([]byte, 100)); n == 0 {
		t.Fatal("the server does not start")
	}
	return cmd, hold
}

// checkFiles reads PATH and its older ones, oldest first.
func checkFiles(t *testing.T, path string, want int) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	type part struct {
		n    int
		name string
	}
	var parts []part
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".tmp") {
			continue // the compression that was killed
		}
		var n int
		_, _ = fmt.Sscanf(strings.TrimPrefix(e.Name(), "x.log"), ".%d", &n)
		parts = append(parts, part{n, filepath.Join(filepath.Dir(path), e.Name())})
	}
	slices.SortFunc(parts, func(x, y part) int { return y.n - x.n })
	next := 0
	for i, p := range parts {
		if i > 0 && parts[i-1].n == p.n {
			continue // .1 and .1.gz
		}
		for line := range strings.Lines(content(t, p.name)) {
			if line != strconv.Itoa(next)+"\n" {
				t.Fatalf("%s: got %q, want %d", p.name, line, next)
			}
			next++
		}
	}
	if next != want {
		t.Errorf("%d lines, want %d", next, want)
	}
	t.Logf("%d lines in %d files", next, len(parts))
}

// A full disk: a tiny tmpfs in a private mount namespace.
func TestFullDisk(t *testing.T) {
	need.Root(t)
	cmd := exec.Command("/proc/self/exe", t.TempDir())
	cmd.Env = append(os.Environ(), "ZINIT_LOGFILE_HELPER=full")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "fine\n" {
		t.Errorf("%v\n%s", err, out)
	}
}

func helperFullDisk() {
	fail := func(format string, args ...any) {
		fmt.Printf(format+"\n", args...)
		os.Exit(1)
	}
	dir := os.Args[1]
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		fail("private mounts: %v", err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		fail("tmpfs: %v", err)
	}
	a, err := logring.New(8 << 20)
	if err != nil {
		fail("%v", err)
	}
	fs := New(a, Options{RetryMin: time.Millisecond, RetryMax: 5 * time.Millisecond})
	path := filepath.Join(dir, "x.log")
	fs.Set("s", &Config{Path: path})
	ring := a.Ring("s", logring.Limits{})
	write := func(n int) {
		for i := range n {
			ring.Append(logring.Record{Text: fmt.Appendf(nil, "%d %s", i, strings.Repeat("x", 90))})
		}
	}
	until := func(what string, f func(s wireSink) bool) wireSink {
		var s wireSink
		if !wait.Until(wait.Patience, func() bool { s, _ = fs.Sink("s"); return f(s) }) {
			fail("waited for %s: %+v", what, s)
		}
		return s
	}
	write(2000) // 190 KB
	s := until("errors", func(s wireSink) bool { return s.Errors > 3 })
	if !strings.Contains(s.Last, "no space") {
		fail("full: %+v", s)
	}
	if ring.Congested() {
		fail("a full disk holds the service")
	}
	if err := unix.Mount("", dir, "tmpfs", unix.MS_REMOUNT, "size=1m"); err != nil {
		fail("remount: %v", err)
	}
	until("writing to go on", func(s wireSink) bool { return s.Last == "" && s.Queued == 0 && s.Written+s.Lost == 2000 })
	// While the file is still open, for an instant after the last line, the kernel says EBUSY.
	until("a remount", func(wireSink) bool { return unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, "") == nil })
	write(1)
	until("EROFS", func(s wireSink) bool { return strings.Contains(s.Last, "read-only") })
	_ = unix.Mount("", dir, "", unix.MS_REMOUNT, "")
	s = until("all to be written", func(s wireSink) bool { return s.Queued == 0 && s.Written+s.Lost == 2001 })
	b, err := os.ReadFile(path)
	if err != nil || !strings.HasSuffix(string(b), "\n0 "+strings.Repeat("x", 90)+"\n") {
		fail("the file ends in %.100q, %v; %+v", b[max(0, len(b)-100):], err, s)
	}
	fmt.Println("fine")
}
