package sim

import (
	"strconv"
	"strings"
	"time"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/graph/calendar"
	"github.com/zinit/zinit/supervisor/machine"
)

// script collects what the machine was told in the form that supervisor/machine's script tests play: paste it into a file of
// testdata/machine, let -rewrite fill in what comes out, and read it.
type script struct {
	head, body []byte
	lines      []string // of the run block that is open
	last       Time     // of the last event
	before     *script  // as it was before the last event
}

// text returns the whole script, headed by what was wrong.
func (s *script) text(f *Failure) []byte {
	if len(s.head) == 0 {
		return nil
	}
	s.close()
	comment := "# found by supervisor/sim\n"
	if f != nil {
		comment = "# " + f.Check + ": " + f.Detail + "\n"
	}
	return append([]byte(comment), append(s.head, s.body...)...)
}

// config opens the script with the definitions at load.
func (s *script) config(w *World) {
	line := "\nconfig pid1"
	if w.b.swarm.jobs > 0 {
		line += " host=" + strconv.FormatUint(w.seed, 10) + " jobs=" + strconv.Itoa(w.b.swarm.jobsAtOnce)
	}
	if limit := w.b.swarm.shutdownTimeout; limit > 0 {
		line += " shutdown=" + strconv.FormatInt(int64(limit/millisecond), 10)
	}
	s.head = []byte(line + "\n" + definitions(w.g) + "----\n")
}

func definitions(g *graph.Graph) string {
	var b strings.Builder
	for id := range graph.ID(g.Len()) {
		b.WriteString(describe(g.Config(id)) + "\n")
	}
	return b.String()
}

// close ends the open run block.
func (s *script) close() {
	if len(s.lines) > 0 {
		s.body = append(s.body, "\nrun\n"+strings.Join(s.lines, "\n")+"\n----\n"...)
		s.lines = nil
	}
}

// crash is the death of the server and the start of the next, which restores these records.
func (s *script) crash(w *World, records []machine.Record, stopSent map[machine.Gen]bool) {
	s.pass(w.now)
	s.close()
	line, sep := "\ncrash", " sent="
	for i := range records {
		if stopSent[records[i].Gen] {
			line, sep = line+sep+records[i].Name, ";"
		}
	}
	s.body = append(s.body, line+"\n----\n"...)
}

// takeBack drops the last event: the server died before it was recorded.
func (s *script) takeBack() {
	if s.before != nil {
		*s = *s.before
	}
}

// pass is a line that only lets time pass.
func (s *script) pass(now Time) {
	if now > s.last {
		s.lines = append(s.lines, "+"+time.Duration(now-s.last).String())
		s.last = now
	}
}

// event adds one line.
func (s *script) event(w *World, ev machine.Event) {
	before := *s
	before.before = nil
	s.before = &before
	if r, ok := ev.(machine.Reloaded); ok {
		s.pass(w.now)
		s.close()
		s.body = append(s.body, "\nreload\n"+definitions(r.Graph)+"----\n"...)
		return
	}
	if gen, ok := genOf(ev); ok && !w.proc(gen).svc.present {
		if _, known := w.m.ByGen(gen); !known {
			return // about a service that is forgotten: the scripts know its name no more
		}
	}
	line := scriptLine(w, ev)
	if after := w.now - s.last; after > 0 {
		line = "+" + time.Duration(after).String() + " " + line
	}
	s.last = w.now
	s.lines = append(s.lines, line)
}

// genOf returns the incarnation that a word about a process names.
func genOf(ev machine.Event) (Gen, bool) {
	switch ev := ev.(type) {
	case machine.Prechecked:
		return ev.Gen, true
	case machine.Spawned:
		return ev.Gen, true
	case machine.SpawnFailed:
		return ev.Gen, true
	case machine.Readied:
		return ev.Gen, true
	case machine.Extended:
		return ev.Gen, true
	case machine.ProcessExited:
		return ev.Gen, true
	case machine.TreeEmpty:
		return ev.Gen, true
	case machine.HookDone:
		return ev.Gen, true
	case machine.Probed:
		return ev.Gen, true
	case machine.MainChanged:
		return ev.Gen, true
	case machine.StoppingSelf:
		return ev.Gen, true
	case machine.Vanished:
		return ev.Gen, true
	}
	return 0, false
}

// scriptLine writes one event as the scripts do.
func scriptLine(w *World, ev machine.Event) string {
	switch ev := ev.(type) {
	case machine.Loaded:
		return loadedLine(w, ev)
	case machine.Asked:
		return askedLine(w, ev)
	case machine.Prechecked:
		line := "prechecked" + genText(w, ev.Gen)
		if c := ev.Conflict; c != nil {
			line += " port=" + strconv.Itoa(c.Port) + " pid=" + strconv.Itoa(c.PID) + " held=" + c.Process
			if c.Service != "" {
				line += " service=" + c.Service
			}
		}
		return line
	case machine.SpawnFailed:
		line := "spawn_failed" + genText(w, ev.Gen) + " kind=" + ev.Kind
		if ev.Aborted {
			line += " aborted"
		}
		return line
	case machine.ProcessExited:
		line := "process_exited" + genText(w, ev.Gen) + " pid=" + strconv.Itoa(ev.PID) + " " + statusText(ev.Status)
		return line + " alive=" + strconv.Itoa(ev.Alive) + " daemon=" + strconv.Itoa(ev.Daemon) + " pid_file=" + strconv.Itoa(ev.PIDFileMain)
	case machine.Vanished:
		line := "vanished" + genText(w, ev.Gen) + " alive=" + strconv.Itoa(ev.Alive)
		if ev.NeverWas {
			line += " never_was"
		}
		return line
	case machine.ShutdownAsked:
		line := "shutdown_asked code=" + strconv.Itoa(ev.Code)
		if ev.Now {
			line += " now"
		}
		return line
	}
	return eventText(w, ev)
}

func loadedLine(w *World, ev machine.Loaded) string {
	line := "loaded"
	if ev.Only != "" {
		line += " only=" + ev.Only
	}
	for _, s := range w.services {
		if ran, ok := ev.LastRuns[s.name]; ok {
			line += " " + s.name + "=" + wallText(ran)
		}
	}
	return line
}

// wallText writes a time by the wall clock.
func wallText(t int64) string { return time.Unix(0, t).UTC().Format("2006-01-02T15:04:05.999999999") }

func askedLine(w *World, ev machine.Asked) string {
	line := opNames[opOf(ev.Verb)] + w.names(ev.IDs) + " req=" + strconv.FormatUint(uint64(ev.Req), 10)
	if ev.Verb == machine.VerbKill {
		line += " sig=" + strconv.Itoa(int(ev.Sig))
	}
	if ev.NoDeps {
		line += " no_deps"
	}
	if ev.RunOnly {
		line += " run_only"
	}
	if ev.Wait {
		line += " wait"
	}
	if ev.Deadline > 0 {
		line += " deadline=" + time.Duration(ev.Deadline-w.now).String()
	}
	return line
}

// describe writes a definition in one line: only what the rules depend on, in the words of the scripts.
func describe(c *graph.Config) string {
	words := []string{c.Name}
	add := func(on bool, word string) {
		if on {
			words = append(words, word)
		}
	}
	add(c.Target, "target")
	add(c.Oneshot, "oneshot")
	add(c.Status != graph.StatusStart, "status="+c.Status.String())
	add(c.Class == graph.ClassSystem, "class=system")
	for k := graph.KindRequires; k <= graph.KindConflicts; k++ {
		if names := c.Deps.Of(k); len(names) > 0 {
			words = append(words, k.String()+"="+strings.Join(names, ","))
		}
	}
	if !c.Target {
		words = append(words, describeService(c)...)
	}
	return strings.Join(words, " ")
}

func describeService(c *graph.Config) (words []string) {
	add := func(on bool, word string) {
		if on {
			words = append(words, word)
		}
	}
	l := &c.Lifecycle
	version := strings.TrimPrefix(c.Exec.Line, "run "+c.Name+" ")
	add(version != c.Exec.Line, "exec="+version)
	add(true, "restart="+l.Restart.String())
	add(l.RestartSet && c.Oneshot, "set")
	add(true, "delay="+l.RestartDelay.String()+".."+l.RestartDelayMax.String())
	add(true, "max="+strconv.Itoa(l.MaxRestarts))
	add(true, "stable="+l.StabilityPeriod.String())
	add(true, "start="+l.StartTimeout.String())
	add(true, "stop="+l.StopTimeout.String())
	if len(l.SuccessCodes) > 0 {
		words = append(words, "success="+codesText(l.SuccessCodes))
	}
	add(l.OnExit == graph.OnExitShutdown, "on_exit=shutdown")
	add(c.Ready.Kind != graph.ReadyNone, "ready")
	add(c.Watchdog > 0, "watchdog="+c.Watchdog.String())
	add(!c.PostStop.Command.IsZero(), "post_stop="+c.PostStop.Timeout.String())
	add(c.PIDFile != "", "pid_file")
	add(c.KillOthers, "kill_others")
	add(c.Critical, "critical")
	add(len(c.ProcessFilters) > 0, "filter=stranger")
	add(!c.PreStart.Command.IsZero(), "pre_start="+c.PreStart.Timeout.String())
	for _, port := range c.Ports {
		add(true, "ports="+strconv.Itoa(int(port)))
	}
	for i := range c.Schedules {
		words = append(words, describeSchedule(&c.Schedules[i])...)
	}
	if h := c.Health; h != nil {
		add(true, "health="+h.Interval.String()+"/"+strconv.Itoa(h.Retries))
		add(h.Type == graph.HealthExec, "check=exec")
		add(true, "timeout="+h.Timeout.String())
		add(true, "period="+h.StartPeriod.String())
	}
	return words
}

func describeSchedule(s *graph.Schedule) []string {
	words := []string{s.Kind.String() + "="}
	if s.When != nil {
		words[0] += strings.ReplaceAll(s.Text, " ", "_")
	} else {
		words[0] += calendar.FormatSpan(s.Interval)
	}
	if s.FromEnd {
		words = append(words, "from_end")
	}
	if s.Jitter > 0 {
		words = append(words, "jitter="+calendar.FormatSpan(s.Jitter))
	}
	if s.CatchUp {
		words = append(words, "catch_up")
	}
	return append(words, "overlap="+s.Overlap.String())
}

func codesText(codes []int) string {
	words := make([]string, len(codes))
	for i, code := range codes {
		words[i] = strconv.Itoa(code)
	}
	return strings.Join(words, ",")
}
