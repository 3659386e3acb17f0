// Package openmetrics writes metrics as text: OpenMetrics 1.0, or the format 0.0.4 of Prometheus that came before it.
package openmetrics

import (
	"strconv"
	"unicode/utf8"
)

// Format is how metrics are written.
type Format string

// The formats, as `zinit metrics --format` names them.
const (
	OpenMetrics Format = "openmetrics"
	Prometheus  Format = "prometheus"
)

// ContentType is the media type of a format.
func (f Format) ContentType() string {
	if f == Prometheus {
		return "text/plain; version=0.0.4; charset=utf-8"
	}
	return "application/openmetrics-text; version=1.0.0; charset=utf-8"
}

// Kind is the type of a metric family.
type Kind string

// The kinds. A Counter's samples end in _total, an Info's in _info; a StateSet has a label with its own name.
const (
	Counter  Kind = "counter"
	Gauge    Kind = "gauge"
	Info     Kind = "info"
	StateSet Kind = "stateset"
)

// Text is metrics being written, family after family.
type Text struct {
	format Format
	b      []byte
	head   string // of the family whose first sample has not come
	name   string // of its samples
}

// New begins a text of about so many bytes.
func New(f Format, size int) *Text { return &Text{format: f, b: make([]byte, 0, size)} }

// Family begins a family; name is without the suffixes _total and _info, and ends in the unit, "" = none. One without a sample
// is not written.
func (t *Text) Family(name string, kind Kind, unit, help string) {
	family, suffix, word := name, map[Kind]string{Counter: "_total", Info: "_info"}[kind], string(kind)
	t.name = name + suffix
	if t.format == Prometheus {
		if family = t.name; kind == Info || kind == StateSet {
			word = string(Gauge)
		}
		unit = ""
	}
	t.head = "# TYPE " + family + " " + word + "\n"
	if unit != "" {
		t.head += "# UNIT " + family + " " + unit + "\n"
	}
	t.head += "# HELP " + family + " " + string(appendEscaped(nil, help, t.format == OpenMetrics)) + "\n"
}

// Sample writes one sample of the family; labels are names and values in turn.
func (t *Text) Sample(value float64, labels ...string) {
	t.b = append(append(t.b, t.head...), t.name...)
	t.head = ""
	for i := 0; i+1 < len(labels); i += 2 {
		open := byte(',')
		if i == 0 {
			open = '{'
		}
		t.b = append(append(append(t.b, open), labels[i]...), `="`...)
		t.b = append(appendEscaped(t.b, labels[i+1], true), '"')
	}
	if len(labels) > 1 {
		t.b = append(t.b, '}')
	}
	t.b = append(t.b, ' ')
	if value == float64(int64(value)) { // whole numbers without an exponent are easier to read
		t.b = strconv.AppendInt(t.b, int64(value), 10)
	} else {
		t.b = strconv.AppendFloat(t.b, value, 'f', -1, 64)
	}
	t.b = append(t.b, '\n')
}

// String ends the text.
func (t *Text) String() string {
	if t.format != Prometheus {
		t.b = append(t.b, "# EOF\n"...)
	}
	return string(t.b)
}

// appendEscaped appends a text as labels and help have it.
func appendEscaped(b []byte, s string, quotes bool) []byte {
	plain := true
	for i := range len(s) {
		plain = plain && s[i] < utf8.RuneSelf && s[i] != '\\' && s[i] != '\n' && s[i] != '"'
	}
	if plain {
		return append(b, s...)
	}
	for _, r := range s { // what is no UTF-8 comes as U+FFFD
		switch {
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\\', r == '"' && quotes:
			b = append(b, '\\', byte(r))
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return b
}
