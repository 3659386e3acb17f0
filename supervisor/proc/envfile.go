package proc

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/zinit/zinit/graph"
)

// envFileMax bounds an env_file.
const envFileMax = 1 << 20

// addFiles merges the files of env_file in their order.
func (e *environment) addFiles(c *graph.Config) *Error {
	for _, path := range c.EnvFiles {
		file, err := ReadEnvFile(path, c)
		if err != nil {
			return err
		}
		for _, v := range file.Vars {
			e.set(v.Name, v.Value)
		}
	}
	return nil
}

// EnvFile is what one env_file holds.
type EnvFile struct {
	Path    string // absolute, or as the server was given it
	Vars    []EnvVar
	Ignored []int // numbers of the lines, from 1, that the format systemd passes over without a word
	Line    int   // where it cannot be read, 0 = nowhere
	Problem string
}

// EnvVar is one assignment of an env_file.
type EnvVar struct{ Name, Value string }

// ReadEnvFile reads one of the files of env_file in c's format. A leading '-' means that it may be
// missing, which gives no variables; a relative path counts from the directory of the service's own
// file. An error is of StepEnvFile, names the file and the line, and says nothing of what stands in
// it: these files hold secrets, and errors go into logs.
func ReadEnvFile(path string, c *graph.Config) (*EnvFile, *Error) {
	path, optional := strings.CutPrefix(path, "-")
	if !filepath.IsAbs(path) && c.Source != "" {
		path = filepath.Join(filepath.Dir(c.Source), path)
	}
	file := &EnvFile{Path: path}
	data, err := readSmall(path, envFileMax)
	switch {
	case errors.Is(err, os.ErrNotExist) && optional:
		return file, nil
	case errors.Is(err, os.ErrNotExist):
		return file, failf(StepEnvFile, errnoOf(err), "cannot read env_file %s: %v; - before the name lets it be missing",
			path, cause(err))
	case err != nil:
		return file, failf(StepEnvFile, errnoOf(err), "cannot read env_file %s: %v", path, cause(err))
	}
	if err := file.parse(string(data), c.EnvFormat); err != nil {
		file.Problem = err.Error()
		return file, failf(StepEnvFile, 0, "cannot read env_file %s:%d: %v", path, file.Line, err)
	}
	return file, nil
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

// The errors of env files. They are fixed texts: see ReadEnvFile.
var (
	errNoAssignment = errors.New("want NAME=VALUE with a name of letters, digits and _")
	errNoDotenv     = errors.New("want NAME=VALUE with a name of letters, digits, _ . and -")
	errAfterQuote   = errors.New("only blanks and a comment with a blank before its # may follow the closing quote")
	errNUL          = errors.New("a NUL byte")
)

func errOpenQuote(quote byte) error { return fmt.Errorf("the quote %c has no end", quote) }

// parse reads the text of a file. On an error Line is the line where what is wrong begins.
func (f *EnvFile) parse(data string, format graph.EnvFormat) error {
	if nul := strings.IndexByte(data, 0); nul >= 0 {
		f.Line = 1 + strings.Count(data[:nul], "\n")
		return errNUL
	}
	p := envParser{data: strings.TrimPrefix(data, "\ufeff"), line: 1, file: f}
	switch format {
	case graph.EnvSh:
		return p.readSh()
	case graph.EnvSystemd:
		p.readSystemd()
		return nil
	}
	return p.pairs((*envParser).dotenvName, (*envParser).dotenvValue)
}

// envParser is where the reading of one file stands.
type envParser struct {
	data string
	at   int
	line int
	file *EnvFile
}

// pairs reads names and values until the end of the file.
func (p *envParser) pairs(name, value func(*envParser) (string, error)) error {
	for p.skip() {
		p.file.Line = p.line
		key, err := name(p)
		if err != nil {
			return err
		}
		text, err := value(p)
		if err != nil {
			return err
		}
		p.file.Vars = append(p.file.Vars, EnvVar{key, text})
	}
	p.file.Line = 0
	return nil
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
			p.restOfLine()
		default:
			return true
		}
	}
	return false
}

// restOfLine reads up to the newline or the end.
func (p *envParser) restOfLine() string {
	line, _, _ := strings.Cut(p.data[p.at:], "\n")
	p.at += len(line)
	return line
}

// blanks passes blanks within a line.
func (p *envParser) blanks() {
	for p.at < len(p.data) && (p.data[p.at] == ' ' || p.data[p.at] == '\t') {
		p.at++
	}
}

// upTo reads the text before the first of the separators in this line, without an export before it,
// and the separator.
func (p *envParser) upTo(separators string) (string, error) {
	end := strings.IndexAny(p.data[p.at:], separators+"\n")
	if end < 0 || p.data[p.at+end] == '\n' {
		return "", errNoAssignment
	}
	key := p.data[p.at : p.at+end]
	p.at += end + 1
	if rest, ok := strings.CutPrefix(key, "export"); ok && rest != "" && strings.IndexByte(" \t", rest[0]) >= 0 {
		if rest = strings.TrimLeft(rest, " \t"); rest != "" {
			key = rest
		}
	}
	return key, nil
}

// dotenvName reads an optional export, the name, and = or : with blanks around it, as docker
// compose does.
func (p *envParser) dotenvName() (string, error) {
	key, err := p.upTo("=:")
	key = strings.TrimRight(key, " \t")
	if err != nil || !isDotenvName(key) {
		return "", errNoDotenv
	}
	return key, nil
}

// isDotenvName allows what programs do with names that no shell can set (Spring reads server.port).
func isDotenvName(s string) bool {
	for i := range len(s) {
		if c := s[i]; !nameByte(c, i == 0) && (i == 0 || c != '.' && c != '-') {
			return false
		}
	}
	return s != ""
}

// dotenvValue reads a value as docker compose documents it, except that no $ is replaced. A quote
// counts only as the first byte: '…' is literal, in "…" a backslash escapes \ " $ n r t and stays
// before everything else, both may span lines. Any other value is literal up to the end of the
// line, or up to a # behind a blank, without the blanks around it.
func (p *envParser) dotenvValue() (string, error) {
	p.blanks()
	if p.at < len(p.data) {
		switch p.data[p.at] {
		case '\'':
			return p.dotenvQuoted('\'', "'")
		case '"':
			return p.dotenvQuoted('"', dotenvEscapes)
		}
	}
	before := p.data[p.at-1] // = or a blank
	line := string(before) + p.restOfLine()
	if comment := strings.Index(line, " #"); comment >= 0 {
		line = line[:comment+1]
	}
	return strings.TrimRight(line[1:], " \t\r\v\f"), nil
}

// dotenvEscapes are what may follow a backslash within "…", and dotenvMeans what it then stands
// for.
const (
	dotenvEscapes = `nrt"\$`
	dotenvMeans   = "\n\r\t\"\\$"
)

// dotenvQuoted reads from the opening quote to the end of the line of the closing one.
func (p *envParser) dotenvQuoted(quote byte, escapes string) (string, error) {
	var b strings.Builder
	for p.at++; p.at < len(p.data); p.at++ {
		c := p.data[p.at]
		switch {
		case c == '\n':
			p.line++
		case c == quote:
			p.at++
			return b.String(), p.afterQuote()
		case c == '\\' && p.at+1 < len(p.data) && strings.IndexByte(escapes, p.data[p.at+1]) >= 0:
			if quote == '\'' {
				// 'it\'s' is docker compose's way to write a quote, and 'C:\dir\' ends in a
				// backslash: what follows tells.
				rest := *p
				rest.at += 2
				if rest.afterQuote() == nil {
					break
				}
			}
			p.at++
			c = p.data[p.at]
			if quote == '"' {
				c = dotenvMeans[strings.IndexByte(dotenvEscapes, c)]
			}
		}
		b.WriteByte(c)
	}
	return "", errOpenQuote(quote)
}

// afterQuote passes what may follow a closing quote.
func (p *envParser) afterQuote() error {
	rest := strings.TrimSuffix(p.restOfLine(), "\r")
	text := strings.TrimLeft(rest, " \t")
	if text == "" || text[0] == '#' && len(text) < len(rest) {
		return nil
	}
	return errAfterQuote
}
