package survival

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/test/survival/storm"
)

// TestPIDFileAfterACrash: a service whose pid file is awaited when the server dies is ready when the file comes.
func TestPIDFileAfterACrash(t *testing.T) {
	dir := t.TempDir()
	pidFile, goOn := filepath.Join(dir, "pid"), filepath.Join(dir, "go")
	s := testkit.Start(t, map[string]string{"slow.toml": fmt.Sprintf("[service]\nname = \"slow\"\npid_file = %q\n"+
		"exec = 'while [ ! -e %s ]; do sleep 0.02; done; echo $$ > %s; exec sleep 1000'\n", pidFile, goOn, pidFile)},
		testkit.Options{Applet: "pid1"})
	var before wire.StatusFull
	s.Await("its process", func() bool {
		before, _ = s.Client().StatusFull(ctx, "slow")
		return before.PID > 0
	})
	killServer(t, s, storm.ServerOf(s.PID()))
	c := s.Client()
	s.AwaitState(c, "slow", "starting")
	if err := os.WriteFile(goOn, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if now := s.AwaitState(c, "slow", "running"); now.PID != before.PID {
		t.Errorf("pid %d, before %d", now.PID, before.PID)
	}
}

// TestUnusableJournal: a server that finds a state which it cannot read says why, and takes over what can be proven to
// run: never two copies, never a service that nobody watches, and nothing that an operator stopped starts without a word.
func TestUnusableJournal(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(b []byte)
		says  string
	}{
		{"of a newer version", makeNewer, "its state version is 99, this one reads up to"},
		{"damaged in the middle", func(b []byte) { copy(b[4096+64:], strings.Repeat("x", 64)) }, "damaged"},
		{"damaged at its head", func(b []byte) { copy(b, strings.Repeat("x", 128)) }, "damaged"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { unusable(t, test.spoil, test.says) })
	}
}

func unusable(t *testing.T, spoil func([]byte), says string) {
	notes := filepath.Join(t.TempDir(), "notes")
	s := testkit.Start(t, map[string]string{
		"one.toml":  fmt.Sprintf("[service]\nname = \"one\"\nexec = [%q]\nenv = {ZT_ROLE = \"run\", ZT_FILE = %q}\n", self(t), notes),
		"two.toml":  strings.ReplaceAll(sleeper, "one", "two"),
		"gone.toml": strings.ReplaceAll(sleeper, "one", "gone"),
	}, testkit.Options{Applet: "pid1"})
	c := s.Client()
	one := s.AwaitState(c, "one", "running")
	gone := s.AwaitState(c, "gone", "running")
	s.AwaitState(c, "two", "running")
	if _, err := c.Stop(ctx, "two", rpc.Change{Wait: true}); err != nil {
		t.Fatal(err)
	}
	s.Write(map[string]string{"gone.toml": ""}) // nobody can know what to do with it
	server := storm.ServerOf(s.PID())
	spoilJournal(t, server, spoil)
	killServer(t, s, server)
	c = s.Client()
	now := s.AwaitState(c, "one", "running")
	if now.PID != one.PID || now.Incarnation <= one.Incarnation {
		t.Errorf("%d.%d, before %d.%d", now.PID, now.Incarnation, one.PID, one.Incarnation)
	}
	two := s.AwaitState(c, "two", "running")
	s.Await("the end of what is not defined any more", func() bool { return syscall.Kill(gone.PID, 0) != nil })
	log := s.Logs()
	for _, want := range []string{says, "what can be proven to run is taken over", "had been stopped by hand, or had run to their end: two"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %q:\n%s", want, log)
		}
	}
	// What was taken over is a service like any other.
	for _, name := range []string{"one", "two"} {
		if _, err := c.Restart(ctx, name, rpc.Change{Wait: true}); err != nil {
			t.Errorf("restart of %s: %v", name, err)
		}
	}
	if again := s.AwaitState(c, "one", "running"); again.PID == one.PID || syscall.Kill(one.PID, 0) == nil {
		t.Errorf("after a restart pid %d, before %d", again.PID, one.PID)
	}
	if again := s.AwaitState(c, "two", "running"); again.PID == two.PID {
		t.Errorf("after a restart pid %d", again.PID)
	}
	if b, _ := os.ReadFile(notes); strings.Contains(string(b), "double") {
		t.Errorf("two copies at once:\n%s", b)
	}
}

// TestWithoutMemfd: where the kernel or a sandbox has no memfd_create(2) and no fallocate(2), a crash of the server and an
// upgrade lose nothing all the same.
func TestWithoutMemfd(t *testing.T) {
	for _, applet := range applets {
		w := newVersionWorld(t, testkit.Options{Applet: applet, Bin: self(t), Env: []string{"ZT_DENY=" + testkit.Binary(t, "")}})
		c := w.s.Client()
		pid := serverPIDOf(t, c)
		next := copyOf(t, testkit.Binary(t, ""), "next", nil)
		if _, err := c.Upgrade(ctx, next); err != nil {
			t.Fatalf("%s: %v\n%s", applet, err, w.s.Logs())
		}
		w.s.Await("the new executable", func() bool { return exeOf(pid) == next })
		w.same("an upgrade")
		if applet == "pid1" {
			killServer(t, w.s, pid)
			w.same("a crash")
		}
	}
}

// TestNoJournal: where there is not even room for a journal an upgrade is refused, and after a crash what runs is taken over,
// what an operator had stopped does not start without a word, also when that was all, and nothing collides with what
// services have left in their control groups.
func TestNoJournal(t *testing.T) {
	need.Root(t)
	const leaver = "[service]\nname = \"NAME\"\nexec = [\"sh\", \"-c\", \"setsid sleep 7011 </dev/null >/dev/null 2>&1 & exec sleep 7012\"]\n" +
		"[lifecycle]\nkill_mode = \"process\"\n"
	s := testkit.Start(t, map[string]string{"one.toml": strings.ReplaceAll(leaver, "NAME", "one"), "two.toml": strings.ReplaceAll(leaver, "NAME", "two")},
		testkit.Options{Applet: "pid1", Bin: self(t), Env: []string{"ZT_DENY=" + testkit.Binary(t, ""), "ZT_READ_ONLY=1"}})
	c := s.Client()
	one := s.AwaitState(c, "one", "running")
	s.AwaitState(c, "two", "running")
	if _, err := c.Upgrade(ctx, testkit.Binary(t, "")); err == nil || !strings.Contains(err.Error(), "this server has no journal") {
		t.Errorf("upgrade: %v", err)
	}
	stop := func(name string) {
		s.Await("what "+name+" will leave", func() bool {
			ps, err := c.StatusFull(ctx, name)
			return err == nil && len(ps.Processes) == 2
		})
		if ok, err := c.Stop(ctx, name, rpc.Change{Wait: true}); err != nil || len(ok.LeftRunning) != 1 {
			t.Errorf("stop %s: %+v %v", name, ok, err)
		}
	}
	crash := func(unknown string) {
		killServer(t, s, storm.ServerOf(s.PID()))
		c = s.Client()
		s.Await("a word about "+unknown, func() bool {
			return strings.Contains(s.Logs(), "had been stopped by hand, or had run to their end: "+unknown+"\n")
		})
	}
	stop("two")
	crash("two")
	if now := s.AwaitState(c, "one", "running"); now.PID != one.PID {
		t.Errorf("one is pid %d, before %d", now.PID, one.PID)
	}
	s.AwaitState(c, "two", "running")
	stop("one")
	stop("two")
	crash("one, two")
	for _, name := range []string{"one", "two"} {
		if now := s.AwaitState(c, name, "running"); now.Tracking == "cgroup" && now.Incarnation <= 4 {
			t.Errorf("%s is incarnation %d: four were there", name, now.Incarnation)
		}
	}
}

// spoilJournal changes the journal of a server, which does not write it while nothing happens.
func spoilJournal(t *testing.T, server int, change func([]byte)) {
	t.Helper()
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", server))
	for _, fd := range fds {
		if to, _ := os.Readlink(fd); !strings.Contains(to, "zinit-journal") {
			continue
		}
		f, err := os.OpenFile(fd, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		b := make([]byte, 8192)
		if _, err := f.ReadAt(b, 0); err != nil {
			t.Fatal(err)
		}
		change(b)
		if _, err := f.WriteAt(b, 0); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("server %d has no journal among %v", server, fds)
}

// makeNewer gives both heads of a journal (see supervisor/journal) the version 99.
func makeNewer(b []byte) {
	const headSize, versionAt, sumAt = 64, 8, 60
	for _, head := range [][]byte{b[:headSize], b[headSize : 2*headSize]} {
		binary.LittleEndian.PutUint32(head[versionAt:], 99)
		binary.LittleEndian.PutUint32(head[sumAt:], crc32.Checksum(head[:sumAt], crc32.MakeTable(crc32.Castagnoli)))
	}
}

// TestPrepareRestart: the soft restart of 0.3.9 keeps everything, and a follower is told that its stream ends here.
func TestPrepareRestart(t *testing.T) {
	for _, applet := range applets {
		t.Run(applet, func(t *testing.T) {
			bin := copyOf(t, testkit.Binary(t, ""), "zinit", nil)
			s := testkit.Start(t, map[string]string{"one.toml": sleeper}, testkit.Options{Applet: applet, Bin: bin})
			one := s.AwaitState(s.Client(), "one", "running")
			pid := serverPIDOf(t, s.Client())
			follower := dialPlain(t, s.Socket)
			fmt.Fprintln(follower, `{"jsonrpc":"2.0","id":1,"method":"logs.follow","params":{"name":"one"}}`)
			if line, err := follower.in.ReadString('\n'); err != nil || !strings.Contains(line, `"result"`) {
				t.Fatalf("%q, %v", line, err)
			}
			replaceFile(t, bin, nil) // so that one sees the new one come
			before := exeOf(pid)
			old := dialPlain(t, s.Socket)
			fmt.Fprintln(old, `{"jsonrpc":"2.0","id":2,"method":"system.prepare_restart"}`)
			if line, err := old.in.ReadString('\n'); err != nil || !strings.Contains(line, `"ready":true`) || !strings.Contains(line, `"state_path":"/`) {
				t.Fatalf("%q, %v", line, err)
			}
			s.Await("the new executable", func() bool { return exeOf(pid) == bin && before != bin })
			if now := s.AwaitState(s.Client(), "one", "running"); now.PID != one.PID || now.Incarnation != one.Incarnation {
				t.Errorf("pid %d incarnation %d, were %d %d", now.PID, now.Incarnation, one.PID, one.Incarnation)
			}
			told := ""
			for err := error(nil); err == nil; {
				var line string
				line, err = follower.in.ReadString('\n')
				told += line
			}
			if !strings.Contains(told, `"method":"end"`) {
				t.Errorf("the follower was not told that its stream ends: %q", told)
			}
		})
	}
}

// stopCounted begins the stop of a service "one" that counts in a file what reaches it, and returns when it has got its stop
// signal. noted counts a word in the file.
func stopCounted(t *testing.T, s *testkit.Server, notes string) (noted func(word string) int) {
	t.Helper()
	noted = func(word string) int { b, _ := os.ReadFile(notes); return strings.Count(string(b), word) }
	s.Await("the service", func() bool { return noted("ready") == 1 })
	if _, err := s.Client().Stop(ctx, "one", rpc.Change{}); err != nil {
		t.Fatal(err)
	}
	s.Await("the stop signal", func() bool { return noted("TERM") > 0 })
	if _, err := s.Client().Reload(ctx, true); err != nil { // whatever was under way in the server is done
		t.Fatal(err)
	}
	return noted
}

// TestOneStopSignal: a service that is being stopped gets its stop signal once, however many servers come and go.
func TestOneStopSignal(t *testing.T) {
	for _, applet := range applets {
		t.Run(applet, func(t *testing.T) {
			notes := filepath.Join(t.TempDir(), "notes")
			s := testkit.Start(t, map[string]string{"one.toml": fmt.Sprintf("[service]\nname = \"one\"\nexec = [%q]\nenv = {ZT_ROLE = \"count\", ZT_FILE = %q}\n"+
				"[lifecycle]\nstop_timeout_ms = 86400000\n", self(t), notes)}, testkit.Options{Applet: applet})
			noted := stopCounted(t, s, notes)
			images := [2]string{copyOf(t, s.Bin, "a", nil), copyOf(t, s.Bin, "b", nil)}
			upgrades := 0
			for round := range 6 {
				pid := serverPIDOf(t, s.Client())
				if applet == "pid1" && round%2 == 0 {
					killServer(t, s, pid)
				} else {
					image := images[upgrades%2] // never the one that runs, so that it is seen when the upgrade is done
					if _, err := s.Client().Upgrade(ctx, image); err != nil {
						t.Fatal(err)
					}
					s.Await("the new executable", func() bool { return exeOf(pid) == image })
					upgrades++
				}
				s.AwaitState(s.Client(), "one", "stopping")
			}
			if n := noted("TERM"); n != 1 {
				t.Errorf("the stop signal came %d times", n)
			}
			if _, err := s.Client().Kill(ctx, "one", "SIGKILL"); err != nil {
				t.Error(err)
			}
			s.Await("its end", func() bool {
				st, err := s.Client().StatusFull(ctx, "one")
				return err == nil && st.PID == 0
			})
		})
	}
}

// TestStopTimeoutGoesOn: a service that ignores its stop signal is killed in time, though no server lives for as long as
// its stop timeout.
func TestStopTimeoutGoesOn(t *testing.T) {
	const timeout, life = 5 * time.Second, time.Second
	notes := filepath.Join(t.TempDir(), "notes")
	s := testkit.Start(t, map[string]string{"one.toml": fmt.Sprintf("[service]\nname = \"one\"\nexec = [%q]\nenv = {ZT_ROLE = \"count\", ZT_FILE = %q}\n"+
		"[lifecycle]\nrestart = \"never\"\nstop_timeout_ms = %d\n", self(t), notes, timeout.Milliseconds())}, testkit.Options{Applet: "pid1"})
	noted := stopCounted(t, s, notes)
	began := time.Now()
	tick := time.NewTicker(life)
	defer tick.Stop()
	kills := 0
	for ended := false; !ended; <-tick.C {
		st, err := s.Client().StatusFull(ctx, "one")
		if ended = err == nil && st.PID == 0; ended {
			if st.LastExit == nil || st.LastExit.Signal == nil || *st.LastExit.Signal != int(syscall.SIGKILL) {
				t.Errorf("it ended with %+v", st.LastExit)
			}
			break
		}
		if time.Since(began) > wait.Patience {
			t.Fatalf("not killed after %v and %d servers", time.Since(began), kills)
		}
		if pid := storm.ServerOf(s.PID()); pid > 0 && syscall.Kill(pid, syscall.SIGKILL) == nil {
			kills++
		}
	}
	t.Logf("killed after at most %v, with a stop timeout of %v and %d servers killed meanwhile", time.Since(began), timeout, kills)
	if n := noted("TERM"); n != 1 || kills < 2 {
		t.Errorf("the stop signal came %d times, with %d servers killed", n, kills)
	}
}
