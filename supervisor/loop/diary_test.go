package loop

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/journal"
	"github.com/zinit/zinit/supervisor/view"
)

func newDiary(t *testing.T) (*diary, *strings.Builder) {
	t.Helper()
	j, err := journal.Create()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	var said strings.Builder
	return &diary{journal: j, log: slog.New(slog.NewTextHandler(&said, nil))}, &said
}

// read is what the next server finds.
func (k *diary) read(t *testing.T) *journal.State {
	t.Helper()
	fd, err := unix.FcntlInt(uintptr(k.journal.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	j, st, err := journal.Open(fd)
	if err != nil {
		t.Fatal(err)
	}
	_ = j.Close()
	return st
}

func defs(names ...string) *view.Definitions {
	ds := &view.Definitions{Configs: map[string]*graph.Config{}}
	for _, name := range names {
		ds.Configs[name] = &graph.Config{Name: name, Exec: graph.Command{Line: "true"}}
	}
	return ds
}

// TestDiaryOfALoad: before flush nothing of a first load is there, so that a server that dies meanwhile is not taken for
// one that had loaded; what a reload adds and a removal takes away is found by the next server.
func TestDiaryOfALoad(t *testing.T) {
	k, said := newDiary(t)
	k.hold()
	k.loaded(defs("a", "b"))
	if Began(k.read(t)) {
		t.Error("half a load is found")
	}
	k.flush()
	st := k.read(t)
	if !Began(st) || len(st.Definitions) != 2 {
		t.Errorf("after the load: began %v, %d definitions", Began(st), len(st.Definitions))
	}
	k.reloaded(defs("a", "c"), documents(touched(defs("a", "c"), &graph.Plan{Added: []string{"c"}})))
	k.forget("b")
	names := map[string]bool{}
	for _, d := range k.read(t).Definitions {
		names[d.Name] = true
	}
	if len(names) != 2 || !names["a"] || !names["c"] {
		t.Errorf("definitions %v", names)
	}
	if said.Len() > 0 {
		t.Error(said)
	}
}

// TestDiaryOfARun: an incarnation is found again until nothing of it is left.
func TestDiaryOfARun(t *testing.T) {
	k, _ := newDiary(t)
	c := &child{gen: 7, pid: 1234, start: 99, signalled: true}
	k.run(c)
	if text := string(k.read(t).Notes[runKey(7)]); !strings.Contains(text, `"pid":1234,"start":99`) || !strings.Contains(text, `"signalled":true`) {
		t.Errorf("kept %s", text)
	}
	k.over(c)
	if text, there := k.read(t).Notes[runKey(7)]; there {
		t.Errorf("still kept %s", text)
	}
}

// TestDiaryWithoutAJournal keeps nothing and fails at nothing, and one that cannot be written says so.
func TestDiaryWithoutAJournal(t *testing.T) {
	var k diary
	k.hold()
	k.loaded(defs("a"))
	k.reloaded(defs("a"), nil)
	k.run(&child{gen: 1})
	k.services(nil, nil)
	k.forget("a")
	k.flush()
	full, said := newDiary(t)
	full.failed(errors.New("no space"))
	if !strings.Contains(said.String(), "no space") {
		t.Error("a write that failed is not told")
	}
}
