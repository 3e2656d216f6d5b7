package filter

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"
)

// need is what a payload must have in it for an expression to hold, found out
// from the expression alone: most messages can be told apart by it from those
// for which it holds, without decoding them. A payload that has it may still be
// none; the zero need is in every payload.
type need struct {
	all, any []need
	bytes    []byte
	escaped  bool // JSON may write the bytes otherwise, with backslashes
}

// in reports whether the payload has what is needed.
func (n *need) in(payload []byte) bool {
	for i := range n.all {
		if !n.all[i].in(payload) {
			return false
		}
	}
	if len(n.bytes) > 0 && !bytes.Contains(payload, n.bytes) && !(n.escaped && bytes.IndexByte(payload, '\\') >= 0) {
		return false
	}
	for i := range n.any {
		if n.any[i].in(payload) {
			return true
		}
	}
	return len(n.any) == 0
}

// needOf reads what an expression needs. What is not understood needs nothing.
func needOf(text string) need {
	tree, err := parser.Parse(text)
	if err != nil {
		return need{}
	}
	return needOfNode(tree.Node)
}

func needOfNode(node ast.Node) need {
	n, ok := node.(*ast.BinaryNode)
	if !ok {
		return need{}
	}
	switch n.Operator {
	case "&&", "and":
		return need{all: []need{needOfNode(n.Left), needOfNode(n.Right)}}
	case "||", "or":
		return need{any: []need{needOfNode(n.Left), needOfNode(n.Right)}}
	case "==":
		if isConstant(n.Left) {
			return needOfOperand(n.Right, "==", n.Left)
		}
		return needOfOperand(n.Left, "==", n.Right)
	case "contains", "startsWith", "endsWith", "in", "matches":
		return needOfOperand(n.Left, n.Operator, n.Right)
	case "<", "<=", ">", ">=": // none of them holds where one side is nil
		return need{all: []need{keysOf(n.Left), keysOf(n.Right)}}
	}
	return need{}
}

// needOfOperand is what a field needs to have to do with a constant.
func needOfOperand(field ast.Node, operator string, with ast.Node) need {
	root := rootOf(field)
	if name, ok := field.(*ast.IdentifierNode); ok && name.Value == "text" {
		return ofStrings(operator, with, func(_ string, s string) need { return need{bytes: []byte(s)} })
	}
	if root != "json" {
		return need{}
	}
	switch operator {
	case "==":
		if !isConstant(with) {
			return need{}
		}
	case "in": // of an array with "" in it, expr says that nil is in it too
		if array, ok := with.(*ast.ArrayNode); !ok || !allStrings(array) || hasEmpty(array) {
			return need{}
		}
	}
	return need{all: []need{keysOf(field), ofStrings(operator, with, quoted)}}
}

// ofStrings is what an operator makes of a string, or of one of several.
func ofStrings(operator string, with ast.Node, needs func(operator, s string) need) need {
	switch v := with.(type) {
	case *ast.StringNode:
		switch operator {
		case "==", "contains", "startsWith", "endsWith":
			return needs(operator, v.Value)
		}
	case *ast.ArrayNode:
		if operator != "in" || !allStrings(v) {
			return need{}
		}
		out := need{}
		for _, one := range v.Nodes {
			out.any = append(out.any, needs("==", one.(*ast.StringNode).Value))
		}
		return out
	}
	return need{}
}

func allStrings(a *ast.ArrayNode) bool {
	return !slices.ContainsFunc(a.Nodes, func(one ast.Node) bool { _, ok := one.(*ast.StringNode); return !ok })
}

func hasEmpty(a *ast.ArrayNode) bool {
	return slices.ContainsFunc(a.Nodes, func(one ast.Node) bool {
		s, ok := one.(*ast.StringNode)
		return ok && s.Value == ""
	})
}

// isConstant reports whether a node is a value that is not nil.
func isConstant(n ast.Node) bool {
	switch n.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return true
	}
	return false
}

// keysOf is what a chain of members below json needs not to be nil.
func keysOf(n ast.Node) need {
	out := need{}
	if rootOf(n) != "json" {
		return out
	}
	for {
		switch x := n.(type) {
		case *ast.MemberNode:
			if key, ok := x.Property.(*ast.StringNode); ok {
				out.all = append(out.all, quoted("==", key.Value))
			}
			n = x.Node
		case *ast.ChainNode:
			n = x.Node
		default:
			return out
		}
	}
}

// quoted is how JSON writes a string, or a part of it.
func quoted(operator, s string) need {
	if strings.ContainsRune(s, utf8.RuneError) {
		return need{} // stands for bytes that are not UTF-8, too
	}
	if operator == "==" || operator == "startsWith" {
		s = `"` + s
	}
	if operator == "==" || operator == "endsWith" {
		s += `"`
	}
	return need{bytes: []byte(s), escaped: true}
}
