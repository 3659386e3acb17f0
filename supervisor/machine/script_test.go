package machine

import (
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestScripts plays testdata/machine/*.txt. Commands:
//
//	config [pid1] [shutdown=30s]   a new machine over the definitions below it (conf_test.go)
//	run                            the lines below it, an event each: "[+DURATION] EVENT ARGS" (world_test.go); "tick" goes on to
//	                               the deadline
//	reload                         the new definitions
//	crash                          the server dies: the machine is restored from its records
//
// Each answers with every action and then the states of all services and the deadline. go test -rewrite writes what came
// out into the files: read it before you commit it.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "../../testdata/machine", func(t *testing.T, path string) {
		var p *player
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			return playCommand(t, &p, d)
		})
	})
}

func playCommand(t *testing.T, p **player, d *datadriven.TestData) string {
	var err error
	switch d.Cmd {
	case "config":
		var opt Options
		opt.PID1 = d.HasArg("pid1")
		if d.HasArg("shutdown") {
			var ms int
			d.ScanArgs(t, "shutdown", &ms)
			opt.ShutdownTimeout = int64(ms) * millisecond
		}
		g, e := parseGraph(d.Input)
		if e != nil {
			d.Fatalf(t, "%v", e)
		}
		*p = newPlayer(g, opt)
		return ""
	case "run":
		err = playLines(*p, d.Input)
	case "reload":
		g, e := parseGraph(d.Input)
		if e != nil {
			d.Fatalf(t, "%v", e)
		}
		err = (*p).reload(g)
	case "crash":
		err = (*p).crash()
	default:
		d.Fatalf(t, "unknown command %s", d.Cmd)
	}
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	(*p).summary()
	out := (*p).out.String()
	(*p).out.Reset()
	return out
}
