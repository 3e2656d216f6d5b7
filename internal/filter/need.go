package filter

import (
	"bytes"
	"slices"
	"strconv"
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
	value    func(scan) bool // what must come behind them, which are a key; nil if anything may
	escape   []byte          // with this in it JSON may write the bytes otherwise; nil if they stand as they are
}

// in reports whether the payload has what is needed.
func (n *need) in(payload []byte) bool {
	for i := range n.all {
		if !n.all[i].in(payload) {
			return false
		}
	}
	if len(n.bytes) > 0 && !n.stands(payload) && (n.escape == nil || !bytes.Contains(payload, n.escape)) {
		return false
	}
	for i := range n.any {
		if n.any[i].in(payload) {
			return true
		}
	}
	return len(n.any) == 0
}

// stands reports whether the bytes are in a payload, and behind them the value.
func (n *need) stands(payload []byte) bool {
	if n.value == nil {
		return bytes.Contains(payload, n.bytes)
	}
	for at := 0; ; at++ { // the quote that ends one may begin the next
		i := bytes.Index(payload[at:], n.bytes)
		if i < 0 {
			return false
		}
		at += i
		s := scan{text: payload, at: at + len(n.bytes)}
		if s.colon() && n.value(s) {
			return true
		}
	}
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
		mirrored := map[string]string{"<": ">", "<=": ">=", ">": "<", ">=": "<="}[n.Operator]
		return need{all: []need{keysOf(n.Left, valueOf(n.Operator, n.Right)), keysOf(n.Right, valueOf(mirrored, n.Left))}}
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
	return need{all: []need{keysOf(field, valueOf(operator, with)), ofStrings(operator, with, quoted)}}
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
	case *ast.StringNode, *ast.BoolNode:
		return true
	}
	_, ok := numberOf(n)
	return ok
}

// numberOf is the number that a node is, as it is compared with those of JSON.
func numberOf(n ast.Node) (f float64, ok bool) {
	switch x := n.(type) {
	case *ast.IntegerNode:
		return float64(x.Value), true
	case *ast.FloatNode:
		return x.Value, true
	case *ast.UnaryNode:
		f, ok = numberOf(x.Node)
		return -f, ok && x.Operator == "-"
	}
	return 0, false
}

// valueOf is how JSON must write what compares like that with a constant; nil if
// that cannot be told at once.
func valueOf(operator string, with ast.Node) func(scan) bool {
	if b, ok := with.(*ast.BoolNode); ok && operator == "==" {
		return func(s scan) bool { return s.word(strconv.FormatBool(b.Value)) }
	}
	than, ok := numberOf(with)
	if !ok {
		return nil
	}
	compare := map[string]func(f float64) bool{
		"==": func(f float64) bool { return f == than },
		"<":  func(f float64) bool { return f < than },
		"<=": func(f float64) bool { return f <= than },
		">":  func(f float64) bool { return f > than },
		">=": func(f float64) bool { return f >= than },
	}[operator]
	if compare == nil {
		return nil
	}
	return func(s scan) bool {
		begin := s.at
		if !s.number() {
			return false
		}
		f, err := strconv.ParseFloat(string(s.text[begin:s.at]), 64)
		return err == nil && compare(f)
	}
}

// keysOf is what a chain of members below json needs not to be nil, and to be a
// value if one is said.
func keysOf(n ast.Node, value func(scan) bool) need {
	out := need{}
	if rootOf(n) != "json" {
		return out
	}
	for {
		switch x := n.(type) {
		case *ast.MemberNode:
			if key, ok := x.Property.(*ast.StringNode); ok {
				one := quoted("==", key.Value)
				one.value = value
				out.all = append(out.all, one)
			}
			n, value = x.Node, nil // which is of the last one
		case *ast.ChainNode:
			n = x.Node
		default:
			return out
		}
	}
}

// quoted is how JSON writes a string, or a part of it.
func quoted(operator, text string) need {
	if strings.ContainsRune(text, utf8.RuneError) {
		return need{} // stands for bytes that are not UTF-8, too
	}
	s := text
	if operator == "==" || operator == "startsWith" {
		s = `"` + s
	}
	if operator == "==" || operator == "endsWith" {
		s += `"`
	}
	escape := `\u`
	if strings.ContainsAny(text, "\"\\/\b\f\n\r\t") { // they have escapes of their own
		escape = `\`
	}
	return need{bytes: []byte(s), escape: []byte(escape)}
}
