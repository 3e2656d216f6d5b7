package bridge

import (
	"bufio"
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// Text writes sessions as a transcript to read: every message whole, with its time
// and direction. Each line of a payload stands behind a bar, so that none can pass
// for one of the transcript's own; escape must take out what a terminal would obey.
func Text(ctx context.Context, w io.Writer, sessions []Session, escape func(string) string) error {
	t := &transcript{out: bufio.NewWriterSize(w, 64<<10), escape: escape}
	for i, s := range sessions {
		if i > 0 {
			t.printf("\n")
		}
		if err := t.session(ctx, s); err != nil {
			return inSession(s, err)
		}
	}
	return t.out.Flush()
}

type transcript struct {
	out    *bufio.Writer // keeps its first error
	escape func(string) string
}

func (t *transcript) printf(format string, args ...any) { fmt.Fprintf(t.out, format, args...) }

func (t *transcript) session(ctx context.Context, s Session) error {
	e, err := s.From.Session(ctx, s.N)
	if err != nil {
		return err
	}
	t.printf("session %d, %s\n", s.N, e.Started.UTC().Format("2006-01-02 15:04:05.000000 UTC"))
	t.printf("client %s, upstream %s\n\n", t.escape(e.Client), t.escape(e.Upstream))
	q, a := e.Handshake.Request, e.Handshake.Response
	target := q.Target
	if target == "" {
		target = e.URL
	}
	t.printf("  → %s %s\n", t.escape(cmp.Or(q.Method, "GET")), t.escape(target))
	t.headers(q.Headers)
	t.printf("  ← %d\n", e.Status)
	t.headers(a.Headers)
	if len(a.Body) > 0 {
		t.payload(&tape.Content{Op: tape.Text, Payload: a.Body})
	}
	t.printf("\n")
	for line, err := range record.Lines(ctx, s.From, s.N, record.ReadOptions{}) {
		if err != nil {
			return err
		}
		t.line(line)
	}
	t.printf("%s  %s\n", seconds(e.Duration), t.ending(&e.Session))
	return nil
}

func (t *transcript) headers(headers []tape.Header) {
	for _, h := range headers {
		t.printf("    %s: %s\n", t.escape(h[0]), t.escape(h[1]))
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%12.6f", d.Seconds()) }

func (t *transcript) line(l *tape.Line) {
	switch {
	case l.Gap != nil:
		t.printf("%s  gap: %d frames with %d bytes are missing: %s\n", seconds(l.T), l.Gap.Frames, l.Gap.Bytes, t.escape(l.Gap.Why))
		return
	case l.Note != nil:
		t.printf("%s  note by %s:\n", seconds(l.T), t.escape(l.Note.By))
		t.payload(&tape.Content{Op: tape.Text, Payload: []byte(l.Note.Text)})
		return
	}
	m := l.Message
	t.printf("%s  %s %s", seconds(l.T), arrow(m.From), m.Op)
	code, reason, ok := tape.ParseClose(m.Payload)
	closes := m.Op == tape.Close && m.Error == "" && ok
	switch {
	case closes && code == tape.NoStatus:
		t.printf(" without a code")
	case closes:
		t.printf(" %s", strings.TrimSpace(fmt.Sprintf("%d %s", code, t.escape(reason))))
	default:
		t.printf(", %d bytes", m.Len)
	}
	for _, remark := range remarksOn(m) {
		t.printf(", %s", t.escape(remark))
	}
	t.printf("\n")
	if !closes {
		t.content(&m.Content, m.Error)
	}
	if m.Received != nil {
		t.printf("              it came in as %s, %d bytes\n", m.Received.Op, m.Received.Len)
		t.content(m.Received, m.ReceivedError)
	}
}

func arrow(from tape.Side) string {
	if from == tape.Client {
		return "→"
	}
	return "←"
}

func remarksOn(m *tape.Message) (out []string) {
	if m.Fate != tape.Passed {
		out = append(out, strings.TrimSuffix(string(m.Fate)+" by "+strings.Join(m.By, ", "), " by "))
	}
	if m.RSV1 {
		out = append(out, fmt.Sprintf("%d compressed", m.WireLen))
	}
	if n := len(m.Frames); n > 1 {
		out = append(out, fmt.Sprintf("in %d frames", n))
	}
	if m.Redacted {
		out = append(out, "redacted")
	}
	if m.Partial {
		out = append(out, "never ended")
	}
	if m.Error != "" {
		out = append(out, "as on the wire, for it could not be inflated: "+m.Error)
	}
	if m.Violation != "" {
		out = append(out, m.Violation)
	}
	return out
}

func (t *transcript) content(c *tape.Content, err string) {
	if err != "" {
		c = &tape.Content{Op: tape.Binary, Payload: c.Payload}
	}
	t.payload(c)
}

const bar = "              │ "

// payload writes text line by line, and all else as bytes.
func (t *transcript) payload(c *tape.Content) {
	switch {
	case len(c.Payload) == 0:
	case c.Op == tape.Text && utf8.Valid(c.Payload):
		for line := range strings.SplitSeq(strings.TrimSuffix(string(c.Payload), "\n"), "\n") {
			t.printf("%s%s\n", bar, t.escape(strings.TrimSuffix(line, "\r")))
		}
	default:
		for at := 0; at < len(c.Payload); at += 16 {
			row := hex.Dump(c.Payload[at:min(at+16, len(c.Payload))])
			t.printf("%s%08x%s", bar, at, row[8:])
		}
	}
}

func (t *transcript) ending(s *tape.Session) string {
	e := s.Ending
	switch {
	case s.State == tape.Open:
		return "still open"
	case s.State == tape.Interrupted:
		return "interrupted: the recorder died"
	case e == nil && s.State == tape.Refused:
		return "refused"
	case e == nil:
		return "ended"
	}
	text := "ended: " + string(e.Kind)
	if e.Kind == tape.EndClose && e.Code != tape.NoStatus {
		text += fmt.Sprintf(" %d %s", e.Code, t.escape(e.Reason))
	}
	if e.From != nil {
		text = strings.TrimSpace(text) + " from the " + e.From.String()
	}
	if e.Why != "" {
		text += ": " + t.escape(e.Why)
	}
	return strings.TrimSpace(text)
}
