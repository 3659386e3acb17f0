package confdir

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/zinit/zinit/graph"
)

// locate fills in line and column of the problems that name a key, from the file they are about.
func locate(data []byte, problems []graph.Problem) {
	missing := func(p graph.Problem) bool { return p.Line == 0 && p.Key != "" }
	if !slices.ContainsFunc(problems, missing) {
		return
	}
	found := positions(data)
	for i := range problems {
		p := &problems[i]
		if !missing(*p) {
			continue
		}
		whole := within(found, p)
		at, ok := found[whole+"\x00"+p.Value]
		for key := whole; !ok && key != ""; key = parentKey(key) {
			at, ok = found[key]
		}
		if ok {
			p.Line = 1 + bytes.Count(data[:at], []byte{'\n'})
			p.Column = at - bytes.LastIndexByte(data[:at], '\n')
		}
	}
}

// Locate fills in line and column of problems that were found later in files that Load has read.
func (loaded *Loaded) Locate(problems []graph.Problem) {
	for i := range problems {
		locate(loaded.sources[problems[i].File], problems[i:i+1])
	}
}

func parentKey(key string) string {
	if i := strings.LastIndexByte(key, '.'); i >= 0 {
		return key[:i]
	}
	return ""
}

// positions maps every key of a file, "section.key", and every element of its arrays, "section.key\x00value" and
// "section.key\x00#index", to the offset where it stands first.
func positions(data []byte) map[string]int {
	p := &positioner{found: map[string]int{}}
	p.parser.Reset(data)
	for p.parser.NextExpression() {
		node := p.parser.Expression()
		switch node.Kind {
		case unstable.Table, unstable.ArrayTable:
			p.prefix = p.enter("", node.Key())
		case unstable.KeyValue:
			p.value(p.enter(p.prefix, node.Key()), node.Value())
		}
	}
	return p.found
}

type positioner struct {
	parser unstable.Parser
	found  map[string]int
	prefix string
}

func (p *positioner) enter(prefix string, key unstable.Iterator) string {
	for key.Next() {
		part := key.Node()
		if prefix != "" {
			prefix += "."
		}
		prefix += string(part.Data)
		p.note(prefix, part)
	}
	return prefix
}

func (p *positioner) note(key string, node *unstable.Node) {
	if _, ok := p.found[key]; !ok && node.Raw.Length > 0 {
		p.found[key] = int(node.Raw.Offset)
	}
}

func (p *positioner) value(key string, node *unstable.Node) {
	children := node.Children()
	switch node.Kind {
	case unstable.Array:
		for i := 0; children.Next(); i++ {
			element := children.Node()
			p.note(key+"\x00#"+strconv.Itoa(i), element)
			p.note(key+"\x00"+string(element.Data), element)
		}
	case unstable.InlineTable:
		for children.Next() {
			inner := children.Node()
			name := p.enter(key, inner.Key())
			if v := inner.Value(); v.Kind == unstable.Array {
				p.value(name, v)
			}
		}
	}
}
