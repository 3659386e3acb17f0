package rpc

import (
	"bytes"
	"encoding/json"
	"reflect"

	"github.com/zinit/zinit/rpc/wire"
)

func appendString(b []byte, s string) []byte { return wire.AppendString(b, s) }

// appender is a type of wire that writes itself.
type appender interface{ AppendJSON([]byte) []byte }

// appendResult appends v as JSON. The hot types are written by hand, the others by encoding/json, with [] for lists and
// {} for maps that are nil: 0.3.9's clients know no null there.
func appendResult(b []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case appender:
		return v.AppendJSON(b), nil
	case []string:
		return wire.AppendStrings(b, v), nil
	case []wire.Listed:
		return appendList(b, v), nil
	case []wire.LogLine:
		return appendList(b, v), nil
	case logTexts:
		return appendTexts(b, v), nil
	case bool:
		if v {
			return append(b, "true"...), nil
		}
		return append(b, "false"...), nil
	case json.RawMessage:
		return appendRaw(b, v)
	}
	return appendOther(b, v)
}

func appendList[T appender](b []byte, list []T) []byte {
	b = append(b, '[')
	for i := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = list[i].AppendJSON(b)
	}
	return append(b, ']')
}

func appendTexts(b []byte, lines logTexts) []byte {
	b = append(b, '[')
	for i := range lines {
		if i > 0 {
			b = append(b, ',')
		}
		b = lines[i].AppendText(b)
	}
	return append(b, ']')
}

// appendRaw appends JSON that somebody else has made: on one line, whatever it looked like.
func appendRaw(b []byte, raw json.RawMessage) ([]byte, error) {
	if bytes.IndexByte(raw, '\n') < 0 && json.Valid(raw) {
		return append(b, raw...), nil
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, raw); err != nil {
		return b, err
	}
	return append(b, compact.Bytes()...), nil
}

func appendOther(b []byte, v any) ([]byte, error) {
	if typ := reflect.TypeOf(v); typ != nil && (typ.Kind() == reflect.Struct || typ.Kind() == reflect.Slice) {
		settable := reflect.New(typ)
		settable.Elem().Set(reflect.ValueOf(v))
		v = settable.Interface()
		fillNil(settable.Elem())
	}
	buf := bytes.NewBuffer(b)
	encoder := json.NewEncoder(buf)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return b, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte{'\n'}), nil
}

// fillNil replaces nil slices and maps inside v by empty ones. Lists are copied first: they may be shared.
func fillNil(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fillNil(v.Field(i))
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return
		}
		list := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(list, v)
		v.Set(list)
		if v.Type().Elem().Kind() == reflect.Struct {
			for i := range v.Len() {
				fillNil(v.Index(i))
			}
		}
	case reflect.Map:
		if v.IsNil() {
			v.Set(reflect.MakeMap(v.Type()))
		}
	}
}
