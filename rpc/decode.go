package rpc

import (
	"encoding/json"
	"errors"
	"strconv"

	"github.com/zinit/zinit/rpc/wire"
)

// decodeListed reads the rows of service.list_full: the answer that is long, and that a person waits for. It takes a
// tenth of encoding/json's time. Members it does not know are skipped, as there.
func decodeListed(body []byte) ([]wire.Listed, error) {
	s := &scanner{data: body}
	if s.space() != '[' {
		return nil, errors.New("an array is expected")
	}
	list := make([]wire.Listed, 0, 1+len(body)/160)
	rows := elementScan{s: s}
	for {
		more, err := rows.next()
		if err != nil || !more {
			return list, err
		}
		list = append(list, wire.Listed{})
		if err := decodeRow(rows.value, &list[len(list)-1]); err != nil {
			return nil, err
		}
	}
}

// eachMember calls fn for the members of a checked object. Keys are without quotes.
func eachMember(object []byte, fn func(key, value []byte) error) error {
	if object[0] != '{' {
		return errors.New("an object is expected, not " + kindOf(object))
	}
	members := memberScan{scanner: &scanner{data: object}}
	for {
		more, err := members.next()
		if err != nil || !more {
			return err
		}
		if err := fn(members.key[1:len(members.key)-1], members.value); err != nil {
			return err
		}
	}
}

func decodeRow(row []byte, l *wire.Listed) error {
	return eachMember(row, func(key, value []byte) error {
		switch string(key) {
		case "name":
			return decodeText(value, &l.Name)
		case "state":
			return decodeState(value, &l.State)
		case "is_target":
			l.IsTarget = value[0] == 't'
		case "uptime_ms":
			return decodeNumber(value, &l.UptimeMS)
		case "restarts":
			n, err := strconv.Atoi(string(value))
			l.Restarts = n
			return err
		case "next_restart_ms":
			return decodeNumber(value, &l.NextRestartMS)
		case "class":
			return decodeText(value, &l.Class)
		case "wanted":
			return decodeText(value, &l.Wanted)
		case "text":
			return decodeText(value, &l.Text)
		case "memory_bytes":
			return json.Unmarshal(value, &l.MemoryBytes)
		case "cpu_percent":
			return json.Unmarshal(value, &l.CPUPercent)
		}
		return nil
	})
}

func decodeState(object []byte, s *wire.State) error {
	return eachMember(object, func(key, value []byte) error {
		switch string(key) {
		case "state":
			return decodeText(value, &s.State)
		case "pid":
			n, err := strconv.Atoi(string(value))
			s.PID = &n
			return err
		case "exit_code":
			return json.Unmarshal(value, &s.ExitCode)
		case "waiting_on":
			return json.Unmarshal(value, &s.WaitingOn)
		case "conflicts_with":
			return json.Unmarshal(value, &s.ConflictsWith)
		case "reason":
			return json.Unmarshal(value, &s.Reason)
		}
		return nil
	})
}

func decodeNumber(value []byte, to **int64) error {
	if value[0] == 'n' {
		return nil
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	*to = &n
	return err
}

// decodeText reads a string; the words that every row has cost no memory.
func decodeText(value []byte, to *string) error {
	if value[0] != '"' {
		return errors.New("a string is expected, not " + kindOf(value))
	}
	switch string(value) {
	case `"running"`:
		*to = "running"
	case `"inactive"`:
		*to = "inactive"
	case `"exited"`:
		*to = "exited"
	case `"user"`:
		*to = "user"
	case `"up"`:
		*to = "up"
	case `"down"`:
		*to = "down"
	case `""`:
		*to = ""
	default:
		*to = unquote(value)
	}
	return nil
}
