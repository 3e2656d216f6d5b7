package replay

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/wstape/wstape/tape"
)

const (
	maxHeldLines = 20  // sessions that held, one line each
	maxPayload   = 240 // bytes of a payload; a longer one is folded
	maxValue     = 120 // bytes of one value of a diff
)

// WriteText writes the report for people: a verdict, then what failed and why,
// then what held. Whatever peers sent is escaped, so that a terminal may show it.
func (r *Report) WriteText(w io.Writer) error {
	b := bufio.NewWriter(w) // keeps the first error for Flush
	fmt.Fprintf(b, "%s\n", r.verdict())
	if r.Recording != "" {
		fmt.Fprintf(b, "%s, took %s\n", escaped(r.Recording), shortTime(r.Duration))
	}
	var held []*Outcome
	for _, o := range r.Outcomes {
		switch {
		case !o.Held():
			fmt.Fprintf(b, "\nFAILED %s\n%s", o.line(r.Role), o.explanation(o.Mismatches))
		case len(o.Skipped) > 0:
			fmt.Fprintf(b, "\nSKIPPED %s of %s\n%s", mismatchCount(len(o.Skipped)), o.line(r.Role), o.explanation(o.Skipped))
			continue
		default:
			held = append(held, o)
			continue
		}
		if len(o.Skipped) > 0 {
			fmt.Fprintf(b, "  skipped before:\n%s", explain(o.Skipped))
		}
	}
	if len(held) > 0 && len(held) < len(r.Outcomes) {
		fmt.Fprintln(b)
	}
	for i, o := range held {
		if i == maxHeldLines {
			fmt.Fprintf(b, "and %d more\n", len(held)-i)
			break
		}
		line := "held " + o.line(r.Role)
		for _, note := range o.Notes {
			line += "; " + escaped(note)
		}
		fmt.Fprintln(b, line)
	}
	return b.Flush()
}

// counts says how many sessions held, and how many mismatches there were.
func (r *Report) counts() (held, unplayed, mismatches, skipped int) {
	for _, o := range r.Outcomes {
		if o.Held() {
			held++
		} else if o.Mismatches[0].Kind == Unplayed {
			unplayed++
		}
		mismatches += len(o.Mismatches)
		skipped += len(o.Skipped)
	}
	return held, unplayed, mismatches, skipped
}

func (r *Report) verdict() string {
	held, _, _, skipped := r.counts()
	text := fmt.Sprintf("replay %s: %d of %s held", r.Role, held, many(len(r.Outcomes), "session"))
	if len(r.Outcomes) == 0 {
		text = fmt.Sprintf("replay %s: no session was played", r.Role)
	}
	if skipped > 0 {
		text += fmt.Sprintf(", %s skipped", mismatchCount(skipped))
	}
	return text
}

func mismatchCount(n int) string {
	if n == 1 {
		return "1 mismatch"
	}
	return fmt.Sprintf("%d mismatches", n)
}

// line names a session and says how far it came.
func (o *Outcome) line(role tape.Side) string {
	text := o.name()
	if o.Peer != "" {
		text += fmt.Sprintf(", %s %s", role.Other(), escaped(o.Peer))
	}
	switch {
	case o.Started.IsZero():
		return text
	case o.Played < o.Steps:
		return text + fmt.Sprintf(": %d of %s in %s", o.Played, many(o.Steps, "step"), shortTime(o.Duration))
	}
	return text + fmt.Sprintf(": %s in %s", many(o.Steps, "step"), shortTime(o.Duration))
}

// name is the session with its target.
func (o *Outcome) name() string {
	if o.Target == "" {
		return escaped(o.Session)
	}
	return fmt.Sprintf("%s (%s)", escaped(o.Session), escaped(o.Target))
}

// explanation tells all about some of the session's mismatches, and its notes.
func (o *Outcome) explanation(list []Mismatch) string {
	text := explain(list)
	for _, note := range o.Notes {
		text += "  note: " + escaped(note) + "\n"
	}
	return text
}

func explain(list []Mismatch) string {
	var b strings.Builder
	for i := range list {
		list[i].explain(&b)
	}
	return b.String()
}

// explain tells all about a mismatch, in lines that are set in by two.
func (m *Mismatch) explain(b *strings.Builder) {
	fmt.Fprintf(b, "  %s\n", m.heading())
	row := func(name, text string) { fmt.Fprintf(b, "    %-9s %s\n", name, text) }
	if m.Text != "" {
		fmt.Fprintf(b, "    %s\n", escaped(m.Text))
	}
	first := commonPrefix(m.Expected, m.Received)
	if m.Expected != nil || m.Received != nil {
		row("expected", contentText(m.Expected, first))
		row("received", contentText(m.Received, first))
	}
	for i, d := range m.Diff {
		name := ""
		if i == 0 {
			name = "differs"
		}
		if i == maxDiff {
			row(name, fmt.Sprintf("and %d more", len(m.Diff)-i))
			break
		}
		at := commonPrefixLen(d.Want, d.Got)
		row(name, fmt.Sprintf("%s: %s → %s", escaped(d.Path), valueText(d.Want, at), valueText(d.Got, at)))
	}
	if m.Nearest != nil {
		row("nearest", m.Nearest.text())
	}
}

// heading says what kind of mismatch it is, and where.
func (m *Mismatch) heading() string {
	text := string(m.Kind)
	if m.Step > 0 {
		text += " at " + stepText(m.Step, m.Seq)
	}
	if m.Kind == Unplayed {
		return text
	}
	text += ", from the " + m.From.String()
	if m.T > 0 {
		text += ", after " + shortTime(m.T)
	}
	return text
}

func stepText(step int, seq uint64) string {
	if seq == 0 {
		return fmt.Sprintf("step %d", step)
	}
	return fmt.Sprintf("step %d (message %d on the tape)", step, seq)
}

func (c *Candidate) text() string {
	if c.Same {
		return "what came is " + stepText(c.Step, c.Seq)
	}
	text := "what came is most like " + stepText(c.Step, c.Seq)
	const some = 3
	for i, d := range c.Diff[:min(some, len(c.Diff))] {
		text += []string{", which differs in ", ", "}[min(i, 1)] + escaped(d.Path)
	}
	if more := len(c.Diff) - some; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// contentText shows a message, folded but around a place.
func contentText(c *tape.Content, at int) string {
	if c == nil {
		return "nothing"
	}
	if c.Op == tape.Close {
		if code, reason, ok := tape.ParseClose(c.Payload); ok {
			if code == tape.NoStatus {
				return "close without a code"
			}
			return strings.TrimSpace(fmt.Sprintf("close %d %s", code, escaped(reason)))
		}
	}
	text := fmt.Sprintf("%s, %s", c.Op, many(int(max(c.Len, uint64(len(c.Payload)))), "byte"))
	switch {
	case len(c.Payload) == 0:
		return text
	case c.Op == tape.Text || readable(c.Payload):
		text += ": " + escaped(foldText(string(c.Payload), at, maxPayload))
	default:
		text += ": hex " + foldHex(c.Payload, at, maxPayload/2)
	}
	if more := int64(c.Len) - int64(len(c.Payload)); more > 0 {
		text += fmt.Sprintf(" [%s more not kept]", many(int(more), "byte"))
	}
	return text
}

// valueText shows a value of a diff.
func valueText(v string, at int) string {
	if v == "" {
		return "nothing"
	}
	return escaped(foldText(v, at, maxValue))
}

// readable reports whether bytes are text that can be shown as it is.
func readable(p []byte) bool {
	for len(p) > 0 {
		r, n := utf8.DecodeRune(p)
		if r == utf8.RuneError && n < 2 || !unicode.IsPrint(r) && r != '\n' && r != '\r' && r != '\t' {
			return false
		}
		p = p[n:]
	}
	return true
}

// span is a range of bytes.
type span struct{ from, to int }

// fold says which parts of n bytes to show where there is room for some: the
// beginning, what is around a place, and the end.
func fold(n, at, room int) []span {
	if n <= room {
		return []span{{0, n}}
	}
	at = min(at, n)
	var out []span
	for _, s := range []span{{0, room / 4}, {at - room/8, at + room*3/8}, {n - room/8, n}} {
		s = span{max(s.from, 0), min(s.to, n)}
		if last := len(out) - 1; last >= 0 && s.from-out[last].to < 24 { // what says how much is left out is as long
			out[last].to = max(out[last].to, s.to)
			continue
		}
		out = append(out, s)
	}
	return out
}

func foldText(s string, at, room int) string {
	var b strings.Builder
	end := 0
	for _, part := range fold(len(s), at, room) {
		for part.from > end && !utf8.RuneStart(s[part.from]) {
			part.from--
		}
		for part.to < len(s) && !utf8.RuneStart(s[part.to]) {
			part.to++
		}
		writeFolded(&b, part.from-end)
		b.WriteString(s[part.from:part.to])
		end = part.to
	}
	return b.String()
}

func foldHex(p []byte, at, room int) string {
	var b strings.Builder
	end := 0
	for _, part := range fold(len(p), at, room) {
		writeFolded(&b, part.from-end)
		b.WriteString(hex.EncodeToString(p[part.from:part.to]))
		end = part.to
	}
	return b.String()
}

func writeFolded(b *strings.Builder, n int) {
	if n > 0 {
		fmt.Fprintf(b, " […%s…] ", many(n, "byte"))
	}
}

// escaped writes what is not printable as escapes, because a terminal would obey it.
func escaped(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// commonPrefix is how many bytes two messages begin with in common; 0 if there
// are not two.
func commonPrefix(a, b *tape.Content) int {
	if a == nil || b == nil {
		return 0
	}
	return commonPrefixLen(a.Payload, b.Payload)
}

func commonPrefixLen[T string | []byte](a, b T) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

func shortTime(d time.Duration) string {
	if d < time.Second {
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}
