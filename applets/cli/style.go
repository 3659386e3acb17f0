package cli

import (
	"strings"

	"github.com/zinit/zinit/rpc/wire"
)

// style colours text, or does nothing when colour is off.
type style struct{ on bool }

// The colours in use, as SGR parameters.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

func (s style) paint(color, text string) string {
	if !s.on || color == "" || text == "" {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

// stateMark is how one state is drawn.
type stateMark struct{ state, symbol, color string }

// stateMarks are the seven states in the order of their life, with the symbols of spec.
var stateMarks = []stateMark{
	{"inactive", "[-]", dim},
	{"blocked", "[?]", yellow},
	{"starting", "[>]", cyan},
	{"running", "[+]", green},
	{"stopping", "[!]", cyan},
	{"exited", "[.]", ""},
	{"failed", "[X]", red},
}

func markOf(state string) stateMark {
	for _, m := range stateMarks {
		if m.state == state {
			return m
		}
	}
	return stateMark{state, "[ ]", dim}
}

// symbol is the painted symbol of a state.
func (s style) symbol(state string) string {
	m := markOf(state)
	return s.paint(m.color, m.symbol)
}

// stateWord is the painted name of a state; an exit that was no success says its code.
func (s style) stateWord(st wire.State) string { return s.paint(stateColor(st), stateText(st)) }

func stateColor(st wire.State) string {
	if st.State == "exited" && (st.ExitCode == nil || *st.ExitCode != 0) {
		return yellow
	}
	return markOf(st.State).color
}

func stateText(st wire.State) string {
	if st.State == "exited" && st.ExitCode != nil {
		return "exited " + itoa(int64(*st.ExitCode))
	}
	return st.State
}

// legend explains the symbols of the states that occur, and the mark of targets.
func (s style) legend(used map[string]bool, target bool) string {
	var parts []string
	for _, m := range stateMarks {
		if used[m.state] {
			parts = append(parts, s.paint(m.color, m.symbol)+" "+m.state)
		}
	}
	if used["missing"] {
		parts = append(parts, "[ ] missing")
	}
	if target {
		parts = append(parts, "(target) has no process")
	}
	return strings.Join(parts, "  ")
}
