package loop

import (
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strconv"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/graph/confdir"
	"github.com/zinit/zinit/internal/fault"
	"github.com/zinit/zinit/internal/parallel"
	"github.com/zinit/zinit/supervisor/journal"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/proc"
	"github.com/zinit/zinit/supervisor/view"
)

// diary keeps in the journal what the next server has to know. Without a journal it keeps nothing. A write that fails is told
// and nothing else: the services go on, and only a crash would show what is missing.
type diary struct {
	journal *journal.Journal // nil: nothing outlives this process
	log     *slog.Logger
}

// Keys of notes that are not about one service.
const (
	InstanceNote = "instance" // names this supervisor over all its lives
	eventNote    = "event_seq"
	brokenNote   = "broken" // the files that cannot be used
	// loadedNote says that the journal holds a first load as a whole. Without it the server before died while it came up.
	loadedNote = "loaded"
)

// runNote is what the journal keeps of a running incarnation beside the machine's record.
type runNote struct {
	PID        int    `json:"pid"`
	Start      uint64 `json:"start"`
	Cgroup     string `json:"cgroup,omitempty"`
	Daemonized bool   `json:"daemonized,omitempty"`
	Warning    string `json:"warning,omitempty"`
	Hook       bool   `json:"hook,omitempty"`      // pre_start runs or ran; the main process was not forked
	Signalled  bool   `json:"signalled,omitempty"` // the stop signal was sent

	Inputs proc.Inputs `json:"inputs,omitzero"` // what its files said when it started
}

func runKey(gen machine.Gen) string { return "run/" + strconv.FormatUint(uint64(gen), 10) }

// failed tells that something could not be written.
func (k *diary) failed(err error) {
	if err != nil {
		k.log.Error("cannot write the journal: a crash of the server now would lose state", "error", err)
	}
}

// note keeps a value under a key, nil takes it away.
func (k *diary) note(key string, value []byte) {
	if k.journal != nil {
		k.failed(k.journal.Note(key, value))
	}
}

// services keeps the records of the services that a step has changed.
func (k *diary) services(m *machine.Machine, changed []graph.ID) {
	if k.journal == nil || len(changed) == 0 {
		return
	}
	recs := make([]machine.Record, len(changed))
	for i, id := range changed {
		recs[i] = m.Record(id)
	}
	k.failed(k.journal.Services(recs, m.Globals()))
	fault.Here("journal")
}

// run keeps how an incarnation can be found again.
func (k *diary) run(c *child) {
	if k.journal == nil {
		return
	}
	n := runNote{PID: c.pid, Start: c.start, Daemonized: c.daemonized, Warning: c.warning, Hook: c.preparing, Signalled: c.signalled,
		Inputs: c.inputs}
	if c.group != nil {
		n.Cgroup = c.group.Path()
	}
	b, _ := json.Marshal(n)
	k.note(runKey(c.gen), b)
}

// over forgets an incarnation of which nothing is left.
func (k *diary) over(c *child) { k.note(runKey(c.gen), nil) }

// forget drops what is kept of a service that was removed.
func (k *diary) forget(name string) {
	if k.journal == nil {
		return
	}
	k.failed(k.journal.Forget(name))
	k.note(view.BootServiceNote+name, nil)
	k.failed(k.journal.Undefine(name))
}

// hold writes nothing until flush, which writes all at once: a crash finds all of it or nothing.
func (k *diary) hold() {
	if k.journal != nil {
		k.journal.Hold()
	}
}

func (k *diary) flush() {
	if k.journal == nil {
		return
	}
	k.failed(k.journal.Flush())
	fault.Here("journal")
}

// loaded keeps everything that is loaded, in a fresh journal.
func (k *diary) loaded(defs *view.Definitions) {
	if k.journal == nil {
		return
	}
	k.define(documents(slices.Collect(maps.Values(defs.Configs))))
	k.broken(defs)
	k.note(loadedNote, []byte{1})
}

// reloaded keeps what a reload has changed: a crash or an upgrade keeps the loaded definitions, edited files act only through
// a reload.
func (k *diary) reloaded(next *view.Definitions, changed []document) {
	if k.journal == nil {
		return
	}
	k.define(changed)
	k.broken(next)
}

// document is a definition as the journal keeps it: as TOML, because that holds everything and is read by the same code as
// files.
type document struct {
	config *graph.Config
	text   []byte
}

// documents writes definitions down, which takes a while.
func documents(configs []*graph.Config) []document {
	docs := make([]document, len(configs))
	parallel.Do(len(configs), func(i int) { docs[i] = document{configs[i], confdir.TOML(configs[i])} })
	return docs
}

// touched are the definitions that a plan adds or changes.
func touched(ds *view.Definitions, plan *graph.Plan) []*graph.Config {
	var configs []*graph.Config
	add := func(name string) {
		if c := ds.Configs[name]; c != nil {
			configs = append(configs, c)
		}
	}
	for _, name := range plan.Added {
		add(name)
	}
	for _, ch := range plan.Changed {
		add(ch.Name)
	}
	return configs
}

func (k *diary) define(docs []document) {
	for _, doc := range docs {
		c := doc.config
		k.failed(k.journal.Define(c.Name, doc.text, c.Source, c.Ephemeral))
	}
}

func (k *diary) broken(ds *view.Definitions) {
	b, _ := json.Marshal(ds.Broken)
	k.note(brokenNote, b)
}

// Began reports whether a journal holds services to take over. A server that died before it had loaded its files leaves
// one that does not.
func Began(st *journal.State) bool { return st != nil && len(st.Notes[loadedNote]) > 0 }
