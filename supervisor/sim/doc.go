// Package sim proves supervisor/machine: it plays seeded fake worlds around the very code that runs in the server and
// checks every Step against a book of its own. It is as pure as the machine: no clock, no goroutine, no files; its tests
// do the printing.
//
// # One world
//
// Everything follows from the seed. First the swarm is drawn: how many services, how dense each kind of edge, which share
// are oneshots, targets, have readiness, checks, ports, hooks; which faults exist in this world and how often (swarm.go).
// Then the definitions (define.go) and the script of requests and troubles (script.go). Each part has its own random
// numbers, so that leaving one out (Mask) does not disturb the rest: that is what makes shrinking work.
//
// world.go is the driver's stand-in: it takes the earliest of what happens in the world and the machine's Deadline, calls
// Step, records what is dirty, carries out the actions (driver.go) and lets the checker judge. process.go holds the truth
// about processes, which the machine only hears of by words that may be late, come twice or, after a crash, through
// the keeper. crash.go kills the server between any two actions, or after a Step that was not recorded, and restores it from
// the journal's newest records. After the script everything heals, the world must come to rest (quiesce.go), the
// reference model (reference.go) must agree with every state, and a shutdown must end it.
//
// # What is checked
//
// docs/design/invariants.md lists the invariants. Where docs/design/states.md or machine/doc.go rule otherwise, they are
// rewritten here:
//
//	I1   one process     Incarnations are numbered over all services, so a Spawn needs a number above every earlier one. With
//	                     ports, Precheck and Spawn share one. No Spawn while any process of the service's tree lives or an
//	                     earlier Spawn is unanswered.
//	I2   requires        As written; for a target at the Note to Running. Binds counts like requires.
//	I3   after           Only a predecessor that is certain to be attempted is asked for: wanted up, status not ignore,
//	                     everything it requires satisfied or itself on its way. What a conflict or a port keeps is not.
//	I4   conflicts       Judged at every Spawn: no conflicting service is Starting, Running, Stopping, or has a process.
//	I5   stop order      Holds for stops that were asked for, for cascades, reloads and shutdowns. A service that goes down for a
//	                     failure of its own (health, deadline, its main process gone) waits for nobody: docs/design/states.md 3 says "at
//	                     once", and those that require it go on.
//	I6   table           As written, with the pairs of docs/design/states.md 3; in addition Running needs the readiness that docs/design/process.md asks
//	                     for, and a state without a process is entered only when the tree was told to be empty (a oneshot
//	                     that is done may leave processes).
//	I7   exits           As written: a word that is old or was said before yields no action, and in one world of eight the machine's
//	                     hash must stay the same.
//	I8   right target    As written.
//	I9   backoff         As written; a start, restart or pull-in resets the counts, and whether a run counts from spawn or from
//	                     ready is left to the machine. The first restart with delay 0 comes at once.
//	I10  policy          As written, and: a Spawn needs a warrant in the book (asked for, pulled in, restart deadline, return of a
//	                     dependency, reload, crash over an earlier spawn). What is wanted must be what was asked for:
//	                     dependents of a stopped service stay wanted up and come back (docs/design/states.md 5).
//	I11  escalation      One stop signal and one SIGKILL for each incarnation and life of the server: a crash may repeat either
//	                     (machine/doc.go). No stop without a reason. A forced shutdown (second SIGTERM) kills without waiting.
//	I12  blocked         As written; ports count by Info.Conflict. In addition nobody who is due rests in Inactive, Exited or
//	                     Failed, and a failure for a dependency must be true at every Step.
//	I13  replies         One reply for each request, true at that moment, none later than its deadline; a crash of the server ends all.
//	I14  determinism     TestSameSeedSameBytes. Restore and continue is covered by I16, I17: timers of checks start anew.
//	I15  reload          As written: services with a process that the plan does not name keep state, incarnation, pid and counts.
//	                     A refused reload leaves the hash as it was.
//	I16  adoption        As written, without a list of strays: with the intent recorded before the fork there are none.
//	I17  journal         The restored machine's records equal the recorded ones; in one world of eight every record is compared after
//	                     every Step (what is not dirty has not changed). supervisor/journal writes a batch atomically, so a torn
//	                     batch is one that was not written.
//	I18  bounds          Actions of a Step are bounded by the number of services; after Ticked the deadline lies ahead.
//	L1   rest            Ten minutes of the world's time and a bound on steps; watchdogs, checks and the search for a port that another
//	                     service holds go on for ever and do not count. Then no timer is armed.
//	L2   goals           The reference model agrees.
//	U1   upgrade       What is asked for at any instant of an upgrade is carried out once, by the old image or the new one: it
//	                     is kept from the moment on when the old one takes nothing more (upgrade.go). A stop or a reload that
//	                     does not end calls the upgrade off, and the old image does what was kept.
//	L3   shutdown        As written.
//	J1   one run         Of everything that is due by docs/jobs.md, worked out once more in check_jobs.go, comes one run, one that waits,
//	                     or one that is left out, and nothing else: none begins beside another (skip), what was passed over or
//	                     missed is one (catch_up).
//	J2   queue           A run that waits begins as soon as nothing keeps it, in its turn and within [jobs] concurrency, or is left out
//	                     because the job is stopped, broken, or the run before could not start. None is lost, also not in a crash.
//	J3   next time       What is shown as the next time is right after every Step, whatever the clock did, and the deadline is not later.
//	J4   stopped         Nothing waits, and by I10 nothing runs, while the job is wanted down.
//
// What is between the machine and the system (reaping, adoption, daemons, helpers, upgrades) is not here but in the loop, which
// its own simulator runs: TestSim of supervisor/loop.
//
// The bugs planted in the machine (machine.Bugs) and in the stand-in (Slip) must be found: mutants_test.go.
package sim
