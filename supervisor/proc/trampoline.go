package proc

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
)

// TrampolineName is argv[0] of the hidden applet; main must hand over to TrampolineMain when it sees it.
const TrampolineName = "zinit-exec"

// trampolineExit is the exit code of a trampoline that has reported a failure, as systemd and shells use it for a program
// that could not be executed.
const trampolineExit = 127

// needsTrampoline reports whether ForkExec alone cannot do what is asked for. It knows no umask, priority, limits,
// oom_score_adj, no_new_privs and bounding set, nor a variable that holds the child's own pid, nor, once
// originalNofile has asked for it, the limit of descriptors that the supervisor was started with.
func (s *Spec) needsTrampoline() bool {
	id := &s.Identity
	_, limited := originalNofile()
	return limited || inheritsScheduling() || id.Umask != nil || id.Nice != nil || oomScore(id) != nil || len(id.Limits) > 0 || id.NoNewPrivileges ||
		id.Capabilities != nil || s.WatchdogPID || s.Cgroup != nil && !s.Cgroup.cloneInto()
}

// startByTrampoline executes ourselves as zinit-exec, which takes the steps in the child, executes the program in place
// (same pid), and reports a failure on a pipe that the exec closes.
func (c *child) startByTrampoline() (int, *Error) {
	words, err := c.trampolineArgs()
	if err != nil {
		return 0, err
	}
	var pipe [2]int
	if e := syscall.Pipe2(pipe[:], syscall.O_CLOEXEC); e != nil {
		return 0, explainFork(errnoOf(e))
	}
	report := os.NewFile(uintptr(pipe[0]), "report")
	defer report.Close()
	attr := c.attr(c.spec.Env)
	attr.Files = append(attr.Files, uintptr(pipe[1]))
	pid, e := c.fork(c.spec.trampolinePath(), words, attr)
	syscall.Close(pipe[1])
	if e != nil {
		if err := c.spec.explainCgroup(errnoOf(e)); err != nil {
			return 0, err
		}
		if errnoOf(e) == syscall.EAGAIN || errnoOf(e) == syscall.ENOMEM {
			return 0, explainFork(errnoOf(e))
		}
		return 0, failf(StepExec, errnoOf(e), "cannot execute the trampoline %s: %v", c.spec.trampolinePath(), e)
	}
	return c.await(pid, report)
}

// await reads the report: nothing at all means that the program runs.
func (c *child) await(pid int, report io.Reader) (int, *Error) {
	data, _ := io.ReadAll(io.LimitReader(report, 4096))
	if len(data) == 0 {
		return pid, nil
	}
	var status syscall.WaitStatus
	_ = ignoringEINTR(func() error { _, err := syscall.Wait4(pid, &status, 0, nil); return err })
	step, errno, detail := parseReport(data)
	switch step {
	case StepExec:
		return 0, c.spec.explain(errno, c.cred)
	case StepDir:
		if err := c.spec.explainDir(errno, c.cred); err != nil {
			return 0, err
		}
	case StepUser, StepGroup, StepGroups:
		return 0, explainIdentity(step, errno, c.cred)
	case StepLimits:
		if err := c.spec.explainLimits(errno, detail); err != nil {
			return 0, err
		}
	}
	return 0, failf(step, errno, "cannot %s: %v", detail, errno)
}

// parseReport reads errno (4 bytes), step, NUL, detail.
func parseReport(data []byte) (step string, errno syscall.Errno, detail string) {
	if len(data) < 5 {
		return StepExec, 0, "start: the trampoline's report is too short"
	}
	errno = syscall.Errno(binary.NativeEndian.Uint32(data))
	s, d, _ := bytes.Cut(data[4:], []byte{0})
	return string(s), errno, string(d)
}

// trampolineArgs is the trampoline's argument vector: its name, settings in the order in which they are applied, "--",
// the program, and the program's own vector.
func (c *child) trampolineArgs() ([]string, *Error) {
	s, id := c.spec, &c.spec.Identity
	words := []string{TrampolineName, "report=" + strconv.Itoa(len(c.files))}
	add := func(key, value string) { words = append(words, key+"="+value) }
	addInt := func(key string, v *int) {
		if v != nil {
			add(key, strconv.Itoa(*v))
		}
	}
	if s.Cgroup != nil && !s.Cgroup.cloneInto() {
		add(StepCgroup, s.Cgroup.Main()+"/cgroup.procs")
	}
	if inheritsScheduling() {
		add("scheduling", "0")
	}
	addInt(StepOOMScore, oomScore(id))
	addInt(StepNice, id.Nice)
	addInt(StepUmask, id.Umask)
	limits, err := limitWords(id.Limits)
	if err != nil {
		return nil, err
	}
	bounding, ambient, err := capabilityWords(id.Capabilities)
	if err != nil {
		return nil, err
	}
	words = append(append(words, limits...), bounding...)
	if ambient != nil {
		add("keepcaps", "1")
	}
	if c.cred != nil {
		c.addCredential(add)
	}
	words = append(words, ambient...)
	c.addLast(add)
	words = append(words, "--", s.Path)
	return append(words, s.Argv...), nil
}

// addLast adds what is set as the service's user.
func (c *child) addLast(add func(key, value string)) {
	s := c.spec
	if s.Dir != "" {
		add(StepDir, s.Dir)
	}
	if s.Identity.NoNewPrivileges {
		add(StepPrivileges, "1")
	}
	if s.Pdeathsig && deathSignals() {
		add("pdeathsig", strconv.Itoa(os.Getpid()))
	}
	if s.Script && looksLikeScript(inDir(s.Path, s.Dir)) {
		add("script", "1")
	}
	if s.WatchdogPID {
		add("watchdog-pid", "1")
	}
}

func (c *child) addCredential(add func(key, value string)) {
	if !c.cred.KeepGroups {
		list := make([]string, len(c.cred.Groups))
		for i, g := range c.cred.Groups {
			list[i] = strconv.Itoa(g)
		}
		add(StepGroups, strings.Join(list, ","))
	}
	add(StepGroup, strconv.Itoa(c.cred.GID))
	add(StepUser, strconv.Itoa(c.cred.UID))
}

// limitWords writes limits as limits=NUMBER:SOFT:HARD.
func limitWords(limits []graph.Limit) ([]string, *Error) {
	var words []string
	if l, changed := originalNofile(); changed {
		words = append(words, limitWord(unix.RLIMIT_NOFILE, l.Cur, l.Max))
	}
	for _, l := range limits {
		n, err := checkLimit(l)
		if err != nil {
			return nil, err
		}
		words = append(words, limitWord(n, l.Soft, l.Hard))
	}
	return words, nil
}

func limitWord(n int, soft, hard uint64) string {
	return StepLimits + "=" + strconv.Itoa(n) + ":" + strconv.FormatUint(soft, 10) + ":" + strconv.FormatUint(hard, 10)
}

// checkLimit finds the number of a limit.
func checkLimit(l graph.Limit) (int, *Error) {
	n, ok := LimitNumber(l.Name)
	if !ok {
		return 0, failf(StepLimits, 0, "cannot set the limit %q: no such name in getrlimit(2)", l.Name)
	}
	if l.Soft > l.Hard {
		return 0, failf(StepLimits, 0, "cannot set the limit %s: soft %d is above hard %d", l.Name, l.Soft, l.Hard)
	}
	return n, nil
}

// capabilityWords writes the capabilities as hexadecimal sets: bounding=… and ambient=….
func capabilityWords(c *graph.Capabilities) (bounding, ambient []string, err *Error) {
	b, a, err := capabilitySets(c)
	if b != nil {
		bounding = []string{"bounding=" + strconv.FormatUint(*b, 16)}
	}
	if a != nil {
		ambient = []string{"ambient=" + strconv.FormatUint(*a, 16)}
	}
	return bounding, ambient, err
}

// capabilitySets turns the names of capabilities into sets; nil = not to be set.
func capabilitySets(c *graph.Capabilities) (bounding, ambient *uint64, err *Error) {
	if c == nil {
		return nil, nil, nil
	}
	if c.Bounding != nil {
		set, err := capabilitySet(c.Bounding)
		if err != nil {
			return nil, nil, err
		}
		bounding = &set
	}
	if len(c.Ambient) > 0 {
		set, err := capabilitySet(c.Ambient)
		if err != nil {
			return nil, nil, err
		}
		ambient = &set
	}
	return bounding, ambient, nil
}

func capabilitySet(names []string) (uint64, *Error) {
	var set uint64
	for _, name := range names {
		n, ok := CapabilityNumber(name)
		if !ok {
			return 0, failf(StepCapabilities, 0, "cannot set the capability %q: no such name in capabilities(7)", name)
		}
		set |= 1 << n
	}
	return set, nil
}
