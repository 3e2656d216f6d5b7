package record

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/tape"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	client  = tape.Client
	server  = tape.Server
	both    = tape.LegBoth
	in      = tape.LegIn
	out     = tape.LegOut
	instead = outInstead
)

// First bytes of frame headers.
const (
	text       = 0x81
	textOpen   = 0x01
	bin        = 0x82
	more       = 0x00
	last       = 0x80
	ping       = 0x89
	closing    = 0x88
	compressed = 0xc1
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal(t testing.TB, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

// random returns a seeded source and says with what.
func random(t testing.TB) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// whole makes the part that a frame is when it comes in one read.
func whole(head byte, payload string) tape.Part {
	return tape.Part{Begin: true, Head: head, Len: uint64(len(payload)), Payload: []byte(payload)}
}

// masked is a whole frame with a mask, as clients send it.
func masked(head byte, payload string, mask uint32) tape.Part {
	p := whole(head, "")
	p.Masked, p.Mask, p.Len = true, mask, uint64(len(payload))
	p.Payload = wire.AppendMasked(nil, []byte(payload), mask, 0)
	return p
}

// beginning is the first part of a frame that announces so many bytes.
func beginning(head byte, length uint64, payload string) tape.Part {
	p := whole(head, payload)
	p.Len = length
	return p
}

func piece(payload string) tape.Part { return tape.Part{Payload: []byte(payload)} }

func raw(payload string) tape.Part {
	return tape.Part{Raw: true, Len: uint64(len(payload)), Payload: []byte(payload), Violation: "not frames"}
}

// writer writes a session's stream record by record, a millisecond apart.
type writer struct {
	t       testing.TB
	enc     encoder
	segment Segment
	done    []Segment
}

func newWriter(t testing.TB) *writer {
	w := &writer{t: t, enc: encoder{seq: 1}}
	w.segment = w.enc.segment(1)
	return w
}

func (w *writer) now() time.Duration { return w.enc.t + time.Millisecond }

func (w *writer) part(from tape.Side, leg tape.Leg, p tape.Part) {
	w.segment.Raw = w.enc.part(w.segment.Raw, from, leg, &p, w.now())
}

func (w *writer) send(from tape.Side, parts ...tape.Part) {
	for _, p := range parts {
		w.part(from, both, p)
	}
}

func (w *writer) gap(from tape.Side, frames, bytes uint64) {
	w.segment.Raw = w.enc.gap(w.segment.Raw, from, tape.Gap{Frames: frames, Bytes: bytes, Why: "full"}, w.now())
}

func (w *writer) note(words string) {
	w.segment.Raw = w.enc.note(w.segment.Raw, tape.Note{Text: words, By: "wstape"}, w.now())
}

// decide writes a decision about what waits first, as tapes without references do.
func (w *writer) decide(from tape.Side, fate tape.Fate, by ...string) {
	w.decideAbout(tape.Decision{From: from, Fate: fate, By: by}, firstWaiting)
}

// decideAbout writes a decision about the message that began with a frame.
func (w *writer) decideAbout(d tape.Decision, about uint64) {
	w.segment.Raw = w.enc.decision(w.segment.Raw, &d, about, w.now())
}

// cut ends the segment and begins another.
func (w *writer) cut() {
	w.done = append(w.done, w.segment)
	w.segment = w.enc.segment(1)
}

// store returns a tape with the session on it, ended unless it is open.
func (w *writer) store(extensions string, state tape.State, segments ...Segment) *Memory {
	w.t.Helper()
	if len(w.segment.Raw) > 0 {
		w.cut()
	}
	e := Entry{Session: tape.Session{N: 1, ID: tape.ID{15: 1}, State: state, Status: 101, Extensions: extensions}}
	if state == tape.Closed {
		e.Ending = &eof
	}
	for i := range w.done {
		must(w.t, e.Extend(&w.done[i]))
	}
	if segments == nil {
		segments = w.done
	}
	m := NewMemory()
	must(w.t, m.Append(context.Background(), Batch{Entries: []Entry{e}, Segments: segments}))
	return m
}

// lines reads session 1 of a tape, each line in short. It reads twice: what is
// used again must not show.
func lines(t testing.TB, r Reader, opts ReadOptions) (all []string) {
	t.Helper()
	all = linesOnce(t, r, opts)
	opts.Reuse = !opts.Reuse
	equal(t, linesOnce(t, r, opts), all)
	return all
}

func linesOnce(t testing.TB, r Reader, opts ReadOptions) (all []string) {
	t.Helper()
	for line, err := range Lines(context.Background(), r, 1, opts) {
		must(t, err)
		all = append(all, brief(line))
	}
	return all
}

// brief writes what matters of a line: number, side, opcode, payload, and what
// is not as usual.
func brief(l *tape.Line) string {
	switch {
	case l.Gap != nil:
		return fmt.Sprintf("gap %d frames %d bytes: %s", l.Gap.Frames, l.Gap.Bytes, l.Gap.Why)
	case l.Note != nil:
		return fmt.Sprintf("note %s: %s", l.Note.By, l.Note.Text)
	}
	m := l.Message
	s := fmt.Sprintf("%d %v %v %s", m.Seq, m.From, m.Op, short(m.Payload))
	if m.Len != uint64(len(m.Payload)) {
		s += fmt.Sprintf(" of %d", m.Len)
	}
	if len(m.Frames) > 1 {
		s += fmt.Sprint(" ", m.Frames)
	}
	if m.Fate != tape.Passed {
		s += fmt.Sprintf(" %s %v", m.Fate, m.By)
	}
	if m.Received != nil {
		s += fmt.Sprintf(" received %v %s", m.Received.Op, short(m.Received.Payload))
	}
	if m.Partial {
		s += " partial"
	}
	if m.Violation != "" {
		s += " violation"
	}
	if m.Error != "" {
		s += " error: " + m.Error
	}
	return s
}

func short(p []byte) string {
	if len(p) > 40 {
		return fmt.Sprintf("%q…%d", p[:8], len(p))
	}
	return fmt.Sprintf("%q", p)
}

// deflater compresses messages as one side of a connection does.
type deflater struct {
	t        testing.TB
	takeover bool
	out      bytes.Buffer
	z        *flate.Writer
	history  []byte
}

func newDeflater(t testing.TB, takeover bool) *deflater {
	return &deflater{t: t, takeover: takeover}
}

func (d *deflater) message(plain string) string {
	d.begin()
	_, err := io.WriteString(d.z, plain)
	must(d.t, err)
	must(d.t, d.z.Flush())
	d.history = append(d.history, plain...)
	return strings.TrimSuffix(d.out.String(), "\x00\x00\xff\xff")
}

// final compresses a message whose last block is marked as final, which RFC
// 7692 section 7.2.3.4 allows; an empty block that is not follows it.
func (d *deflater) final(plain string) string {
	d.begin()
	_, err := io.WriteString(d.z, plain)
	must(d.t, err)
	must(d.t, d.z.Close())
	d.z = nil
	d.history = append(d.history, plain...)
	return d.out.String() + "\x00"
}

func (d *deflater) begin() {
	d.out.Reset()
	if d.z != nil && d.takeover {
		return
	}
	if d.z != nil {
		d.z.Reset(&d.out)
		return
	}
	if !d.takeover {
		d.history = nil
	}
	var err error
	d.z, err = flate.NewWriterDict(&d.out, flate.DefaultCompression, d.history[max(0, len(d.history)-wire.WindowSize):])
	must(d.t, err)
}

// chatter returns text that shrinks, but not to nothing.
func chatter(r *rand.Rand, n int) string {
	words := []string{"tick", "price", "volume", "bid", "ask", "EURUSD", "time", "{", "}", ":", "0.", "17"}
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(words[r.IntN(len(words))])
		b.WriteByte(byte('0' + r.IntN(10)))
	}
	return b.String()[:n]
}

// cassette exports sessions.
func cassette(t testing.TB, r Reader, numbers ...uint64) string {
	t.Helper()
	var b bytes.Buffer
	for _, n := range numbers {
		must(t, WriteCassette(context.Background(), &b, r, n))
	}
	return b.String()
}

// imported reads a cassette onto a new tape.
func imported(t testing.TB, cassette string) *Memory {
	t.Helper()
	m := NewMemory()
	_, err := ReadCassette(context.Background(), strings.NewReader(cassette), m)
	must(t, err)
	return m
}

func asJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	must(t, err)
	return string(b)
}
