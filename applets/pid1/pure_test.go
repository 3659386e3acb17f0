package pid1

import (
	"bytes"
	"flag"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/applets/pid1/early"
	"github.com/zinit/zinit/supervisor/keeper"
)

func TestParseOptions(t *testing.T) {
	tests := []struct {
		args    string
		want    options
		unknown []string
	}{
		{"", options{}, nil},
		{"--container", options{container: "1"}, nil},
		{"-c", options{container: "1"}, nil},
		{"--container=0", options{container: "0"}, nil},
		{"--config /etc/z --socket=/run/s --log-stdout=json --log-stdout --lenient",
			options{server: []string{"--config", "/etc/z", "--socket=/run/s", "--log-stdout=json", "--log-stdout", "--lenient"}}, nil},
		{"-s /run/s --target net", options{server: []string{"-s", "/run/s", "--target", "net"}}, nil},
		{"--shutdown-ms 500", options{shutdownMS: 500}, nil},
		{"--shutdown-ms=x", options{shutdownMS: -1}, []string{"--shutdown-ms=x"}},
		{"--stop-budget 58s", options{shutdownMS: 58000}, nil},
		{"--stop-budget=2m --", options{shutdownMS: 120000, command: []string{}}, nil},
		{"--stop-budget 1500ms", options{shutdownMS: 1500}, nil},
		{"--stop-budget 9", options{shutdownMS: 9000}, nil},
		{"--stop-budget soon", options{shutdownMS: -1}, []string{"--stop-budget soon (want a time such as 58s or 2m)"}},
		{"--stop-budget 999999h", options{shutdownMS: -1}, []string{"--stop-budget 999999h (want a time such as 58s or 2m)"}},
		{"--no-wait --wait-timeout 5s -- x", options{noWait: true, waitMS: 5000, command: []string{"x"}}, nil},
		{"--wait-timeout= -- x", options{waitMS: -1, command: []string{"x"}}, []string{"--wait-timeout  (want a time such as 58s or 2m)"}},
		{"--config d -- sh -c x --config", options{server: []string{"--config", "d"}, command: []string{"sh", "-c", "x", "--config"}}, nil},
		{"--", options{command: []string{}}, nil},
		{"splash quiet --frob -x", options{}, []string{"splash", "quiet", "--frob", "-x"}},
		{"--config", options{}, []string{"--config"}},
		{"--help", options{help: true}, nil},
	}
	for _, test := range tests {
		got, unknown := parseOptions(strings.Fields(test.args))
		if !reflect.DeepEqual(got, test.want) || !slices.Equal(unknown, test.unknown) {
			t.Errorf("%q: %+v %q, want %+v %q", test.args, got, unknown, test.want, test.unknown)
		}
	}
}

func TestParseKernelWords(t *testing.T) {
	tests := []struct {
		line string
		want kernelWords
	}{
		{"", kernelWords{}},
		{"BOOT_IMAGE=/vmlinuz root=/dev/vda1 ro splash foo=1 a.b=2 -- -x\n", kernelWords{}},
		{"zinit.log=debug zinit.config=/cfg zinit.target=net zinit.container=1 zinit.shutdown_ms=5000 quiet single",
			kernelWords{log: "debug", config: "/cfg", target: "net", container: "1", shutdownMS: 5000, rescue: true, quiet: true}},
		{`zinit.config="/a dir" rescue`, kernelWords{config: "/a dir", rescue: true}},
		{"zinit.log=info zinit.log=warn zinit.container=0", kernelWords{log: "warn", container: "0"}},
		{"zinitdebug=1 zinit.shutdown_ms=never", kernelWords{log: "debug"}},
		{"zinit.target= zinit.frob=9 quiet=1 1", kernelWords{rescue: true}},
		{"-- single", kernelWords{rescue: true}},
		{"zinit.lenient", kernelWords{lenient: true}},
		{"zinit.lenient=0", kernelWords{}},
		{"zinit.log=\"unterminated", kernelWords{log: "unterminated"}},
	}
	for _, test := range tests {
		if got := parseKernelWords(test.line); got != test.want {
			t.Errorf("%q: %+v, want %+v", test.line, got, test.want)
		}
	}
	words := kernelWords{log: "debug", config: "/a", target: "net", lenient: true}
	got := words.serverFlags([]string{"--config=/b", "--lenient"})
	if want := []string{"--log-level", "debug", "--target", "net", "--config=/b", "--lenient"}; !slices.Equal(got, want) {
		t.Errorf("flags %q, want %q", got, want)
	}
	words = kernelWords{quiet: true}
	if got := words.serverFlags(nil); !slices.Equal(got, []string{"--log-level", "warn"}) {
		t.Errorf("quiet: %q", got)
	}
	if got := words.serverFlags([]string{"--log-level=info"}); !slices.Equal(got, []string{"--log-level=info"}) {
		t.Errorf("quiet, but a level was given: %q", got)
	}
}

func FuzzKernelWords(f *testing.F) {
	f.Add(`a "b c" zinit.config="x y"=z quiet -- single`)
	f.Fuzz(func(t *testing.T, line string) {
		k := parseKernelWords(line)
		if len(k.config) > len(line) || k.shutdownMS < 0 {
			t.Errorf("%+v", k)
		}
	})
}

func TestDecideMode(t *testing.T) {
	const other = 4026532000
	tests := []struct {
		what string
		s    surroundings
		flag string
		want keeper.Mode
	}{
		{"bare machine", surroundings{first: true, namespace: initialPIDNamespace}, "", keeper.Machine},
		{"initramfs without /proc", surroundings{first: true}, "", keeper.Machine},
		{"docker", surroundings{first: true, namespace: other, signs: true}, "", keeper.Container},
		{"unshare without any sign", surroundings{first: true, namespace: other}, "", keeper.Container},
		{"a container is never a machine", surroundings{first: true, namespace: other}, "0", keeper.Container},
		{"a container is never a machine, by variable", surroundings{first: true, namespace: other, env: "0"}, "", keeper.Container},
		{"flag", surroundings{first: true, namespace: initialPIDNamespace}, "1", keeper.Container},
		{"kernel word", surroundings{first: true, namespace: initialPIDNamespace, kernel: "1"}, "", keeper.Container},
		{"kernel word against signs", surroundings{first: true, namespace: initialPIDNamespace, kernel: "0", signs: true}, "", keeper.Machine},
		{"flag against kernel word", surroundings{first: true, namespace: initialPIDNamespace, kernel: "1"}, "0", keeper.Machine},
		{"variable", surroundings{first: true, namespace: initialPIDNamespace, env: "1"}, "", keeper.Container},
		{"signs only", surroundings{first: true, signs: true}, "", keeper.Container},
		{"not process 1", surroundings{namespace: initialPIDNamespace, signs: true}, "0", keeper.Plain},
	}
	for _, test := range tests {
		if got := decideMode(test.s, test.flag); got != test.want {
			t.Errorf("%s: %v, want %v", test.what, got, test.want)
		}
	}
}

func TestContainerSigns(t *testing.T) {
	t.Setenv("container", "")
	root := t.TempDir()
	if err := os.Mkdir(root+"/run", 0o755); err != nil {
		t.Fatal(err)
	}
	if containerSigns(root) {
		t.Error("a sign where there is none")
	}
	for _, file := range []string{"/.dockerenv", "/run/.containerenv"} {
		if err := os.WriteFile(root+file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if !containerSigns(root) {
			t.Errorf("%s is not seen", file)
		}
		_ = os.Remove(root + file)
	}
	if t.Setenv("container", "podman"); !containerSigns(root) {
		t.Error("the variable is not seen")
	}
}

// TestSignalTable is the table of the documentation.
func TestSignalTable(t *testing.T) {
	want := map[int]act{15: actPowerOff, 2: actReboot, 30: actPowerOff, 10: actUpgrade, 12: actReexec, 1: actReload, 37: actHalt, 38: actPowerOff,
		39: actReboot, 41: actSwitchRoot}
	if !reflect.DeepEqual(machineSignals, want) {
		t.Errorf("machine: %v", machineSignals)
	}
	want = map[int]act{15: actStop, 2: actStop, 30: actStop, 3: actStop, 10: actUpgrade, 12: actReexec, 1: actReload, 37: actStop, 38: actStop,
		39: actStop}
	if !reflect.DeepEqual(containerSignals, want) {
		t.Errorf("container: %v", containerSignals)
	}
}

// TestBudget: only who has somebody waiting for its end cuts what the services ask for, and tells the server so.
func TestBudget(t *testing.T) {
	for _, c := range []struct {
		mode   keeper.Mode
		flagMS int
		budget int64 // seconds; the services ask for 100
		killMS string
	}{
		{keeper.Container, 0, 8, "6000"},
		{keeper.Container, 60000, 60, "45000"},
		{keeper.Plain, 0, 130, ""},
		{keeper.Plain, 2000, 2, "1500"},
		{keeper.Machine, 0, 130, ""},
		{keeper.Machine, 2000, 2, "1500"},
	} {
		s := newShim()
		s.mode, s.opt.shutdownMS, s.stop.longest = c.mode, c.flagMS, 100*second
		t.Setenv(keeper.EnvKillAfter, "1") // an outer one's
		told := ""
		for _, e := range s.serverEnv() {
			if value, ok := strings.CutPrefix(e, keeper.EnvKillAfter+"="); ok {
				told += value
			}
		}
		if s.budget() != c.budget*second || told != c.killMS {
			t.Errorf("%v, flag %d: budget %s, kill after %q", c.mode, c.flagMS, seconds(s.budget()), told)
		}
	}
}

func TestRetryDelay(t *testing.T) {
	tests := []struct {
		streak int
		killed bool
		want   int64
	}{
		{1, false, 0}, {1, true, 0}, {2, false, 10}, {3, false, 20}, {6, false, 160}, {11, false, 5000}, {1000000, false, 5000},
		{6, true, 100}, {49, true, 100}, {50, true, 5000},
	}
	for _, test := range tests {
		if got := retryDelay(test.streak, test.killed) / millisecond; got != test.want {
			t.Errorf("streak %d, killed %v: %d ms, want %d", test.streak, test.killed, got, test.want)
		}
	}
}

func TestBurst(t *testing.T) {
	var b burst
	for i := range int64(6) {
		if b.press(100*second + i*300*millisecond) {
			t.Fatalf("press %d of a quick series forces", i+1)
		}
	}
	if !b.press(100*second + 1900*millisecond) {
		t.Error("the seventh press within two seconds does not force")
	}
	b = burst{}
	for i := range int64(100) {
		if b.press(second + i*400*millisecond) {
			t.Fatal("slow presses force")
		}
	}
}

// TestPressesBetweenRounds: signals of one kind that came before the loop looked are each one press of Ctrl-Alt-Del.
func TestPressesBetweenRounds(t *testing.T) {
	runtime.LockOSThread() // for good: the mask of this thread changes
	page, err := unix.MemfdCreate("counts", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	counts := make([]byte, 4096)
	counts[4*int(unix.SIGINT)] = 6 // a seventh would force
	if _, err := unix.Write(page, counts); err != nil {
		t.Fatal(err)
	}
	s := shim{mode: keeper.Machine, con: console{fd: -1}}
	s.stop.phase, s.stop.action = phaseStop, actReboot
	early.Adopt(page)
	s.signals()
	if at := slices.IndexFunc(s.stop.presses.times[:], func(at int64) bool { return at != 0 }); at != 1 {
		t.Errorf("six presses before a round of the loop left %v", s.stop.presses.times)
	}
}

func TestActs(t *testing.T) {
	tests := []struct {
		reason  keeper.Reason
		mode    keeper.Mode
		pending act
		want    act
	}{
		{keeper.ByeStop, keeper.Machine, actNone, actPowerOff},
		{keeper.ByeStop, keeper.Machine, actReboot, actReboot},
		{keeper.Halt, keeper.Machine, actReboot, actHalt},
		{keeper.Reboot, keeper.Machine, actNone, actReboot},
		{keeper.PowerOff, keeper.Container, actNone, actStop},
		{keeper.ByeStop, keeper.Plain, actStop, actStop},
	}
	for _, test := range tests {
		if got := actOf(test.reason, test.mode, test.pending); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
	for n, a := range machineSignals {
		if orderOf(a) == keeper.OrderStop && a != actSwitchRoot && a != actReexec {
			t.Errorf("signal %d on a machine asks for a plain stop", n)
		}
	}
	for n := range containerSignals {
		if _, ok := machineSignals[n]; !ok && n != 3 { // a machine has no terminal with Ctrl-\
			t.Errorf("signal %d means something in a container only", n)
		}
	}
}

func TestParseStat(t *testing.T) {
	line := "1234 (a) b) (c) Z 7 1234 1234 0 -1 2097228 0 0 0 0 0 0 0 0 20 0 1 0 987654 0 0 18446744073709551615 0"
	if st, ok := parseStat(line); !ok || st != (procStat{state: 'Z', ppid: 7, flags: 2097228, threads: 1, start: 987654}) {
		t.Errorf("%+v %v", st, ok)
	}
	for _, bad := range []string{"", "1 (x", "1 (x)", "1 (x) S 1 2"} {
		if st, ok := parseStat(bad); ok {
			t.Errorf("%q is taken: %+v", bad, st)
		}
	}
	if st, ok := readStat(os.Getpid()); !ok || st.ppid != os.Getppid() || st.start == 0 {
		t.Errorf("own stat: %+v %v", st, ok)
	}
}

func TestParseTables(t *testing.T) {
	swaps := "Filename\t\t\t\tType\t\tSize\n/dev/vda2                               partition\t1\t0\t-2\n/swap\\040file  file 1 0 -3\n"
	if got := parseSwaps(swaps); !slices.Equal(got, []string{"/dev/vda2", "/swap file"}) {
		t.Errorf("swaps %q", got)
	}
	info := `22 1 0:21 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:22 / /mnt/a\040b rw,nosuid - tmpfs tmpfs rw,size=1k
24 22 0:23 / /x rw master:1 propagate_from:2 - fuse.sshfs host:/dir rw
broken line
`
	want := []mounted{{"/", "ext4", "/dev/vda"}, {"/mnt/a b", "tmpfs", "tmpfs"}, {"/x", "fuse.sshfs", "host:/dir"}}
	if got := parseMountinfo(info); !reflect.DeepEqual(got, want) {
		t.Errorf("mounts %+v", got)
	}
	for in, want := range map[string]string{`a\134b`: `a\b`, `end\04`: `end\04`, `\9`: `\9`, "": "", `\040`: " "} {
		if got := unescape(in); got != want {
			t.Errorf("unescape(%q) = %q", in, got)
		}
	}
}

func TestDeviceNumber(t *testing.T) {
	for text, want := range map[string]uint64{"253:0": 253 << 8, "7:300": 7<<8 | 300&0xff | 300>>8<<20} {
		if got, ok := deviceNumber(text); !ok || got != want {
			t.Errorf("%q: %#x, want %#x", text, got, want)
		}
	}
	for _, text := range []string{"", "253", "a:b", "253:", ":1"} {
		if _, ok := deviceNumber(text); ok {
			t.Errorf("%q is taken", text)
		}
	}
	// The kernel's own words: sizeof(struct dm_ioctl) is 312, DM_DEV_REMOVE is 0xc138fd04.
	if unsafe.Sizeof(unix.DmIoctl{}) != 312 || unix.DM_DEV_REMOVE != 0xc138fd04 {
		t.Errorf("dm_ioctl has %d bytes, DM_DEV_REMOVE is %#x", unsafe.Sizeof(unix.DmIoctl{}), uint32(unix.DM_DEV_REMOVE))
	}
}

func TestHostname(t *testing.T) {
	for text, want := range map[string]string{"": "", "box\n": "box", "# name\n\n  box2  # x\nbox3": "box2", "\n\n": "",
		strings.Repeat("a", 90): strings.Repeat("a", 64)} {
		if got := hostname(text); got != want {
			t.Errorf("hostname(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"run": 0o755, "data": 0o644} {
		if err := os.WriteFile(dir+"/"+name, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	_ = os.Mkdir(dir+"/dir", 0o755)
	env := []string{"A=1", "PATH=/nonexistent:" + dir}
	for name, want := range map[string]error{"run": nil, "data": unix.EACCES, "dir": unix.EACCES, "none": unix.ENOENT, "/any/thing": nil} {
		path, err := lookPath(name, env)
		if err != want || err == nil && name == "run" && path != dir+"/run" {
			t.Errorf("%s: %q %v, want %v", name, path, err, want)
		}
	}
}

// someState is a state with something in every field that 0.4.0 has.
func someState() *shim {
	s := newShim()
	s.mode, s.started, s.oom, s.target, s.panics = keeper.Container, 77, "300", "net", 2
	s.opt.shutdownMS, s.opt.command, s.flags = 9000, []string{"sh", "-c", "x"}, []string{"--config", "/c"}
	s.con.quiet = true
	s.timers[timerRespawn], s.timers[timerDeadline] = 5, 6
	s.main.pid, s.shell = 12, shell{13, true}
	s.server = server{pid: 14, self: -1, exe: 8, path: "/z", starts: 3, spawnedAt: 4, settled: true, greeted: true, ever: true,
		streak: 2, bye: keeper.Reboot, byeCode: 5, crash: "c", rollback: "r", bad: 6}
	s.upgrade = upgrade{exe: 9, path: "/old", deaths: 2, greeted: true, fresh: true}
	s.stop = stopping{phase: phaseStop, action: actHalt, status: 7, fixed: true, longest: 8, until: 9, crashes: 1, root: "/n",
		init: []string{"/sbin/init", "x"}}
	return s
}

// TestState: what one image saves is what the next one has, of every field that matters.
func TestState(t *testing.T) {
	s := someState()
	s.main.waiting, s.main.listen, s.timers[timerMain], s.opt.waitMS, s.holder = true, 3, 8, 9, 15
	fd, err := s.saveState()
	if err != nil {
		t.Fatal(err)
	}
	defer closeFD(fd)
	got, ok := loadState(fd)
	if !ok {
		t.Fatal("cannot be loaded")
	}
	s.page = 0
	sameState(t, got, s)
}

func sameState(t *testing.T, got, want *shim) {
	t.Helper()
	got.store, want.store, got.counted = nil, nil, 0
	if !reflect.DeepEqual(got, want) {
		t.Errorf("loaded\n%+v, want\n%+v", got, want)
	}
}

var update = flag.Bool("update", false, "write the golden file of this version anew")

// TestStateGolden: what each version wrote is read for ever. 0.4.0 reads what this one writes: it stands first in the file.
func TestStateGolden(t *testing.T) {
	dir := "testdata/golden/"
	if *update {
		if err := os.WriteFile(dir+"v2.state", someState().stateBytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"v1.state", "v2.state"} {
		b, err := os.ReadFile(dir + name)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := parseState(b)
		if !ok {
			t.Errorf("%s cannot be read", name)
			continue
		}
		sameState(t, got, someState())
	}
	first, err := os.ReadFile(dir + "v1.state")
	if err != nil || !bytes.HasPrefix(someState().stateBytes(), first) {
		t.Errorf("what is written does not begin with what 0.4.0 writes and reads (%v)", err)
	}
}

func FuzzState(f *testing.F) {
	s := newShim()
	s.flags = []string{"--config", "/c"}
	fd, err := s.saveState()
	if err != nil {
		f.Fatal(err)
	}
	b := make([]byte, 4096)
	n, _ := unix.Pread(fd, b, 0)
	f.Add(b[:n])
	f.Fuzz(func(t *testing.T, b []byte) {
		fd, err := unix.MemfdCreate("x", unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		defer closeFD(fd)
		_, _ = unix.Write(fd, b)
		loadState(fd)
	})
}

func TestMountTable(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range bootMounts {
		parent := m.target[:max(strings.LastIndexByte(m.target, '/'), 0)]
		if seen[m.target] {
			t.Errorf("%s is mounted twice", m.target)
		}
		for _, base := range []string{"/dev", "/sys"} {
			if strings.HasPrefix(parent, base) && !seen[base] {
				t.Errorf("%s comes before %s", m.target, base)
			}
		}
		seen[m.target] = true
	}
	for _, path := range []string{"/", "/proc"} {
		if !isMountPoint(path) {
			t.Errorf("%s is not seen as a mount point", path)
		}
	}
	if isMountPoint(t.TempDir()) || isMountPoint("/nonexistent") {
		t.Error("a plain directory is seen as a mount point")
	}
}

func TestConfigDirs(t *testing.T) {
	t.Setenv("ZINIT_CONFIG_DIR", "")
	for flags, want := range map[string]string{"": "/etc/zinit", "--config /a": "/a", "--config=/a --lenient --config-dir /b": "/a /b",
		"--log-level debug": "/etc/zinit"} {
		if got := strings.Join(configDirs(strings.Fields(flags)), " "); got != want {
			t.Errorf("%q: %q, want %q", flags, got, want)
		}
	}
	t.Setenv("ZINIT_CONFIG_DIR", "/x:/y")
	if got := strings.Join(configDirs(nil), " "); got != "/x /y" {
		t.Errorf("variable: %q", got)
	}
}

func TestGroupGen(t *testing.T) {
	for text, want := range map[string]uint64{
		"": 0, "0::": 0, "0::x.7": 0, "0::/\n": 0, "0::/a.b/c\n": 0, "0::/user.slice/x.7\n": 0,
		"0::/zinit-12-99/web.7\n":                    7,
		"1:cpu:/x.3\n0::/zinit-12-99/we.b.8\n":       8,
		"0::/a/zinit-1-2/db.123 (deleted)\n":         123,
		"0::/zinit-1-2/supervisor\n":                 0,
		"0::/zinit-1-2/x.y\n":                        0,
		"0::/zinit-1-2/web.7/below.9\n":              0,
		"9:name=systemd:/a\n0::/zinit-77-5/one.1001": 1001,
	} {
		if got := groupGen(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
