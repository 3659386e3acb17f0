// Command mapper makes a device-mapper device that is another one from its first to its last sector: mapper DEVICE SECTORS.
// It stands in for dmsetup in the machines of the boot tests.
package main

import (
	"fmt"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// request is struct dm_ioctl of linux/dm-ioctl.h with room for one target.
type request struct {
	version              [3]uint32
	size, start, targets uint32
	open                 int32
	flags, event, pad    uint32
	dev                  uint64
	name                 [128]byte
	uuid                 [129]byte
	data                 [7]byte
	target               target
}

// target is struct dm_target_spec and its parameters.
type target struct {
	first, length uint64
	status        int32
	next          uint32
	kind          [16]byte
	words         [64]byte
}

func main() {
	sectors, err := strconv.ParseUint(os.Args[2], 10, 64)
	if err != nil {
		fail(err)
	}
	fd, err := unix.Open("/dev/mapper/control", unix.O_RDWR, 0)
	if err != nil {
		fail(err)
	}
	for _, command := range []uintptr{3, 9, 6} { // DM_DEV_CREATE, DM_TABLE_LOAD, DM_DEV_SUSPEND: resume, without the flag
		r := request{version: [3]uint32{4}, size: uint32(unsafe.Sizeof(request{})), start: uint32(unsafe.Offsetof(request{}.target))}
		copy(r.name[:], "test")
		if command == 9 {
			r.targets = 1
			r.target.length = sectors
			copy(r.target.kind[:], "linear")
			copy(r.target.words[:], os.Args[1]+" 0")
		}
		const header = 312
		number := uintptr(3<<30|header<<16|0xfd<<8) | command
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), number, uintptr(unsafe.Pointer(&r))); errno != 0 {
			fail(fmt.Errorf("command %d: %w", command, errno))
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "mapper:", err)
	os.Exit(1)
}
