package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// switches is the file that goes into the mutated package.
//
//go:embed switches.txt
var switches string

// mutant is one small fault.
type mutant struct {
	id   int
	key  string // file, function, kind and text, which survive changes elsewhere in the file
	file string
	line int
	// what became of it
	reached, late bool
	killer        string
}

// pkg is the package to mutate.
type pkg struct {
	path, dir, name string
	fset            *token.FileSet
	files           []*ast.File
	texts           map[*ast.File][]byte
	names           map[*ast.File]string // file names, without the folder
	importer        types.Importer
	overlay         string
}

func load(pattern, tags string) (*pkg, error) {
	cmd := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Dir,Name,GoFiles,Export,Standard", "-tags", tags,
		pattern, "cmp", "os", "strconv", "syscall") // the last ones are what the switches need
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list %s: %w", pattern, err)
	}
	type listed struct {
		ImportPath, Dir, Name, Export string
		GoFiles                       []string
		Standard                      bool
	}
	exports := map[string]string{}
	var last listed // go list gives the package itself after all that it needs
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var l listed
		if err := dec.Decode(&l); err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		exports[l.ImportPath] = l.Export
		if !l.Standard {
			last = l
		}
	}
	p := &pkg{path: last.ImportPath, dir: last.Dir, name: last.Name, fset: token.NewFileSet(), texts: map[*ast.File][]byte{}, names: map[*ast.File]string{}}
	p.importer = importer.ForCompiler(p.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	for _, name := range last.GoFiles {
		text, err := os.ReadFile(filepath.Join(p.dir, name))
		if err != nil {
			return nil, err
		}
		file, err := parser.ParseFile(p.fset, filepath.Join(p.dir, name), text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		p.files, p.texts[file], p.names[file] = append(p.files, file), text, name
	}
	return p, nil
}

// short is the path of the package below the module.
func (p *pkg) short() string { return strings.TrimPrefix(p.path, "github.com/zinit/zinit/") }

// mutate writes the mutated sources and the overlay below dir. What does not compile is left out.
func (p *pkg) mutate(dir string) ([]*mutant, error) {
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{}}
	if _, err := (&types.Config{Importer: p.importer}).Check(p.path, p.fset, p.files, info); err != nil {
		return nil, err
	}
	invalid := map[string]bool{}
	for {
		w := &walker{pkg: p, info: info, invalid: invalid, count: map[string]int{}}
		replaced := map[string]string{}
		fset, parsed := token.NewFileSet(), []*ast.File{}
		add := func(name string, text []byte) error {
			path := filepath.Join(dir, name)
			replaced[filepath.Join(p.dir, name)] = path
			file, err := parser.ParseFile(fset, name, text, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			parsed = append(parsed, file)
			return os.WriteFile(path, text, 0o644)
		}
		for _, file := range p.files {
			if err := add(p.names[file], w.rewrite(file)); err != nil {
				return nil, err
			}
		}
		if err := add("zz_mutant_switches.go", []byte("package "+p.name+"\n"+switches)); err != nil {
			return nil, err
		}
		found := false
		conf := types.Config{Importer: p.importer, Error: func(err error) {
			at := fset.Position(err.(types.Error).Pos) //nolint:errorlint // the checker says that it gives this type
			for _, m := range w.mutants {
				if m.file == at.Filename && m.line == at.Line && !invalid[m.key] {
					invalid[m.key], found = true, true
				}
			}
		}}
		if _, err := conf.Check(p.path, fset, parsed, nil); err != nil {
			if !found {
				return nil, fmt.Errorf("a mutant does not compile: %w", err)
			}
			continue
		}
		text, err := json.Marshal(map[string]any{"Replace": replaced})
		if err != nil {
			return nil, err
		}
		p.overlay = filepath.Join(dir, "overlay.json")
		return w.mutants, os.WriteFile(p.overlay, text, 0o644)
	}
}

// walker finds the places of one package and rewrites them.
type walker struct {
	pkg     *pkg
	info    *types.Info
	invalid map[string]bool
	count   map[string]int
	mutants []*mutant

	file    *ast.File
	edits   []edit
	decl    string             // the function around
	results []*types.Signature // of the function and the function literals around
}

type edit struct {
	at, cut int // offset; bytes taken away there
	text    string
}

func (w *walker) offset(pos token.Pos) int { return w.pkg.fset.Position(pos).Offset }

func (w *walker) rewrite(file *ast.File) []byte {
	w.file, w.edits = file, nil
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Body != nil {
				w.decl = d.Name.Name
				if d.Recv != nil {
					t := d.Recv.List[0].Type
					if s, ok := t.(*ast.StarExpr); ok {
						t = s.X
					}
					if i, ok := t.(*ast.IndexExpr); ok {
						t = i.X
					}
					w.decl = fmt.Sprint(t) + "." + w.decl
				}
				w.function(w.info.Defs[d.Name].Type().(*types.Signature), d.Body)
			}
		case *ast.GenDecl:
			if d.Tok == token.VAR {
				w.decl = "var"
				w.walk(d)
			}
		}
	}
	slices.SortStableFunc(w.edits, func(a, b edit) int { return a.at - b.at })
	text := w.pkg.texts[file]
	var out bytes.Buffer
	from := 0
	for _, e := range w.edits {
		out.Write(text[from:e.at])
		out.WriteString(e.text)
		from = e.at + e.cut
	}
	out.Write(text[from:])
	return out.Bytes()
}

// new numbers a mutant, or says that it is none of the valid ones.
func (w *walker) new(kind string, n ast.Node) (id int, ok bool) {
	text := string(w.pkg.texts[w.file][w.offset(n.Pos()):w.offset(n.End())])
	text = strings.Join(strings.Fields(text), " ")
	if r := []rune(text); len(r) > 90 {
		text = string(r[:90]) + "…"
	}
	key := fmt.Sprintf("%s/%s %s: %s: %s", w.pkg.short(), w.pkg.names[w.file], w.decl, kind, text)
	w.count[key]++
	if c := w.count[key]; c > 1 {
		key = fmt.Sprintf("%s #%d", key, c)
	}
	if w.invalid[key] {
		return 0, false
	}
	at := w.pkg.fset.Position(n.Pos())
	w.mutants = append(w.mutants, &mutant{id: len(w.mutants), key: key, file: w.pkg.names[w.file], line: at.Line})
	return len(w.mutants) - 1, true
}

func (w *walker) insert(pos token.Pos, text string, args ...any) {
	w.edits = append(w.edits, edit{at: w.offset(pos), text: fmt.Sprintf(text, args...)})
}

func (w *walker) function(sig *types.Signature, body *ast.BlockStmt) {
	w.results = append(w.results, sig)
	w.walk(body)
	w.results = w.results[:len(w.results)-1]
}

// walk goes through the children of a node in their order.
func (w *walker) walk(n ast.Node) {
	if n == nil {
		return
	}
	ast.Inspect(n, func(c ast.Node) bool {
		if c == nil || c == n {
			return true
		}
		w.node(c)
		return false
	})
}

func (w *walker) node(n ast.Node) {
	switch n := n.(type) {
	case *ast.FuncLit:
		w.function(w.info.Types[n].Type.(*types.Signature), n.Body)
	case *ast.BlockStmt:
		w.statements(n.List)
	case *ast.CaseClause:
		for _, e := range n.List {
			if w.isBool(e) { // the conditions of a switch without a tag
				w.condition(e)
			} else {
				w.node(e)
			}
		}
		w.statements(n.Body)
	case *ast.CommClause:
		if n.Comm != nil {
			w.node(n.Comm)
		}
		w.statements(n.Body)
	case *ast.IfStmt:
		if n.Init != nil {
			w.node(n.Init)
		}
		w.condition(n.Cond)
		w.node(n.Body)
		if n.Else != nil {
			w.node(n.Else)
		}
	case *ast.ForStmt:
		if n.Init != nil {
			w.node(n.Init)
		}
		if n.Cond != nil {
			w.condition(n.Cond)
		}
		if n.Post != nil {
			w.node(n.Post)
		}
		w.node(n.Body)
	case *ast.ReturnStmt:
		w.returned(n)
	case *ast.BinaryExpr:
		w.binary(n, true)
	case *ast.ArrayType, *ast.MapType, *ast.FuncType, *ast.StructType, *ast.InterfaceType:
	default:
		w.walk(n)
	}
}

func (w *walker) statements(list []ast.Stmt) {
	for _, s := range list {
		if id, ok := w.removable(s); ok {
			w.insert(s.Pos(), "if !mutOn(%d) { ", id)
			w.node(s)
			w.insert(s.End(), " }")
			continue
		}
		if inc, ok := s.(*ast.IncDecStmt); ok {
			if id, ok := w.new("leave out", s); ok {
				op := map[token.Token]string{token.INC: "--", token.DEC: "++"}[inc.Tok]
				text := string(w.pkg.texts[w.file][w.offset(inc.X.Pos()):w.offset(inc.X.End())])
				if back, ok := w.new("turn round", s); ok {
					w.insert(s.Pos(), "if mutOn(%d) { %s%s } else if !mutOn(%d) { ", back, text, op, id)
				} else {
					w.insert(s.Pos(), "if !mutOn(%d) { ", id)
				}
				w.node(s)
				w.insert(s.End(), " }")
				continue
			}
		}
		w.node(s)
	}
}

// removable says whether a statement may be left out: a call whose results nobody takes, or an assignment. Locks stay, as
// only the race detector would notice, and panics.
func (w *walker) removable(s ast.Stmt) (int, bool) {
	var call *ast.CallExpr
	switch s := s.(type) {
	case *ast.ExprStmt:
		call, _ = s.X.(*ast.CallExpr)
	case *ast.DeferStmt:
		call = s.Call
	case *ast.GoStmt:
		call = s.Call
	case *ast.AssignStmt:
		if id, ok := s.Lhs[0].(*ast.Ident); s.Tok == token.DEFINE || ok && id.Name == "_" && len(s.Lhs) == 1 {
			return 0, false
		}
		return w.new("leave out", s)
	case *ast.SendStmt:
		return w.new("leave out", s)
	}
	if call == nil {
		return 0, false
	}
	name := ""
	switch f := call.Fun.(type) {
	case *ast.Ident:
		name = f.Name
	case *ast.SelectorExpr:
		name = f.Sel.Name
	}
	if slices.Contains([]string{"panic", "Lock", "Unlock", "RLock", "RUnlock"}, name) {
		return 0, false
	}
	return w.new("leave out", s)
}

func (w *walker) constant(e ast.Expr) bool { return w.info.Types[e].Value != nil }

func (w *walker) isBool(e ast.Expr) bool {
	tv := w.info.Types[e]
	b, ok := tv.Type.(*types.Basic)
	return ok && tv.IsValue() && b.Info()&types.IsBoolean != 0
}

// condition mutates an expression that decides something.
func (w *walker) condition(e ast.Expr) {
	switch x := ast.Unparen(e).(type) {
	case *ast.BinaryExpr:
		w.binary(x, true)
		return
	case *ast.UnaryExpr:
		if inner, ok := ast.Unparen(x.X).(*ast.BinaryExpr); ok && x.Op == token.NOT {
			w.binary(inner, true)
			return
		}
	}
	w.turned(e, func() { w.node(e) })
}

// turned mutates the boolean e into its opposite.
func (w *walker) turned(e ast.Expr, inner func()) {
	if !w.constant(e) && w.isBool(e) {
		if id, ok := w.new("turn round", e); ok {
			w.insert(e.Pos(), "((")
			inner()
			w.insert(e.End(), ") != mutOn(%d))", id)
			return
		}
	}
	inner()
}

var (
	boundaries = map[token.Token]string{token.LSS: "mutLss", token.LEQ: "mutLeq", token.GTR: "mutGtr", token.GEQ: "mutGeq"}
	arithmetic = map[token.Token]string{token.ADD: "mutAdd", token.SUB: "mutSub", token.MUL: "mutMul", token.QUO: "mutQuo",
		token.REM: "mutRem", token.AND: "mutAnd", token.OR: "mutOr", token.XOR: "mutXor", token.AND_NOT: "mutAndNot"}
)

// binary mutates an operation. The opposite of an operand of && or || is left out where that operand itself is left out.
func (w *walker) binary(x *ast.BinaryExpr, opposite bool) {
	if w.constant(x) {
		return
	}
	replace := func(kind, function string) {
		id, ok := w.new(kind, x)
		if !ok {
			w.walk(x)
			return
		}
		w.insert(x.Pos(), "%s(%d, ", function, id)
		w.node(x.X)
		w.edits = append(w.edits, edit{at: w.offset(x.OpPos), cut: len(x.Op.String()), text: ","})
		w.node(x.Y)
		w.insert(x.End(), ")")
	}
	basic := func(e ast.Expr) types.BasicInfo {
		if b, ok := w.info.Types[e].Type.Underlying().(*types.Basic); ok {
			return b.Info()
		}
		return 0
	}
	switch x.Op {
	case token.LAND, token.LOR:
		for _, operand := range []ast.Expr{x.X, x.Y} {
			id, ok := w.new("leave out of "+x.Op.String(), operand)
			if ok {
				w.insert(operand.Pos(), "((")
			}
			switch o := ast.Unparen(operand).(type) {
			case *ast.BinaryExpr:
				w.binary(o, false)
			default:
				w.node(operand)
			}
			switch {
			case ok && x.Op == token.LAND:
				w.insert(operand.End(), ") || mutOn(%d))", id)
			case ok:
				w.insert(operand.End(), ") && !mutOn(%d))", id)
			}
		}
	case token.EQL, token.NEQ:
		if opposite {
			w.turned(x, func() { w.walk(x) })
		} else {
			w.walk(x)
		}
	case token.LSS, token.LEQ, token.GTR, token.GEQ:
		inner := func() {
			if basic(x.X)&types.IsOrdered != 0 {
				replace("boundary", boundaries[x.Op])
			} else {
				w.walk(x)
			}
		}
		if opposite {
			w.turned(x, inner)
		} else {
			inner()
		}
	default:
		if f := arithmetic[x.Op]; f != "" && basic(x)&types.IsNumeric != 0 {
			replace("other operator", f)
		} else {
			w.walk(x)
		}
	}
}

// returned mutates what a function returns: booleans into their opposites, all else together into zero values.
func (w *walker) returned(r *ast.ReturnStmt) {
	results := w.results[len(w.results)-1].Results()
	if len(r.Results) == 0 || results.Len() != len(r.Results) {
		w.walk(r)
		return
	}
	zero := -1
	for i, e := range r.Results {
		want, have := results.At(i).Type(), w.info.Types[e]
		if b, ok := want.(*types.Basic); ok && b.Kind() == types.Bool {
			if have.Value != nil {
				if id, ok := w.new("turn round", e); ok {
					w.insert(e.Pos(), "(mutOn(%d) != ", id)
					w.insert(e.End(), ")")
				}
				continue
			}
			w.condition(e)
			continue
		}
		if isZero(e, have) {
			w.node(e)
			continue
		}
		instance := ""
		switch {
		case types.Identical(want, have.Type):
		case types.Identical(want, types.Universe.Lookup("error").Type()):
			instance = "[error]"
		default:
			w.node(e)
			continue
		}
		if _, basic := want.(*types.Basic); basic && have.Value != nil {
			instance = "[" + want.String() + "]"
		}
		if zero < 0 {
			id, ok := w.new("return zero", r)
			if !ok {
				w.node(e)
				continue
			}
			zero = id
		}
		w.insert(e.Pos(), "mutZero%s(%d, ", instance, zero)
		w.node(e)
		w.insert(e.End(), ")")
	}
}

func isZero(e ast.Expr, tv types.TypeAndValue) bool {
	if c, ok := e.(*ast.CompositeLit); ok {
		_, isStruct := tv.Type.Underlying().(*types.Struct)
		return isStruct && len(c.Elts) == 0
	}
	if tv.IsNil() {
		return true
	}
	if tv.Value == nil {
		return false
	}
	s := tv.Value.ExactString()
	return s == "0" || s == `""` || s == "false"
}
