package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/rpc"
)

// oldZinit is where a zinit 0.3.9 is looked for beside PATH.
var oldZinit = os.Getenv("ZINIT_BENCH_PEER")

// logs is W5: services that write lines of 100 bytes as fast as they can, into the ring and into a file. What is timed
// begins when all writers are ready and are let go, and ends when the last line has arrived; then what arrived is looked at.
func (b *bench) logs(t *testing.T) {
	one := fmt.Sprintf("W5 %s lines of 100 bytes", thousands(b.lines))
	floods := []struct {
		name     string
		services int
		lines    int
		file     bool
		who      []string
		wall     float64 // target in s: the writers' own time is in it, which differs from floor to floor
		cpu      float64 // target as a ratio to the Go floor
		most     float64 // target for memory in MB, 0 = none
	}{
		{one + ", ring", 1, b.lines, false, []string{floorC, floorGo, ours, peerZinit}, 0.45, 4.4, 10},
		{one + ", file", 1, b.lines, true, []string{floorC, floorGo, ours, peerS6, peerSvlogd, peerSupervisor}, 0.45, 2.4, 10},
		{fmt.Sprintf("W5 %d services x %s lines, ring", b.talkers, thousands(b.lines/b.talkers)), b.talkers, b.lines / b.talkers, false,
			[]string{floorC, floorGo, ours, peerZinit}, 0.40, 6.7, 0},
	}
	s := listen(t)
	missing := map[string]bool{}
	for _, f := range floods {
		wall := b.row(f.name+": wall", "s", most(f.wall), ofLogs)
		cpu := b.row("   "+f.name[3:]+": CPU", "s", ratioTo(f.cpu), ofLogs)
		memory := b.row("   "+f.name[3:]+": peak RSS", "MB", most(f.most), ofLogs)
		for range b.repeat {
			for _, who := range f.who {
				k := &keeping{b: b, t: t, stamps: s, who: who, services: f.services, lines: f.lines, file: f.file}
				if !k.begin() {
					missing[who] = true
					continue
				}
				k.run()
				wall.add(who, k.wall, nil)
				cpu.add(who, k.cpu, nil)
				if k.peak > 0 {
					memory.add(who, k.peak, nil)
				}
			}
		}
	}
	for who := range missing {
		b.absent = append(b.absent, "not on this machine: "+who)
	}
	slices.Sort(b.absent)
}

func ofLogs(r *row) { r.logs = true }

func thousands(n int) string {
	switch {
	case n%1_000_000 == 0:
		return fmt.Sprintf("%d M", n/1_000_000)
	case n%1000 == 0:
		return fmt.Sprintf("%d k", n/1000)
	}
	return strconv.Itoa(n)
}

// keeping is one contender that keeps what a flood of lines says.
type keeping struct {
	b        *bench
	t        *testing.T
	stamps   *stamps
	who      string
	services int
	lines    int // of each service
	file     bool

	dir     string // of the files
	gate    string // the FIFO at which the writers wait
	release *os.File
	p       *program
	writer  *exec.Cmd // where the contender is only a pipe's end
	wall    float64   // s
	cpu     float64   // s
	peak    float64   // MB, 0 = not known
}

// begin starts the contender with its writers, and returns when these are ready; false when it is not on this machine.
func (k *keeping) begin() bool {
	k.dir = shortDir(k.t)
	k.gate = filepath.Join(k.dir, "go")
	if err := unix.Mkfifo(k.gate, 0o600); err != nil {
		k.t.Fatal(err)
	}
	var err error
	if k.release, err = os.OpenFile(k.gate, os.O_RDWR, 0); err != nil {
		k.t.Fatal(err)
	}
	if !k.launch() {
		k.release.Close()
		return false
	}
	k.stamps.take(k.t, k.services)
	return true
}

func (k *keeping) writers() []string {
	return []string{k.b.service, "flood", k.stamps.path, k.gate, strconv.Itoa(k.lines)}
}

func (k *keeping) launch() bool {
	switch k.who {
	case floorC, floorGo:
		if k.file {
			k.t.Setenv("FLOOR_FILE", k.path())
			defer os.Unsetenv("FLOOR_FILE")
		}
		k.p = k.b.floor(k.t, k.who, "drain", k.services, append(k.writers(), "0")...)
		return true
	case ours:
		k.p = k.b.server(k.t, ours, k.b.services(k.t, k.services, k.writers(), k.definition))
		return true
	case peerZinit:
		return k.launchOld()
	case peerSupervisor:
		return k.launchSupervisor()
	}
	return k.launchPipe()
}

func (k *keeping) definition(int) string {
	text := "[lifecycle]\nrestart = \"never\"\n"
	if k.file {
		text += fmt.Sprintf("[logging]\nfile = %q\nrotate_bytes = 1000000000\n", k.path())
	}
	return text
}

// path is the file of a contender that is told its name.
func (k *keeping) path() string { return filepath.Join(k.dir, "x.log") }

func (k *keeping) launchOld() bool {
	bin, err := exec.LookPath(filepath.Join(oldZinit, "zinit-server"))
	if err != nil {
		return false
	}
	dir := k.t.TempDir()
	for i := range k.services {
		text := fmt.Sprintf("[service]\nname = %q\nexec = %q\noneshot = true\n", name(i), strings.Join(append(k.writers(), strconv.Itoa(i)), " "))
		if err := os.WriteFile(filepath.Join(dir, name(i)+".toml"), []byte(text), 0o644); err != nil {
			k.t.Fatal(err)
		}
	}
	k.p = &program{t: k.t, socket: filepath.Join(shortDir(k.t), "s")}
	k.p.cmd = exec.Command(bin, "-c", dir, "-s", k.p.socket, "--log-level", "error")
	k.p.cmd.Env = append(os.Environ(), "HOME="+k.dir)
	k.p.begin()
	return true
}

const supervisorConfig = `[supervisord]
nodaemon=true
logfile=/dev/null
logfile_maxbytes=0
pidfile=%[1]s/pid
[program:x]
command=%[2]s
autorestart=false
startsecs=0
redirect_stderr=true
stdout_logfile=%[3]s
stdout_logfile_maxbytes=0
`

func (k *keeping) launchSupervisor() bool {
	bin, err := exec.LookPath("supervisord")
	if err != nil {
		return false
	}
	conf := filepath.Join(k.dir, "conf")
	text := fmt.Sprintf(supervisorConfig, k.dir, strings.Join(append(k.writers(), "0"), " "), k.path())
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		k.t.Fatal(err)
	}
	k.p = &program{t: k.t}
	k.p.cmd = exec.Command(bin, "-c", conf)
	k.p.begin()
	return true
}

// launchPipe starts a logger that reads a pipe, as s6 and runit run them, with one writer at the other end.
func (k *keeping) launchPipe() bool {
	logs := filepath.Join(k.dir, "logs")
	if err := os.Mkdir(logs, 0o700); err != nil {
		k.t.Fatal(err)
	}
	args := map[string][]string{peerS6: {"s6-log", "-b", "n20", "s268435455", logs}, peerSvlogd: {"svlogd", logs}}[k.who]
	if _, err := exec.LookPath(args[0]); err != nil {
		return false
	}
	if err := os.WriteFile(filepath.Join(logs, "config"), []byte("s0\n"), 0o600); err != nil { // svlogd: never turn over
		k.t.Fatal(err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		k.t.Fatal(err)
	}
	k.p = &program{t: k.t}
	k.p.cmd = exec.Command(args[0], args[1:]...)
	k.p.cmd.Stdin = read
	k.p.begin()
	words := append(k.writers(), "0")
	k.writer = exec.Command(words[0], words[1:]...)
	k.writer.Stdout = write
	if err := k.writer.Start(); err != nil {
		k.t.Fatal(err)
	}
	read.Close()
	write.Close()
	return true
}

// run lets the writers go, waits for the last line, and looks at what came.
func (k *keeping) run() {
	if k.who == ours {
		k.p.client() // it listens: its start is over
		k.p.rest()
		k.p.rest() // with services that run, it comes to rest later
	}
	if k.who == peerSupervisor || k.who == peerZinit {
		time.Sleep(200 * time.Millisecond) // their starts end somewhat later than the ones of their services
	}
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", k.p.pid()), []byte("5"), 0); err != nil { // the peak of memory begins anew
		k.t.Fatal(err)
	}
	cpu, began := processorTime(k.p.pid()), monotonic()
	k.release.Close()
	ended := k.await()
	k.wall = float64(monotonic()-began) / 1e9
	if ended { // its account is closed
		k.cpu = (k.p.cmd.ProcessState.SystemTime() + k.p.cmd.ProcessState.UserTime()).Seconds() - cpu
	} else {
		k.cpu = processorTime(k.p.pid()) - cpu
		k.peak = field(fmt.Sprintf("/proc/%d/status", k.p.pid()), "VmHWM:") / 1024
	}
	k.check()
	if !ended {
		k.quit()
	}
}

// quit ends a supervisor; how others do that is not judged here.
func (k *keeping) quit() {
	if k.who == ours {
		k.p.stop()
		return
	}
	_ = k.p.cmd.Process.Signal(unix.SIGTERM)
	timer := time.AfterFunc(20*time.Second, func() { _ = k.p.cmd.Process.Kill() })
	defer timer.Stop()
	_ = k.p.cmd.Wait()
}

// await returns when the last line has arrived; ended says that the contender has ended with it.
func (k *keeping) await() (ended bool) {
	switch {
	case k.who == ours && !k.file:
		var names []string
		for i := range k.services {
			names = append(names, name(i))
		}
		if _, err := k.p.client().Wait(context.Background(), names, "exited", 60_000); err != nil {
			k.t.Fatal(err)
		}
		return false
	case k.who == peerZinit:
		k.until(func() bool {
			for i := range k.services {
				if !strings.HasPrefix(k.lastOfOld(name(i)), fmt.Sprintf("%09d ", k.lines-1)) {
					return false
				}
			}
			return true
		})
		return false
	case k.who == ours || k.who == peerSupervisor:
		k.until(func() bool {
			st, err := os.Stat(k.path())
			return err == nil && st.Size() >= int64(k.lines)*100
		})
		return false
	}
	timer := time.AfterFunc(120*time.Second, func() { _ = k.p.cmd.Process.Kill() })
	defer timer.Stop()
	if err := k.p.cmd.Wait(); err != nil {
		log, _ := os.ReadFile(k.p.log)
		k.t.Fatalf("%s: %v\n%s", k.who, err, tail(log))
	}
	if k.writer != nil {
		_ = k.writer.Wait()
	}
	return true
}

func (k *keeping) until(ok func() bool) {
	k.t.Helper()
	if !wait.Until(120*time.Second, ok) {
		k.t.Fatalf("%s: the last line does not come", k.who)
	}
}

// lastOfOld is the last line that zinit 0.3.9 has of a service.
func (k *keeping) lastOfOld(service string) string {
	var lines []struct{ Content string }
	c := k.p.client()
	defer c.Close() //nolint:errcheck // only read from
	params := map[string]any{"name": service, "lines": 1}
	if err := c.Call(context.Background(), "logs.tail", params, &lines); err != nil {
		k.t.Fatal(err)
	}
	if len(lines) == 0 {
		return ""
	}
	return lines[len(lines)-1].Content
}

// check fails unless every line has arrived, in order.
func (k *keeping) check() {
	k.t.Helper()
	switch {
	case k.file:
		k.checkFiles()
	case k.who == ours:
		for i := range k.services {
			lines, err := k.p.client().Logs(context.Background(), rpc.LogQuery{Names: []string{name(i)}, Lines: 1})
			if err != nil || len(lines) != 1 || lines[0].Seq != uint64(k.lines) || !strings.HasPrefix(lines[0].Content, fmt.Sprintf("%09d ", k.lines-1)) {
				k.t.Fatalf("the last line of %s is %v, %v", name(i), lines, err)
			}
		}
	case k.who == floorC || k.who == floorGo:
		if got := strings.TrimSpace(k.p.out.String()); got != strconv.Itoa(k.services*k.lines*100) {
			k.t.Fatalf("%s read %s bytes", k.who, got)
		}
	}
}

// checkFiles reads what was written, oldest file first.
func (k *keeping) checkFiles() {
	k.t.Helper()
	paths := []string{k.path()}
	if k.who == peerS6 || k.who == peerSvlogd {
		paths, _ = filepath.Glob(filepath.Join(k.dir, "logs", "@*"))
		paths = append(paths, filepath.Join(k.dir, "logs", "current"))
	}
	next := 0
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			k.t.Fatal(err)
		}
		scan := bufio.NewScanner(f)
		for scan.Scan() {
			digits, rest, _ := bytes.Cut(scan.Bytes(), []byte(" "))
			if n, err := strconv.Atoi(string(digits)); err != nil || n != next || len(rest) != 89 {
				k.t.Fatalf("%s: line %d is %.40q", k.who, next, scan.Bytes())
			}
			next++
		}
		f.Close()
		_ = os.Remove(path)
	}
	if next != k.lines {
		k.t.Fatalf("%s: %d lines of %d", k.who, next, k.lines)
	}
}

// processorTime is what a process, with all threads it ever had, has used so far, in s.
func processorTime(pid int) float64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(int32(^pid<<3|2), &ts) // CPUCLOCK_SCHED of the process, see clock_getcpuclockid(3)
	return float64(ts.Nano()) / 1e9
}
