// Package machine is the pure core of the supervisor: Step(now, event) -> actions. It holds every state, timer, counter
// and pending request, and knows no clock, no process, no file and no goroutine. The driver (package supervisor) feeds
// it events and carries out its actions; the simulator (package sim) feeds the same code from a fake world.
//
// # States, and what is wanted
//
// A service is in one of seven states (state.go). What exists is the state; what is wanted stands beside it, in two
// bits, because neither can be told from the state:
//
//   - wanted (up, down): what the operator, or the file's status key, last asked for. It survives failures: a service
//     in Failed is still wanted up.
//   - due: a start is owed now. A oneshot that is done, and a service whose policy forbids a restart, is wanted up and
//     not due: it stays as it is. Due is set by load, start, restart, a restart deadline, the return of a dependency
//     whose loss stopped or failed the service, and a reload that must restart it; cleared by the spawn and by stop.
//
// One bit would not do: "wanted up" alone would start a finished oneshot again after every event, "due" alone would
// forget during a failure that the operator wants the service. So: due and able to start -> starts; due and not able
// -> Blocked, and Unmet says why; wanted down -> stops. No state is a dead end.
//
//	              due, something unmet
//	+----------+ ----------------------> +---------+
//	| Inactive |                         | Blocked | ---- a requirement failed for good ----+
//	+----------+ <----- wanted down ---- +---------+                                        |
//	     |                                 |     ^                                          |
//	     | due, nothing unmet              |     | gone, was stopped for a dependency       |
//	     v                                 |     |                                          |
//	+----------+ <------ can start --------+   +----------+                                 |
//	| Starting | -- stop, deadline, rest ----> | Stopping | ---- gone, failure carried ---->+
//	+----------+     of the tree               +----------+                                 |
//	   |     |                                   ^      |                                   |
//	   |     | ready                             |      | gone, was asked to stop           |
//	   |     v                                   |      |                                   v
//	   |   +---------+ - stop, health, rest -----+      |                              +--------+
//	   |   | Running |   of the tree                    v                              | Failed |
//	   |   +---------+                               +--------+                        +--------+
//	   |     | exit 0                                | Exited |                             ^
//	   +-----+-- (Starting: a oneshot) ------------> +--------+                             |
//	   |     |                                                                              |
//	   +-----+---- exit n, signal, spawn failed, an exit before ready ----------------------+
//
//	Exited, Failed:  start asked, restart deadline, return of a dependency -> due, on as from Inactive; wanted down -> Inactive.
//	Targets:         Inactive, Blocked -> Running; Running -> Blocked (a requirement is lost) or Inactive (stopped).
//	Stopping:        back to Starting, Running, or Exited (a finished oneshot) when the stop is taken back in time.
//
// Every Note(from, to) is checked against an explicit table of allowed pairs (notes.go, invariant I6).
//
// # Phases
//
// What the machine waits for inside a state is its phase: PhaseChecking (Blocked: a Precheck is out), PhaseSpawning and
// PhaseUp (Starting), and in Stopping PhaseDependents (nothing sent yet: dependents are still there), PhaseAwaitSpawn
// (Abort was sent, the pid is not known), PhaseTerm (stop signal sent), PhaseKill (SIGKILL sent), PhaseStuck
// (unkillable), PhaseHook (post_stop runs). PhaseDependents also stands in Running for a target and in Exited for a
// finished oneshot that are to go down and wait for their dependents; both have no process and so never are Stopping.
//
// # The table
//
// Every word that reaches a service is one of the inputs of input.go; table.go gives for each state x input a handler
// or the reason why it is ignored. TestTable fails on a cell that nobody decided. A word about a process carries its
// Gen and is dropped in one place, before the table, when that is not the service's current incarnation.
//
// # Work
//
// A handler changes what is wanted and what happened; it never starts anything. When it has returned and all counters
// have settled, Step works off two sets of services, both ordered by the graph's rank: first those that may have to go
// on with a stop, highest rank first, then those that may start, lowest rank first. So a dependency restarted in a Step
// is seen as unsatisfied by all who look at it in that Step, and no queue can overflow: a service is in a set or not.
// Each service keeps five counters over its edges (unsatisfied requirements, those of them not on their way, those
// failed for good, predecessors it must wait for, rivals that hold a conflict) and one over its dependents (how many
// are still there); a change of a service's standing touches only its own edges. graph.FirstUnmet is asked before
// every spawn and must agree: it, not the counters, is the definition.
//
// # What others may know of a service (graph.Standing)
//
//   - Satisfied: Running and not about to go down, or a oneshot that exited with success without being asked to stop.
//   - Pending (what `after` waits for): wanted up, status not ignore, and either due with everything it waits for
//     itself on its way, or a oneshot whose process has not ended. A service is on its way when it is Starting, or due
//     and waiting for nothing but services on their way. A conflict, a port, a missing name, a service that is wanted
//     down, and one that waits out its restart delay are not on their way.
//   - Holds (conflicts): Starting, Running, Stopping, finished with processes left, during a Precheck, waiting for a
//     restart deadline, or due with a claim. A claim is what a service keeps from having run: it is set when it is
//     stopped for a dependency or for a restart and at its restart deadline, and lost by the spawn, by stop, and
//     when it is itself found to be blocked by a conflict (else two could hold each other for ever).
//   - FailedForGood: broken, or wanted up, neither due nor waiting for a restart, and Failed or (no finished oneshot)
//     Exited.
//
// # Rules that the specification leaves to the core
//
//   - Stop cascade. `stop A`, `restart A`, a reload that restarts or removes A, and the loss of something A binds stop
//     first every service with processes that requires or binds A, directly or through others, whatever state those are in;
//     only a finished oneshot without processes is not touched and passes nothing on (it ran, it stays satisfied); one that
//     left processes is stopped like a running service and runs again when what it depends on is back. A's own
//     failure (health, start deadline, watchdog) cascades to nobody but binders, and its stop signal waits for nobody.
//     Everything in a cascade is Stopping at once; a signal is sent when the last dependent is gone or unkillable.
//   - A stop is cancelled ("back to what it was") by start only when the service itself was asked to stop, nothing was
//     sent yet, its main process is still there, nothing that it needs waits for it to be gone, and what it binds is
//     satisfied. Otherwise it is due once gone.
//   - start pulls in, and so does an explicit restart; the whole closure over requires, binds and wants, also through
//     services that run. One with status stop or held down by an operator is pulled in only over a path of requires
//     and binds alone. A finished oneshot is not run again by pull-in; a direct start runs it again.
//   - start of a service with a missing requirement changes nothing and is answered OutcomeMissing; of a broken one
//     OutcomeFailed.
//   - restart of a target or a finished oneshot waits for its dependents, as a stop does. restart of any other service
//     without a process acts as start.
//   - With a pid_file, and neither readiness of its own nor a check, a service is ready when the file names its main process: Readied
//     for the one that was started, PIDFileMain in its ProcessExited (code 0) for another one. Of a Running service PIDFileMain
//     takes over whenever and however the main process ends.
//   - A Precheck happens in state Blocked: Unmet is empty and Info.Checking set until it is answered. Every try takes a new Gen,
//     the Spawn after it the same. A port conflict is tried again after 250 ms, doubling to 10 s, at once when the
//     service that holds it ends, and at a start. Precheck.Kill is set once for each load, start or restart.
//   - The start deadline counts from the Spawn action and gets the pre_start timeout on top. The stop timeout counts
//     from the Stop action. An Abort that is not answered within stop timeout + 5 s makes the service unkillable.
//   - restarts is counted when the restart is scheduled. The stability of a run is judged at its end, and a run counts from
//     ready on (a oneshot's from its spawn), so that a service that never gets ready uses up its attempts.
//   - post_stop runs (PhaseHook) after every end of an incarnation that had a process, for a finished oneshot when it is
//     stopped. It is given its timeout and 5 s more.
//   - on_exit = "shutdown" acts when the service has ended for good: by itself, by an operator's stop, or because it cannot
//     start (a requirement that failed for good or does not exist, a broken definition); not while it waits. A death by
//     signal n passes on 128+n, a failure without a process 1. The Notes of that shutdown name the service in By.
//   - During a shutdown `after` orders stops too. ShutdownAsked with Now, or the end of Options.ShutdownTimeout, kills what is
//     left at once and in no order, without post_stop; two seconds later Halt comes whatever is left.
//   - Reload. A definition that changes between service and target, or becomes broken, counts when the processes of the old
//     one are gone. A removed service waits for those of its dependents that the new graph stops because they still name it.
//     A name that comes back while the removed service still stops goes on as that service, due by its status. A changed
//     definition is tried at once by a service that failed, exited, or waits for a restart. RefuseReload says what must
//     not be reloaded; the machine does not check it again. During a shutdown Reloaded is ignored: ask Graph which counts.
//
// # What each event promises
//
// Asked with Req != 0 gets exactly one Reply, unless Cancelled comes first. Without Wait it comes in the same Step:
// what is known then (done, failed, blocked, missing, not running, shutdown, removed), else OutcomeAccepted. With Wait
// (one ID) it comes when the outcome is known: start and restart end at Running, a finished oneshot, the first failure, or
// Blocked by what is not on its way; stop ends when no process is left. Superseded: wanted has turned the other way.
// At the latest before Halt every request is answered.
//
// ProcessExited may come before its Spawned; it then implies it. A second Spawned, ProcessExited or TreeEmpty of one
// Gen changes nothing, except that after a main process was replaced (MainChanged, Daemon, PIDFileMain) a ProcessExited
// must say PID or not be repeated. Readied may come before Spawned. Ticked before the Deadline does nothing.
//
// # What each action promises
//
// A Note stands before the actions of its transition. Between two Notes of one service From equals the To before it.
// Spawn is emitted only when no process of the service lives, with a Gen never used before. Stop is emitted once for an
// incarnation and only when its process is known; Kill once, not earlier than the stop timeout. Abort is emitted at
// most once for a Spawn that has no answer; what comes is either SpawnFailed (no process: the service is gone) or
// Spawned (it is sent Stop). Probe: never two open for one Gen; CancelProbe withdraws the open one. Operators' signals
// for a Starting service whose pid is not known wait for Spawned. Halt is the last action of the machine's life and
// stands alone at the end of its Step.
//
// # After a crash
//
// Restore takes the records of the journal and waits: the driver says Adopted, ProcessExited, Vanished and TreeEmpty
// for what it finds, and Resumed at the end, and asks for nothing before that. Until then nothing but Notes, Replies and Forgets
// is emitted. A recorded pid without a word counts as alive, a Spawn without pid and without a word as never forked. With Resumed the machine emits again what it
// cannot know to have been done: Stop (but for those in Restore's stopSent, whose timeout goes on), Kill, Hook and Precheck (the same Gen for the first three, a new one for the
// Precheck), a new Spawn with a new Gen where none was forked (Starting -> Blocked, and on from there as ever), a new
// Probe. So stop signals and kills are sent at least once, everything else as if nothing had happened; the deadlines
// of what is sent again begin anew, a watchdog too, and a start deadline leaves a second for a READY=1 that waited in its
// socket. Pending requests are not recorded.
//
// # What the driver owes
//
//  1. Call Step from one goroutine, with a now that never decreases.
//  2. Journal Record of every Dirty service, and Globals, before carrying out the actions of a batch.
//  3. Carry out actions in order for each service. Different services need no order among each other, except that a
//     Spawn must not overtake a Stop or Kill that stands before it.
//  4. Answer every Spawn with exactly one Spawned or SpawnFailed, every Precheck with one Prechecked, every Hook with
//     one HookDone, every Probe with one Probed unless it was cancelled or the incarnation ended.
//  5. Say exactly one ProcessExited or Vanished for every main process, and one TreeEmpty after a ProcessExited or
//     Vanished with Alive > 0 as soon as nothing is left.
//  6. After each Step arm one timer to Deadline, and say Ticked when it is reached.
//  7. Never drop an event. Drain all ready inputs, then publish one View.
//  8. Use an ID only until the next Step; names and Gens are for keeping. After Reloaded all IDs are new. IDs from Graph().Len()
//     on are removed services; Forgotten tells which of them are only holes until the next reload.
//  9. Say Loaded once, as the first event of a machine made by New, and never to one made by Restore. Loaded.Only must
//     exist: nothing at all starts otherwise.
//  10. Kill at once what answers a Spawn, or is found after a crash, under a Gen that ByGen does not know: its service
//     was removed and given up as unkillable meanwhile, and nobody else ends it.
package machine
