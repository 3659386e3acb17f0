// Package notify receives what services say about themselves: the sd_notify protocol on one socket a service, and
// readiness on a descriptor as s6 does it. One poller, which is one sleeping goroutine, serves all of them.
package notify

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxDatagram bounds a datagram; a longer one is dropped, as systemd does.
const MaxDatagram = 4096

// statusMax bounds what is kept of STATUS=.
const statusMax = 1024

// Message is one datagram of sd_notify(3). Fields that it does not mention are zero.
type Message struct {
	Ready     bool   // READY=1
	Reloading bool   // RELOADING=1
	Stopping  bool   // STOPPING=1
	HasStatus bool   // STATUS= was there, perhaps empty
	Status    string // one line of valid UTF-8 without control characters, at most 1024 bytes
	Errno     int    // ERRNO=
	HasErrno  bool
	MainPID   int // MAINPID=, 0 = not said; whether the sender may say so is for the reader to check

	Watchdog        bool          // WATCHDOG=1: a sign of life
	WatchdogTrigger bool          // WATCHDOG=trigger: act as if the sign had failed to come
	WatchdogTimeout time.Duration // WATCHDOG_USEC=, 0 = not said
	ExtendTimeout   time.Duration // EXTEND_TIMEOUT_USEC=, 0 = not said
	MonotonicUsec   uint64        // MONOTONIC_USEC=, beside RELOADING=1

	Barrier bool // BARRIER=1: the sender waits until its descriptor is closed
	FDStore bool // FDSTORE=1 or FDSTOREREMOVE=1: understood and ignored, the descriptors are closed
	Unknown int  // how many assignments were not understood
}

// Empty reports whether nothing in the message concerns the service's state.
func (m *Message) Empty() bool {
	return *m == Message{Unknown: m.Unknown, Barrier: m.Barrier, FDStore: m.FDStore}
}

// String is the message in the words of the protocol, separated by blanks, as far as it was understood.
func (m *Message) String() string {
	var words []string
	for _, w := range []struct {
		said bool
		word string
	}{
		{m.Ready, "READY=1"}, {m.Reloading, "RELOADING=1"}, {m.Stopping, "STOPPING=1"},
		{m.MainPID > 0, "MAINPID=" + strconv.Itoa(m.MainPID)},
		{m.Watchdog, "WATCHDOG=1"}, {m.WatchdogTrigger, "WATCHDOG=trigger"},
		{m.WatchdogTimeout > 0, "WATCHDOG_USEC=" + strconv.FormatInt(m.WatchdogTimeout.Microseconds(), 10)},
		{m.ExtendTimeout > 0, "EXTEND_TIMEOUT_USEC=" + strconv.FormatInt(m.ExtendTimeout.Microseconds(), 10)},
		{m.HasErrno, "ERRNO=" + strconv.Itoa(m.Errno)}, {m.HasStatus, "STATUS=" + m.Status},
	} {
		if w.said {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, " ")
}

// Parse reads a datagram: NAME=VALUE separated by newlines. What is not understood is counted and otherwise ignored, as
// the protocol asks; of several assignments of one name the last counts.
func Parse(data []byte) Message {
	var m Message
	for line := range strings.SplitSeq(string(data), "\n") {
		if line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok || !m.assign(name, value) {
			m.Unknown++
		}
	}
	return m
}

func (m *Message) assign(name, value string) bool {
	switch name {
	case "READY":
		return flag(&m.Ready, value)
	case "RELOADING":
		return flag(&m.Reloading, value)
	case "STOPPING":
		return flag(&m.Stopping, value)
	case "BARRIER":
		return flag(&m.Barrier, value)
	case "FDSTORE", "FDSTOREREMOVE":
		return flag(&m.FDStore, value)
	case "STATUS":
		m.HasStatus, m.Status = true, clean(value)
		return true
	case "ERRNO":
		n, err := strconv.Atoi(value)
		if err == nil && n >= 0 {
			m.Errno, m.HasErrno = n, true
		}
		return err == nil && n >= 0
	case "MAINPID":
		return m.mainPID(value)
	case "WATCHDOG":
		if value == "trigger" {
			m.WatchdogTrigger = true
			return true
		}
		return flag(&m.Watchdog, value)
	case "WATCHDOG_USEC":
		return micros(&m.WatchdogTimeout, value)
	case "EXTEND_TIMEOUT_USEC":
		return micros(&m.ExtendTimeout, value)
	case "MONOTONIC_USEC":
		n, err := strconv.ParseUint(value, 10, 64)
		if err == nil {
			m.MonotonicUsec = n
		}
		return err == nil
	}
	return false
}

// flag takes 1; any other value is not understood.
func flag(to *bool, value string) bool {
	if value != "1" {
		return false
	}
	*to = true
	return true
}

func (m *Message) mainPID(value string) bool {
	n, err := strconv.ParseInt(value, 10, 32)
	if err != nil || n < 2 { // process 1 is never a service
		return false
	}
	m.MainPID = int(n)
	return true
}

// durationMax bounds what a service may ask for: a hundred years, far from any overflow.
const durationMax = 100 * 365 * 24 * time.Hour

func micros(to *time.Duration, value string) bool {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil || n == 0 {
		return false
	}
	*to = durationMax
	if n < uint64(durationMax/time.Microsecond) {
		*to = time.Duration(n) * time.Microsecond
	}
	return true
}

// clean makes a status fit for a terminal: valid UTF-8, no control characters, bounded.
func clean(s string) string {
	if len(s) > statusMax {
		s = s[:statusMax]
		for len(s) > 0 && !utf8.ValidString(s[max(0, len(s)-utf8.UTFMax):]) && !utf8.RuneStart(s[len(s)-1]) {
			s = s[:len(s)-1]
		}
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
	if len(s) > statusMax {
		s = strings.ToValidUTF8(s[:statusMax], "")
	}
	return strings.TrimSpace(s)
}
