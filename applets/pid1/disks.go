package pid1

import (
	"strings"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/applets/pid1/early"
)

// disks closes swap and file systems beside the loop, since any of these calls can hang for ever.
type disks struct {
	running bool
	done    *atomic.Bool
}

// diskBudget is how long they may take.
const diskBudget = 20 * second

func (s *shim) closeDisks() {
	s.stop.phase = phaseFinal
	s.arm(timerFinal, diskBudget)
	s.stop.disks = disks{running: true, done: new(atomic.Bool)}
	con, done := s.con, s.stop.disks.done
	go func() {
		defer func() {
			_ = recover()
			done.Store(true)
			early.Ring()
		}()
		unix.Sync()
		closeStorage(&con)
		unix.Sync()
	}()
}

// disksEnd goes on when they are closed.
func (s *shim) disksEnd() {
	if s.stop.phase == phaseFinal && s.stop.disks.running && s.stop.disks.done.Load() {
		s.finish()
	}
}

// finish is the end of the machine. A reboot(2) that fails is said, and pid1 stays.
func (s *shim) finish() {
	if s.stop.disks.running && !s.stop.disks.done.Load() {
		s.con.warn("the file systems did not come to an end, going on without")
	}
	s.stop.disks.running = false
	s.disarm(timerFinal)
	how := uint32(unix.LINUX_REBOOT_CMD_POWER_OFF)
	switch s.stop.action {
	case actReboot:
		how = unix.LINUX_REBOOT_CMD_RESTART
	case actHalt:
		how = unix.LINUX_REBOOT_CMD_HALT
	}
	s.con.warn(s.stop.action.String())
	if unix.Getpid() != 1 {
		return // whatever brought us here, this is not our machine
	}
	if err := unix.Reboot(int(how)); err != nil {
		s.con.warn("reboot(2) failed: ", err.Error())
	}
}

// force is what seven presses of Ctrl-Alt-Del ask for: the shortest way down.
func (s *shim) force() {
	s.con.warn("forced reboot")
	s.stop.action, s.stop.phase = actReboot, phaseFinal
	s.signalRest(unix.SIGKILL)
	s.stop.disks = disks{running: true, done: new(atomic.Bool)}
	done := s.stop.disks.done
	s.arm(timerFinal, 2*second)
	go func() {
		unix.Sync()
		done.Store(true)
		early.Ring()
	}()
}

// swapOff takes the swap areas out of use: /proc/swaps has a heading, then a path first in each line.
func swapOff(swaps string) {
	for _, path := range parseSwaps(swaps) {
		b, err := unix.BytePtrFromString(path)
		if err == nil {
			_, _, _ = unix.Syscall(unix.SYS_SWAPOFF, uintptr(unsafe.Pointer(b)), 0, 0)
		}
	}
}

func parseSwaps(text string) (paths []string) {
	for line := range strings.Lines(text) {
		if path, _, ok := strings.Cut(line, " "); ok && strings.HasPrefix(path, "/") {
			paths = append(paths, unescape(path))
		}
	}
	return paths
}

// mounted is a line of /proc/self/mountinfo.
type mounted struct{ target, fstype, source string }

// parseMountinfo reads the lines; between the mount's options and a lone "-" stands a list of any length.
func parseMountinfo(text string) (list []mounted) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		for i := 6; i+2 < len(fields); i++ {
			if fields[i] == "-" {
				list = append(list, mounted{unescape(fields[4]), fields[i+1], unescape(fields[i+2])})
				break
			}
		}
	}
	return list
}

// unescape reads the octal escapes of /proc's tables.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && octal(s[i+1]) && octal(s[i+2]) && octal(s[i+3]) {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func octal(c byte) bool { return c >= '0' && c <= '7' }

// memoryTypes are file systems with nothing on a disk or elsewhere: they stay mounted.
var memoryTypes = map[string]bool{"proc": true, "sysfs": true, "devtmpfs": true, "devpts": true, "tmpfs": true, "ramfs": true,
	"rootfs": true, "cgroup": true, "cgroup2": true, "securityfs": true, "debugfs": true, "tracefs": true, "pstore": true,
	"efivarfs": true, "bpf": true, "mqueue": true, "hugetlbfs": true, "configfs": true, "fusectl": true, "binfmt_misc": true,
	"autofs": true, "nsfs": true, "selinuxfs": true}

// closeStorage takes swap areas, file systems and the devices below them out of use, as often as one makes another free,
// and makes what is left read-only.
func closeStorage(con *console) {
	for round := range 8 {
		swapOff(readFile("/proc/swaps", 65536))
		left := unmountAll(round > 0)
		if detachBlocks() == 0 && (left == 0 || round >= 2) {
			break
		}
	}
	readOnly(con)
}

// unmountAll unmounts what can be, in the reverse order of mounting, and returns what is left, without the root.
func unmountAll(force bool) (left int) {
	list := parseMountinfo(readFile("/proc/self/mountinfo", 1<<20))
	for i := len(list) - 1; i >= 0; i-- {
		m := list[i]
		if m.target == "/" || memoryTypes[m.fstype] {
			continue
		}
		flags := 0
		if force && (strings.HasPrefix(m.fstype, "nfs") || strings.HasPrefix(m.fstype, "fuse") || m.fstype == "cifs") {
			flags = unix.MNT_FORCE
		}
		if unix.Unmount(m.target, flags) != nil {
			left++
		}
	}
	return left
}

// readOnly remounts what could not be unmounted.
func readOnly(con *console) {
	list := parseMountinfo(readFile("/proc/self/mountinfo", 1<<20))
	failed := false
	for i := len(list) - 1; i >= 0; i-- {
		m := list[i]
		if memoryTypes[m.fstype] {
			continue
		}
		if err := unix.Mount("", m.target, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil && err != unix.EINVAL {
			con.warn("cannot make ", m.target, " read-only: ", err.Error())
			failed = true
		}
	}
	if failed {
		// The kernel's own emergency remount also takes file systems with open files.
		unix.Sync()
		writeFile("/proc/sysrq-trigger", "u")
	}
}
