package pid1

import (
	"cmp"
	"os"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/supervisor/keeper"
)

// initialPIDNamespace is the inode number of /proc/self/ns/pid outside of every container (PROC_PID_INIT_INO).
const initialPIDNamespace = 0xEFFFFFFC

// surroundings is what the mode is found out from.
type surroundings struct {
	first     bool   // this is process 1
	namespace uint64 // inode of the pid namespace, 0 = unknown
	env       string // ZINIT_CONTAINER
	signs     bool   // container=, /.dockerenv, /run/.containerenv
	kernel    string // kernel word zinit.container=
}

// decideMode: a flag or kernel word ("1" or "0") overrides, but a machine is only ever in the initial pid namespace,
// whatever else says so.
func decideMode(s surroundings, flag string) keeper.Mode {
	override := cmp.Or(flag, s.kernel)
	switch {
	case !s.first:
		return keeper.Plain
	case s.namespace != 0 && s.namespace != initialPIDNamespace:
		return keeper.Container
	case override == "1":
		return keeper.Container
	case override == "0":
		return keeper.Machine
	case s.env != "":
		if truth(s.env) == "1" {
			return keeper.Container
		}
		return keeper.Machine
	case s.signs:
		return keeper.Container
	}
	return keeper.Machine
}

// look finds the surroundings. Process 1 without /proc and without a container's signs mounts it first: so starts an
// initramfs.
func look() surroundings {
	s := surroundings{first: os.Getpid() == 1, env: os.Getenv("ZINIT_CONTAINER")}
	s.signs = containerSigns("")
	if s.first && !s.signs && s.env == "" && !exists("/proc/self") {
		mountAll(bootMounts[:1])
	}
	var st unix.Stat_t
	if unix.Stat("/proc/self/ns/pid", &st) == nil {
		s.namespace = st.Ino
	}
	if s.first && s.namespace == initialPIDNamespace {
		s.kernel = parseKernelWords(readFile("/proc/cmdline", 8192)).container
	}
	return s
}

// containerSigns are what container runtimes leave for us to find: a variable, or a file below root.
func containerSigns(root string) bool {
	return os.Getenv("container") != "" || exists(root+"/.dockerenv") || exists(root+"/run/.containerenv")
}
