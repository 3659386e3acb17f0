//go:build 386 || arm

package proc

import "syscall"

// The older calls of these machines take 16-bit identities.
const (
	sysSetgroups = syscall.SYS_SETGROUPS32
	sysSetresuid = syscall.SYS_SETRESUID32
	sysSetresgid = syscall.SYS_SETRESGID32
)
