package container

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
)

// usualCapabilities are what a container's engine leaves by default, without those of tracing and of raising limits.
const usualCapabilities = "chown,dac_override,fowner,fsetid,kill,setgid,setuid,setpcap,net_bind_service,net_raw," +
	"sys_chroot,mknod,audit_write,setfcap"

// confinement is a set of rights that a supervisor is run with.
type confinement struct {
	name  string
	wrap  []string // what takes the rights away, then executes the rest
	user  bool     // services may run as another user
	as    int      // the user of the files and of the client
	row   string   // how the row of the table in docs/containers.md begins that has it; TestTable
	fails string   // which of costly cannot start
}

func bounded(capabilities string) []string {
	set := "-all"
	if capabilities != "" {
		set += ",+" + strings.ReplaceAll(capabilities, ",", ",+")
	}
	return []string{"setpriv", "--bounding-set", set, "--inh-caps", "-all", "--"}
}

// unprivileged begins with being another user.
var unprivileged = []string{"setpriv", "--reuid", "1234", "--regid", "1234", "--clear-groups"}

var confinements = []confinement{
	{"all but sys_resource", []string{"setpriv", "--bounding-set", "-sys_resource", "--inh-caps", "-all", "--"}, true, 0,
		"all of them but sys_resource", "limit oom"},
	{"usual", bounded(usualCapabilities), true, 0, strings.ReplaceAll(usualCapabilities, ",", ", "), "limit nice oom"},
	{"usual and sys_resource", bounded(usualCapabilities + ",sys_resource"), true, 0, "the same and sys_resource", "nice"},
	{"usual and sys_ptrace", bounded(usualCapabilities + ",sys_ptrace"), true, 0, "the same and sys_ptrace", "limit nice oom"},
	{"setuid, setgid and kill alone", bounded("setuid,setgid,kill"), true, 0, "setuid, setgid, kill", "dir limit nice oom"},
	notPermitted,
	{"none", bounded(""), false, 0, "none, as root", "dir limit nice oom user"},
	{"none as a user", slices.Concat(unprivileged, []string{"--bounding-set", "-all", "--inh-caps", "-all", "--no-new-privs", "--"}), false, 1234,
		"none, as a user, with no_new_privs", "dir limit nice oom user"},
	{"a user in a user namespace", slices.Concat(unprivileged, []string{"--", "unshare", "--user", "--map-root-user"}), false, 1234,
		"a user in a user namespace (`unshare --user --map-root-user`)", "dir limit nice oom user"},
}

// notPermitted may become another user, and not signal what runs as one.
var notPermitted = confinement{"setuid and setgid alone", bounded("setuid,setgid"), true, 0, "setuid, setgid", "dir limit nice oom"}

// costly are services that need rights: by name, the key and what the reason of a failed start must have.
var costly = map[string]struct{ keys, reason string }{
	"user":  {"user = \"nobody\"\n", "cannot become"},
	"limit": {"limits = { rtprio = 50 }\n", "rtprio"},
	"nice":  {"nice = -5\n", "nice"},
	"oom":   {"oom_score_adj = -500\n", "oom_score_adj"},
	"dir":   {"dir = \"DIR/private\"\n", "private"},
}

// TestTable: every set of the table in docs/containers.md is tried, and every one that is tried stands there.
func TestTable(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(testkit.Root(), "docs/containers.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "| Set, exactly |")
	var rows, tried []string
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, " | "); len(cells) == 4 && strings.HasPrefix(line, "| ") {
			rows = append(rows, strings.TrimPrefix(cells[0], "| "))
		} else if !strings.HasPrefix(line, "|") && len(rows) > 0 {
			break
		}
	}
	for _, how := range confinements {
		tried = append(tried, how.row)
	}
	if !slices.Equal(rows, tried) {
		t.Errorf("the table has\n%q, tried are\n%q", rows, tried)
	}
}

// TestCosts: what needs a right that is not there fails and names it, and nothing else does.
func TestCosts(t *testing.T) {
	t.Parallel()
	for _, how := range confinements {
		t.Run(how.name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{}
			for name, c := range costly {
				files[name+".toml"] = "[service]\nname = \"" + name + "\"\nexec = [\"sleep\", \"1016\"]\n" + c.keys + "[lifecycle]\nrestart = \"never\"\nstop_timeout_ms = 200\n"
			}
			b := confined(t, &how, files, "server")
			fails := strings.Fields(how.fails)
			if has, _ := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_SYS_RESOURCE, 0, 0, 0); has == 0 {
				fails = append(fails, "limit", "oom") // whatever we leave: we have not got it ourselves
			}
			for name, c := range costly {
				want := slices.Contains(fails, name)
				var out string
				b.await(name+" to have started or not", func() bool {
					out, _ = b.command(how.as, "status", name)
					return strings.Contains(out, "failed") || strings.Contains(out, "running")
				})
				if failed := strings.Contains(out, "failed"); failed != want || want && !strings.Contains(out, c.reason) {
					t.Errorf("%s failed: %v, want %v with %q\n%s", name, failed, want, c.reason, out)
				}
			}
		})
	}
}

// confined runs a server or a keeper with those rights, without control groups, and waits until it answers.
func confined(t *testing.T, how *confinement, files map[string]string, applet ...string) *box {
	t.Helper()
	need.Program(t, "setpriv")
	need.Program(t, "unshare")
	bin := testkit.Binary(t, "")
	dir := boxDir(t, files)
	private := filepath.Join(dir, "private") // of a user that nobody else is
	if err := os.Mkdir(private, 0o700); err != nil {
		t.Fatal(err)
	}
	chown := exec.Command("chown", "-R", strconv.Itoa(how.as), dir)
	if out, err := chown.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Chown(private, 4321, 4321); err != nil {
		t.Fatal(err)
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
		if how.name == notPermitted.name {
			continue // see TestNotPermitted
		}
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
	how := &notPermitted
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
