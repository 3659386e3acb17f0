package rpc

import (
	"encoding/json"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/zinit/zinit/rpc/wire"
)

// documented are the methods of the specification.
var documented = strings.Fields(`rpc.discover system.ping system.shutdown system.reboot system.poweroff system.halt
	system.prepare_restart system.upgrade system.status system.boot service.list service.list_full service.status
	service.status_full service.get service.stats service.children service.is_running service.why service.tree
	service.start service.stop service.restart service.kill service.signal_reload service.set service.add service.delete
	service.remove service.reload service.plan service.start_all service.stop_all service.delete_all service.wait
	events.get events.subscribe logs.get logs.tail logs.filter logs.follow debug.state debug.process_tree
	xinet.set xinet.delete xinet.list xinet.status xinet.status_all jobs.list jobs.history jobs.log service.run metrics.get`)

func TestTable(t *testing.T) {
	var names []string
	for name, m := range methods() {
		names = append(names, name)
		kinds := 0
		for _, has := range []bool{m.call != nil, m.end != nil, m.stream != nil} {
			if has {
				kinds++
			}
		}
		if kinds != 1 {
			t.Errorf("%s: %d ways to be called", name, kinds)
		}
		if m.access == accessWrite && m.call != nil && m.pending == nil {
			t.Errorf("%s changes something and has no pending answer", name)
		}
		if m.again && m.waits == nil && m.end == nil {
			t.Errorf("%s may begin again and never waits", name)
		}
		if len(m.params) > maxParams {
			t.Errorf("%s has %d parameters", name, len(m.params))
		}
		if m.summary == "" || !strings.HasSuffix(m.summary, ".") {
			t.Errorf("%s: summary %q", name, m.summary)
		}
		checkParams(t, m)
	}
	want := slices.Clone(documented)
	sort.Strings(want)
	sort.Strings(names)
	if !slices.Equal(names, want) {
		t.Errorf("the table has %v\nthe specification %v", names, want)
	}
}

func checkParams(t *testing.T, m *method) {
	t.Helper()
	seen, optional := map[string]bool{}, false
	for _, p := range m.params {
		if seen[p.name] || !regexp.MustCompile(`^[a-z_]+$`).MatchString(p.name) || p.doc == "" {
			t.Errorf("%s: parameter %+v", m.name, p)
		}
		seen[p.name] = true
		if p.required && optional {
			t.Errorf("%s: %s is required after an optional one", m.name, p.name)
		}
		optional = optional || !p.required
		if p.preset != "" && (!json.Valid([]byte(p.preset)) || !p.kind.accepts([]byte(p.preset))) {
			t.Errorf("%s: default %s of %s", m.name, p.preset, p.name)
		}
	}
}

// TestDiscover: the document is the table, by what a client gets over the wire.
func TestDiscover(t *testing.T) {
	client := dialClient(t, serveFake(t, newFake("a"), ServerOptions{}).path)
	raw, err := client.Discover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		OpenRPC string
		Info    struct{ Title, Version string }
		Methods []struct {
			Name           string
			ParamStructure string
			Params         []struct {
				Name     string
				Required bool
				Schema   map[string]any
			}
			Result struct{ Schema map[string]any }
		}
		Components struct {
			Schemas map[string]map[string]any
			Errors  map[string]struct{ Code int }
		}
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.OpenRPC == "" || doc.Info.Title != "Zinit RPC API" || doc.Info.Version != "0.4.0" {
		t.Errorf("%+v %s", doc.Info, doc.OpenRPC)
	}
	listed := map[string]bool{}
	for _, m := range doc.Methods {
		listed[m.Name] = true
		entry := lookup(m.Name)
		if entry == nil {
			t.Errorf("%s is in the document and not in the table", m.Name)
			continue
		}
		if len(m.Params) != len(entry.params) || m.ParamStructure != "either" || len(m.Result.Schema) == 0 {
			t.Errorf("%s: %+v", m.Name, m)
			continue
		}
		for i, p := range m.Params {
			if p.Name != entry.params[i].name || p.Required != entry.params[i].required || p.Schema["type"] == nil {
				t.Errorf("%s: parameter %+v", m.Name, p)
			}
		}
	}
	for name := range methods() {
		if !listed[name] {
			t.Errorf("%s is served and not in the document", name)
		}
	}
	for _, ref := range regexp.MustCompile(`#/components/schemas/(\w+)`).FindAllStringSubmatch(string(raw), -1) {
		if doc.Components.Schemas[ref[1]] == nil {
			t.Errorf("no schema %s", ref[1])
		}
	}
	if doc.Components.Errors["not_found"].Code != -32000 || len(doc.Components.Errors) != len(wire.Codes()) {
		t.Errorf("errors: %+v", doc.Components.Errors)
	}
	for name, schema := range doc.Components.Schemas {
		if properties, _ := schema["properties"].(map[string]any); len(properties) == 0 {
			t.Errorf("%s has no properties", name)
		}
	}
}

// TestSchemasMatchAnswers: every member of an answer stands in its schema, and every required one in the answer.
func TestSchemasMatchAnswers(t *testing.T) {
	types := schemas{}
	for name, m := range methods() {
		if m.result == nil || reflect.TypeOf(m.result) == rawType || name == "service.start_all" ||
			name == "service.stop_all" || name == "service.delete_all" {
			continue
		}
		b, err := appendResult(nil, m.result)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var v any
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatalf("%s: %s: %v", name, b, err)
		}
		matches(t, types, name, types.of(reflect.TypeOf(m.result)), v)
	}
}

func matches(t *testing.T, types schemas, where string, s schema, v any) {
	t.Helper()
	if ref, ok := s["$ref"].(string); ok {
		s = types[strings.TrimPrefix(ref, "#/components/schemas/")]
	}
	members, ok := v.(map[string]any)
	if !ok {
		if s["type"] == "array" && v == nil {
			t.Errorf("%s: null for an array", where)
		}
		return
	}
	properties, isObject := s["properties"].(schema)
	if !isObject {
		return // a map, or anything
	}
	for _, key := range s["required"].([]string) {
		if _, there := members[key]; !there {
			t.Errorf("%s: %s is required and missing", where, key)
		}
	}
	for key, member := range members {
		sub, known := properties[key].(schema)
		if !known {
			t.Errorf("%s: %s is not in the schema", where, key)
			continue
		}
		matches(t, types, where+"."+key, sub, member)
	}
}
