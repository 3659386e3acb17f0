package server

import (
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// oldSocketGrace is how long connections that wait in a deleted socket are still accepted.
const oldSocketGrace = time.Second

// socketDescriptors are duplicates of the control socket and its lock, for an exec.
func (s *server) socketDescriptors() (listener, lock int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, file := range s.kept {
		_ = file.Close()
	}
	l, k, err := s.socket.Files()
	if err != nil {
		s.kept = nil
		return -1, -1
	}
	s.kept = []*os.File{l, k}
	return descriptor(l), descriptor(k)
}

// restoreSocket makes the control socket anew when somebody has deleted it. Not while another image is about to take over:
// that one looks when it begins.
func (s *server) restoreSocket() {
	s.orders.mu.Lock()
	defer s.orders.mu.Unlock()
	if s.orders.closed || s.leaving || s.stopped.Load() != nil {
		return
	}
	s.mu.Lock()
	old, err := s.socket.Restore(s.socketOptions)
	s.mu.Unlock()
	if err != nil {
		s.log.Error(err.Error())
		return
	}
	if old == nil {
		return
	}
	s.log.Warn("the control socket was deleted; it is there again", "socket", s.socket.Path)
	if s.keeper != nil {
		if err := s.storeListener(); err != nil {
			s.log.Error("the keeper does not take the new control socket", "error", err)
		}
	}
	s.serve()
	time.AfterFunc(oldSocketGrace, func() { _ = old.Close() }) // nobody finds it any more
}

// leaveSocket ends that for good: from its return on the server alone takes its socket away.
func (s *server) leaveSocket() {
	s.orders.mu.Lock()
	s.leaving = true
	s.orders.mu.Unlock()
}

// watchSocket notices when the control socket, or its directory, is deleted. Without inotify(7) SIGHUP does.
func (s *server) watchSocket() {
	s.restoreSocket() // it may have happened while nobody watched
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return
	}
	events := os.NewFile(uintptr(fd), "inotify")
	defer events.Close()
	buf := make([]byte, 4096)
	const gone = unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR
	for {
		if _, err := unix.InotifyAddWatch(fd, filepath.Dir(s.socket.Path), gone); err != nil {
			return
		}
		s.restoreSocket()
		if _, err := events.Read(buf); err != nil {
			return
		}
		s.restoreSocket()
	}
}
