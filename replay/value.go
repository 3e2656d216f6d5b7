package replay

import (
	"bytes"
	"encoding/json"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/wstape/wstape/internal/jsonpath"
	"github.com/wstape/wstape/tape"
)

// leaf is one value of a message that has no values in it, and where it stands
// in the payload. An empty object or array is a leaf too (kind '{' and '['), so
// that two documents are equal if their leaves are.
type leaf struct {
	path       jsonpath.Path
	start, end int
	scalar
}

// maxDepth bounds how deep a JSON document may nest before it counts as text.
const maxDepth = 256

// view is what a message says, in parts that can be compared one by one.
type view struct {
	leaves []leaf // of JSON, in document order; nil if the message is not JSON
	text   bool   // no JSON but text: one leaf, the whole of it
}

// look takes a message apart: JSON, the JSON of a Socket.IO packet, or text.
// Binary messages that are JSON (as some libraries send it) count as JSON.
func look(c *tape.Content) view {
	if c.Op != tape.Text && c.Op != tape.Binary {
		return secretView(c.Payload)
	}
	if leaves, ok := jsonLeaves(c.Payload, 0, nil); ok {
		return view{leaves: leaves}
	}
	if c.Op != tape.Text {
		return secretView(c.Payload)
	}
	if leaves, ok := packetLeaves(c.Payload); ok {
		return view{leaves: leaves}
	}
	return asText(c.Payload)
}

// secretView is what bytes say that are no text: nothing, but that secrets were
// replaced in them.
func secretView(payload []byte) view {
	if !onlyPseudonym.Match(payload) {
		return view{}
	}
	return asText(payload)
}

// asText is what a message says that is all text.
func asText(payload []byte) view {
	return view{leaves: []leaf{{end: len(payload), scalar: scalar{'s', string(payload)}}}, text: true}
}

// socketIO is an Engine.IO packet that holds a Socket.IO packet: types, number of
// attachments, namespace, id of the acknowledgement, and JSON behind it.
// https://socket.io/docs/v4/socket-io-protocol/
var socketIO = regexp.MustCompile(`^([0-6][0-6]?)(?:(\d+)-)?(?:(/[^,]{0,256}),)?(\d{1,19})?`)

// packetLeaves takes a Socket.IO packet apart: its head's parts have the names
// (type), (attachments), (namespace) and (id).
func packetLeaves(p []byte) ([]leaf, bool) {
	m := socketIO.FindSubmatchIndex(p)
	if m == nil {
		return nil, false
	}
	var head []leaf
	for i, name := range []string{"(type)", "(attachments)", "(namespace)", "(id)"} {
		from, to := m[2+2*i], m[3+2*i]
		if from < 0 {
			continue
		}
		kind := byte('n')
		if name == "(namespace)" {
			kind = 's'
		}
		// A namespace is not quoted, so what replaces it must not be either: its
		// leaf is never rewritten, see spell.
		head = append(head, leaf{jsonpath.Path{{Key: name}}, from, to, scalar{kind, string(p[from:to])}})
	}
	if m[1] == len(p) {
		return head, m[8] >= 0 // an acknowledgement without data; else plain digits
	}
	if c := p[m[1]]; c != '[' && c != '{' {
		return nil, false
	}
	return jsonLeaves(p[m[1]:], m[1], head)
}

// jsonLeaves appends the leaves of a whole JSON document, which stands at an
// offset of the payload.
func jsonLeaves(b []byte, offset int, leaves []leaf) ([]leaf, bool) {
	if len(b) == 0 || !strings.ContainsRune("{[\"-0123456789tfn \t\r\n", rune(b[0])) {
		return nil, false // spare the decoder what cannot be JSON
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	r := leafReader{dec: dec, b: b, offset: offset, leaves: leaves}
	if !r.value(0) {
		return nil, false
	}
	_, err := dec.Token()
	return r.leaves, err == io.EOF
}

type leafReader struct {
	dec    *json.Decoder
	b      []byte
	offset int
	at     jsonpath.Path
	leaves []leaf
}

// value reads one value.
func (r *leafReader) value(depth int) bool {
	before := r.dec.InputOffset()
	token, err := r.dec.Token()
	if err != nil || depth > maxDepth {
		return false
	}
	l := leaf{end: int(r.dec.InputOffset())}
	l.start = int(before)
	for l.start < l.end && strings.IndexByte(" \t\r\n,:", r.b[l.start]) >= 0 {
		l.start++
	}
	switch v := token.(type) {
	case json.Delim:
		empty := true
		for i := 0; r.dec.More(); i++ {
			empty = false
			s := jsonpath.Seg{Index: i, IsIndex: true}
			if v == '{' {
				from := r.dec.InputOffset()
				key, err := r.dec.Token()
				name, ok := key.(string)
				if err != nil || !ok || lossy(name, r.b[from:r.dec.InputOffset()]) {
					return false
				}
				s = jsonpath.Seg{Key: name}
			}
			r.at = append(r.at, s)
			if !r.value(depth + 1) {
				return false
			}
			r.at = r.at[:len(r.at)-1]
		}
		if _, err := r.dec.Token(); err != nil {
			return false
		}
		if !empty {
			return true
		}
		l.kind, l.end = byte(v), int(r.dec.InputOffset())
	case string:
		if lossy(v, r.b[l.start:l.end]) {
			return false
		}
		l.scalar = scalar{'s', v}
	case json.Number:
		l.scalar = scalar{'n', v.String()}
	case bool:
		l.kind = map[bool]byte{true: 't', false: 'f'}[v]
	default:
		l.kind = 'z'
	}
	l.start, l.end = l.start+r.offset, l.end+r.offset
	l.path = append(jsonpath.Path(nil), r.at...)
	r.leaves = append(r.leaves, l)
	return true
}

// lossy reports whether decoding a string has put U+FFFD in place of what cannot
// be decoded: different strings would be equal then.
func lossy(decoded string, raw []byte) bool {
	n := strings.Count(decoded, "\uFFFD")
	return n > 0 && n > bytes.Count(raw, []byte("\uFFFD"))+bytes.Count(bytes.ToLower(raw), []byte(`\ufffd`))
}

// key is the last object key on the way to a leaf.
func (l *leaf) key() string {
	for i := len(l.path) - 1; i >= 0; i-- {
		if s := l.path[i]; !s.IsIndex {
			return strings.Trim(s.Key, "()")
		}
	}
	return ""
}

// ownKey is the key under which a leaf itself stands; "" in an array.
func (l *leaf) ownKey() string {
	if n := len(l.path); n == 0 || l.path[n-1].IsIndex {
		return ""
	}
	return l.key()
}

// equal reports whether two scalars mean the same.
func equal(a, b scalar) bool {
	if a.kind != b.kind {
		return false
	}
	return a.text == b.text || a.kind == 'n' && canonical(a.text) == canonical(b.text)
}

// canonical writes a JSON number in one of the forms that mean the same, without
// losing digits: 1.50e2 and 150 become 15e1.
func canonical(number string) string {
	n, negative := strings.CutPrefix(number, "-")
	mantissa, exponent := n, 0
	if i := strings.IndexAny(n, "eE"); i >= 0 {
		mantissa = n[:i]
		e, err := json.Number(strings.TrimPrefix(n[i+1:], "+")).Int64()
		if err != nil || e > 1<<30 || e < -1<<30 {
			return number
		}
		exponent = int(e)
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	exponent -= len(fraction)
	digits := strings.TrimLeft(whole+fraction, "0")
	short := strings.TrimRight(digits, "0")
	exponent += len(digits) - len(short)
	if short == "" {
		return "0"
	}
	sign := ""
	if negative {
		sign = "-"
	}
	return sign + short + "e" + strconv.Itoa(exponent)
}

// spell writes a scalar as it stands in a message.
func spell(s scalar, quoted bool) []byte {
	switch s.kind {
	case 's':
		if !quoted {
			return []byte(s.text)
		}
		var out bytes.Buffer
		enc := json.NewEncoder(&out)
		enc.SetEscapeHTML(false)
		_ = enc.Encode(s.text) // a string can always be written
		return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
	case 'n':
		return []byte(s.text)
	case 't':
		return []byte("true")
	case 'f':
		return []byte("false")
	case '{':
		return []byte("{}")
	case '[':
		return []byte("[]")
	}
	return []byte("null")
}
