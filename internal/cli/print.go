package cli

import (
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/wstape/wstape/tape"
)

// colour is an SGR code.
type colour string

const (
	plain  colour = ""
	dim    colour = "2"
	red    colour = "31"
	green  colour = "32"
	yellow colour = "33"
	blue   colour = "34"
	cyan   colour = "36"
)

// painter colours text, on terminals that want it.
type painter bool

func (p painter) paint(c colour, s string) string {
	if !p || c == plain {
		return s
	}
	return "\x1b[" + string(c) + "m" + s + "\x1b[0m"
}

// isTerminal reports whether w is a person's terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// painter returns the colours for w: none for a pipe, none with NO_COLOR.
func (e *Env) painter(w io.Writer) painter {
	return painter(isTerminal(w) && e.Getenv("NO_COLOR") == "" && e.Getenv("TERM") != "dumb")
}

// width returns how many columns a line may take; wide for a pipe.
func width(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 20 {
			return columns
		}
	}
	return 400
}

// arrows point the way a message went.
func arrow(from tape.Side) string {
	if from == tape.Client {
		return "→"
	}
	return "←"
}

// messageText writes one message in one line: opcode, size, payload, and what
// is odd about it.
func (p painter) messageText(m *tape.Message, columns int) string {
	way := cyan
	if m.From == tape.Server {
		way = green
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %d", p.paint(way, arrow(m.From)), opText(m.Op), m.Len)
	if m.RSV1 {
		fmt.Fprint(&b, p.paint(dim, fmt.Sprintf(" (%d compressed)", m.WireLen)))
	}
	if n := len(m.Frames); n > 1 {
		fmt.Fprint(&b, p.paint(dim, fmt.Sprintf(" (%d frames)", n)))
	}
	used := visible(b.String())
	if room := columns - used - 2; room > 8 {
		if payload := preview(m, room); payload != "" {
			b.WriteString("  " + payload)
		}
	}
	remark := func(c colour, s string) { b.WriteString("  " + p.paint(c, s)) }
	if m.Fate != tape.Passed {
		remark(yellow, fateText(m))
	}
	if m.Received != nil {
		remark(dim, receivedText(m))
	}
	if m.Error != "" {
		remark(red, "not inflated: "+m.Error)
	}
	if m.Partial {
		remark(red, "never ended")
	}
	if m.Violation != "" {
		remark(red, m.Violation)
	}
	return b.String()
}

// fateText says what became of a message and who decided so, in their order.
func fateText(m *tape.Message) string {
	if len(m.By) == 0 {
		return string(m.Fate)
	}
	return string(m.Fate) + " by " + safe(strings.Join(m.By, ", "), 200)
}

// receivedText shows what came in, of an edited message.
func receivedText(m *tape.Message) string {
	was := tape.Message{Content: *m.Received, Error: m.ReceivedError}
	words := []string{"was"}
	if was.Op != m.Op {
		words = append(words, was.Op.String())
	}
	if text := preview(&was, 80); text != "" {
		words = append(words, text)
	} else {
		words = append(words, "empty")
	}
	if was.Error != "" {
		words = append(words, "(not inflated: "+was.Error+")")
	}
	return strings.Join(words, " ")
}

func opText(op tape.Opcode) string { return fmt.Sprintf("%-6s", op) }

// preview writes the start of a payload so that a terminal cannot be harmed by it.
func preview(m *tape.Message, room int) string {
	switch {
	case m.Op == tape.Close && m.Error == "":
		if code, reason, ok := tape.ParseClose(m.Payload); ok {
			if code == tape.NoStatus {
				return "no code"
			}
			return strings.TrimSpace(fmt.Sprintf("%d %s", code, safe(reason, room)))
		}
	case m.Op == tape.Text && m.Error == "":
		return fold(safe(string(m.Payload), room), m.Len > uint64(len(m.Payload)), room)
	}
	if m.Op != tape.Binary && m.Error == "" && utf8.Valid(m.Payload) && printable(m.Payload) {
		return safe(string(m.Payload), room)
	}
	keep := min(len(m.Payload), 32, room/2)
	return fold(hex.EncodeToString(m.Payload[:keep]), m.Len > uint64(keep), room)
}

func fold(s string, more bool, room int) string {
	if more && !strings.HasSuffix(s, "…") {
		s += "…"
	}
	return s
}

func printable(p []byte) bool {
	return strings.IndexFunc(string(p), func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// safe escapes what is not printable (a terminal would obey it) and cuts at room runes.
func safe(s string, room int) string {
	var b strings.Builder
	used := 0
	for i, r := range s {
		text := string(r)
		switch {
		case r == '\n':
			text = `\n`
		case r == '\t':
			text = `\t`
		case r == '\r':
			text = `\r`
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			text = fmt.Sprintf(`\x%02x`, s[i])
		case !unicode.IsPrint(r):
			text = fmt.Sprintf(`\u%04x`, r)
		}
		if used += utf8.RuneCountInString(text); used > room {
			return b.String() + "…"
		}
		b.WriteString(text)
	}
	return b.String()
}

// visible counts the runes of s that are not colour.
func visible(s string) int {
	n, escape := 0, false
	for _, r := range s {
		switch {
		case r == '\x1b':
			escape = true
		case escape:
			escape = r != 'm'
		default:
			n++
		}
	}
	return n
}

// noteLines is how many more lines than the first are shown of a note.
const noteLines = 8

// lineText writes one line of a session.
func (p painter) lineText(l *tape.Line, columns int) string {
	switch {
	case l.Gap != nil:
		return p.paint(red, fmt.Sprintf("gap: %s, %s not recorded: %s", count(l.Gap.Frames, "frame"), count(l.Gap.Bytes, "byte"), l.Gap.Why))
	case l.Note != nil:
		first, rest := l.Note.Text, []string(nil)
		if lines := strings.Split(first, "\n"); len(lines) > 1 { // an error, and where it happened
			first, rest = lines[0], lines[1:]
		}
		text := fmt.Sprintf("note: %s (%s)", safe(first, 400), safe(l.Note.By, 80))
		for _, line := range rest[:min(len(rest), noteLines)] {
			text += "\n               " + safe(line, 400)
		}
		return p.paint(yellow, text)
	}
	return p.messageText(l.Message, columns)
}

// openText says how a handshake was answered.
func (p painter) openText(s *tape.Session) string {
	text := fmt.Sprintf("%s %s from %s → %s", p.paint(blue, "open"), safe(s.URL, 200), s.Client, safe(s.Upstream, 200))
	if s.Status != 101 {
		return fmt.Sprintf("%s %s from %s → %s: %d", p.paint(red, "refused"), safe(s.URL, 200), s.Client, safe(s.Upstream, 200), s.Status)
	}
	if s.Subprotocol != "" {
		text += " " + safe(s.Subprotocol, 60)
	}
	if s.Extensions != "" {
		text += " " + p.paint(dim, safe(s.Extensions, 120))
	}
	return text
}

// closeText says how a session ended.
func (p painter) closeText(s *tape.Session) string {
	return fmt.Sprintf("%s %s after %s: %s, %s", p.paint(blue, "ended"), endingText(s), shortDuration(s.Duration),
		count(s.Frames.Client+s.Frames.Server, "frame"), count(s.Bytes.Client+s.Bytes.Server, "byte"))
}

// endingText says in a few words how a session ended, or where it stands.
func endingText(s *tape.Session) string {
	e := s.Ending
	switch {
	case e == nil && s.State == tape.Interrupted:
		return "interrupted: the recorder died"
	case e == nil:
		return ""
	}
	var words []string
	switch e.Kind {
	case tape.EndClose:
		words = append(words, "close")
		if e.Code != tape.NoStatus {
			words = append(words, fmt.Sprint(e.Code))
		}
		if e.Reason != "" {
			words = append(words, fmt.Sprintf("%q", safe(e.Reason, 60)))
		}
	default:
		words = append(words, string(e.Kind))
	}
	if e.From != nil {
		words = append(words, "from "+e.From.String())
	}
	if e.Why != "" {
		words = append(words, "("+safe(e.Why, 160)+")")
	}
	return strings.Join(words, " ")
}

func shortDuration(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}
