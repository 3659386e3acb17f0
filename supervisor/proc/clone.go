package proc

import (
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
)

// Children are forked by clone3(2) where the kernel has what is needed (Linux 5.7), and not by
// syscall.ForkExec, for three reasons that were measured: ForkExec's child resets 64 signals one by one where
// CLONE_CLEAR_SIGHAND resets all, its parent sleeps on a pipe for the error, and it knows no umask, limits,
// priority or capabilities, so that each of these cost a second exec through the trampoline. Here the parent
// writes everything that the child shall do into a table of system calls, which the child takes one after the
// other (clone_amd64.s, clone_arm64.s).

// call is one system call of the child. The assembly knows this layout.
type call struct {
	nr   uintptr
	args [6]uintptr
	pass uintptr // the error number that counts as success, anyError = every one
	mode uintptr
}

const anyError = ^uintptr(0)

// Modes of a call.
const (
	plainCall    = iota
	onLastResult // its first argument is the result of the call before
	expectResult // its result must be its second argument, which the system call ignores
	writeDecimal // its result is written in decimal to where its second argument points
)

// cloneArgs is struct clone_args of clone3(2), up to the member for the control group.
type cloneArgs struct {
	flags      uint64
	_          [3]uint64
	exitSignal uint64
	_          [5]uint64
	cgroup     uint64
}

// failure is where the child leaves which call failed and why. It lies in memory that is shared also with a
// child that has a memory of its own.
type failure struct {
	at    uintptr // address of the call
	errno uintptr
}

// program is the table for one child with all the memory that its calls point to. It is used again and again,
// so that a start allocates nothing; none of it is on a stack, which could move.
type program struct {
	clone  cloneArgs
	calls  []call
	notes  []note    // what each call is for
	text   []byte    // strings, each ended by NUL
	vector []uintptr // argument vectors and environment
	limits []unix.Rlimit
	groups []uint32
	caps   [2]capabilities
	sched  defaultScheduling
	fds    []int // descriptors made for this start
	lender lender
	failed *failure
	all    uint64 // signal sets
	none   uint64
	old    uint64
}

// note says what a call is for: a step and which of several of that step.
type note struct {
	step  string
	index int
}

// programs are those that nobody uses now; there are as many as ever forked at the same time.
var programs struct {
	sync.Mutex
	free []*program
}

func newProgram() *program {
	programs.Lock()
	defer programs.Unlock()
	if n := len(programs.free); n > 0 {
		p := programs.free[n-1]
		programs.free = programs.free[:n-1]
		return p
	}
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON)
	if err != nil {
		return nil
	}
	p := &program{failed: (*failure)(unsafe.Pointer(&page[0])), all: ^uint64(0)}
	p.lender.open()
	return p
}

// reservePrograms makes some before other things take the low numbers of descriptors.
func reservePrograms(n int) {
	var ps []*program
	for range n {
		if p := newProgram(); p != nil {
			ps = append(ps, p)
		}
	}
	for _, p := range ps {
		p.release()
	}
}

func (p *program) release() {
	for _, fd := range p.fds {
		unix.Close(fd)
	}
	p.fds = p.fds[:0]
	programs.Lock()
	defer programs.Unlock()
	programs.free = append(programs.free, p)
}

// cloneRefused is set once clone3 was refused where the library's fork then succeeded: an older kernel, or a
// seccomp profile.
var cloneRefused atomic.Bool

// refusedFlags are flags that tests take away, as an older kernel does.
var refusedFlags atomic.Uint64

// startByClone starts the child by clone3. done is false when that is not to be had here and nothing has been
// done: then the library forks.
func (c *child) startByClone() (pid int, err *Error, done bool) {
	s := c.spec
	if !canClone || cloneRefused.Load() || s.Cgroup != nil && c.cgroup == 0 {
		return 0, nil, false
	}
	p := newProgram()
	if p == nil {
		return 0, nil, false
	}
	defer p.release()
	pid, errno, err := p.runApart(c, s.Path, s.Argv)
	if err != nil {
		return 0, err, true
	}
	if errno == syscall.ENOEXEC && s.Script && looksLikeScript(inDir(s.Path, s.Dir)) {
		argv := append([]string{"sh", s.Path}, s.Argv[1:]...)
		if pid, errno, err = p.runApart(c, shellPath, argv); err != nil {
			return 0, err, true
		}
	}
	switch {
	case errno == 0:
		return pid, nil, true
	case pid == 0 && (errno == syscall.ENOSYS || errno == syscall.EINVAL || errno == syscall.EPERM ||
		errno == syscall.E2BIG):
		c.refused = true
		return 0, nil, false
	case pid == 0:
		if err := s.explainCgroup(errno); err != nil {
			return 0, err, true
		}
		return 0, explainFork(errno), true
	}
	return 0, p.explain(c, errno), true
}

// run makes the child. pid is 0 when there was none; one that failed has been waited for.
func (p *program) run() (pid int, errno syscall.Errno) {
	*p.failed = failure{}
	if p.clone.flags&refusedFlags.Load() != 0 {
		return 0, syscall.EINVAL
	}
	pid = cloneAndRun(&p.clone, unsafe.Sizeof(p.clone), &p.calls[0], p.failed, &p.all, &p.old)
	runtime.KeepAlive(p)
	if pid < 0 {
		return 0, syscall.Errno(-pid)
	}
	if errno = syscall.Errno(p.failed.errno); errno != 0 {
		_ = ignoringEINTR(func() error { _, err := syscall.Wait4(pid, nil, 0, nil); return err })
	}
	return pid, errno
}

// write fills the table for one child. The order of the calls is that of systemd.exec(5).
func (p *program) write(c *child, path string, argv []string) *Error {
	s, id := c.spec, &c.spec.Identity
	p.calls, p.notes = p.calls[:0], p.notes[:0]
	p.reserve(s, path, argv)
	p.clone = cloneArgs{flags: unix.CLONE_VFORK | unix.CLONE_CLEAR_SIGHAND, exitSignal: uint64(unix.SIGCHLD)}
	if c.cred == nil && id.Capabilities == nil {
		// A change of identity in memory that is shared would make the supervisor undumpable, and with that its
		// files in /proc root's (kernel/cred.c, commit_creds).
		p.clone.flags |= unix.CLONE_VM
	}
	if c.cgroup > 0 {
		p.clone.flags |= unix.CLONE_INTO_CGROUP
		p.clone.cgroup = uint64(c.cgroup)
	}
	files, apart := c.files, false
	if !throughDescriptor(path) {
		files, apart = p.lender.lend(c.files)
	}
	if apart {
		p.clone.flags |= unix.CLONE_FILES
		p.add(note{step: StepFork}, unshareCall)
	}
	p.add(note{step: StepFork}, call{nr: syscall.SYS_SETSID})
	if err := p.addFiles(c, files); err != nil {
		return err
	}
	p.addScheduling(id)
	if err := p.addLimits(s); err != nil {
		return err
	}
	if err := p.addIdentity(c); err != nil {
		return err
	}
	if s.Dir != "" {
		p.add(note{step: StepDir}, call{nr: syscall.SYS_CHDIR, args: [6]uintptr{p.string(s.Dir)}})
	}
	if id.NoNewPrivileges {
		p.addPrctl(note{step: StepPrivileges}, unix.PR_SET_NO_NEW_PRIVS, 1)
	}
	if s.Pdeathsig && deathSignals() {
		p.addPrctl(note{step: StepFork}, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL))
		// Who asked may have ended before the signal was set.
		p.add(note{step: StepFork}, call{nr: syscall.SYS_GETPPID,
			args: [6]uintptr{0, uintptr(os.Getpid())}, mode: expectResult})
	}
	env := p.environment(s)
	p.add(note{step: StepFork}, call{nr: syscall.SYS_RT_SIGPROCMASK,
		args: [6]uintptr{unix.SIG_SETMASK, address(&p.none), 0, unsafe.Sizeof(p.none)}})
	p.add(note{step: StepExec}, call{nr: syscall.SYS_EXECVE,
		args: [6]uintptr{p.string(path), p.strings(argv), env}})
	return nil
}

// address is where something lies that is kept alive by its program and never moves.
func address[T any](p *T) uintptr { return uintptr(unsafe.Pointer(p)) }

func (p *program) add(n note, c call) {
	p.calls, p.notes = append(p.calls, c), append(p.notes, n)
}

func (p *program) addPrctl(n note, option, value uintptr) {
	p.add(n, call{nr: syscall.SYS_PRCTL, args: [6]uintptr{option, value}})
}

// pidRoom is what a pid takes in decimal, NUL included.
const pidRoom = 11

const watchdogPID = "WATCHDOG_PID="

// reserve makes room for all strings and vectors at once: the calls hold addresses of what lies there, which
// must not move while the table is being written.
func (p *program) reserve(s *Spec, path string, argv []string) {
	n := len(path) + len(s.Dir) + len(oomScorePath) + len(watchdogPID) + pidRoom + 24
	for _, list := range [][]string{argv, s.Env} {
		for _, text := range list {
			n += len(text) + 1
		}
	}
	p.text = slices.Grow(p.text[:0], n)
	p.vector = slices.Grow(p.vector[:0], len(argv)+len(s.Env)+3)
	p.limits = slices.Grow(p.limits[:0], len(s.Identity.Limits)+2)
}

// string puts a string into the table's memory and returns its address.
func (p *program) string(s string) uintptr {
	at := len(p.text)
	p.text = append(append(p.text, s...), 0)
	return address(&p.text[at])
}

func (p *program) strings(list []string) uintptr {
	at := len(p.vector)
	for _, s := range list {
		p.vector = append(p.vector, p.string(s))
	}
	p.vector = append(p.vector, 0)
	return address(&p.vector[at])
}

// environment puts the environment there, with the child's own pid where it is asked for.
func (p *program) environment(s *Spec) uintptr {
	at := len(p.vector)
	for _, kv := range s.Env {
		if !s.WatchdogPID || !strings.HasPrefix(kv, watchdogPID) {
			p.vector = append(p.vector, p.string(kv))
		}
	}
	if s.WatchdogPID {
		variable := p.string(watchdogPID + strings.Repeat("0", pidRoom-1))
		p.vector = append(p.vector, variable)
		p.add(note{step: StepFork}, call{nr: syscall.SYS_GETPID,
			args: [6]uintptr{0, variable + uintptr(len(watchdogPID))}, mode: writeDecimal})
	}
	p.vector = append(p.vector, 0)
	return address(&p.vector[at])
}

// addFiles gives the child its descriptors 0, 1, 2, … and its terminal.
func (p *program) addFiles(c *child, files []int) *Error {
	for i, fd := range files {
		if fd >= 0 && fd < len(files) && fd != i { // it would be overwritten before its turn
			high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, len(files))
			if err != nil {
				return explainFork(errnoOf(err))
			}
			p.fds, fd = append(p.fds, high), high
		}
		n := note{step: StepFork}
		switch {
		case fd < 0:
			p.add(n, call{nr: syscall.SYS_CLOSE, args: [6]uintptr{uintptr(i)}, pass: uintptr(syscall.EBADF)})
		case fd == i:
			p.add(n, call{nr: unix.SYS_FCNTL, args: [6]uintptr{uintptr(fd), unix.F_SETFD, 0}})
		default:
			p.add(n, call{nr: unix.SYS_DUP3, args: [6]uintptr{uintptr(fd), uintptr(i), 0}})
		}
	}
	if c.tty > 0 {
		p.add(note{step: StepTTY}, call{nr: syscall.SYS_IOCTL, args: [6]uintptr{0, unix.TIOCSCTTY, 1}})
	}
	return nil
}

// addScheduling adds the defaults where the supervisor has others, oom_score_adj, nice and umask.
func (p *program) addScheduling(id *graph.Identity) {
	if inheritsScheduling() {
		for _, c := range p.sched.calls() {
			p.add(note{step: StepFork}, c)
		}
	}
	if score := oomScore(id); score != nil {
		n, cwd := note{step: StepOOMScore}, unix.AT_FDCWD
		pass := uintptr(0)
		if id.OOMScoreAdj == nil { // nobody asked for it
			pass = anyError
		}
		p.add(n, call{nr: unix.SYS_OPENAT, args: [6]uintptr{uintptr(cwd), p.string(oomScorePath), unix.O_WRONLY | unix.O_CLOEXEC},
			pass: pass})
		value := strconv.Itoa(*score)
		// The descriptor is left open: it is close-on-exec.
		p.add(n, call{nr: syscall.SYS_WRITE, args: [6]uintptr{0, p.string(value), uintptr(len(value))},
			mode: onLastResult, pass: pass})
	}
	if id.Nice != nil {
		p.add(note{step: StepNice}, call{nr: syscall.SYS_SETPRIORITY,
			args: [6]uintptr{unix.PRIO_PROCESS, 0, uintptr(*id.Nice)}})
	}
	if id.Umask != nil {
		p.add(note{step: StepUmask}, call{nr: syscall.SYS_UMASK, args: [6]uintptr{uintptr(*id.Umask)}})
	}
}

// addLimits adds the resource limits, the one that the Go runtime changed for itself, and the tag.
func (p *program) addLimits(s *Spec) *Error {
	add := func(n note, number int, limit unix.Rlimit, pass uintptr) {
		p.limits = append(p.limits, limit)
		p.add(n, call{nr: syscall.SYS_PRLIMIT64,
			args: [6]uintptr{0, uintptr(number), address(&p.limits[len(p.limits)-1])}, pass: pass})
	}
	files, own := originalNofile()
	for i, l := range s.Identity.Limits {
		number, err := checkLimit(l)
		if err != nil {
			return err
		}
		own = own && number != unix.RLIMIT_NOFILE
		add(note{step: StepLimits, index: i}, number, unix.Rlimit{Cur: l.Soft, Max: l.Hard}, 0)
	}
	if own {
		add(note{step: StepFork}, unix.RLIMIT_NOFILE, files, 0)
	}
	if place := s.place(); s.Tag != 0 && place >= 0 {
		add(note{step: StepFork}, place, unix.Rlimit{Cur: s.Tag, Max: s.Tag}, anyError)
	}
	return nil
}

// addIdentity adds capabilities, groups, group and user.
func (p *program) addIdentity(c *child) *Error {
	id := &c.spec.Identity
	bounding, ambient, err := capabilitySets(id.Capabilities)
	if err != nil {
		return err
	}
	var have capabilities
	if bounding != nil || ambient != nil {
		have.header.Version = unix.LINUX_CAPABILITY_VERSION_3
		if errno := have.get(); errno != 0 {
			return failf(StepCapabilities, errno, "cannot read the supervisor's capabilities: %v", errno)
		}
	}
	if bounding != nil {
		p.addBounding(*bounding, &have)
	}
	if ambient != nil {
		p.addPrctl(note{step: StepCapabilities}, unix.PR_SET_KEEPCAPS, 1)
	}
	if cred := c.cred; cred != nil {
		if !cred.KeepGroups {
			p.groups = append(p.groups[:0], 0) // room, so that there is an address
			for _, g := range cred.Groups {
				p.groups = append(p.groups, uint32(g))
			}
			first := uintptr(unsafe.Pointer(unsafe.SliceData(p.groups))) + unsafe.Sizeof(p.groups[0])
			p.add(note{step: StepGroups}, call{nr: sysSetgroups, args: [6]uintptr{uintptr(len(cred.Groups)), first}})
		}
		gid, uid := uintptr(cred.GID), uintptr(cred.UID)
		p.add(note{step: StepGroup}, call{nr: sysSetresgid, args: [6]uintptr{gid, gid, gid}})
		p.add(note{step: StepUser}, call{nr: sysSetresuid, args: [6]uintptr{uid, uid, uid}})
	}
	if ambient != nil {
		return p.addAmbient(*ambient, have, c.cred)
	}
	return nil
}

// addBounding drops everything but set from the bounding and the inheritable set: an inherited capability would
// come back at the exec.
func (p *program) addBounding(set uint64, have *capabilities) {
	n := note{step: StepCapabilities}
	have.data[0].Inheritable &= uint32(set)
	have.data[1].Inheritable &= uint32(set >> 32)
	p.caps[0] = *have
	p.addCapset(n, &p.caps[0])
	for i := uintptr(0); i < 64; i++ {
		has, errno := prctl(unix.PR_CAPBSET_READ, i, 0)
		if errno != 0 {
			return // beyond the last one that the kernel knows
		}
		if set>>i&1 == 0 && has != 0 {
			p.addPrctl(n, unix.PR_CAPBSET_DROP, i)
		}
	}
}

// addAmbient makes a set inheritable, effective and ambient, so that it survives the exec of a program without
// file capabilities. The child has what the supervisor has; a change of user takes away what was effective.
func (p *program) addAmbient(set uint64, have capabilities, cred *Credential) *Error {
	dropped := cred != nil && cred.UID != 0 && os.Geteuid() == 0
	for i := range have.data {
		part := uint32(set >> (32 * i))
		if part&^have.data[i].Permitted != 0 {
			return failf(StepCapabilities, syscall.EPERM,
				"cannot set the ambient capabilities to %x: the supervisor itself lacks some of them", set)
		}
		if dropped {
			have.data[i].Effective = 0
		}
		have.data[i].Inheritable |= part
		have.data[i].Effective |= part
	}
	n := note{step: StepCapabilities}
	p.caps[1] = have
	p.addCapset(n, &p.caps[1])
	for i := uintptr(0); i < 64; i++ {
		if set>>i&1 == 1 {
			p.add(n, call{nr: syscall.SYS_PRCTL, args: [6]uintptr{unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, i}})
		}
	}
	return nil
}

func (p *program) addCapset(n note, c *capabilities) {
	p.add(n, call{nr: syscall.SYS_CAPSET, args: [6]uintptr{address(&c.header), address(&c.data[0])}})
}

// explain says which call of the table failed.
func (p *program) explain(c *child, errno syscall.Errno) *Error {
	n := note{step: StepFork}
	if at := (p.failed.at - address(&p.calls[0])) / unsafe.Sizeof(call{}); at < uintptr(len(p.notes)) {
		n = p.notes[at]
	}
	s, id := c.spec, &c.spec.Identity
	switch n.step {
	case StepExec:
		return s.explain(errno, c.cred)
	case StepDir:
		if err := s.explainDir(errno, c.cred); err != nil {
			return err
		}
		return failf(n.step, errno, "cannot change to the directory %s: %v", s.Dir, errno)
	case StepTTY:
		return s.explainTTY(errno)
	case StepUser, StepGroup, StepGroups:
		return explainIdentity(n.step, errno, c.cred)
	case StepOOMScore:
		return failf(n.step, errno, "cannot set oom_score_adj to %d: %v", *oomScore(id), errno)
	case StepNice:
		return failf(n.step, errno, "cannot set the nice value to %d: %v", *id.Nice, errno)
	case StepLimits:
		what := limitPhrase(id.Limits[n.index])
		if err := s.explainLimits(errno, what); err != nil {
			return err
		}
		return failf(n.step, errno, "cannot %s: %v", what, errno)
	case StepCapabilities:
		return failf(n.step, errno, "cannot set the capabilities: %v", errno)
	case StepPrivileges:
		return failf(n.step, errno, "cannot set no_new_privs: %v", errno)
	}
	return failf(StepFork, errno, "cannot start a process: %v", errno)
}
