package filter

import (
	"slices"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"

	"github.com/wstape/wstape/internal/decode"
)

// member is what an expression looks at of a JSON value: all of it, or only some
// of its members if it is an object. Decoding the rest would cost most of the time.
type member struct {
	name string
	n    int // of all; the root is 0
	all  bool
	some []*member
}

// jsonOf reads what an expression looks at below json.
func jsonOf(text string) *member {
	root := &member{}
	tree, err := parser.Parse(text)
	if err != nil {
		return &member{all: true}
	}
	p := &paths{ends: map[ast.Node][]string{}}
	ast.Walk(&tree.Node, p)
	last := 0
	for _, path := range p.ends {
		root.add(path, &last)
	}
	root.all = root.all || p.env
	return root
}

// add adds the path to a member; last is the number of the last one that was made.
func (m *member) add(path []string, last *int) {
	if m.all = m.all || len(path) == 0; m.all {
		return
	}
	next := m.named([]byte(path[0]))
	if next == nil {
		*last++
		next = &member{name: path[0], n: *last}
		m.some = append(m.some, next)
	}
	next.add(path[1:], last)
}

// named is the member of a name; nil if it is not looked at.
func (m *member) named(name []byte) *member {
	for _, one := range m.some {
		if one.name == string(name) {
			return one
		}
	}
	return nil
}

// quoted is the member of a name as JSON writes it, which may be plain.
func (m *member) quoted(name []byte, plain bool) *member {
	if plain {
		return m.named(name[1 : len(name)-1])
	}
	text, _ := decode.Text(name)
	return m.named([]byte(text))
}

// paths are the nodes of an expression that are a value below json, with the
// names that lead there. Of a chain of members only the end is left.
type paths struct {
	ends map[ast.Node][]string
	env  bool // json may be reached in another way
}

// Visit is called for each node, behind those below it.
func (p *paths) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.IdentifierNode:
		if n.Value == "json" {
			p.ends[n] = nil
		}
		p.env = p.env || n.Value == "$env"
	case *ast.ChainNode:
		p.extend(n.Node, n)
	case *ast.MemberNode:
		if name, ok := n.Property.(*ast.StringNode); ok {
			p.extend(n.Node, n, name.Value)
		}
	}
}

// extend makes of a value that a chain of members ends with one further on.
func (p *paths) extend(from, to ast.Node, names ...string) {
	if path, ok := p.ends[from]; ok {
		delete(p.ends, from)
		p.ends[to] = append(slices.Clip(path), names...)
	}
}
