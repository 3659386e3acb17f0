//go:build amd64 || arm64

package proc

import (
	"fmt"
	"math/rand"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// highCopy is a descriptor with a number that no child copies.
func highCopy(t *testing.T, fd int) int {
	t.Helper()
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3*copied)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(high) })
	return high
}

// TestSharedTable gives children high and low descriptors in random places: each gets those, and no other, and the
// supervisor has all of its own afterwards.
func TestSharedTable(t *testing.T) {
	dir := t.TempDir()
	var fds []int
	for i := range 4 {
		f, err := os.Create(dir + "/" + strconv.Itoa(i))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		fds = append(fds, int(f.Fd()), highCopy(t, int(f.Fd())))
	}
	start := func(s *Spec) {
		t.Helper()
		if st := waitPID(mustStart(t, s)); st.Code != 0 || st.Signal != 0 {
			t.Fatalf("files %v: %+v", s.Files, st)
		}
	}
	start(&Spec{Plan: Plan{Path: "/bin/true", Argv: []string{"true"}}, Files: []int{-1, fds[1], fds[3]}})
	before := ownDescriptors(t)
	defer unshareRefused.Store(false)
	for seed := range int64(100) {
		r := rand.New(rand.NewSource(seed))
		unshareRefused.Store(seed%5 == 0) // the way without
		o := newOutput(t)
		write, err := unix.FcntlInt(o.w.Fd(), unix.F_DUPFD_CLOEXEC, 3*copied)
		if err != nil {
			t.Fatal(err)
		}
		files := []int{-1, write, -1}
		for range r.Intn(5) {
			files = append(files, append(fds, -1, 0, 2)[r.Intn(len(fds)+3)])
		}
		var want []string
		for i, fd := range files {
			if to, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)); err == nil && strings.Contains(to, dir) {
				want = append(want, fmt.Sprintf("%d %s", i, to))
			}
		}
		script := `for f in /proc/$$/fd/*; do echo ${f##*/} $(readlink $f); done`
		start(&Spec{Plan: Plan{Path: "/bin/bash", Argv: []string{"bash", "-c", script}}, Files: files})
		unix.Close(write)
		got := strings.Split(strings.TrimSpace(o.all(t)), "\n")
		got = slices.DeleteFunc(got, func(line string) bool { return !strings.Contains(line, dir) }) // bash has some of its own
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d, files %v: the child has %q, want %q", seed, files, got, want)
		}
		o.r.Close()
	}
	if after := ownDescriptors(t); after != before {
		t.Errorf("the supervisor has other descriptors than before\n%s", difference(before, after))
	}
}

// ownDescriptors says what the low descriptors of this process refer to.
func ownDescriptors(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	for fd := range copied {
		to, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
		if err == nil && !strings.HasPrefix(to, "/proc/") && !strings.HasPrefix(to, "pipe:") {
			fmt.Fprintln(&text, fd, to)
		}
	}
	return text.String()
}

// TestNothingStaysLent: when Start has returned nobody but the child holds its end of a pipe.
func TestNothingStaysLent(t *testing.T) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ends[0])
	high, err := unix.FcntlInt(uintptr(ends[1]), unix.F_DUPFD_CLOEXEC, 3*copied)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(ends[1])
	waitPID(mustStart(t, &Spec{Plan: Plan{Path: "/bin/true", Argv: []string{"true"}}, Files: []int{-1, high, high}}))
	unix.Close(high)
	fds := []unix.PollFd{{Fd: int32(ends[0]), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, 10_000); n != 1 || fds[0].Revents&unix.POLLHUP == 0 {
		t.Errorf("the pipe has no end: %d %v %x", n, err, fds[0].Revents)
	}
}

// TestUnshareRefused plays kernels and filters that refuse the first call of a child with a shared table: nothing else
// may be done there, and the start succeeds as it did before.
func TestUnshareRefused(t *testing.T) {
	o := newOutput(t)
	pid := mustStart(t, &Spec{Plan: Plan{Path: "/proc/self/exe", Argv: []string{"helper"}},
		Files: o.files(t), Env: []string{helperVariable + "=unshare"}})
	if got := o.all(t); got != "hello\nhello\nrefused true, clone3 false, 1 intact\n" {
		t.Errorf("got %q", got)
	}
	waitPID(pid)
}

func init() {
	helpers["unshare"] = func([]string) {
		if err := filterSyscall(unix.SYS_CLOSE_RANGE, uint32(syscall.ENOSYS)); err != nil {
			fmt.Println(err)
			return
		}
		for range 2 {
			pid, err := Start(&Spec{Plan: Plan{Path: "/bin/echo", Argv: []string{"echo", "hello"}}, Files: []int{-1, 1, 2}})
			if err != nil {
				fmt.Println(err.Detail)
				return
			}
			waitPID(pid)
		}
		var st unix.Stat_t
		intact := 0
		if unix.Fstat(0, &st) == nil {
			intact++
		}
		fmt.Printf("refused %v, clone3 %v, %d intact\n", unshareRefused.Load(), cloneRefused.Load(), intact)
	}
}

// BenchmarkStartAmongMany starts where the supervisor holds as many descriptors as with a thousand services.
func BenchmarkStartAmongMany(b *testing.B) {
	for _, way := range []struct {
		name    string
		refused bool
	}{{"shared", false}, {"copied", true}} {
		b.Run(way.name, func(b *testing.B) {
			unshareRefused.Store(way.refused)
			defer unshareRefused.Store(false)
			reservePrograms(programsReady)
			null := EmptyInput()
			var held []int
			for range 2000 {
				fd, err := unix.FcntlInt(uintptr(null), unix.F_DUPFD_CLOEXEC, copied)
				if err != nil {
					b.Fatal(err)
				}
				held = append(held, fd)
			}
			defer func() {
				for _, fd := range append(held, null) {
					unix.Close(fd)
				}
			}()
			last := held[len(held)-1]
			for b.Loop() {
				pid, err := Start(&Spec{Plan: Plan{Path: "/bin/true", Argv: []string{"true"}}, Files: []int{null, last, last}})
				if err != nil {
					b.Fatal(err)
				}
				_, _ = unix.Wait4(pid, nil, 0, nil)
			}
		})
	}
}

// TestProgramByDescriptor: a program that is named by a descriptor of the supervisor's, as an upgrade tries the new file, is
// found whatever number that has.
func TestProgramByDescriptor(t *testing.T) {
	f, err := os.Open("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, fd := range []int{int(f.Fd()), highCopy(t, int(f.Fd()))} {
		path := "/proc/self/fd/" + strconv.Itoa(fd)
		if st := waitPID(mustStart(t, &Spec{Plan: Plan{Path: path, Argv: []string{"true"}}})); st.Code != 0 || st.Signal != 0 {
			t.Errorf("%s: %+v", path, st)
		}
	}
}
