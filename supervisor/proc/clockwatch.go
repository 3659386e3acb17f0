package proc

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// ClockWatch watches the wall clock and the time zones. Nothing polls: a timer that the kernel cancels when the clock is set
// (timerfd_create(2), TFD_TIMER_CANCEL_ON_SET) and inotify tell.
type ClockWatch struct {
	timer *os.File
	zones *zoneWatch
}

// WatchClock calls changed whenever the wall clock was set, which a resume from suspend does too, and when the file of the
// machine's zone, or of one that Zones names, was replaced.
func WatchClock(changed func()) (*ClockWatch, error) {
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
	return &ClockWatch{timer, watchZones(changed)}, nil
}

// Zones says which zones are watched beside the machine's own, by IANA name.
func (w *ClockWatch) Zones(names []string) { w.zones.set(names) }

// Close ends the watch.
func (w *ClockWatch) Close() {
	w.timer.Close()
	w.zones.close()
}

// armForever sets the timer to a time that does not come, so that only a set clock ends the wait.
func armForever(fd int) error {
	never := unix.ItimerSpec{Value: unix.NsecToTimespec(1<<62 - 1)}
	return unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &never, nil)
}
