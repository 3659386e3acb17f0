package proc

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// envFileMax bounds an env_file.
const envFileMax = 1 << 20

// addFile merges an env_file; a leading '-' means that it may be missing, a relative path counts from the directory of
// the service's own file.
func (e *environment) addFile(path, source string) *Error {
	path, optional := strings.CutPrefix(path, "-")
	if !filepath.IsAbs(path) && source != "" {
		path = filepath.Join(filepath.Dir(source), path)
	}
	data, err := readSmall(path, envFileMax)
	if errors.Is(err, os.ErrNotExist) && optional {
		return nil
	}
	if err != nil {
		return failf(StepEnvFile, errnoOf(err), "cannot read env_file %s: %v", path, cause(err))
	}
	pairs, line, err := ParseEnvFile(string(data))
	if err != nil {
		return failf(StepEnvFile, 0, "cannot read env_file %s:%d: %v", path, line, err)
	}
	for _, p := range pairs {
		e.set(p[0], p[1])
	}
	return nil
}

// cause strips the operation and path that os adds to an error.
func cause(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// readSmall reads a regular file of at most limit bytes. It does not block on a FIFO.
func readSmall(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !st.Mode().IsRegular():
		return nil, errors.New("not a regular file")
	case st.Size() > limit:
		return nil, fmt.Errorf("larger than %d bytes", limit)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// ParseEnvFile reads KEY=VALUE lines: blank lines and # comments are skipped, a leading export is allowed, values are
// quoted as in sh(1) ('…' literally, "…" and bare with backslash), a quoted value may span lines, and nothing is
// expanded: a dollar is a dollar. In a bare value blanks inside are kept, those around it are not, and a # after a blank
// begins a comment. On an error line is its line number, from 1.
func ParseEnvFile(data string) (pairs [][2]string, line int, err error) {
	if nul := strings.IndexByte(data, 0); nul >= 0 {
		return nil, 1 + strings.Count(data[:nul], "\n"), errors.New("a NUL byte")
	}
	p := envParser{data: strings.TrimPrefix(data, "\ufeff"), line: 1}
	for p.skip() {
		line = p.line
		key, err := p.key()
		if err != nil {
			return nil, line, err
		}
		value, err := p.value()
		if err != nil {
			return nil, line, err
		}
		pairs = append(pairs, [2]string{key, value})
	}
	return pairs, 0, nil
}

type envParser struct {
	data string
	at   int
	line int
}

// skip passes blanks, empty lines and comment lines; false at the end.
func (p *envParser) skip() bool {
	for p.at < len(p.data) {
		switch p.data[p.at] {
		case '\n':
			p.line++
			p.at++
		case ' ', '\t', '\r':
			p.at++
		case '#':
			p.comment()
		default:
			return true
		}
	}
	return false
}

func (p *envParser) comment() {
	for p.at < len(p.data) && p.data[p.at] != '\n' {
		p.at++
	}
}

// key reads an optional export, the name and the equals sign.
func (p *envParser) key() (string, error) {
	end := strings.IndexAny(p.data[p.at:], "=\n")
	if end < 0 || p.data[p.at+end] != '=' {
		return "", fmt.Errorf("want KEY=VALUE, got %q", clip(strings.SplitN(p.data[p.at:], "\n", 2)[0]))
	}
	key := p.data[p.at : p.at+end]
	p.at += end + 1
	if rest, ok := strings.CutPrefix(key, "export"); ok && strings.TrimLeft(rest, " \t") != rest {
		key = strings.TrimLeft(rest, " \t")
	}
	if !isName(key) {
		return "", fmt.Errorf("%q is no name of a variable: letters, digits and _", clip(key))
	}
	return key, nil
}

// value reads up to the end of the line or of the last quoted part.
func (p *envParser) value() (string, error) {
	var b strings.Builder
	for p.at < len(p.data) && (p.data[p.at] == ' ' || p.data[p.at] == '\t') {
		p.at++
	}
	kept := 0 // length of b without trailing bare blanks
	for p.at < len(p.data) && p.data[p.at] != '\n' {
		c := p.data[p.at]
		switch {
		case c == '\'' || c == '"':
			if err := p.quoted(&b, c); err != nil {
				return "", err
			}
			kept = b.Len()
			continue
		case c == '\\':
			p.escaped(&b)
			kept = b.Len()
			continue
		case c == '#' && b.Len() > kept, c == '#' && b.Len() == 0 && p.data[p.at-1] != '=':
			p.comment()
			continue
		case c == '\r' && (p.at+1 == len(p.data) || p.data[p.at+1] == '\n'):
			p.at++
			continue
		}
		b.WriteByte(c)
		p.at++
		if c != ' ' && c != '\t' {
			kept = b.Len()
		}
	}
	return b.String()[:kept], nil
}

// quoted reads '…' or "…"; in the latter a backslash escapes $ ` " and itself, and joins lines.
func (p *envParser) quoted(b *strings.Builder, quote byte) error {
	for p.at++; p.at < len(p.data); p.at++ {
		c := p.data[p.at]
		switch {
		case c == quote:
			p.at++
			return nil
		case quote == '"' && c == '\\' && p.at+1 < len(p.data) && strings.IndexByte("$`\"\\\n", p.data[p.at+1]) >= 0:
			p.at++
			c = p.data[p.at]
			if c == '\n' {
				p.line++
				continue
			}
		case c == '\n':
			p.line++
		}
		b.WriteByte(c)
	}
	return fmt.Errorf("the quote %c has no end", quote)
}

// escaped reads a backslash outside quotes: it keeps the next byte, and joins lines.
func (p *envParser) escaped(b *strings.Builder) {
	p.at++
	switch {
	case p.at == len(p.data):
		b.WriteByte('\\')
		return
	case p.data[p.at] == '\n':
		p.line++
	default:
		b.WriteByte(p.data[p.at])
	}
	p.at++
}
