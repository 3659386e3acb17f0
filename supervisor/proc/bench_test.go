package proc

import (
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
)

// BenchmarkSpawn compares with the floor, which forks, executes and reaps and does nothing else. Quote ratios of one run.
func BenchmarkSpawn(b *testing.B) {
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	fd := int(null.Fd())
	env := []string{"PATH=" + DefaultPath, "HOME=/", "ZINIT_ID=x.1"}
	reap := func(pid int) {
		_ = ignoringEINTR(func() error { _, err := unix.Wait4(pid, nil, 0, nil); return err })
	}
	b.Run("floor", func(b *testing.B) {
		for b.Loop() {
			attr := &syscall.ProcAttr{Env: env, Files: []uintptr{uintptr(fd), uintptr(fd), uintptr(fd)}, Sys: &syscall.SysProcAttr{Setsid: true}}
			pid, err := syscall.ForkExec("/bin/true", []string{"true"}, attr)
			if err != nil {
				b.Fatal(err)
			}
			reap(pid)
		}
	})
	bench := func(name string, change func(*Spec)) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				s := &Spec{Plan: Plan{Path: "/bin/true", Argv: []string{"true"}}, Env: env, Files: []int{fd, fd, fd}}
				change(s)
				pid, err := Start(s)
				if err != nil {
					b.Fatal(err)
				}
				reap(pid)
			}
		})
	}
	bench("start", func(*Spec) {})
	bench("start with tag", func(s *Spec) { s.Tag = Tag("bench", 1) })
	bench("trampoline", func(s *Spec) { s.Identity = graph.Identity{Umask: intp(0o022)} })
	b.Run("cgroup of its own", func(b *testing.B) {
		root := testRoot(b)
		gen := uint64(0)
		for b.Loop() {
			gen++
			group, err := root.New("bench", gen, graph.Cgroup{})
			if err != nil {
				b.Fatal(err)
			}
			pid, err := Start(&Spec{Plan: Plan{Path: "/bin/true", Argv: []string{"true"}}, Env: env, Files: []int{fd, fd, fd}, Cgroup: group})
			if err != nil {
				b.Fatal(err)
			}
			reap(pid)
			if err := group.Remove(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkPrepare is what is done for a start before the fork.
func BenchmarkPrepare(b *testing.B) {
	base := BaseEnviron(os.Environ())
	c := &graph.Config{Name: "web", Exec: graph.Command{Line: "exec sleep 600"}, Env: map[string]string{"A": "1", "B": "2"}}
	for b.Loop() {
		env, err := Environ(base, c, 1, "ZINIT_INSTANCE=x")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := Resolve(c.Exec, true, env, ""); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReaper(b *testing.B) {
	r := NewReaper()
	b.Run("nothing dead", func(b *testing.B) {
		for b.Loop() {
			if _, ok := r.Next(); ok {
				b.Fatal("something is dead")
			}
		}
	})
	kept := exiting(b, 0)
	await(b, "it is dead", func() bool { _, ok := r.Next(); return ok })
	for range 200 {
		sleeper(b)
	}
	b.Run("nothing new with one kept and 200 children", func(b *testing.B) {
		for b.Loop() {
			if _, ok := r.Next(); ok {
				b.Fatal("something is dead")
			}
		}
	})
	r.Reap(kept)
}
