package rpc

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// request is one parsed request. Its slices point into the line.
type request struct {
	id     []byte // raw JSON; nil: a notification
	method []byte // raw JSON string
	params []byte // raw JSON; nil when absent or null
}

// requestMembers are the members of a request; others are ignored, as 0.3.9 does.
const (
	memberVersion = 1 << iota
	memberID
	memberMethod
	memberParams
)

// batchOf looks whether the line is a batch: an array whose first element is an object. An empty array is an error of
// its own; any other array is the array form of one request, as 0.3.9 accepts it.
func batchOf(line []byte) bool {
	s := scanner{data: line}
	if s.space() != '[' {
		return false
	}
	s.pos++
	return s.space() == '{'
}

// parseRequest reads a line that holds one request. Its errors are answered with -32700 and id 0.
func parseRequest(line []byte) (request, error) {
	s := scanner{data: line}
	var req request
	var err error
	switch c := s.space(); {
	case c == '{':
		req, err = parseObject(&s)
	case c == '[':
		req, err = parseArray(&s)
	case s.pos >= len(line):
		return req, &syntaxError{"the line is empty", len(line)}
	default:
		if err = s.value(0); err == nil {
			err = fmt.Errorf("a request must be an object, not %s", kindOf(line[firstOf(line):]))
		}
	}
	if err != nil {
		return req, err
	}
	if s.space(); s.pos < len(line) {
		return req, s.fail("trailing characters")
	}
	return req, nil
}

func firstOf(line []byte) int {
	s := scanner{data: line}
	s.space()
	return s.pos
}

func parseObject(s *scanner) (request, error) {
	var req request
	var seen int
	members := memberScan{scanner: s}
	for {
		more, err := members.next()
		if err != nil {
			return req, err
		}
		if !more {
			break
		}
		which, err := req.take(members.key, members.value)
		if err != nil {
			return req, err
		}
		if seen&which != 0 {
			return req, fmt.Errorf("duplicate member %s", members.key)
		}
		seen |= which
	}
	switch {
	case seen&memberVersion == 0:
		return req, errors.New(`missing member "jsonrpc"`)
	case seen&memberMethod == 0:
		return req, errors.New(`missing member "method"`)
	}
	return req, nil
}

// take stores one member and tells which it was, 0 for an unknown one.
func (req *request) take(key, value []byte) (int, error) {
	which := memberOf(key[1 : len(key)-1])
	if which == 0 && bytes.IndexByte(key, '\\') >= 0 {
		which = memberOf([]byte(unquote(key)))
	}
	switch which {
	case memberVersion:
		return which, checkString("jsonrpc", value)
	case memberID:
		req.id = value
		return which, checkID(value)
	case memberMethod:
		req.method = value
		return which, checkString("method", value)
	case memberParams:
		if value[0] != 'n' {
			req.params = value
		}
	}
	return which, nil
}

func memberOf(key []byte) int {
	switch string(key) {
	case "jsonrpc":
		return memberVersion
	case "id":
		return memberID
	case "method":
		return memberMethod
	case "params":
		return memberParams
	}
	return 0
}

// parseArray reads the array form of a request: ["2.0", id, method] or ["2.0", id, method, params].
func parseArray(s *scanner) (request, error) {
	var req request
	elements := elementScan{s: s}
	for i := 0; ; i++ {
		more, err := elements.next()
		if err != nil {
			return req, err
		}
		if !more && i < 3 {
			return req, fmt.Errorf("a request as an array has 4 elements, not %d", i)
		}
		if !more {
			return req, nil
		}
		if i > 3 {
			return req, errors.New("a request as an array has 4 elements, not more")
		}
		if _, err = req.take(arrayKeys[i], elements.value); err != nil {
			return req, err
		}
	}
}

var arrayKeys = [...][]byte{[]byte(`"jsonrpc"`), []byte(`"id"`), []byte(`"method"`), []byte(`"params"`)}

func checkString(member string, value []byte) error {
	if value[0] != '"' {
		return fmt.Errorf("%q must be a string, not %s", member, kindOf(value))
	}
	return nil
}

// checkID accepts strings, null, and integers from the least int64 to the greatest uint64.
func checkID(value []byte) error {
	switch value[0] {
	case '"', 'n':
		return nil
	case '{', '[', 't', 'f':
		return fmt.Errorf(`"id" must be an integer, a string or null, not %s`, kindOf(value))
	}
	if plainDigits(value) {
		return nil
	}
	if _, err := strconv.ParseUint(string(value), 10, 64); err == nil {
		return nil
	}
	if _, err := strconv.ParseInt(string(value), 10, 64); err == nil {
		return nil
	}
	return fmt.Errorf(`"id" must be an integer of 64 bits, a string or null, not %s`, value)
}

// plainDigits knows the common ids: up to 18 digits.
func plainDigits(value []byte) bool {
	for _, c := range value {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(value) <= 18
}
