package proc

import "strings"

// LimitNumber finds the number of a limit by its name: lower or upper case, with or without RLIMIT_.
func LimitNumber(name string) (int, bool) {
	name = strings.TrimPrefix(strings.ToLower(name), "rlimit_")
	for i, n := range limitNames {
		if n == name {
			return i, true
		}
	}
	return 0, false
}

// capabilityNames are the capabilities of capabilities(7) by their numbers, without CAP_.
var capabilityNames = []string{"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
	"SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
	"SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
	"SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
	"MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
	"CHECKPOINT_RESTORE"}

// CapabilityNumber finds the number of a capability by its name, with or without CAP_.
func CapabilityNumber(name string) (int, bool) {
	name = strings.TrimPrefix(strings.ToUpper(name), "CAP_")
	for i, n := range capabilityNames {
		if n == name {
			return i, true
		}
	}
	return 0, false
}
