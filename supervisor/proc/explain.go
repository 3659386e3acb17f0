package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/elf"
)

// explain finds the step behind the error number of a failed ForkExec, which is the same for a missing directory,
// program and interpreter. It looks in the order in which the child took the steps.
func (s *Spec) explain(errno syscall.Errno, cred *Credential) *Error {
	switch errno {
	case syscall.EAGAIN, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE, syscall.ENOSPC:
		return explainFork(errno)
	case syscall.E2BIG:
		return failf(StepExec, errno, "cannot execute %s: arguments and environment are too long", s.Path)
	case syscall.EPIPE, syscall.EINTR:
		return failf(StepFork, errno, "cannot start a process: it died before its exec")
	}
	if err := s.explainCgroup(errno); err != nil {
		return err
	}
	if step := cred.refused(errno); step != "" {
		return explainIdentity(step, errno, cred)
	}
	if s.Tty != "" && (errno == syscall.EPERM || errno == syscall.ENOTTY || errno == syscall.EIO) {
		return s.explainTTY(errno)
	}
	if err := s.explainDir(errno, cred); err != nil {
		return err
	}
	return s.explainProgram(errno, cred)
}

func (s *Spec) explainTTY(errno syscall.Errno) *Error {
	return failf(StepTTY, errno, "cannot make %s the controlling terminal: %v (another session may have it)", s.Tty, errno)
}

// explainIdentity says which part of the identity could not be taken on.
func explainIdentity(step string, errno syscall.Errno, cred *Credential) *Error {
	if errno == syscall.EPERM && os.Geteuid() != 0 {
		return failf(StepUser, errno, "cannot become user %d: the supervisor is not root", cred.UID)
	}
	what, capability, maps := fmt.Sprintf("cannot set the supplementary groups to %d", cred.Groups), "CAP_SETGID", "gid_map"
	switch step {
	case StepUser:
		what, capability, maps = fmt.Sprintf("cannot become user %d", cred.UID), "CAP_SETUID", "uid_map"
	case StepGroup:
		what = fmt.Sprintf("cannot become group %d", cred.GID)
	}
	n, _ := CapabilityNumber(capability)
	switch {
	case errno == syscall.EPERM && !hasCapability(n):
		return failf(step, errno, "%s: %v: the supervisor has no %s", what, errno, capability)
	case errno == syscall.EPERM && step == StepGroups && setgroupsDenied():
		return failf(step, errno, "%s: %v: this user namespace denies setgroups (/proc/self/setgroups)", what, errno)
	case errno == syscall.EINVAL:
		return failf(step, errno, "%s: %v: this user namespace does not map it (/proc/self/%s)", what, errno, maps)
	}
	return failf(step, errno, "%s: %v", what, errno)
}

func explainFork(errno syscall.Errno) *Error {
	hint := ""
	switch errno {
	case syscall.EAGAIN:
		hint = " (too many processes: see ulimit -u, pids.max and kernel.pid_max)"
	case syscall.EMFILE:
		hint = " (out of descriptors: see ulimit -n)"
	}
	return failf(StepFork, errno, "cannot fork: %v%s", errno, hint)
}

func (s *Spec) explainCgroup(errno syscall.Errno) *Error {
	if s.Cgroup == nil {
		return nil
	}
	var st unix.Stat_t
	gone := unix.Stat(s.Cgroup.Main(), &st) != nil
	switch {
	case gone, errno == syscall.EBUSY, errno == syscall.ENODEV, errno == syscall.EOPNOTSUPP, errno == syscall.EBADF,
		errno == syscall.ENOSYS:
		return failf(StepCgroup, errno, "cannot start in the control group %s: %v", s.Cgroup.Main(), errno)
	}
	return nil
}

// explainDir tells whether the working directory is what failed.
func (s *Spec) explainDir(errno syscall.Errno, cred *Credential) *Error {
	if s.Dir == "" {
		return nil
	}
	var st unix.Stat_t
	err := unix.Stat(s.Dir, &st)
	switch {
	case err != nil:
		return failf(StepDir, errnoOf(err), "cannot change to the directory %s: %v", s.Dir, err)
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return failf(StepDir, syscall.ENOTDIR, "cannot change to %s: not a directory", s.Dir)
	case errno == syscall.EACCES:
		if at := deniedAt(s.Dir, cred, true); at != "" {
			return failf(StepDir, errno, "cannot change to the directory %s: permission denied at %s", s.Dir, at)
		}
	}
	return nil
}

// explainLimits tells whether more descriptors were asked for than the kernel gives to anybody, root included (setrlimit(2)).
func (s *Spec) explainLimits(errno syscall.Errno, detail string) *Error {
	text, err := os.ReadFile("/proc/sys/fs/nr_open")
	most, notNumber := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || notNumber != nil || errno != syscall.EPERM {
		return nil
	}
	for _, l := range s.Identity.Limits {
		if n, ok := LimitNumber(l.Name); ok && n == unix.RLIMIT_NOFILE && l.Hard > most {
			return failf(StepLimits, errno, "cannot %s: %v: fs.nr_open allows %d at most", detail, errno, most)
		}
	}
	return nil
}

// explainProgram tells what is wrong with the program or with what it needs.
func (s *Spec) explainProgram(errno syscall.Errno, cred *Credential) *Error {
	path := inDir(s.Path, s.Dir)
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		if s.Shell {
			return failf(StepExec, errnoOf(err),
				"cannot execute %s: %v; the line has shell syntax, an array of words needs no shell", s.Path, err)
		}
		return failf(StepExec, errnoOf(err), "cannot execute %s: %v", s.Path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return failf(StepExec, errno, "cannot execute %s: not a regular file", s.Path)
	}
	switch errno {
	case syscall.ENOENT, syscall.ELIBBAD, syscall.EACCES:
		if e := explainInterpreter(s.Path, path, errno); e != nil {
			return e
		}
	case syscall.ENOEXEC:
		return failf(StepExec, errno, "cannot execute %s: no program of this machine, and no script that begins with #!", s.Path)
	}
	if errno == syscall.EACCES {
		return explainDenied(s.Path, path, cred)
	}
	return failf(StepExec, errno, "cannot execute %s: %v", s.Path, errno)
}

func explainDenied(name, path string, cred *Credential) *Error {
	if at := deniedAt(path, cred, false); at != "" {
		var st unix.Stat_t
		if at == path && unix.Stat(path, &st) == nil && st.Mode&0o111 == 0 {
			return failf(StepExec, syscall.EACCES, "cannot execute %s: it is not executable (chmod +x)", name)
		}
		return failf(StepExec, syscall.EACCES, "cannot execute %s: permission denied at %s", name, at)
	}
	var fs unix.Statfs_t
	if unix.Statfs(path, &fs) == nil && fs.Flags&unix.ST_NOEXEC != 0 {
		return failf(StepExec, syscall.EACCES, "cannot execute %s: its file system is mounted noexec", name)
	}
	return failf(StepExec, syscall.EACCES, "cannot execute %s: permission denied", name)
}

// explainInterpreter tells whether the program behind #! or the loader of a dynamic program is missing.
func explainInterpreter(name, path string, errno syscall.Errno) *Error {
	interp := interpreterOf(path)
	if interp == "" {
		return nil
	}
	e := probeProgram(interp)
	if e == 0 {
		return nil
	}
	if strings.HasSuffix(interp, "\r") {
		return failf(StepInterpreter, errno, "cannot execute %s: its first line ends in a carriage return (DOS line ends)", name)
	}
	return failf(StepInterpreter, e, "cannot execute %s: its interpreter %s: %v", name, interp, e)
}

// MaySearch reports whether an identity may search a folder and all above it, by the permission bits alone.
func MaySearch(dir string, cred *Credential) bool { return deniedAt(dir, cred, true) == "" }

// deniedAt names the first part of an absolute path that an identity may not search (or, the last one, execute), by the
// permission bits alone; "" when they allow it.
func deniedAt(path string, cred *Credential, dir bool) string {
	if cred == nil {
		cred = &Credential{UID: os.Geteuid(), GID: os.Getegid()}
		cred.Groups, _ = os.Getgroups()
	}
	if !strings.HasPrefix(path, "/") {
		return ""
	}
	for i := range len(path) + 1 {
		if i < len(path) && path[i] != '/' {
			continue
		}
		part := path[:max(i, 1)]
		var st unix.Stat_t
		if unix.Stat(part, &st) != nil {
			return part
		}
		if !mayExecute(&st, cred, i < len(path) || dir) {
			return part
		}
	}
	return ""
}

func mayExecute(st *unix.Stat_t, c *Credential, dir bool) bool {
	switch {
	case c.UID == 0:
		return dir || st.Mode&0o111 != 0
	case int(st.Uid) == c.UID:
		return st.Mode&0o100 != 0
	case int(st.Gid) == c.GID:
		return st.Mode&0o010 != 0
	}
	for _, g := range c.Groups {
		if int(st.Gid) == g {
			return st.Mode&0o010 != 0
		}
	}
	return st.Mode&0o001 != 0
}

// looksLikeScript reports whether a file that is no known kind of program is text, as a shell decides it: no NUL byte
// before the first newline.
func looksLikeScript(path string) bool {
	head, err := readHead(path, 256)
	if err != nil || len(head) == 0 {
		return err == nil
	}
	line, _, _ := bytes.Cut(head, []byte("\n"))
	return bytes.IndexByte(line, 0) < 0
}

// interpreterOf reads the program behind #! or the loader (PT_INTERP) of an ELF file, "" = none.
func interpreterOf(path string) string {
	head, err := readHead(path, 4096)
	if err != nil {
		return ""
	}
	if bytes.HasPrefix(head, []byte("#!")) {
		line, _, _ := bytes.Cut(head[2:], []byte("\n"))
		line = bytes.TrimLeft(line, " \t")
		if i := bytes.IndexAny(line, " \t\x00"); i >= 0 {
			line = line[:i]
		}
		return string(line)
	}
	f, err := openQuick(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	return elf.Interp(f)
}

// readHead reads at most n bytes from the start of a regular file.
func readHead(path string, n int) ([]byte, error) {
	f, err := openQuick(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	buf := make([]byte, n)
	got, err := f.Read(buf)
	if got == 0 && err != nil && err.Error() == "EOF" {
		err = nil
	}
	return buf[:got], err
}

// openQuick opens a file for reading; a FIFO nobody writes to does not hold it up.
func openQuick(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}
