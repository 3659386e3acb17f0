package pid1

import (
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/applets/pid1/early"
)

// switchRequest is where `zinit switch-root` leaves what it wants for process 1: NEWROOT, INIT and its arguments, each
// ended by a zero byte.
const switchRequest = "/run/zinit.switch-root"

// inits are tried in the new root when none is named, in the kernel's order.
var inits = []string{"/sbin/init", "/etc/init", "/bin/init", "/usr/sbin/init"}

// SwitchRoot is the command `zinit switch-root NEWROOT [INIT [ARGUMENT…]]`. As process 1 it does it, below a zinit-pid1 it
// asks that one, which first stops the services of the old root.
func SwitchRoot(args []string) int {
	con := console{fd: 2}
	if len(args) < 2 || strings.HasPrefix(args[1], "-") {
		con.write([]byte("usage: zinit switch-root NEWROOT [INIT [ARGUMENT...]]\n"))
		return 2
	}
	root, init, problem := checkNewRoot(args[1], args[2:])
	if problem != "" {
		con.write([]byte("zinit switch-root: " + problem + "\n"))
		return 1
	}
	if os.Getpid() == 1 {
		con.warn("cannot switch to ", root, ": ", changeRoot(root, init))
		return 1
	}
	if err := askSwitchRoot(root, init); err != nil {
		con.write([]byte("zinit switch-root: cannot ask process 1: " + err.Error() + "\n"))
		return 1
	}
	return 0
}

// checkNewRoot finds out whether root is another file system with an init in it.
func checkNewRoot(root string, init []string) (string, []string, string) {
	var here, there unix.Stat_t
	switch {
	case !strings.HasPrefix(root, "/") || strings.ContainsRune(root, 0):
		return "", nil, root + " is no absolute path"
	case unix.Stat("/", &here) != nil || unix.Stat(root, &there) != nil:
		return "", nil, root + " does not exist"
	case here.Dev == there.Dev && here.Ino == there.Ino || !isMountPoint(root):
		return "", nil, root + " is not a mounted file system; mount the new root there first"
	}
	if len(init) > 0 {
		if !executableIn(root, init[0]) {
			return "", nil, init[0] + " is not an executable in " + root
		}
		return root, init, ""
	}
	for _, candidate := range inits {
		if executableIn(root, candidate) {
			return root, []string{candidate}, ""
		}
	}
	return "", nil, "no init in " + root + " (" + strings.Join(inits, ", ") + "); name one"
}

// executableIn follows symbolic links as if root were /.
func executableIn(root, path string) bool {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer closeFD(dir)
	fd, err := unix.Openat2(dir, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return err == unix.ENOSYS && executable(root+path)
	}
	defer closeFD(fd)
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Mode&0o111 != 0
}

func askSwitchRoot(root string, init []string) error {
	fd, err := unix.Open(switchRequest, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	text := strings.Join(append([]string{root}, init...), "\x00") + "\x00"
	_, err = unix.Write(fd, []byte(text))
	closeFD(fd)
	if err != nil {
		return err
	}
	return unix.Kill(1, unix.Signal(signalSwitchRoot))
}

// readSwitchRoot takes the request that came with the signal.
func (s *shim) readSwitchRoot() bool {
	var st unix.Stat_t
	if unix.Lstat(switchRequest, &st) != nil || st.Uid != 0 || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o022 != 0 {
		s.con.warn("switch-root: no request in ", switchRequest)
		return false
	}
	words := strings.Split(strings.TrimSuffix(readFile(switchRequest, 65536), "\x00"), "\x00")
	_ = unix.Unlink(switchRequest)
	root, init, problem := checkNewRoot(words[0], words[1:])
	if problem != "" {
		s.con.warn("switch-root: ", problem)
		return false
	}
	s.stop.root, s.stop.init = root, init
	return true
}

// switchRoot leaves for the new root; when that fails it starts everything here again.
func (s *shim) switchRoot() {
	s.con.warn("switching to ", s.stop.root, " and ", s.stop.init[0])
	why := changeRoot(s.stop.root, s.stop.init)
	s.con.warn("cannot switch to ", s.stop.root, ": ", why)
	s.stop = stopping{}
	s.openShell("", "switch-root failed: "+why)
	s.arm(timerRespawn, 0)
}

// changeRoot moves what is mounted, frees the old root and executes init. It returns only the reason why it could not.
func changeRoot(root string, init []string) string {
	for _, dir := range []string{"/dev", "/proc", "/sys", "/run"} {
		if isMountPoint(dir) && unix.Mount(dir, root+dir, "", unix.MS_MOVE, "") != nil {
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
	}
	if err := unix.Chdir(root); err != nil {
		return err.Error()
	}
	old, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err.Error()
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return err.Error()
	}
	if err := unix.Chroot("."); err != nil {
		return err.Error()
	}
	_ = unix.Chdir("/")
	freeOldRoot(old)
	closeFD(old)
	con := openConsole()
	_ = con
	early.Restore()
	err = syscall.Exec(init[0], init, environ(stateEnv))
	early.Open()
	return "cannot execute " + init[0] + ": " + err.Error()
}

// Magic numbers of the file systems that live in memory, statfs(2).
const (
	magicRamfs = 0x858458f6
	magicTmpfs = 0x01021994
)

// freeOldRoot deletes the files of an initramfs, which nobody can reach any more, but never those of a disk.
func freeOldRoot(dir int) {
	var fs unix.Statfs_t
	if unix.Fstatfs(dir, &fs) != nil || int64(fs.Type) != magicRamfs && int64(fs.Type) != magicTmpfs {
		return
	}
	var st unix.Stat_t
	if unix.Fstat(dir, &st) == nil {
		removeBelow(dir, uint64(st.Dev))
	}
}

// removeBelow empties a directory without leaving its file system.
func removeBelow(dir int, dev uint64) {
	early.Entries(dir, func(name string) { removeEntry(dir, name, dev) })
}

func removeEntry(dir int, name string, dev uint64) {
	var st unix.Stat_t
	if unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || uint64(st.Dev) != dev {
		return
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		_ = unix.Unlinkat(dir, name, 0)
		return
	}
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	removeBelow(fd, dev)
	closeFD(fd)
	_ = unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
}
