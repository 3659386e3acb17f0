package container

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
)

// polite writes a file when it is up and another when it was stopped.
const polite = `
[service]
name = "web"
exec = "sh -c 'trap \"echo stopped >DIR/stopped; exit 0\" TERM; echo up >DIR/up; while :; do sleep 0.01; done'"
`

// stubborn ignores TERM, and so does its child.
const stubborn = `
[service]
name = "mule"
exec = "sh -c 'trap \"\" TERM INT HUP; touch DIR/mule; (while :; do sleep 0.05; done) & while :; do sleep 0.05; done'"
[lifecycle]
stop_timeout_ms = 60000
`

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// TestServicesBesideCommand: services run beside the command; when it ends they are stopped, and its status counts.
func TestServicesBesideCommand(t *testing.T) {
	t.Parallel()
	b := start(t, map[string]string{"web.toml": polite}, "--", "sh", "-c", "trap 'exit 44' TERM; while :; do sleep 0.01; done")
	b.await("the service", func() bool { return exists(b.dir + "/up") })
	b.signal(unix.SIGTERM)
	if got := b.wait(); got != 44 || !exists(b.dir+"/stopped") {
		t.Errorf("status %d, stopped in order: %v", got, exists(b.dir+"/stopped"))
	}
}

// TestStop: each stop signal ends the container with 0 after an ordered stop.
func TestStop(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGQUIT, unix.SIGPWR, 37, 38, 39} {
		b := start(t, map[string]string{"web.toml": polite})
		b.await("the service", func() bool { return exists(b.dir + "/up") })
		b.signal(sig)
		if got := b.wait(); got != 0 || !exists(b.dir+"/stopped") {
			t.Errorf("signal %d: status %d, stopped in order: %v\n%s", sig, got, exists(b.dir+"/stopped"), b.out)
		}
	}
}

// TestStopBudget: what does not stop is killed so early that docker stop, which waits 10 s, sees an ordinary end.
func TestStopBudget(t *testing.T) {
	t.Parallel()
	b := start(t, map[string]string{"mule.toml": stubborn, "web.toml": polite})
	b.await("the services", func() bool { return exists(b.dir+"/up") && exists(b.dir+"/mule") })
	began := time.Now()
	b.signal(unix.SIGTERM)
	got := b.wait()
	if took := time.Since(began); got != 0 || took < 5500*time.Millisecond || took > 9500*time.Millisecond {
		t.Errorf("status %d after %v, want 0 after 6 to 8 s and some for a busy host", got, took)
	}
	if text := b.out.String(); !strings.Contains(text, "mule (6 s left)") || !strings.Contains(text, "sooner than the stop_timeout of mule") {
		t.Errorf("the cut is not told before: %s", text)
	}
}

// TestSecondStop: a second request kills what is left at once.
func TestSecondStop(t *testing.T) {
	t.Parallel()
	b := start(t, map[string]string{"mule.toml": stubborn})
	b.await("the service", func() bool { return exists(b.dir + "/mule") })
	began := time.Now()
	b.signal(unix.SIGTERM)
	b.await("the second one to count", func() bool { // for a moment it is taken for the first
		_ = b.cmd.Process.Signal(unix.SIGTERM)
		return strings.Contains(b.out.String(), "asked again")
	})
	if got := b.wait(); got != 0 {
		t.Errorf("status %d", got)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("took %v", took)
	}
}

// TestHungServer: the budget holds when the server hangs.
func TestHungServer(t *testing.T) {
	t.Parallel()
	b := start(t, map[string]string{"mule.toml": stubborn}, "--shutdown-ms", "1500")
	server := b.pidOf("zinit-server")
	if err := unix.Kill(server, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	b.signal(unix.SIGTERM)
	if got := b.wait(); got != 1 {
		t.Errorf("status %d, want 1", got)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

// TestOnExit: a service whose end is the end of the stack gives its code to the container.
func TestOnExit(t *testing.T) {
	t.Parallel()
	b := start(t, map[string]string{"web.toml": polite, "job.toml": `
[service]
name = "job"
exec = "sh -c 'while ! [ -e DIR/up ] || ! [ -e DIR/go ]; do sleep 0.01; done; exit 7'"
[lifecycle]
restart = "never"
on_exit = "shutdown"
`})
	if err := os.WriteFile(b.dir+"/go", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := b.wait(); got != 7 || !exists(b.dir+"/stopped") {
		t.Errorf("status %d, want 7; the other stopped in order: %v", got, exists(b.dir+"/stopped"))
	}
}

// TestServerKilled: inside a container too, the death of the server costs no service anything.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	b := start(t, map[string]string{"web.toml": polite})
	b.await("the service", func() bool { return exists(b.dir + "/up") })
	before := b.zinit("list", "-o", "json")
	for range 10 {
		b.killServer()
		b.answers()
	}
	after := b.zinit("list", "-o", "json")
	if pidIn(t, before) != pidIn(t, after) {
		t.Errorf("the service's pid changed:\n%s\n%s", before, after)
	}
	b.signal(unix.SIGTERM)
	if got := b.wait(); got != 0 || !exists(b.dir+"/stopped") {
		t.Errorf("status %d", got)
	}
}

// pidIn finds the first pid in a JSON list.
func pidIn(t *testing.T, text string) int {
	t.Helper()
	_, rest, found := strings.Cut(text, `"pid":`)
	if !found {
		t.Fatalf("no pid in %s", text)
	}
	end := strings.IndexAny(rest, ",}\n")
	n, err := strconv.Atoi(strings.TrimSpace(rest[:end]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestReexec: SIGUSR2 replaces process 1, SIGUSR1 the server, and nothing else changes.
func TestReexec(t *testing.T) {
	t.Parallel()
	b := start(t, map[string]string{"web.toml": polite})
	b.await("the service", func() bool { return exists(b.dir + "/up") })
	server, before := b.pidOf("zinit-server"), pidIn(t, b.zinit("list", "-o", "json"))
	b.signal(unix.SIGUSR2)
	b.says("executing ")
	b.await("the new image to reload", func() bool {
		b.signal(unix.SIGHUP)
		return strings.Contains(b.out.String(), "configuration reloaded")
	})
	if b.pidOf("zinit-server") != server || pidIn(t, b.zinit("list", "-o", "json")) != before {
		t.Errorf("server or service changed:\n%s", b.zinit("list"))
	}
	if comm := b.members()[b.cmd.Process.Pid]; comm != "zinit-pid1" {
		t.Errorf("process 1 is called %q", comm)
	}
	if err := unix.Kill(server, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	b.await("another server", func() bool { pid := b.pidOf("zinit-server"); return pid != 0 && pid != server && b.ping() == nil })
	if got := pidIn(t, b.zinit("list", "-o", "json")); got != before {
		t.Errorf("the service's pid changed from %d to %d", before, got)
	}
	b.signal(unix.SIGTERM)
	if got := b.wait(); got != 0 || !exists(b.dir+"/stopped") {
		t.Errorf("status %d", got)
	}
}

// TestSignalStorm: whatever is sent to process 1 that does not ask for an end, it goes on.
func TestSignalStorm(t *testing.T) {
	t.Parallel()
	b := start(t, map[string]string{"web.toml": polite})
	b.await("the service", func() bool { return exists(b.dir + "/up") })
	stops := map[syscall.Signal]bool{unix.SIGTERM: true, unix.SIGINT: true, unix.SIGPWR: true, unix.SIGQUIT: true, unix.SIGKILL: true,
		unix.SIGSTOP: true, unix.SIGUSR1: true, unix.SIGUSR2: true, 37: true, 38: true, 39: true}
	for range 50 {
		for sig := syscall.Signal(1); sig <= 64; sig++ {
			if !stops[sig] {
				b.signal(sig)
			}
		}
	}
	if err := b.ping(); err != nil {
		t.Errorf("the server: %v", err)
	}
	b.signal(unix.SIGTERM)
	if got := b.wait(); got != 0 || !exists(b.dir+"/stopped") {
		t.Errorf("status %d", got)
	}
}

// TestOrphanFlood: 3,000 orphans of a service are reaped within a second of their end.
func TestOrphanFlood(t *testing.T) {
	t.Parallel()
	b := start(t, map[string]string{"flood.toml": `
[service]
name = "flood"
oneshot = true
exec = "sh -c 'i=0; while [ $i -lt 60 ]; do (j=0; while [ $j -lt 50 ]; do true & j=$((j+1)); done; exec true) & i=$((i+1)); done; wait; exit 3'"
[lifecycle]
restart = "never"
`})
	b.await("its own exit status", func() bool { return strings.Contains(b.zinit("status", "flood"), "code 3") })
	b.await("no zombie", func() bool {
		for pid := range b.members() {
			if strings.HasPrefix(status(pid, "State"), "Z") {
				return false
			}
		}
		return true
	})
}

// TestPanic: an internal error of process 1 makes it execute itself anew; nothing else notices.
func TestPanic(t *testing.T) {
	t.Parallel()
	b := startWith(t, map[string]string{"web.toml": polite}, testkit.Binary(t, "zinit_fault"))
	b.await("the service", func() bool { return exists(b.dir + "/up") })
	server, before := b.pidOf("zinit-server"), pidIn(t, b.zinit("list", "-o", "json"))
	for round := range 3 {
		b.signal(63) // of the test build
		b.await("the panic", func() bool {
			why := []string{"fault asked for", "runtime error: invalid memory address", "fault asked for"}[round]
			return strings.Count(b.out.String(), "internal error, executing itself anew: "+why) == round/2+1
		})
		b.await("the new image to reload", func() bool {
			b.signal(unix.SIGHUP)
			return strings.Count(b.out.String(), "configuration reloaded") > round
		})
	}
	if b.pidOf("zinit-server") != server || pidIn(t, b.zinit("list", "-o", "json")) != before {
		t.Errorf("server or service changed:\n%s", b.zinit("list"))
	}
	b.signal(unix.SIGTERM)
	if got := b.wait(); got != 0 || !exists(b.dir+"/stopped") {
		t.Errorf("status %d", got)
	}
}

// TestKilledWhileStopping: a server that dies in the middle of the ordered stop is followed by one that goes on with it.
func TestKilledWhileStopping(t *testing.T) {
	t.Parallel()
	b := start(t, map[string]string{"a.toml": `
[service]
name = "slow"
exec = "sh -c 'trap \"while ! [ -e DIR/go ]; do sleep 0.01; done; echo x >DIR/stopped; exit\" TERM; touch DIR/slow; while :; do sleep 0.01; done'"
`, "b.toml": `
[service]
name = "web"
exec = "sh -c 'while :; do sleep 0.01; done'"
[dependencies]
requires = ["slow"]
[lifecycle]
restart = "always"
`})
	b.await("the service", func() bool { return exists(b.dir + "/slow") })
	b.signal(unix.SIGTERM)
	b.await("the stop to begin", func() bool { return strings.Contains(b.zinit("status", "slow"), "stopping") })
	for range 2 {
		b.killServer()
		b.answers()
	}
	if got := b.zinit("list"); !strings.Contains(got, "stopping") {
		t.Errorf("after the crash:\n%s", got)
	}
	if err := os.WriteFile(b.dir+"/go", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := b.wait(); got != 0 || !exists(b.dir+"/stopped") {
		t.Errorf("status %d, stopped in order: %v", got, exists(b.dir+"/stopped"))
	}
}

// TestNothingStartsWhileStopping: while the stop is under way nothing is started, by a request, a reload, or a policy.
func TestNothingStartsWhileStopping(t *testing.T) {
	t.Parallel()
	b := start(t, map[string]string{"a.toml": `
[service]
name = "slow"
exec = "sh -c 'trap \"while ! [ -e DIR/go ]; do sleep 0.01; done; echo x >DIR/stopped; exit\" TERM; touch DIR/slow; while :; do sleep 0.01; done'"
`, "b.toml": `
[service]
name = "again"
exec = "sh -c 'echo run >>DIR/again; trap \"exit 1\" TERM; while :; do sleep 0.01; done'"
[lifecycle]
restart = "always"
restart_delay_ms = 1
`, "c.toml": `
[service]
name = "late"
exec = "sh -c 'touch DIR/late; sleep 1000'"
status = "stop"
`})
	b.await("the services", func() bool { return exists(b.dir+"/slow") && exists(b.dir+"/again") })
	b.signal(unix.SIGTERM)
	b.await("the stop to begin", func() bool {
		return strings.Contains(b.zinit("status", "slow"), "stopping") && !strings.Contains(b.zinit("status", "again"), "running")
	})
	for _, args := range [][]string{{"start", "late"}, {"restart", "again"}, {"start", "again"}} {
		if out := b.zinit(args...); !strings.Contains(out, "shutting down") && !strings.Contains(out, "stopping") {
			t.Errorf("zinit %s says %q", strings.Join(args, " "), out)
		}
	}
	b.zinit("reload")
	if err := os.WriteFile(b.dir+"/go", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := b.wait(); got != 0 || !exists(b.dir+"/stopped") || exists(b.dir+"/late") {
		t.Errorf("status %d, stopped in order: %v, started late: %v", got, exists(b.dir+"/stopped"), exists(b.dir+"/late"))
	}
	if runs, _ := os.ReadFile(b.dir + "/again"); string(runs) != "run\n" {
		t.Errorf("a service was started again: %q", runs)
	}
}

// TestNothingThere: no /proc, no /run, no /dev, no /etc, no user: the container runs and stops.
func TestNothingThere(t *testing.T) {
	t.Parallel()
	need.Program(t, "unshare")
	busybox := need.Program(t, "busybox")
	before := "mount -t tmpfs -o mode=1777 tmpfs /mnt && cp $BIN /mnt/zinit-pid1 && mkdir /mnt/cfg && cp " + busybox + " /mnt/busybox && " +
		`printf '[service]\nname="a"\nexec=["/busybox","sh","-c","echo running inside; while :; do /busybox sleep 1; done"]\n' >/mnt/cfg/a.toml && cd /mnt && `
	argv := []string{"unshare", "--root=/mnt", "--setuid=65534", "--setgid=65534", "/zinit-pid1", "--container", "--config", "/cfg", "--socket", "/s", "--log-stdout"}
	b := enter(t, before, argv, func(cmd *exec.Cmd) { cmd.Env = append(os.Environ(), "BIN="+testkit.Binary(t, "")) })
	b.says("a | running inside")
	b.killServer()
	b.await("it to serve", func() bool { return strings.Count(b.out.String(), "zinit server version=") == 2 })
	began := time.Now()
	b.signal(unix.SIGTERM)
	if got := b.wait(); got != 0 {
		t.Errorf("status %d", got)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("the stop took %v", took)
	}
}

// TestConfined: as another user, without capabilities, on a read-only root.
func TestConfined(t *testing.T) {
	t.Parallel()
	need.Program(t, "setpriv")
	before := `mount --rbind / /mnt && mount -o remount,bind,ro /mnt && mount -t tmpfs tmpfs /mnt/tmp && mkdir -p /mnt/$KEEP &&
mount --bind $KEEP /mnt/$KEEP && mount -t proc proc /mnt/proc && cd / && `
	dir, err := os.MkdirTemp("", "box")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	bin := filepath.Join(dir, "zinit-pid1")
	data, err := os.ReadFile(testkit.Binary(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(bin, data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir+"/cfg", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir+"/rw", 0o777); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, dir + "/rw"} {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	toml := strings.ReplaceAll(polite, "DIR", dir+"/rw")
	if err := os.WriteFile(dir+"/cfg/web.toml", []byte(toml), 0o644); err != nil {
		t.Fatal(err)
	}
	argv := []string{"chroot", "/mnt", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all",
		"--no-new-privs", bin, "--config", dir + "/cfg", "--socket", dir + "/rw/s"}
	b := enter(t, before, argv, func(cmd *exec.Cmd) { cmd.Env = append(os.Environ(), "KEEP="+dir) })
	b.dir = dir + "/rw"
	b.await("the service", func() bool { return exists(b.dir + "/up") })
	if uid := status(b.cmd.Process.Pid, "Uid"); !strings.HasPrefix(uid, "65534") {
		t.Errorf("process 1 has uid %s", uid)
	}
	if got := b.zinit("list"); !strings.Contains(got, "running") {
		t.Errorf("list says\n%s", got)
	}
	b.killServer()
	b.answers()
	b.signal(unix.SIGUSR2)
	b.says("executing ")
	b.signal(unix.SIGTERM) // in the middle of it
	if got := b.wait(); got != 0 || !exists(b.dir+"/stopped") {
		t.Errorf("status %d, stopped in order: %v", got, exists(b.dir+"/stopped"))
	}
}

// TestLogStdout: what services write reaches the container's output, with their names when asked.
func TestLogStdout(t *testing.T) {
	t.Parallel()
	talk := `
[service]
name = "talk"
exec = "sh -c 'echo some words; exec sleep 1000'"
`
	for flag, want := range map[string]string{"--log-stdout": "talk", "--log-stdout=plain": "\nsome words\n", "--log-stdout=json": `"some words"`} {
		b := start(t, map[string]string{"talk.toml": talk}, flag)
		b.says("some words")
		if out := "\n" + b.out.String(); !strings.Contains(out, want) {
			t.Errorf("%s: no %q in\n%s", flag, want, out)
		}
		b.signal(unix.SIGTERM)
		b.wait()
	}
}

// TestBackground: nothing is configured, the directory is not even there: the container runs, and stops with 0.
func TestBackground(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	if err := os.RemoveAll(b.dir + "/cfg"); err != nil {
		t.Fatal(err)
	}
	b.signal(unix.SIGHUP)
	b.signal(unix.SIGTERM)
	if got := b.wait(); got != 0 {
		t.Errorf("status %d", got)
	}
}

// TestSocketInUse: a second container on the socket of a living server ends, and says why.
func TestSocketInUse(t *testing.T) {
	t.Parallel()
	first := start(t, nil)
	second := enter(t, "", []string{shim(t, testkit.Binary(t, "")), "--config", first.dir + "/cfg", "--socket", first.dir + "/s"}, nil)
	if got := second.wait(); got != 1 {
		t.Errorf("status %d, want 1", got)
	}
	if err := first.ping(); err != nil {
		t.Errorf("the first one: %v", err)
	}
	if !strings.Contains(second.out.String(), first.dir+"/s") {
		t.Errorf("no word about the socket: %s", second.out)
	}
}

// TestIdle: process 1 needs less than 5 MB and does not wake by itself.
func TestIdle(t *testing.T) {
	t.Parallel()
	b := start(t, map[string]string{"web.toml": `
[service]
name = "web"
exec = "sleep 100000"
`})
	pid := b.cmd.Process.Pid
	rss := func() int {
		fields := strings.Fields(status(pid, "VmRSS"))
		if len(fields) == 0 {
			return 1 << 30
		}
		n, _ := strconv.Atoi(fields[0])
		return n
	}
	b.await("memory below 5 MB", func() bool { return rss() < 5000 })
	// Three a minute are allowed, to the runtime; what the start left to do may spoil the first windows.
	best := 1 << 30
	for range 4 {
		before := switches(t, pid)
		<-time.After(20 * time.Second)
		if best = min(best, switches(t, pid)-before); best <= 1 {
			break
		}
	}
	if best > 1 {
		t.Errorf("process 1 wakes %d times in 20 s although nothing happens", best)
	}
	t.Logf("resident: %d kB", rss())
}

// switches sums up the context switches of all threads.
func switches(t *testing.T, pid int) (sum int) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(tasks) == 0 {
		t.Fatal("no threads")
	}
	for _, task := range tasks {
		text, _ := os.ReadFile(task)
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.HasSuffix(name, "_ctxt_switches") {
				n, _ := strconv.Atoi(strings.TrimSpace(value))
				sum += n
			}
		}
	}
	return sum
}
