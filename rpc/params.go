package rpc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/zinit/zinit/rpc/wire"
)

// paramKind is the type of a parameter.
type paramKind uint8

const (
	kindString paramKind = iota
	kindBool
	kindInt     // an integer from 0 to 2^63-1
	kindSeq     // an integer from 0 to 2^64-1
	kindNumber  // an integer, also below 0
	kindCount   // as kindInt; anything else counts as absent, as in 0.3.9
	kindStrings // an array of strings, or one string
	kindSignal  // a signal: name or number
	kindObject
)

// param is one parameter of a method, in the documented order.
type param struct {
	name     string
	kind     paramKind
	required bool
	preset   string // JSON of the default, for the documentation and kindCount
	doc      string
}

// maxParams bounds the parameters of a method in the table; a test looks after it.
const maxParams = 8

// args are the parameters of one call, checked against the method's table entry.
type args struct {
	method  *method
	raw     [maxParams][]byte // by place in method.params; nil: absent or null
	bare    []byte            // the members that stand for a bare config
	lenient bool              // unknown members are passed over
}

// bind sorts the parameters of a request into their places and checks their types.
func (a *args) bind(m *method, params []byte, lenient bool) error {
	*a = args{method: m, lenient: lenient}
	if len(params) > 0 {
		var err error
		switch params[0] {
		case '{':
			err = a.byName(params, lenient)
		case '[':
			err = a.byPlace(params, lenient)
		} // 0.3.9 takes any other value for no parameters
		if err != nil {
			return err
		}
	}
	for i := range m.params {
		if err := a.check(i); err != nil {
			return err
		}
	}
	return nil
}

func (a *args) byName(params []byte, lenient bool) error {
	var bare []byte
	wrapped := false
	members := memberScan{scanner: &scanner{data: params}}
	var seen uint
	for {
		more, err := members.next()
		if err != nil || !more {
			return a.finish(bare, wrapped, lenient, err)
		}
		i := a.method.place(members.key)
		if i < 0 {
			if !a.method.bareConfig {
				if lenient {
					continue
				}
				return a.unknown(unquote(members.key))
			}
			bare = append(append(append(append(bare, ','), members.key...), ':'), members.value...)
			continue
		}
		if seen&(1<<i) != 0 {
			return invalid("%s: parameter %q is given twice", a.method.name, a.method.params[i].name)
		}
		seen |= 1 << i
		if members.value[0] != 'n' {
			a.raw[i] = members.value
			wrapped = wrapped || a.method.params[i].kind == kindObject
		}
	}
}

// finish turns members that belong to no parameter into the config of a method that takes it bare.
func (a *args) finish(bare []byte, wrapped, lenient bool, err error) error {
	if err != nil || bare == nil {
		return err
	}
	if wrapped {
		if lenient {
			return nil
		}
		members := memberScan{scanner: &scanner{data: append(append([]byte{'{'}, bare[1:]...), '}')}}
		if _, err := members.next(); err != nil {
			return err
		}
		return a.unknown(unquote(members.key))
	}
	bare[0] = '{'
	a.bare = append(bare, '}')
	return nil
}

func (a *args) byPlace(params []byte, lenient bool) error {
	elements := elementScan{s: &scanner{data: params}}
	for i := 0; ; i++ {
		more, err := elements.next()
		if err != nil || !more {
			return err
		}
		if i >= len(a.method.params) {
			if lenient {
				return nil
			}
			return invalid("%s takes at most %d parameters%s", a.method.name, len(a.method.params), a.method.usage())
		}
		if elements.value[0] != 'n' {
			a.raw[i] = elements.value
		}
	}
}

// place returns where a parameter stands, -1 for an unknown one.
func (m *method) place(key []byte) int {
	for i := range m.params {
		if string(key[1:len(key)-1]) == m.params[i].name {
			return i
		}
	}
	if bytes.IndexByte(key, '\\') >= 0 {
		name := unquote(key)
		for i := range m.params {
			if name == m.params[i].name {
				return i
			}
		}
	}
	return -1
}

// check looks at the type of one parameter.
func (a *args) check(i int) error {
	p, raw := &a.method.params[i], a.raw[i]
	if p.kind == kindObject && raw == nil && a.bare != nil {
		raw = a.bare
		a.raw[i] = raw
	}
	if raw == nil {
		if p.required {
			return invalid("missing '%s' parameter", p.name)
		}
		return nil
	}
	if p.kind.accepts(raw) {
		return nil
	}
	if p.kind == kindCount {
		a.raw[i] = nil
		return nil
	}
	if p.required && p.kind == kindString {
		return invalid("missing '%s' parameter: it must be a string, not %s", p.name, kindOf(raw))
	}
	return invalid("%s: '%s' must be %s, not %s", a.method.name, p.name, p.kind.words(), short(raw))
}

func (k paramKind) accepts(raw []byte) bool {
	switch k {
	case kindString:
		return raw[0] == '"'
	case kindBool:
		return raw[0] == 't' || raw[0] == 'f'
	case kindInt, kindCount:
		_, err := strconv.ParseInt(string(raw), 10, 64)
		return err == nil && raw[0] != '-'
	case kindNumber:
		_, err := strconv.ParseInt(string(raw), 10, 64)
		return err == nil
	case kindSeq:
		_, err := strconv.ParseUint(string(raw), 10, 64)
		return err == nil
	case kindStrings:
		return raw[0] == '"' || allStrings(raw)
	case kindSignal:
		_, err := strconv.ParseUint(string(raw), 10, 16)
		return raw[0] == '"' || err == nil
	case kindObject:
		return raw[0] == '{'
	}
	return false
}

func allStrings(raw []byte) bool {
	if raw[0] != '[' {
		return false
	}
	elements := elementScan{s: &scanner{data: raw}}
	for {
		more, err := elements.next()
		if err != nil || !more {
			return err == nil
		}
		if elements.value[0] != '"' {
			return false
		}
	}
}

func (k paramKind) words() string {
	switch k {
	case kindString:
		return "a string"
	case kindBool:
		return "true or false"
	case kindInt, kindCount:
		return "an integer from 0 on"
	case kindSeq:
		return "a sequence number"
	case kindNumber:
		return "an integer"
	case kindStrings:
		return "an array of strings"
	case kindSignal:
		return "the name or number of a signal"
	}
	return "an object"
}

// short shows a value in a message: small ones themselves, others by their type.
func short(raw []byte) string {
	if len(raw) <= 20 {
		return string(raw)
	}
	return kindOf(raw)
}

// invalid makes an error of code -32602.
func invalid(format string, values ...any) *wire.Error {
	return wire.NewError(wire.CodeParams, fmt.Sprintf(format, values...))
}

// checkMembers refuses members of the object in place i that are not among known, and says which were meant.
func (a *args) checkMembers(i int, known []param) error {
	members := memberScan{scanner: &scanner{data: a.raw[i]}}
	for !a.lenient {
		more, err := members.next()
		if err != nil || !more {
			return err
		}
		if name := unquote(members.key); !slices.ContainsFunc(known, func(p param) bool { return p.name == name }) {
			return a.unknownOf("member", name, known)
		}
	}
	return nil
}

func (a *args) unknown(name string) error { return a.unknownOf("parameter", name, a.method.params) }

func (a *args) unknownOf(what, name string, known []param) error {
	text := fmt.Sprintf("%s: unknown %s %q", a.method.name, what, name)
	if near := nearest(name, known); near != "" {
		text += fmt.Sprintf(" (did you mean %q?)", near)
	} else {
		text += usage(known)
	}
	return wire.NewError(wire.CodeParams, text).With("unknown", name)
}

// usage lists the parameters of a method, for messages.
func (m *method) usage() string { return usage(m.params) }

func usage(params []param) string {
	if len(params) == 0 {
		return " (it takes none)"
	}
	names := make([]string, len(params))
	for i, p := range params {
		names[i] = p.name
	}
	return " (it takes " + strings.Join(names, ", ") + ")"
}

// nearest returns the parameter at most two edits away from name, "" when there is none.
func nearest(name string, params []param) string {
	best, distance := "", 3
	for _, p := range params {
		if d := edits(name, p.name); d < distance && d < len(p.name) {
			best, distance = p.name, d
		}
	}
	return best
}

// edits is the Levenshtein distance; long names are not worth the work.
func edits(a, b string) int {
	if len(a) > 40 || len(b) > 40 {
		return 40
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

// The getters below are for parameters that check has accepted.

func (a *args) text(i int) string {
	if a.raw[i] == nil {
		return ""
	}
	return unquote(a.raw[i])
}

func (a *args) flag(i int) bool { return a.raw[i] != nil && a.raw[i][0] == 't' }

func (a *args) given(i int) bool { return a.raw[i] != nil }

// integer returns the parameter or its default.
func (a *args) integer(i int) int64 {
	raw := a.raw[i]
	if raw == nil {
		raw = []byte(a.method.params[i].preset)
	}
	n, _ := strconv.ParseInt(string(raw), 10, 64)
	return n
}

// count is integer as an int, cut to what an int holds.
func (a *args) count(i int) int { return int(min(a.integer(i), math.MaxInt32)) }

func (a *args) seq(i int) uint64 {
	n, _ := strconv.ParseUint(string(a.raw[i]), 10, 64)
	return n
}

func (a *args) strings(i int) []string {
	switch raw := a.raw[i]; {
	case raw == nil:
		return nil
	case raw[0] == '"':
		return []string{unquote(raw)}
	default:
		var list []string
		elements := elementScan{s: &scanner{data: raw}}
		for {
			if more, err := elements.next(); err != nil || !more {
				return list
			}
			list = append(list, unquote(elements.value))
		}
	}
}

// signal returns a signal's name or number as text.
func (a *args) signal(i int) string {
	if raw := a.raw[i]; raw != nil && raw[0] != '"' {
		return string(raw)
	}
	return a.text(i)
}

// document returns an object as raw JSON of its own memory.
func (a *args) document(i int) json.RawMessage { return bytes.Clone(a.raw[i]) }

// clone copies the parameters out of the read buffer.
func (a *args) clone() *args {
	own := *a
	for i, raw := range own.raw {
		own.raw[i] = bytes.Clone(raw)
	}
	return &own
}
