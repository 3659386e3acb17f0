package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
)

// Group is the control group of one incarnation: a folder of the cgroup2 hierarchy that was made for it and that no
// other incarnation ever uses. (A folder whose cgroup.kill was written once kills what is born in it later.)
//
// The folder has the limits, and no process: the service lives in "main" below it, and each helper (a hook, a check) in
// a folder "h-…" of its own beside that. So the service may do below main whatever it likes, enable controllers
// too, after which nothing could be started in main itself any more, and it is gone when main is empty. Groups that a
// version before 0.5 made have the service in the folder itself.
type Group struct {
	path string // the folder with the limits
	main string // the folder with the processes
	into bool   // a child can be cloned into it
}

const (
	mainFolder   = "main"
	helperPrefix = "h-"
)

// Path is the folder with the limits, and the usage of all that runs for the incarnation.
func (g *Group) Path() string { return g.path }

// Main is the folder in which the processes of the service, or of the helper, are.
func (g *Group) Main() string { return g.main }

func (g *Group) cloneInto() bool { return g.into }

// New makes the folder for one incarnation and sets its limits. A limit that cannot be set is an error: nothing runs
// with less than what was written.
func (r *Root) New(service string, gen uint64, limits graph.Cgroup) (*Group, *Error) {
	path := filepath.Join(r.base, ID(service, gen))
	g := &Group{path: path, main: path + "/" + mainFolder, into: r.into}
	err := r.makeFolders(g)
	if err != nil {
		return nil, failf(StepCgroup, errnoOf(err), "cannot make the control group %s: %v", g.path, cause(err))
	}
	if err := r.limit(g, limits); err != nil {
		_ = removeFolders(g.path, 0)
		return nil, err
	}
	if len(r.controllers) > 0 { // for a service that divides what it may use among its own, as another supervisor does
		_ = writeFile(g.path+"/cgroup.subtree_control", "+"+strings.Join(r.controllers, " +"))
	}
	return g, nil
}

// lostFolderTries is how often folders are made that somebody who tidies up takes away between two steps.
const lostFolderTries = 10

// makeFolders makes both folders of a group. They are made again when they vanish meanwhile: until a process is in them,
// whoever takes empty folders for abandoned ones may remove them.
func (r *Root) makeFolders(g *Group) (err error) {
	for range lostFolderTries {
		err = r.mkdir(g.path)
		if errors.Is(err, fs.ErrExist) && removeFolders(g.path, 0) == nil { // an empty one of an earlier life
			err = r.mkdir(g.path)
		}
		if err == nil {
			if err = os.Mkdir(g.main, 0o755); err != nil {
				_ = os.Remove(g.path)
			}
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return err
}

// Helper makes the group of a helper of the incarnation, within its limits. id is used once.
func (g *Group) Helper(id uint64) (*Group, *Error) {
	path := g.path + "/" + helperPrefix + strconv.FormatUint(id, 10)
	if err := os.Mkdir(path, 0o755); err != nil {
		return nil, failf(StepCgroup, errnoOf(err), "cannot make the control group %s: %v", path, cause(err))
	}
	return &Group{path: path, main: path, into: g.into}, nil
}

// Helpers are the groups of helpers that are there.
func (g *Group) Helpers() (out []*Group) {
	for _, sub := range subfolders(g.path, 0) {
		if strings.HasPrefix(filepath.Base(sub), helperPrefix) {
			out = append(out, &Group{path: sub, main: sub, into: g.into})
		}
	}
	return out
}

// GroupFolders are the folders in which processes of the incarnation with this folder may be, its helpers included.
func GroupFolders(path string) []string { return append(subfolders(path, 0), path) }

// Open returns the group of an incarnation that was started by a server before this one, by its folder.
func (r *Root) Open(path string) *Group {
	g := &Group{path: path, main: path + "/" + mainFolder, into: r.into}
	if !exists(g.main) {
		g.main = path
	}
	return g
}

// Find returns the group that New made for an incarnation, nil when there is none (any more).
func (r *Root) Find(service string, gen uint64) *Group {
	path := filepath.Join(r.base, ID(service, gen))
	if !exists(path) {
		return nil
	}
	return r.Open(path)
}

// LastGen is the highest incarnation that has a folder here, 0 = none: of a server before, of which nothing else may be known.
func (r *Root) LastGen() (last uint64) {
	for _, sub := range subfolders(r.base, 0) {
		if _, gen, ok := ParseID(filepath.Base(sub)); ok && gen&Aside == 0 {
			last = max(last, gen)
		}
	}
	return last
}

// Groups are the groups there that New made for the incarnations that wanted tells.
func (r *Root) Groups(wanted func(gen uint64) bool) (out []*Group) {
	for _, sub := range subfolders(r.base, 0) {
		if _, gen, ok := ParseID(filepath.Base(sub)); ok && wanted(gen) {
			out = append(out, r.Open(sub))
		}
	}
	return out
}

// limit writes the limits of [cgroup] into the kernel's files.
func (r *Root) limit(g *Group, c graph.Cgroup) *Error {
	for _, l := range []struct{ key, controller, file, value string }{
		{"memory_max", "memory", "memory.max", c.MemoryMax},
		{"memory_high", "memory", "memory.high", c.MemoryHigh},
		{"cpu_max", "cpu", "cpu.max", c.CPUMax},
		{"pids_max", "pids", "pids.max", c.PidsMax},
		{"io_weight", "io", "", c.IOWeight},
	} {
		if l.value == "" {
			continue
		}
		if !slices.Contains(r.controllers, l.controller) {
			return failf(StepCgroup, 0, "cannot set %s: there is no %s controller in %s (%s)", l.key, l.controller, r.base, r.lacking)
		}
		var err error
		if l.file == "" {
			err = g.setWeight(l.value)
		} else {
			err = writeFile(filepath.Join(g.path, l.file), l.value)
		}
		if err != nil {
			return failf(StepCgroup, errnoOf(err), "cannot set %s to %q: %v", l.key, l.value, cause(err))
		}
	}
	return nil
}

// setWeight writes the share of the disks for both who may go by it, as systemd does: the kernel's cost model, and the BFQ
// scheduler while it is loaded, which has a scale of its own. One of them must be there.
func (g *Group) setWeight(weight string) error {
	cost := writeFile(g.path+"/io.weight", weight)
	if cost != nil && cost != unix.ENOENT {
		return cost
	}
	bfq := writeFile(g.path+"/io.bfq.weight", bfqWeight(weight))
	if bfq == unix.ENOENT {
		return cost
	}
	return bfq
}

// bfqWeight maps 1 to 100 to 10000 (default 100) to BFQ's 1 to 100 to 1000, like systemd's BFQ_WEIGHT.
func bfqWeight(weight string) string {
	n, err := strconv.Atoi(weight)
	if err != nil || n <= 100 {
		return weight
	}
	return strconv.Itoa(100 + (n-100)*(1000-100)/(10000-100))
}

// writeFile writes to a file of the kernel, which must exist.
func writeFile(path, text string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(text))
	return err
}

// keyed reads one value of a flat keyed file such as cgroup.events; false when file or key is missing.
func keyed(path, key string) (uint64, bool) {
	var buf [4096]byte
	data, err := readInto(path, buf[:])
	if err != nil {
		return 0, false
	}
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		if len(line) > len(key) && line[len(key)] == ' ' && string(line[:len(key)]) == key {
			return atou(line[len(key)+1:])
		}
	}
	return 0, false
}

// Populated reports whether a living process is in the group or below, other than the one with the pid except (a main
// process that is a zombie; 0 = none).
func (g *Group) Populated(except int) bool {
	for range 3 {
		if !populated(g.main) {
			return false
		}
		pids := listed(g.main, 0, nil)
		if except > 0 && len(pids) == 1 && pids[0] == except {
			return false
		}
		for _, pid := range pids { // 0 is one of another pid namespace
			if except > 0 && pid == except {
				continue
			}
			if pid == 0 || !usable() {
				return true
			}
			if p, err := ReadProcess(pid); err == nil && !p.Dead() {
				return true
			}
		}
	}
	return populated(g.main) // it hops from process to process faster than we can look
}

// GroupGen is the incarnation that the control group of a process names, also of a zombie; 0 = it is in no group of ours.
func GroupGen(pid int) uint64 {
	id, within := incarnationFolder(pid)
	_, gen, _ := ParseID(id)
	if helper, ok := strings.CutPrefix(within, helperPrefix); ok {
		n, _ := atou([]byte(helper))
		gen = Aside | n
	}
	return gen
}

// incarnationFolder finds the folder of an incarnation that a process is in, and which folder in that one: the service may have
// made more below. Both are "" where it is in none of a supervisor.
func incarnationFolder(pid int) (id, within string) {
	var buf [4096]byte
	text, err := readProc(pid, "cgroup", buf[:])
	if err != nil {
		return "", ""
	}
	for path, _ := unifiedPath(string(text)); len(path) > 1; path = filepath.Dir(path) {
		id = filepath.Base(path)
		if _, _, ours := ownerOfBase(filepath.Base(filepath.Dir(path))); ours {
			return id, within
		}
		within = id
	}
	return "", ""
}

// Processes lists the pids in the group and the groups below it.
func (g *Group) Processes() []int { return processesIn(g.main, 0, nil) }

// GroupProcesses lists the pids in the group with this folder and the groups below it.
func GroupProcesses(path string) []int { return processesIn(path, 0, nil) }

// depthMax bounds how deep a service may nest groups below its own before we stop looking.
const depthMax = 32

func processesIn(folder string, depth int, into []int) []int {
	return slices.DeleteFunc(listed(folder, depth, into), func(pid int) bool { return pid == 0 })
}

// listed is processesIn with a 0 for each process that is in another pid namespace than ours and those below it.
func listed(folder string, depth int, into []int) []int {
	var few [1024]byte
	data, err := readWhole(folder+"/cgroup.procs", few[:])
	if err != nil {
		return into
	}
	f := fields{rest: data}
	for w := f.word(); len(w) > 0; w = f.word() {
		if pid, ok := atoi(w); ok {
			into = append(into, pid)
		}
	}
	_, _, old := ParseID(filepath.Base(folder))
	for _, sub := range subfolders(folder, depth) {
		if depth == 0 && old && strings.HasPrefix(filepath.Base(sub), helperPrefix) {
			continue // a group of the old layout: its helpers are not the service
		}
		into = listed(sub, depth+1, into)
	}
	return into
}

// subfolders lists the groups right below a folder.
func subfolders(folder string, depth int) (out []string) {
	var st unix.Stat_t
	if depth >= depthMax || unix.Stat(folder, &st) != nil || st.Nlink == 2 {
		return nil
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, folder+"/"+e.Name())
		}
	}
	return out
}

// Kill ends everything in the group and below it at once, by cgroup.kill. Before Linux 5.14, which has none, the group
// is frozen, so that nothing can fork, all members are killed, and it is thawed.
func (g *Group) Kill() error {
	err := writeFile(g.main+"/cgroup.kill", "1")
	switch err {
	case nil:
		g.killHeadless()
		return nil
	case unix.ENODEV:
		return nil
	case unix.ENOENT:
		var st unix.Stat_t
		if unix.Stat(g.main, &st) != nil {
			return nil // the group is gone, and so is all that was in it
		}
		return g.killFrozen()
	}
	return fmt.Errorf("cannot kill the control group %s: %w", g.main, err)
}

// killHeadless kills the processes whose first thread has ended while others run on: cgroup.kill sends its SIGKILL to that
// first thread alone, which takes none any more (seen on Linux 6.18).
func (g *Group) killHeadless() {
	for _, pid := range g.Processes() {
		if p, err := ReadProcess(pid); err == nil && p.State == 'Z' && !p.Dead() {
			_ = SignalProcess(pid, p.Start, unix.SIGKILL)
		}
	}
}

// freezeWait bounds the wait for the members to stop; one in an uninterruptible sleep stops later, and is killed anyway.
// They have stopped within one or two looks as a rule, so that on these old kernels a poll(2) of cgroup.events is not worth its code.
const freezeWait = 200 * time.Millisecond

func (g *Group) killFrozen() error {
	frozen := writeFile(g.main+"/cgroup.freeze", "1") == nil
	for deadline := time.Now().Add(freezeWait); frozen && time.Now().Before(deadline); time.Sleep(time.Millisecond) { // poll(2): see freezeWait
		if n, ok := keyed(g.main+"/cgroup.events", "frozen"); !ok || n == 1 {
			break
		}
	}
	for range killPasses {
		fresh := 0
		for _, pid := range g.Processes() {
			if p, err := ReadProcess(pid); err == nil && !p.Dead() && SignalProcess(pid, p.Start, unix.SIGKILL) == nil {
				fresh++
			}
		}
		if frozen || fresh == 0 {
			break
		}
	}
	if frozen {
		return writeFile(g.main+"/cgroup.freeze", "0")
	}
	return nil
}

// OOMKilled reports whether the kernel's out-of-memory killer has struck in the group.
func (g *Group) OOMKilled() bool {
	n, ok := keyed(g.main+"/memory.events", "oom_kill")
	if !ok {
		n, ok = keyed(g.path+"/memory.events", "oom_kill")
	}
	return ok && n > 0
}

// GroupUsage is the memory and CPU time that the group with this folder uses, all its processes together, those that
// have ended included for the time. Without a memory controller it is the resident memory of the processes.
func GroupUsage(path string) (memory uint64, cpu time.Duration, ok bool) {
	micros, ok := keyed(path+"/cpu.stat", "usage_usec")
	if !ok {
		return 0, 0, false
	}
	var buf [32]byte
	if data, err := readInto(path+"/memory.current", buf[:]); err == nil {
		memory, _ = atou(bytes.TrimSpace(data))
		return memory, time.Duration(micros) * time.Microsecond, true
	}
	for _, pid := range processesIn(path, 0, nil) {
		if p, err := ReadProcess(pid); err == nil {
			memory += p.RSSBytes
		}
	}
	return memory, time.Duration(micros) * time.Microsecond, true
}

// GroupCount is how many processes, or where the kernel counts for us (pids.current) tasks, the group with this folder has.
func GroupCount(path string) int {
	var buf [32]byte
	if data, err := readInto(path+"/pids.current", buf[:]); err == nil {
		n, _ := atou(bytes.TrimSpace(data))
		return int(n)
	}
	return len(GroupProcesses(path))
}

// RemoveEmpty removes the folder of a group in which nothing is left, and reports whether that is done: not while the kernel
// still holds it busy, nor where it has folders beside or below that of the service.
func (g *Group) RemoveEmpty() bool {
	if g.main != g.path {
		if err := unix.Rmdir(g.main); err != nil && err != unix.ENOENT {
			return false
		}
	}
	if err := unix.Rmdir(g.path); err != nil && err != unix.ENOENT {
		return false
	}
	removeAbandoned(filepath.Dir(g.path))
	return true
}

// Remove removes the folder with those below it. It can be busy for a moment after its last process has ended, so it may
// take up to two seconds; one that still has a process stays.
func (g *Group) Remove() error {
	for wait := 200 * time.Microsecond; ; wait *= 2 {
		err := removeFolders(g.path, 0)
		if err == nil {
			removeAbandoned(filepath.Dir(g.path))
			return nil
		}
		if wait >= time.Second {
			return fmt.Errorf("cannot remove the control group %s: %w", g.path, err)
		}
		time.Sleep(wait) // rmdir(2) can only be tried again: it neither waits nor tells what keeps the folder
	}
}

func removeFolders(folder string, depth int) error {
	for _, sub := range subfolders(folder, depth) {
		if err := removeFolders(sub, depth+1); err != nil {
			return err
		}
	}
	if err := unix.Rmdir(folder); err != nil && err != unix.ENOENT {
		return err
	}
	return nil
}

// baseName is the folder of one supervisor, by the process that outlives it: its keeper, else itself. It keeps it when it
// executes a new version of itself. The n-th name is for when those before are taken.
func baseName(owner int, n uint64) string {
	p, err := ReadProcess(owner)
	if err != nil { // /proc is not ours: the namespace tells its supervisors apart
		var st unix.Stat_t
		_ = unix.Stat("/proc/self/ns/pid", &st)
		p.Start = st.Ino
	}
	return "zinit-" + strconv.Itoa(owner) + "-" + strconv.FormatUint(p.Start+n, 10)
}

// removeAbandoned removes the folder of a supervisor that is gone, once it is empty.
func removeAbandoned(base string) {
	pid, start, ok := ownerOfBase(filepath.Base(base))
	if !ok || pid == os.Getpid() || pid == os.Getppid() { // it lives: it is ours, or our keeper's
		return
	}
	if p, err := ReadProcess(pid); err == nil && p.Start == start || !unclaimed(base) {
		return
	}
	_ = removeFolders(base, 0)
}

func ownerOfBase(name string) (pid int, start uint64, ok bool) {
	rest, ok := strings.CutPrefix(name, "zinit-")
	p, s, ok2 := strings.Cut(rest, "-")
	pid, ok3 := atoi([]byte(p))
	start, ok4 := atou([]byte(s))
	return pid, start, ok && ok2 && ok3 && ok4 && pid > 0
}
