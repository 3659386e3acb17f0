package confdir

import (
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/testkit/need"
)

var update = flag.Bool("update", false, "write the expected problems of testdata/config")

const goldenName = "want"

// TestGolden loads the directories of testdata/config. Each archive holds the files, directives for what is no plain
// file in its comment, and under "want" the problems and what was loaded:
//
//	mkdir PATH | fifo PATH | link TARGET PATH | hex PATH BYTES | big PATH BYTES | mode OCTAL PATH
//	option lenient | option system | option trust
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("../../testdata/config/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			golden(t, file)
		})
	}
}

func golden(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	input, want, _ := strings.Cut(string(text), "-- "+goldenName+" --\n")
	comment, files := archive(input)
	dir := filepath.Join(t.TempDir(), "config")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		write(t, filepath.Join(dir, f.name), []byte(f.data))
	}
	options := prepare(t, dir, comment)
	if options.Trust && os.Geteuid() != 0 {
		need.Root(t)
	}
	names := strings.NewReplacer(dir, "DIR", filepath.Dir(dir), "UP")
	got := names.Replace(summary(Load([]string{dir}, options)))
	if got == want {
		return
	}
	if !*update {
		t.Fatalf("got:\n%s\nwant:\n%s", got, want)
	}
	if err := os.WriteFile(file, []byte(input+"-- "+goldenName+" --\n"+got), 0o644); err != nil {
		t.Fatal(err)
	}
}

type archived struct{ name, data string }

// archive splits a txtar archive: a comment, then "-- NAME --" lines with the files after them.
func archive(text string) (comment string, files []archived) {
	for line := range strings.Lines(text) {
		name, isStart := strings.CutPrefix(strings.TrimSpace(line), "-- ")
		name, isEnd := strings.CutSuffix(name, " --")
		switch {
		case isStart && isEnd:
			files = append(files, archived{name: name})
		case len(files) == 0:
			comment += line
		default:
			files[len(files)-1].data += line
		}
	}
	return comment, files
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// prepare carries out the directives.
func prepare(t *testing.T, dir, comment string) Options {
	t.Helper()
	var o Options
	for line := range strings.Lines(comment) {
		words := strings.Fields(line)
		if len(words) < 2 || strings.HasPrefix(line, "#") {
			continue
		}
		path := filepath.Join(dir, words[1])
		var err error
		switch words[0] {
		case "mkdir":
			err = os.MkdirAll(path, 0o755)
		case "fifo":
			err = syscall.Mkfifo(path, 0o644)
		case "link":
			err = os.Symlink(words[1], filepath.Join(dir, words[2]))
		case "hex":
			var data []byte
			data, err = hex.DecodeString(strings.Join(words[2:], ""))
			write(t, path, data)
		case "big":
			var size int
			size, err = strconv.Atoi(words[2])
			write(t, path, []byte(strings.Repeat("#", size)))
		case "mode":
			var mode uint64
			mode, err = strconv.ParseUint(words[1], 8, 32)
			if err == nil {
				err = os.Chmod(filepath.Join(dir, words[2]), os.FileMode(mode))
			}
		case "option":
			o.Lenient = o.Lenient || words[1] == "lenient"
			o.System = o.System || words[1] == "system"
			o.Trust = o.Trust || words[1] == "trust"
		default:
			t.Fatalf("unknown directive %q", line)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// summary writes the problems and, by name, what was loaded.
func summary(loaded *Loaded) string {
	var b strings.Builder
	for _, p := range loaded.Problems {
		b.WriteString(p.String())
		if p.Service != "" {
			b.WriteString(" (" + p.Service + ")")
		}
		b.WriteString("\n")
	}
	g := loaded.Graph
	for id := range graph.ID(g.Len()) {
		kind, problem := g.Broken(id)
		if kind == "" {
			b.WriteString("ok " + g.Name(id) + " " + g.Class(id).String() + " " + filepath.Base(g.Config(id).Source) + "\n")
			continue
		}
		b.WriteString("broken " + g.Name(id) + " " + kind + ": " + problem + "\n")
	}
	return b.String()
}
