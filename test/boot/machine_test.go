package boot

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/zinit/zinit/internal/testkit/need"
)

// TestBare: an archive that holds nothing but the binary and TOML files boots, runs services in order and powers off.
func TestBare(t *testing.T) {
	t.Parallel()
	i := image{config: map[string]string{
		"services/first.toml": "[service]\nname = \"first\"\noneshot = true\nexec = [\"/bin/zinit\", \"version\"]\n",
		"system/base.toml":    "[service]\nname = \"base\"\noneshot = true\nexec = [\"/bin/zinit\", \"ping\"]\n",
		"services/off.toml": "[service]\nname = \"off\"\noneshot = true\nexec = [\"/bin/zinit\", \"poweroff\"]\n" +
			"[dependencies]\nrequires = [\"first\", \"base\"]\n",
	}}
	m := boot(t, i.build(t), "splash foo=1 a.b=2 nosuch.word -- -x --frob word")
	m.say("first: starting -> exited")
	m.ends(poweredOff)
	lines := 0
	for line := range strings.Lines(m.text()) {
		if strings.Contains(line, "first:") {
			lines++
		}
	}
	if lines > 2 {
		t.Errorf("%d lines about one service", lines)
	}
}

// TestMachine is one boot for all that can be seen from inside of a running machine.
func TestMachine(t *testing.T) {
	t.Parallel()
	config := bootScript(`
echo "T:mounts $(grep -c -E ' (/proc|/sys|/dev|/dev/pts|/dev/shm|/run|/tmp|/sys/fs/cgroup) ' /proc/mounts)"
echo "T:host $(hostname) lo $(ip -o addr show lo | grep -c 127.0.0.1)"
echo "T:names $(cat /proc/1/comm) $(cat /proc/$PPID/comm) oom $(cat /proc/1/oom_score_adj) $(cat /proc/$PPID/oom_score_adj) $(cat /proc/self/oom_score_adj)"
echo "T:mode $(zinit status | grep mode | tr -s ' ')"
zinit boot -o json | tr -d ' \n' | grep -q -E '"kernel_ms":[1-9].*"pid1_ms":[1-9].*"server_ms":[1-9].*"loaded_ms":[1-9].*"name":"web".*"start_ms":[1-9].*"ready_ms":[1-9]' && echo T:boot
server() { pidof zinit-server; }
other() { for i in $(seq 200); do s=$(server); [ -n "$s" ] && [ "$s" != "$1" ] && zinit ping >/dev/null 2>&1 && return; usleep 100000; done; echo T:no other server; }
pid=$(cat /run/web.pid)
for round in $(seq 12); do s=$(server); kill -9 $s; usleep $((round*20000)); done; other 0
zinit stop lines; zinit logs -n 1000000 -o cat lines >/run/lines; seq $(wc -l </run/lines) | cmp - /run/lines && [ $(wc -l </run/lines) -gt 100 ] && echo T:lines
[ "$pid" = "$(cat /run/web.pid)" ] && kill -0 $pid && echo "T:survived $(zinit list -o name | tr '\n' ' ')"
sig=1; while [ $sig -le 64 ]; do case $sig in 2|9|10|12|15|19|30|37|38|39|41) ;; *) kill -$sig 1;; esac; sig=$((sig+1)); done
zinit ping && echo T:signals
echo "T:nofile $(ulimit -Sn) $(ulimit -Hn)"
mount -o remount,size=512k /run; dd if=/dev/zero of=/run/fill bs=64k 2>/dev/null; mount -o remount,size=512k /tmp; dd if=/dev/zero of=/tmp/fill bs=64k 2>/dev/null
echo x >/run/more 2>/dev/null || { s=$(server); kill -9 $s; other $s; kill -USR2 1; sleep 2; zinit ping >/dev/null && echo T:full; }; rm -f /run/fill /tmp/fill /run/more
i=0; while [ $i -lt 30 ]; do (j=0; while [ $j -lt 100 ]; do true & j=$((j+1)); done) & i=$((i+1)); done; wait
for i in $(seq 100); do z=$(ps -o stat | grep -c '^Z'); [ $z = 0 ] && break; usleep 100000; done; echo "T:zombies $z"
kill -USR2 1; for i in $(seq 100); do usleep 100000; kill -0 1 && zinit ping >/dev/null && break; done; sleep 2
s=$(server); kill -9 $s; other $s; echo "T:reexec $(cat /proc/1/comm)"
mkfifo /run/fifo; exec 9<>/run/fifo; s=$(server)
echo 30 >/proc/sys/kernel/threads-max; kill -9 $s; read -t 3 x <&9; echo 3000 >/proc/sys/kernel/threads-max
other $s; echo T:threads
(while :; do a="$a$a$a.............................................................."; done) 2>/dev/null; echo T:memory
other 0; kill -0 $pid && echo T:alive
for i in $(seq 100); do rss=$(grep VmRSS /proc/1/status | tr -dc 0-9); [ $rss -lt 5000 ] && break; usleep 100000; done
echo "T:rss $([ $rss -lt 5000 ] && echo small || echo $rss)"
`)
	config["services/web.toml"] = "[service]\nname = \"web\"\nexec = \"sh -c 'echo $$ >/run/web.pid; exec sleep 100000'\"\n"
	config["services/lines.toml"] = "[service]\nname = \"lines\"\nexec = \"sh -c 'i=0; while :; do i=$((i+1)); echo $i; usleep 1000; done'\"\n" +
		"[logging]\nbuffer_lines = 1000000\nbuffer_bytes = 16000000\n"
	config["services/script.toml"] += "[dependencies]\nrequires = [\"web\"]\n"
	config["system/shadow.toml"] = "[service]\nname = \"shadow\"\nexec = \"sh -c 'echo T:shadow system >/dev/console; sleep 100000'\"\n"
	config["services/shadow.toml"] = "[service]\nname = \"shadow\"\nexec = \"sh -c 'echo T:shadow user >/dev/console; sleep 100000'\"\n"
	i := image{config: config, busybox: true, add: []string{hostnameFile(t) + ":/etc/hostname"}}
	m := boot(t, i.build(t), "quiet")
	for _, want := range []string{"T:mounts 8\n", "T:host testbox lo 1\n", "T:names zinit-pid1 zinit-server oom -1000 -900 0\n",
		"T:mode  mode machine\n", "T:boot\n", "T:shadow system\n", "T:lines\n", "T:survived ", "T:signals\n",
		"T:nofile 1024 524288\n", "T:full\n", "T:zombies 0\n", "T:reexec zinit-pid1\n",
		"T:threads\n", "T:memory\n", "T:alive\n", "T:rss small\n"} {
		m.say(want)
	}
	m.press("ctrl-alt-delete")
	m.say("zinit-pid1: rebooting")
	m.ends(restarted)
	for _, bad := range []string{"T:shadow user", "T:no other server"} {
		if strings.Contains(m.text(), bad) {
			t.Errorf("%q on the console", bad)
		}
	}
}

func hostnameFile(t *testing.T) string {
	return file(t, "testbox\n")
}

// TestPowerActions: each way to end a machine ends it the right way, services in order first.
func TestPowerActions(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, do, how string }{
		{"command", "zinit reboot", restarted},
		{"link", "/sbin/halt", halted},
		{"TERM", "kill -TERM 1", poweredOff},
		{"shutdown", "/sbin/shutdown -h now", poweredOff},
		{"SIGRTMIN+3", "kill -37 1", halted},
		{"SIGRTMIN+5", "kill -39 1", restarted},
		// The file is gone, but not for pid1, which keeps it open.
		{"executable replaced", "mv /init /old; cp /bin/false /init; kill -9 $(pidof zinit-server); kill -PWR 1", poweredOff},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			config := bootScript("until [ -e /run/up ]; do usleep 50000; done; " + test.do + "; sleep 100000")
			config["services/a.toml"] = "[service]\nname = \"a\"\nexec = \"sh -c 'trap \\\"echo T:a stops >/dev/console; exit\\\" TERM; while :; do usleep 50000; done'\"\n"
			config["services/b.toml"] = "[service]\nname = \"b\"\nexec = \"sh -c 'trap \\\"echo T:b stops >/dev/console; exit\\\" TERM; touch /run/up; while :; do usleep 50000; done'\"\n[dependencies]\nrequires = [\"a\"]\n"
			i := image{config: config, busybox: true}
			m := boot(t, i.build(t), "quiet")
			m.ends(test.how)
			text := m.text()
			a, b := strings.Index(text, "T:a stops"), strings.Index(text, "T:b stops")
			if a < 0 || b < 0 || b > a {
				t.Errorf("stopped in the wrong order or not at all (%d, %d)", b, a)
			}
			if strings.Contains(text, "starting ->") || strings.Contains(text, "running (pid") {
				t.Error("not quiet")
			}
		})
	}
}

// TestDeadline: a hung server does not keep a machine up; a second request is answered; nothing starts any more.
func TestDeadline(t *testing.T) {
	t.Parallel()
	i := image{busybox: true, config: bootScript(`
trap '' TERM
kill -STOP $(pidof zinit-server); echo T:go; kill -TERM 1; sleep 2; kill -TERM 1; sleep 1; kill -INT 1; sleep 100000`)}
	m := boot(t, i.build(t), "quiet zinit.shutdown_ms=6000")
	m.say("powering off, at most 6 s")
	m.say("already powering off")
	m.say("now rebooting after the stop under way")
	m.say("did not stop everything in time")
	m.ends(restarted)
}

// TestCut: whose stop_timeout is longer than zinit.shutdown_ms allows is named before it is killed, even under quiet.
func TestCut(t *testing.T) {
	t.Parallel()
	config := bootScript("until [ -e /run/up ]; do usleep 50000; done; zinit poweroff")
	config["services/mule.toml"] = `
[service]
name = "mule"
exec = ["sh", "-c", "trap '' TERM; touch /run/up; while :; do usleep 50000; done"]
[lifecycle]
stop_timeout_ms = 90000
`
	i := image{config: config, busybox: true}
	m := boot(t, i.build(t), "quiet zinit.shutdown_ms=8000")
	m.say("what is left in 6 s is killed (--stop-budget, zinit.shutdown_ms, [shutdown] timeout_ms), sooner than the stop_timeout of mule")
	m.ends(poweredOff)
	if text := m.text(); strings.Contains(text, "did not stop everything in time") {
		t.Error("the server was not told: it was killed")
	}
}

// TestForced: seven presses of Ctrl-Alt-Del in two seconds do not wait for anything.
func TestForced(t *testing.T) {
	t.Parallel()
	i := image{busybox: true, config: bootScript(`kill -STOP $(pidof zinit-server); echo T:go
for i in 1 2 3 4 5 6 7; do kill -INT 1; usleep 50000; done; sleep 100000`)}
	m := boot(t, i.build(t), "quiet zinit.shutdown_ms=600000")
	m.say("forced reboot")
	m.ends(restarted)
}

// TestRescue: a shell before the services, which start when it ends; only what the target pulls in.
func TestRescue(t *testing.T) {
	t.Parallel()
	i := image{busybox: true, config: map[string]string{
		"targets/net.toml":    "[target]\nname = \"net\"\n[dependencies]\nrequires = [\"one\"]\n",
		"services/one.toml":   "[service]\nname = \"one\"\nexec = \"sh -c 'echo T:one >/dev/console; zinit poweroff; sleep 1000'\"\n",
		"services/other.toml": "[service]\nname = \"other\"\nexec = \"sh -c 'echo T:other >/dev/console; sleep 1000'\"\n",
	}}
	m := boot(t, i.build(t), "quiet single zinit.target=net")
	m.say("rescue: the services start when this shell ends")
	m.enter("echo T:shell $((40+2)) $(pidof zinit-server | wc -w)")
	m.say("T:shell 42 0\n")
	m.enter("exit")
	m.say("T:one")
	m.say(poweredOff)
	if strings.Contains(m.text(), "T:other") {
		t.Error("a service outside the target was started")
	}
}

// TestEmergency: a shell when a critical service fails for good, with its name.
func TestEmergency(t *testing.T) {
	t.Parallel()
	i := image{busybox: true, config: map[string]string{
		"services/db.toml": "[service]\nname = \"db\"\nexec = \"sh -c 'exit 3'\"\ncritical = true\n[lifecycle]\nrestart = \"never\"\n",
	}}
	m := boot(t, i.build(t), "quiet")
	m.say("critical service db failed for good")
	m.enter("echo T:failed $ZINIT_FAILED_SERVICE; /sbin/poweroff")
	m.say("T:failed db\n")
	m.say(poweredOff)
}

// TestServerDies: a server that dies at once gets a shell on the console while pid1 goes on trying; it works again
// when the cause is gone.
func TestServerDies(t *testing.T) {
	t.Parallel()
	i := image{busybox: true, config: map[string]string{
		"services/one.toml": "[service]\nname = \"one\"\nexec = \"sh -c 'echo T:one >/dev/console; sleep 1000'\"\n"}}
	m := boot(t, i.build(t), "quiet zinit.log=nonsense")
	m.say("the server does not stay up")
	m.enter("echo T:shell $((40+2)); kill -TERM 1")
	m.say("T:shell 42\n")
	m.say(poweredOff)
}

// TestNoConfig: nothing is configured: a shell.
func TestNoConfig(t *testing.T) {
	t.Parallel()
	i := image{busybox: true, config: nil}
	m := boot(t, i.build(t), "quiet zinit.config=/nowhere")
	m.say("no configuration: /nowhere does not exist")
	m.enter("echo T:shell $((40+2)); /sbin/reboot")
	m.say("T:shell 42\n")
	m.say(restarted)
}

// TestNoConfigNoShell: where there is no shell either, a clear line, and the machine can be ended.
func TestNoConfigNoShell(t *testing.T) {
	t.Parallel()
	i := image{config: map[string]string{}}
	m := boot(t, i.build(t), "quiet zinit.config=/nowhere")
	m.say("no shell here to repair this: no configuration: /nowhere does not exist")
	m.press("ctrl-alt-delete")
	m.ends(restarted)
}

// TestDescriptors: a kernel that gives no standard descriptors, with /dev/null but no /dev/console in the archive.
func TestDescriptors(t *testing.T) {
	t.Parallel()
	i := image{busybox: true, config: bootScript("echo T:console; zinit poweroff")}
	need.Root(t) // cpio makes devices
	m := boot(t, withoutConsole(t, i.build(t)), "quiet")
	m.say("T:console")
	m.ends(poweredOff)
}

// withoutConsole removes dev/console from an archive.
func withoutConsole(t *testing.T, path string) string {
	t.Helper()
	need.Program(t, "cpio")
	dir := t.TempDir()
	script := fmt.Sprintf("cd %s && cpio -idm --quiet <%s && rm dev/console && find . | cpio -o -H newc --quiet >%s/again", dir, path, t.TempDir())
	out := t.TempDir() + "/again"
	script = strings.Replace(script, script[strings.LastIndex(script, ">"):], ">"+out, 1)
	if text, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out
}
