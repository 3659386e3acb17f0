package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A file system as small as FUSE allows: a directory with one file. libfuse is not needed, the protocol of /dev/fuse is
// that of linux/fuse.h, version 7.

const fuseText = "hello from FUSE\n"

// helpFuse mounts the file system on a directory as mount programs do: the process that was asked ends when the mount
// works, and one in the background serves it. Without FUSE a tmpfs stands in.
func helpFuse(args []string) {
	dir := args[0]
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR, 0)
	if err == nil {
		err = unix.Mount("zinit-test", dir, "fuse.zinit-test", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd))
	}
	if err != nil {
		fmt.Println("no FUSE:", err)
		if fd, err = unix.Open("/dev/null", unix.O_RDWR, 0); err == nil {
			err = unix.Mount("none", dir, "tmpfs", 0, "")
		}
		if err == nil {
			err = os.WriteFile(dir+"/hello", []byte("hello from tmpfs\n"), 0o644)
		}
	}
	must(err)
	null, err := unix.Open("/dev/null", unix.O_RDWR, 0)
	must(err)
	self, err := os.Executable()
	must(err)
	_, err = syscall.ForkExec(self, []string{"fuse-daemon"}, &syscall.ProcAttr{Dir: "/", Env: []string{helperVariable + "=fuse-daemon " + dir},
		Files: []uintptr{uintptr(null), uintptr(null), uintptr(null), uintptr(fd)}, Sys: &syscall.SysProcAttr{Setsid: true}})
	must(err)
	_, err = os.Stat(dir + "/hello") // waits for the daemon
	must(err)
}

func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(4)
	}
}

// helpFuseDaemon serves the file system on descriptor 3, and unmounts it on SIGTERM.
func helpFuseDaemon(args []string) {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	go func() {
		<-end
		_ = unix.Unmount(args[0], unix.MNT_DETACH)
		os.Exit(0)
	}()
	buf := make([]byte, 1<<17)
	for {
		n, err := unix.Read(3, buf)
		switch {
		case err == unix.EINTR || err == unix.EAGAIN || err == unix.ENOENT:
		case err != nil: // unmounted
			os.Exit(0)
		case n == 0: // no FUSE
			forever()
		default:
			if answer := fuseAnswer(buf[:n]); answer != nil {
				_, _ = unix.Write(3, answer)
			}
		}
	}
}

// The operations that the kernel asks for when a file is read.
const (
	fuseLookup      = 1
	fuseForget      = 2
	fuseGetattr     = 3
	fuseOpen        = 14
	fuseRead        = 15
	fuseInit        = 26
	fuseInterrupt   = 36
	fuseBatchForget = 42
)

// fuseAnswer answers one request: a header of 40 bytes (length, operation, number, node, …) and what belongs to it.
func fuseAnswer(request []byte) []byte {
	le := binary.NativeEndian
	operation, unique, node, body := le.Uint32(request[4:]), le.Uint64(request[8:]), le.Uint64(request[16:]), request[40:]
	var out []byte
	failed := int32(0)
	switch operation {
	case fuseForget, fuseBatchForget, fuseInterrupt:
		return nil
	case fuseInit:
		out = make([]byte, 64)
		le.PutUint32(out[0:], 7)
		le.PutUint32(out[4:], 31)
		le.PutUint32(out[20:], 4096) // max_write
	case fuseLookup:
		if name, _, _ := bytes.Cut(body, []byte{0}); node != 1 || string(name) != "hello" {
			failed = -int32(unix.ENOENT)
			break
		}
		out = make([]byte, 40)
		le.PutUint64(out, 2)
		out = append(out, fuseAttributes(2)...)
	case fuseGetattr:
		out = append(make([]byte, 16), fuseAttributes(node)...)
	case fuseOpen:
		out = make([]byte, 16)
	case fuseRead:
		if at := le.Uint64(body[8:]); at < uint64(len(fuseText)) {
			out = []byte(strings.Clone(fuseText[at:]))
		}
	default:
		failed = -int32(unix.ENOSYS)
	}
	head := make([]byte, 16, 16+len(out))
	le.PutUint32(head, uint32(16+len(out)))
	le.PutUint32(head[4:], uint32(failed))
	le.PutUint64(head[8:], unique)
	return append(head, out...)
}

// fuseAttributes is a struct fuse_attr: of the directory, node 1, or of the file.
func fuseAttributes(node uint64) []byte {
	le := binary.NativeEndian
	out := make([]byte, 88)
	le.PutUint64(out, node)
	mode, links := uint32(unix.S_IFDIR|0o755), uint32(2)
	if node == 2 {
		mode, links = unix.S_IFREG|0o444, 1
		le.PutUint64(out[8:], uint64(len(fuseText)))
	}
	le.PutUint32(out[60:], mode)
	le.PutUint32(out[64:], links)
	return out
}
