package proc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Root is the supervisor's own subtree of the cgroup2 hierarchy.
type Root struct {
	base        string   // our folder, in which each incarnation gets one
	controllers []string // that are enabled for the folders in it
	lacking     string   // why controllers are missing
	into        bool     // the kernel can clone into a group (5.7)
	claims      claims
}

// Path is the folder.
func (r *Root) Path() string { return r.base }

// Controllers are those that limits can be set with.
func (r *Root) Controllers() []string { return r.controllers }

// Close removes the folder if nothing is left in it.
func (r *Root) Close() {
	for _, sub := range subfolders(r.base, 0) {
		_ = removeFolders(sub, 1)
	}
	_ = unix.Rmdir(r.base)
	if r.claims.lock >= 0 {
		unix.Close(r.claims.lock)
		r.claims.lock = -1
	}
}

// wantedControllers are those that [cgroup] has limits for.
var wantedControllers = []string{"memory", "pids", "cpu", "io"}

// leafName is the folder that the supervisor itself moves into where controllers need that: a group whose controllers
// are enabled for the groups below may have no processes itself.
const leafName = "supervisor"

// DetectCgroups looks for a cgroup2 hierarchy, as the only one or beside version 1 (hybrid), and makes our own subtree
// below the group that the supervisor is in. nil means that there is none that can be used, and reason says why.
func DetectCgroups() (r *Root, reason string) { return DetectCgroupsOf(os.Getpid()) }

// DetectCgroupsOf names the subtree after the process owner, which outlives the supervisor: a keeper's. So every server
// under it finds the groups of the one before as its own.
func DetectCgroupsOf(owner int) (r *Root, reason string) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, "cannot read /proc/self/mountinfo: " + cause(err).Error()
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, "cannot read /proc/self/cgroup: " + cause(err).Error()
	}
	folder, reason := ownFolder(string(mounts), string(own))
	if reason != "" {
		return nil, reason
	}
	return detectFor(folder, owner)
}

// detectIn makes our subtree in a folder.
func detectIn(folder string) (*Root, string) { return detectFor(folder, os.Getpid()) }

func detectFor(folder string, owner int) (*Root, string) {
	if filepath.Base(folder) == leafName {
		if _, _, ok := ownerOfBase(filepath.Base(filepath.Dir(folder))); ok {
			folder = filepath.Dir(filepath.Dir(folder)) // where we, or a server before us, have moved to
		}
	}
	r := &Root{into: canCloneInto()}
	if err := r.claimBase(folder, owner); err != nil {
		return nil, fmt.Sprintf("cannot make a control group in %s: %v", folder, cause(err))
	}
	if err := r.try(); err != nil {
		r.Close()
		return nil, fmt.Sprintf("cannot use control groups in %s: %v", folder, err)
	}
	tidy(folder)
	r.enable(folder)
	return r, ""
}

// try makes sure that processes can be put into our groups, by the permissions of a new one.
func (r *Root) try() error {
	folder := filepath.Join(r.base, "try")
	if err := os.Mkdir(folder, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return cause(err)
	}
	defer unix.Rmdir(folder)
	for _, file := range []string{folder + "/cgroup.procs", filepath.Dir(r.base) + "/cgroup.procs"} {
		if err := unix.Access(file, unix.W_OK); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

// tidy removes what supervisors that are gone have left empty.
func tidy(folder string) {
	for _, sub := range subfolders(folder, 0) {
		if n, ok := keyed(sub+"/cgroup.events", "populated"); ok && n == 0 {
			removeAbandoned(sub)
		}
	}
}

// enable turns on the controllers that limits need, as many as there are.
func (r *Root) enable(folder string) {
	available := wordsIn(folder + "/cgroup.controllers")
	wanted := slices.DeleteFunc(slices.Clone(wantedControllers), func(c string) bool { return !slices.Contains(available, c) })
	r.lacking = "the kernel offers " + strings.Join(available, " ")
	if len(available) == 0 {
		r.lacking = "the hierarchy has none there"
	}
	if len(wanted) == 0 {
		return
	}
	if !exists(folder+"/cgroup.type") || r.vacate(folder) == nil { // the root of the hierarchy may have processes
		for _, c := range wanted {
			_ = writeFile(folder+"/cgroup.subtree_control", "+"+c)
			_ = writeFile(r.base+"/cgroup.subtree_control", "+"+c)
		}
	}
	r.controllers = wordsIn(r.base + "/cgroup.subtree_control")
	if len(r.controllers) < len(wanted) {
		r.lacking = "it could not be enabled for groups in " + folder
	}
}

// vacate moves the supervisor, and its keeper, out of the folder into a leaf of our subtree. It does nothing when other
// processes are in the folder, which we have no right to move, or none at all: then a server before us has moved already.
func (r *Root) vacate(folder string) error {
	ours := []int{os.Getpid()}
	if keeper := os.Getppid(); Executable(keeper) == Executable(os.Getpid()) {
		ours = append(ours, keeper)
	}
	members := membersOf(folder)
	if slices.ContainsFunc(members, func(pid int) bool { return !slices.Contains(ours, pid) }) {
		return fmt.Errorf("%s has other processes", folder)
	}
	if len(members) == 0 {
		return nil
	}
	leaf := filepath.Join(r.base, leafName)
	if err := os.Mkdir(leaf, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	for _, pid := range members {
		if err := writeFile(leaf+"/cgroup.procs", strconv.Itoa(pid)); err != nil {
			return err
		}
	}
	return nil
}

func membersOf(folder string) []int { return processesIn(folder, depthMax, nil) }

func exists(path string) bool {
	var st unix.Stat_t
	return unix.Stat(path, &st) == nil
}

func wordsIn(path string) []string {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return strings.Fields(string(data))
}

// ownFolder finds the folder of the cgroup2 group that the process is in, from /proc/self/mountinfo and
// /proc/self/cgroup.
func ownFolder(mountinfo, cgroup string) (folder, reason string) {
	group, ok := unifiedPath(cgroup)
	if !ok {
		return "", "the kernel has no cgroup2"
	}
	if folder = folderOf(mountinfo, "", group); folder != "" {
		return folder, ""
	}
	if !strings.Contains(mountinfo, " - cgroup2 ") {
		return "", "no cgroup2 file system is mounted"
	}
	return "", "the group " + group + " is not below any cgroup2 mount"
}

// unifiedPath reads the line 0::PATH of /proc/PID/cgroup.
func unifiedPath(cgroup string) (string, bool) {
	for line := range strings.SplitSeq(cgroup, "\n") {
		if path, ok := strings.CutPrefix(line, "0::"); ok && strings.HasPrefix(path, "/") {
			return strings.TrimSuffix(path, " (deleted)"), true
		}
	}
	return "", false
}

// below makes path relative to root.
func below(path, root string) (string, bool) {
	if root == "/" {
		return path, true
	}
	rest, ok := strings.CutPrefix(path, root)
	return rest, ok && (rest == "" || rest[0] == '/')
}

// parseMount reads a line of mountinfo: id parent major:minor root point options [tags] - type source options. Blanks in
// paths are written as \040.
func parseMount(line string) (root, point, fstype string) {
	left, right, ok := strings.Cut(line, " - ")
	f, g := strings.Fields(left), strings.Fields(right)
	if !ok || len(f) < 6 || len(g) < 1 {
		return "", "", ""
	}
	return unescapeMount(f[3]), unescapeMount(f[4]), g[0]
}

var mountEscapes = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

func unescapeMount(s string) string { return mountEscapes.Replace(s) }

// canCloneInto asks the kernel for clone3 with CLONE_INTO_CGROUP (5.7) without cloning: the arguments contradict
// themselves, so the answer is EINVAL where the last field is known, E2BIG where it is not, ENOSYS or EPERM where there
// is no clone3 or a sandbox forbids it.
func canCloneInto() bool {
	const thread, invalid, size = 0x00010000, 0x00000800, 88 // CLONE_THREAD, CLONE_SIGHAND without CLONE_VM; VER2
	args := [11]uint64{thread | invalid}
	args[10] = 1 // cgroup
	_, _, errno := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&args)), size, 0)
	return errno == unix.EINVAL
}
