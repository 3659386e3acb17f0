package graph

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func planText(p *Plan) string {
	var lines []string
	for _, name := range p.Added {
		lines = append(lines, "add "+name)
	}
	for _, name := range p.Removed {
		lines = append(lines, "remove "+name)
	}
	for _, c := range p.Changed {
		verb := "update "
		if c.Restart {
			verb = "restart "
		}
		text := verb + c.Name
		if len(c.Fields) > 0 {
			text += ": " + strings.Join(c.Fields, " ")
		}
		if c.Because != "" {
			text += ": " + c.Because
		}
		lines = append(lines, text)
	}
	return strings.Join(lines, "\n")
}

func TestDiff(t *testing.T) {
	for _, c := range []struct {
		name     string
		old, new []string
		running  string
		want     []string
	}{
		{"nothing", []string{"a exec:x"}, []string{"a exec:x"}, "a", nil},
		{"add and remove", []string{"a", "c"}, []string{"a", "b"}, "a c", []string{"add b", "remove c"}},
		{"in place", []string{"a"}, []string{"a requires:b critical: stop:", "b"}, "a",
			[]string{"add b", "update a: critical requires status"}},
		{"restart", []string{"a exec:x"}, []string{"a exec:y critical:"}, "a", []string{"restart a: critical exec"}},
		{"service becomes target", []string{"a"}, []string{"a target:"}, "a", []string{"restart a: definition"}},
		{"through requires and binds", []string{"db exec:x", "mid requires:db", "api binds:mid", "other after:db wants:db"},
			[]string{"db exec:y", "mid requires:db", "api binds:mid", "other after:db wants:db"}, "db mid api other",
			[]string{"restart api: requires db through mid, exec changed", "restart db: exec",
				"restart mid: requires db, exec changed"}},
		{"binds", []string{"db exec:x", "api binds:db"}, []string{"db exec:y", "api binds:db"}, "db api",
			[]string{"restart api: binds db, exec changed", "restart db: exec"}},
		{"one without a process", []string{"db exec:x", "api requires:db"}, []string{"db exec:y", "api requires:db"}, "api",
			[]string{"restart db: exec"}},
		{"dependent without a process", []string{"db exec:x", "api requires:db"}, []string{"db exec:y", "api requires:db"}, "db",
			[]string{"restart db: exec"}},
		{"in place spreads not", []string{"db", "api requires:db"}, []string{"db critical:", "api requires:db"}, "db api",
			[]string{"update db: critical"}},
		{"removed", []string{"db", "api requires:db", "top requires:api"}, []string{"api requires:db", "top requires:api"},
			"db api top", []string{"remove db", "restart api: requires db, removed", "restart top: requires db through api, removed"}},
		{"removed and no longer required", []string{"db", "api requires:db"}, []string{"api"}, "db api",
			[]string{"remove db", "update api: requires"}},
		{"updated and touched", []string{"db exec:x", "api requires:db"}, []string{"db exec:y", "api requires:db critical:"}, "db api",
			[]string{"restart api: critical: requires db, exec changed", "restart db: exec"}},
	} {
		running := strings.Fields(c.running)
		plan := Diff(New(services(c.old...), nil), New(services(c.new...), nil), func(name string) bool {
			return slices.Contains(running, name)
		}, nil)
		if got, want := planText(plan), strings.Join(c.want, "\n"); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, got, want)
		}
		if plan.Empty() != (len(c.want) == 0) {
			t.Errorf("%s: Empty is %v", c.name, plan.Empty())
		}
	}
}

func TestDiffOfBroken(t *testing.T) {
	sound, bad := New(services("a"), nil), New(nil, []Broken{{Name: "a", Problem: "x"}})
	for _, pair := range [][2]*Graph{{sound, bad}, {bad, sound}} {
		plan := Diff(pair[0], pair[1], nil, nil)
		if len(plan.Changed) != 1 || !plan.Changed[0].Restart || plan.Changed[0].Fields[0] != "definition" {
			t.Errorf("got %s", planText(plan))
		}
	}
}

// TestDiffSeesEveryField changes one field after the other, by reflection: a field that is added and forgotten in the
// comparisons would never be applied by a reload.
func TestDiffSeesEveryField(t *testing.T) {
	restarting := map[string]bool{}
	for _, c := range comparisons {
		restarting[c.key] = c.restart
	}
	base := func() *Config {
		return &Config{Name: "a", Health: &Health{}, Identity: Identity{Capabilities: &Capabilities{}}}
	}
	count := 0
	eachField(reflect.ValueOf(base()).Elem(), "", func(path string, _ reflect.Value) {
		changed := base()
		eachField(reflect.ValueOf(changed).Elem(), "", func(other string, v reflect.Value) {
			if other == path {
				setField(v)
			}
		})
		plan := Diff(New([]*Config{base()}, nil), New([]*Config{changed}, nil), nil, nil)
		if path == ".Name" || path == ".Source" || path == ".Ephemeral" {
			return
		}
		count++
		if len(plan.Changed) != 1 || len(plan.Changed[0].Fields) != 1 {
			t.Errorf("%s: got %q", path, planText(plan))
			return
		}
		field := plan.Changed[0].Fields[0]
		if want := restarting[field] || field == "definition"; plan.Changed[0].Restart != want {
			t.Errorf("%s: restart %v", path, plan.Changed[0].Restart)
		}
	})
	if count < 70 {
		t.Errorf("only %d fields tried", count)
	}
}

func eachField(v reflect.Value, path string, visit func(string, reflect.Value)) {
	switch {
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			eachField(v.Field(i), path+"."+v.Type().Field(i).Name, visit)
		}
	case v.Kind() == reflect.Array:
		for i := range v.Len() {
			eachField(v.Index(i), path+"["+strconv.Itoa(i)+"]", visit)
		}
	case v.Kind() == reflect.Pointer && !v.IsNil():
		eachField(v.Elem(), path, visit)
	default:
		visit(path, v)
	}
}

func setField(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{"a": "b"}))
	default:
		v.Set(reflect.ValueOf(1).Convert(v.Type()))
	}
}

// TestDiffApplied checks over random graphs that a plan leads from the old set to the new one and names exactly what is different.
func TestDiffApplied(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	for range 1000 {
		old := New(randomConfigs(r, 1+r.IntN(10), 12, true), nil)
		new := New(randomConfigs(r, 1+r.IntN(10), 12, true), nil)
		plan := Diff(old, new, nil, nil)
		state := map[string]*Config{}
		for id := range ID(old.Len()) {
			state[old.Name(id)] = old.Config(id)
		}
		for _, name := range plan.Removed {
			delete(state, name)
		}
		take := func(name string) {
			id, _ := new.Lookup(name)
			state[name] = new.Config(id)
		}
		for _, name := range plan.Added {
			take(name)
		}
		for _, c := range plan.Changed {
			take(c.Name)
			if len(c.Fields) == 0 && c.Because == "" {
				t.Fatalf("%s is changed without a reason", c.Name)
			}
		}
		if len(state) != new.Len() {
			t.Fatalf("%d services after the plan, want %d", len(state), new.Len())
		}
		for id := range ID(new.Len()) {
			a, b := *state[new.Name(id)], *new.Config(id)
			if !reflect.DeepEqual(a, b) {
				t.Fatalf("%s is another after the plan", new.Name(id))
			}
		}
	}
}
