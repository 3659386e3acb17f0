package pid1

import (
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// detachBlocks takes down the loop devices and device-mapper targets that nothing uses any more, and returns how many: each
// may have been the last user of a file system, or of another device. One in use answers EBUSY and is left.
func detachBlocks() (gone int) {
	for _, name := range dirNames("/sys/block") {
		switch {
		case strings.HasPrefix(name, "loop") && exists("/sys/block/"+name+"/loop/backing_file"):
			gone += count(detachLoop("/dev/" + name))
		case strings.HasPrefix(name, "dm-"):
			gone += count(removeMapped(oneLine(readFile("/sys/block/"+name+"/dev", 32))))
		}
	}
	return gone
}

func count(done bool) int {
	if done {
		return 1
	}
	return 0
}

// detachLoop frees a loop device. One that is still open is freed by its last close: whether it is now is asked again.
func detachLoop(path string) bool {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer closeFD(fd)
	return unix.IoctlSetInt(fd, unix.LOOP_CLR_FD, 0) == nil
}

// removeMapped removes the device-mapper device of a number as /sys writes it, 253:0.
func removeMapped(number string) bool {
	dev, ok := deviceNumber(number)
	if !ok {
		return false
	}
	fd, err := unix.Open("/dev/mapper/control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer closeFD(fd)
	d := unix.DmIoctl{Version: [3]uint32{4}, Data_size: uint32(unsafe.Sizeof(unix.DmIoctl{})), Dev: dev}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.DM_DEV_REMOVE, uintptr(unsafe.Pointer(&d)))
	return errno == 0
}

// deviceNumber reads 253:0 into the form that dm_ioctl has it in, huge_encode_dev: that of stat(2).
func deviceNumber(text string) (uint64, bool) {
	major, minor, ok := strings.Cut(text, ":")
	a, b := number(major), number(minor)
	if !ok || a < 0 || b < 0 {
		return 0, false
	}
	return unix.Mkdev(uint32(a), uint32(b)), true
}
