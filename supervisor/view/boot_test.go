package view

import (
	"reflect"
	"testing"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
)

// The line that another server has kept is the same line, and what comes after it goes on.
func TestBootLineIsKept(t *testing.T) {
	v := &View{Graph: graph.New([]*graph.Config{{Name: "a"}, {Name: "b"}, {Name: "c"}}, nil)}
	first := NewBootLine(NewClock(), false, 0)
	first.Loaded()
	notes := map[string][]byte{BootNote: first.Kept(), "instance": []byte("x"), BootServiceNote + "damaged": {1}}
	note := func(line *BootLine, name string, to machine.State) {
		if line.Note(name, machine.Note{To: to}) {
			notes[BootServiceNote+name] = line.KeptService(name)
		}
	}
	for _, name := range []string{"c", "a", "b"} {
		note(first, name, machine.Starting)
	}
	note(first, "a", machine.Running)
	note(first, "c", machine.Running)

	second := NewBootLine(NewClock(), false, 0)
	second.Restore(notes)
	if got, want := second.Wire(v), first.Wire(v); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	note(second, "a", machine.Starting) // a restart is no start
	note(second, "b", machine.Running)
	got := second.Wire(v)
	if got.DoneMS <= first.Wire(v).DoneMS || len(got.Services) != 3 || got.Services[0].Name != "c" {
		t.Errorf("the line does not go on: %+v", got)
	}
	second.Forget("c")
	if got := second.Wire(v); len(got.Services) != 2 {
		t.Errorf("a removed service is still there: %+v", got)
	}
}
