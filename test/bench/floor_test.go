package bench

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// floorMain is the Go floor: syscall.ForkExec with two log pipes a child, one epoll set, wait4, nothing else. The role is
// the number of goroutines that fork. Arguments as those of floor.c; "echo SOCKET" answers lines with a constant.
func floorMain(role string, args []string) int {
	if args[0] == "echo" {
		return echoMain(args[1], args[2])
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return 2
	}
	spawners, _ := strconv.Atoi(role)
	f := &floor{n: n, argv: args[2:], again: args[0] == "restart", byPID: map[int]int{}, pipes: make([][2]int, n)}
	if args[0] == "drain" {
		return f.drain()
	}
	return f.run(spawners)
}

type floor struct {
	n       int
	argv    []string
	again   bool
	null    int
	poller  int
	mu      sync.Mutex // between the spawners and the reaper
	byPID   map[int]int
	pipes   [][2]int
	started int
}

func (f *floor) run(spawners int) int {
	dead, term := make(chan os.Signal, 1), make(chan os.Signal, 1) // two: a flood of one must not lose the other
	signal.Notify(dead, unix.SIGCHLD)
	signal.Notify(term, unix.SIGTERM)
	f.null, _ = unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	f.poller, _ = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	go f.read()
	jobs := make(chan int, f.n)
	var started sync.WaitGroup
	started.Add(f.n)
	for range spawners {
		go func() {
			runtime.LockOSThread()
			for i := range jobs {
				f.start(i)
				started.Done()
			}
		}()
	}
	for i := range f.n {
		jobs <- i
	}
	stopping := false
	for {
		select {
		case <-dead:
		case <-term:
			stopping = true
			started.Wait()
			f.mu.Lock()
			for pid := range f.byPID {
				_ = unix.Kill(pid, unix.SIGTERM)
			}
			f.mu.Unlock()
		}
		for _, i := range f.reap() {
			if f.again && !stopping {
				started.Add(1)
				jobs <- i
			}
		}
		if stopping && len(f.byPID) == 0 {
			fmt.Println(f.started)
			return 0
		}
	}
}

// drain starts all, reads until they have closed their pipes, and prints how many bytes came. With FLOOR_FILE they are
// appended to that file.
func (f *floor) drain() int {
	runtime.LockOSThread()
	f.null, _ = unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	f.poller, _ = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	file := -1
	if path := os.Getenv("FLOOR_FILE"); path != "" {
		file, _ = unix.Open(path, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_CLOEXEC, 0o640)
	}
	for i := range f.n {
		f.start(i)
	}
	events, buf, total := make([]unix.EpollEvent, 256), make([]byte, 1<<16), 0
	for open := 2 * f.n; open > 0; {
		n, _ := unix.EpollWait(f.poller, events, -1)
		for _, e := range events[:max(0, n)] {
			k, err := unix.Read(int(e.Fd), buf)
			if k > 0 && file >= 0 {
				_, _ = unix.Write(file, buf[:k])
			}
			if k == 0 && err == nil {
				_ = unix.EpollCtl(f.poller, unix.EPOLL_CTL_DEL, int(e.Fd), nil)
				open--
			}
			total += max(0, k)
		}
	}
	fmt.Println(total)
	return 0
}

func (f *floor) start(i int) {
	var out, err [2]int
	_ = unix.Pipe2(out[:], unix.O_CLOEXEC)
	_ = unix.Pipe2(err[:], unix.O_CLOEXEC)
	argv := append([]string{}, f.argv...)
	argv[len(argv)-1] = strconv.Itoa(i)
	if f.again {
		f.mu.Lock() // so that the reaper knows the pid; forks exclude each other anyway (syscall.ForkLock)
	}
	pid, e := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{Files: []uintptr{uintptr(f.null), uintptr(out[1]), uintptr(err[1])},
		Sys: &syscall.SysProcAttr{Setsid: true}})
	if e != nil {
		panic(e)
	}
	if !f.again {
		f.mu.Lock()
	}
	defer f.mu.Unlock()
	f.byPID[pid] = i
	f.pipes[i] = [2]int{out[0], err[0]}
	f.started++
	unix.Close(out[1])
	unix.Close(err[1])
	for _, fd := range f.pipes[i] {
		_ = unix.SetNonblock(fd, true)
		_ = unix.EpollCtl(f.poller, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
	}
}

// reap collects all that are dead before any is started again.
func (f *floor) reap() (dead []int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if err != nil || pid <= 0 {
			return dead
		}
		i, ok := f.byPID[pid]
		if !ok {
			continue
		}
		delete(f.byPID, pid)
		for _, fd := range f.pipes[i] {
			_ = unix.EpollCtl(f.poller, unix.EPOLL_CTL_DEL, fd, nil)
			unix.Close(fd)
		}
		dead = append(dead, i)
	}
}

func (f *floor) read() {
	events := make([]unix.EpollEvent, 256)
	buf := make([]byte, 1<<16)
	for {
		n, _ := unix.EpollWait(f.poller, events, -1)
		for _, e := range events[:max(0, n)] {
			if k, err := unix.Read(int(e.Fd), buf); k <= 0 && err != unix.EAGAIN {
				_ = unix.EpollCtl(f.poller, unix.EPOLL_CTL_DEL, int(e.Fd), nil)
			}
		}
	}
}
