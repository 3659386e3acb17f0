package proc

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// localZoneFile is the zone of the machine, tzset(3).
const localZoneFile = "/etc/localtime"

// LocalZone is the time zone of the machine as it is now: Go's own is read once. The TZ variable goes before the file.
func LocalZone() *time.Location {
	if name, set := os.LookupEnv("TZ"); set {
		if zone, err := time.LoadLocation(name); err == nil {
			return zone
		}
		return time.UTC
	}
	data, err := os.ReadFile(localZoneFile)
	if err != nil {
		return time.UTC
	}
	zone, err := time.LoadLocationFromTZData("Local", data)
	if err != nil {
		return time.UTC
	}
	return zone
}

// WatchClock calls changed whenever the wall clock was set, which a resume from suspend does too, and when the zone of the
// machine was replaced. Nothing polls: a timer that the kernel cancels when the clock is set (timerfd_create(2),
// TFD_TIMER_CANCEL_ON_SET) and inotify tell. stop ends it.
func WatchClock(changed func()) (stop func(), err error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	timer := os.NewFile(uintptr(fd), "clock")
	if err := armForever(fd); err != nil {
		timer.Close()
		return nil, err
	}
	go func() {
		var expirations [8]byte
		for {
			_, err := timer.Read(expirations[:])
			if err != nil && !errors.Is(err, syscall.ECANCELED) {
				return
			}
			_ = armForever(fd)
			changed()
		}
	}()
	zone := watchZone(changed)
	return sync.OnceFunc(func() {
		timer.Close()
		if zone != nil {
			zone.Close()
		}
	}), nil
}

// armForever sets the timer to a time that does not come, so that only a set clock ends the wait.
func armForever(fd int) error {
	never := unix.ItimerSpec{Value: unix.NsecToTimespec(1<<62 - 1)}
	return unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &never, nil)
}

// watchZone watches the directory of the zone file, since who changes the zone puts another link in its place; nil where
// that cannot be watched.
func watchZone(changed func()) *os.File {
	if _, set := os.LookupEnv("TZ"); set {
		return nil
	}
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), "zone")
	const events = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_DELETE | unix.IN_CLOSE_WRITE | unix.IN_ONLYDIR
	if _, err := unix.InotifyAddWatch(fd, filepath.Dir(localZoneFile), events); err != nil {
		f.Close()
		return nil
	}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := f.Read(buf)
			if err != nil {
				return
			}
			if namesFile(buf[:n], filepath.Base(localZoneFile)) {
				changed()
			}
		}
	}()
	return f
}

// namesFile reports whether one of the events of inotify(7) is about a file of this name.
func namesFile(events []byte, name string) bool {
	for len(events) >= unix.SizeofInotifyEvent {
		e := (*unix.InotifyEvent)(unsafe.Pointer(&events[0]))
		end := unix.SizeofInotifyEvent + int(e.Len)
		if end > len(events) {
			return false
		}
		if unix.ByteSliceToString(events[unix.SizeofInotifyEvent:end]) == name {
			return true
		}
		events = events[end:]
	}
	return false
}
