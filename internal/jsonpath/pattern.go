// Package jsonpath names places in JSON documents, like $.users[*].email, and
// reads documents without changing or copying them.
package jsonpath

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Seg is one step down into a JSON document: a key of an object or an index of
// an array.
type Seg struct {
	Key     string
	Index   int
	IsIndex bool
}

// Path is the place of a value in a JSON document.
type Path []Seg

// String writes a path as $.a[0]["odd key"].b.
func (p Path) String() string {
	b := []byte{'$'}
	for _, s := range p {
		switch {
		case s.IsIndex:
			b = append(strconv.AppendInt(append(b, '['), int64(s.Index), 10), ']')
		case plainKey(s.Key):
			b = append(append(b, '.'), s.Key...)
		default:
			b = append(appendKey(append(b, '['), s.Key), ']')
		}
	}
	return string(b)
}

// plainKey reports whether a key needs no quotes.
func plainKey(key string) bool {
	for i := range len(key) {
		if c := key[i]; (c|0x20 < 'a' || c|0x20 > 'z') && c != '_' && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return key != ""
}

// appendKey appends a key as a JSON string that shows on any terminal; a byte
// that is not UTF-8 as \xff, which JSON does not have.
func appendKey(b []byte, key string) []byte {
	b = append(b, '"')
	for i, r := range key {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == utf8.RuneError && !strings.HasPrefix(key[i:], "\uFFFD"):
			b = fmt.Appendf(b, `\x%02x`, key[i])
		case unicode.IsPrint(r):
			b = utf8.AppendRune(b, r)
		default:
			for _, u := range utf16.Encode([]rune{r}) {
				b = fmt.Appendf(b, `\u%04x`, u)
			}
		}
	}
	return append(b, '"')
}

// Pattern names places in JSON documents: the path of one, or one with * for any
// key or index and ..key for a key at any depth.
type Pattern struct {
	text  string
	Parts []Part
}

// Part is one step of a pattern.
type Part struct {
	Seg
	Any  bool // whatever key or index is there
	Deep bool // here or anywhere below
}

// String returns the pattern as it was given.
func (p *Pattern) String() string { return p.text }

// Covers reports whether a place is one that the pattern names, or lies below one.
func (p *Pattern) Covers(at Path) bool { return p.match(at, true) }

// Exactly reports whether a place is one that the pattern names.
func (p *Pattern) Exactly(at Path) bool { return p.match(at, false) }

// match takes each part at the first place where it fits, and after a miss goes
// back to the last ..key alone, as globs do: what stands before it fits already.
func (p *Pattern) match(at Path, below bool) bool {
	part, depth := 0, 0
	deep, deepAt := -1, 0 // the last ..key, and where it was tried
	for {
		switch {
		case part == len(p.Parts) && (below || depth == len(at)):
			return true
		case part < len(p.Parts) && depth < len(at):
			q := &p.Parts[part]
			if q.Deep {
				deep, deepAt = part, depth
			}
			if q.Any || q.Seg == at[depth] {
				part++
				depth++
				continue
			}
		}
		if deepAt++; deep < 0 || deepAt >= len(at) {
			return false
		}
		part, depth = deep, deepAt
	}
}

// Parse reads $, .key, ["key"], ['key'], [n], [*], .* and ..key.
func Parse(text string) (*Pattern, error) {
	p := &Pattern{text: text}
	r := patternReader{text: text}
	if !r.skip("$") {
		return nil, r.errorf("a pattern begins with $, like $.price or $.items[*].id")
	}
	for r.at < len(text) {
		part, err := r.part()
		if err != nil {
			return nil, err
		}
		p.Parts = append(p.Parts, part)
	}
	return p, nil
}

type patternReader struct {
	text string
	at   int
}

// errorf tells what is wrong where the reader stands.
func (r *patternReader) errorf(format string, args ...any) error {
	text := r.text
	if len(text) > 200 {
		text = text[:200]
	}
	return fmt.Errorf("pattern %q, column %d: %s", text, utf8.RuneCountInString(r.text[:r.at])+1, fmt.Sprintf(format, args...))
}

func (r *patternReader) skip(what string) bool {
	if strings.HasPrefix(r.text[r.at:], what) {
		r.at += len(what)
		return true
	}
	return false
}

func (r *patternReader) part() (part Part, err error) {
	switch {
	case r.skip(".."):
		part.Deep = true
		if strings.HasPrefix(r.text[r.at:], "*") {
			return part, r.errorf("after .. comes a key, like ..id; below a place everything is meant anyway")
		}
		if strings.HasPrefix(r.text[r.at:], `["`) || strings.HasPrefix(r.text[r.at:], `['`) {
			r.at++
			err = r.quoted(&part)
		} else {
			err = r.key(&part)
		}
	case r.skip(".*"), r.skip("[*]"):
		part.Any = true
	case r.skip("."):
		err = r.key(&part)
	case r.skip("["):
		if strings.HasPrefix(r.text[r.at:], `"`) || strings.HasPrefix(r.text[r.at:], `'`) {
			err = r.quoted(&part)
		} else {
			err = r.number(&part)
		}
	default:
		err = r.errorf(`expected . or [, like .price, ["odd key"], [0], [*], .* or ..id`)
	}
	return part, err
}

// key reads a key without quotes.
func (r *patternReader) key(part *Part) error {
	rest := r.text[r.at:]
	n := strings.IndexFunc(rest, func(c rune) bool {
		return c != '_' && c != '-' && c != '$' && c != '@' && !unicode.IsLetter(c) && !unicode.IsDigit(c) && !unicode.IsMark(c)
	})
	if n < 0 {
		n = len(rest)
	}
	if n == 0 {
		return r.errorf(`expected a key of letters, digits, _ and -; others in quotes, like ["odd key"]`)
	}
	part.Key = rest[:n]
	r.at += n
	return nil
}

func (r *patternReader) number(part *Part) error {
	rest := r.text[r.at:]
	digits, _, closed := strings.Cut(rest, "]")
	n, err := strconv.Atoi(digits)
	if !closed || err != nil || digits != strconv.Itoa(n) || n < 0 {
		return r.errorf(`expected an index from 0, * or a key in quotes, and ], like [0], [*] or ["odd key"]`)
	}
	part.Index, part.IsIndex = n, true
	r.at += len(digits) + 1
	return nil
}

// quoted reads a key in quotes with JSON's escapes, and the bracket behind it.
func (r *patternReader) quoted(part *Part) error {
	start := r.at
	quote := r.text[r.at]
	r.at++
	var key []byte
	for r.at < len(r.text) {
		c := r.text[r.at]
		switch {
		case c == quote:
			r.at++
			if !r.skip("]") {
				return r.errorf("expected ] after the key")
			}
			part.Key = string(key)
			return nil
		case c != '\\':
			key = append(key, c)
			r.at++
		default:
			var ok bool
			if key, ok = r.escape(key); !ok {
				return r.errorf(`expected one of the escapes \" \' \\ \/ \b \f \n \r \t \u00e9 \xff`)
			}
		}
	}
	r.at = start
	return r.errorf("the key's closing %c is missing", quote)
}

// escape reads one escape and appends what it stands for.
func (r *patternReader) escape(key []byte) ([]byte, bool) {
	rest := r.text[r.at:]
	if len(rest) < 2 {
		return key, false
	}
	if i := strings.IndexByte(`"'\/bfnrt`, rest[1]); i >= 0 {
		r.at += 2
		return append(key, "\"'\\/\b\f\n\r\t"[i]), true
	}
	if b, ok := hexEscape(rest, `\x`, 2); ok {
		r.at += 4
		return append(key, byte(b)), true
	}
	c, ok := hexEscape(rest, `\u`, 4)
	if !ok {
		return key, false
	}
	r.at += 6
	if low, ok := hexEscape(rest[6:], `\u`, 4); ok && utf16.IsSurrogate(c) {
		if pair := utf16.DecodeRune(c, low); pair != unicode.ReplacementChar {
			r.at += 6
			c = pair
		}
	}
	return utf8.AppendRune(key, c), true // a lone surrogate becomes U+FFFD, as in encoding/json
}

// hexEscape reads an escape of so many hexadecimal digits.
func hexEscape(s, prefix string, digits int) (rune, bool) {
	s, ok := strings.CutPrefix(s, prefix)
	if !ok || len(s) < digits {
		return 0, false
	}
	v, err := strconv.ParseUint(s[:digits], 16, 16)
	return rune(v), err == nil
}
