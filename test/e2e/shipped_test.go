package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
)

// inMounts is a script that runs the binary in a mount namespace of its own, after some lines of shell.
func inMounts(t *testing.T, lines string, flags ...string) string {
	t.Helper()
	need.Root(t)
	need.Program(t, "unshare")
	path := filepath.Join(t.TempDir(), "zinit-in-mounts")
	text := fmt.Sprintf("#!/bin/sh\nexec unshare --mount --propagation private %s sh -e -c '%s\nexec %s \"$@\"' sh \"$@\"\n",
		strings.Join(flags, " "), lines, testkit.Binary(t, ""))
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestShippedFuseMount: the oneshot fuse-mounts of 0.3.9, with a real FUSE file system: done when its command is, what
// requires it reads from the mount, its daemon is shown, and the stop ends daemon and mount.
func TestShippedFuseMount(t *testing.T) {
	bothWays(t, func(t *testing.T, env []string) {
		dir := t.TempDir()
		s := testkit.Start(t, map[string]string{
			"system/fuse-mounts.toml": service("fuse-mounts", "oneshot = true\nclass = \"system\"\ncritical = true\n"+helper(t, "fuse "+dir)),
			"system/udevd-reload.toml": service("udevd-reload", "oneshot = true\nclass = \"system\"\nexec = \"cat "+dir+"/hello && echo read\"\n"+
				"[dependencies]\nrequires = [\"fuse-mounts\"]\n"),
		}, testkit.Options{Bin: inMounts(t, ""), Env: env, Args: []string{"--pid1-mode"}})
		s.Bin = testkit.Binary(t, "")
		c := s.Client()
		mounts := func() string {
			b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", s.PID()))
			for line := range strings.Lines(string(b)) {
				if strings.Contains(line, " "+dir+" ") {
					return line
				}
			}
			return ""
		}
		for range 2 {
			s.AwaitState(c, "fuse-mounts", "exited")
			s.AwaitState(c, "udevd-reload", "exited")
			s.Await("what the file says", hasLine(s, "udevd-reload", "read"))
			if m := mounts(); m == "" {
				t.Fatal("nothing is mounted")
			} else if !strings.Contains(m, " fuse.") {
				t.Logf("no FUSE on this machine, a tmpfs stands in: %s", m)
			} else if !hasLine(s, "udevd-reload", "hello from FUSE")() {
				t.Error("the file is not what the daemon serves")
			}
			var daemon int
			s.Await("the daemon to be the only process of the oneshot", func() bool {
				st, err := c.StatusFull(ctx, "fuse-mounts")
				if err == nil && len(st.Processes) == 1 {
					daemon = st.Processes[0].PID
				}
				return daemon > 0
			})
			if _, stderr, code := s.Zinit("stop", "fuse-mounts"); code != 0 {
				t.Fatalf("stop: %d %s", code, stderr)
			}
			if alive(daemon) || mounts() != "" {
				t.Errorf("after the stop: daemon %d alive %v, mount %q", daemon, alive(daemon), mounts())
			}
			if _, stderr, code := s.Zinit("start", "udevd-reload"); code != 0 { // pulls in the mount
				t.Fatalf("start: %d %s", code, stderr)
			}
		}
		if code := s.Stop(syscall.SIGTERM); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
}

// TestShippedUdevd: Debian's systemd-udevd --daemon under 0.3.9's definition, which calls it a service that always
// restarts: the daemon becomes the main process, answers, is not started again, comes back when killed, and ends with its
// stop. It has namespaces of its own, without rules, so that it touches nothing here.
func TestShippedUdevd(t *testing.T) {
	udevd := "/usr/lib/systemd/systemd-udevd"
	if _, err := os.Stat(udevd); err != nil {
		udevd = "/lib/systemd/systemd-udevd"
		_, err = os.Stat(udevd)
		need.That(t, err == nil, "systemd-udevd (package udev)")
	}
	need.Program(t, "udevadm")
	bothWays(t, func(t *testing.T, env []string) {
		rules := "[ ! -d /usr/lib/udev/rules.d ] || mount -t tmpfs none /usr/lib/udev/rules.d; [ ! -d /etc/udev/rules.d ] || mount -t tmpfs none /etc/udev/rules.d"
		s := testkit.Start(t, map[string]string{
			"system/udevd.toml": service("udevd", fmt.Sprintf("exec = \"%s --daemon\"\nclass = \"system\"\ncritical = true\n", udevd)+
				"[lifecycle]\nrestart = \"always\"\nrestart_delay_ms = 20\n"),
			"system/udev-settle.toml": service("udev-settle", "exec = \"udevadm control --ping && udevadm settle && echo settled\"\noneshot = true\nclass = \"system\"\n"+
				"[dependencies]\nrequires = [\"udevd\"]\n[lifecycle]\nrestart = \"on-failure\"\nrestart_delay_ms = 20\n"),
		}, testkit.Options{Bin: inMounts(t, "mkdir -p /run/udev; mount -t tmpfs none /run/udev; "+rules, "--net"), Env: env, Args: []string{"--pid1-mode"}})
		s.Bin = testkit.Binary(t, "")
		c := s.Client()
		s.AwaitState(c, "udev-settle", "exited")
		s.Await("udevadm's answer", hasLine(s, "udev-settle", "settled"))
		daemonized := func(but int) (pid int) {
			s.Await("the daemon to be the main process", func() bool {
				st, err := c.StatusFull(ctx, "udevd")
				pid = st.PID
				return err == nil && st.State.State == "running" && len(st.Warnings) > 0 && pid != but
			})
			return pid
		}
		first := daemonized(0)
		if st, _ := c.StatusFull(ctx, "udevd"); st.Restarts != 0 {
			t.Errorf("%d restarts of a daemon that went into the background", st.Restarts)
		}
		if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		second := daemonized(first)
		if _, stderr, code := s.Zinit("stop", "udevd"); code != 0 {
			t.Fatalf("stop: %d %s", code, stderr)
		}
		if alive(first) || alive(second) {
			t.Error("a udevd lives after the stop")
		}
	})
}
