package rpc

import (
	"context"
	"encoding/json"

	"github.com/zinit/zinit/rpc/wire"
)

// table is every method that is served, with its parameters in their documented order. Dispatch, checks, permissions,
// and the OpenRPC document come from here and from nowhere else.
func table() []method {
	list := systemMethods()
	list = append(list, queryMethods()...)
	list = append(list, changeMethods()...)
	list = append(list, configMethods()...)
	list = append(list, logMethods()...)
	list = append(list, eventMethods()...)
	list = append(list, jobMethods()...)
	return append(list, xinetMethods()...)
}

func jobMethods() []method {
	return []method{
		{name: "jobs.list", summary: "Every service with a schedule: when it runs next and how it ended last.",
			result: []wire.Job(nil), call: plain(func(b Backend) (any, error) { return answer(b.Jobs()) })},
		{name: "jobs.history", summary: "The runs of a job that are remembered, oldest first.", params: []param{paramName},
			result: []wire.JobRun(nil), call: named(func(b Backend, name string) (any, error) { return answer(b.JobHistory(name)) })},
		{name: "jobs.log", summary: "The lines of one run that are kept.", access: accessLogs, result: wire.RunLog{},
			params: []param{paramName,
				{name: "run", kind: kindNumber, preset: "-1", doc: "its incarnation, or counted from the last one, which is -1"},
				logLinesParam("", "the last so many; absent: all that is kept"), logStream, logGrep},
			call: func(_ context.Context, b Backend, a *args) (any, error) {
				q := RunQuery{Name: a.text(0), Run: a.integer(1), Lines: allLines, Stream: a.text(3), Grep: a.text(4)}
				if a.given(2) {
					q.Lines = a.count(2)
				}
				return answer(b.JobLog(q))
			}},
	}
}

func systemMethods() []method {
	return []method{
		{name: "rpc.discover", summary: "The OpenRPC document of exactly what is served.", result: json.RawMessage(nil),
			call: func(_ context.Context, b Backend, _ *args) (any, error) { return discover(b.Ping().Version), nil }},
		{name: "system.ping", summary: "Who answers: version, pid, uptime, mode, features.", result: wire.Ping{},
			call: plain(func(b Backend) (any, error) { return b.Ping(), nil })},
		{name: "system.status", summary: "Overview: counts by state, what failed and what is blocked, problems.",
			result: wire.SystemStatus{}, call: plain(func(b Backend) (any, error) { return answer(b.SystemStatus()) })},
		{name: "system.boot", summary: "Time line of the start.", result: wire.Boot{},
			call: plain(func(b Backend) (any, error) { return answer(b.Boot()) })},
		power("system.shutdown", PowerStop, "Answer, stop everything in order, end the server."),
		power("system.reboot", PowerReboot, "Answer, stop everything in order, reboot the machine. Only as process 1."),
		power("system.poweroff", PowerPoweroff, "Answer, stop everything in order, power off. Only as process 1."),
		power("system.halt", PowerHalt, "Answer, stop everything in order, halt. Only as process 1."),
		{name: "system.upgrade", summary: "Answer, then execute another server file in place; services go on.",
			params: []param{{name: "path", kind: kindString, doc: "the file; absent: the one this server was started from"}},
			access: accessWrite, result: wire.Upgrade{}, again: true,
			end: func(ctx context.Context, b Backend, a *args) (any, func(), error) {
				res, begin, err := b.Upgrade(ctx, a.text(0))
				return res, begin, err
			}},
		{name: "system.prepare_restart", summary: "Answer, then end the server without stopping anything; the next one goes on.",
			access: accessWrite, result: wire.PrepareRestart{}, again: true,
			end: func(ctx context.Context, b Backend, _ *args) (any, func(), error) {
				res, begin, err := b.PrepareRestart(ctx)
				return res, begin, err
			}},
		{name: "metrics.get", summary: "Everything that is counted and measured, as text for Prometheus.", result: wire.Metrics{},
			params: []param{{name: "format", kind: kindString, preset: `"openmetrics"`, doc: "openmetrics (1.0) or prometheus (0.0.4)"}},
			call:   named(func(b Backend, format string) (any, error) { return answer(b.Metrics(format)) })},
		{name: "debug.state", summary: "All states with their dependencies, as text.", access: accessEnv, result: wire.Output{},
			call: plain(func(b Backend) (any, error) { return output(b.DebugState()) })},
		{name: "debug.process_tree", summary: "The processes of a service, as text.", params: []param{paramName},
			access: accessEnv, result: wire.Output{},
			call: named(func(b Backend, name string) (any, error) { return output(b.ProcessTree(name)) })},
	}
}

func power(name string, p Power, summary string) method {
	return method{name: name, summary: summary, access: accessWrite, result: wire.OK{},
		end: func(_ context.Context, b Backend, _ *args) (any, func(), error) {
			begin, err := b.Shutdown(p)
			return wire.OK{OK: true}, begin, err
		}}
}

func output(text string, err error) (any, error) { return answer(wire.Output{Output: text}, err) }

func queryMethods() []method {
	one := []param{paramName}
	return []method{
		{name: "service.list", summary: "All names, sorted.", result: []string(nil),
			call: plain(func(b Backend) (any, error) { return b.List(), nil })},
		{name: "service.list_full", summary: "One row a service, by name.", result: []wire.Listed(nil),
			params: []param{{name: "stats", kind: kindBool, preset: "false", doc: "memory and CPU as well"}},
			call:   func(_ context.Context, b Backend, a *args) (any, error) { return answer(b.ListFull(a.flag(0))) }},
		{name: "service.status", summary: "State, pid, exit code, error of one service.", params: one, result: wire.Status{},
			call: named(func(b Backend, name string) (any, error) { return answer(b.Status(name)) })},
		{name: "service.status_full", summary: "Everything about one service.", params: one, result: wire.StatusFull{},
			call: named(func(b Backend, name string) (any, error) { return answer(b.StatusFull(name)) })},
		{name: "service.get", summary: "The definition with its defaults.", params: one, access: accessEnv,
			result: json.RawMessage(nil),
			call:   named(func(b Backend, name string) (any, error) { return answer(b.Get(name)) })},
		{name: "service.stats", summary: "Memory and CPU of the whole process tree.", params: one, result: wire.Stats{},
			call: named(func(b Backend, name string) (any, error) { return answer(b.Stats(name)) })},
		{name: "service.children", summary: "The processes below the main one.", params: one, result: wire.Children{},
			call: named(func(b Backend, name string) (any, error) { return answer(b.Children(name)) })},
		{name: "service.is_running", summary: "Whether it runs; false for an unknown name.", params: one, result: false,
			call: named(func(b Backend, name string) (any, error) { return b.IsRunning(name), nil })},
		{name: "service.why", summary: "Why it is in its state, down to the root cause.", params: one, result: wire.Why{},
			call: named(func(b Backend, name string) (any, error) { return answer(b.Why(name)) })},
		{name: "service.tree", summary: "The dependency tree, as text and as nodes.", result: wire.Tree{},
			params: []param{{name: "name", kind: kindString, doc: "only this service's; absent: all"}},
			call:   named(func(b Backend, name string) (any, error) { return answer(b.Tree(name)) })},
		{name: "service.wait", summary: "Answer when every service has reached the goal.", result: wire.Waited{},
			params: []param{
				{name: "names", kind: kindStrings, required: true, doc: "names of the services"},
				{name: "for", kind: kindString, preset: `"running"`, doc: "running, ready, exited, failed, inactive or gone"},
				{name: "timeout_ms", kind: kindInt, preset: "0", doc: "error -32031 after so long; 0: no bound"},
			},
			waits: func(*args) bool { return true }, again: true,
			call: func(ctx context.Context, b Backend, a *args) (any, error) {
				goal := a.text(1)
				if goal == "" {
					goal = "running"
				}
				return answer(b.Wait(ctx, a.strings(0), goal, a.integer(2)))
			}},
	}
}

func changeMethods() []method {
	startParams := []param{paramName, paramWait, paramTimeout,
		{name: "no_deps", kind: kindBool, preset: "false", doc: "start nothing that it requires or wants"}}
	return []method{
		change("service.start", "Make it wanted up, and with it what it requires and wants.", startParams, true, Backend.Start),
		change("service.stop", "Make it wanted down, after what requires it has stopped.", append(startParams[:3:3],
			param{name: "run_only", kind: kindBool, preset: "false", doc: "a job ends its run, and runs again when it is due"}),
			true, Backend.Stop),
		{name: "service.run", summary: "Run a oneshot now, and answer when that run has ended.", access: accessWrite, result: wire.Run{},
			params: []param{paramName, paramTimeout, startParams[3],
				{name: "after", kind: kindSeq, doc: "it was asked for before: a run of a later incarnation than this is the one that is meant"}},
			pending: func(*args) any { return wire.Run{Pending: true} },
			waits:   func(*args) bool { return true },
			call: func(ctx context.Context, b Backend, a *args) (any, error) {
				return answer(b.RunOneshot(ctx, a.text(0), RunRequest{TimeoutMS: a.integer(1), NoDeps: a.flag(2), Again: a.given(3), After: a.seq(3)}))
			}},
		change("service.restart", "Stop and start again.", startParams, false, Backend.Restart),
		{name: "service.kill", summary: "Send a signal.", access: accessWrite, result: wire.OK{}, pending: pendingOK,
			params: []param{paramName, {name: "signal", kind: kindSignal, preset: `"SIGTERM"`, doc: "name or number, see signal(7)"}},
			call: func(_ context.Context, b Backend, a *args) (any, error) {
				signal := a.signal(1)
				if signal == "" {
					signal = "SIGTERM"
				}
				return answer(b.Kill(a.text(0), signal))
			}},
		{name: "service.signal_reload", summary: "Make it read its configuration again, by its `reload` key.",
			params: []param{paramName}, access: accessWrite, result: wire.OK{}, pending: pendingOK,
			call: named(func(b Backend, name string) (any, error) { return answer(b.SignalReload(name)) })},
		all("service.start_all", "started", "Start every service of class user.", Backend.StartAll),
		all("service.stop_all", "stopped", "Stop every service of class user.", Backend.StopAll),
		{name: "service.delete_all", summary: "Remove every service of class user, with its file.", params: []param{paramFiles},
			access: accessWrite, result: wire.Bulk{}, pending: pendingBulk("deleted"),
			call: func(ctx context.Context, b Backend, a *args) (any, error) {
				files, err := filesOf(a, 0)
				if err != nil {
					return nil, err
				}
				deleted, err := b.DeleteAll(ctx, files)
				return bulk("deleted", deleted.Deleted, &deleted.Removed, err)
			}},
	}
}

// filesOf is which files a removal deletes.
func filesOf(a *args, place int) (wire.FilesChoice, error) {
	switch files := wire.FilesChoice(a.text(place)); files {
	case "":
		return wire.FilesAll, nil
	case wire.FilesAll, wire.FilesWritten:
		return files, nil
	default:
		return "", invalid("files %q: want all or written", files)
	}
}

type changeCall func(Backend, context.Context, string, Change) (wire.OK, error)

func change(name, summary string, params []param, again bool, do changeCall) method {
	return method{name: name, summary: summary, params: params, access: accessWrite, result: wire.OK{}, again: again,
		pending: pendingOK,
		waits:   func(a *args) bool { return a.flag(1) },
		call: func(ctx context.Context, b Backend, a *args) (any, error) {
			how := Change{Wait: a.flag(1), TimeoutMS: a.integer(2)}
			if len(params) > 3 {
				how.NoDeps, how.RunOnly = a.flag(3) && params[3].name == "no_deps", a.flag(3) && params[3].name == "run_only"
			}
			return answer(do(b, ctx, a.text(0), how))
		}}
}

func all(name, verb, summary string, do func(Backend, context.Context) ([]string, error)) method {
	return method{name: name, summary: summary, access: accessWrite, result: wire.Bulk{}, pending: pendingBulk(verb),
		call: func(ctx context.Context, b Backend, _ *args) (any, error) {
			names, err := do(b, ctx)
			return bulk(verb, names, nil, err)
		}}
}

func configMethods() []method {
	remove := func(name string) method {
		return method{name: name, summary: "Stop it and forget it, with its file; refused while another requires or binds it.",
			params: []param{paramName, {name: "cascade", kind: kindBool, preset: "false", doc: "those that require it too"}, paramFiles},
			access: accessWrite, result: wire.OK{}, pending: pendingOK,
			call: func(ctx context.Context, b Backend, a *args) (any, error) {
				files, err := filesOf(a, 2)
				if err != nil {
					return nil, err
				}
				return answer(b.Remove(ctx, a.text(0), wire.Removal{Cascade: a.flag(1), Files: files}))
			}}
	}
	return []method{
		{name: "service.set", summary: "Define a service, or replace its definition by the rules of reload. Always persisted.",
			params: []param{paramConfig, {name: "dry_run", kind: kindBool, preset: "false", doc: "only check"}},
			access: accessWrite, result: wire.Added{}, bareConfig: true, pending: pendingAdded,
			call: func(ctx context.Context, b Backend, a *args) (any, error) {
				return answer(b.Set(ctx, a.document(0), a.flag(1)))
			}},
		{name: "service.add", summary: "Define a new service; it is not started.",
			params: []param{paramConfig, {name: "persist", kind: kindBool, preset: "false", doc: "write its file"}},
			access: accessWrite, result: wire.Added{}, bareConfig: true, pending: pendingAdded,
			call: func(ctx context.Context, b Backend, a *args) (any, error) {
				return answer(b.Add(ctx, a.document(0), a.flag(1)))
			}},
		remove("service.delete"), remove("service.remove"),
		{name: "service.reload", summary: "Read the configuration again and apply the difference.",
			params: []param{{name: "allow_removal", kind: kindBool, preset: "false",
				doc: "even if running services require what is removed"}},
			access: accessWrite, result: wire.Plan{}, pending: pendingPlan,
			call: func(ctx context.Context, b Backend, a *args) (any, error) { return answer(b.Reload(ctx, a.flag(0))) }},
		{name: "service.plan", summary: "What service.reload would do; nothing is done.", access: accessEnv, result: wire.Plan{},
			call: plain(func(b Backend) (any, error) { return answer(b.Plan()) })},
	}
}

func eventMethods() []method {
	since := param{name: "since", kind: kindSeq, preset: "0"}
	first, next := since, since
	first.doc = "the first sequence number wanted; 0: from the oldest kept"
	next.doc = "the first sequence number wanted; 0: only new ones"
	return []method{
		{name: "events.get", summary: "Transitions with their causes, numbered.", result: wire.Events{},
			params: []param{first, {name: "limit", kind: kindInt, preset: "0", doc: "at most so many; 0: the server's bound"}},
			call: func(_ context.Context, b Backend, a *args) (any, error) {
				return answer(b.Events(a.seq(0), a.count(1)))
			}},
		{name: "events.subscribe", summary: "Answer, then a notification for every transition.", result: wire.OK{},
			params: []param{next}, note: "event", item: wire.Event{},
			stream: func(ctx context.Context, b Backend, a *args, send func(notification) error) error {
				return b.FollowEvents(ctx, a.seq(0), func(e wire.Event) error { return send(e) })
			}},
	}
}

// xinetMembers are those of wire.XinetConfig; a test compares.
var xinetMembers = []param{{name: "name"}, {name: "listen"}, {name: "backend"}, {name: "service"},
	{name: "connect_timeout"}, {name: "idle_timeout"}, {name: "single_connection"}}

func xinetMethods() []method {
	name := param{name: "name", kind: kindString, required: true, doc: "name of the proxy"}
	ok := func(err error) (any, error) { return answer(wire.OK{OK: true}, err) }
	return []method{
		{name: "xinet.set", summary: "Define a socket proxy, or replace it. Its addresses are bound before the answer.",
			params: []param{paramConfig}, access: accessWrite, result: wire.OK{}, bareConfig: true, pending: pendingOK,
			call: func(_ context.Context, b Backend, a *args) (any, error) {
				var config wire.XinetConfig
				if err := a.checkMembers(0, xinetMembers); err != nil {
					return nil, err
				}
				if err := json.Unmarshal(a.raw[0], &config); err != nil {
					return nil, invalid("invalid xinet config: %v", err)
				}
				return ok(b.XinetSet(config))
			}},
		{name: "xinet.delete", summary: "Remove a socket proxy.", params: []param{name}, access: accessWrite,
			result: wire.OK{}, pending: pendingOK,
			call: named(func(b Backend, name string) (any, error) { return ok(b.XinetDelete(name)) })},
		{name: "xinet.list", summary: "Names of all proxies, sorted.", result: []string(nil),
			call: plain(func(b Backend) (any, error) { return b.XinetList(), nil })},
		{name: "xinet.status", summary: "State and counters of one proxy.", params: []param{name}, result: wire.XinetStatus{},
			call: named(func(b Backend, name string) (any, error) { return answer(b.XinetStatus(name)) })},
		{name: "xinet.status_all", summary: "State and counters of all proxies.", result: []wire.XinetStatus(nil),
			call: plain(func(b Backend) (any, error) { return b.XinetStatusAll(), nil })},
	}
}
