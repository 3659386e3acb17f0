package cli

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
)

// isGlob reports whether a name is a pattern. Service names have none of these characters.
func isGlob(name string) bool { return strings.ContainsAny(name, "*?[") }

// selection is what the names of a command line came to.
type selection struct {
	names   []string // in the order given, each once
	single  bool     // exactly one literal name was given: JSON is then one object, not a list
	seen    map[string]bool
	problem error // a pattern that matches nothing; the others are still done
}

// expand replaces patterns by the names they match, by name. It asks the server only when there is a pattern.
func (v *invocation) expand(client *rpc.Client, given []string) (*selection, error) {
	s := &selection{single: len(given) == 1 && !isGlob(given[0])}
	var known []string
	for _, name := range given {
		if !isGlob(name) {
			s.add(name)
			continue
		}
		if known == nil {
			list, err := client.List(v.ctx)
			if err != nil {
				return nil, err
			}
			known = append([]string{}, list...)
		}
		matched, err := match(name, known)
		if err != nil {
			return nil, err
		}
		if len(matched) == 0 {
			s.problem = failf(exitNoService, "no service matches %s (zinit list shows all)", name)
			v.complain(s.problem.Error())
		}
		s.add(matched...)
	}
	return s, nil
}

func (s *selection) add(names ...string) {
	if s.seen == nil {
		s.seen = map[string]bool{}
	}
	for _, name := range names {
		if !s.seen[name] {
			s.seen[name] = true
			s.names = append(s.names, name)
		}
	}
}

func match(pattern string, known []string) ([]string, error) {
	var matched []string
	for _, name := range known {
		ok, err := path.Match(pattern, name)
		if err != nil {
			return nil, usagef("cannot read the pattern %s: want * ? and [abc] (quote it from the shell)", pattern)
		}
		if ok {
			matched = append(matched, name)
		}
	}
	return matched, nil
}

// explain turns what the server answered about one service into the line for people: what was tried, the name, and
// the next step. Errors of the connection pass unchanged.
func (v *invocation) explain(client *rpc.Client, verb, name string, err error) error {
	switch {
	case err == nil:
		return nil
	case isCode(err, wire.CodeNotFound):
		return failf(exitNoService, "cannot %s %s: no such service%s", verb, name, v.suggestion(client, name))
	case isCode(err, wire.CodeNotRunning) && err.Error() == "service "+name+" is not running":
		return failf(exitNotRunning, "cannot %s %s: it is not running (zinit status %s)", verb, name, name)
	case isCode(err, wire.CodeUnsafeRemoval):
		return failf(exitCode(err), "cannot %s %s: %s (with them: zinit %s --cascade %s)", verb, name, dependentsText(err), verb, name)
	}
	if answer := (*wire.Error)(nil); errors.As(err, &answer) {
		return failf(exitCode(err), "cannot %s %s: %s", verb, name, bareMessage(answer.Message, verb, name))
	}
	return err
}

// dependentsText names who requires it, from data.dependents.
func dependentsText(err error) string {
	var answer *wire.Error
	if !errors.As(err, &answer) {
		return err.Error()
	}
	list, _ := answer.Data["dependents"].([]any)
	var names []string
	for _, d := range list {
		names = append(names, fmt.Sprint(d))
	}
	switch {
	case len(names) == 0:
		return answer.Message
	case len(names) > 8:
		names = append(names[:8], plural(len(list)-8, "other"))
	}
	if len(names) == 1 {
		return names[0] + " requires it"
	}
	return strings.Join(names, ", ") + " require it"
}

// bareMessage is the server's message without the beginning that the line has already.
func bareMessage(text, verb, name string) string {
	return trimName(strings.TrimPrefix(text, "cannot "+verb+" "+name+": "), name)
}

// trimName drops a leading "NAME: " or "NAME " that the line has already.
func trimName(text, name string) string {
	if rest, ok := strings.CutPrefix(text, name+": "); ok {
		return rest
	}
	return text
}

// suggestion names the nearest service, or the way to find it.
func (v *invocation) suggestion(client *rpc.Client, name string) string {
	list, err := client.List(v.ctx)
	if err != nil {
		return ""
	}
	if best := nearest(name, list); best != "" {
		return "; did you mean " + best + "?"
	}
	return " (zinit list shows all)"
}
