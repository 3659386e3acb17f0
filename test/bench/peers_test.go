package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// work is what a supervisor, or a floor, is given to do: n services, the last argument of each its index.
type work struct {
	n       int
	command []string
	needs   func(i int) []int // which services must run before the i-th is started, nil = none
	again   bool              // whoever ends is started again at once
	dirs    map[string]string // the definitions, by contender
}

// peer is another supervisor.
type peer struct {
	name, path string
	depends    bool // it starts by dependencies
	restarts   bool // it can start again without a delay
	write      func(p *peer, dir string, w *work) error
	argv       func(p *peer, dir, socket string) []string
	end        syscall.Signal // for the ordered end, 0 = SIGTERM
	code       int            // its exit code then
}

// peerFlag is the value of -peer.
type peerFlag []string

func (f *peerFlag) String() string { return strings.Join(*f, ",") }

func (f *peerFlag) Set(s string) error {
	name, path, ok := strings.Cut(s, "=")
	if !ok || path == "" {
		return fmt.Errorf("%q is not NAME=PATH", s)
	}
	if _, ok := peerKinds[name]; !ok {
		return fmt.Errorf("no peer %q is known: dinit, s6 (its s6-svscan), runit (its runsvdir), supervisor (its supervisord)", name)
	}
	*f = append(*f, s)
	return nil
}

// peerKinds are the supervisors that can be measured. What a service of theirs writes is kept by dinit and supervisord, as the
// floors and we do it; s6 and runit need a further process a service for that, and are measured without.
var peerKinds = map[string]peer{
	peerDinit: {depends: true, restarts: true, write: writeDinit, argv: func(p *peer, dir, socket string) []string {
		return []string{p.path, "--user", "--quiet", "--services-dir", dir, "--socket-path", socket, "boot"}
	}},
	peerS6All: {write: writeRunScripts, argv: func(p *peer, dir, _ string) []string {
		return []string{p.path, "-c", "4000", dir}
	}},
	peerRunit: {write: writeRunScripts, end: syscall.SIGHUP, code: 111, argv: func(p *peer, dir, _ string) []string {
		return []string{p.path, dir}
	}},
	peerSupervise: {write: writeSupervisor, argv: func(p *peer, dir, _ string) []string {
		return []string{p.path, "-c", filepath.Join(dir, "conf")}
	}},
}

// addPeers makes the peers that were asked for take part.
func (b *bench) addPeers(t *testing.T) {
	for _, s := range peerPaths {
		name, path, _ := strings.Cut(s, "=")
		path, err := exec.LookPath(path)
		if err != nil {
			t.Fatalf("cannot run the peer %s: %v", name, err)
		}
		p := peerKinds[name]
		p.name, p.path = name, path
		b.peers = append(b.peers, &p)
	}
}

// contenders are all who take part in what supervisors do.
func (b *bench) contenders() []string {
	all := slices.Clone(contenders)
	for _, p := range b.peers {
		all = append(all, p.name)
	}
	return all
}

func (b *bench) peer(name string) *peer {
	for _, p := range b.peers {
		if p.name == name {
			return p
		}
	}
	return nil
}

// launch starts a contender on some work; nil when it does not take part in that.
func (b *bench) launch(t *testing.T, who string, w *work) *program {
	t.Helper()
	p := b.peer(who)
	switch {
	case p != nil && (w.needs != nil && !p.depends || w.again && !p.restarts):
		return nil
	case who == oursCg && !*cgroups:
		return nil
	case p == nil && who != ours && who != oursCg:
		mode := "start"
		if w.again {
			mode = "restart"
		}
		return b.floor(t, who, mode, w.n, append(slices.Clone(w.command), "0")...)
	}
	kind := "zinit"
	if p != nil {
		kind = p.name
	}
	dir, ok := w.dirs[kind]
	if !ok {
		if p == nil {
			dir = b.services(t, w.n, w.command, w.definition)
		} else if dir = t.TempDir(); p.write(p, dir, w) != nil {
			t.Fatalf("cannot write the services of %s", who)
		}
		if w.dirs == nil {
			w.dirs = map[string]string{}
		}
		w.dirs[kind] = dir
	}
	if p == nil {
		return b.server(t, who, dir)
	}
	control := filepath.Join(shortDir(t), "s")
	argv := p.argv(p, dir, control)
	run := &program{t: t, cmd: exec.Command(argv[0], argv[1:]...), end: p.end, code: p.code, control: control}
	run.begin()
	return run
}

// definition is what the i-th service of ours has beside its command.
func (w *work) definition(i int) string {
	text := ""
	if w.again {
		text = atOnce
	}
	if w.needs != nil {
		text += requires(w.needs(i)...)
	}
	return text
}

func (w *work) line(i int) string {
	return strings.Join(append(slices.Clone(w.command), strconv.Itoa(i)), " ")
}

func writeDinit(_ *peer, dir string, w *work) error {
	boot := "type = internal\n"
	for i := range w.n {
		boot += "waits-for = " + name(i) + "\n"
		text := "type = process\ncommand = " + w.line(i) + "\nlog-type = buffer\n"
		if w.again {
			text += "restart = true\nsmooth-recovery = true\nrestart-delay = 0\nrestart-limit-count = 0\n"
		} else {
			text += "restart = false\n"
		}
		if w.needs != nil {
			for _, o := range w.needs(i) {
				text += "depends-on = " + name(o) + "\n"
			}
		}
		if err := os.WriteFile(filepath.Join(dir, name(i)), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "boot"), []byte(boot), 0o644)
}

// writeRunScripts are the services of s6 and of runit.
func writeRunScripts(_ *peer, dir string, w *work) error {
	for i := range w.n {
		if err := os.Mkdir(filepath.Join(dir, name(i)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name(i), "run"), []byte("#!/bin/sh\nexec "+w.line(i)+"\n"), 0o755); err != nil {
			return err
		}
	}
	return nil
}

func writeSupervisor(_ *peer, dir string, w *work) error {
	var text strings.Builder
	fmt.Fprintf(&text, "[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile=%s/pid\nminfds=16384\nchildlogdir=%s\n", dir, dir)
	for i := range w.n {
		fmt.Fprintf(&text, "[program:%s]\ncommand=%s\nautorestart=false\nstartsecs=0\nstdout_logfile=/dev/null\nstderr_logfile=/dev/null\n"+
			"stdout_logfile_maxbytes=0\nstderr_logfile_maxbytes=0\n", name(i), w.line(i))
	}
	return os.WriteFile(filepath.Join(dir, "conf"), []byte(text.String()), 0o644)
}

// usage is what all processors, and this test with what it has waited for, have done so far.
type usage struct {
	at        time.Time
	busy, own float64 // s
}

func usageNow() usage {
	u := usage{at: time.Now()}
	data, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(data), "\n")
	for i, word := range strings.Fields(line)[1:] {
		if n, _ := strconv.ParseFloat(word, 64); i < 8 && i != 3 && i != 4 { // not idle, not waiting for a disk; guests count as user
			u.busy += n / 100
		}
	}
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var r unix.Rusage
		if unix.Getrusage(who, &r) == nil {
			u.own += float64(r.Utime.Nano()+r.Stime.Nano()) / 1e9
		}
	}
	return u
}

// tickSlack is what the kernel's count by ticks may be off, in s.
const tickSlack = 0.03

// foreignSince is the share of the processors' time that others have taken since. All programs of that time have been waited for.
func (u usage) foreignSince() float64 {
	now := usageNow()
	span := time.Since(u.at).Seconds() * float64(runtime.NumCPU())
	return max(0, (now.busy-u.busy)-(now.own-u.own)-tickSlack) / span
}

// figures is one row for a machine to read.
type figures struct {
	Workload string             `json:"workload"`
	Unit     string             `json:"unit"`
	By       map[string]summary `json:"by"` // contender
	Verdict  string             `json:"verdict,omitempty"`
}

type summary struct {
	Median   float64   `json:"median"`
	Quartile []float64 `json:"quartiles"`
	Counted  int       `json:"counted"`
	Dropped  int       `json:"dropped"` // in runs with foreign load
	Busy     bool      `json:"busy,omitempty"`
	Samples  []float64 `json:"samples"`
}

// writeJSON writes what was measured, with the machine it was measured on.
func (b *bench) writeJSON(t *testing.T) {
	if *jsonPath == "" {
		return
	}
	var uts unix.Utsname
	_ = unix.Uname(&uts)
	load, _ := os.ReadFile("/proc/loadavg")
	out := struct {
		Time     time.Time `json:"time"`
		Kernel   string    `json:"kernel"`
		Arch     string    `json:"arch"`
		CPUs     int       `json:"cpus"`
		Go       string    `json:"go"`
		Load     string    `json:"load"`
		Repeat   int       `json:"repeat"`
		Peers    []string  `json:"peers"`
		Workload []figures `json:"workloads"`
	}{time.Now().UTC(), unix.ByteSliceToString(uts.Release[:]), runtime.GOARCH, runtime.NumCPU(), runtime.Version(),
		strings.TrimSpace(string(load)), b.repeat, peerPaths, nil}
	group := ""
	for _, r := range b.rows {
		if !strings.HasPrefix(r.name, " ") {
			group = r.name
		}
		f := figures{Workload: r.name, Unit: r.unit, By: map[string]summary{}, Verdict: r.verdict()}
		if f.Workload != group {
			f.Workload = group + ":" + r.name[2:]
		}
		for who, samples := range r.samples {
			s, busy := r.counted(who)
			sum := summary{Median: s[len(s)/2], Quartile: []float64{s[len(s)/4], s[len(s)*3/4]}, Counted: len(s), Dropped: len(samples) - len(s), Busy: busy}
			for _, x := range samples {
				sum.Samples = append(sum.Samples, x.value)
			}
			f.By[who] = sum
		}
		out.Workload = append(out.Workload, f)
	}
	data, err := json.MarshalIndent(out, "", " ")
	if err == nil {
		err = os.WriteFile(filepath.Clean(*jsonPath), append(data, '\n'), 0o644)
	}
	if err != nil {
		t.Errorf("cannot write %s: %v", *jsonPath, err)
	}
}
