package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
)

// procFile reads a file of a process that a test looks at.
func procFile(t *testing.T, pid int, name string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// statusField is a line of /proc/PID/status, its words joined by single blanks.
func statusField(t *testing.T, pid int, name string) string {
	t.Helper()
	for line := range strings.SplitSeq(procFile(t, pid, "status"), "\n") {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.Join(strings.Fields(v), " ")
		}
	}
	t.Fatalf("process %d has no %s", pid, name)
	return ""
}

type limitRow struct{ name, row, soft, hard string }

// limitRows are the limits by name, as /proc/PID/limits calls them, with a value that is unlike any default.
var limitRows = []limitRow{
	{"cpu", "Max cpu time", "3601", "3602"},
	{"fsize", "Max file size", "123456", "234567"},
	{"data", "Max data size", "1111111111", "2222222222"},
	{"stack", "Max stack size", "4194304", "8388608"},
	{"core", "Max core file size", "0", "0"},
	{"rss", "Max resident set", "33333333", "44444444"},
	{"nproc", "Max processes", "5001", "6001"},
	{"nofile", "Max open files", "700", "800"},
	{"memlock", "Max locked memory", "65536", "131072"},
	{"as", "Max address space", "3333333333", "4444444444"},
	{"locks", "Max file locks", "77", "88"},
	{"sigpending", "Max pending signals", "99", "111"},
	{"msgqueue", "Max msgqueue size", "12345", "23456"},
	{"nice", "Max nice priority", "5", "6"},
	{"rtprio", "Max realtime priority", "7", "8"},
	{"rttime", "Max realtime timeout", "1000000", "2000000"},
}

// lower takes what the machine allows where the test has no CAP_SYS_RESOURCE and its own hard limit is below.
func (l *limitRow) lower(t *testing.T) {
	mine, err := strconv.ParseUint(statusField(t, os.Getpid(), "CapEff"), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(limitOf(procFile(t, os.Getpid(), "limits"), l.row))
	want, _ := strconv.ParseUint(l.hard, 10, 64)
	if most, err := strconv.ParseUint(f[1], 10, 64); mine&(1<<unix.CAP_SYS_RESOURCE) == 0 && err == nil && want > most {
		l.soft, l.hard = f[1], f[1]
	}
}

// limitOf finds a row in the text of /proc/PID/limits.
func limitOf(text, row string) string {
	for line := range strings.SplitSeq(text, "\n") {
		if rest, ok := strings.CutPrefix(line, row+" "); ok {
			return rest
		}
	}
	return ""
}

// TestLimitsByName sets every limit of getrlimit(2) and reads it back from the kernel, for another user and root.
func TestLimitsByName(t *testing.T) {
	need.Root(t)
	var words []string
	for i := range limitRows {
		l := &limitRows[i]
		l.lower(t)
		words = append(words, fmt.Sprintf("%s = %q", l.name, l.soft+":"+l.hard))
	}
	limits := "limits = {" + strings.Join(words, ", ") + "}\n"
	s := testkit.Start(t, map[string]string{
		"root.toml":   service("root", sleeper+limits),
		"nobody.toml": service("nobody", sleeper+limits+"user = \"nobody\"\n"),
		"open.toml":   service("open", sleeper+"limits = {nofile = \"infinity\"}\n[lifecycle]\nrestart = \"never\"\n"),
		"plain.toml":  service("plain", sleeper),
	}, testkit.Options{})
	c := s.Client()
	for _, name := range []string{"root", "nobody"} {
		pid := s.AwaitState(c, name, "running").PID
		text := procFile(t, pid, "limits")
		for _, l := range limitRows {
			row := limitOf(text, l.row)
			if f := strings.Fields(row); len(f) < 2 || f[0] != l.soft || f[1] != l.hard {
				t.Errorf("%s: %s is %q, want %s:%s", name, l.name, row, l.soft, l.hard)
			}
		}
	}
	// Above fs.nr_open not even root may go: the start fails, nothing runs with less.
	st := s.AwaitState(c, "open", "failed")
	if r := st.State.Reason; r.Type != "spawn_error" || r.Kind != "limits" || !strings.Contains(r.Message, "nofile") {
		t.Errorf("a limit that cannot be set: %+v", r)
	}
	// Without any key there is no trampoline and the limits are the server's own.
	plain := s.AwaitState(c, "plain", "running").PID
	own := strings.Split(procFile(t, s.Command.Process.Pid, "limits"), "\n")
	for i, line := range strings.Split(procFile(t, plain, "limits"), "\n") {
		if i < len(own) && line != own[i] && !strings.Contains(line, "realtime timeout") && !strings.Contains(line, "open files") {
			t.Errorf("a plain service has %q, the server %q", line, own[i])
		}
	}
}

// TestIdentityKeys sets every identity key and reads it back from the kernel.
func TestIdentityKeys(t *testing.T) {
	need.Root(t)
	s := testkit.Start(t, map[string]string{
		"names.toml":   service("names", sleeper+"user = \"nobody\"\ngroup = \"daemon\"\ngroups = [\"games\", \"12\"]\numask = \"0077\"\nnice = 7\noom_score_adj = 300\nno_new_privileges = true\n"),
		"numbers.toml": service("numbers", sleeper+"user = \"12345\"\ngroup = \"23456\"\ngroups = []\n"),
		"keep.toml":    service("keep", sleeper),
		"caps.toml":    service("caps", sleeper+"user = \"nobody\"\ncapabilities = {bounding = [\"NET_BIND_SERVICE\", \"CAP_CHOWN\"], ambient = [\"CAP_NET_BIND_SERVICE\"]}\n"),
		"drop.toml":    service("drop", sleeper+"capabilities = {bounding = []}\n"),
	}, testkit.Options{})
	c := s.Client()
	pid := map[string]int{}
	for _, name := range []string{"names", "numbers", "keep", "caps", "drop"} {
		pid[name] = s.AwaitState(c, name, "running").PID
	}
	for _, want := range []struct{ service, field, value string }{
		{"names", "Uid", "65534 65534 65534 65534"},
		{"names", "Gid", "1 1 1 1"},
		{"names", "Groups", "12 60"},
		{"names", "Umask", "0077"},
		{"names", "NoNewPrivs", "1"},
		{"names", "CapEff", "0000000000000000"},
		{"numbers", "Uid", "12345 12345 12345 12345"},
		{"numbers", "Gid", "23456 23456 23456 23456"},
		{"numbers", "Groups", ""},
		{"keep", "Uid", "0 0 0 0"},
		{"keep", "Umask", "0022"},
		{"keep", "NoNewPrivs", "0"},
		{"keep", "SigBlk", "0000000000000000"},
		{"keep", "SigIgn", "0000000000000000"},
		{"caps", "Uid", "65534 65534 65534 65534"},
		{"caps", "CapAmb", "0000000000000400"},
		{"caps", "CapEff", "0000000000000400"},
		{"caps", "CapPrm", "0000000000000400"},
		{"caps", "CapBnd", "0000000000000401"},
		{"drop", "CapBnd", "0000000000000000"},
		{"drop", "CapEff", "0000000000000000"},
	} {
		if got := statusField(t, pid[want.service], want.field); got != want.value {
			t.Errorf("%s: %s is %q, want %q", want.service, want.field, got, want.value)
		}
	}
	if got := strings.TrimSpace(procFile(t, pid["names"], "oom_score_adj")); got != "300" {
		t.Errorf("oom_score_adj %s", got)
	}
	if got := strings.TrimSpace(procFile(t, pid["keep"], "oom_score_adj")); got != "0" {
		t.Errorf("oom_score_adj without the key %s", got)
	}
	stat := procFile(t, pid["names"], "stat")
	if f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:]); f[16] != "7" {
		t.Errorf("nice %s, want 7", f[16])
	}
}

// TestNothingIsInherited: what the server was started with by accident does not reach its services: descriptors, ignored
// and blocked signals, umask, oom_score_adj, and its own private variables.
func TestNothingIsInherited(t *testing.T) {
	bin := testkit.Binary(t, "")
	wrapper := filepath.Join(t.TempDir(), "wrapper")
	text := fmt.Sprintf("#!/bin/sh\ntrap '' HUP INT QUIT PIPE USR1 TERM\numask 077\nexec 7</dev/null 8>/dev/null\nexport ZINIT_SECRET=1 NOTIFY_SOCKET=/nowhere WATCHDOG_USEC=5 LISTEN_FDS=1 LISTEN_PID=1\nexec %s \"$@\"\n", bin)
	if err := os.WriteFile(wrapper, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	s := testkit.Start(t, map[string]string{"a.toml": service("a", "exec = 'ls /proc/self/fd | tr \"\\n\" \" \"; echo end; exec sleep 100000'\n")}, testkit.Options{Bin: wrapper})
	s.Bin = bin
	c := s.Client()
	pid := s.AwaitState(c, "a", "running").PID
	s.Await("the list of descriptors", hasLine(s, "a", " 0 1 2 3 end"))
	for field, want := range map[string]string{"SigIgn": "0000000000000000", "SigBlk": "0000000000000000", "Umask": "0022"} {
		if got := statusField(t, pid, field); got != want {
			t.Errorf("%s is %s, want %s", field, got, want)
		}
	}
	for kv := range strings.SplitSeq(procFile(t, pid, "environ"), "\x00") {
		name, _, _ := strings.Cut(kv, "=")
		if slices.Contains([]string{"ZINIT_SECRET", "NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID"}, name) {
			t.Errorf("the service has %s", kv)
		}
	}
}

// TestOOMScore: the server keeps the oom_score_adj that an administrator has set, and one above 0 is meant for services too.
// That they do not inherit a protection is tested in supervisor/proc, and for process 1 in test/boot.
func TestOOMScore(t *testing.T) {
	own := strings.TrimSpace(procFile(t, os.Getpid(), "oom_score_adj"))
	for _, c := range []struct {
		applet, set, server, plain string
	}{
		{"server", "200", "200", "200"}, {"pid1", "200", "200", "200"}, {"pid1", own, own, own},
	} {
		bin := testkit.Binary(t, "")
		wrapper := filepath.Join(t.TempDir(), "wrapper")
		text := fmt.Sprintf("#!/bin/sh\necho %s >/proc/self/oom_score_adj && exec %s \"$@\"\n", c.set, bin)
		if err := os.WriteFile(wrapper, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		s := testkit.Start(t, map[string]string{
			"plain.toml": service("plain", sleeper),
			"says.toml":  service("says", sleeper+"oom_score_adj = 300\n"),
		}, testkit.Options{Bin: wrapper, Applet: c.applet})
		s.Bin = bin
		client := s.Client()
		ping, err := client.Ping(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(procFile(t, ping.PID, "oom_score_adj")); got != c.server {
			t.Errorf("%s under %s: the server has %s, want %s", c.applet, c.set, got, c.server)
		}
		for name, want := range map[string]string{"plain": c.plain, "says": "300"} {
			pid := s.AwaitState(client, name, "running").PID
			if got := strings.TrimSpace(procFile(t, pid, "oom_score_adj")); got != want {
				t.Errorf("%s under %s: %s has %s, want %s", c.applet, c.set, name, got, want)
			}
		}
		s.Stop(syscall.SIGTERM)
	}
}

// terminal makes a pseudo-terminal; its master end does not block.
func terminal(t *testing.T) (master int, path string) {
	t.Helper()
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	return master, fmt.Sprintf("/dev/pts/%d", n)
}

// TestTerminal: tty makes a terminal the controlling one and descriptors 0, 1 and 2.
func TestTerminal(t *testing.T) {
	master, pts := terminal(t)
	defer unix.Close(master)
	s := testkit.Start(t, map[string]string{
		"getty.toml": service("getty", fmt.Sprintf("tty = %q\nexec = 'tty; echo to-the-terminal; exec sleep 100000'\n", pts)),
		"file.toml":  service("file", "tty = \"/dev/null\"\n"+sleeper+"[lifecycle]\nrestart = \"never\"\n"),
	}, testkit.Options{})
	c := s.Client()
	pid := s.AwaitState(c, "getty", "running").PID
	for _, fd := range []string{"0", "1", "2"} {
		if link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd)); err != nil || link != pts {
			t.Errorf("descriptor %s is %s %v", fd, link, err)
		}
	}
	var seen strings.Builder
	s.Await("the terminal to show it", func() bool {
		var buf [512]byte
		if n, err := unix.Read(master, buf[:]); err == nil {
			seen.Write(buf[:n])
		}
		return strings.Contains(seen.String(), pts) && strings.Contains(seen.String(), "to-the-terminal")
	})
	// A Ctrl-C on it reaches the service: it is the foreground group of its terminal.
	var group int32
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(master), unix.TIOCGPGRP, uintptr(unsafe.Pointer(&group))); errno != 0 || int(group) != pid {
		t.Errorf("the foreground group is %d %v, want %d", group, errno, pid)
	}
	if r := s.AwaitState(c, "file", "failed").State.Reason; r.Type != "spawn_error" || r.Kind != "tty" {
		t.Errorf("no terminal: %+v", r)
	}
}

// TestSpawnErrorsNameTheStep: each thing that can be missing is a spawn_error with its own kind, a message that names it,
// no process, and everything else goes on.
func TestSpawnErrorsNameTheStep(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte("#!/nowhere/interpreter\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	rows := []struct{ name, keys, kind, text string }{
		{"user", sleeper + "user = \"nosuchuser\"\n", "user", "nosuchuser"},
		{"group", sleeper + "group = \"nosuchgroup\"\n", "group", "nosuchgroup"},
		{"groups", sleeper + "groups = [\"nosuchgroup\"]\n", "groups", "nosuchgroup"},
		{"nogroup", sleeper + "user = \"4242\"\n", "user", "set group too"},
		{"envfile", sleeper + "env_file = \"/nowhere/env\"\n", "env_file", "/nowhere/env"},
		{"dir", sleeper + "dir = \"/nowhere\"\n", "dir", "/nowhere"},
		{"closeddir", sleeper + "dir = \"/root\"\nuser = \"nobody\"\n", "dir", "/root"},
		{"program", "exec = \"/nowhere/program\"\n", "exec", "/nowhere/program"},
		{"path", "exec = \"nosuchprogram --flag\"\n", "exec", "nosuchprogram"},
		{"mode", fmt.Sprintf("exec = %q\n", plain), "exec", plain},
		{"interpreter", fmt.Sprintf("exec = %q\n", script), "interpreter", "/nowhere/interpreter"},
		{"trampolined", "exec = \"/nowhere/program\"\numask = \"0077\"\n", "exec", "/nowhere/program"},
		{"variable", "exec = [\"echo\", \"$NOT_SET_ANYWHERE\"]\nexpand = true\n", "exec", "NOT_SET_ANYWHERE"},
		{"tty", sleeper + "tty = \"/dev/nowhere\"\n", "tty", "/dev/nowhere"},
	}
	files := map[string]string{"good.toml": service("good", sleeper)}
	for _, r := range rows {
		files[r.name+".toml"] = service(r.name, r.keys+"[lifecycle]\nrestart = \"never\"\n")
	}
	s := testkit.Start(t, files, testkit.Options{})
	c := s.Client()
	s.AwaitState(c, "good", "running")
	for _, row := range rows {
		st := s.AwaitState(c, row.name, "failed")
		r := st.State.Reason
		if r.Type != "spawn_error" || r.Kind != row.kind || !strings.Contains(r.Message, row.text) || strings.Contains(r.Message, "\n") {
			t.Errorf("%s: %s %s %q, want kind %s naming %s", row.name, r.Type, r.Kind, r.Message, row.kind, row.text)
		}
	}
}

// TestCgroupLimitsFailClosed: [cgroup] where its controller is not there is a failed start, not a weaker one.
func TestCgroupLimitsFailClosed(t *testing.T) {
	bothWays(t, func(t *testing.T, env []string) {
		s := testkit.Start(t, map[string]string{
			"g.toml": service("g", sleeper+"[cgroup]\npids_max = 20\nmemory_max = \"100M\"\n[lifecycle]\nrestart = \"never\"\n"),
		}, testkit.Options{Env: env})
		c := s.Client()
		s.Await("a decision", func() bool {
			st, err := c.StatusFull(ctx, "g")
			return err == nil && (st.State.State == "running" || st.State.State == "failed")
		})
		st, _ := c.StatusFull(ctx, "g")
		if st.State.State == "failed" {
			if r := st.State.Reason; r.Type != "spawn_error" || r.Kind != "cgroup" || r.Message == "" {
				t.Errorf("%+v", r)
			}
			return
		}
		if env != nil {
			t.Fatal("it runs without control groups")
		}
		if b, err := os.ReadFile(st.Cgroup + "/pids.max"); err != nil || string(b) != "20\n" {
			t.Errorf("it runs, and its pids.max is %q %v", b, err)
		}
	})
}
