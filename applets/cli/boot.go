package cli

import (
	"fmt"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
)

func bootCommands(v *invocation) []*cli.Command {
	return []*cli.Command{{
		Name: "boot", Category: categorySystem, Usage: "the time line of the start: what took long, and what the last one waited for",
		Description: "Times count from the kernel's start on a machine, else from the server's. --svg writes a plot.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "svg", Usage: "write a plot to `FILE`, - is stdout"},
			&cli.IntFlag{Name: "lines", Aliases: []string{"n"}, Value: 20, Usage: "the `N` slowest services, 0 = all"},
		},
		Action: v.withClient(0, 0, func(c *cli.Context, client *rpc.Client, _ []string) error {
			b, err := client.Boot(v.ctx)
			if err != nil {
				return err
			}
			if path := c.String("svg"); path != "" {
				return v.writePlot(path, bootSVG(b))
			}
			return v.print(b, nil, func() string { return bootPage(b, c.Int("lines"), v.out.style) })
		}),
	}}
}

func (v *invocation) writePlot(path, svg string) error {
	if path == "-" {
		v.out.print(svg)
		return nil
	}
	if err := os.WriteFile(path, []byte(svg), 0o644); err != nil {
		return failf(exitCode(err), "cannot write %s: %v", path, cause(err))
	}
	v.say("wrote " + path)
	return nil
}

// floatMS writes a time of the start to the millisecond, which is what people compare: 600ms, 1.243s, 1m02s.
func floatMS(ms float64) string {
	switch {
	case ms < 10:
		return fmt.Sprintf("%.1fms", ms)
	case ms < 1000:
		return fmt.Sprintf("%.0fms", ms)
	case ms < 60000:
		return fmt.Sprintf("%.3fs", ms/1000)
	}
	return durationText(time.Duration(ms * float64(time.Millisecond)))
}

// took is how long a service needed from its start to being ready, < 0 when it has not come to that.
func took(s wire.BootService) float64 {
	if s.StartMS < 0 || s.ReadyMS < 0 {
		return -1
	}
	return s.ReadyMS - s.StartMS
}

// bootPage renders system.boot for people: a sum, the slowest, the critical chain.
func bootPage(b wire.Boot, limit int, st style) string {
	return bootSum(b, st) + "\n" + bootBlame(b, limit, st) + bootChain(b, st)
}

func bootSum(b wire.Boot, st style) string {
	var parts []string
	last := 0.0
	for _, phase := range bootPhases(b) {
		parts = append(parts, phase.name+" "+floatMS(phase.end-phase.begin))
		last = phase.end
	}
	if b.DoneMS <= 0 {
		return fmt.Sprintf("%s: %s\n", st.paint(yellow, "not finished yet"), strings.Join(parts, ", "))
	}
	if b.DoneMS > last {
		parts = append(parts, "services "+floatMS(b.DoneMS-last))
	}
	return fmt.Sprintf("up after %s: %s\n", st.paint(bold, floatMS(b.DoneMS)), strings.Join(parts, ", "))
}

type phase struct {
	name       string
	begin, end float64 // ms
}

// bootPhases are the parts of a start before the services, those that there were.
func bootPhases(b wire.Boot) []phase {
	var phases []phase
	at := 0.0
	for _, p := range []phase{{"kernel", 0, b.KernelMS}, {"pid1", 0, b.PID1MS}, {"server", 0, b.ServerMS}, {"configuration", 0, b.LoadedMS}} {
		if p.end > at {
			phases = append(phases, phase{p.name, at, p.end})
			at = p.end
		}
	}
	return phases
}

func bootBlame(b wire.Boot, limit int, st style) string {
	slow := append([]wire.BootService{}, b.Services...)
	sort.SliceStable(slow, func(i, j int) bool { return took(slow[i]) > took(slow[j]) })
	t := &table{style: st, columns: []column{
		{head: "TOOK", right: true}, {head: "WAITED", right: true}, {head: "READY AT", right: true}, {head: "NAME"}, {head: "WAITED FOR"},
	}}
	for i, s := range slow {
		if limit > 0 && i == limit {
			break
		}
		t.add(cell{mark(took(s)), ""}, cell{mark(waited(s)), ""}, cell{mark(s.ReadyMS), ""}, cell{s.Name, ""}, cell{s.Waited, dim})
	}
	text := t.String()
	if limit > 0 && len(slow) > limit {
		text += fmt.Sprintf("and %d more (zinit boot -n 0)\n", len(slow)-limit)
	}
	return text
}

// waited is how long a service that was due could not start, < 0 when it has not started.
func waited(s wire.BootService) float64 {
	if s.DueMS < 0 || s.StartMS < 0 {
		return -1
	}
	return s.StartMS - s.DueMS
}

func mark(ms float64) string {
	if ms < 0 {
		return "-"
	}
	return floatMS(ms)
}

func bootChain(b wire.Boot, st style) string {
	if len(b.Critical) == 0 {
		return ""
	}
	byName := map[string]wire.BootService{}
	for _, s := range b.Services {
		byName[s.Name] = s
	}
	var out strings.Builder
	out.WriteString("\n" + st.paint(bold, "critical chain") + " (@ ready at, + took)\n")
	for i, name := range b.Critical {
		lead := ""
		if i > 0 {
			lead = strings.Repeat("   ", i-1) + "└─ "
		}
		s := byName[name]
		fmt.Fprintf(&out, "%s%s @%s +%s\n", lead, name, mark(s.ReadyMS), mark(took(s)))
	}
	return out.String()
}
