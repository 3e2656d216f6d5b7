package cli

import (
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/wstape/wstape/internal/decode"
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

// end ends the colour of text that was cut.
func (p painter) end() string {
	if !p {
		return ""
	}
	return "\x1b[0m"
}

// arrows point the way a message went.
func arrow(from tape.Side) string {
	if from == tape.Client {
		return "→"
	}
	return "←"
}

// layout is how a session's lines are written.
type layout struct {
	paint   painter
	columns int  // that a line may take
	table   bool // what is alike stands below each other, as people want it
	views   bool // there is a column for what messages are in their protocol
}

// layoutFor returns the layout for w, in which other things take some columns
// before each line.
func (e *Env) layoutFor(w io.Writer, before int) layout {
	return layout{paint: e.painter(w), columns: width(w) - before, table: isTerminal(w)}
}

const (
	opColumns   = 6
	viewColumns = 15 // connection_init
	narrow      = 50 // columns that are too few for sizes beside payloads
	roomy       = 80 // columns that have room for compressed lengths, too
	leastRoom   = 16 // for a payload, before a line is longer than the terminal is wide
)

// message writes one message in one line: what it is, its size, its payload or
// what that means, and what is odd about it.
func (y layout) message(m *tape.Message, x *seen) string {
	way := cyan
	if m.From == tape.Server {
		way = green
	}
	kind, least, text := m.Op.String(), opColumns, ""
	if y.views {
		least = viewColumns
	}
	if x != nil && x.view != nil {
		kind = safe(x.view.Type, 40)
	}
	size := fmt.Sprint(m.Len)
	switch {
	case y.table && y.columns < narrow:
		kind, least, size = safe(kind, least), opColumns, ""
	case y.table:
		kind, size = safe(kind, least), fmt.Sprintf("%7s", size)
	case x != nil && x.view != nil:
		size = ""
	}
	line := y.paint.paint(way, arrow(m.From)+" "+pad(kind, least)) + " " + size
	remarks := y.remarks(m, x)
	room := y.columns - visible(line) - 2
	if y.table {
		room = max(room-visible(remarks), min(room, leastRoom))
	}
	if room > 8 {
		switch {
		case x != nil && x.view != nil:
			text = safe(withoutType(x.view), room)
		case y.table && m.Op == tape.Binary && len(m.Payload) > 0:
			row := m.Payload[:min(len(m.Payload), hexRow, max(1, (room-4)/3))]
			text = fold(fmt.Sprintf("%x |%s|", row, ascii(row)), uint64(len(row)) < m.Len)
		default:
			text = preview(m, room)
		}
	}
	switch {
	case text == "" && size == "":
		line = y.paint.paint(way, arrow(m.From)+" "+kind)
	case text == "":
	case size == "":
		line += text
	default:
		line += "  " + text
	}
	return y.cut(line + remarks)
}

// withoutType is a summary without the type that it begins with, which stands before it.
func withoutType(v *decode.View) string {
	rest, found := strings.CutPrefix(v.Summary, v.Type)
	if found && (rest == "" || rest[0] == ' ') {
		return strings.TrimPrefix(rest, " ")
	}
	return v.Summary
}

// cut makes a line of a table no wider than it may be.
func (y layout) cut(line string) string {
	switch {
	case !y.table || visible(line) <= y.columns:
		return line
	case y.columns <= 0:
		return ""
	}
	var b strings.Builder
	columns, escape := 0, false
	for _, r := range line {
		switch {
		case r == '\x1b':
			escape = true
		case escape:
			escape = r != 'm'
		default:
			if columns += max(0, cells(r)); columns >= y.columns {
				return b.String() + "…" + y.paint.end()
			}
		}
		b.WriteRune(r)
	}
	return b.String()
}

// remarks says what is odd about a message, the worst first, each behind two spaces.
func (y layout) remarks(m *tape.Message, x *seen) string {
	var b strings.Builder
	remark := func(c colour, s string, room int) { b.WriteString("  " + y.paint.paint(c, safe(s, room))) }
	if m.Error != "" {
		remark(red, "not inflated: "+m.Error, 200)
	}
	if m.Partial {
		remark(red, "never ended", 80)
	}
	if m.Violation != "" {
		remark(red, m.Violation, 200)
	}
	if x != nil && x.view != nil && x.view.Err != nil && m.Error == "" && !m.Partial {
		remark(red, "not "+x.view.Protocol+": "+x.view.Err.Error(), 120)
	}
	if m.Fate != tape.Passed && m.Fate != "" {
		remark(yellow, fateText(m), 220)
	}
	if m.Received != nil {
		remark(dim, receivedText(m), 400)
	}
	if x != nil && x.latency > 0 {
		remark(dim, "answered after "+shortDuration(x.latency), 80)
	}
	if x != nil && x.view != nil && x.view.Heartbeat {
		remark(dim, "(heartbeat)", 80)
	}
	if m.RSV1 && (!y.table || y.columns >= roomy) {
		remark(dim, fmt.Sprintf("(%d compressed)", m.WireLen), 80)
	}
	if n := len(m.Frames); n > 1 {
		remark(dim, fmt.Sprintf("(%d frames)", n), 80)
	}
	return b.String()
}

// fateText says what became of a message and who decided so, in their order.
func fateText(m *tape.Message) string {
	if len(m.By) == 0 {
		return string(m.Fate)
	}
	return string(m.Fate) + " by " + strings.Join(m.By, ", ")
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
	start := head(m.Payload, room)
	whole := uint64(len(start)) == m.Len
	switch {
	case m.Op == tape.Close && m.Error == "":
		if code, reason, ok := tape.ParseClose(m.Payload); ok {
			if code == tape.NoStatus {
				return "no code"
			}
			return strings.TrimSpace(fmt.Sprintf("%d %s", code, safe(reason, room)))
		}
	case m.Op == tape.Text && m.Error == "":
		return fold(safe(string(start), room), !whole)
	}
	if m.Op != tape.Binary && m.Error == "" && utf8.Valid(start) && printable(start) {
		return fold(safe(string(start), room), !whole)
	}
	keep := min(len(m.Payload), 32, room/2)
	return fold(hex.EncodeToString(m.Payload[:keep]), m.Len > uint64(keep))
}

// fold marks text behind which more follows.
func fold(s string, more bool) string {
	if more && !strings.HasSuffix(s, "…") {
		s += "…"
	}
	return s
}

func printable(p []byte) bool {
	return strings.IndexFunc(string(p), func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// noteLines is how many more lines than the first are shown of a note.
const noteLines = 8

// line writes one line of a session; x is what was seen of a message, or nil.
func (y layout) line(l *tape.Line, x *seen) string {
	switch {
	case l.Gap != nil:
		return y.paint.paint(red, fmt.Sprintf("gap: %s, %s not recorded: %s", count(l.Gap.Frames, "frame"), count(l.Gap.Bytes, "byte"), safe(l.Gap.Why, 400)))
	case l.Note != nil:
		first, rest := l.Note.Text, []string(nil)
		if lines := strings.Split(first, "\n"); len(lines) > 1 { // an error, and where it happened
			first, rest = lines[0], lines[1:]
		}
		text := fmt.Sprintf("note: %s (%s)", safe(first, 400), safe(l.Note.By, 80))
		for _, line := range rest[:min(len(rest), noteLines)] {
			text += "\n               " + safe(line, 400)
		}
		return y.paint.paint(yellow, text)
	}
	return y.message(l.Message, x)
}

// lineText writes one line of a session in a list that is no table.
func (p painter) lineText(l *tape.Line, columns int) string {
	return layout{paint: p, columns: columns}.line(l, nil)
}

// behind is the layout of what stands behind something else in a line.
func (y layout) behind(before string) layout {
	y.columns -= visible(before)
	return y
}

// openText says how a handshake was answered, of a refusal all.
func (y layout) openText(s *tape.Session) string {
	text := fmt.Sprintf("%s %s from %s → %s", y.paint.paint(blue, "open"), safe(s.URL, 200), safe(s.Client, 80), safe(s.Upstream, 200))
	if s.Status != 101 {
		return fmt.Sprintf("%s %s from %s → %s: %d", y.paint.paint(red, "refused"), safe(s.URL, 200), safe(s.Client, 80), safe(s.Upstream, 200), s.Status)
	}
	if s.Subprotocol != "" {
		text += " " + safe(s.Subprotocol, 60)
	}
	if s.Extensions != "" {
		text += " " + y.paint.paint(dim, safe(s.Extensions, 120))
	}
	return y.cut(text)
}

// closeText says how a session ended, of an error all.
func (y layout) closeText(s *tape.Session) string {
	ending := endingText(s)
	if ending != "" {
		ending += " "
	}
	text := fmt.Sprintf("%s %safter %s: %s, %s", y.paint.paint(blue, "ended"), ending, shortDuration(s.Duration),
		count(s.Frames.Client+s.Frames.Server, "frame"), count(s.Bytes.Client+s.Bytes.Server, "byte"))
	if s.Ending != nil && s.Ending.Why != "" {
		return text
	}
	return y.cut(text)
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
		words = append(words, safe(string(e.Kind), 20))
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
