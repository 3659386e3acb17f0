package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// idleJobs is how many jobs wait beside the services of W4: for the clock, and for changes of zone files.
const idleJobs = 100

// idle is W4: what server and pid1 do while nothing happens, each with services that sleep and jobs that wait.
func (b *bench) idle(t *testing.T) {
	wakes := b.row(fmt.Sprintf("W4 idle, %d services, %d jobs: wake-ups, server", b.sizes.idle, idleJobs), "1/s", most(0.05))
	pid1 := b.row("   wake-ups, pid1", "1/s", most(0.05))
	cpu := b.row("   CPU a minute, server", "ms", most(1))
	s := listen(t)
	stay := []string{b.service, "stay", s.path}
	dir := b.services(t, b.sizes.idle, stay, nil)
	for i := range idleJobs { // none of which is due while it is measured
		job := fmt.Sprintf("[service]\nname = \"job%d\"\nexec = \"true\"\n[schedule]\ncron = \"0 3 29 2 *\"\ntimezone = \"Europe/Paris\"\njitter = \"1h\"\n", i)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("job%d.toml", i)), []byte(job), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p, server := b.keeper(t, dir)
	s.take(t, b.sizes.idle)
	floor := b.floor(t, floorGo, "start", b.sizes.idle, append(stay, "0")...)
	s.take(t, b.sizes.idle)
	if *measure {
		time.Sleep(15 * time.Second) // the ends of the start: collector, timers, the log's window of 10 s
	}
	before := []watched{watch(server), watch(p.pid()), watch(floor.pid())}
	time.Sleep(b.idleFor) // the span that is measured
	seconds := b.idleFor.Seconds()
	wakes.add(ours, float64(watch(server).switches-before[0].switches)/seconds, nil)
	cpu.add(ours, (watch(server).ms-before[0].ms)*60/seconds, nil)
	pid1.add(ours, float64(watch(p.pid()).switches-before[1].switches)/seconds, nil)
	wakes.add(floorGo, float64(watch(floor.pid()).switches-before[2].switches)/seconds, nil)
	floor.stop()
	p.stop()
}

// keeper starts zinit pid1 over a server and returns it with the server's pid.
func (b *bench) keeper(t *testing.T, dir string) (*program, int) {
	p := &program{t: t, socket: filepath.Join(shortDir(t), "s")}
	p.cmd = exec.Command(b.zinit, "pid1", "--config", dir, "--socket", p.socket)
	p.cmd.Env = append(os.Environ(), "ZINIT_CGROUP=0")
	p.begin()
	ping, err := p.client().Ping(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if ping.PID == p.pid() {
		t.Fatal("there is no keeper")
	}
	return p, ping.PID
}

// watched is what a process has done so far.
type watched struct {
	switches int
	ms       float64
}

func watch(pid int) (w watched) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	for _, th := range threads {
		data, _ := os.ReadFile(th + "/status")
		for line := range strings.SplitSeq(string(data), "\n") {
			if rest, ok := strings.CutPrefix(line, "voluntary_ctxt_switches:"); ok { // being preempted is no wake-up
				n, _ := strconv.Atoi(strings.TrimSpace(rest))
				w.switches += n
			}
		}
		w.ms += firstNumber(th+"/schedstat") / 1e6
	}
	return w
}

// size is W9: the file, and what it takes to hold one service.
func (b *bench) size(t *testing.T) {
	st, err := os.Stat(b.zinit)
	if err != nil {
		t.Fatal(err)
	}
	b.row("W9 binary", "MB", most(9.5)).add(ours, float64(st.Size())/1e6, nil)
	s := listen(t)
	stay := []string{b.service, "stay", s.path}
	dir := b.services(t, 1, stay, nil)
	for range b.repeat {
		p := b.server(t, ours, dir)
		s.take(t, 1)
		p.settle(1)
		p.rest()
		b.row("   RSS with one service", "MB", most(8)).add(ours, rssOf(p.pid()), nil)
		p.stop()
		k, server := b.keeper(t, dir)
		s.take(t, 1)
		k.rest()
		b.row("   pid1 RSS", "MB").add(ours, rssOf(k.pid()), nil)
		b.row("   pid1 + server PSS", "MB", most(8.4)).add(ours, pssOf(k.pid())+pssOf(server), nil)
		k.stop()
	}
}
