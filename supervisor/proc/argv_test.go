package proc

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/zinit/zinit/graph"
)

// way writes what Words made of a command as the tables do.
func way(words []string, shell string, err error) string {
	switch {
	case err != nil:
		return "error " + err.Error()
	case shell != "":
		return "shell " + shell
	}
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strconv.Quote(w)
		if strings.IndexFunc(w, func(r rune) bool { return r > 127 }) >= 0 {
			quoted[i] = `"` + w + `"`
		}
	}
	return "direct " + strings.Join(quoted, " ")
}

func TestLinesGoTheWayTheTableSays(t *testing.T) {
	for _, b := range blocks(t, "lines.txt") {
		line := strings.ReplaceAll(strings.Join(b.input, "\n"), `\n`, "\n")
		if strings.Contains(b.want[0], `\\n`) {
			line = b.input[0]
		}
		words, shell, err := Words(graph.Command{Line: line}, false, nil)
		if got := way(words, shell, err); got != b.want[0] {
			t.Errorf("lines.txt:%d: %s\n got %s\nwant %s", b.line, b.input[0], got, b.want[0])
		}
	}
}

func TestArraysExpandAsTheTableSays(t *testing.T) {
	env := []string{"A=1", "B=two words", "EMPTY="}
	for _, b := range blocks(t, "arrays.txt") {
		var argv []string
		if err := json.Unmarshal([]byte(b.input[0]), &argv); err != nil {
			t.Fatalf("arrays.txt:%d: %v", b.line, err)
		}
		words, shell, err := Words(graph.Command{Argv: argv}, true, env)
		if got := way(words, shell, err); got != b.want[0] {
			t.Errorf("arrays.txt:%d: %s\n got %s\nwant %s", b.line, b.input[0], got, b.want[0])
		}
	}
}

func TestLineWithNewlineOrNUL(t *testing.T) {
	if _, shell, err := Split("a\nb"); shell == "" || err != nil {
		t.Errorf("a newline outside quotes: shell %q, error %v", shell, err)
	}
	if words, shell, err := Split("a 'b\nc' \"d\ne\" \"f\\\ng\""); shell != "" || err != nil ||
		way(words, "", nil) != `direct "a" "b\nc" "d\ne" "fg"` {
		t.Errorf("newlines in quotes: %q, shell %q, error %v", words, shell, err)
	}
	for _, c := range []graph.Command{{Line: "a\x00b"}, {Argv: []string{"a", "b\x00"}}} {
		if _, _, err := Words(c, true, nil); err == nil {
			t.Errorf("%q: no error for a NUL byte", c)
		}
	}
}

func TestResolveLooksInThePathOfTheService(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, mode os.FileMode) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("a/tool", 0o644)
	write("b/tool", 0o755)
	write("a/plain", 0o644)
	if err := os.MkdirAll(filepath.Join(dir, "a/folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	env := []string{"PATH=/old", "PATH=" + dir + "/a:" + dir + "/b"}
	for _, test := range []struct{ line, path, fails string }{
		{"tool x", dir + "/b/tool", ""},
		{"plain", "", "cannot execute " + dir + "/a/plain: permission denied"},
		{"folder", "", `cannot execute "folder": not found in PATH (` + dir + "/a:" + dir + "/b)"},
		{"nothing", "", `cannot execute "nothing": not found in PATH (` + dir + "/a:" + dir + "/b)"},
		{"./x/y z", "./x/y", ""},
		{"echo hello", "/bin/sh", ""}, // no such program in this PATH: the shell has one
		{"a | b", "/bin/sh", ""},
	} {
		plan, err := Resolve(graph.Command{Line: test.line}, false, env, "")
		if test.fails != "" {
			if err == nil || err.Detail != test.fails || err.Step != StepExec {
				t.Errorf("%s: got %+v, want %s", test.line, err, test.fails)
			}
			continue
		}
		if err != nil || plan.Path != test.path {
			t.Errorf("%s: got %+v, %v, want %s", test.line, plan, err, test.path)
		}
	}
	plan, err := Resolve(graph.Command{Argv: []string{"tool"}}, false, []string{"PATH=b"}, dir)
	if err != nil || plan.Path != "b/tool" || plan.Shell || plan.Script {
		t.Errorf("a relative PATH counts from the directory: got %+v, %v", plan, err)
	}
}

// shellWords asks a shell for the words of a line, which begins with words, a program in bin that prints its arguments.
func shellWords(shell, line, bin string) (words []string, ok bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, shell, "-c", line)
	cmd.Env = []string{"PATH=" + bin, "HOME=/"}
	cmd.Dir = bin
	out, err := cmd.Output()
	if err != nil {
		return nil, false
	}
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00"), true
}

// FuzzSplitAgainstShell compares with /bin/sh: a line that Split calls free of syntax must reach a program as the same
// words.
func FuzzSplitAgainstShell(f *testing.F) {
	bin := f.TempDir()
	if err := os.WriteFile(bin+"/words", []byte("#!/bin/sh\nfor w; do printf '%s\\000' \"$w\"; done\n"), 0o755); err != nil {
		f.Fatal(err)
	}
	for _, b := range blocks(f, "lines.txt") {
		f.Add(b.input[0])
	}
	for _, s := range []string{"x \"a\\\nb\"", "x a\\\tb", "x \x01\x7f\xff", "x \r\v\f", "x '\n'", "x \\\\n \"\\a\"", "x {a,b} {1..3}",
		"x !", "x a=~b", "x -- -n", "x \\!", "x \"!\"", "x ''a", "x a''", "x 2", "x ^a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		line := "words " + s
		words, shell, err := Split(line)
		if err != nil || shell != "" {
			return
		}
		got, ok := shellWords(shellPath, line, bin)
		if want := words[1:]; !ok || !equalWords(got, want) {
			t.Fatalf("%q: the shell passes %q (%v), Split says %q", line, got, ok, want)
		}
	})
}

// equalWords compares, taking no words at all and one empty word for the same: their NUL-separated forms are.
func equalWords(a, b []string) bool {
	return bytes.Equal([]byte(strings.Join(a, "\x00")), []byte(strings.Join(b, "\x00")))
}

// FuzzSplit looks only for panics and for promises broken.
func FuzzSplit(f *testing.F) {
	for _, b := range blocks(f, "lines.txt") {
		f.Add(b.input[0])
	}
	f.Fuzz(func(t *testing.T, line string) {
		words, shell, err := Split(line)
		if shell != "" && (words != nil || err != nil) {
			t.Fatalf("%q: words %q and error %v beside shell %q", line, words, err, shell)
		}
		for _, w := range words {
			if strings.IndexByte(w, 0) >= 0 {
				t.Fatalf("%q: NUL in %q", line, w)
			}
		}
	})
}
