package pid1

import "golang.org/x/sys/unix"

// mount is one file system that a machine needs. Order matters.
type mount struct {
	target, fstype, data string
	flags                uintptr
	mode                 uint32 // of the directory when it has to be made
}

const (
	nosuid = unix.MS_NOSUID
	nodev  = unix.MS_NODEV
	noexec = unix.MS_NOEXEC
)

// bootMounts are mounted where nothing is mounted yet.
var bootMounts = []mount{
	{"/proc", "proc", "", nosuid | nodev | noexec, 0o555},
	{"/sys", "sysfs", "", nosuid | nodev | noexec, 0o555},
	{"/dev", "devtmpfs", "mode=0755", nosuid, 0o755},
	{"/dev/pts", "devpts", "mode=0620,ptmxmode=0666,gid=5", nosuid | noexec, 0o755},
	{"/dev/shm", "tmpfs", "mode=1777", nosuid | nodev, 0o1777},
	{"/run", "tmpfs", "mode=0755", nosuid | nodev, 0o755},
	{"/tmp", "tmpfs", "mode=1777", nosuid | nodev, 0o1777},
	{"/sys/fs/cgroup", "cgroup2", "nsdelegate", nosuid | nodev | noexec, 0o755},
}

// bootLinks are made in /dev where they are missing; devtmpfs does not know them and shells use them.
var bootLinks = []struct{ path, target string }{
	{"/dev/fd", "/proc/self/fd"},
	{"/dev/stdin", "/proc/self/fd/0"},
	{"/dev/stdout", "/proc/self/fd/1"},
	{"/dev/stderr", "/proc/self/fd/2"},
}

// mountAll mounts what is missing and returns one line for each that failed.
func mountAll(list []mount) (problems []string) {
	defer func() { procAsked.done = false }()
	for _, m := range list {
		if isMountPoint(m.target) {
			continue
		}
		_ = unix.Mkdir(m.target, m.mode)
		err := unix.Mount(m.fstype, m.target, m.fstype, m.flags, m.data)
		if err == unix.EINVAL && m.data != "" {
			err = unix.Mount(m.fstype, m.target, m.fstype, m.flags, "")
		}
		if err != nil && err != unix.EBUSY {
			problems = append(problems, "cannot mount "+m.fstype+" on "+m.target+": "+err.Error())
		}
	}
	return problems
}

func makeLinks() {
	for _, l := range bootLinks {
		if !exists(l.path) {
			_ = unix.Symlink(l.target, l.path)
		}
	}
}

// isMountPoint compares the device with the parent's, which needs no /proc. A bind mount of a directory of the same file
// system is not seen as one, and then mounted over by none of ours: those are all of their own kind.
func isMountPoint(path string) bool {
	var here, up unix.Stat_t
	if unix.Stat(path, &here) != nil || unix.Stat(path+"/..", &up) != nil {
		return false
	}
	return here.Dev != up.Dev || here.Ino == up.Ino
}
