package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"sync"

	"github.com/zinit/zinit/rpc/wire"
)

// access is who may call a method.
type access uint8

const (
	accessRead  access = iota // states: everybody who reaches the socket; what it shows of them: rights.go
	accessLogs                // what services have written
	accessEnv                 // definitions, with their environments, and the free texts about processes
	accessWrite               // changes
)

// String returns the word used in the OpenRPC document.
func (a access) String() string {
	return [...]string{"read", "logs", "env", "write"}[a]
}

// method is one entry of the table.
type method struct {
	name    string
	summary string
	params  []param
	access  access
	result  any // a value of the result's type, for the documentation
	// bareConfig: members that are no parameters form the config.
	bareConfig bool

	// call answers from what is known, or (accessWrite) changes something within changeAnswer.
	call func(ctx context.Context, b Backend, a *args) (any, error)
	// pending is the answer of a change that is not finished within changeAnswer.
	pending func(a *args) any
	// waits tells whether this call may take as long as it takes: the client has asked for it.
	waits func(a *args) bool
	// again: a call that waits may be begun again by the next server when an upgrade interrupts it.
	again bool
	// end answers first and then ends the server or the machine by calling begin.
	end func(ctx context.Context, b Backend, a *args) (result any, begin func(), err error)
	// stream answers {"ok":true} and then notifications; open refuses what cannot be followed.
	open   func(b Backend, a *args) error
	stream func(ctx context.Context, b Backend, a *args, send func(notification) error) error
	note   string // the method of its notifications
	item   any    // a value of their parameters' type

	repeatable bool // set by index: calling it twice is as good as once
}

// notification is the parameters of one notification of a stream.
type notification any

// endNotification tells a stream's reader that the server ends it in order. Its parameters are streamEnd.
const endNotification = "end"

// streamEnd says which stream ended, and why when it was an error.
type streamEnd struct {
	Of    string      `json:"of"`
	Error *wire.Error `json:"error,omitempty"`
}

// methods is the table by name, made at the first use: the client has none. discover reads it, so it cannot be
// initialised in place.
func methods() map[string]*method {
	methodsOnce.Do(func() { methodTable = index(table()) })
	return methodTable
}

var (
	methodsOnce sync.Once
	methodTable map[string]*method
)

func index(list []method) map[string]*method {
	byName := make(map[string]*method, len(list))
	for i := range list {
		m := &list[i]
		m.repeatable = m.access != accessWrite && m.stream == nil
		byName[m.name] = m
	}
	return byName
}

func lookup(name string) *method { return methods()[name] }

// The parameters that several methods share.
var (
	paramFiles = param{name: "files", kind: kindString, preset: `"all"`,
		doc: "which files are deleted: all, or written, those that the server wrote itself and nobody has changed"}
	paramName    = param{name: "name", kind: kindString, required: true, doc: "name of the service"}
	paramWait    = param{name: "wait", kind: kindBool, preset: "false", doc: "answer when the outcome is known"}
	paramTimeout = param{name: "timeout_ms", kind: kindInt, preset: "0",
		doc: "give up waiting after so long; 0: what the service's own timeouts allow"}
	paramConfig = param{name: "config", kind: kindObject, required: true,
		doc: "the definition; its members may stand in params themselves"}
)

func named(query func(Backend, string) (any, error)) func(context.Context, Backend, *args) (any, error) {
	return func(_ context.Context, b Backend, a *args) (any, error) { return query(b, a.text(0)) }
}

func plain(query func(Backend) (any, error)) func(context.Context, Backend, *args) (any, error) {
	return func(_ context.Context, b Backend, _ *args) (any, error) { return query(b) }
}

// answer turns a typed result into any result.
func answer[T any](v T, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return v, nil
}

func pendingOK(*args) any { return wire.OK{OK: true, Pending: true} }

func pendingAdded(a *args) any {
	var config struct {
		Service, Target struct{ Name string }
	}
	_ = json.Unmarshal(a.raw[0], &config) // the backend has looked at it
	name := config.Service.Name
	if name == "" {
		name = config.Target.Name
	}
	return wire.Added{Name: name, Pending: true}
}

func pendingPlan(*args) any { return wire.Plan{Pending: true} }

// bulk is the answer of start_all, stop_all and delete_all.
func bulk(verb string, names []string, files *wire.Removed, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	b := wire.AppendStrings(append([]byte(`{"`), verb+`":`...), names)
	b = append(b, `,"count":`...)
	b = strconv.AppendInt(b, int64(len(names)), 10)
	if files != nil {
		b = files.AppendMembers(b)
	}
	return json.RawMessage(append(b, '}')), nil
}

func pendingBulk(verb string) func(*args) any {
	return func(*args) any { return json.RawMessage(`{"` + verb + `":[],"count":0,"pending":true}`) }
}

// asError makes a *wire.Error of any error: what is none becomes -32603.
func asError(err error) *wire.Error {
	var e *wire.Error
	if errors.As(err, &e) {
		if e.Data == nil {
			e = wire.NewError(e.Code, e.Message)
		}
		return e
	}
	var bad *syntaxError
	if errors.As(err, &bad) {
		return wire.NewError(wire.CodeParams, bad.Error())
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return wire.NewError(wire.CodeTimedOut, "timed out")
	}
	return wire.NewError(wire.CodeInternal, err.Error())
}
