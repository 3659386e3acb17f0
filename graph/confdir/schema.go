package confdir

import (
	"encoding/json"
	"math"
	"strings"

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

// Schema returns the JSON Schema (draft 2020-12) of a file of one service or target, for completion and checks in editors.
func Schema() []byte {
	return schemaText("zinit service or target", map[string]any{
		"properties": sectionSchemas("#/properties/schedule"),
		"oneOf": []any{
			map[string]any{"required": []string{"service"}, "properties": map[string]any{"target": false}},
			map[string]any{"required": []string{"target"}, "properties": map[string]any{"service": false, "lifecycle": false,
				"health": false, "logging": false, "cgroup": false, "schedule": false}},
		},
	})
}

// ProjectSchema returns the JSON Schema of a zinit.toml: services of a project, and settings of the server.
func ProjectSchema() []byte {
	sections := sectionSchemas("#/$defs/schedule")
	keysOf := func(name string) map[string]any {
		return sections[name].(map[string]any)["properties"].(map[string]any)
	}
	service, target := keysOf("service"), keysOf("target")
	delete(service, "name")
	delete(target, "name")
	env := service["env"]
	for _, s := range serviceSections()[1:] {
		service[s.name] = sections[s.name]
	}
	for key, section := range shortcuts {
		service[key] = keysOf(section)[key]
		if section == dependenciesSection().name {
			target[key] = service[key]
		}
	}
	service[portKey] = map[string]any{"description": "Its port: $PORT, and $NAME_PORT for what depends on it; auto = a free one",
		"anyOf": []any{ranged(1, 65535), map[string]any{"const": "auto"}}}
	target["dependencies"] = sections["dependencies"]
	object := func(doc string, properties map[string]any) map[string]any {
		return map[string]any{"type": "object", "description": doc, "additionalProperties": false, "properties": properties}
	}
	named := func(doc string, each map[string]any) map[string]any {
		return map[string]any{"type": "object", "description": doc, "additionalProperties": each}
	}
	top := map[string]any{
		projectServices: named("[services.NAME]: a service", map[string]any{"$ref": "#/$defs/service"}),
		projectTargets:  named("[targets.NAME]: a target", object("A target: it has no process", target)),
		projectDefaults: map[string]any{"$ref": "#/$defs/service", "description": "What counts for every service of this file that does not say it itself"},
		projectEnv:      env,
		projectEnvFile:  service["env_file"],
	}
	for _, s := range settingKeys {
		section, key, _ := strings.Cut(s.key, ".")
		if top[section] == nil {
			top[section] = object("Settings of the server", map[string]any{})
		}
		top[section].(map[string]any)["properties"].(map[string]any)[key] = s.schema
	}
	return schemaText("zinit.toml", map[string]any{"properties": top,
		"$defs": map[string]any{"service": object("A service", service), "schedule": sections["schedule"]}})
}

func schemaText(title string, schema map[string]any) []byte {
	schema["$schema"], schema["title"] = "https://json-schema.org/draft/2020-12/schema", title
	schema["type"], schema["additionalProperties"] = "object", false
	text, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		return nil // the table holds nothing that cannot be written; a test sees to it
	}
	return append(text, '\n')
}

// sectionSchemas are the schemas of all sections; schedule is where that of [schedule] stands.
func sectionSchemas(schedule string) map[string]any {
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
			oneOrMany(object, schedule)
		}
	}
	properties["lifecycle"].(map[string]any)["properties"].(map[string]any)["restart"].(map[string]any)["enum"] =
		[]string{"on-failure", "on_failure", "always", "never"}
	return properties
}

// oneOrMany makes the schema of a section also that of an array of such sections, each of which has one key that says
// when. at is where the schema stands.
func oneOrMany(object map[string]any, at string) {
	var kinds []any
	for kind := graph.ScheduleCron; kind <= graph.ScheduleBoot; kind++ {
		kinds = append(kinds, map[string]any{"required": []string{kind.String()}})
	}
	object["type"] = []string{"object", "array"}
	object["items"] = map[string]any{"type": "object", "$ref": at}
	object["if"], object["then"] = typed("object"), map[string]any{"oneOf": kinds}
}
