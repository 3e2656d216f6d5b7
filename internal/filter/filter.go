// Package filter is the one filter language of wstape: an expression over one
// message, with its session at hand.
//
//	from == "client" && json.type == "subscribe" && len > 100
//	text contains "BTC" || text matches "^\\d+"
//	fate == "edited" && session.url startsWith "/chat"
//	view.type == "next" && latency > 200ms && t < 5s
//
// The expression is https://expr-lang.org; durations like 200ms are numbers of
// seconds. What a message does not have is nil, so that json.a.b never fails.
package filter

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/vm"

	"github.com/wstape/wstape/internal/decode"
	"github.com/wstape/wstape/internal/levenshtein"
	"github.com/wstape/wstape/tape"
)

// Subject is what a filter looks at.
type Subject struct {
	Session *tape.Session // may be nil
	Message *tape.Message
	View    *decode.View  // what a protocol says of the message; nil if nobody looked
	Latency time.Duration // from the request to this answer; 0 if it is none
}

// Filter is a compiled expression. Safe for concurrent use.
type Filter struct {
	program *vm.Program
	uses    map[string]bool // names of fields in it
	needs   need            // what it cannot hold without
	json    *member         // what it looks at
	spare   sync.Pool       // of *scratch
}

// scratch is the memory that matching one message takes.
type scratch struct {
	vm   vm.VM
	env  fields
	json scan
}

// Error is a mistake in an expression.
type Error struct {
	Text   string // the expression
	Column int    // of the mistake, in characters from 1
	Reason string
}

func (e *Error) Error() string {
	return fmt.Sprintf("filter, column %d: %s\n  %s\n  %s^", e.Column, e.Reason, e.Text, strings.Repeat(" ", max(0, e.Column-1)))
}

// fields are the names that an expression may use.
type fields struct {
	From     string  `expr:"from"`     // client or server
	Op       string  `expr:"op"`       // text, binary, ping, pong, close
	Len      int     `expr:"len"`      // bytes of the plain payload
	Text     string  `expr:"text"`     // the payload of a text message
	JSON     any     `expr:"json"`     // the payload as JSON; nil if it is none
	Fate     string  `expr:"fate"`     // passed, edited, dropped or injected
	By       string  `expr:"by"`       // who decided it last
	T        float64 `expr:"t"`        // seconds since the session began
	Seq      int     `expr:"seq"`      // number of its first frame
	Code     int     `expr:"code"`     // of a close frame; 0 else
	Reason   string  `expr:"reason"`   // of a close frame
	Frames   int     `expr:"frames"`   // how many it came in
	Wire     int     `expr:"wire"`     // its bytes on the wire
	Problem  string  `expr:"problem"`  // violation of the protocol, or why it cannot be read
	Latency  float64 `expr:"latency"`  // seconds from the request to this answer; 0 if it is none
	View     any     `expr:"view"`     // protocol, type, key, heartbeat, summary, value
	Session  session `expr:"session"`  // what ls shows
	Received string  `expr:"received"` // what came in, of an edited message
}

type session struct {
	N           int               `expr:"n"`
	ID          string            `expr:"id"`
	URL         string            `expr:"url"`
	Upstream    string            `expr:"upstream"`
	Client      string            `expr:"client"`
	Status      int               `expr:"status"`
	Subprotocol string            `expr:"subprotocol"`
	Extensions  string            `expr:"extensions"`
	State       string            `expr:"state"`
	Ending      string            `expr:"ending"`
	Code        int               `expr:"code"`
	Duration    float64           `expr:"duration"` // seconds
	Started     time.Time         `expr:"started"`
	Tags        map[string]string `expr:"tags"`
}

// Field is a name that expressions may use, for help filter.
type Field struct{ Name, Type, About string }

// Fields lists what an expression may use.
func Fields() []Field {
	return []Field{
		{"from", "string", "who sent it: client or server"},
		{"op", "string", "text, binary, ping, pong, close, reserved(3) …"},
		{"len", "number", "bytes of the plain payload"},
		{"text", "string", "the payload of a text message"},
		{"json", "any", "the payload as JSON; json.a.b is nil where there is none"},
		{"fate", "string", "passed, edited, dropped or injected"},
		{"by", "string", "who decided it: script:FILE, fault:NAME, operator"},
		{"received", "string", "what came in, of an edited text message"},
		{"t", "duration", "since the session began: t < 5s"},
		{"latency", "duration", "from the request to this answer, where the protocol pairs them"},
		{"seq", "number", "of its first frame"},
		{"frames", "number", "how many frames it came in"},
		{"wire", "number", "its payload bytes on the wire"},
		{"code", "number", "of a close frame"},
		{"reason", "string", "of a close frame"},
		{"problem", "string", "how it violates the protocol, or why it cannot be read"},
		{"view", "object", "what its protocol says: ." + strings.Join(Parts()["view"], " .")},
		{"session", "object", "as ls shows it: ." + strings.Join(Parts()["session"], " .")},
	}
}

// Compile reads an expression. A mistake in it is an [*Error].
func Compile(text string) (*Filter, error) {
	plain, offsets := durations(text)
	p := &patcher{uses: map[string]bool{}}
	program, err := expr.Compile(plain, expr.Env(fields{}), expr.AsBool(), expr.Patch(p), expr.DisableBuiltin("len"), expr.MaxNodes(10000))
	if p.wrong != nil { // of which the compiler says less, or nothing
		p.wrong.Text, p.wrong.Column = text, written(p.wrong.Column, offsets)+1
		return nil, p.wrong
	}
	if err != nil {
		return nil, explain(text, err, offsets)
	}
	return &Filter{program: program, uses: p.uses, needs: needOf(plain), json: jsonOf(plain)}, nil
}

// Uses reports whether the expression looks at a field, so that what is costly
// to find out is only found out where it is asked for.
func (f *Filter) Uses(field string) bool { return f.uses[field] }

// Only reports whether the expression looks at no other field.
func (f *Filter) Only(field string) bool {
	for other := range f.uses {
		if other != field {
			return false
		}
	}
	return f.uses[field]
}

// Match reports whether the expression holds for a message. Where a value is not
// of the kind that the expression needs, it does not hold.
func (f *Filter) Match(s *Subject) bool {
	if !f.needs.in(s.Message.Payload) {
		return false
	}
	x, ok := f.spare.Get().(*scratch)
	if !ok {
		x = new(scratch)
	}
	f.fill(x, s)
	out, err := x.vm.Run(f.program, &x.env)
	holds, ok := out.(bool)
	x.env = fields{} // lets go of the message
	x.json.forget()
	f.spare.Put(x)
	return err == nil && ok && holds
}

// fill fills in what the expression looks at.
func (f *Filter) fill(x *scratch, s *Subject) {
	m, e := s.Message, &x.env
	*e = fields{
		From: m.From.String(), Op: m.Op.String(), Len: int(m.Len), Fate: string(cmp.Or(m.Fate, tape.Passed)), T: m.T.Seconds(), Seq: int(m.Seq),
		Frames: max(1, len(m.Frames)), Wire: int(m.WireLen), Problem: m.Violation, Latency: s.Latency.Seconds(),
	}
	if e.Wire == 0 {
		e.Wire = e.Len
	}
	if m.Error != "" {
		e.Problem = m.Error
	}
	if n := len(m.By); n > 0 {
		e.By = m.By[n-1]
	}
	if f.uses["text"] && m.Op == tape.Text {
		e.Text = string(m.Payload)
	}
	if f.uses["received"] && m.Received != nil && m.Received.Op == tape.Text {
		e.Received = string(m.Received.Payload)
	}
	if f.uses["json"] && (m.Op == tape.Text || m.Op == tape.Binary) && mayBeJSON(m.Payload) {
		e.JSON = x.json.read(m.Payload, f.json)
	}
	if m.Op == tape.Close {
		e.Code, e.Reason, _ = tape.ParseClose(m.Payload)
	}
	if v := s.View; v != nil && f.uses["view"] {
		e.View = map[string]any{
			"protocol": v.Protocol, "type": v.Type, "key": v.Key, "answer": v.Answer, "heartbeat": v.Heartbeat, "summary": v.Summary, "value": v.Value,
		}
	}
	if s.Session != nil && f.uses["session"] {
		e.Session = sessionOf(s.Session)
	}
}

func sessionOf(s *tape.Session) session {
	out := session{
		N: int(s.N), ID: s.ID.String(), URL: s.URL, Upstream: s.Upstream, Client: s.Client, Status: s.Status, Subprotocol: s.Subprotocol,
		Extensions: s.Extensions, State: string(s.State), Duration: s.Duration.Seconds(), Started: s.Started, Tags: s.Tags,
	}
	if s.Ending != nil {
		out.Ending, out.Code = string(s.Ending.Kind), s.Ending.Code
	}
	return out
}

// mayBeJSON spares the decoder what cannot be JSON.
func mayBeJSON(p []byte) bool {
	for _, c := range p {
		switch c {
		case ' ', '\t', '\r', '\n':
			continue
		}
		return strings.IndexByte(`{["-0123456789tfn`, c) >= 0
	}
	return false
}

// patcher notes which fields are used and lets what is not there be nil.
type patcher struct {
	uses  map[string]bool
	wrong *Error // the first name of a part that there is not; its column counts from 0, in what is compiled
}

func (p *patcher) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.IdentifierNode:
		p.uses[n.Value] = true
	case *ast.BinaryNode:
		p.compared(n)
	case *ast.MemberNode:
		p.check(n)
		if root := rootOf(n); root == "json" || root == "view" {
			n.Optional = true
			ast.Patch(node, &ast.ChainNode{Node: n})
		}
	}
}

// check looks for parts of view and session that there are not.
func (p *patcher) check(n *ast.MemberNode) {
	root, ok := n.Node.(*ast.IdentifierNode)
	name, named := n.Property.(*ast.StringNode)
	if !ok || !named || p.wrong != nil {
		return
	}
	parts := Parts()[root.Value]
	if parts == nil || slices.Contains(parts, name.Value) {
		return
	}
	reason := fmt.Sprintf("%s has no field %q; ", root.Value, name.Value)
	if near := levenshtein.Nearest(name.Value, parts); near != "" {
		reason += fmt.Sprintf("did you mean \"%s.%s\"?", root.Value, near)
	} else {
		reason += "there are ." + strings.Join(parts, " .")
	}
	p.wrong = &Error{Column: name.Location().From, Reason: reason}
}

// Parts lists what the fields that are objects have in them.
func Parts() map[string][]string {
	out := map[string][]string{"view": {"protocol", "type", "key", "answer", "heartbeat", "summary", "value"}}
	for t, i := reflect.TypeFor[session](), 0; i < t.NumField(); i++ {
		out["session"] = append(out["session"], t.Field(i).Tag.Get("expr"))
	}
	return out
}

// rootOf is the field that a chain of members begins with.
func rootOf(n ast.Node) string {
	for {
		switch x := n.(type) {
		case *ast.MemberNode:
			n = x.Node
		case *ast.ChainNode:
			n = x.Node
		case *ast.IdentifierNode:
			return x.Value
		default:
			return ""
		}
	}
}

// literal is a string, which is left alone, or a duration.
var literal = regexp.MustCompile("\"(?:[^\"\\\\]|\\\\.)*\"|'(?:[^'\\\\]|\\\\.)*'|`[^`]*`|\\b(\\d+(?:\\.\\d+)?)(ns|us|µs|ms|s|m|h)\\b")

// shift says that from a place in the expression on, places are some characters
// further than in what was written.
type shift struct{ from, by int }

// durations writes durations as numbers of seconds.
func durations(text string) (plain string, offsets []shift) {
	var out strings.Builder
	last, by := 0, 0
	for _, m := range literal.FindAllStringSubmatchIndex(text, -1) {
		if m[2] < 0 {
			continue // a string
		}
		d, err := time.ParseDuration(text[m[0]:m[1]])
		if err != nil {
			continue
		}
		number := strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
		out.WriteString(text[last:m[0]])
		out.WriteString(number)
		by += len(number) - utf8.RuneCountInString(text[m[0]:m[1]])
		offsets = append(offsets, shift{utf8.RuneCountInString(out.String()), by})
		last = m[1]
	}
	out.WriteString(text[last:])
	return out.String(), offsets
}

// explain says where the mistake is in what was written, and what may be meant.
func explain(text string, err error, offsets []shift) error {
	var at *file.Error
	if !errors.As(err, &at) {
		return &Error{Text: text, Column: 1, Reason: plainly(err.Error())}
	}
	reason := plainly(at.Message)
	if _, name, ok := strings.Cut(reason, "unknown name "); ok {
		reason = fmt.Sprintf("there is no field %q", name)
		var names []string
		for _, f := range Fields() {
			names = append(names, f.Name)
		}
		if near := levenshtein.Nearest(name, names); near != "" {
			reason += fmt.Sprintf("; did you mean %q?", near)
		} else {
			reason += fmt.Sprintf("; see wstape help filter, or quote a text: %q", name)
		}
	}
	return &Error{Text: text, Column: written(at.Column, offsets) + 1, Reason: reason}
}

// plainly says the commonest of the compiler's reasons to those who write filters.
func plainly(reason string) string {
	if kind, ok := strings.CutPrefix(reason, "expected bool, but got "); ok {
		return "this is a value of type " + kind + ", neither true nor false: compare it with something"
	}
	switch reason {
	case "unexpected token EOF":
		return "something is missing at the end"
	case `unexpected token Operator("=")`:
		return "write == to compare"
	}
	return reason
}

// written is the column, in what was written, of one in what was compiled.
func written(column int, offsets []shift) int {
	out := column
	for _, s := range offsets {
		if column >= s.from {
			out = column - s.by
		}
	}
	return out
}
