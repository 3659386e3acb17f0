package proc

import (
	"os"
	"path/filepath"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// localZoneFile is the zone of the machine, tzset(3). zoneDirs are where the time package looks for named ones.
var (
	localZoneFile = "/etc/localtime"
	zoneDirs      = []string{"/usr/share/zoneinfo", "/usr/share/lib/zoneinfo", "/usr/lib/locale/TZ", "/etc/zoneinfo"}
)

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

// zoneWatch tells when a zone file is replaced. It watches directories: who changes a zone puts another file or link in the
// place of the old one. Of a link the target is watched too, and of what does not exist the place where it would appear.
type zoneWatch struct {
	file *os.File // inotify(7); nil where it cannot be had

	mu    sync.Mutex
	names []string                  // of zones beside the machine's own
	want  map[int32]map[string]bool // by watch: the names in its directory that matter
}

const (
	zoneEvents = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_CLOSE_WRITE | unix.IN_ATTRIB |
		unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR
	maxLinks = 8
)

func watchZones(changed func()) *zoneWatch {
	w := &zoneWatch{}
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return w
	}
	w.file = os.NewFile(uintptr(fd), "zones")
	w.set(nil)
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := w.file.Read(buf)
			if err != nil {
				return
			}
			if w.matters(buf[:n]) {
				w.look()
				changed()
			}
		}
	}()
	return w
}

func (w *zoneWatch) close() {
	if w.file != nil {
		w.file.Close()
	}
}

// set says which named zones matter.
func (w *zoneWatch) set(names []string) {
	w.mu.Lock()
	w.names = names
	w.mu.Unlock()
	w.look()
}

// look finds what has to be watched now.
func (w *zoneWatch) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil {
		return
	}
	w.want = map[int32]map[string]bool{}
	if _, set := os.LookupEnv("TZ"); !set {
		w.add(localZoneFile, maxLinks)
	}
	for _, name := range w.names {
		for _, dir := range zoneDirs {
			w.add(filepath.Join(dir, name), maxLinks)
		}
	}
}

// add watches for one file, and what it links to.
func (w *zoneWatch) add(path string, links int) {
	dir, base := filepath.Split(filepath.Clean(path))
	raw, err := w.file.SyscallConn()
	if err != nil {
		return
	}
	var id int
	var watchErr error
	if raw.Control(func(fd uintptr) { id, watchErr = unix.InotifyAddWatch(int(fd), dir, zoneEvents) }) != nil {
		return
	}
	if watchErr != nil {
		if dir != "/" {
			w.add(dir, links)
		}
		return
	}
	if w.want[int32(id)] == nil {
		w.want[int32(id)] = map[string]bool{}
	}
	w.want[int32(id)][base] = true
	if target, err := os.Readlink(path); err == nil && links > 0 {
		if !filepath.IsAbs(target) {
			target = filepath.Join(dir, target)
		}
		w.add(target, links-1)
	}
}

// matters reports whether one of the events of inotify(7) is about a file that is wanted, or ends a watch.
func (w *zoneWatch) matters(events []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(events) >= unix.SizeofInotifyEvent {
		e := (*unix.InotifyEvent)(unsafe.Pointer(&events[0]))
		end := unix.SizeofInotifyEvent + int(e.Len)
		if end > len(events) {
			return false
		}
		name := unix.ByteSliceToString(events[unix.SizeofInotifyEvent:end])
		if e.Mask&(unix.IN_IGNORED|unix.IN_Q_OVERFLOW|unix.IN_MOVE_SELF) != 0 || w.want[e.Wd][name] {
			return true
		}
		events = events[end:]
	}
	return false
}
