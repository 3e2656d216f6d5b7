package filter

import (
	"fmt"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"

	"github.com/wstape/wstape/internal/levenshtein"
	"github.com/wstape/wstape/tape"
)

// values are those of the fields that have but a few.
func values(field string) (out []string) {
	switch field {
	case "from":
		for _, s := range tape.Sides() {
			out = append(out, s.String())
		}
	case "fate":
		for _, f := range []tape.Fate{tape.Passed, tape.Edited, tape.Dropped, tape.Injected} {
			out = append(out, string(f))
		}
	case "op":
		for _, o := range []tape.Opcode{tape.Text, tape.Binary, tape.Ping, tape.Pong, tape.Close, tape.Continuation, tape.OpRaw} {
			out = append(out, o.String())
		}
	case "session.state":
		for _, s := range []tape.State{tape.Open, tape.Closed, tape.Interrupted, tape.Refused} {
			out = append(out, string(s))
		}
	}
	return out
}

// compared refuses to compare such a field with what it never is: that finds
// nothing, or everything, and does not say why.
func (p *patcher) compared(n *ast.BinaryNode) {
	switch n.Operator {
	case "==", "!=":
		p.isWord(n.Left, n.Right)
		p.isWord(n.Right, n.Left)
	case "in":
		if array, ok := n.Right.(*ast.ArrayNode); ok {
			for _, one := range array.Nodes {
				p.isWord(n.Left, one)
			}
		}
	}
}

func (p *patcher) isWord(field, with ast.Node) {
	word, ok := with.(*ast.StringNode)
	name := nameOf(field)
	known := values(name)
	if !ok || known == nil || slices.Contains(known, word.Value) || p.wrong != nil {
		return
	}
	if _, err := tape.ParseOpcode(word.Value); name == "op" && err == nil {
		return // a reserved one
	}
	reason := fmt.Sprintf("%s is never %q; ", name, word.Value)
	if near := levenshtein.Nearest(word.Value, known); near != "" {
		reason += fmt.Sprintf("did you mean %q?", near)
	} else {
		reason += "it is one of " + strings.Join(known, ", ")
	}
	p.wrong = &Error{Column: word.Location().From, Reason: reason}
}

// nameOf is a field, or one part of it, as it is written; "" for anything else.
func nameOf(n ast.Node) string {
	switch x := n.(type) {
	case *ast.IdentifierNode:
		return x.Value
	case *ast.MemberNode:
		root, ok := x.Node.(*ast.IdentifierNode)
		part, named := x.Property.(*ast.StringNode)
		if ok && named {
			return root.Value + "." + part.Value
		}
	}
	return ""
}
