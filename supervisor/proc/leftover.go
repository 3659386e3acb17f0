package proc

import (
	"slices"
)

// Leftover is a process of a supervisor that has died and had no keeper, and whose services have lost their main processes
// with it.
type Leftover struct {
	Process
	Service string // the service that it belonged to, "" = not known
}

// Leftovers finds what the supervisors with these names (the values of ZINIT_INSTANCE) have left behind, by their marks,
// or by the environment where marks cannot be had. The caller knows that they are dead.
func Leftovers(instances []string) (out []Leftover) {
	if len(instances) == 0 {
		return nil
	}
	guard := (&Scanner{}).guard()
	for _, pid := range listProcesses(nil) {
		if guard.protects(pid) || !leftBy(pid, instances) {
			continue
		}
		if p, err := ReadProcess(pid); err == nil && !p.Dead() && !p.Kernel {
			out = append(out, Leftover{Process: p, Service: serviceOf(pid)})
		}
	}
	return out
}

// IsLeftover reports whether exactly this process is one.
func IsLeftover(p Process, instances []string) bool {
	return p.PID > 0 && leftBy(p.PID, instances) && p.alive()
}

func leftBy(pid int, instances []string) bool {
	values, err := marksOn(pid)
	for _, name := range instances {
		for _, v := range values {
			if _, ok := genOf(v, name); err == nil && ok {
				return true
			}
		}
	}
	if canTag() && err == nil {
		return false
	}
	name, ok := Variable(pid, EnvInstance)
	return ok && slices.Contains(instances, name)
}

// serviceOf tells the service of a process by its control group, else by its environment.
func serviceOf(pid int) string {
	if id, _ := incarnationFolder(pid); id != "" {
		name, _, _ := ParseID(id)
		return name
	}
	name, _ := Variable(pid, EnvService)
	return name
}
