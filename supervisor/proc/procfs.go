package proc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ticksPerSecond is USER_HZ, in which /proc counts time: 100 on every machine Linux supports but Alpha and IA-64.
const ticksPerSecond = 100

// Process is a line of /proc/PID/stat.
type Process struct {
	PID, PPID, PGRP, Session int
	TTY                      int    // device number of the controlling terminal, 0 = none
	Start                    uint64 // in clock ticks since boot: with the pid it names a process for ever
	State                    byte   // R, S, D, T, t, Z, X, I, …
	Kernel                   bool   // a kernel thread
	Threads                  int
	UTime, STime             uint64 // in clock ticks, without children
	RSSBytes                 uint64
	Comm                     string
}

// Dead reports whether the process has ended and only its entry is left. One whose first thread has ended (pthread_exit(3)
// in main) is shown as a zombie too, while its other threads run on.
func (p *Process) Dead() bool {
	return (p.State == 'Z' || p.State == 'X' || p.State == 'x') && p.Threads <= 1
}

// alive reports whether exactly this process is still there.
func (p *Process) alive() bool {
	now, err := ReadProcess(p.PID)
	return err == nil && now.Start == p.Start && !now.Dead()
}

// Lives reports whether exactly the process with this pid and start time is still there.
func Lives(pid int, start uint64) bool { return (&Process{PID: pid, Start: start}).alive() }

// CPU is the processor time that the process has used, without its children.
func (p *Process) CPU() time.Duration {
	return time.Duration(p.UTime+p.STime) * (time.Second / ticksPerSecond)
}

// ErrGone says that there is no such process.
var ErrGone = errors.New("no such process")

// ReadProcess reads /proc/PID/stat. The error is ErrGone when the process does not exist.
func ReadProcess(pid int) (Process, error) {
	var buf [1024]byte
	data, err := readProc(pid, "stat", buf[:])
	if err != nil {
		return Process{}, err
	}
	return ParseStat(data)
}

// errStat says that a line is not of the form of proc_pid_stat(5).
var errStat = errors.New("cannot read the stat line of a process")

// ParseStat reads a line of /proc/PID/stat. The name stands in parentheses and may hold anything, parentheses, blanks
// and newlines too, so what counts is the last closing one.
func ParseStat(data []byte) (Process, error) {
	open, last := bytes.IndexByte(data, '('), bytes.LastIndexByte(data, ')')
	if open < 2 || last < open || last+2 > len(data) {
		return Process{}, errStat
	}
	var p Process
	var ok bool
	if p.PID, ok = atoi(data[:open-1]); !ok {
		return Process{}, errStat
	}
	p.Comm = string(data[open+1 : last])
	f := fields{rest: data[last+1:]}
	state := f.word()
	if len(state) != 1 {
		return Process{}, errStat
	}
	p.State = state[0]
	p.PPID, p.PGRP, p.Session, p.TTY = f.int(), f.int(), f.int(), f.int()
	f.skip(1) // tpgid
	p.Kernel = f.uint()&0x00200000 != 0
	f.skip(4) // minflt … cmajflt
	p.UTime, p.STime = f.uint(), f.uint()
	f.skip(4) // cutime, cstime, priority, nice
	p.Threads = f.int()
	f.skip(1) // itrealvalue
	p.Start = f.uint()
	f.skip(1) // vsize
	p.RSSBytes = f.uint() * uint64(os.Getpagesize())
	if f.bad {
		return Process{}, errStat
	}
	return p, nil
}

// fields walks over words separated by blanks.
type fields struct {
	rest []byte
	bad  bool
}

func (f *fields) word() []byte {
	for len(f.rest) > 0 && (f.rest[0] == ' ' || f.rest[0] == '\n') {
		f.rest = f.rest[1:]
	}
	n := 0
	for n < len(f.rest) && f.rest[n] != ' ' && f.rest[n] != '\n' {
		n++
	}
	w := f.rest[:n]
	f.rest = f.rest[n:]
	f.bad = f.bad || n == 0
	return w
}

func (f *fields) skip(n int) {
	for range n {
		f.word()
	}
}

func (f *fields) int() int {
	n, ok := atoi(f.word())
	f.bad = f.bad || !ok
	return n
}

func (f *fields) uint() uint64 {
	n, ok := atou(f.word())
	f.bad = f.bad || !ok
	return n
}

func atou(b []byte) (uint64, bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}

func atoi(b []byte) (int, bool) {
	negative := len(b) > 1 && b[0] == '-'
	if negative {
		b = b[1:]
	}
	n, ok := atou(b)
	if !ok || n > 1<<31 {
		return 0, false
	}
	if negative {
		return -int(n), true
	}
	return int(n), true
}

// readProc reads a small file of /proc/PID into buf, as much as fits.
func readProc(pid int, name string, buf []byte) ([]byte, error) {
	if !usable() {
		return nil, ErrGone
	}
	return readInto("/proc/"+strconv.Itoa(pid)+"/"+name, buf)
}

func readInto(path string, buf []byte) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT || err == unix.ESRCH {
		return nil, ErrGone
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	n := 0
	for n < len(buf) {
		got, err := unix.Read(fd, buf[n:])
		if err == unix.EINTR {
			continue
		}
		if err == unix.ESRCH {
			return nil, ErrGone
		}
		if err != nil {
			return nil, &os.PathError{Op: "read", Path: path, Err: err}
		}
		if got == 0 {
			break
		}
		n += got
	}
	return buf[:n], nil
}

// readWhole reads a file of the kernel of whatever length, into buf if it fits. Unlike os.ReadFile it registers with no poller.
func readWhole(path string, buf []byte) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	for n := 0; ; {
		got, err := unix.Read(fd, buf[n:])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil, err
		case got == 0:
			return buf[:n], nil
		}
		if n += got; n == len(buf) {
			buf = append(buf, make([]byte, 3*len(buf))...)
		}
	}
}

// readAllProc reads a file of /proc/PID up to limit bytes.
func readAllProc(pid int, name string, limit int) ([]byte, error) {
	buf := make([]byte, 8192)
	for {
		data, err := readProc(pid, name, buf)
		if err != nil || len(data) < len(buf) || len(buf) >= limit {
			return data, err
		}
		buf = make([]byte, min(4*len(buf), limit))
	}
}

// environMax bounds what is read of a process's environment; the kernel allows a quarter of the stack's limit.
const environMax = 1 << 20

// Variable looks up one variable in the environment that a process was started with. It may have changed it since, it is
// readable for root and the process's own user only, and for some microseconds after an exec it is not there yet.
func Variable(pid int, name string) (string, bool) {
	data, err := readMemory(pid, "environ", environMax)
	if err != nil {
		return "", false
	}
	return variableIn(data, name)
}

// variableIn looks up a variable in NUL-separated NAME=VALUE.
func variableIn(data []byte, name string) (string, bool) {
	for len(data) > 0 {
		end := bytes.IndexByte(data, 0)
		entry := data
		if end >= 0 {
			entry, data = data[:end], data[end+1:]
		} else {
			data = nil
		}
		if len(entry) > len(name) && entry[len(name)] == '=' && string(entry[:len(name)]) == name {
			return string(entry[len(name)+1:]), true
		}
	}
	return "", false
}

// Cmdline is the process's argument vector, nil for kernel threads and zombies.
func Cmdline(pid int) []string {
	data, err := readMemory(pid, "cmdline", 64<<10)
	if err != nil || len(data) == 0 {
		return nil
	}
	return strings.Split(strings.TrimRight(string(data), "\x00"), "\x00")
}

// Executable is the path of the process's program, "" when it may not be seen.
func Executable(pid int) string {
	if pid != os.Getpid() && !usable() {
		return ""
	}
	name := "self"
	if pid != os.Getpid() {
		name = strconv.Itoa(pid)
	}
	path, err := os.Readlink("/proc/" + name + "/exe")
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(path, " (deleted)")
}

// BootID names this boot of the machine; "" where /proc does not tell.
func BootID() string {
	var buf [64]byte
	data, err := readInto("/proc/sys/kernel/random/boot_id", buf[:])
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// listProcesses appends the numbers of all processes, none where /proc is not usable.
func listProcesses(into []int) []int {
	if !usable() {
		return into
	}
	return listNumbers("/proc", into)
}

// listNumbers appends the numeric names in a directory to into.
func listNumbers(dir string, into []int) []int {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return into
	}
	defer unix.Close(fd)
	var buf [32 << 10]byte
	for {
		n, err := unix.Getdents(fd, buf[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return into
		}
		into = numbersIn(buf[:n], into)
	}
}

// numbersIn reads linux_dirent64 records: inode (8 bytes), offset (8), record length (2), type (1), name and NUL.
func numbersIn(records []byte, into []int) []int {
	for len(records) >= 20 {
		length := int(binary.NativeEndian.Uint16(records[16:]))
		if length < 20 || length > len(records) {
			return into
		}
		name := records[19:length]
		if end := bytes.IndexByte(name, 0); end >= 0 {
			name = name[:end]
		}
		if n, ok := atoi(name); ok && n > 0 {
			into = append(into, n)
		}
		records = records[length:]
	}
	return into
}
