package wire

import (
	"encoding/json"
	"slices"
)

// Code is a JSON-RPC error code.
type Code int

// The codes of spec: JSON-RPC 2.0's own and ours.
const (
	CodeParse             Code = -32700
	CodeRequest           Code = -32600
	CodeMethod            Code = -32601
	CodeParams            Code = -32602
	CodeInternal          Code = -32603
	CodeNotFound          Code = -32000
	CodeAlreadyRunning    Code = -32001
	CodeNotRunning        Code = -32002
	CodeInvalidConfig     Code = -32003
	CodeCycle             Code = -32004
	CodeUnsafeRemoval     Code = -32005
	CodeExists            Code = -32010
	CodeValidation        Code = -32011
	CodeMissingDependency Code = -32012
	CodeNoExecutable      Code = -32013
	CodePersist           Code = -32014
	CodeNotPermitted      Code = -32030
	CodeTimedOut          Code = -32031
	CodeNotSent           Code = -32032
)

var kinds = map[Code]string{
	CodeParse: "parse", CodeRequest: "request", CodeMethod: "method", CodeParams: "params", CodeInternal: "internal",
	CodeNotFound: "not_found", CodeAlreadyRunning: "already_running", CodeNotRunning: "not_running",
	CodeInvalidConfig: "invalid_config", CodeCycle: "cycle", CodeUnsafeRemoval: "unsafe_removal", CodeExists: "exists",
	CodeValidation: "validation", CodeMissingDependency: "missing_dependency", CodeNoExecutable: "no_executable",
	CodePersist: "persist", CodeNotPermitted: "not_permitted", CodeTimedOut: "timed_out", CodeNotSent: "not_sent",
}

// Kind is the code as a word, as data.kind carries it.
func (c Code) Kind() string { return kinds[c] }

// Error is a JSON-RPC error object and a Go error.
type Error struct {
	Code    Code           `json:"code"`
	Message string         `json:"message"`
	Data    map[string]any `json:"data,omitempty"` // kind always; cycle, dependents, errors where the code has them
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// NewError makes an Error with data.kind set.
func NewError(code Code, message string) *Error {
	return &Error{Code: code, Message: message, Data: map[string]any{"kind": code.Kind()}}
}

// With adds a member to data and returns e.
func (e *Error) With(key string, value any) *Error { e.Data[key] = value; return e }

// Request is a JSON-RPC 2.0 request. ID is absent for a notification.
type Request struct {
	JSONRPC string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id,omitempty"`
	Method  string          `json:"method"`
	Params  json.RawMessage `json:"params,omitempty"`
}

// Codes returns every code, from the nearest to zero on.
func Codes() []Code {
	list := make([]Code, 0, len(kinds))
	for code := range kinds {
		list = append(list, code)
	}
	slices.SortFunc(list, func(a, b Code) int { return int(b - a) })
	return list
}
