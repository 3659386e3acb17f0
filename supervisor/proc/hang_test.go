package proc

import (
	"os"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// holdOpens makes every open of a file wait until release, as a file system on a dead network would.
func holdOpens(t *testing.T, path string) (release func()) {
	t.Helper()
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK, unix.O_RDONLY|unix.O_CLOEXEC)
	need(t, err == nil, "fanotify with permission events")
	err = unix.FanotifyMark(fd, unix.FAN_MARK_ADD, unix.FAN_OPEN_PERM, unix.AT_FDCWD, path)
	need(t, err == nil, "fanotify with permission events")
	return func() {
		// First no further open is held: that of an exec would stop the thread that has to answer it.
		if err := unix.FanotifyMark(fd, unix.FAN_MARK_REMOVE, unix.FAN_OPEN_PERM, unix.AT_FDCWD, path); err != nil {
			t.Error(err)
		}
		for answerOpen(fd) {
		}
		unix.Close(fd)
	}
}

func answerOpen(fd int) bool {
	var event unix.FanotifyEventMetadata
	n, err := unix.Read(fd, (*[unsafe.Sizeof(event)]byte)(unsafe.Pointer(&event))[:])
	if err != nil || n < int(unsafe.Sizeof(event)) {
		return false
	}
	response := unix.FanotifyResponse{Fd: event.Fd, Response: unix.FAN_ALLOW}
	_, _ = unix.Write(fd, (*[unsafe.Sizeof(response)]byte)(unsafe.Pointer(&response))[:])
	unix.Close(int(event.Fd))
	return true
}

func TestAProgramThatCannotBeReadHoldsUpNobody(t *testing.T) {
	needRoot(t)
	path := t.TempDir() + "/prog"
	data, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o755); err != nil {
		t.Fatal(err)
	}
	release := holdOpens(t, path)
	pids := make(chan int)
	// More than there are processors: if each of them held one, nothing would run any more.
	stuck := runtime.GOMAXPROCS(0) + 1
	for range stuck {
		go func() {
			pid, err := Start(&Spec{Plan: Plan{Path: path, Argv: []string{"prog"}}})
			if err != nil {
				t.Error(err)
			}
			pids <- pid
		}()
	}
	await(t, "all are stuck", func() bool { return forking.Load() == 0 && stuckOpens() >= stuck })
	finished := make(chan bool)
	go func() {
		runtime.GC() // stops the world
		wait(mustStart(t, &Spec{Plan: Plan{Path: "/bin/true", Argv: []string{"true"}}}))
		runtime.GC()
		close(finished)
	}()
	select {
	case <-finished:
	case <-time.After(10 * time.Second):
		t.Error("the process is held up")
	}
	release()
	for range stuck {
		select {
		case pid := <-pids:
			wait(pid)
		case <-time.After(10 * time.Second):
			t.Fatal("a start did not go on")
		}
	}
}

// stuckOpens counts our threads that wait for the answer to an open.
func stuckOpens() int {
	n := 0
	for _, tid := range listNumbers("/proc/self/task", nil) {
		var buf [64]byte
		if data, err := readProc(tid, "wchan", buf[:]); err == nil && string(data) != "0" && len(data) > 8 && string(data[:8]) == "fanotify" {
			n++
		}
	}
	return n
}
