package ownlog

import (
	"cmp"
	"log/slog"
	"slices"
)

// kind is what messages that differ only in details have in common.
type kind struct {
	message string
	level   slog.Level
}

type subject struct {
	kind
	service string
}

// counts are messages told and held back within the window.
type counts struct{ told, held int }

const maxSubjects = 4096

// limiter counts messages within one window.
type limiter struct {
	kinds    map[kind]*counts
	subjects map[subject]*counts
}

func (l *limiter) reset() {
	l.kinds, l.subjects = map[kind]*counts{}, map[subject]*counts{}
}

// admit reports whether a message is told. Over the bound of its service it is counted there, else over the bound of
// its kind there.
func (l *limiter) admit(k kind, service string, burst, all int) bool {
	whole := l.kinds[k]
	if whole == nil {
		if len(l.kinds) >= maxSubjects {
			return true
		}
		whole = &counts{}
		l.kinds[k] = whole
	}
	s := subject{k, service}
	one := l.subjects[s]
	if one == nil && len(l.subjects) < maxSubjects {
		one = &counts{}
		l.subjects[s] = one
	}
	if whole.told >= all || (one != nil && service != "" && one.told >= burst) {
		whole.held++
		if one != nil {
			one.held++
		}
		return false
	}
	whole.told++
	if one != nil {
		one.told++
	}
	return true
}

type summary struct {
	kind     kind
	service  string
	services int
	more     uint64
}

// summaries are one a kind of message; it names the service when there is just one.
func (l *limiter) summaries() []summary {
	byKind := map[kind]*summary{}
	for s, n := range l.subjects {
		if n.held == 0 {
			continue
		}
		sum := byKind[s.kind]
		if sum == nil {
			sum = &summary{kind: s.kind, service: s.service}
			byKind[s.kind] = sum
		} else {
			sum.service = ""
		}
		sum.services++
	}
	var out []summary
	for k, n := range l.kinds {
		if n.held == 0 {
			continue
		}
		sum := byKind[k]
		if sum == nil {
			sum = &summary{kind: k}
		}
		sum.more = uint64(n.held)
		out = append(out, *sum)
	}
	slices.SortFunc(out, func(x, y summary) int { return cmp.Compare(x.kind.message, y.kind.message) })
	return out
}
