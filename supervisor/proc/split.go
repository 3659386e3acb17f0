package proc

import (
	"errors"
	"fmt"
	"strings"
)

// needsShell are words that only a shell understands when they come first: its reserved words and those of its builtins
// that cannot be separate programs, because they change or read the shell's own state.
var needsShell = set(
	"!", "{", "}", "case", "do", "done", "elif", "else", "esac", "fi", "for", "if", "in", "then", "until", "while",
	".", ":", "alias", "bg", "break", "cd", "command", "continue", "eval", "exec", "exit", "export", "fc", "fg",
	"getopts", "hash", "jobs", "local", "read", "readonly", "return", "set", "shift", "source", "times", "trap",
	"type", "typeset", "declare", "ulimit", "umask", "unalias", "unset", "wait", "builtin", "shopt", "function",
	"select", "coproc", "let", "pushd", "popd", "dirs", "disown", "enable", "help", "history", "logout", "suspend",
)

// alsoBuiltin are builtins that usually exist as programs too and then run as such, without a shell. Where the program
// is missing the line goes to the shell after all.
var alsoBuiltin = set("echo", "printf", "test", "true", "false", "kill", "pwd")

func set(words ...string) map[string]bool {
	m := make(map[string]bool, len(words))
	for _, w := range words {
		m[w] = true
	}
	return m
}

// Split splits a command line by the quoting rules of sh(1), or says in shell why it must go to a shell. It never does
// both. An error is a line that no shell could read either.
//
// The test of these rules is /bin/sh itself: what Split calls free of syntax must reach a program as the same words.
func Split(line string) (words []string, shell string, err error) {
	if strings.IndexByte(line, 0) >= 0 {
		return nil, "", errors.New("it has a NUL byte")
	}
	s := splitter{line: line}
	words, err = s.words()
	if s.shell == "" && err == nil {
		words, s.shell = s.direct(words)
	}
	if s.shell != "" {
		return nil, s.shell, nil
	}
	return words, "", err
}

type splitter struct {
	line  string
	at    int
	shell string // why a shell is needed
	// assigns says for each word whether an unquoted NAME= starts it.
	assigns []bool
}

// words reads until the end, or until something needs a shell.
func (s *splitter) words() ([]string, error) {
	var out []string
	for {
		for s.at < len(s.line) && (s.line[s.at] == ' ' || s.line[s.at] == '\t') {
			s.at++
		}
		if s.at == len(s.line) {
			return out, nil
		}
		w, err := s.word()
		if err != nil || s.shell != "" {
			return nil, err
		}
		out = append(out, w)
	}
}

// word reads one word. A name followed by = counts as an assignment only while nothing of it is quoted.
func (s *splitter) word() (string, error) {
	var b strings.Builder
	plain, assigns := true, false
	for s.at < len(s.line) {
		c := s.line[s.at]
		switch c {
		case ' ', '\t':
			s.assigns = append(s.assigns, assigns)
			return b.String(), nil
		case '\'', '"', '\\':
			plain = false
			if err := s.quoted(&b, c); err != nil || s.shell != "" {
				return "", err
			}
			continue
		case '=':
			assigns = assigns || plain && isName(b.String())
		}
		if strings.IndexByte("|&;<>()*?[~#\n$`", c) >= 0 {
			s.needs(c)
			return "", nil
		}
		b.WriteByte(c)
		s.at++
	}
	s.assigns = append(s.assigns, assigns)
	return b.String(), nil
}

func (s *splitter) needs(c byte) {
	s.shell = fmt.Sprintf("%q at column %d", c, s.at+1)
}

// quoted reads '…', "…" or a backslash with what it escapes.
func (s *splitter) quoted(b *strings.Builder, quote byte) error {
	switch quote {
	case '\'':
		end := strings.IndexByte(s.line[s.at+1:], '\'')
		if end < 0 {
			return s.unterminated(quote)
		}
		b.WriteString(s.line[s.at+1 : s.at+1+end])
		s.at += end + 2
		return nil
	case '\\':
		return s.escaped(b)
	default:
		return s.double(b)
	}
}

// escaped reads a backslash outside quotes. Before $, ` and a newline, and at the end, the shell is asked: it is rare,
// and shells differ.
func (s *splitter) escaped(b *strings.Builder) error {
	if s.at+1 == len(s.line) || strings.IndexByte("$`\n", s.line[s.at+1]) >= 0 {
		s.needs('\\')
		return nil
	}
	b.WriteByte(s.line[s.at+1])
	s.at += 2
	return nil
}

// double reads "…": a backslash escapes only " and itself there ($ and ` go to the shell), and joins lines.
func (s *splitter) double(b *strings.Builder) error {
	start := s.at
	for s.at++; s.at < len(s.line); s.at++ {
		c := s.line[s.at]
		switch {
		case c == '"':
			s.at++
			return nil
		case c == '$' || c == '`':
			s.needs(c)
			return nil
		case c == '\\' && s.at+1 < len(s.line) && strings.IndexByte("\"\\\n", s.line[s.at+1]) >= 0:
			s.at++
			if s.line[s.at] != '\n' {
				b.WriteByte(s.line[s.at])
			}
		default:
			b.WriteByte(c)
		}
	}
	s.at = start
	return s.unterminated('"')
}

func (s *splitter) unterminated(quote byte) error {
	return fmt.Errorf("the %c at column %d has no end", quote, s.at+1)
}

// direct looks at the first word: exec CMD is CMD, an assignment, a reserved word or a builtin needs the shell.
func (s *splitter) direct(words []string) ([]string, string) {
	if len(words) > 1 && words[0] == "exec" && !strings.HasPrefix(words[1], "-") {
		words, s.assigns = words[1:], s.assigns[1:]
	}
	switch {
	case len(words) == 0:
		return words, ""
	case s.assigns[0]:
		return nil, "an assignment before the command"
	case needsShell[words[0]]:
		return nil, fmt.Sprintf("the shell's word %q", words[0])
	case words[0] == "echo" && strings.IndexByte(strings.Join(words, " "), '\\') >= 0:
		return nil, "echo with a backslash, which the shell's own echo reads differently"
	}
	return words, ""
}
