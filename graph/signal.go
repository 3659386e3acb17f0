package graph

import (
	"errors"
	"strconv"
	"strings"
)

// The signals that the rest of the program names, but for SIGCONT, whose number is not the same everywhere.
const (
	SIGHUP  Signal = 1
	SIGINT  Signal = 2
	SIGKILL Signal = 9
	SIGTERM Signal = 15
)

const (
	realTimeMin Signal = 34 // as the C library counts: the kernel's 32 and 33 are its own
	realTimeMax Signal = 64
)

// Name returns "SIGTERM", "SIGRTMIN+3", or the number where there is no name.
func (s Signal) Name() string {
	switch {
	case s > 0 && int(s) < len(signalNames):
		return signalNames[s]
	case s == realTimeMin:
		return "SIGRTMIN"
	case s == realTimeMax:
		return "SIGRTMAX"
	case s > realTimeMin && s < realTimeMax:
		return "SIGRTMIN+" + strconv.Itoa(int(s-realTimeMin))
	}
	return strconv.Itoa(int(s))
}

// String is Name.
func (s Signal) String() string { return s.Name() }

// ParseSignal reads a signal of signal(7): its name in any case, with or without SIG, SIGRTMIN+N, SIGRTMAX-N, or its
// number from 1 to 64.
func ParseSignal(text string) (Signal, error) {
	name := strings.TrimPrefix(strings.ToUpper(text), "SIG")
	if n, err := strconv.Atoi(text); err == nil && n >= 1 && n <= int(realTimeMax) && text[0] != '+' {
		return Signal(n), nil
	}
	for i, known := range signalNames {
		if known != "" && known[len("SIG"):] == name {
			return Signal(i), nil
		}
	}
	if s, ok := signalAliases[name]; ok {
		return s, nil
	}
	if s, ok := parseRealTime(name); ok {
		return s, nil
	}
	return 0, errors.New("unknown signal " + strconv.Quote(text) + ": want a name of signal(7) such as SIGTERM, or 1 to 64")
}

func parseRealTime(name string) (Signal, bool) {
	base, rest := realTimeMin, ""
	switch {
	case strings.HasPrefix(name, "RTMIN"):
		rest = name[len("RTMIN"):]
	case strings.HasPrefix(name, "RTMAX"):
		base, rest = realTimeMax, name[len("RTMAX"):]
	default:
		return 0, false
	}
	if rest == "" {
		return base, true
	}
	offset, err := strconv.Atoi(rest)
	if err != nil || rest[0] != '+' && rest[0] != '-' {
		return 0, false
	}
	s := base + Signal(offset)
	return s, offset > -64 && offset < 64 && s >= realTimeMin && s <= realTimeMax
}
