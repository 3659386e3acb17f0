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

// request has room for one target.
type request struct {
	unix.DmIoctl
	target target
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
	for _, command := range []uintptr{unix.DM_DEV_CREATE, unix.DM_TABLE_LOAD, unix.DM_DEV_SUSPEND} { // the last resumes, without its flag
		r := request{DmIoctl: unix.DmIoctl{Version: [3]uint32{4}}}
		r.Data_size, r.Data_start = uint32(unsafe.Sizeof(r)), uint32(unsafe.Offsetof(r.target))
		copy(r.Name[:], "test")
		if command == unix.DM_TABLE_LOAD {
			r.Target_count = 1
			r.target.length = sectors
			copy(r.target.kind[:], "linear")
			copy(r.target.words[:], os.Args[1]+" 0")
		}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), command, uintptr(unsafe.Pointer(&r))); errno != 0 {
			fail(fmt.Errorf("command %#x: %w", command, errno))
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "mapper:", err)
	os.Exit(1)
}
