package proc

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// GroupWatch tells when control groups become empty, with one descriptor for all of them and without polling: the kernel
// announces each change of cgroup.events by inotify. It may lag 10 ms behind for a group that was populated just before.
type GroupWatch struct {
	fd, wake int
	closing  atomic.Bool
	empty    func(path string)
	done     chan struct{}

	mu    sync.Mutex
	paths map[int32]string
}

// WatchGroups starts a watch. empty is called on its goroutine with the folder of each group that has become empty, or
// has gone, once for each Add.
func WatchGroups(empty func(path string)) (*GroupWatch, error) {
	w := &GroupWatch{empty: empty, done: make(chan struct{}), paths: map[int32]string{}}
	var err error
	if w.fd, err = unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK); err != nil {
		return nil, fmt.Errorf("cannot watch control groups: %w", err)
	}
	if w.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		unix.Close(w.fd)
		return nil, fmt.Errorf("cannot watch control groups: %w", err)
	}
	go w.loop()
	return w, nil
}

// Close ends the watch; empty is not called any more when it returns.
func (w *GroupWatch) Close() {
	w.closing.Store(true)
	w.kick()
	<-w.done
	unix.Close(w.fd)
	unix.Close(w.wake)
}

// Add watches a group. One that is empty already is told at once, on the watch's goroutine.
func (w *GroupWatch) Add(g *Group) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	id, err := unix.InotifyAddWatch(w.fd, g.main+"/cgroup.events", unix.IN_MODIFY|unix.IN_DELETE_SELF)
	if err != nil {
		return fmt.Errorf("cannot watch the control group %s: %w", g.main, err)
	}
	w.paths[int32(id)] = g.main
	if !populated(g.main) {
		w.kick()
	}
	return nil
}

// kick makes the loop look at all groups.
func (w *GroupWatch) kick() {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(w.wake, one[:])
}

func populated(path string) bool {
	n, ok := keyed(path+"/cgroup.events", "populated")
	return ok && n > 0
}

func (w *GroupWatch) loop() {
	defer close(w.done)
	fds := []unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}, {Fd: int32(w.wake), Events: unix.POLLIN}}
	buf := make([]byte, 4096)
	for !w.closing.Load() {
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return
		}
		n, _ := unix.Read(w.wake, buf[:8])
		ids, all := w.changed(buf)
		for _, path := range w.emptied(ids, all || n == 8) {
			if !w.closing.Load() {
				w.empty(path)
			}
		}
	}
}

// changed reads which watches have fired; all says that some may have been lost.
func (w *GroupWatch) changed(buf []byte) (ids []int32, all bool) {
	for {
		n, err := unix.Read(w.fd, buf)
		if err != nil || n < unix.SizeofInotifyEvent {
			return ids, all
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			id := int32(binary.NativeEndian.Uint32(b))
			ids, all = append(ids, id), all || id < 0
			b = b[min(len(b), unix.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(b[12:]))):]
		}
	}
}

// emptied takes the groups that are empty out of the watch.
func (w *GroupWatch) emptied(ids []int32, all bool) (out []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if all {
		ids = ids[:0]
		for id := range w.paths {
			ids = append(ids, id)
		}
	}
	for _, id := range ids {
		path, ok := w.paths[id]
		if !ok || populated(path) {
			continue
		}
		delete(w.paths, id)
		_, _ = unix.InotifyRmWatch(w.fd, uint32(id))
		out = append(out, path)
	}
	return out
}
