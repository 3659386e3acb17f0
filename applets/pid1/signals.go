package pid1

import (
	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/supervisor/keeper"
)

// act is what pid1 does on a signal, or was asked to end with.
type act uint8

const (
	actNone act = iota
	actStop     // container: stop the services and exit
	actPowerOff
	actReboot
	actHalt
	actSwitchRoot
	actUpgrade
	actReload
	actReexec
)

// sigRTMin is SIGRTMIN as every C library counts; the two before it belong to the library.
const sigRTMin = 34

// signalSwitchRoot is how `zinit switch-root` reaches process 1.
const signalSwitchRoot = sigRTMin + 7

// machineSignals and containerSignals are the table of signals; what is in neither is ignored.
var machineSignals = map[int]act{
	int(unix.SIGTERM): actPowerOff, int(unix.SIGPWR): actPowerOff, int(unix.SIGINT): actReboot,
	int(unix.SIGUSR1): actUpgrade, int(unix.SIGUSR2): actReexec, int(unix.SIGHUP): actReload,
	sigRTMin + 3: actHalt, sigRTMin + 4: actPowerOff, sigRTMin + 5: actReboot, signalSwitchRoot: actSwitchRoot,
}

var containerSignals = map[int]act{
	int(unix.SIGTERM): actStop, int(unix.SIGPWR): actStop, int(unix.SIGINT): actStop, int(unix.SIGQUIT): actStop,
	int(unix.SIGUSR1): actUpgrade, int(unix.SIGUSR2): actReexec, int(unix.SIGHUP): actReload,
	sigRTMin + 3: actStop, sigRTMin + 4: actStop, sigRTMin + 5: actStop,
}

// orderOf is what the server is asked for when we are.
func orderOf(a act) keeper.Order {
	switch a {
	case actPowerOff:
		return keeper.OrderPowerOff
	case actReboot:
		return keeper.OrderReboot
	case actHalt:
		return keeper.OrderHalt
	case actUpgrade:
		return keeper.OrderUpgrade
	case actReload:
		return keeper.OrderReload
	}
	return keeper.OrderStop
}

// actOf is what a server's goodbye makes of the machine or container; pending is what was asked before.
func actOf(r keeper.Reason, mode keeper.Mode, pending act) act {
	switch {
	case mode != keeper.Machine:
		return actStop
	case r == keeper.PowerOff:
		return actPowerOff
	case r == keeper.Reboot:
		return actReboot
	case r == keeper.Halt:
		return actHalt
	case pending != actNone:
		return pending
	}
	return actPowerOff
}

func (a act) String() string {
	names := [...]string{"nothing", "stopping", "powering off", "rebooting", "halting", "switching root", "upgrading", "reloading",
		"re-executing"}
	return names[a]
}

// burst finds seven presses of Ctrl-Alt-Del within two seconds.
type burst struct{ times [7]int64 }

func (b *burst) press(now int64) bool {
	copy(b.times[:], b.times[1:])
	b.times[6] = now
	return b.times[0] != 0 && now-b.times[0] <= 2*second
}
