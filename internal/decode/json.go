package decode

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"unicode/utf8"

	"github.com/wstape/wstape/tape"
)

// maxValue is how long JSON may be to be decoded into a View's Value: decoded it
// takes many times the room.
const maxValue = 1 << 20

// sniffJSON takes a session whose messages are mostly objects and arrays.
func sniffJSON(_ Hint, first []*tape.Message) int {
	texts, found := 0, 0
	for _, m := range first {
		if m.Op == tape.Text {
			texts++
		}
		if raw, err := parse(m.Payload); err == nil && (raw[0] == '{' || raw[0] == '[') {
			found++
		}
	}
	if found > 0 && found*2 >= texts {
		return general
	}
	return 0
}

func openJSON(Hint) reader { return readJSON }

func readJSON(m *tape.Message) (View, error) {
	raw, err := parse(m.Payload)
	if err != nil {
		return View{}, err
	}
	v := View{Type: kind(raw), Summary: compact(raw), Value: value(raw)}
	if raw[0] == '{' {
		typeOfObject(&v, raw)
	}
	return v, nil
}

// kinds are the members that commonly say what a message is.
func kinds() []string { return []string{"type", "event", "action", "op", "method"} }

func typeOfObject(v *View, raw json.RawMessage) {
	o := pick(raw, kinds()...)
	for _, name := range kinds() {
		if s, ok := Text(o[name]); ok && s != "" {
			v.Type = s
			break
		}
	}
	n := 0
	for range members(raw) {
		n++
	}
	// With more members it may well be an application's own ping.
	v.Heartbeat = n == 1 && (v.Type == "ping" || v.Type == "pong" || v.Type == "heartbeat")
}

func kind(raw json.RawMessage) string {
	switch raw[0] {
	case '{':
		return "object"
	case '[':
		return "array"
	case '"':
		return "string"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	return "number"
}

// parse checks that a payload is one JSON value and returns it without the space
// around it. It shares the payload's memory.
func parse(p []byte) (json.RawMessage, error) {
	p = bytes.Trim(p, " \t\r\n")
	if json.Valid(p) {
		return p, nil
	}
	err := json.Unmarshal(p, new(json.RawMessage))
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return nil, fmt.Errorf("not JSON: %w (byte %d)", err, syntax.Offset)
	}
	return nil, fmt.Errorf("not JSON: %w", err)
}

// parseObject is parse for what has to be an object.
func parseObject(p []byte) (json.RawMessage, error) { return parseAs(p, '{', "an object") }

func parseArray(p []byte) (json.RawMessage, error) { return parseAs(p, '[', "an array") }

func parseAs(p []byte, first byte, what string) (json.RawMessage, error) {
	raw, err := parse(p)
	if err == nil && raw[0] != first {
		return nil, fmt.Errorf("not %s, but a JSON %s", what, kind(raw))
	}
	return raw, err
}

// value decodes valid JSON; nil if it is too long.
func value(raw json.RawMessage) any {
	if len(raw) > maxValue {
		return nil
	}
	var v any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if dec.Decode(&v) != nil {
		return nil
	}
	return v
}

// Text decodes a JSON string, which must be valid; false if it is another value.
func Text(raw json.RawMessage) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", false
	}
	if inner := raw[1 : len(raw)-1]; bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return string(inner), true
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return s, err == nil
}

// id makes a key of a JSON string or number; "" of anything else.
func id(raw json.RawMessage) string {
	if s, ok := Text(raw); ok {
		return s
	}
	if len(raw) > 0 && (raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9') {
		return string(raw)
	}
	return ""
}

// The functions below walk JSON that is valid, and copy nothing.

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\r' || b[i] == '\n') {
		i++
	}
	return i
}

// stringEnd returns where the string that begins at i ends.
func stringEnd(b []byte, i int) int {
	for i++; i < len(b) && b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return min(i+1, len(b))
}

// valueEnd returns where the value that begins at i ends.
func valueEnd(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			i = stringEnd(b, i)
		case '{', '[':
			depth++
			i++
		case '}', ']':
			depth--
			i++
		default:
			i++
			for i < len(b) && depth == 0 && !strings.ContainsRune(" \t\r\n,]}", rune(b[i])) {
				i++
			}
		}
		if depth == 0 {
			break
		}
	}
	return i
}

// elements yields the elements of an array.
func elements(raw json.RawMessage) iter.Seq[json.RawMessage] {
	return func(yield func(json.RawMessage) bool) {
		for i := space(raw, 1); i < len(raw) && raw[i] != ']'; i = space(raw, i) {
			end := valueEnd(raw, i)
			if !yield(raw[i:end]) {
				return
			}
			if i = space(raw, end); i < len(raw) && raw[i] == ',' {
				i++
			}
		}
	}
}

// members yields the members of a JSON object, which must be valid; names are
// still quoted.
func members(raw json.RawMessage) iter.Seq2[json.RawMessage, json.RawMessage] {
	return func(yield func(name, value json.RawMessage) bool) {
		for i := space(raw, 1); i < len(raw) && raw[i] != '}'; i = space(raw, i) {
			nameEnd := stringEnd(raw, i)
			begin := space(raw, space(raw, nameEnd)+1)
			end := valueEnd(raw, begin)
			if end <= i || !yield(raw[i:nameEnd], raw[begin:end]) {
				return
			}
			if i = space(raw, end); i < len(raw) && raw[i] == ',' {
				i++
			}
		}
	}
}

// pick returns the members of an object that have one of the names. Of two with
// the same name the last counts, as for JSON.parse.
func pick(raw json.RawMessage, names ...string) map[string]json.RawMessage {
	found := make(map[string]json.RawMessage, len(names))
	if len(raw) == 0 || raw[0] != '{' {
		return found
	}
	for quoted, value := range members(raw) {
		for _, name := range names {
			if len(quoted) == len(name)+2 && string(quoted[1:len(quoted)-1]) == name {
				found[name] = value
			}
		}
	}
	return found
}

// array returns the first n elements of an array.
func array(raw json.RawMessage, n int) []json.RawMessage {
	var all []json.RawMessage
	for e := range elements(raw) {
		if all = append(all, e); len(all) == n {
			break
		}
	}
	return all
}

// compact writes JSON for a summary: without space between the tokens, and no
// more of it than a summary shows.
func compact(raw json.RawMessage) string {
	var b strings.Builder
	for i := 0; i < len(raw) && b.Len() <= utf8.UTFMax*maxSummary; {
		switch c := raw[i]; {
		case c == '"':
			end := stringEnd(raw, i)
			b.Write(head(raw[i:end]))
			i = end
		case space(raw, i) > i:
			i = space(raw, i)
		default:
			b.WriteByte(c)
			i++
		}
	}
	return fold(b.String(), maxSummary)
}
