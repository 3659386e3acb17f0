package rpc

import (
	"encoding/json"
	"maps"
	"reflect"
	"sort"
	"strings"

	"github.com/zinit/zinit/rpc/wire"
)

// schema is a JSON Schema, as far as it is needed here.
type schema map[string]any

// schemas collects the schemas of named types on the way.
type schemas map[string]schema

// discover makes the OpenRPC document of what is served.
func discover(version string) map[string]any {
	types := schemas{}
	names := make([]string, 0, len(methods()))
	for name := range methods() {
		names = append(names, name)
	}
	sort.Strings(names)
	list := make([]map[string]any, 0, len(names))
	for _, name := range names {
		list = append(list, types.method(methods()[name]))
	}
	return map[string]any{
		"openrpc": "1.3.2",
		"info": map[string]any{"title": "Zinit RPC API", "version": version, "license": map[string]any{"name": "Apache-2.0"},
			"description": "Process supervisor. One JSON-RPC 2.0 object a line on a Unix socket."},
		"methods":    list,
		"components": map[string]any{"schemas": types, "errors": errorList()},
	}
}

func (t schemas) method(m *method) map[string]any {
	params := make([]map[string]any, 0, len(m.params))
	for _, p := range m.params {
		params = append(params, map[string]any{
			"name": p.name, "description": p.doc, "required": p.required, "schema": p.schema(),
		})
	}
	doc := map[string]any{
		"name": m.name, "summary": m.summary, "params": params, "paramStructure": "either",
		"result":   map[string]any{"name": "result", "schema": t.of(reflect.TypeOf(m.result))},
		"x-access": m.access.String(),
	}
	if m.stream != nil {
		doc["x-notification"] = map[string]any{"method": m.note, "params": t.of(reflect.TypeOf(m.item))}
	}
	return doc
}

func (p param) schema() schema {
	s := schema{}
	switch p.kind {
	case kindString:
		s["type"] = "string"
	case kindBool:
		s["type"] = "boolean"
	case kindInt, kindSeq, kindCount, kindNumber:
		s["type"], s["minimum"] = "integer", 0
	case kindStrings:
		s["type"], s["items"] = "array", schema{"type": "string"}
	case kindSignal:
		s["type"] = []string{"string", "integer"}
	case kindObject:
		s["type"] = "object"
	}
	if p.preset != "" {
		s["default"] = json.RawMessage(p.preset)
	}
	return s
}

func errorList() map[string]any {
	list := map[string]any{}
	for _, code := range wire.Codes() {
		list[code.Kind()] = map[string]any{"code": int(code), "message": strings.ReplaceAll(code.Kind(), "_", " ")}
	}
	return list
}

var (
	stateType  = reflect.TypeOf(wire.State{})
	reasonType = reflect.TypeOf(wire.Reason{})
	statusType = reflect.TypeOf(wire.XinetStatus{})
	whyType    = reflect.TypeOf(wire.Why{})
	rawType    = reflect.TypeOf(json.RawMessage{})
)

// of returns the schema of a type: a reference where it has a name.
func (t schemas) of(typ reflect.Type) schema {
	if typ == nil || typ == rawType {
		return schema{"type": "object"}
	}
	switch typ.Kind() {
	case reflect.Pointer:
		return schema{"oneOf": []schema{t.of(typ.Elem()), {"type": "null"}}}
	case reflect.Slice:
		return schema{"type": "array", "items": t.of(typ.Elem())}
	case reflect.Map:
		return schema{"type": "object", "additionalProperties": t.of(typ.Elem())}
	case reflect.Struct:
		if _, known := t[typ.Name()]; !known {
			t[typ.Name()] = nil // it may contain itself
			t[typ.Name()] = t.object(typ)
		}
		return schema{"$ref": "#/components/schemas/" + typ.Name()}
	case reflect.String:
		return schema{"type": "string"}
	case reflect.Bool:
		return schema{"type": "boolean"}
	case reflect.Float64:
		return schema{"type": "number"}
	}
	return schema{"type": "integer"}
}

// object is the schema of a struct by its tags. A member is required unless it may be left out.
func (t schemas) object(typ reflect.Type) schema {
	properties, required := schema{}, []string{}
	for i := range typ.NumField() {
		if field := typ.Field(i); field.Anonymous { // its members stand among the others
			maps.Copy(properties, t.object(field.Type)["properties"].(schema))
			continue
		}
		name, options, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		if name == "-" || name == "" {
			continue
		}
		properties[name] = t.of(typ.Field(i).Type)
		if options != "omitempty" {
			required = append(required, name)
		}
	}
	switch typ { // what these write by hand
	case stateType:
		properties["exit_code"] = schema{"type": []string{"integer", "null"}}
		properties["state"] = schema{"enum": []string{"inactive", "blocked", "starting", "running", "stopping", "exited", "failed"}}
	case reasonType:
		properties["type"] = schema{"enum": []string{"exit_code", "signal", "start_timeout", "stop_timeout",
			"health_check_failed", "dependency_failed", "spawn_error", "missing_dependency"}}
	case statusType:
		properties["listen"], required = schema{"type": "string"}, append(required, "listen")
		properties["listen_addrs"] = schema{"type": "array", "items": schema{"type": "string"}}
	case whyType:
		properties["port_conflict"], properties["process_conflict"] = schema{"type": "string"}, schema{"type": "object"}
	}
	return schema{"type": "object", "properties": properties, "required": required}
}
