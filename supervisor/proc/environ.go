package proc

import (
	"slices"
	"strconv"
	"strings"

	"github.com/zinit/zinit/graph"
)

// Names of the variables every service gets.
const (
	EnvService  = "ZINIT_SERVICE"  // the service's name
	EnvID       = "ZINIT_ID"       // name.incarnation: by it a stray process is recognised
	EnvInstance = "ZINIT_INSTANCE" // which supervisor; see Scanner
)

// private reports whether a variable of the supervisor's own environment is not passed on: what is addressed to the
// supervisor itself, by zinit (except the socket, so that a service can call it) or by the system's service manager.
func private(name string) bool {
	if strings.HasPrefix(name, "ZINIT_") {
		return name != "ZINIT_SOCKET"
	}
	switch name {
	case "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES",
		"LISTEN_PIDFDID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "MAINPID", "MANAGERPID", "CREDENTIALS_DIRECTORY",
		"RUNTIME_DIRECTORY", "STATE_DIRECTORY", "CACHE_DIRECTORY", "LOGS_DIRECTORY":
		return true
	}
	return false
}

// BaseEnviron filters the supervisor's own environment once, so that Environ need not do it at every start. It may be
// used as the base of Environ.
func BaseEnviron(env []string) []string {
	out := make([]string, 0, len(env))
	for _, e := range env {
		name, _, ok := strings.Cut(e, "=")
		if ok && name != "" && !private(name) {
			out = append(out, e)
		}
	}
	return out
}

// Environ builds the environment of incarnation gen of a service: base without our private variables, what follows the
// user (HOME, USER, LOGNAME, SHELL), env_file (read now), env, env_from_file (read now), ZINIT_SERVICE and ZINIT_ID, and extra ("NAME=VALUE")
// last. Later ones win. An unset PATH becomes DefaultPath, an unset HOME "/". It reads files, so it may block: call it
// from a worker. The error's step is env_file, env_from_file or user.
func Environ(base []string, c *graph.Config, gen uint64, extra ...string) ([]string, *Error) {
	e := environment{list: make([]string, 0, len(base)+len(c.Env)+len(extra)+8)}
	for _, kv := range base {
		if name, _, ok := strings.Cut(kv, "="); ok && name != "" && !private(name) {
			e.list = append(e.list, kv)
		}
	}
	if c.Identity.User != "" {
		if err := e.addUser(c.Identity.User); err != nil {
			return nil, err
		}
	}
	if err := e.addFiles(c); err != nil {
		return nil, err
	}
	e.addMap(c.Env)
	if err := e.addSecrets(c); err != nil {
		return nil, err
	}
	e.set(EnvService, c.Name)
	e.set(EnvID, ID(c.Name, gen))
	for _, kv := range extra {
		name, value, _ := strings.Cut(kv, "=")
		e.set(name, value)
	}
	e.setDefault("PATH", DefaultPath)
	e.setDefault("HOME", "/")
	return e.list, nil
}

// ID is the value of ZINIT_ID.
func ID(service string, gen uint64) string { return service + "." + strconv.FormatUint(gen, 10) }

// ParseID takes the value of ZINIT_ID apart.
func ParseID(id string) (service string, gen uint64, ok bool) {
	dot := strings.LastIndexByte(id, '.')
	if dot <= 0 {
		return "", 0, false
	}
	gen, err := strconv.ParseUint(id[dot+1:], 10, 64)
	return id[:dot], gen, err == nil
}

// environment is a list of NAME=VALUE in which each name stands once.
type environment struct{ list []string }

func (e *environment) index(name string) int {
	for i, kv := range e.list {
		if len(kv) > len(name) && kv[len(name)] == '=' && kv[:len(name)] == name {
			return i
		}
	}
	return -1
}

func (e *environment) set(name, value string) {
	kv := name + "=" + value
	if i := e.index(name); i >= 0 {
		e.list[i] = kv
		return
	}
	e.list = append(e.list, kv)
}

func (e *environment) setDefault(name, value string) {
	if e.index(name) < 0 {
		e.list = append(e.list, name+"="+value)
	}
}

func (e *environment) addMap(m map[string]string) {
	if len(m) == 0 {
		return
	}
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		e.set(name, m[name])
	}
}

// addUser sets what follows the user, as login(1) does. A bare number without an entry in /etc/passwd has no home, and
// above all not the supervisor's.
func (e *environment) addUser(name string) *Error {
	u, err := lookupUser(name)
	if err != nil {
		return err
	}
	if u.Name == "" {
		for _, name := range []string{"HOME", "USER", "LOGNAME", "SHELL"} {
			if i := e.index(name); i >= 0 {
				e.list = slices.Delete(e.list, i, i+1)
			}
		}
		return nil
	}
	e.set("HOME", u.Home)
	e.set("USER", u.Name)
	e.set("LOGNAME", u.Name)
	e.set("SHELL", u.Shell)
	return nil
}
