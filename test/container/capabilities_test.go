package container

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
)

// usualCapabilities are what a container's engine leaves by default, without those of tracing and of raising limits.
const usualCapabilities = "chown,dac_override,fowner,fsetid,kill,setgid,setuid,setpcap,net_bind_service,net_raw," +
	"sys_chroot,mknod,audit_write,setfcap"

// confinement is a set of rights that a supervisor is run with. The table of docs/containers.md names each.
type confinement struct {
	name string
	wrap []string // what takes the rights away, then executes the rest
	user bool     // services may run as another user
	as   int      // the user of the files and of the client
}

func bounded(capabilities string) []string {
	set := "-all"
	if capabilities != "" {
		set += ",+" + strings.ReplaceAll(capabilities, ",", ",+")
	}
	return []string{"setpriv", "--bounding-set", set, "--inh-caps", "-all", "--"}
}

var confinements = []confinement{
	{"usual", bounded(usualCapabilities), true, 0},
	{"usual and sys_resource", bounded(usualCapabilities + ",sys_resource"), true, 0},
	{"usual and sys_ptrace", bounded(usualCapabilities + ",sys_ptrace"), true, 0},
	{"setuid, setgid and kill alone", bounded("setuid,setgid,kill"), true, 0},
	{"none", bounded(""), false, 0},
	{"none as a user", []string{"setpriv", "--reuid", "1234", "--regid", "1234", "--clear-groups", "--bounding-set", "-all", "--inh-caps", "-all", "--no-new-privs", "--"}, false, 1234},
	{"a user in a user namespace", []string{"setpriv", "--reuid", "1234", "--regid", "1234", "--clear-groups", "--", "unshare", "--user", "--map-root-user"}, false, 1234},
}

// confined runs a server or a keeper with those rights, without control groups, and waits until it answers.
func confined(t *testing.T, how *confinement, files map[string]string, applet ...string) *box {
	t.Helper()
	need.Program(t, "setpriv")
	need.Program(t, "unshare")
	bin := testkit.Binary(t, "")
	dir := boxDir(t, files)
	chown := exec.Command("chown", "-R", strconv.Itoa(how.as), dir)
	if out, err := chown.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	argv := slices.Concat(how.wrap, []string{bin}, applet, []string{"--config", dir + "/cfg", "--socket", dir + "/s"})
	b := enter(t, "mount -t tmpfs -o ro none /sys/fs/cgroup &&", argv, nil)
	b.dir = dir
	b.await("the server to answer", func() bool { _, code := b.command(how.as, "ping"); return code == 0 })
	return b
}

// sleepers are the processes of the container that sleep for so long.
func (b *box) sleepers(seconds string) (pids []int) {
	b.t.Helper()
	for pid := range b.members() {
		line, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
		if strings.HasSuffix(strings.TrimRight(string(line), "\x00"), "sleep\x00"+seconds) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// escapes are services whose processes shed what they can: the session, the parent, the environment and the descriptors.
var escapes = map[string]string{
	"1010": `exec = ["sh", "-c", "setsid sleep 1010 & wait"]`,
	"1011": `exec = ["sh", "-c", "env -i setsid sleep 1011 </dev/null >/dev/null 2>&1 & wait"]`,
	"1012": `exec = ["sh", "-c", "(env -i setsid sh -c 'sleep 1012 & sleep 1012 & wait' </dev/null >/dev/null 2>&1 &); exec sleep 1012"]`,
}

// TestNoEscape: with any set of rights a stop that says stopped has left nothing behind.
func TestNoEscape(t *testing.T) {
	t.Parallel()
	for _, how := range confinements {
		for _, applet := range [][]string{{"server"}, {"pid1"}} {
			t.Run(how.name+"/"+applet[0], func(t *testing.T) {
				t.Parallel()
				noEscape(t, &how, applet...)
			})
		}
	}
}

func noEscape(t *testing.T, how *confinement, applet ...string) {
	files := map[string]string{}
	for seconds, line := range escapes {
		name := "s" + seconds
		files[name+".toml"] = "[service]\nname = \"" + name + "\"\n" + line + "\n[lifecycle]\nstop_timeout_ms = 1000\n"
		if how.user {
			files[name+".toml"] = strings.Replace(files[name+".toml"], "exec", "user = \"nobody\"\nexec", 1)
		}
	}
	b := confined(t, how, files, applet...)
	for seconds := range escapes {
		b.await("the processes of s"+seconds, func() bool { return len(b.sleepers(seconds)) > 0 })
	}
	b.await("all of s1012", func() bool { return len(b.sleepers("1012")) == 3 })
	for seconds := range escapes {
		if out, code := b.command(how.as, "stop", "s"+seconds); code != 0 || len(b.sleepers(seconds)) > 0 {
			t.Errorf("stop s%s: exit code %d, left %v\n%s", seconds, code, b.sleepers(seconds), out)
		}
	}
	if strays, _ := b.command(how.as, "status"); strings.Contains(strays, "stray") {
		t.Errorf("strays:\n%s", strays)
	}
}

// TestDaemonDoesNotMultiply: what a service leaves behind when its main process ends is ended before it is started again.
func TestDaemonDoesNotMultiply(t *testing.T) {
	t.Parallel()
	how := &confinements[0]
	b := confined(t, how, map[string]string{"d.toml": `
[service]
name = "d"
user = "nobody"
exec = ["sh", "-c", "env -i setsid sleep 1013 </dev/null >/dev/null 2>&1 & env -i setsid sleep 1013 </dev/null >/dev/null 2>&1 & exit 3"]
[lifecycle]
restart = "always"
restart_delay_ms = 50
`}, "pid1")
	b.await("five restarts", func() bool {
		out, _ := b.command(0, "list", "-o", "json")
		return !strings.Contains(out, `"restarts": 0`) && restarts(out) >= 5
	})
	if n := len(b.sleepers("1013")); n > 2 {
		t.Errorf("%d daemons", n)
	}
	if out, code := b.command(0, "stop", "d"); code != 0 || len(b.sleepers("1013")) > 0 {
		t.Errorf("exit code %d, left %v\n%s", code, b.sleepers("1013"), out)
	}
}

// restarts reads the number out of `zinit list -o json` of one service.
func restarts(list string) int {
	_, rest, _ := strings.Cut(list, `"restarts":`)
	rest, _, _ = strings.Cut(strings.TrimSpace(rest), ",")
	n, _ := strconv.Atoi(strings.TrimSpace(rest))
	return n
}

// TestHiddenProcesses: where /proc shows other users' processes to nobody (hidepid), what cannot be proven is said, with
// the pids, and never taken for gone.
func TestHiddenProcesses(t *testing.T) {
	t.Parallel()
	how := &confinement{wrap: append([]string{"sh", "-c", `mount -o remount,hidepid=2 /proc && exec "$@"`, "sh"}, bounded(usualCapabilities)...)}
	b := confined(t, how, map[string]string{"h.toml": `
[service]
name = "h"
user = "nobody"
exec = ["sh", "-c", "setsid sleep 1014 & exec sleep 1014"]
[lifecycle]
stop_timeout_ms = 500
`}, "server")
	b.await("both processes", func() bool { return len(b.sleepers("1014")) == 2 })
	out, code := b.command(0, "stop", "h")
	if left := b.sleepers("1014"); len(left) > 0 && code == 0 {
		t.Errorf("left %v, exit code %d\n%s", left, code, out)
	} else if len(left) > 0 && !strings.Contains(out, status(left[0], "NSpid")[strings.LastIndexByte(status(left[0], "NSpid"), '\t')+1:]) {
		t.Errorf("stop does not name pid %s:\n%s", status(left[0], "NSpid"), out)
	}
}

// TestNotPermitted: a server that may not signal what it has started says so, and its end too.
func TestNotPermitted(t *testing.T) {
	t.Parallel()
	how := &confinement{wrap: bounded("setuid,setgid")}
	b := confined(t, how, map[string]string{"n.toml": `
[service]
name = "n"
user = "nobody"
exec = ["sleep", "1015"]
[lifecycle]
stop_timeout_ms = 200
`}, "server")
	b.await("the process", func() bool { return len(b.sleepers("1015")) == 1 })
	ids := strings.Fields(status(b.sleepers("1015")[0], "NSpid"))
	want := "pid " + ids[len(ids)-1] + " (sleep, user nobody): not permitted"
	for _, args := range [][]string{{"kill", "n", "HUP"}, {"signal-reload", "n"}} {
		if out, code := b.command(0, args...); code != 1 || !strings.Contains(out, want) || strings.Contains(out, "sent") {
			t.Errorf("%v: exit code %d, want %q\n%s", args, code, want, out)
		}
	}
	if out, code := b.command(0, "stop", "n"); code == 0 || !strings.Contains(out, want) {
		t.Errorf("exit code %d, want %q\n%s", code, want, out)
	}
	b.says("cannot send SIGTERM to n: " + want)
	b.says("n cannot be ended: " + want)
	b.signal(syscall.SIGTERM)
	if code := b.wait(); code != 1 || !strings.Contains(b.out.String(), "left behind: "+want) {
		t.Errorf("exit code %d\n%s", code, b.out)
	}
}

// command is zinit, run by a user, with its exit code.
func (b *box) command(user int, args ...string) (out string, code int) {
	b.t.Helper()
	cmd := exec.Command(testkit.Binary(b.t, ""), args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(user), Gid: uint32(user)}}
	cmd.Env = append(os.Environ(), "ZINIT_SOCKET="+b.dir+"/s")
	text, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		b.t.Fatal(err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}
