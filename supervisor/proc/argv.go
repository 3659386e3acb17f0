package proc

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
)

// shellPath is the shell for lines that need one.
const shellPath = "/bin/sh"

// DefaultPath is the PATH of a service whose environment has none.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Plan is what will be executed.
type Plan struct {
	Path  string   // the program, absolute or relative to the working directory
	Argv  []string // at least one word
	Shell bool     // the line goes to /bin/sh -c
	// Script lets a program without a #! line run under /bin/sh, as a shell that was given the line would do.
	Script bool
}

// Resolve decides how a command runs (docs/design/process.md, Spawn): an array as it stands, with expand after $VAR is
// taken from env, a string without shell syntax directly, any other string by /bin/sh -c. A bare program name is looked up
// in env's PATH; dir is the working directory that relative names count from, "" = the supervisor's own.
func Resolve(c graph.Command, expand bool, env []string, dir string) (Plan, *Error) {
	words, shell, err := Words(c, expand, env)
	if err != nil {
		return Plan{}, failf(StepExec, 0, "cannot use the command: %v", err)
	}
	if shell != "" {
		return shellPlan(c.Line), nil
	}
	path, perr := lookPath(words[0], env, dir)
	if perr == nil {
		return Plan{Path: path, Argv: words, Script: c.Line != ""}, nil
	}
	if c.Line != "" && alsoBuiltin[words[0]] {
		return shellPlan(c.Line), nil
	}
	return Plan{}, perr
}

func shellPlan(line string) Plan {
	return Plan{Path: shellPath, Argv: []string{"sh", "-c", line}, Shell: true}
}

// Words is the first half of Resolve: the argument vector, or the reason why a shell is needed ("" = it is not).
func Words(c graph.Command, expand bool, env []string) (words []string, shell string, err error) {
	switch {
	case c.Argv == nil:
		words, shell, err = Split(c.Line)
	case expand:
		words, err = expandAll(c.Argv, env)
	default:
		words = c.Argv
	}
	switch {
	case err != nil:
		return nil, "", err
	case shell != "":
		return nil, shell, nil
	case len(words) == 0 || words[0] == "":
		return nil, "", errors.New("it is empty")
	case strings.HasPrefix(words[0], "@builtin:"):
		return nil, "", fmt.Errorf("zinit has no built-in services such as %s: write the program that does it", words[0])
	}
	for _, w := range words {
		if strings.IndexByte(w, 0) >= 0 {
			return nil, "", errors.New("it has a NUL byte")
		}
	}
	return words, "", nil
}

// expandAll replaces $VAR, ${VAR} and $$ in the words of an array command.
func expandAll(argv []string, env []string) ([]string, error) {
	out := make([]string, len(argv))
	get := func(name string) (string, bool) { return Getenv(env, name) }
	for i, w := range argv {
		var err error
		if out[i], err = expand(w, get); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// CheckExpand tells what could not be expanded whatever the variables are, and in which word of an array.
func CheckExpand(argv []string) (index int, err error) {
	for i, word := range argv {
		if _, err := expand(word, func(string) (string, bool) { return "", true }); err != nil {
			return i, err
		}
	}
	return 0, nil
}

func expand(word string, get func(name string) (string, bool)) (string, error) {
	i := strings.IndexByte(word, '$')
	if i < 0 {
		return word, nil
	}
	var b strings.Builder
	for ; i >= 0; i = strings.IndexByte(word, '$') {
		b.WriteString(word[:i])
		word = word[i+1:]
		if strings.HasPrefix(word, "$") {
			b.WriteByte('$')
			word = word[1:]
			continue
		}
		name, rest, ok := variableName(word)
		if !ok {
			return "", fmt.Errorf("cannot expand \"$%s\": only $NAME, ${NAME} and $$ for a dollar are known with expand = true", clip(word))
		}
		value, ok := get(name)
		if !ok {
			return "", fmt.Errorf("the variable %s is not set; $$ stands for a dollar", name)
		}
		b.WriteString(value)
		word = rest
	}
	b.WriteString(word)
	return b.String(), nil
}

// variableName reads NAME or {NAME} at the start of s.
func variableName(s string) (name, rest string, ok bool) {
	if strings.HasPrefix(s, "{") {
		end := strings.IndexByte(s, '}')
		if end < 0 || !isName(s[1:end]) {
			return "", "", false
		}
		return s[1:end], s[end+1:], true
	}
	n := 0
	for n < len(s) && nameByte(s[n], n == 0) {
		n++
	}
	return s[:n], s[n:], n > 0
}

func isName(s string) bool {
	for i := 0; i < len(s); i++ {
		if !nameByte(s[i], i == 0) {
			return false
		}
	}
	return s != ""
}

func nameByte(c byte, first bool) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || !first && c >= '0' && c <= '9'
}

func clip(s string) string {
	if len(s) > 20 {
		return s[:20] + "…"
	}
	return s
}

// lookPath finds the program as execvp(3) does: a name with a slash stands for itself, any other is looked up in PATH,
// and one that exists but may not be executed is told apart from one that does not exist.
func lookPath(name string, env []string, dir string) (string, *Error) {
	if strings.IndexByte(name, '/') >= 0 {
		return name, nil // whether it can be executed is found out by executing it
	}
	path, ok := Getenv(env, "PATH")
	if !ok {
		path = DefaultPath
	}
	denied := ""
	for _, d := range filepath.SplitList(path) {
		if d == "" {
			d = "."
		}
		candidate := d + "/" + name
		switch probeProgram(inDir(candidate, dir)) {
		case 0:
			return candidate, nil
		case syscall.EACCES:
			denied = candidate
		}
	}
	if denied != "" {
		return "", failf(StepExec, syscall.EACCES, "cannot execute %s: permission denied", denied)
	}
	return "", failf(StepExec, syscall.ENOENT, "cannot execute %q: not found in PATH (%s)", name, path)
}

// probeProgram tells whether path is a regular file that may be executed.
func probeProgram(path string) syscall.Errno {
	var st unix.Stat_t
	if err := ignoringEINTR(func() error { return unix.Stat(path, &st) }); err != nil {
		return errnoOf(err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return syscall.ENOENT
	}
	return errnoOf(unix.Access(path, unix.X_OK))
}

// inDir makes a relative path count from dir.
func inDir(path, dir string) string {
	if dir == "" || filepath.IsAbs(path) {
		return path
	}
	return dir + "/" + path
}

// Getenv returns the last value of name in env, a list of NAME=VALUE.
func Getenv(env []string, name string) (string, bool) {
	for i := len(env) - 1; i >= 0; i-- {
		if e := env[i]; len(e) > len(name) && e[len(name)] == '=' && e[:len(name)] == name {
			return e[len(name)+1:], true
		}
	}
	return "", false
}

func ignoringEINTR(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}
