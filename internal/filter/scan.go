package filter

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/wstape/wstape/internal/decode"
)

// scan reads a JSON text once: it checks all of it, as strictly as encoding/json,
// and decodes on the way what is looked at. Its methods report whether the text
// goes on as they say; behind what it does not, it is read no further.
type scan struct {
	text  []byte
	at    int              // what is before it was read
	deep  int              // how many objects and arrays are open
	found []map[string]any // in an object, by the number of its member: making maps takes longer than reading
}

// maxDeep is how many open objects and arrays encoding/json takes.
const maxDeep = 10_000

// read reads a payload and decodes what is looked at of it; nil if it is not JSON.
// The result is valid until forget.
func (s *scan) read(payload []byte, m *member) (v any) {
	if m.all {
		_ = json.Unmarshal(payload, &v)
		return v
	}
	s.text, s.at, s.deep = payload, 0, 0
	s.space()
	v, ok := s.value(m)
	if s.space(); !ok || s.at < len(payload) {
		return nil
	}
	return v
}

// forget lets go of what was read.
func (s *scan) forget() {
	s.text = nil
	for _, found := range s.found {
		clear(found)
	}
}

// value reads a value and decodes what is looked at of it; nothing if m is nil.
func (s *scan) value(m *member) (v any, ok bool) {
	begin := s.at
	if begin == len(s.text) {
		return nil, false
	}
	switch s.text[begin] {
	case '{':
		if m != nil && !m.all {
			found := s.empty(m)
			return found, s.object(m, found)
		}
		ok = s.object(nil, nil)
	case '[':
		ok = s.array()
	case '"':
		_, ok = s.string()
	case 't':
		ok = s.word("true")
	case 'f':
		ok = s.word("false")
	case 'n':
		ok = s.word("null")
	default:
		ok = s.number()
	}
	if m == nil || !ok {
		return nil, ok
	}
	return decoded(s.text[begin:s.at]), true
}

// empty is where to note what is found in an object. Of two with the same name
// the last counts.
func (s *scan) empty(m *member) map[string]any {
	for len(s.found) <= m.n {
		s.found = append(s.found, map[string]any{})
	}
	clear(s.found[m.n])
	return s.found[m.n]
}

// object reads an object and notes those of its members that are looked at.
func (s *scan) object(m *member, found map[string]any) bool {
	if !s.open() {
		return false
	}
	for more := !s.take('}'); more; more = !s.take('}') {
		begin := s.at
		plain, ok := s.string()
		if !ok {
			return false
		}
		var one *member
		if m != nil {
			one = m.quoted(s.text[begin:s.at], plain)
		}
		if !s.colon() {
			return false
		}
		v, ok := s.value(one)
		if !ok {
			return false
		}
		if one != nil {
			found[one.name] = v
		}
		if !s.comma('}') {
			return false
		}
	}
	s.deep--
	return true
}

func (s *scan) array() bool {
	if !s.open() {
		return false
	}
	for more := !s.take(']'); more; more = !s.take(']') {
		if _, ok := s.value(nil); !ok || !s.comma(']') {
			return false
		}
	}
	s.deep--
	return true
}

// open reads a brace or a bracket, up to what is in it.
func (s *scan) open() bool {
	s.at++
	s.deep++
	s.space()
	return s.deep <= maxDeep
}

// colon reads up to a member's value.
func (s *scan) colon() bool {
	s.space()
	ok := s.take(':')
	s.space()
	return ok
}

// comma reads up to the next member or element, or to the end of all.
func (s *scan) comma(end byte) bool {
	s.space()
	more := s.take(',')
	s.space()
	return s.at < len(s.text) && (s.text[s.at] == end) != more
}

// string reads a string. It is plain if that is how it is written: ASCII without
// backslashes.
func (s *scan) string() (plain, ok bool) {
	if !s.take('"') {
		return false, false
	}
	text, plain := s.text, true
	for i := s.at; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			s.at = i + 1
			return plain, true
		case c < ' ':
			return false, false
		case c >= utf8.RuneSelf:
			plain = false
		case c == '\\':
			n := escape(text[i+1:])
			if n == 0 {
				return false, false
			}
			plain = false
			i += n
		}
	}
	return false, false
}

// escape is how long what stands behind a backslash is; 0 if it may not.
func escape(b []byte) int {
	switch {
	case len(b) == 0:
		return 0
	case strings.IndexByte(`"\/bfnrt`, b[0]) >= 0:
		return 1
	case b[0] != 'u' || len(b) < 5:
		return 0
	}
	for _, c := range b[1:5] {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
			return 0
		}
	}
	return 5
}

func (s *scan) number() bool {
	s.take('-')
	if !s.take('0') && !s.digits() || s.take('.') && !s.digits() {
		return false
	}
	if s.take('e') || s.take('E') {
		_ = s.take('-') || s.take('+')
		return s.digits()
	}
	return true
}

func (s *scan) digits() bool {
	begin := s.at
	for s.at < len(s.text) && s.text[s.at] >= '0' && s.text[s.at] <= '9' {
		s.at++
	}
	return s.at > begin
}

// word reads true, false or null.
func (s *scan) word(w string) bool {
	ok := bytes.HasPrefix(s.text[s.at:], []byte(w))
	if ok {
		s.at += len(w)
	}
	return ok
}

// take reads a byte if it comes next.
func (s *scan) take(c byte) bool {
	ok := s.at < len(s.text) && s.text[s.at] == c
	if ok {
		s.at++
	}
	return ok
}

func (s *scan) space() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return
		}
	}
}

// decoded decodes valid JSON; the commonest kinds at once.
func decoded(raw json.RawMessage) (v any) {
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
