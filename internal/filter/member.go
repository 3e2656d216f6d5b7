package filter

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"

	"github.com/wstape/wstape/internal/decode"
)

// member is what an expression looks at of a JSON value: all of it, or only some
// of its members if it is an object. Decoding the rest would cost most of the time.
type member struct {
	all  bool
	some map[string]*member
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
	for _, path := range p.ends {
		root.add(path)
	}
	root.all = root.all || p.env
	return root
}

func (m *member) add(path []string) {
	if m.all = m.all || len(path) == 0; m.all {
		return
	}
	if m.some == nil {
		m.some = map[string]*member{}
	}
	next := m.some[path[0]]
	if next == nil {
		next = &member{}
		m.some[path[0]] = next
	}
	next.add(path[1:])
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

// decode returns what the expression looks at of a payload, nil if that is not JSON.
func (m *member) decode(payload []byte) (v any) {
	if m.all {
		_ = json.Unmarshal(payload, &v)
		return v
	}
	if payload = bytes.Trim(payload, " \t\r\n"); !json.Valid(payload) {
		return nil
	}
	return m.of(payload)
}

// of is decode for valid JSON without space around it.
func (m *member) of(raw json.RawMessage) (v any) {
	if m.all || raw[0] != '{' {
		return value(raw)
	}
	found := make(map[string]any, len(m.some))
	for quoted, value := range decode.Members(raw) {
		key, _ := decode.Text(quoted)
		if one := m.some[key]; one != nil {
			found[key] = one.of(value) // of two with the same name the last counts
		}
	}
	return found
}

// value decodes valid JSON; the commonest kinds at once.
func value(raw json.RawMessage) (v any) {
	if s, ok := decode.Text(raw); ok {
		return s
	}
	if c := raw[0]; c == '-' || c >= '0' && c <= '9' {
		if f, err := strconv.ParseFloat(string(raw), 64); err == nil {
			return f
		}
	}
	_ = json.Unmarshal(raw, &v)
	return v
}
