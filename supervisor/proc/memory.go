package proc

import (
	"errors"
	"sync"
	"time"
)

// memoryPatience is how long the memory of a process may take to be read. Its environment and arguments are pages of its
// own, and those may be of a file on a server that has gone away.
const memoryPatience = 250 * time.Millisecond

// errHangs says that the memory of a process cannot be read in time.
var errHangs = errors.New("the memory of the process cannot be read: it waits for a file system that does not answer")

// hanging are the processes of which a read is under way that took too long, by pid, with their start time. One such read is
// enough: nothing ends it but the file system.
var hanging struct {
	sync.Mutex
	starts map[int]uint64
}

// readMemory reads a file of /proc/PID that is the process's memory (environ, cmdline), up to limit bytes, and gives up after
// memoryPatience.
func readMemory(pid int, name string, limit int) ([]byte, error) {
	return patiently(pid, func() ([]byte, error) { return readAllProc(pid, name, limit) })
}

// patiently calls read, and does not wait for it longer than memoryPatience.
func patiently(pid int, read func() ([]byte, error)) ([]byte, error) {
	if hangs(pid) {
		return nil, errHangs
	}
	type result struct {
		data []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		data, err := read()
		done <- result{data, err}
		forgetHang(pid)
	}()
	timer := time.NewTimer(memoryPatience)
	defer timer.Stop()
	select {
	case r := <-done:
		return r.data, r.err
	case <-timer.C:
	}
	noteHang(pid)
	select {
	case r := <-done: // at the last moment
		forgetHang(pid)
		return r.data, r.err
	default:
		return nil, errHangs
	}
}

// hangs reports whether exactly this process is known to hang.
func hangs(pid int) bool {
	hanging.Lock()
	start, ok := hanging.starts[pid]
	hanging.Unlock()
	if !ok {
		return false
	}
	p, err := ReadProcess(pid)
	return err == nil && p.Start == start
}

func noteHang(pid int) {
	p, err := ReadProcess(pid)
	if err != nil {
		return
	}
	hanging.Lock()
	defer hanging.Unlock()
	if hanging.starts == nil {
		hanging.starts = map[int]uint64{}
	}
	hanging.starts[pid] = p.Start
}

func forgetHang(pid int) {
	hanging.Lock()
	defer hanging.Unlock()
	delete(hanging.starts, pid)
}
