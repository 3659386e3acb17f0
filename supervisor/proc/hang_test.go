package proc

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/internal/testkit/wait"
)

// holdOpens makes every open of a file wait until release, as a file system on a dead network would.
func holdOpens(path string) (release func(), err error) {
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return nil, err
	}
	if err := unix.FanotifyMark(fd, unix.FAN_MARK_ADD, unix.FAN_OPEN_PERM, unix.AT_FDCWD, path); err != nil {
		return nil, err
	}
	return func() {
		// First no further open is held: that of an exec would stop the thread that has to answer it.
		_ = unix.FanotifyMark(fd, unix.FAN_MARK_REMOVE, unix.FAN_OPEN_PERM, unix.AT_FDCWD, path)
		for answerOpen(fd) {
		}
		unix.Close(fd)
	}, nil
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
	need.Root(t)
	path := t.TempDir() + "/prog"
	data, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o755); err != nil {
		t.Fatal(err)
	}
	// In a process of its own: one that is held up cannot even end a test.
	o := newOutput(t)
	pid := mustStart(t, &Spec{Plan: Plan{Path: "/proc/self/exe", Argv: []string{"helper", path}}, Files: o.files(t),
		Env: []string{helperVariable + "=hang"}})
	ended := make(chan string)
	go func() { ended <- o.all(t) }()
	select {
	case got := <-ended:
		need.That(t, !strings.Contains(got, "no fanotify"), "fanotify with permission events")
		if got != "all went on\n" {
			t.Errorf("got %q", got)
		}
	case <-time.After(30 * time.Second):
		t.Error("the process is held up")
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	waitPID(pid)
}

func init() {
	helpers["hang"] = func(args []string) {
		release, err := holdOpens(args[0])
		if err != nil {
			fmt.Println("no fanotify:", err)
			return
		}
		// More than there are processors: if each of them held one, nothing would run any more.
		stuck := runtime.GOMAXPROCS(0) + 1
		pids := make(chan int)
		for range stuck {
			go func() {
				runtime.LockOSThread()
				pid, err := Start(&Spec{Plan: Plan{Path: args[0], Argv: []string{"prog"}}, Pdeathsig: true})
				if err != nil {
					fmt.Println(err)
				}
				pids <- pid
			}()
		}
		if !wait.Until(wait.Patience, func() bool { return stuckOpens() >= stuck }) {
			fmt.Println("only", stuckOpens(), "opens hang")
		}
		runtime.GC() // stops the world
		pid, serr := Start(&Spec{Plan: Plan{Path: "/bin/true", Argv: []string{"true"}}})
		if serr != nil {
			fmt.Println(serr)
		}
		waitPID(pid)
		release()
		for range stuck {
			waitPID(<-pids)
		}
		fmt.Println("all went on")
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
