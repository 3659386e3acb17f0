package rpc

import (
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/zinit/zinit/rpc/wire"
)

// What a peer may see is decided here and nowhere else. A peer has all rights, or the right to states only (see
// newConn). Which methods it may call stands in the table of methods; what the answers of those methods show it stands
// in the table below, member by member. What is in neither of its columns is not shown: a new member is hidden until
// somebody decides about it, and a test fails until then.

// sight is one row of the table: a type of package wire, and its members by their Go names.
type sight struct {
	of     any
	states string // shown to everybody
	told   string // texts that can repeat what a program or a definition said: told anew, from the states alone
	hidden string // output of checks, hooks and services, URLs, command lines, messages about definitions
}

func sights() []sight {
	return []sight{
		{of: wire.State{}, states: "State PID ExitCode WaitingOn ConflictsWith Reason"},
		{of: wire.Reason{}, states: "Type Code Signal Attempts Service Dependency Kind", hidden: "Message Detail"},
		{of: wire.Listed{}, told: "Text",
			states: "Name State IsTarget UptimeMS Restarts NextRestartMS Class Wanted MemoryBytes CPUPercent"},
		{of: wire.Status{}, states: "Name State PID ExitCode", hidden: "Error"},
		{of: wire.Dependency{}, states: "Name DepType Binds State Satisfied Missing"},
		{of: wire.Exit{}, states: "Code Signal Text At"},
		{of: wire.HealthStatus{}, states: "Type Checks FailuresRow LastOK LastAt", hidden: "Target LastDetail"},
		{of: wire.Process{}, states: "PID PPID Name State MemoryBytes CPUMS Stray Outside", hidden: "Cmdline"},
		{of: wire.StatusFull{}, told: "Cause", hidden: "StatusText Warnings Log ChangedOnDisk",
			states: "Name State IsTarget Dependencies UptimeSecs UptimeMS StartedAt Since Wanted Due Class Critical Oneshot " +
				"StatusKey Incarnation PID ReadyAt Restarts MaxRestarts BackoffMS NextRestartMS NextRestartAt LastExit " +
				"Sinks Announced Health Job Processes MemoryBytes CPUPercent Tracking Cgroup Ports Source Ephemeral Unkillable OOM"},
		{of: wire.Children{}, states: "Children"},
		{of: wire.Child{}, states: "PID Name MemoryBytes"},
		{of: wire.Stats{}, states: "PID MemoryBytes CPUPercent"},
		{of: wire.Why{}, told: "ASCII",
			states: "Name Blocked WaitingOn ConflictsWith PortConflict ProcessConflict Cause"},
		{of: wire.PortConflict{}, states: "Port PID Process Service", hidden: "Filter"},
		{of: wire.CauseLink{}, states: "Name State", told: "Text"},
		{of: wire.Tree{}, states: "ASCII Nodes"}, // names and states, drawn
		{of: wire.TreeNode{}, states: "Name State IsTarget Dependencies"},
		{of: wire.OK{}, states: "OK Pending State Outcome KilledAfterMS LeftRunning", hidden: "Text Removed ChangedOnDisk"},
		{of: wire.LeftProcess{}, states: "PID Name"},
		{of: wire.Removed{}, hidden: "Deleted Kept"},
		{of: wire.Waited{}, states: "States"},
		{of: wire.Event{}, states: "Seq Time Service From To Cause By PID", told: "Text"},
		{of: wire.Events{}, states: "Events Next Missed"},
		{of: wire.Ping{}, states: "Version PID UptimeMS Mode Features Ending"},
		{of: wire.Ending{}, states: "Waiting Cut Text"},
		{of: wire.Sink{}, states: "Delivery Written Lost Errors Queued", hidden: "Target Last"},
		{of: wire.Problem{}, states: "File Line Column Service Severity", hidden: "Message"},
		{of: wire.LastUpgrade{}, states: "ID From To Outcome", hidden: "Path Reason"},
		{of: wire.SystemStatus{},
			states: "Version PID UptimeMS Mode ConfigDirs Socket Tracking Counts Failed Blocked Problems Strays ServerStarts " +
				"LastCrash RolledBack LastUpgrade Sinks ShuttingDown LogArenaBytes"},
		{of: wire.Boot{}, states: "KernelMS PID1MS ServerMS LoadedMS DoneMS Services Critical"},
		{of: wire.BootService{}, states: "Name DueMS StartMS ReadyMS Waited"},
		{of: wire.Job{}, states: "Name State Wanted Schedules NextAt LeftMS RunningMS Queued Last"},
		{of: wire.JobSchedule{}, states: "Kind Text Timezone Overlap CatchUp"},
		{of: wire.JobRun{}, states: "Incarnation BeganAt EndedAt TookMS Cause Code Signal LeftOut", hidden: "Failed"},
		{of: wire.Metrics{}, states: "ContentType Text"}, // names, states and numbers
		{of: wire.XinetStatus{}, states: "Name Listen Backend Service Running Connections ActiveConnections " +
			"TotalConnections BytesIn BytesOut"},
	}
}

// messages are the codes whose texts speak of the request alone. Those of the others can repeat what a check said.
var messages = map[wire.Code]bool{wire.CodeParse: true, wire.CodeRequest: true, wire.CodeMethod: true,
	wire.CodeParams: true, wire.CodeNotFound: true, wire.CodeNotPermitted: true}

// seen tells of each member of a type whether it is shown.
type seen struct{ states, told map[string]bool }

var sightTable = sync.OnceValue(func() map[reflect.Type]seen {
	table := map[reflect.Type]seen{}
	for _, row := range sights() {
		s := seen{states: map[string]bool{}, told: map[string]bool{}}
		for _, name := range strings.Fields(row.states) {
			s.states[name] = true
		}
		for _, name := range strings.Fields(row.told) {
			s.told[name] = true
		}
		table[reflect.TypeOf(row.of)] = s
	}
	return table
})

// visible is what this peer may see of an answer or a notification. The answer itself stays as it is: it may be shared.
func (c *serverConn) visible(answer any) any {
	if c.trusted || answer == nil {
		return answer
	}
	copied := reflect.New(reflect.TypeOf(answer)).Elem()
	copied.Set(reflect.ValueOf(answer))
	cover(copied)
	return copied.Interface()
}

// visibleError is what this peer may see of an error.
func (c *serverConn) visibleError(err *wire.Error) *wire.Error {
	if c.trusted {
		return err
	}
	if messages[err.Code] {
		return wire.NewError(err.Code, err.Message)
	}
	return wire.NewError(err.Code, strings.ReplaceAll(err.Code.Kind(), "_", " ")+"; only "+c.mayAll()+" may read why")
}

// cover empties what is not shown inside v, and tells anew what is told. Lists and pointers are copied before.
func cover(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			copied := reflect.New(v.Type().Elem())
			copied.Elem().Set(v.Elem())
			cover(copied.Elem())
			v.Set(copied)
		}
	case reflect.Slice:
		if v.IsNil() || v.Type().Elem().Kind() != reflect.Struct {
			return
		}
		list := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(list, v)
		v.Set(list)
		for i := range v.Len() {
			cover(v.Index(i))
		}
	case reflect.Struct:
		coverStruct(v)
	}
}

func coverStruct(v reflect.Value) {
	rights := sightTable()[v.Type()]
	for i := range v.NumField() {
		field, name := v.Field(i), v.Type().Field(i).Name
		switch {
		case rights.states[name]:
			cover(field)
		case !rights.told[name] || field.IsZero():
			field.SetZero()
		default:
			defer func() { field.SetString(retell(v.Interface())) }() // when all its states are covered
		}
	}
}

// retell says in words what the states of an answer say.
func retell(answer any) string {
	switch a := answer.(type) {
	case wire.Listed:
		return stateText(a.State)
	case wire.StatusFull:
		return stateText(a.State)
	case wire.CauseLink:
		return stateText(a.State)
	case wire.Event:
		return a.Service + ": " + a.From + " -> " + a.To
	case wire.Why:
		lines := make([]string, len(a.Cause))
		for i, link := range a.Cause {
			lines[i] = link.Name + " " + link.Text
		}
		return strings.Join(lines, "\n")
	}
	return ""
}

// stateText is a state in words, with the part of its reason that is no free text.
func stateText(s wire.State) string {
	text := "is " + s.State
	switch {
	case len(s.WaitingOn) > 0:
		return text + ": waits for " + strings.Join(s.WaitingOn, ", ")
	case len(s.ConflictsWith) > 0:
		return text + ": conflicts with " + strings.Join(s.ConflictsWith, ", ")
	case s.Reason == nil:
		return text
	}
	text += ": " + strings.ReplaceAll(s.Reason.Type, "_", " ")
	for _, n := range []*int{s.Reason.Code, s.Reason.Signal} {
		if n != nil {
			text += " " + strconv.Itoa(*n)
		}
	}
	for _, name := range []string{s.Reason.Service, s.Reason.Dependency} {
		if name != "" {
			text += " " + name
		}
	}
	return text
}
