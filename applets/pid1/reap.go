package pid1

import (
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/mark"
	"github.com/zinit/zinit/supervisor/keeper"
)

// reap takes every child that has ended. Each is looked at before it is reaped, while its /proc entry still tells its
// start time.
func (s *shim) reap() {
	for range 10000 {
		pid := nextZombie()
		if pid <= 0 {
			return
		}
		start, tag := startTime(pid), tagOf(pid)
		var ws unix.WaitStatus
		got, err := unix.Wait4(pid, &ws, unix.WNOHANG, nil)
		if err != nil || got != pid {
			return
		}
		s.reaped(keeper.Exit{PID: pid, Start: start, Tag: tag, At: monotonic()}, ws)
	}
	s.arm(timerSweep, 0) // more than that at once: let the rest have its turn
}

// reaped finds out whose end it was.
func (s *shim) reaped(e keeper.Exit, ws unix.WaitStatus) {
	switch e.PID {
	case s.server.pid:
		s.serverDied(ws)
	case s.main.pid:
		s.mainEnded(ws)
	case s.shell.pid:
		s.shellEnded()
	case s.reexec.pid:
		s.checkedNewSelf(ws)
	case s.holder:
		s.holder = 0
	default:
		if ws.Signaled() {
			e.Signal, e.Core = int32(ws.Signal()), ws.CoreDump()
		} else {
			e.Code = int32(ws.ExitStatus())
		}
		s.store.Exited(e)
	}
	if s.stop.phase == phaseTerm || s.stop.phase == phaseKill {
		s.arm(timerSweep, millisecond)
	}
}

// nextZombie returns a child that has ended and leaves it; 0 when there is none.
func nextZombie() int {
	// siginfo_t: three ints, aligned to the pointer size, then the pid.
	var info [128 / 8]uint64
	const pidAt = (12 + unsafe.Sizeof(uintptr(0)) - 1) / unsafe.Sizeof(uintptr(0)) * unsafe.Sizeof(uintptr(0))
	for {
		_, _, errno := unix.RawSyscall6(unix.SYS_WAITID, unix.P_ALL, 0, uintptr(unsafe.Pointer(&info[0])),
			unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0
		}
		return int(*(*int32)(unsafe.Add(unsafe.Pointer(&info[0]), pidAt)))
	}
}

// tagOf reads the mark that the server puts on what it starts (supervisor/proc, tag.go). A server that dies right after a
// fork has not put it on; then the number of the incarnation is told by the control group that the child was born in.
// 0 = neither.
func tagOf(pid int) uint64 {
	values, err := mark.Read(pid)
	if err == mark.ErrNotAllowed {
		values, _ = mark.Parse([]byte(ofProcess(pid, "limits")))
	}
	if value := values.Ours(); value != 0 {
		return value
	}
	return groupGen(ofProcess(pid, "cgroup"))
}

// groupGen takes 7 out of the line 0::/…/zinit-1-42/name.7 of /proc/PID/cgroup, 0 = it is no such group.
func groupGen(text string) uint64 {
	for line := range strings.Lines(text) {
		path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::")
		if !ok {
			continue
		}
		path = strings.TrimSuffix(path, " (deleted)")
		slash, dot := strings.LastIndexByte(path, '/'), strings.LastIndexByte(path, '.')
		if slash < 0 || dot <= slash+1 || !strings.HasPrefix(path[strings.LastIndexByte(path[:slash], '/')+1:], "zinit-") {
			return 0
		}
		return decimal(path[dot+1:])
	}
	return 0
}

// ofProcess reads a small file of /proc/PID, "" where /proc is missing or that of another pid namespace: the number would
// be another process.
func ofProcess(pid int, name string) string {
	if !procIsOurs() {
		return ""
	}
	return readFile("/proc/"+itoa(pid)+"/"+name, 4096)
}

// procIsOurs asks /proc for our own numbers, in its namespace and all below it down to ours.
func procIsOurs() bool {
	if procAsked.done {
		return procAsked.ours
	}
	procAsked.done, procAsked.ours = true, false
	for line := range strings.Lines(readFile("/proc/self/status", 4096)) {
		if numbers, ok := strings.CutPrefix(line, "NSpid:"); ok {
			procAsked.ours = strings.TrimSpace(numbers) == itoa(unix.Getpid())
		} else if number, ok := strings.CutPrefix(line, "Pid:"); ok { // before Linux 4.1 there is no NSpid
			procAsked.ours = strings.TrimSpace(number) == itoa(unix.Getpid())
		}
	}
	return procAsked.ours
}

// procAsked keeps the answer of procIsOurs until something is mounted.
var procAsked struct{ done, ours bool }

// startTime is field 22 of /proc/PID/stat, in clock ticks since boot; 0 = unknown.
func startTime(pid int) uint64 {
	st, ok := readStat(pid)
	if !ok {
		return 0
	}
	return st.start
}

// procStat is what pid1 wants of /proc/PID/stat.
type procStat struct {
	state   byte
	ppid    int
	flags   uint64
	threads uint64
	start   uint64
}

// dead reports whether the process has ended. One whose first thread has ended is shown as a zombie, while others run on.
func (st *procStat) dead() bool { return (st.state == 'Z' || st.state == 'X') && st.threads <= 1 }

func readStat(pid int) (procStat, bool) { return parseStat(ofProcess(pid, "stat")) }

// parseStat reads a stat line. The name in parentheses may hold anything, so the fields begin behind the last ')'.
func parseStat(line string) (st procStat, ok bool) {
	at := strings.LastIndexByte(line, ')')
	if at < 0 {
		return st, false
	}
	field := 3 // the first one behind the name is the state
	for word := range strings.FieldsSeq(line[at+1:]) {
		switch field {
		case 3:
			st.state = word[0]
		case 4:
			st.ppid = int(decimal(word))
		case 9:
			st.flags = decimal(word)
		case 20:
			st.threads = decimal(word)
		case 22:
			st.start = decimal(word)
			return st, true
		}
		field++
	}
	return st, false
}

func decimal(s string) (n uint64) {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0
		}
		n = n*10 + uint64(c-'0')
	}
	return n
}
