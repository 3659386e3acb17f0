package graph

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// standings reads "db=satisfied|holds cache=pending"; the others are 0.
func standings(t *testing.T, g *Graph, text string) func(ID) Standing {
	words := map[string]Standing{"satisfied": Satisfied, "pending": Pending, "holds": Holds, "failed": FailedForGood}
	table := make([]Standing, g.Len())
	for w := range strings.FieldsSeq(text) {
		name, bits, _ := strings.Cut(w, "=")
		for bit := range strings.SplitSeq(bits, "|") {
			s, ok := words[bit]
			if !ok {
				t.Fatalf("unknown standing %q", bit)
			}
			table[mustID(t, g, name)] |= s
		}
	}
	return func(id ID) Standing { return table[id] }
}

func TestCanStart(t *testing.T) {
	for _, c := range []struct{ service, standings, want string }{
		{"x", "", ""},
		{"x requires:a", "", "requires a"},
		{"x requires:a", "a=satisfied|holds", ""},
		{"x requires:a", "a=pending|holds", "requires a"},
		{"x requires:a", "a=failed", "requires a failed"},
		{"x binds:a", "a=failed", "binds a failed"},
		{"x binds:a", "a=satisfied", ""},
		{"x requires:a,b,c", "b=satisfied", "requires a, requires c"},
		{"x requires:a binds:a", "", "requires a"},
		{"x requires:gone", "", "requires gone missing"},
		{"x binds:gone requires:gone", "", "requires gone missing"},
		{"x after:gone wants:gone conflicts:gone", "", ""},
		{"x after:a", "", ""},
		{"x after:a", "a=pending", "after a"},
		{"x after:a", "a=pending|holds", "after a"},
		{"x after:a", "a=holds", ""},
		{"x after:a", "a=failed", ""},
		{"x after:a requires:a", "a=pending", "requires a"},
		{"x wants:a", "a=pending", ""},
		{"x wants:a", "a=failed", ""},
		{"x conflicts:a", "a=holds|satisfied", "conflicts a"},
		{"x conflicts:a", "a=pending", ""},
		{"x requires:a after:b conflicts:c", "a=failed b=pending c=holds", "requires a failed, after b, conflicts c"},
	} {
		g := New(services(c.service, "a", "b", "c"), nil)
		id, of := mustID(t, g, "x"), standings(t, g, c.standings)
		var got []string
		list := CanStart(g, id, of)
		for _, u := range list {
			text := u.Kind.String() + " " + u.Name
			if u.Failed {
				text += " failed"
			}
			if u.On == None {
				text += " missing"
			}
			got = append(got, text)
		}
		if text := strings.Join(got, ", "); text != c.want {
			t.Errorf("%s with %s: got %q, want %q", c.service, c.standings, text, c.want)
		}
	}
	// The conflict counts for both, whichever file says it.
	g := New(services("x", "a conflicts:x"), nil)
	if len(CanStart(g, mustID(t, g, "x"), standings(t, g, "a=holds"))) != 1 {
		t.Error("a conflict written in the other file does not count")
	}
}

func TestFirstUnmetIsTheFirstOfCanStart(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for range 2000 {
		g := New(randomConfigs(r, 8, 20, false), nil)
		table := make([]Standing, g.Len())
		for i := range table {
			table[i] = Standing(r.IntN(16))
		}
		of := func(id ID) Standing { return table[id] }
		for id := range ID(g.Len()) {
			all := CanStart(g, id, of)
			first, ok := FirstUnmet(g, id, of)
			if ok != (len(all) > 0) || ok && !reflect.DeepEqual(first, all[0]) {
				t.Fatalf("first %v %v, all %v", first, ok, all)
			}
		}
	}
}
