package rpc

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// maxNesting is how deep arrays and objects may lie in each other inside one member of a request.
const maxNesting = 100

// A syntaxError is a place where a line is no JSON. Its text counts columns from 1, as 0.3.9's does.
type syntaxError struct {
	what   string
	column int
}

func (e *syntaxError) Error() string { return fmt.Sprintf("%s at line 1 column %d", e.what, e.column) }

// scanner walks over JSON text and checks it, without building anything. Its methods leave pos behind what they read.
type scanner struct {
	data []byte
	pos  int
}

func (s *scanner) fail(what string) error { return &syntaxError{what, min(s.pos+1, len(s.data))} }

// space skips white space and returns the next byte, 0 at the end.
func (s *scanner) space() byte {
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; c {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// value skips one value that lies depth containers deep.
func (s *scanner) value(depth int) error {
	switch c := s.space(); {
	case c == '{':
		return s.object(depth + 1)
	case c == '[':
		return s.array(depth + 1)
	case c == '"':
		return s.text()
	case c == '-' || '0' <= c && c <= '9':
		return s.number()
	case c == 't':
		return s.word("true")
	case c == 'f':
		return s.word("false")
	case c == 'n':
		return s.word("null")
	case s.pos >= len(s.data):
		return s.fail("the line ends where a value is expected")
	}
	return s.fail("a value is expected")
}

func (s *scanner) word(word string) error {
	if !bytes.HasPrefix(s.data[s.pos:], []byte(word)) {
		return s.fail("expected " + word)
	}
	s.pos += len(word)
	return nil
}

func (s *scanner) object(depth int) error {
	if depth > maxNesting {
		return s.fail(fmt.Sprintf("nesting over %d levels", maxNesting))
	}
	members := memberScan{scanner: s, depth: depth}
	for {
		more, err := members.next()
		if err != nil || !more {
			return err
		}
	}
}

// memberScan reads an object member by member: key and value are the raw text of the one read last.
type memberScan struct {
	*scanner
	depth      int // of the object itself
	begun      bool
	key, value []byte
}

// next reads a member. false: the object has ended.
func (m *memberScan) next() (bool, error) {
	s := m.scanner
	if !m.begun {
		s.pos++ // the opening brace
	}
	switch c := s.space(); {
	case c == '}':
		s.pos++
		return false, nil
	case m.begun && c == ',':
		s.pos++
		c = s.space()
		fallthrough
	case !m.begun && c == '"':
		if c != '"' {
			return false, s.fail("a member name in quotes is expected")
		}
	case s.pos >= len(s.data):
		return false, s.fail("the line ends inside an object")
	case m.begun:
		return false, s.fail("expected , or }")
	default:
		return false, s.fail("a member name in quotes is expected")
	}
	m.begun = true
	return true, m.member()
}

func (m *memberScan) member() error {
	s := m.scanner
	start := s.pos
	if err := s.text(); err != nil {
		return err
	}
	m.key = s.data[start:s.pos]
	if s.space() != ':' {
		return s.fail("expected :")
	}
	s.pos++
	s.space()
	start = s.pos
	if err := s.value(m.depth); err != nil {
		return err
	}
	m.value = s.data[start:s.pos]
	return nil
}

func (s *scanner) array(depth int) error {
	if depth > maxNesting {
		return s.fail(fmt.Sprintf("nesting over %d levels", maxNesting))
	}
	elements := elementScan{s: s, depth: depth}
	for {
		more, err := elements.next()
		if err != nil || !more {
			return err
		}
	}
}

// elementScan reads an array element by element: value is the raw text of the one read last.
type elementScan struct {
	s     *scanner
	depth int // of the array itself
	begun bool
	value []byte
}

// next reads an element. false: the array has ended.
func (e *elementScan) next() (bool, error) {
	s := e.s
	if !e.begun {
		s.pos++ // the opening bracket
	}
	c := s.space()
	switch {
	case c == ']':
		s.pos++
		return false, nil
	case !e.begun:
	case c == ',':
		s.pos++
		s.space()
	case s.pos >= len(s.data):
		return false, s.fail("the line ends inside an array")
	default:
		return false, s.fail("expected , or ]")
	}
	e.begun = true
	start := s.pos
	if err := s.value(e.depth); err != nil {
		return false, err
	}
	e.value = s.data[start:s.pos]
	return true, nil
}

func (s *scanner) text() error {
	for s.pos++; s.pos < len(s.data); s.pos++ {
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			return nil
		case c < ' ':
			return s.fail("a control character inside a string")
		case c == '\\':
			if err := s.escape(); err != nil {
				return err
			}
		}
	}
	return s.fail("the line ends inside a string")
}

// escape checks an escape and leaves pos on its last byte.
func (s *scanner) escape() error {
	s.pos++
	if s.pos >= len(s.data) {
		return s.fail("the line ends inside a string")
	}
	switch s.data[s.pos] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return nil
	case 'u':
		for range 4 {
			s.pos++
			if s.pos >= len(s.data) || !isHex(s.data[s.pos]) {
				return s.fail("four hex digits are expected after \\u")
			}
		}
		return nil
	}
	return s.fail("an unknown escape")
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func (s *scanner) number() error {
	if s.data[s.pos] == '-' {
		s.pos++
	}
	switch {
	case s.pos < len(s.data) && s.data[s.pos] == '0':
		s.pos++
	case !s.digits():
		return s.fail("a digit is expected")
	}
	if s.pos < len(s.data) && s.data[s.pos] == '.' {
		s.pos++
		if !s.digits() {
			return s.fail("a digit is expected after the point")
		}
	}
	if s.pos < len(s.data) && s.data[s.pos]|0x20 == 'e' {
		s.pos++
		if s.pos < len(s.data) && (s.data[s.pos] == '+' || s.data[s.pos] == '-') {
			s.pos++
		}
		if !s.digits() {
			return s.fail("a digit is expected in the exponent")
		}
	}
	return nil
}

// digits skips digits and reports whether there was one.
func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.data) && '0' <= s.data[s.pos] && s.data[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > start
}

// unquote returns the text of a checked JSON string.
func unquote(raw []byte) string {
	inner := raw[1 : len(raw)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner)
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return string(inner)
	}
	return text
}

// kindOf names the type of a checked JSON value, for messages.
func kindOf(raw []byte) string {
	switch raw[0] {
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "an array"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}
