package e2e

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/internal/testkit/wait"
)

// TestChecksLeaveNothing: whatever a check runs, nothing of it is there when it has ended or its time is over, and nothing
// of it is taken for the service.
func TestChecksLeaveNothing(t *testing.T) {
	bothWays(t, func(t *testing.T, env []string) {
		m := mark(t, 60+len(env))
		dir := t.TempDir()
		check := func(name, line string) string {
			return service(name, sleeper+fmt.Sprintf("[health]\ntype = \"exec\"\ntarget = ['sh', '-c', '''echo x >>%s/%s; %s''']\n"+
				"interval_ms = 100\ntimeout_ms = 300\nretries = 1000000\n", dir, name, fmt.Sprintf(line, m)))
		}
		s := testkit.Start(t, map[string]string{
			"timeout.toml": check("timeout", "timeout 60 sleep %s || exit 1"),
			"setsid.toml":  check("setsid", "setsid -f sleep %s; exit 0"),
			"jobs.toml":    check("jobs", "set -m; sleep %s & wait"),
			"su.toml":      check("su", "setsid sh -c 'sleep %s & wait' & wait"),
			"gone.toml": service("gone", fmt.Sprintf("exec = 'sleep 0.4; exit 0'\n[lifecycle]\nrestart = \"never\"\n[health]\ntype = \"exec\"\n"+
				"target = ['sh', '-c', 'setsid sleep %s >/dev/null 2>&1 & sleep 0.01']\ninterval_ms = 100\n", m)),
		}, testkit.Options{Env: env})
		c := s.Client()
		s.AwaitState(c, "setsid", "running")
		if st := s.AwaitState(c, "gone", "exited"); st.PID != 0 {
			t.Errorf("a check's process was taken for the service: %+v", st)
		}
		for _, name := range []string{"timeout", "setsid", "jobs", "su"} {
			s.Await("ten checks of "+name, func() bool {
				data, _ := os.ReadFile(dir + "/" + name)
				return len(data) >= 20
			})
		}
		if n := len(marked(m)); n > 16 {
			t.Errorf("%d processes of four checks", n)
		}
		st, err := c.StatusFull(ctx, "timeout")
		if err != nil || len(st.Processes) != 1 {
			t.Errorf("the service has %+v %v", st.Processes, err)
		}
		for _, name := range []string{"timeout", "setsid", "jobs", "su"} {
			if _, stderr, code := s.Zinit("stop", name); code != 0 {
				t.Error(stderr)
			}
		}
		if !wait.Until(wait.Patience, func() bool { return len(marked(m)) == 0 }) {
			t.Errorf("left: %v", marked(m))
		}
	})
}

// TestServiceWithGroupsOfItsOwn: a service that enables controllers in its control group can be checked, reloaded and
// stopped by commands all the same.
func TestServiceWithGroupsOfItsOwn(t *testing.T) {
	need.Root(t)
	s := testkit.Start(t, map[string]string{"n.toml": service("n", `exec = """
g=$(awk '/ - cgroup2 / { print $5; exit }' /proc/self/mountinfo)$(sed -n 's/^0:://p' /proc/self/cgroup)
mkdir $g/in && echo $$ >$g/in/cgroup.procs && for c in $(cat $g/cgroup.controllers); do echo +$c >$g/cgroup.subtree_control || exit 7; done
echo divided $(cat $g/cgroup.subtree_control).
exec sleep 100000"""
reload = "echo reloaded"
stop_command = "echo stopping; kill $MAINPID"
post_stop = "echo stopped"
[health]
type = "exec"
target = "grep ^0:: /proc/self/cgroup"
`)}, testkit.Options{})
	c := s.Client()
	need.That(t, s.AwaitState(c, "n", "running").Cgroup != "", "cgroup v2")
	s.Await("groups of its own", hasLine(s, "n", "divided"))
	s.Await("a check in a group of its own", func() bool {
		st, err := c.StatusFull(ctx, "n")
		return err == nil && st.Health != nil && strings.Contains(st.Health.LastDetail, "/h-")
	})
	if _, stderr, code := s.Zinit("signal-reload", "n"); code != 0 {
		t.Fatal(stderr)
	}
	s.Await("the reload command", hasLine(s, "n", "reloaded"))
	if _, stderr, code := s.Zinit("stop", "n"); code != 0 {
		t.Fatal(stderr)
	}
	for _, line := range []string{"stopping", "stopped"} {
		s.Await(line, hasLine(s, "n", line))
	}
}

// deafDisk mounts a file system that answers nothing but that it is there: who looks into it cannot even be killed, until
// free is called.
func deafDisk(t *testing.T) (dir string, free func()) {
	t.Helper()
	need.Root(t)
	dir = t.TempDir()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	need.That(t, err == nil, "/dev/fuse")
	if err := unix.Mount("zinit-test", dir, "fuse.zinit-test", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)); err != nil {
		need.That(t, false, "FUSE: "+err.Error())
	}
	unmount := func() { _ = unix.Unmount(dir, unix.MNT_FORCE|unix.MNT_DETACH) } // MNT_FORCE ends what waits
	t.Cleanup(unmount)
	go func() {
		buf := make([]byte, 1<<17)
		for {
			n, err := unix.Read(fd, buf)
			switch {
			case err == unix.EINTR:
			case err != nil:
				unix.Close(fd)
				return
			case binary.NativeEndian.Uint32(buf[4:]) == fuseInit:
				_, _ = unix.Write(fd, fuseAnswer(buf[:n]))
			}
		}
	}()
	return dir, unmount
}

// TestHelperThatCannotBeKilled: a command in an uninterruptible sleep holds up neither the checks nor a stop.
func TestHelperThatCannotBeKilled(t *testing.T) {
	bothWays(t, func(t *testing.T, env []string) {
		dir, free := deafDisk(t)
		s := testkit.Start(t, map[string]string{
			"sick.toml": service("sick", sleeper+fmt.Sprintf("[lifecycle]\nrestart = \"never\"\n[health]\ntype = \"exec\"\n"+
				"target = 'test -e %[1]s/ready || stat %[1]s/disk/x'\ninterval_ms = 100\ntimeout_ms = 300\nretries = 3\n", dirOf(t, dir))),
			"slow.toml": service("slow", sleeper+fmt.Sprintf("stop_command = 'stat %s/x'\n[lifecycle]\nstop_timeout_ms = 1000\n", dir)),
		}, testkit.Options{Env: env})
		c := s.Client()
		s.AwaitState(c, "slow", "running")
		s.AwaitState(c, "sick", "running")
		if err := os.Remove(dirOf(t, dir) + "/ready"); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, stderr, code := s.Zinit("stop", "slow"); code != 0 {
			t.Error(stderr)
		}
		if took := time.Since(start); took > wait.Patience/2 {
			t.Errorf("the stop took %v", took)
		}
		if st := s.AwaitState(c, "sick", "failed"); !strings.Contains(st.Cause, "is there after SIGKILL still, in an uninterruptible sleep") {
			t.Errorf("cause: %q", st.Cause)
		}
		if runs := len(marked(dir)); runs != 2 { // of the stop command and of one check
			t.Errorf("%d commands hang, want 2", runs)
		}
		free()
		s.Await("the commands to end", func() bool { return len(marked(dir)) == 0 })
	})
}

// dirOf is a folder beside a disk, with a file "ready" in it and the disk as "disk".
func dirOf(t *testing.T, disk string) string {
	t.Helper()
	dir := disk + ".beside"
	if _, err := os.Lstat(dir); err == nil {
		return dir
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Symlink(disk, dir+"/disk"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/ready", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}
