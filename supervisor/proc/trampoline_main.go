package proc

import (
	"encoding/binary"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"github.com/zinit/zinit/graph"
)

// TrampolineMain is the hidden applet that ForkExec's child becomes when the service wants what ForkExec cannot set. It
// takes the steps in the order in which systemd.exec(5) documents them (cgroup, oom_score_adj, nice, umask, limits,
// bounding set, groups, group, user, ambient capabilities, working directory, no_new_privs), then executes the program
// in place. It returns only on failure, with the exit code; the step and the error number have been reported on the
// pipe by then. argv is what Start built; any other is refused.
//
// The steps are raw system calls on memory that was prepared before the first of them: under a small limit on
// processes, memory or descriptors the Go runtime could neither start a thread nor grow its heap, and identities are
// set for this one thread only, which is the one that executes.
func TrampolineMain(argv []string) int {
	runtime.LockOSThread()
	debug.SetGCPercent(-1)
	steps, ok := parseTrampoline(argv)
	if !ok {
		_, _ = os.Stderr.WriteString(TrampolineName + " is used by zinit itself to start services\n")
		return 2
	}
	for i := range steps {
		if errno := steps[i].take(); errno != 0 {
			steps[i].report(errno)
			break
		}
	}
	return trampolineExit
}

// step is one thing to do, with all its memory.
type step struct {
	take    func() syscall.Errno
	message []byte // room for an errno, the step's name, NUL, what was tried
	fd      int    // where to report
}

func (s *step) report(errno syscall.Errno) {
	binary.NativeEndian.PutUint32(s.message, uint32(errno))
	rawWrite(s.fd, s.message)
}

// parseTrampoline reads name, report=FD, settings in the order of application, --, program, argument vector. The last
// step is the exec.
func parseTrampoline(argv []string) (steps []step, ok bool) {
	if len(argv) < 2 {
		return nil, false
	}
	fd, isNumber := parseID(strings.TrimPrefix(argv[1], "report="))
	if !isNumber {
		return nil, false
	}
	syscall.CloseOnExec(fd)
	script := false
	for i, w := range argv[2:] {
		if w == "--" {
			take := execStep(argv[2+i+1:], script)
			return append(steps, newStep(fd, StepExec, "execute", take)), take != nil
		}
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "script":
			script = true
			continue
		case "watchdog-pid":
			_ = os.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
			continue
		}
		name, what, take := setting(key, value)
		if take == nil {
			return nil, false
		}
		steps = append(steps, newStep(fd, name, what, take))
	}
	return nil, false
}

func newStep(fd int, name, what string, take func() syscall.Errno) step {
	message := append(make([]byte, 4, 4+len(name)+1+len(what)), name...)
	message = append(append(message, 0), what...)
	return step{take: take, message: message, fd: fd}
}

// setting prepares one step; take is nil for a word that Start does not write.
func setting(key, value string) (name, what string, take func() syscall.Errno) {
	n, err := strconv.Atoi(value)
	switch key {
	case StepCgroup:
		return key, "join the control group " + value, writeStep(value, "0")
	case StepOOMScore:
		return key, "set oom_score_adj to " + value, writeStep(oomScorePath, value)
	case StepLimits:
		return limitSetting(value)
	case StepGroups:
		return key, "set the supplementary groups to " + value, groupsStep(value)
	case StepDir:
		return key, "change to the directory " + value, dirStep(value)
	case "bounding", "ambient":
		return StepCapabilities, "set the " + key + " capabilities to " + value, capabilityStep(key, value)
	case "scheduling":
		return StepFork, "set the default scheduling", schedulingStep()
	case "keepcaps":
		return StepCapabilities, "keep capabilities over the change of user", keepCapsStep
	case StepPrivileges:
		return key, "set no_new_privs", noNewPrivilegesStep
	}
	if err != nil {
		return "", "", nil
	}
	switch key {
	case StepNice:
		return key, "set the nice value to " + value, niceStep(n)
	case StepUmask:
		return key, "set the umask", umaskStep(n)
	case StepGroup:
		return key, "become group " + value, groupStep(n)
	case StepUser:
		return key, "become user " + value, userStep(n)
	case "pdeathsig":
		return StepFork, "set the parent-death signal", deathStep(n)
	}
	return "", "", nil
}

func limitSetting(value string) (name, what string, take func() syscall.Errno) {
	f := strings.Split(value, ":")
	if len(f) != 3 {
		return "", "", nil
	}
	n, err1 := strconv.Atoi(f[0])
	soft, err2 := strconv.ParseUint(f[1], 10, 64)
	hard, err3 := strconv.ParseUint(f[2], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil || n < 0 || n >= len(limitNames) {
		return "", "", nil
	}
	what = limitPhrase(graph.Limit{Name: limitNames[n], Soft: soft, Hard: hard})
	return StepLimits, what, limitStep(n, soft, hard)
}

// limitPhrase is a limit in words.
func limitPhrase(l graph.Limit) string {
	return "set the limit " + strings.ToLower(l.Name) + " to " + limitText(l.Soft) + ":" + limitText(l.Hard)
}

func limitText(v uint64) string {
	if v == ^uint64(0) {
		return "infinity"
	}
	return strconv.FormatUint(v, 10)
}
