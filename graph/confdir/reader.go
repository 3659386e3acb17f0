package confdir

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zinit/zinit/graph"
)

// reader fills a Config from a document, collecting what is wrong with it. A read method answers false when it has
// reported the value as unusable.
type reader struct {
	cfg      *graph.Config
	file     string // "" = a document of the RPC
	service  string
	base     string // directory that relative paths count from, "" = they are refused
	key      string // of the value that is being read: "service.exec"
	lenient  bool   // unknown keys warn
	settings *Settings
	set      []string // keys that the document has
	problems []graph.Problem
	// member is the one of a zinit.toml that is read, nil where the document is a file of its own.
	member *member
}

func (r *reader) report(severity graph.Severity, key, value, message string) {
	if r.member != nil {
		key, message = r.member.where(key), r.member.words(key, message)
	}
	r.problems = append(r.problems, graph.Problem{File: r.file, Service: r.service, Severity: severity, Message: message,
		Key: key, Value: value})
}

// fail reports the value that is being read.
func (r *reader) fail(format string, args ...any) {
	r.report(graph.SeverityError, r.key, "", r.key+": "+fmt.Sprintf(format, args...))
}

// failAt reports one element of the array that is being read.
func (r *reader) failAt(index int, format string, args ...any) {
	r.report(graph.SeverityError, r.key, "#"+strconv.Itoa(index), r.key+": "+fmt.Sprintf(format, args...))
}

func (r *reader) warn(key, message string) { r.report(graph.SeverityWarning, key, "", message) }

func (r *reader) failed() bool {
	return slices.ContainsFunc(r.problems, func(p graph.Problem) bool { return p.Severity == graph.SeverityError })
}

// has reports whether the document has a key, "section.key".
func (r *reader) has(key string) bool { return slices.Contains(r.set, key) }

// describe names a value in an error.
func describe(v any) string {
	switch v := v.(type) {
	case string:
		if short := []rune(v); len(short) > 40 {
			v = string(short[:40]) + "…"
		}
		return strconv.Quote(v)
	case bool:
		return strconv.FormatBool(v)
	case []any:
		return "an array"
	case map[string]any:
		return "a table"
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return "the fraction " + strconv.FormatFloat(v, 'g', -1, 64)
	case json.Number:
		return v.String()
	}
	return "a date or time"
}

func (r *reader) string(v any) (string, bool) {
	s, ok := v.(string)
	if !ok {
		r.fail("want a string, not %s", describe(v))
		return "", false
	}
	if strings.ContainsRune(s, 0) {
		r.fail("a string may not contain a NUL byte")
		return "", false
	}
	return s, true
}

// text is a string that may not be empty.
func (r *reader) text(v any) (string, bool) {
	s, ok := r.string(v)
	if ok && strings.TrimSpace(s) == "" {
		r.fail("may not be empty")
		return "", false
	}
	return s, ok
}

func (r *reader) bool(v any) (bool, bool) {
	b, ok := v.(bool)
	if !ok {
		r.fail("want true or false, not %s", describe(v))
	}
	return b, ok
}

// integer reads whole numbers of both formats.
func integer(v any) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case json.Number:
		n, err := v.Int64()
		return n, err == nil
	}
	return 0, false
}

func (r *reader) int(v any, low, high int64) (int64, bool) {
	n, ok := integer(v)
	if !ok || n < low || n > high {
		r.fail("want a whole number %s, not %s", span(low, high), describe(v))
		return 0, false
	}
	return n, true
}

func span(low, high int64) string {
	if high == math.MaxInt64 {
		return fmt.Sprintf("of at least %d", low)
	}
	return fmt.Sprintf("from %d to %d", low, high)
}

// maxMillis is 100 years: far from the end of a time.Duration.
const maxMillis = 100 * 366 * 24 * 3600 * 1000

func (r *reader) millis(v any, low int64) (time.Duration, bool) {
	n, ok := r.int(v, low, math.MaxInt64)
	if ok && n > maxMillis {
		r.fail("want at most %d, 100 years, not %s", int64(maxMillis), describe(v))
		return 0, false
	}
	return time.Duration(n) * time.Millisecond, ok
}

// each calls f for every member of a table, in order, with the reader at its key; false when v is no table, but want says what it
// should be.
func (r *reader) each(v any, want string, f func(name string, value any)) bool {
	values, ok := v.(map[string]any)
	if !ok {
		r.fail("want %s, not %s", want, describe(v))
		return false
	}
	whole := r.key
	for _, name := range sortedKeys(values) {
		r.key = whole + "." + name
		f(name, values[name])
	}
	r.key = whole
	return true
}

// strings reads an array of strings, each checked; an empty array is nil.
func (r *reader) strings(v any, check func(string) error) ([]string, bool) {
	list, ok := v.([]any)
	if !ok {
		r.fail("want an array of strings, not %s", describe(v))
		return nil, false
	}
	var result []string
	for i, element := range list {
		s, isString := element.(string)
		if !isString {
			r.failAt(i, "want an array of strings, element %d is %s", i+1, describe(element))
			ok = false
			continue
		}
		err := noNUL(s)
		if err == nil && check != nil {
			err = check(s)
		}
		if err != nil {
			r.failAt(i, "%s", err)
			ok = false
		}
		result = append(result, s)
	}
	return result, ok
}

// ints reads an array of whole numbers; an empty array is nil.
func (r *reader) ints(v any, low, high int64) ([]int64, bool) {
	list, ok := v.([]any)
	if !ok {
		r.fail("want an array of whole numbers, not %s", describe(v))
		return nil, false
	}
	var result []int64
	for i, element := range list {
		n, isInt := integer(element)
		if !isInt || n < low || n > high {
			r.failAt(i, "want whole numbers %s, element %d is %s", span(low, high), i+1, describe(element))
			ok = false
		}
		result = append(result, n)
	}
	return result, ok
}

// path reads the path of a file or directory; a relative one counts from the file it stands in.
func (r *reader) path(v any) (string, bool) {
	s, ok := r.text(v)
	if !ok || filepath.IsAbs(s) {
		return s, ok
	}
	if r.base == "" {
		r.fail("want an absolute path, not %s: there is no file here that it could count from", strconv.Quote(s))
		return "", false
	}
	return filepath.Join(r.base, s), true
}

// command reads a command line: a string, or an array that is executed as it stands.
func (r *reader) command(v any) (graph.Command, bool) {
	if _, isArray := v.([]any); isArray {
		argv, ok := r.strings(v, nil)
		if ok && (len(argv) == 0 || argv[0] == "") {
			r.fail("the first element must be the program")
			ok = false
		}
		return graph.Command{Argv: argv}, ok && r.noBuiltin(argv[0])
	}
	if _, isString := v.(string); !isString {
		r.fail("want a string or an array of strings, not %s", describe(v))
		return graph.Command{}, false
	}
	s, ok := r.text(v)
	return graph.Command{Line: s}, ok && r.noBuiltin(s)
}

func (r *reader) noBuiltin(s string) bool {
	if strings.HasPrefix(strings.TrimSpace(s), "@builtin:") {
		r.fail("%s: zinit has no built-in services; name a program", strings.TrimSpace(s))
		return false
	}
	return true
}

func noNUL(s string) error {
	if strings.ContainsRune(s, 0) {
		return errors.New("a string may not contain a NUL byte")
	}
	return nil
}

func notEmpty(s string) error {
	if strings.TrimSpace(s) == "" {
		return errors.New("an element may not be empty")
	}
	return nil
}

// maxName is the longest name of a service, in bytes.
const maxName = 128

// CheckName tells what is wrong with the name of a service or target, nil when nothing is.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("a name may not be empty")
	case len(name) > maxName:
		return fmt.Errorf("a name has at most %d bytes, this one has %d", maxName, len(name))
	}
	for i, c := range []byte(name) {
		letter := c == '_' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
		if !letter && (i == 0 || c != '.' && c != '-') {
			return fmt.Errorf("%s is no name: want letters, digits, '_', '.' and '-', not beginning with '.' or '-'",
				strconv.Quote(name))
		}
	}
	return nil
}

// reserved are the names of the pseudo-services in the logs.
var reserved = []string{"zinit", "syslog"}

func (r *reader) name(v any) (string, bool) {
	s, ok := r.string(v)
	if !ok {
		return "", false
	}
	if err := CheckName(s); err != nil {
		r.fail("%s", err)
		return "", false
	}
	if slices.Contains(reserved, s) {
		r.fail("the name %s is reserved for the logs; choose another", s)
		return "", false
	}
	return s, true
}
