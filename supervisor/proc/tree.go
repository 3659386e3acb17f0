package proc

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Owner is one incarnation of a service and the signs by which its processes are recognised.
type Owner struct {
	Service    string
	Gen        uint64
	Main       int      // pid of the main process, 0 = none; also one that is a zombie
	Start      uint64   // its start time in ticks, 0 = not known
	PipeInodes []uint64 // of its log pipes
	Cgroup     string   // folder of its control group, "" = none
}

// Scanner finds and signals the processes of services by what /proc says. A process belongs to a
// service when it is its main process or a descendant, when it is in the main process's session, when it carries the
// incarnation's tag or its ZINIT_ID, or when it holds one of its log pipes; and by its control group where there is one.
// Signs other than ancestry and group count only for processes that have this supervisor or its keeper as an ancestor
// (both adopt orphans), so that two supervisors on one machine never see each other's.
//
// It never signals process 1, the supervisor, its keeper, or its ancestors. It has no state of its own and may be used
// from several goroutines.
type Scanner struct {
	Keeper   int    // pid of the keeper, 0 = none
	Instance string // names the supervisor: the value of ZINIT_INSTANCE in its services, and part of their tags
}

// Scan looks at all processes once, whatever the number of owners. members has the living processes of each incarnation,
// main processes included, zombies not; strays are the living descendants of the supervisor that belong to nobody.
func (s *Scanner) Scan(owners []Owner) (members map[uint64][]Process, strays []Process) {
	f := s.Look(owners)
	return f.Members, f.Strays
}

// Found is what a look at all processes has found.
type Found struct {
	Members map[uint64][]Process // the living processes of each incarnation
	Strays  []Process            // below the supervisor, and nobody's
	// Unproven are below the supervisor or its keeper, and may be anybody's: we were not allowed to look. What /proc hides
	// altogether has no more than a number, a group and a session.
	Unproven []Process
	// Sure is false when processes came and went faster than they could be looked at, or /proc is not ours to look at: an
	// incarnation without members may have one all the same. Look again then.
	Sure bool
}

// Look is Scan for those who must know that nothing is left.
func (s *Scanner) Look(owners []Owner) Found {
	quiet := watchForks()
	t := s.table(owners)
	members := make(map[uint64][]Process)
	var strays, unproven []Process
	self := s.self()
	for _, pid := range slices.Sorted(maps.Keys(t.nodes)) {
		n := t.nodes[pid]
		if n.Dead() || n.Kernel || n.lost {
			continue
		}
		owner, below := t.resolve(n)
		if owner < 0 && below == self && pid != below {
			if owner = t.lookAgain(n, below, quiet); owner < 0 && !(beforeExec(pid) && !quiet()) && !s.aside(pid) {
				strays = append(strays, n.Process)
			}
		}
		if owner >= 0 {
			gen := owners[owner].Gen
			members[gen] = append(members[gen], n.Process)
		} else if n.unproven {
			unproven = append(unproven, n.Process)
		}
	}
	for _, p := range t.veiledChildren() {
		if i, ok := t.sessions[p.Session]; ok {
			members[owners[i].Gen] = append(members[owners[i].Gen], p)
		} else {
			unproven = append(unproven, p)
		}
	}
	return Found{Members: members, Strays: strays, Unproven: unproven, Sure: t.settled && usable()}
}

// Own lists the living processes that this supervisor has started, or what it has started has, whatever became of their
// incarnation, and those that may be: by mark or environment, or where there are no marks whatever lives below it. What was
// there before it began is not its own. Where orphans do not come to this process they are looked for everywhere, and
// their signs alone count.
func (s *Scanner) Own() (ps []Process) {
	f := s.Look(nil)
	for _, p := range f.Strays {
		if gen, _ := s.whose(p.PID); gen != 0 || !canTag() {
			ps = append(ps, p)
		}
	}
	ps = append(ps, f.Unproven...)
	if s.Adopts() || s.Instance == "" {
		return ps
	}
	for _, l := range Leftovers([]string{s.Instance}) {
		if !slices.ContainsFunc(ps, func(p Process) bool { return p.PID == l.PID }) {
			ps = append(ps, l.Process)
		}
	}
	return ps
}

// veiledChildren are what /proc does not show of the children of the supervisor and its keeper.
func (t *table) veiledChildren() (out []Process) {
	for _, keeper := range t.keepers {
		for _, pid := range adoptedBy(nil, keeper) {
			if t.nodes[pid] != nil || !errors.Is(hidden(pid, ErrGone), errHidden) {
				continue
			}
			if _, dead := PeekPID(pid); !dead {
				out = append(out, veiled(pid))
			}
		}
	}
	return out
}

// aside reports whether a process is of a helper, which runs beside the services.
func (s *Scanner) aside(pid int) bool {
	gen, _ := s.whose(pid)
	return gen&Aside != 0
}

// lookAgain gives a child that was forked while we looked a second chance: before its exec it had our environment.
func (t *table) lookAgain(n *node, below int, quiet func() bool) int {
	if quiet() {
		return -1
	}
	return t.bySigns(n, below)
}

// Members is Scan for one owner.
func (s *Scanner) Members(o *Owner) []Process {
	members, _ := s.Scan([]Owner{*o})
	return members[o.Gen]
}

func (s *Scanner) self() int { return os.Getpid() }

// node is a process in a table.
type node struct {
	Process
	resolved bool
	lost     bool // it ended before it could be told whose it was
	unproven bool // whose it is cannot be told: we are not allowed to look
	owner    int  // index, -1 = nobody
	below    int  // the nearest protected ancestor (or itself)
}

// table is one look at /proc.
type table struct {
	scanner  *Scanner
	owners   []Owner
	nodes    map[int]*node
	byGen    map[uint64]int
	sessions map[int]int // session id to owner
	pipes    map[uint64]int
	settled  bool        // no process was new in the last list, and none was lost
	lost     bool        // since the last list a process has ended before it could be told whose it was
	keepers  []int       // whose descendants may be recognised by tag, environment or pipe
	parents  map[int]int // pid to a parent that was not in any list
}

func (s *Scanner) table(owners []Owner) *table {
	t := &table{scanner: s, owners: owners, nodes: map[int]*node{}, parents: map[int]int{}}
	t.read()
	t.keepers = []int{s.self()}
	if s.Keeper > 0 {
		t.keepers = append(t.keepers, s.Keeper)
	}
	t.protect()
	t.index()
	for range relists {
		if t.lost = false; t.resolveAll() {
			break
		}
		t.read() // what a lost one has forked is there
	}
	t.settled = t.settled && !t.lost
	return t
}

// resolveAll finds out whose each process is; false when one was lost.
func (t *table) resolveAll() bool {
	for _, n := range t.nodes {
		t.resolve(n)
	}
	return !t.lost
}

// relists bounds how often the list of processes is read again for ones that are new.
const relists = 8

// read reads all processes that are not known yet. Reading takes some milliseconds, in which a process that forks and exits
// gets away from the list it was in; so the list is read again, which takes far less, until nothing in it is new. Since a
// list goes by pid, and a child's is higher than its parent's, such a list misses none, unless the numbers began again
// from below meanwhile.
func (t *table) read() {
	before := lastPID()
	vanished := map[int]bool{}
	var pids []int
	for range relists {
		pids = listProcesses(pids[:0])
		fresh := 0
		for _, pid := range pids {
			if t.nodes[pid] != nil || vanished[pid] {
				continue
			}
			fresh++
			p, err := ReadProcess(pid)
			if err != nil {
				vanished[pid] = true
				continue
			}
			t.nodes[pid] = &node{Process: p, owner: -1}
		}
		if t.settled = fresh == 0; t.settled {
			break
		}
	}
	t.settled = t.settled && lastPID() >= before
}

// lastPID is the number that was given to the newest process or thread; 0 where /proc does not tell.
func lastPID() int {
	var buf [128]byte
	data, err := readInto("/proc/loadavg", buf[:])
	if err != nil {
		return 0
	}
	n, _ := atoi(bytes.TrimSpace(data[bytes.LastIndexByte(data, ' ')+1:]))
	return n
}

// protect marks process 1, the supervisor, the keeper and all ancestors as nobody's.
func (t *table) protect() {
	for _, pid := range append(ancestors(t.scanner.self(), t.parent), 1, t.scanner.Keeper) {
		if n := t.nodes[pid]; n != nil {
			n.resolved, n.owner, n.below = true, -1, pid
		}
	}
}

func (t *table) parent(pid int) int {
	if n := t.nodes[pid]; n != nil {
		return n.PPID
	}
	return 0
}

// ancestors lists pid and its ancestors.
func ancestors(pid int, parent func(int) int) []int {
	var out []int
	for pid > 0 && !slices.Contains(out, pid) {
		out = append(out, pid)
		pid = parent(pid)
	}
	return out
}

func (t *table) index() {
	t.byGen = make(map[uint64]int, len(t.owners))
	t.sessions = make(map[int]int, len(t.owners))
	t.pipes = make(map[uint64]int, 2*len(t.owners))
	for i := range t.owners {
		o := &t.owners[i]
		t.byGen[o.Gen] = i
		for _, inode := range o.PipeInodes {
			t.pipes[inode] = i
		}
		t.group(i)
		if o.Main <= 1 {
			continue
		}
		n := t.nodes[o.Main]
		switch {
		case n == nil:
			t.sessions[o.Main] = i // reaped; the number is not used again while the session lives
		case n.resolved: // protected
		case o.Start == 0 || n.Start == o.Start:
			n.resolved, n.owner = true, i
			t.sessions[o.Main] = i
		}
	}
}

// group marks what is in the owner's control group: there the kernel tells.
func (t *table) group(i int) {
	if t.owners[i].Cgroup == "" {
		return
	}
	for _, pid := range processesIn(t.owners[i].Cgroup, 0, nil) {
		if n := t.nodes[pid]; n != nil && !n.resolved {
			n.resolved, n.owner = true, i
		}
	}
}

// resolve tells whose a process is, and below which protected one it hangs.
func (t *table) resolve(n *node) (owner, below int) {
	var chain []*node
	for n != nil && !n.resolved && len(chain) <= len(t.nodes) {
		chain = append(chain, n)
		n = t.nodes[n.PPID]
	}
	owner, below = -1, 0
	if n != nil {
		owner, below = n.owner, n.below
	} else if t.orphaned(chain) {
		return -1, 0
	}
	for _, n := range slices.Backward(chain) {
		if owner < 0 {
			owner = t.bySigns(n, below)
		}
		if owner < 0 && slices.Contains(t.keepers, below) && !n.Dead() && !n.alive() {
			n.lost, t.lost = true, true
		}
		n.resolved, n.owner, n.below = true, owner, below
	}
	return owner, below
}

// orphaned tells that the first of a chain of ancestors has another parent by now, since the one it had when it was read
// is in no list; it is read again then. Without one for good are those whose parent is outside of our view.
func (t *table) orphaned(chain []*node) bool {
	first := chain[len(chain)-1]
	if first.PPID == 0 || t.parents[first.PID] == first.PPID {
		return false
	}
	t.parents[first.PID] = first.PPID
	delete(t.nodes, first.PID)
	t.lost = true
	return true
}

// bySigns recognises a process whose ancestors are nobody's.
func (t *table) bySigns(n *node, below int) int {
	if n.Kernel || n.Dead() {
		return -1
	}
	if !slices.Contains(t.keepers, below) && t.scanner.Adopts() {
		return -1
	}
	gen, tagged, sure := t.scanner.tagged(n.PID)
	if tagged {
		return t.ownerOf(gen)
	}
	if !slices.Contains(t.keepers, below) {
		return -1
	}
	if i, ok := t.sessions[n.Session]; ok && n.Start >= t.owners[i].Start {
		return i
	}
	gen, ok, err := t.scanner.identified(n.PID)
	if ok {
		return t.ownerOf(gen)
	}
	n.unproven = !sure && refused(err)
	if slices.Contains(t.keepers, n.PPID) && beforeExec(n.PID) {
		return -1 // its descriptors are still its parent's, which holds everybody's log pipes
	}
	return t.byPipe(n.PID)
}

func (t *table) ownerOf(gen uint64) int {
	if i, ok := t.byGen[gen]; ok {
		return i
	}
	return -1
}

// In the middle of an exec a process has no environment. It is looked at again after execPause, twice that, and so on up
// to execPatience, while it is at work; one that sleeps was started without any.
const (
	execPause    = 50 * time.Microsecond
	execPatience = 20 * time.Millisecond
)

func atWork(pid int) bool {
	p, err := ReadProcess(pid)
	return err == nil && (p.State == 'R' || p.State == 'D')
}

// identified reads ZINIT_ID, and compares ZINIT_INSTANCE if we have a name.
func (s *Scanner) identified(pid int) (gen uint64, ok bool, err error) {
	data, err := readMemory(pid, "environ", environMax)
	for wait := execPause; err == nil && len(data) == 0 && wait < execPatience && atWork(pid); wait *= 2 {
		time.Sleep(wait) // nothing tells the end of an exec
		data, err = readMemory(pid, "environ", environMax)
	}
	if err != nil {
		return 0, false, err
	}
	if s.Instance != "" {
		if instance, _ := variableIn(data, EnvInstance); instance != s.Instance {
			return 0, false, nil
		}
	}
	id, _ := variableIn(data, EnvID)
	_, gen, ok = ParseID(id)
	return gen, ok, nil
}

// byPipe looks for one of the log pipes among the process's descriptors.
func (t *table) byPipe(pid int) int {
	if len(t.pipes) == 0 {
		return -1
	}
	found := -1
	forEachFD(pid, func(target string) bool {
		if inode, ok := inodeIn(target, "pipe:["); ok {
			if i, ok := t.pipes[inode]; ok {
				found = i
			}
		}
		return found < 0
	})
	return found
}

// forEachFD reads what the descriptors of a process are, until each returns false.
func forEachFD(pid int, each func(target string) bool) {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	fds := listNumbers(dir, nil)
	var buf [128]byte
	for _, fd := range append(fds, 0) { // listNumbers leaves out 0
		n, err := unix.Readlink(dir+"/"+strconv.Itoa(fd), buf[:])
		if err == nil && !each(string(buf[:n])) {
			return
		}
	}
}

// inodeIn reads the number in "pipe:[123]" or "socket:[123]".
func inodeIn(target, prefix string) (uint64, bool) {
	rest, ok := strings.CutPrefix(target, prefix)
	if !ok || !strings.HasSuffix(rest, "]") {
		return 0, false
	}
	return atou([]byte(rest[:len(rest)-1]))
}
