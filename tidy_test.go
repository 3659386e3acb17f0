package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/zinit/zinit"

// pure packages reach no clock, system, lock or randomness: what they do depends on their arguments alone. What they import
// of ours must be pure as well.
var pure = []string{"graph", "graph/calendar", "supervisor/machine", "supervisor/sim"}

var impure = []string{"os", "net", "sync", "fmt", "math/rand", "math/rand/v2", "encoding/json", "syscall", "golang.org/x/sys/unix",
	"os/exec", "log", "log/slog", "io"}

// floors names every package and the floor it stands on. Imports go downwards only; on the floors 0 to 2 neighbours may
// use each other, above them they may not. What only tests use stands on top, so that nothing below can need it.
var floors = map[string]int{
	"test/survival/storm/guest": 13, "test/bench": 12, "test/boot": 12, "test/boot/mapper": 12, "test/container": 12, "test/e2e": 12,
	"test/survival": 12, "test/survival/storm": 12, "internal/testkit": 11,
	"internal/testkit/need": 10, "internal/testkit/wait": 10, "internal/testkit/seccomp": 10, "internal/testkit/stuck": 10,
	"internal/testkit/deadmount": 11, "internal/testkit/mutate": 10, "internal/testkit/picture": 10, "internal/demo/api": 10, "rpc/conform": 10,
	"": 9, "applets": 8, "applets/pid1": 7, "applets/server": 7, "applets/cli": 7, "supervisor": 6, "rpc": 6,
	"supervisor/system": 5, "supervisor/loop": 4, "supervisor/answer": 4, "supervisor/view": 3,
	"supervisor/proc": 2, "supervisor/probe": 2, "supervisor/notify": 2, "supervisor/output": 2, "supervisor/ship": 2, "supervisor/logfile": 2,
	"supervisor/syslog": 2, "supervisor/ownlog": 2, "supervisor/xinet": 2, "supervisor/jobs": 2, "supervisor/keeper": 2, "supervisor/journal": 2,
	"applets/cli/initramfs": 2, "applets/pid1/early": 2,
	"supervisor/machine": 1, "supervisor/sim": 1, "graph": 0, "graph/calendar": 0, "graph/confdir": 0, "logring": 0, "rpc/wire": 0, "docs": 0,
	"internal/anon": 0, "internal/closer": 0, "internal/elf": 0, "internal/fault": 0, "internal/mark": 0, "internal/memory": 0, "internal/openmetrics": 0, "internal/parallel": 0, "internal/project": 0, "internal/sleep": 0, "internal/record": 0, "internal/tee": 0, "internal/terminal": 0, "internal/version": 0,
}

// shared is the highest floor on which neighbours may use each other.
const shared = 2

// only lists who may import what.
var only = map[string][]string{
	"github.com/pelletier/go-toml/v2": {"graph/confdir"},
	"github.com/urfave/cli/v2":        {"applets/cli"},
	"os/exec":                         {"internal/testkit", "internal/testkit/mutate", "internal/testkit/picture"},
}

// pid1Forbidden must not be reached by what runs in pid1, directly or through our packages.
var pid1Forbidden = []string{"github.com/pelletier/go-toml/v2", "github.com/urfave/cli/v2", "encoding/json", "net", "net/http", "os/exec"}

type source struct {
	path, pkg string
	file      *ast.File
	fset      *token.FileSet
	text      string
}

// sources parses every Go file that is not a test.
func sources(t *testing.T) []source {
	t.Helper()
	var out []source
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && path != ".") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, text, parser.ParseComments)
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(filepath.Dir(path))
		if pkg == "." {
			pkg = ""
		}
		out = append(out, source{path, pkg, file, fset, string(text)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (s source) imports() []string {
	var out []string
	for _, i := range s.file.Imports {
		out = append(out, strings.Trim(i.Path.Value, `"`))
	}
	return out
}

// TestImports holds the floors.
func TestImports(t *testing.T) {
	for _, s := range sources(t) {
		if _, known := floors[s.pkg]; !known {
			t.Errorf("%s: package %s stands on no floor: name it in floors", s.path, s.pkg)
		}
		for _, imp := range s.imports() {
			if allowed, ok := only[imp]; ok && !slices.Contains(allowed, s.pkg) {
				t.Errorf("%s: %s is for %v only", s.path, imp, allowed)
			}
			checkFloor(t, s, imp)
		}
	}
}

func checkFloor(t *testing.T, s source, imp string) {
	t.Helper()
	rest, ours := strings.CutPrefix(imp, module+"/")
	if !ours {
		return
	}
	own, floor := floors[s.pkg], floors[rest]
	switch {
	case floor > own:
		t.Errorf("%s (floor %d) must not import %s (floor %d)", s.path, own, rest, floor)
	case floor == own && own > shared:
		t.Errorf("%s must not import its neighbour %s on floor %d", s.path, rest, own)
	}
}

// importsOf lists what each package imports, tests left out.
func importsOf(t *testing.T) map[string][]string {
	t.Helper()
	imports := map[string][]string{}
	for _, s := range sources(t) {
		imports[s.pkg] = append(imports[s.pkg], s.imports()...)
	}
	return imports
}

// forbid fails where a package reaches one of the forbidden imports, directly or through our packages.
func forbid(t *testing.T, pkg string, forbidden []string) {
	t.Helper()
	imports, seen := importsOf(t), map[string]bool{}
	var visit func(pkg, by string)
	visit = func(pkg, by string) {
		if seen[pkg] {
			return
		}
		seen[pkg] = true
		for _, imp := range imports[pkg] {
			if slices.Contains(forbidden, imp) {
				t.Errorf("%s must not reach %s", by, imp)
			}
			if rest, ours := strings.CutPrefix(imp, module+"/"); ours {
				visit(rest, by+" -> "+rest)
			}
		}
	}
	visit(pkg, pkg)
}

// loopMayName are what the loop may use of package proc: words for things, not ways to ask. What it asks it asks its World.
var loopMayName = []string{"Aside", "Death", "Error", "Exit", "Inputs", "Owner", "Process", "SIGCONT", "SIGHUP", "SIGKILL", "Spec", "StepTTY"}

// TestLoopAsksTheSystemNoMore: what the loop wants to know is a question to its World, which answers by a word, so that nothing
// can block it and a simulator can answer.
func TestLoopAsksTheSystemNoMore(t *testing.T) {
	system := []string{"os", "net", "syscall", "golang.org/x/sys/unix", module + "/internal/sleep", module + "/supervisor/output"}
	clock := []string{"Now", "Since", "Until", "AfterFunc", "Tick", "NewTicker", "NewTimer", "Sleep"}
	for _, s := range sources(t) {
		if s.pkg != "supervisor/loop" {
			continue
		}
		for _, imp := range s.imports() {
			if slices.Contains(system, imp) {
				t.Errorf("%s imports %s: ask the World", s.path, imp)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if _, ok := n.(*ast.GoStmt); ok {
				t.Errorf("%s: a goroutine: what takes a while is a question to the World", s.fset.Position(n.Pos()))
			}
			if sel, ok := n.(*ast.SelectorExpr); ok {
				x, _ := sel.X.(*ast.Ident)
				if x != nil && (x.Name == "proc" && !slices.Contains(loopMayName, sel.Sel.Name) ||
					x.Name == "time" && slices.Contains(clock, sel.Sel.Name)) {
					t.Errorf("%s: %s.%s: ask the World", s.fset.Position(n.Pos()), x.Name, sel.Sel.Name)
				}
			}
			return true
		})
	}
}

// TestPurePackagesArePure: neither they nor what they import of ours reaches the world.
func TestPurePackagesArePure(t *testing.T) {
	for _, pkg := range pure {
		forbid(t, pkg, impure)
	}
}

// TestPid1IsSmall: nothing that runs in process 1 may pull in parsers or the network.
func TestPid1IsSmall(t *testing.T) { forbid(t, "applets/pid1", pid1Forbidden) }

// TestCoreHasNoClock: the pure packages are told the time.
func TestCoreHasNoClock(t *testing.T) {
	clock := []string{"Now", "Since", "Until", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer", "Sleep"}
	for _, s := range sources(t) {
		everywhere := !slices.Contains(pure, s.pkg)
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := sel.X.(*ast.Ident)
			if !ok || x.Name != "time" {
				return true
			}
			if everywhere && sel.Sel.Name != "Tick" || !everywhere && !slices.Contains(clock, sel.Sel.Name) {
				return true
			}
			t.Errorf("%s: time.%s", s.fset.Position(n.Pos()), sel.Sel.Name)
			return true
		})
	}
}

// TestFunctionsAreShort: a function fits on a screen.
func TestFunctionsAreShort(t *testing.T) {
	const limit = 70
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			first, last := s.fset.Position(f.Pos()).Line, s.fset.Position(f.End()).Line
			if last-first+1 > limit {
				t.Errorf("%s:%d: %s has %d lines, at most %d", s.path, first, f.Name.Name, last-first+1, limit)
			}
		}
	}
}

// TestExportedAreDocumented: every exported name of a library package says what it is.
func TestExportedAreDocumented(t *testing.T) {
	for _, s := range sources(t) {
		if s.file.Name.Name == "main" {
			continue
		}
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && !isTrivialMethod(d) {
					t.Errorf("%s: %s has no doc comment", s.fset.Position(d.Pos()), d.Name.Name)
				}
			case *ast.GenDecl:
				checkTypes(t, s, d)
			}
		}
	}
}

// isTrivialMethod: methods that satisfy a well-known interface need no words.
func isTrivialMethod(d *ast.FuncDecl) bool {
	return d.Recv != nil && slices.Contains([]string{"String", "Error", "Len", "Less", "Swap", "Push", "Pop", "Set", "Unwrap",
		"MarshalJSON", "UnmarshalJSON", "IsBoolFlag", "Write", "Close"}, d.Name.Name)
}

func checkTypes(t *testing.T, s source, d *ast.GenDecl) {
	t.Helper()
	for _, spec := range d.Specs {
		if ts, ok := spec.(*ast.TypeSpec); ok && ts.Name.IsExported() && d.Doc == nil && ts.Doc == nil && ts.Comment == nil {
			t.Errorf("%s: type %s has no doc comment", s.fset.Position(ts.Pos()), ts.Name.Name)
		}
	}
}

// TestNoLeftovers: nothing unfinished is committed.
func TestNoLeftovers(t *testing.T) {
	leftover := regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b|fmt\.Print(ln|f)?\("DEBUG`)
	for _, s := range sources(t) {
		for i, line := range strings.Split(s.text, "\n") {
			if leftover.MatchString(line) {
				t.Errorf("%s:%d: %s", s.path, i+1, strings.TrimSpace(line))
			}
			if strings.TrimRight(line, " \t") != line {
				t.Errorf("%s:%d: trailing blank", s.path, i+1)
			}
		}
	}
}
