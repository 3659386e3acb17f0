package confdir

import (
	"encoding/json"
	"math"

	"github.com/zinit/zinit/graph"
)

func typed(name string) map[string]any { return map[string]any{"type": name} }

func ranged(low, high int64) map[string]any {
	s := map[string]any{"type": "integer", "minimum": low}
	if high != math.MaxInt64 {
		s["maximum"] = high
	}
	return s
}

func listOf(element map[string]any) map[string]any {
	return map[string]any{"type": "array", "items": element}
}

func stringOrList() map[string]any {
	return map[string]any{"anyOf": []any{typed("string"),
		map[string]any{"type": "array", "items": typed("string"), "minItems": 1}}}
}

// Schema returns the JSON Schema (draft 2020-12) of a file, for completion and checks in editors.
func Schema() []byte {
	base := New("x", false)
	base.Health = newHealth()
	properties := map[string]any{}
	for _, s := range append([]*section{targetSection()}, serviceSections()...) {
		keys := map[string]any{}
		for i := range s.fields {
			f := &s.fields[i]
			entry := map[string]any{"description": f.doc}
			for k, v := range f.schema {
				entry[k] = v
			}
			if value := f.value(base); s != targetSection() && f.key != "name" && value != nil && value != "" {
				if t, isTable := value.(table); !isTable || len(t) > 0 {
					entry["default"] = value
				}
			}
			keys[f.key] = entry
		}
		object := map[string]any{"type": "object", "description": s.doc, "additionalProperties": false, "properties": keys}
		switch s {
		case serviceSection():
			object["required"] = []string{"name", "exec"}
		case targetSection():
			object["required"] = []string{"name"}
		case healthSection():
			delete(keys["type"].(map[string]any), "default")
			keys["endpoint"] = map[string]any{"description": "Another name of target", "type": "string"}
			object["required"] = []string{"type"}
			object["oneOf"] = []any{map[string]any{"required": []string{"target"}},
				map[string]any{"required": []string{"endpoint"}}}
		}
		properties[s.name] = object
		if s == scheduleSection() {
			oneOrMany(object)
		}
	}
	properties["lifecycle"].(map[string]any)["properties"].(map[string]any)["restart"].(map[string]any)["enum"] =
		[]string{"on-failure", "on_failure", "always", "never"}
	schema := map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "zinit service or target", "type": "object",
		"additionalProperties": false, "properties": properties,
		"oneOf": []any{
			map[string]any{"required": []string{"service"}, "properties": map[string]any{"target": false}},
			map[string]any{"required": []string{"target"}, "properties": map[string]any{"service": false, "lifecycle": false,
				"health": false, "logging": false, "cgroup": false, "schedule": false}},
		},
	}
	text, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		return nil // the table holds nothing that cannot be written; a test sees to it
	}
	return append(text, '\n')
}

// oneOrMany makes the schema of a section also that of an array of such sections, each of which has one key that says
// when.
func oneOrMany(object map[string]any) {
	var kinds []any
	for kind := graph.ScheduleCron; kind <= graph.ScheduleBoot; kind++ {
		kinds = append(kinds, map[string]any{"required": []string{kind.String()}})
	}
	object["type"] = []string{"object", "array"}
	object["items"] = map[string]any{"type": "object", "$ref": "#/properties/schedule"}
	object["if"], object["then"] = typed("object"), map[string]any{"oneOf": kinds}
}
