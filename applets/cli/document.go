package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"sort"
	"strings"

	"github.com/zinit/zinit/rpc/wire"
)

// document writes v as the JSON that scripts read. It differs from encoding/json over the wire types in three ways,
// which are the contract of -o json:
//   - no key is left out for being empty: null, "", [] and {} are written;
//   - a service's state is a plain word under "state", and what the wire nests in it (exit_code, waiting_on,
//     conflicts_with, reason, and pid where the object has none of its own) stands beside it;
//   - a number whose name ends in _ms is an integer, and a time that there is not (its name ends in _at) is null.
func document(v any) []byte {
	var b bytes.Buffer
	writeValue(&b, reflect.ValueOf(v), "")
	return b.Bytes()
}

var stateType = reflect.TypeOf(wire.State{})

func writeValue(b *bytes.Buffer, v reflect.Value, name string) {
	switch v.Kind() {
	case reflect.Invalid:
		b.WriteString("null")
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			b.WriteString("null")
			return
		}
		writeValue(b, v.Elem(), name)
	case reflect.Struct:
		writeStruct(b, v)
	case reflect.Slice, reflect.Array:
		if raw, ok := v.Interface().(json.RawMessage); ok {
			writeRaw(b, raw)
			return
		}
		writeList(b, v)
	case reflect.Map:
		writeMap(b, v)
	case reflect.Float32, reflect.Float64:
		if strings.HasSuffix(name, "_ms") {
			fmt.Fprintf(b, "%d", int64(math.Round(v.Float())))
			return
		}
		writeScalar(b, v)
	case reflect.String:
		if v.Len() == 0 && strings.HasSuffix(name, "_at") {
			b.WriteString("null")
			return
		}
		writeScalar(b, v)
	default:
		writeScalar(b, v)
	}
}

func writeRaw(b *bytes.Buffer, raw json.RawMessage) {
	if len(raw) == 0 {
		raw = json.RawMessage("null")
	}
	if err := json.Compact(b, raw); err != nil {
		b.WriteString("null")
	}
}

func writeScalar(b *bytes.Buffer, v reflect.Value) {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v.Interface()); err != nil {
		b.WriteString("null")
		return
	}
	b.Truncate(b.Len() - 1) // the encoder's newline
}

func writeList(b *bytes.Buffer, v reflect.Value) {
	b.WriteByte('[')
	for i := range v.Len() {
		if i > 0 {
			b.WriteByte(',')
		}
		writeValue(b, v.Index(i), "")
	}
	b.WriteByte(']')
}

func writeMap(b *bytes.Buffer, v reflect.Value) {
	keys := v.MapKeys()
	sort.Slice(keys, func(i, j int) bool { return keys[i].String() < keys[j].String() })
	b.WriteByte('{')
	for i, k := range keys {
		if i > 0 {
			b.WriteByte(',')
		}
		writeScalar(b, k)
		b.WriteByte(':')
		writeValue(b, v.MapIndex(k), k.String())
	}
	b.WriteByte('}')
}

// fields writes the members of one object, a comma between them.
type fields struct {
	b     *bytes.Buffer
	count int
}

func (f *fields) put(name string, v reflect.Value) {
	if f.count > 0 {
		f.b.WriteByte(',')
	}
	f.count++
	writeScalar(f.b, reflect.ValueOf(name))
	f.b.WriteByte(':')
	writeValue(f.b, v, name)
}

func writeStruct(b *bytes.Buffer, v reflect.Value) {
	b.WriteByte('{')
	if v.Type() == stateType {
		putState(&fields{b: b}, v.Interface().(wire.State), true)
	} else {
		putStruct(&fields{b: b}, v)
	}
	b.WriteByte('}')
}

func putStruct(f *fields, v reflect.Value) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if !field.IsExported() {
			continue
		}
		name := memberName(field)
		switch {
		case field.Anonymous && field.Type.Kind() == reflect.Struct:
			putStruct(f, v.Field(i))
		case name == "":
		case field.Type == stateType && name == "state":
			putState(f, v.Field(i).Interface().(wire.State), !hasMember(v.Type(), "pid"))
		default:
			f.put(name, v.Field(i))
		}
	}
}

func memberName(field reflect.StructField) string {
	name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
	if name == "-" {
		return ""
	}
	if name == "" {
		return field.Name
	}
	return name
}

func hasMember(t reflect.Type, name string) bool {
	for i := range t.NumField() {
		if memberName(t.Field(i)) == name {
			return true
		}
	}
	return false
}

// putState writes a state flat. A missing dependency has no state: the word is then "".
func putState(f *fields, st wire.State, withPID bool) {
	f.put("state", reflect.ValueOf(st.State))
	if withPID {
		f.put("pid", reflect.ValueOf(st.PID))
	}
	f.put("exit_code", reflect.ValueOf(st.ExitCode))
	f.put("waiting_on", reflect.ValueOf(st.WaitingOn))
	f.put("conflicts_with", reflect.ValueOf(st.ConflictsWith))
	f.put("reason", reflect.ValueOf(st.Reason))
}
