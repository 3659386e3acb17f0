package pid1

import (
	"strings"

	"golang.org/x/sys/unix"
)

// bootMachine prepares what a kernel leaves to process 1 and returns what its command line says. Nothing here is fatal.
func bootMachine(con *console) kernelWords {
	problems := mountAll(bootMounts)
	makeLinks()
	words := parseKernelWords(readFile("/proc/cmdline", 8192))
	*con = openConsole()
	con.quiet = words.quiet
	for _, p := range problems {
		con.warn(p)
	}
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF); err != nil {
		con.warn("cannot take over Ctrl-Alt-Del: ", err.Error())
	}
	if name := hostname(readFile("/etc/hostname", 4096)); name != "" {
		if err := unix.Sethostname([]byte(name)); err != nil {
			con.warn("cannot set the host name to ", name, ": ", err.Error())
		}
	}
	if err := loopbackUp(); err != nil {
		con.warn("cannot bring up lo: ", err.Error())
	}
	return words
}

// hostname is the first word of the first line of /etc/hostname that is no comment, at most 64 bytes.
func hostname(text string) string {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) > 0 && fields[0][0] != '#' {
			return fields[0][:min(len(fields[0]), 64)]
		}
	}
	return ""
}

// loopbackUp sets lo up; the kernel then gives it its addresses.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer closeFD(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr); err != nil {
		return err
	}
	ifr.SetUint16(ifr.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}
