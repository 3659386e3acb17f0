//go:build amd64 || arm64

package proc

const canClone = true

// cloneAndRun makes a child by clone3(2) with all signals blocked, which takes the calls of program one after
// the other, the last of which executes; a call that fails is written to failed and ends the child. The parent
// waits until the child has executed or ended (CLONE_VFORK must be among the flags). It returns the child's pid,
// or a negative error number of clone3.
//
//go:noescape
func cloneAndRun(args *cloneArgs, size uintptr, program *call, failed *failure, all, old *uint64) (pid int)
