package pid1

import "time"

// startPoller makes Go's runtime open its poller's two descriptors now. It does so at its first timer, which may be one of
// the garbage collector's own at any later time: with no descriptor left then, and a server that floods its keeper with
// them is enough, the runtime ends the process, which is a kernel panic.
func startPoller() { time.AfterFunc(time.Hour, func() {}).Stop() }
