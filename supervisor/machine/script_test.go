package machine

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/zinit/zinit/graph"
)

// TestScripts plays testdata/machine/*.txt. Commands:
//
//	config [pid1] [shutdown=30000] [jobs=2] [host=1]   a new machine over the definitions below it (conf_test.go)
//	run                            the lines below it, an event each: "[+DURATION] EVENT ARGS" (world_test.go); "tick" goes on to
//	                               the deadline
//	reload                         the new definitions
//	crash [sent=NAME;…]            the server dies: the machine is restored from its records; those named are known to have got
//	                               their stop signal
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
	head := ""
	for _, a := range d.CmdArgs {
		head += " " + a.String()
	}
	opt, sent, err := readHead(head)
	if err == nil {
		err = playBlock(p, d.Cmd, opt, sent, d.Input)
	}
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	if d.Cmd == "config" {
		return ""
	}
	(*p).summary()
	out := (*p).out.String()
	(*p).out.Reset()
	return out
}

// readHead reads what stands behind a command.
func readHead(text string) (opt Options, sent string, err error) {
	a := parseArgs(strings.Fields(text))
	opt = Options{PID1: slices.Contains(a.names, "pid1"), ShutdownTimeout: int64(a.number("shutdown", 0)) * millisecond, JobsAtOnce: a.number("jobs", 0)}
	if host := a.named["host"]; host != "" {
		opt.HostSeed, err = strconv.ParseUint(host, 10, 64)
	}
	return opt, a.named["sent"], err
}

// playBlock plays one command.
func playBlock(p **player, command string, opt Options, sent, input string) error {
	switch command {
	case "config":
		g, err := parseGraph(input)
		if err == nil {
			*p = newPlayer(g, opt)
			(*p).blind = opt.Bugs != 0
		}
		return err
	case "run":
		return playLines(*p, input)
	case "reload":
		g, err := parseGraph(input)
		if err != nil {
			return err
		}
		return (*p).reload(g)
	case "crash":
		return (*p).crash(strings.Split(sent, ";"))
	}
	return fmt.Errorf("unknown command %s", command)
}

// playScript plays a whole script from a text, without comparing what comes out.
func playScript(text string, bugs Bugs) ([]Record, error) {
	var p *player
	for _, block := range strings.Split(text, "----\n") {
		block = strings.TrimLeft(block, "\n")
		for strings.HasPrefix(block, "#") {
			_, block, _ = strings.Cut(block, "\n")
			block = strings.TrimLeft(block, "\n")
		}
		head, input, _ := strings.Cut(block, "\n")
		words := strings.Fields(head)
		if len(words) == 0 {
			continue
		}
		opt, sent, err := readHead(head)
		if err != nil {
			return nil, err
		}
		opt.Bugs = bugs
		if err := playBlock(&p, words[0], opt, sent, input); err != nil {
			return nil, err
		}
	}
	var recs []Record
	for id := range graph.ID(p.m.Len()) {
		if !p.m.Forgotten(id) {
			recs = append(recs, p.m.Record(id))
		}
	}
	return recs, nil
}
