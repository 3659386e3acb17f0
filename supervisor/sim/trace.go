package sim

import (
	"strconv"
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
)

// tracer writes what happens as text, when asked to.
type tracer struct {
	on     bool
	text   []byte
	script script
}

func (t *tracer) line(s string) {
	if t.on {
		t.text = append(append(t.text, s...), '\n')
	}
}

// tracef writes one line about a process.
func (w *World) tracef(what string, p *process) {
	if w.tracer.on {
		w.tracer.line(what + " " + p.svc.name + " gen=" + gen(p.gen) + " pid=" + strconv.Itoa(p.pid))
	}
}

// config writes the definitions of a world.
func (t *tracer) config(w *World) {
	if !t.on {
		return
	}
	for _, s := range w.byID {
		t.line("  " + describe(s.config))
	}
	t.script.config(w)
}

// event writes what the machine is told.
func (t *tracer) event(w *World, ev machine.Event) {
	if t.on {
		t.line(duration(w.now) + " > " + eventText(w, ev))
		t.script.event(w, ev)
	}
}

// actions writes what the machine answers.
func (t *tracer) actions(w *World, actions []machine.Action) {
	if !t.on {
		return
	}
	for _, a := range actions {
		t.line("  < " + actionText(w, a))
	}
}

// restored writes that a new server has started.
func (t *tracer) restored(w *World, records []machine.Record, stopSent map[machine.Gen]bool) {
	t.line("  ~ a new server starts at " + duration(w.now))
	if t.on {
		t.script.crash(w, records, stopSent)
	}
}

func (w *World) names(ids []graph.ID) string {
	text := ""
	for _, id := range ids {
		text += " " + w.g.Name(id)
	}
	return text
}

func genText(w *World, g Gen) string { return " " + w.proc(g).svc.name + " gen=" + gen(g) }

func eventText(w *World, ev machine.Event) string {
	switch ev := ev.(type) {
	case machine.Loaded:
		return "loaded"
	case machine.Asked:
		text := "asked " + opNames[opOf(ev.Verb)] + w.names(ev.IDs) + " req=" + strconv.FormatUint(uint64(ev.Req), 10)
		if ev.NoDeps {
			text += " no_deps"
		}
		if ev.Wait {
			text += " wait"
		}
		if ev.Deadline > 0 {
			text += " deadline=" + duration(ev.Deadline)
		}
		return text
	case machine.Cancelled:
		return "cancelled req=" + strconv.FormatUint(uint64(ev.Req), 10)
	case machine.Prechecked:
		if ev.Conflict != nil {
			return "prechecked" + genText(w, ev.Gen) + " held by " + ev.Conflict.Process + " " + ev.Conflict.Service
		}
		return "prechecked" + genText(w, ev.Gen)
	case machine.Spawned:
		return "spawned" + genText(w, ev.Gen) + " pid=" + strconv.Itoa(ev.PID)
	case machine.SpawnFailed:
		return "spawn_failed" + genText(w, ev.Gen)
	case machine.Readied:
		return "readied" + genText(w, ev.Gen)
	case machine.Probed:
		return "probed" + genText(w, ev.Gen) + " ok=" + strconv.FormatBool(ev.OK)
	case machine.ProcessExited:
		return "process_exited" + genText(w, ev.Gen) + " " + statusText(ev.Status) + " alive=" + strconv.Itoa(ev.Alive)
	case machine.TreeEmpty:
		return "tree_empty" + genText(w, ev.Gen)
	case machine.Vanished:
		return "vanished" + genText(w, ev.Gen) + " never_was=" + strconv.FormatBool(ev.NeverWas)
	case machine.Adopted:
		return "adopted" + genText(w, ev.Gen) + " pid=" + strconv.Itoa(ev.PID)
	case machine.Reloaded:
		return "reloaded" + planText(w, ev)
	}
	return plainEvent(w, ev)
}

func plainEvent(w *World, ev machine.Event) string {
	switch ev := ev.(type) {
	case machine.MainChanged:
		return "main_changed" + genText(w, ev.Gen) + " pid=" + strconv.Itoa(ev.PID)
	case machine.HookDone:
		return "hook_done" + genText(w, ev.Gen)
	case machine.Extended:
		return extendedText(w, ev)
	case machine.StoppingSelf:
		return "stopping_self" + genText(w, ev.Gen)
	case machine.Resumed:
		return "resumed"
	case machine.Ticked:
		return "ticked"
	case machine.ClockSet:
		return "clock wall=" + wallText(ev.Wall) + " zone=" + ev.Local.String()
	case machine.ShutdownAsked:
		return "shutdown_asked"
	}
	return "?"
}

func extendedText(w *World, ev machine.Extended) string {
	text := "extended" + genText(w, ev.Gen)
	if ev.By > 0 {
		text += " by=" + time.Duration(ev.By).String()
	}
	if ev.Watchdog {
		text += " watchdog"
	}
	if ev.SetWatchdog > 0 {
		text += " set=" + time.Duration(ev.SetWatchdog).String()
	}
	if ev.Trigger {
		text += " trigger"
	}
	return text
}

func planText(w *World, ev machine.Reloaded) string {
	text := ""
	for _, name := range ev.Plan.Added {
		text += "\n    added " + name
	}
	for _, name := range ev.Plan.Removed {
		text += "\n    removed " + name
	}
	for _, ch := range ev.Plan.Changed {
		text += "\n    changed " + ch.Name + " restart=" + strconv.FormatBool(ch.Restart) + " " + ch.Because
		for _, f := range ch.Fields {
			text += " " + f
		}
	}
	for id := range graph.ID(ev.Graph.Len()) {
		text += "\n    " + describe(ev.Graph.Config(id))
	}
	return text
}

func statusText(st machine.Status) string {
	switch {
	case st.Unknown:
		return "unknown"
	case st.Signal > 0:
		return "signal=" + strconv.Itoa(int(st.Signal))
	}
	return "code=" + strconv.Itoa(int(st.Code))
}

func actionText(w *World, a machine.Action) string {
	name := w.nameOf
	switch a := a.(type) {
	case machine.Note:
		return "note " + name(a.ID) + " " + a.From.String() + " -> " + a.To.String() + " (" + a.Cause.String() + " " + a.By + ")"
	case machine.Precheck:
		return "precheck " + name(a.ID) + " gen=" + gen(a.Gen)
	case machine.Spawn:
		return "spawn " + name(a.ID) + " gen=" + gen(a.Gen)
	case machine.Stop:
		return "stop " + name(a.ID) + " gen=" + gen(a.Gen)
	case machine.Kill:
		return "kill " + name(a.ID) + " gen=" + gen(a.Gen)
	case machine.Signal:
		return "signal " + name(a.ID) + " gen=" + gen(a.Gen)
	case machine.Probe:
		return "probe " + name(a.ID) + " gen=" + gen(a.Gen)
	case machine.Hook:
		return "hook " + name(a.ID) + " gen=" + gen(a.Gen)
	case machine.Abort:
		return "abort gen=" + gen(a.Gen)
	case machine.CancelProbe:
		return "cancel_probe gen=" + gen(a.Gen)
	case machine.Reply:
		return "reply req=" + strconv.FormatUint(uint64(a.Req), 10) + " " + outcomeName(a.Outcome)
	case machine.Forget:
		return "forget " + a.Name
	case machine.Critical:
		return "critical " + name(a.ID)
	case machine.LeftOut:
		return "left_out " + name(a.ID) + ": " + strconv.Itoa(a.Runs) + ", " + a.Rule
	case machine.Halt:
		return "halt " + strconv.Itoa(a.Code)
	}
	return "?"
}

// note folds a Step into the run's hash.
func (w *World) note(ev machine.Event, actions []machine.Action) {
	w.hash = mix(w.hash, uint64(w.now)<<4|uint64(len(actions)))
}
