package wire

import (
	"encoding/json"
	"fmt"
	"strings"
)

// What 0.3.9's clients read with a fixed type is written with that type here, and ours stands beside it.

// oldProcesses is process_conflict as 0.3.9's clients read it.
type oldProcesses struct {
	Filter    string       `json:"filter"`
	Processes []oldProcess `json:"processes"`
}

type oldProcess struct {
	PID  int    `json:"pid"`
	Name string `json:"name"`
}

// MarshalJSON adds port_conflict as 0.3.9's text and process_conflict as its object.
func (w Why) MarshalJSON() ([]byte, error) {
	type plain Why
	aux := struct {
		plain
		PortText  string        `json:"port_conflict,omitempty"`
		Processes *oldProcesses `json:"process_conflict,omitempty"`
	}{plain: plain(w)}
	aux.WaitingOn, aux.ConflictsWith = notNil(w.WaitingOn), notNil(w.ConflictsWith)
	aux.Cause = notNil(w.Cause)
	if w.PortConflict != nil {
		aux.PortText = w.PortConflict.portText()
	}
	if c := w.ProcessConflict; c != nil {
		aux.Processes = &oldProcesses{Filter: c.Filter, Processes: []oldProcess{{c.PID, c.Process}}}
	}
	return json.Marshal(aux)
}

func (c PortConflict) portText() string {
	switch {
	case c.Service != "":
		return fmt.Sprintf("port %d in use by service %s", c.Port, c.Service)
	case c.Process != "" && c.PID != 0:
		return fmt.Sprintf("port %d in use by external process: %s (PID %d)", c.Port, c.Process, c.PID)
	case c.PID != 0:
		return fmt.Sprintf("port %d in use by external process: PID %d", c.Port, c.PID)
	}
	return fmt.Sprintf("port %d in use by external process: unknown process", c.Port)
}

// MarshalJSON writes listen as 0.3.9's one string and listen_addrs as a list.
func (x XinetStatus) MarshalJSON() ([]byte, error) {
	type plain XinetStatus
	return json.Marshal(struct {
		plain
		Text string   `json:"listen"`
		List []string `json:"listen_addrs"`
	}{plain(x), strings.Join(x.Listen, ", "), notNil(x.Listen)})
}

// UnmarshalJSON reads what MarshalJSON wrote, and 0.3.9's answers.
func (x *XinetStatus) UnmarshalJSON(b []byte) error {
	type plain XinetStatus
	aux := struct {
		*plain
		Text string   `json:"listen"`
		List []string `json:"listen_addrs"`
	}{plain: (*plain)(x)}
	if err := json.Unmarshal(b, &aux); err != nil {
		return err
	}
	x.Listen = aux.List
	if x.Listen == nil && aux.Text != "" {
		x.Listen = strings.Split(aux.Text, ", ")
	}
	return nil
}

// UnmarshalJSON accepts listen as one string too.
func (c *XinetConfig) UnmarshalJSON(b []byte) error {
	type plain XinetConfig
	aux := struct {
		*plain
		Listen json.RawMessage `json:"listen"`
	}{plain: (*plain)(c)}
	if err := json.Unmarshal(b, &aux); err != nil {
		return err
	}
	if len(aux.Listen) == 0 || string(aux.Listen) == "null" {
		return nil
	}
	if aux.Listen[0] == '"' {
		c.Listen = make([]string, 1)
		return json.Unmarshal(aux.Listen, &c.Listen[0])
	}
	return json.Unmarshal(aux.Listen, &c.Listen)
}

// notNil makes a missing list an empty one: JSON gets [] and never null.
func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
