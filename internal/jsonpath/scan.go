package jsonpath

import (
	"bytes"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth is how deep the documents may nest that [Scan] reads.
const MaxDepth = 500

// Scan finds the end of the JSON value that b begins with. If there is none it
// returns how far b could have been the beginning of one. Bytes that are not
// UTF-8 are taken inside strings.
func Scan(b []byte) (end int, ok bool) {
	s := scanner{b: b}
	ok = s.value(0)
	return s.at, ok
}

// scanner checks JSON as RFC 8259 has it. Its methods report whether they found
// what they are named for, and leave at behind it or where it stops being that.
type scanner struct {
	b  []byte
	at int
}

func (s *scanner) take(c byte) bool {
	if s.at < len(s.b) && s.b[s.at] == c {
		s.at++
		return true
	}
	return false
}

func (s *scanner) value(depth int) bool {
	if s.at == len(s.b) || depth > MaxDepth {
		return false
	}
	switch s.b[s.at] {
	case '{':
		return s.list('}', depth, func() bool {
			if !s.str() {
				return false
			}
			s.at = Space(s.b, s.at)
			if !s.take(':') {
				return false
			}
			s.at = Space(s.b, s.at)
			return s.value(depth + 1)
		})
	case '[':
		return s.list(']', depth, func() bool { return s.value(depth + 1) })
	case '"':
		return s.str()
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	}
	return s.number()
}

// list reads an object or array.
func (s *scanner) list(end byte, depth int, one func() bool) bool {
	s.at++
	if s.at = Space(s.b, s.at); s.take(end) {
		return true
	}
	for {
		s.at = Space(s.b, s.at)
		if !one() {
			return false
		}
		if s.at = Space(s.b, s.at); s.take(end) {
			return true
		}
		if !s.take(',') {
			return false
		}
	}
}

func (s *scanner) word(word string) bool {
	for i := range len(word) {
		if !s.take(word[i]) {
			return false
		}
	}
	return true
}

func (s *scanner) str() bool {
	if !s.take('"') {
		return false
	}
	for s.at < len(s.b) {
		switch c := s.b[s.at]; {
		case c == '"':
			s.at++
			return true
		case c < ' ':
			return false
		case c != '\\':
			s.at++
		case s.at+1 < len(s.b) && strings.IndexByte(`"\/bfnrt`, s.b[s.at+1]) >= 0:
			s.at += 2
		default:
			if _, ok := hexEscape(string(s.b[s.at:min(s.at+6, len(s.b))]), `\u`, 4); !ok {
				return false
			}
			s.at += 6
		}
	}
	return false
}

func (s *scanner) number() bool {
	s.take('-')
	if !s.take('0') && !s.digits() {
		return false
	}
	if s.take('.') && !s.digits() {
		return false
	}
	if s.take('e') || s.take('E') {
		if !s.take('+') {
			s.take('-')
		}
		return s.digits()
	}
	return true
}

func (s *scanner) digits() bool {
	from := s.at
	for s.at < len(s.b) && s.b[s.at] >= '0' && s.b[s.at] <= '9' {
		s.at++
	}
	return s.at > from
}

// The functions below read JSON that [Scan] has found valid, in b up to its end.

// Space returns where white space that begins at i ends.
func Space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\r' || b[i] == '\n') {
		i++
	}
	return i
}

// stringEnd returns where the string that begins at i ends.
func stringEnd(b []byte, i int) int {
	for i++; b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// End returns where the value that begins at i ends.
func End(b []byte, i int) int {
	for depth := 0; ; {
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
			if n := bytes.IndexAny(b[i:], "\"{}[], \t\r\n"); n > 0 {
				i += n
			} else if n == 0 {
				i++ // between values
				continue
			} else {
				return len(b)
			}
		}
		if depth == 0 {
			return i
		}
	}
}

// Walk reads the value that begins at b[i] and calls f with where each value in it
// begins, those around first; at is its place then. f returns where the value
// ends if nothing inside is to be looked at, and else 0. Walk returns where the
// whole ends.
func Walk(b []byte, i int, at *Path, f func(i int) (end int)) int {
	if end := f(i); end > 0 {
		return end
	}
	if b[i] != '{' && b[i] != '[' {
		return End(b, i)
	}
	object, depth := b[i] == '{', len(*at)
	i = Space(b, i+1)
	for n := 0; b[i] != '}' && b[i] != ']'; n++ {
		s := Seg{Index: n, IsIndex: true}
		if object {
			end := stringEnd(b, i)
			s = Seg{Key: string(Unquote(b[i:end]))}
			i = Space(b, Space(b, end)+1)
		}
		*at = append(*at, s)
		i = Space(b, Walk(b, i, at, f))
		*at = (*at)[:depth]
		if b[i] == ',' {
			i = Space(b, i+1)
		}
	}
	return i + 1
}

// Unquote decodes a string with its quotes. What cannot be decoded becomes
// U+FFFD, as in encoding/json.
func Unquote(quoted []byte) []byte {
	raw := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(raw, '\\') < 0 && utf8.Valid(raw) {
		return raw
	}
	out := make([]byte, 0, len(raw))
	for len(raw) > 0 {
		r, n := character(raw)
		out, raw = utf8.AppendRune(out, r), raw[n:]
	}
	return out
}

// Offset returns where the byte at of the decoded string stands in the string
// with its quotes. It must be the first of a character.
func Offset(quoted []byte, at int) int {
	i := len(`"`)
	for n := 0; n < at; {
		r, width := character(quoted[i:])
		n, i = n+utf8.RuneLen(r), i+width
	}
	return i
}

// character decodes the first character inside of a string.
func character(raw []byte) (r rune, width int) {
	if raw[0] != '\\' {
		return utf8.DecodeRune(raw)
	}
	if i := strings.IndexByte("bfnrt", raw[1]); i >= 0 {
		return rune("\b\f\n\r\t"[i]), 2
	}
	if raw[1] != 'u' {
		return rune(raw[1]), 2
	}
	r, _ = hexEscape(string(raw[:6]), `\u`, 4)
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if low, ok := hexEscape(string(raw[6:min(12, len(raw))]), `\u`, 4); ok {
		if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
			return pair, 12
		}
	}
	return utf8.RuneError, 6
}
