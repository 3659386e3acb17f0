package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph/confdir"
	"github.com/zinit/zinit/supervisor/loop"
	"github.com/zinit/zinit/supervisor/proc"
	"github.com/zinit/zinit/supervisor/view"
)

// What zinit 0.3.9 leaves for the server after it in system.prepare_restart: /run/zinit/state.json, format version 1.
const (
	legacyPath    = "/run/zinit/state.json"
	legacyVersion = 1
	legacyAge     = 5 * time.Minute // as 0.3.9
	// legacySlack is how far the start of a process may be from what 0.3.9 noted: it looked at the clock after the fork.
	legacySlack = 5 * time.Second
)

// legacyState is the file, as far as it is needed. Times are Unix milliseconds.
type legacyState struct {
	Version    int                      `json:"version"`
	SavedAt    int64                    `json:"saved_at"`
	ConfigDir  string                   `json:"config_dir"`
	SocketPath string                   `json:"socket_path"`
	Services   map[string]legacyService `json:"services"`
}

type legacyService struct {
	PID       int             `json:"pid"`
	StartedAt int64           `json:"started_at"`
	Ephemeral bool            `json:"ephemeral"`
	Config    json.RawMessage `json:"config"` // of ephemeral ones
}

// readLegacy reads the state of a 0.3.9 that was told to restart less than five minutes ago; nil when there is none.
func readLegacy(path string, now time.Time) (*legacyState, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	st := &legacyState{}
	if err := json.Unmarshal(b, st); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	switch age := now.Sub(time.UnixMilli(st.SavedAt)); {
	case st.Version != legacyVersion:
		return nil, fmt.Errorf("cannot use %s: its version is %d, not %d", path, st.Version, legacyVersion)
	case age > legacyAge || age < -legacyAge:
		return nil, nil
	}
	return st, nil
}

// takeLegacy finds the processes that a 0.3.9 before this server has left running, once: the file is removed. Those whose
// service is defined are adopted when it would be started; others are named in the log and left alone.
func (s *Supervisor) takeLegacy(defs *view.Definitions) map[string]loop.Found {
	st, err := readLegacy(legacyPath, time.Now())
	if err != nil {
		s.log.Warn("the state of the zinit 0.3.9 before is not used", "error", err)
		return nil
	}
	if st == nil || !s.isOurs(st) {
		return nil
	}
	_ = os.Remove(legacyPath)
	legacy := map[string]loop.Found{}
	for _, name := range slices.Sorted(maps.Keys(st.Services)) {
		old := st.Services[name]
		if old.PID <= 0 {
			continue
		}
		p, err := old.process()
		if err != nil {
			continue // it has ended
		}
		if why := adoptable(defs, name, &old); why != "" {
			s.log.Warn("a process of zinit 0.3.9 is left alone: "+why, "service", name, "pid", old.PID)
			continue
		}
		legacy[name] = loop.Found{Process: p}
		s.log.Info("taking over a process of zinit 0.3.9; its output is captured after its next start", "service", name, "pid", old.PID)
	}
	return legacy
}

// isOurs: the file was written by a server with the same socket or configuration.
func (s *Supervisor) isOurs(st *legacyState) bool {
	return st.SocketPath == s.opt.About.Socket || slices.ContainsFunc(s.opt.Files.Dirs, func(dir string) bool {
		return filepath.Clean(dir) == filepath.Clean(st.ConfigDir)
	})
}

// process is the one that was meant, if it lives: by pid and start time.
func (o *legacyService) process() (proc.Process, error) {
	p, err := proc.ReadProcess(o.PID)
	if err != nil {
		return p, err
	}
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return p, err
	}
	age := time.Duration(up.Nano()) - time.Duration(p.Start)*(time.Second/userHertz)
	if off := time.Since(time.UnixMilli(o.StartedAt)) - age; p.Dead() || off.Abs() > legacySlack {
		return p, proc.ErrGone
	}
	return p, nil
}

// userHertz is the unit of start times in /proc, the same on every architecture.
const userHertz = 100

// adoptable says why a service cannot be taken over, "" when it can. That it was just being stopped is no reason: without
// it a second copy would be started beside it. A definition that was added at run time is taken from the file.
func adoptable(ds *view.Definitions, name string, old *legacyService) string {
	if c := ds.Configs[name]; c != nil {
		if c.Target {
			return "it is a target now"
		}
		return ""
	}
	if !old.Ephemeral || len(old.Config) == 0 {
		return "the service is not defined"
	}
	c, problems := confdir.ParseJSON(old.Config, confdir.Options{Lenient: true})
	if c == nil || c.Name != name {
		return fmt.Sprintf("its definition cannot be read: %v", problems)
	}
	c.Ephemeral, c.Source = true, ""
	ds.Configs[name] = c
	return ""
}
