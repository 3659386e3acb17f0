package output

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/logring"
)

// W5 of the performance plan: lines of 100 bytes through the ring, beside a floor that only empties the pipes (one epoll,
// one buffer), in the same run. The writers are other processes; CPU is this process's own.
//
//	go test -bench W5 -benchtime 3x ./supervisor/output

func init() { helpers["writer"] = helperWriter }

// helperWriter writes the lines: arguments are their number and the bytes of a write.
func helperWriter() {
	lines, _ := strconv.Atoi(os.Args[1])
	block, _ := strconv.Atoi(os.Args[2])
	line := append(bytes.Repeat([]byte("x"), 99), '\n')
	buf := bytes.Repeat(line, block/100+2)
	for total := lines * 100; total > 0; total -= block {
		if _, err := os.Stdout.Write(buf[:min(block, total)]); err != nil {
			os.Exit(1)
		}
	}
}

func startWriter(b *testing.B, lines, block int) (int, *exec.Cmd) {
	r, w, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", strconv.Itoa(lines), strconv.Itoa(block))
	cmd.Env = append(os.Environ(), "ZINIT_OUTPUT_HELPER=writer", "GOMAXPROCS=1")
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	_ = w.Close()
	fd, err := unix.FcntlInt(r.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	_ = r.Close()
	return fd, cmd
}

func cpu() time.Duration {
	var ru unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &ru)
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// measure runs drain over fresh writers and reports wall and CPU seconds.
func measure(b *testing.B, services, lines, block int, drain func(fds []int)) {
	var used time.Duration
	for b.Loop() {
		b.StopTimer()
		var fds []int
		var cmds []*exec.Cmd
		for range services {
			fd, cmd := startWriter(b, lines, block)
			fds, cmds = append(fds, fd), append(cmds, cmd)
		}
		b.StartTimer()
		before := cpu()
		drain(fds)
		used += cpu() - before
		b.StopTimer()
		for _, cmd := range cmds {
			_ = cmd.Wait()
		}
		b.StartTimer()
	}
	b.ReportMetric(used.Seconds()/float64(b.N), "cpu-s/op")
	b.ReportMetric(float64(used.Nanoseconds())/float64(b.N)/float64(services*lines), "cpu-ns/line")
}

func drainFloor(fds []int) {
	ep, _ := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	defer unix.Close(ep)
	for _, fd := range fds {
		_ = unix.SetNonblock(fd, true)
		_ = unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
	}
	buf := make([]byte, 64<<10)
	events := make([]unix.EpollEvent, 256)
	for open := len(fds); open > 0; {
		n, _ := unix.EpollWait(ep, events, -1)
		for i := range max(n, 0) {
			fd := int(events[i].Fd)
			if k, err := unix.Read(fd, buf); k == 0 && err == nil {
				_ = unix.EpollCtl(ep, unix.EPOLL_CTL_DEL, fd, nil)
				_ = unix.Close(fd)
				open--
			}
		}
	}
}

func drainRing(b *testing.B) func(fds []int) {
	return func(fds []int) {
		a, err := logring.New(256 << 20)
		if err != nil {
			b.Fatal(err)
		}
		defer a.Close()
		closed := make(chan Source, len(fds))
		r, err := New(a, Options{Closed: func(s Source) { closed <- s }})
		if err != nil {
			b.Fatal(err)
		}
		for i, fd := range fds {
			if err := r.Add(fd, Source{Service: fmt.Sprintf("s%d", i), Gen: uint64(i + 1)}); err != nil {
				b.Fatal(err)
			}
		}
		for range fds {
			<-closed
		}
		r.Stop()
	}
}

func BenchmarkW5(b *testing.B) {
	for _, w := range []struct{ services, lines, block int }{{1, 2_000_000, 64 << 10}, {1, 2_000_000, 4 << 10}, {1, 200_000, 100}, {100, 20_000, 4 << 10}} {
		name := fmt.Sprintf("services=%d/lines=%d/write=%d", w.services, w.lines, w.block)
		b.Run(name+"/floor", func(b *testing.B) { measure(b, w.services, w.lines, w.block, drainFloor) })
		b.Run(name+"/ring", func(b *testing.B) { measure(b, w.services, w.lines, w.block, drainRing(b)) })
	}
}
