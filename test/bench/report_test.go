package bench

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/zinit/zinit/internal/testkit"
)

// bench is one run of the workloads: its programs and what was measured.
type bench struct {
	sizes
	zinit   string
	self    string
	service string // the tiny service
	floorC  string // "" = no C compiler
	rows    []*row
	absent  []string // lines that say who did not take part
	peers   []*peer
}

// row is one figure: samples of ours and of the floors, and what ours must be.
type row struct {
	name, unit string
	samples    map[string][]sample // by contender
	target     float64             // 0 = none
	atLeast    bool                // the target is a lower bound
	ratio      float64             // target as a ratio to the Go floor, 0 = none
	over       string              // who else there is a target for, as a ratio; "" = nobody
	overRatio  float64
	logs       bool // a row of the table of logs, which has other contenders
}

// sample is one measurement, and in which run of a program it was made: that tells afterwards what else ran.
type sample struct {
	value float64
	run   *program // nil = not known
}

// quiet reports whether nobody else took much of the processors' time.
func (s sample) quiet() bool { return s.run == nil || s.run.foreign <= *foreign }

// Contenders.
const (
	floorC   = "C"
	floorGo  = "Go"
	floorGo2 = "Go, 2 spawners"
	ours     = "ours"
	oursCg   = "ours, cgroups"
)

var contenders = []string{floorC, floorGo, floorGo2, ours, oursCg}

// Those that keep logs. Who is not found on the machine is left out and named.
const (
	peerZinit      = "zinit 0.3.9"
	peerS6         = "s6-log"
	peerSvlogd     = "svlogd"
	peerSupervisor = "supervisord"
	peerDinit      = "dinit"
	peerS6All      = "s6"
	peerRunit      = "runit"
	peerSupervise  = "supervisor"
)

var loggers = []string{floorC, floorGo, ours, peerZinit, peerS6, peerSvlogd, peerSupervisor}

func newBench(t *testing.T) *bench {
	b := &bench{sizes: chosenSizes(), zinit: *zinitPath}
	if b.zinit == "" {
		b.zinit = testkit.Binary(t, "")
	}
	var err error
	if b.self, err = os.Executable(); err != nil {
		t.Fatal(err)
	}
	b.compile(t)
	return b
}

// row finds or makes a row.
func (b *bench) row(name, unit string, change ...func(*row)) *row {
	for _, r := range b.rows {
		if r.name == name {
			return r
		}
	}
	r := &row{name: name, unit: unit, samples: map[string][]sample{}}
	for _, f := range change {
		f(r)
	}
	b.rows = append(b.rows, r)
	return r
}

func most(v float64) func(*row)  { return func(r *row) { r.target = v } }
func least(v float64) func(*row) { return func(r *row) { r.target, r.atLeast = v, true } }

// to is a target as a ratio to a peer, where that takes part.
func to(peer string, v float64) func(*row) {
	return func(r *row) { r.over, r.overRatio = peer, v }
}

func atLeastTo(peer string, v float64) func(*row) {
	return func(r *row) { r.over, r.overRatio, r.atLeast = peer, v, true }
}

func ratioTo(v float64) func(*row) { return func(r *row) { r.ratio = v } }

// add adds a sample that was made while a program ran, nil = any.
func (r *row) add(contender string, v float64, run *program) {
	r.samples[contender] = append(r.samples[contender], sample{v, run})
}

// counted are the samples by which a contender is judged, in their order of size: those of quiet runs, or all where there are
// none.
func (r *row) counted(contender string) (values []float64, busy bool) {
	for _, s := range r.samples[contender] {
		if s.quiet() {
			values = append(values, s.value)
		}
	}
	if busy = len(values) == 0; busy {
		for _, s := range r.samples[contender] {
			values = append(values, s.value)
		}
	}
	slices.Sort(values)
	return values, busy && len(values) > 0
}

// median of the samples, false without any.
func (r *row) median(contender string) (float64, bool) {
	s, _ := r.counted(contender)
	if len(s) == 0 {
		return 0, false
	}
	return s[len(s)/2], true
}

// verdict compares the median with the target; a ratio counts where there is a floor, as it holds on every machine.
func (r *row) verdict() string {
	v, ok := r.median(ours)
	if !ok {
		return ""
	}
	for _, than := range []struct {
		who   string
		ratio float64
	}{{r.over, r.overRatio}, {floorGo, r.ratio}} {
		f, ok := r.median(than.who)
		switch {
		case !ok || than.ratio == 0:
		case r.atLeast:
			return fmt.Sprintf(">= %g x %s: %s", than.ratio, than.who, yes(v >= than.ratio*f))
		default:
			return fmt.Sprintf("<= %g x %s: %s", than.ratio, than.who, yes(v <= than.ratio*f))
		}
	}
	switch {
	case r.target == 0:
		return ""
	case r.atLeast:
		return fmt.Sprintf(">= %g: %s", r.target, yes(v >= r.target))
	}
	return fmt.Sprintf("<= %g: %s", r.target, yes(v <= r.target))
}

func yes(ok bool) string {
	if ok {
		return "met"
	}
	return "NOT MET"
}

func (b *bench) print(t *testing.T) {
	if !*measure || len(b.rows) == 0 {
		return
	}
	var text strings.Builder
	b.table(&text, false, b.contenders(), floorC, floorGo, peerDinit)
	b.table(&text, true, loggers, floorC, floorGo, peerZinit, peerS6, peerSvlogd, peerSupervisor)
	for _, line := range b.absent {
		fmt.Fprintln(&text, line)
	}
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Printf("medians of %d; load %s\n%s", b.repeat, strings.TrimSpace(string(load)), text.String())
	b.writeJSON(t)
	if path := os.Getenv("ZINIT_BENCH_REPORT"); path != "" {
		if err := os.WriteFile(filepath.Clean(path), []byte(text.String()), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// table prints the rows of one kind: medians of those who took part, ours as a ratio to some of them, the verdict.
func (b *bench) table(text io.Writer, logs bool, columns []string, over ...string) {
	there := func(who string) bool {
		return slices.ContainsFunc(b.rows, func(r *row) bool { return r.logs == logs && len(r.samples[who]) > 0 })
	}
	absent := func(who string) bool { return !there(who) }
	columns = slices.DeleteFunc(slices.Clone(columns), absent)
	over = slices.DeleteFunc(slices.Clone(over), absent)
	if len(columns) == 0 {
		return
	}
	w := tabwriter.NewWriter(text, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "workload\tunit\t%s", strings.Join(columns, "\t"))
	for _, who := range over {
		fmt.Fprintf(w, "\tours/%s", who)
	}
	fmt.Fprintln(w, "\ttarget")
	for _, r := range b.rows {
		if r.logs != logs {
			continue
		}
		fmt.Fprintf(w, "%s\t%s", r.name, r.unit)
		for _, who := range columns {
			fmt.Fprintf(w, "\t%s", r.cell(who))
		}
		for _, who := range over {
			fmt.Fprintf(w, "\t%s", r.times(who))
		}
		fmt.Fprintf(w, "\t%s\n", r.verdict())
	}
	w.Flush()
}

// cell is the median with half of the span in which the middle half of the samples lies; a ? says that no run was quiet.
func (r *row) cell(who string) string {
	s, busy := r.counted(who)
	if len(s) == 0 {
		return ""
	}
	text := figure(s[len(s)/2])
	if len(s) > 2 {
		text += "±" + figure((s[len(s)*3/4]-s[len(s)/4])/2)
	}
	if busy {
		text += "?"
	}
	return text
}

func (r *row) times(floor string) string {
	f, ok := r.median(floor)
	v, mine := r.median(ours)
	if !ok || !mine || f == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", v/f)
}

func figure(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3g", v)
}
