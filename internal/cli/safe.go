package cli

import (
	"bytes"
	"cmp"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	eastasian "golang.org/x/text/width"

	"github.com/wstape/wstape/tape"
)

// maxMarks is how many combining marks a character may carry; no script that
// people write has more on most of its letters, and floods of them cover other lines.
const maxMarks = 3

// escaper writes text for a terminal: what it would obey, not show, or show in a
// place of its own choosing is escaped, and it is known how many columns the rest takes.
type escaper struct {
	marks int // that the last character may still carry
}

// next appends the first character of s as it is shown, and says how many
// columns that takes and how many bytes of s it was.
func (e *escaper) next(dst []byte, s string) (out []byte, columns, n int) {
	if c := s[0]; c >= ' ' && c <= '~' {
		e.marks = maxMarks
		return append(dst, c), 1, 1
	}
	r, n := utf8.DecodeRuneInString(s)
	columns = cells(r)
	switch {
	case r == utf8.RuneError && n == 1:
		out = hexed(dst, 'x', 2, rune(s[0]))
	case r == '\n':
		out = append(dst, `\n`...)
	case r == '\t':
		out = append(dst, `\t`...)
	case r == '\r':
		out = append(dst, `\r`...)
	case columns == 0 && e.marks > 0:
		e.marks--
		return append(dst, s[:n]...), 0, n
	case columns > 0:
		e.marks = maxMarks
		return append(dst, s[:n]...), columns, n
	case r > 0xffff:
		out = hexed(dst, 'U', 8, r)
	default:
		out = hexed(dst, 'u', 4, r)
	}
	e.marks = 0
	return out, len(out) - len(dst), n
}

// hexed appends an escape: its letter, and a number in so many hex digits.
func hexed(dst []byte, letter byte, digits int, r rune) []byte {
	dst = append(dst, '\\', letter)
	for digits--; digits >= 0; digits-- {
		dst = append(dst, "0123456789abcdef"[r>>(4*digits)&15])
	}
	return dst
}

// cells is how many columns of a terminal a character takes: 0 of a mark on the
// one before, less than 0 of what must be escaped.
func cells(r rune) int {
	switch {
	case r >= 0x4e00 && r <= 0x9fff, r >= 0xac00 && r <= 0xd7a3: // the commonest, without looking them up
		return 2
	case r == '\u00a0':
		return 1 // spaces that one sees
	case r == '\u3000':
		return 2
	case !unicode.IsPrint(r), unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector):
		return -1
	case r >= 0x1f3fb && r <= 0x1f3ff:
		return -1 // skin tones, which some terminals join to what is before
	case unicode.In(r, unicode.Mn, unicode.Me), r >= 0x1160 && r <= 0x11ff:
		return 0
	}
	switch eastasian.LookupRune(r).Kind() {
	case eastasian.EastAsianWide, eastasian.EastAsianFullwidth:
		return 2
	}
	return 1
}

// safe escapes what must not reach a terminal as it is and cuts at room columns.
func safe(s string, room int) string {
	var e escaper
	out := make([]byte, 0, min(len(s), 2*min(len(s), max(room, 0))))
	used, whole := 0, 0 // columns; bytes up to which there is room for what says that more follows
	for len(s) > 0 {
		next, columns, n := e.next(out, s)
		if used+columns > room {
			return string(out[:whole]) + "…"
		}
		out = next
		if used += columns; used < room {
			whole = len(out)
		}
		s = s[n:]
	}
	return string(out)
}

// safeLines is safe for text in lines, of any length.
func safeLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = safe(line, len(line)*len(`\u0000`))
	}
	return strings.Join(lines, "\n")
}

// head is as much of a payload as can show in some columns, and a little more.
func head(p []byte, room int) []byte { return p[:min(len(p), headBytes(room))] }

func headBytes(room int) int {
	return (min(max(room, 0), wholeMessage/16) + 2) * (1 + maxMarks) * utf8.UTFMax
}

// visible counts the columns that text takes which is safe but for its colours.
func visible(s string) int {
	n, escape := 0, false
	for _, r := range s {
		switch {
		case r == '\x1b':
			escape = true
		case escape:
			escape = r != 'm'
		default:
			n += max(0, cells(r))
		}
	}
	return n
}

// pad fills safe text up with spaces.
func pad(s string, columns int) string { return s + strings.Repeat(" ", max(0, columns-visible(s))) }

// cleaner escapes what is written to it by others, who know no terminals: JSON
// or lines of text. Colours do not pass it.
type cleaner struct {
	out  io.Writer
	json bool
	rest []byte // of a character that was cut in two
}

func (c *cleaner) Write(p []byte) (int, error) {
	all := append(c.rest, p...)
	whole := len(all)
	for k := 1; k < utf8.UTFMax && k <= len(all); k++ {
		if tail := all[len(all)-k:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				whole -= k
			}
			break
		}
	}
	c.rest = bytes.Clone(all[whole:])
	return len(p), c.put(all[:whole])
}

// Close writes what was held back.
func (c *cleaner) Close() error { return c.put(c.rest) }

func (c *cleaner) put(p []byte) error {
	if c.json {
		p = tape.EscapeJSON(p)
	} else {
		p = []byte(safeLines(string(p)))
	}
	_, err := c.out.Write(p)
	return err
}

// clean has others write to out, escaped.
func clean(out io.Writer, asJSON bool, write func(io.Writer) error) error {
	c := &cleaner{out: out, json: asJSON}
	return cmp.Or(write(c), c.Close())
}
