package supervisor

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/graph/confdir"
	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/proc"
	"github.com/zinit/zinit/supervisor/view"
)

// An edited file acts only through a reload, so that whoever asks about a service, or starts it,
// hears that its file says something else. Nothing is kept for that: the file is read again.

// onDisk tells what a reload would find in the file of a service: the keys that changed, or what
// became of the file; "" = nothing new, or it has no file.
func (s *Supervisor) onDisk(name string) string {
	text := ""
	if !s.asked.Ask(name, diskPatience, func() { text = s.look(name) }) {
		return "its files cannot be read: the file system does not answer"
	}
	return text
}

// look is onDisk, and waits as long as the file system does.
func (s *Supervisor) look(name string) string {
	v := s.shown.Views.Load()
	e, id, ok := v.Lookup(name)
	if !ok || e.Config.Source == "" || e.Config.Ephemeral {
		return ""
	}
	kind := ""
	if int(id) < v.Graph.Len() {
		kind, _ = v.Graph.Broken(id)
	}
	now, err := confdir.Reread(e.Config.Source, name, s.loadOptions())
	switch {
	case errors.Is(err, confdir.ErrNotDefined):
		return "its file does not define it any more"
	case errors.Is(err, fs.ErrNotExist):
		return "its file is gone"
	case kind == graph.BrokenFile && err == nil:
		return "its file can be used now"
	case kind == graph.BrokenFile:
		return ""
	case err != nil:
		return "its file has errors"
	case now.Name != name:
		return "its file defines " + now.Name
	}
	keys := append(graph.Changes(e.Config, now), drifted(e)...)
	slices.Sort(keys)
	return strings.Join(slices.Compact(keys), ", ")
}

// drifted lists the keys of a running service whose files say something else than at its start.
// What cannot be read is no change: a restart would only fail.
func drifted(e *view.Entry) []string {
	if e.Run == nil || e.Run.Inputs == (proc.Inputs{}) {
		return nil
	}
	now, err := proc.ReadInputs(e.Config)
	if err != nil {
		return nil
	}
	return e.Run.Inputs.Changed(now)
}

// unreadable are warnings about files that running services have read and that cannot be read any
// more.
func (s *Supervisor) unreadable(v *view.View) []wire.Problem {
	var problems []wire.Problem
	for _, e := range v.Entries {
		if e.Run == nil || e.Run.Inputs == (proc.Inputs{}) {
			continue
		}
		if _, err := proc.ReadInputs(e.Config); err != nil {
			problems = append(problems, wire.Problem{File: e.Config.Source, Service: e.Config.Name,
				Severity: graph.SeverityWarning.String(), Message: err.Detail + "; what runs keeps what it has read"})
		}
	}
	return problems
}

// StatusFull is the Reader's, with what changed on disk.
func (s *Supervisor) StatusFull(name string) (wire.StatusFull, error) {
	full, err := s.Reader.StatusFull(name)
	if err == nil {
		full.ChangedOnDisk = s.onDisk(name)
	}
	return full, err
}

// changeToUp is change for what starts a service, by the definition that is loaded: the answer says
// when its file has another one.
func (s *Supervisor) changeToUp(ctx context.Context, name string, ask machine.Asked,
	c wire.Change) (wire.OK, error) {
	ok, err := s.change(ctx, name, ask, c)
	if err == nil {
		ok.ChangedOnDisk = s.onDisk(name)
	}
	return ok, err
}
