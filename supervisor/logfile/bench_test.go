package logfile

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/logring"
	"github.com/zinit/zinit/supervisor/output"
)

func init() { helpers["writer"] = helperWriter }

func helperWriter() {
	lines, _ := strconv.Atoi(os.Args[1])
	block := bytes.Repeat(append(bytes.Repeat([]byte("x"), 99), '\n'), 655)
	for n := lines; n > 0; n -= 655 {
		_, _ = os.Stdout.Write(block[:100*min(n, 655)])
	}
}

// W5 of the performance plan, to a file without loss: 2 M lines of 100 bytes through the ring into one file.
func BenchmarkW5File(b *testing.B) {
	const lines = 2_000_000
	var used time.Duration
	for b.Loop() {
		b.StopTimer()
		path := filepath.Join(b.TempDir(), "x.log")
		r, w, err := os.Pipe()
		if err != nil {
			b.Fatal(err)
		}
		cmd := exec.Command("/proc/self/exe", strconv.Itoa(lines))
		cmd.Env = append(os.Environ(), "ZINIT_LOGFILE_HELPER=writer", "GOMAXPROCS=1")
		cmd.Stdout = w
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		_ = w.Close()
		fd, _ := unix.FcntlInt(r.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		_ = r.Close()
		b.StartTimer()
		before := cpu()
		through(b, fd, path)
		used += cpu() - before
		b.StopTimer()
		_ = cmd.Wait()
		if st, err := os.Stat(path); err != nil || st.Size() != 100*lines {
			b.Fatalf("file: %v, %v", st, err)
		}
		_ = os.Remove(path)
		b.StartTimer()
	}
	b.ReportMetric(used.Seconds()/float64(b.N), "cpu-s/op")
}

func through(b *testing.B, fd int, path string) {
	a, err := logring.New(64 << 20)
	if err != nil {
		b.Fatal(err)
	}
	defer a.Close()
	fs := New(a, Options{})
	fs.Set("s", &Config{Path: path})
	closed := make(chan output.Source, 1)
	reader, err := output.New(a, output.Options{Closed: func(s output.Source) { closed <- s }})
	if err != nil {
		b.Fatal(err)
	}
	if err := reader.Add(fd, output.Source{Service: "s", Gen: 1}); err != nil {
		b.Fatal(err)
	}
	<-closed
	fs.Flush(b.Context())
	fs.Close(context.Background())
	reader.Stop()
}

func cpu() time.Duration {
	var ru unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &ru)
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}
