package record

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"time"

	"github.com/google/uuid"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/tape"
)

// cassetteVersion stands in a cassette's first line.
const cassetteVersion = 1

type cassetteHead struct {
	Version int             `json:"wstape"`
	Session json.RawMessage `json:"session"`
}

// WriteCassette writes one session as JSON lines: a line for the session, then
// the lines of `show --json`. Several sessions may be written one after another.
func WriteCassette(ctx context.Context, w io.Writer, r Reader, n uint64) error {
	entry, err := r.Session(ctx, n)
	if err != nil {
		return err
	}
	entry.N = 0 // a number means something on its tape only
	session, err := entry.MarshalFull()
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 64<<10)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(cassetteHead{cassetteVersion, session}); err != nil {
		return err
	}
	for line, err := range Lines(ctx, r, n, ReadOptions{}) {
		if err != nil {
			return errors.Join(err, out.Flush())
		}
		if err := line.WriteJSON(out); err != nil {
			return err
		}
	}
	return out.Flush()
}

// ErrNotACassette means that something else stands where a cassette begins.
var ErrNotACassette = errors.New(`not a cassette, whose first line is {"wstape":1,"session":{…}}`)

// CassetteError is a mistake in a cassette and where it stands. Column is 0
// when it is the line as a whole.
type CassetteError struct {
	Line, Column int
	Err          error
}

func (e *CassetteError) Error() string {
	if e.Column == 0 {
		return fmt.Sprintf("line %d: %v", e.Line, e.Err)
	}
	return fmt.Sprintf("line %d, column %d: %v", e.Line, e.Column, e.Err)
}

func (e *CassetteError) Unwrap() error { return e.Err }

// ReadCassette adds the sessions of a cassette to a tape and returns their
// numbers. A mistake in it is a [*CassetteError]; the sessions before the
// mistaken one are on the tape then, whole.
func ReadCassette(ctx context.Context, in io.Reader, w Writer) ([]uint64, error) {
	c := &cassetteReader{ctx: ctx, w: w}
	lines := bufio.NewReaderSize(in, 64<<10)
	for number := 1; ; number++ {
		text, err := readLine(lines, c.longest())
		if err == errLong {
			return c.numbers, &CassetteError{Line: number, Err: err}
		}
		if err != nil && err != io.EOF {
			return c.numbers, err
		}
		if trimmed := bytes.TrimSpace(text); len(trimmed) > 0 && !bytes.HasPrefix(trimmed, []byte("//")) {
			if err := c.line(trimmed); err != nil {
				return c.numbers, locate(err, number, text)
			}
		}
		if err == io.EOF {
			break
		}
	}
	if c.session == nil && len(c.numbers) == 0 {
		return nil, fmt.Errorf("%w: there is no session in it", ErrNotACassette)
	}
	err := c.finish()
	return c.numbers, err
}

// The longest lines that are read: a message may be as long as a frame that is
// recorded, what is no cassette may have no line at all.
const (
	maxLine      = math.MaxInt32
	maxFirstLine = 64 << 20
)

func (c *cassetteReader) longest() int {
	if c.taken == nil { // no session has begun
		return maxFirstLine
	}
	return maxLine
}

var errLong = errors.New("the line is too long for one of a cassette")

// readLine reads up to and including the next line feed.
func readLine(in *bufio.Reader, most int) (line []byte, err error) {
	for {
		part, err := in.ReadSlice('\n')
		if len(part) > most-len(line) {
			return nil, errLong
		}
		if line = append(line, part...); err != bufio.ErrBufferFull {
			return line, err
		}
	}
}

// firstQuoted is what an error is about.
var firstQuoted = regexp.MustCompile(`"[^"\\]+"`)

// locate says where in the line a mistake stands.
func locate(err error, line int, text []byte) error {
	var store storeError
	if errors.As(err, &store) {
		return store.error
	}
	column := 0
	base := len(text) - len(bytes.TrimLeft(text, " \t\r"))
	var inner innerError
	if errors.As(err, &inner) {
		base, err = base+inner.at, inner.error
	}
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		column = base + int(syntax.Offset)
		if syntax.Error() == "unexpected end of JSON input" {
			err = fmt.Errorf("the line is cut off: %w", err)
		}
	case errors.As(err, &wrong):
		column = base + int(wrong.Offset)
	default:
		// A key that is not known, or a value that is none of those allowed.
		if quoted := firstQuoted.FindString(err.Error()); quoted != "" {
			column = bytes.Index(text, []byte(quoted)) + 1
		}
	}
	return &CassetteError{Line: line, Column: column, Err: err}
}

// storeError is an error of the tape that is written, not of the cassette.
type storeError struct{ error }

func (e storeError) Unwrap() error { return e.error }

// innerError is a mistake in a part of a line, whose positions count from there.
type innerError struct {
	error
	at int
}

func (e innerError) Unwrap() error { return e.error }

type cassetteReader struct {
	ctx     context.Context
	w       Writer
	numbers []uint64
	taken   map[tape.ID]bool // UUIDs that the tape has; nil before they were looked up

	session *Entry
	enc     encoder
	segment Segment
	ended   bool // the session's first line said how it ended
	closing *tape.Message
	t       time.Duration
}

func (c *cassetteReader) line(text []byte) error {
	var head struct {
		Version *int            `json:"wstape"`
		Session json.RawMessage `json:"session"`
	}
	err := json.Unmarshal(text, &head)
	switch {
	case c.session == nil && head.Version == nil && (err == nil || !bytes.HasPrefix(text, []byte(`{"wstape"`))):
		return ErrNotACassette
	case err != nil:
		return err
	}
	if head.Version != nil {
		if *head.Version != cassetteVersion {
			return fmt.Errorf("%w: cassette version %d, this wstape reads %d", ErrVersion, *head.Version, cassetteVersion)
		}
		err := c.begin(head.Session)
		if err != nil {
			err = innerError{err, bytes.Index(text, head.Session)}
		}
		return err
	}
	line := tape.Line{T: c.t}
	if err := json.Unmarshal(text, &line); err != nil {
		return err
	}
	c.t = line.T
	return c.put(&line)
}

func (c *cassetteReader) begin(text json.RawMessage) error {
	if err := c.finish(); err != nil {
		return err
	}
	e := &Entry{}
	e.URL, e.Status, e.State, e.Started = "/", 101, tape.Closed, time.Now()
	if len(text) > 0 {
		if err := json.Unmarshal(text, &e.Session); err != nil {
			return err
		}
	}
	if err := c.identify(&e.Session); err != nil {
		return err
	}
	if e.State == tape.Open {
		e.State = tape.Interrupted // it was exported while it was open
	}
	n, err := c.w.Begin(c.ctx)
	if err != nil {
		return storeError{err}
	}
	e.N, e.Frames, e.Bytes = n, tape.Counts{}, tape.Counts{}
	c.session, c.enc, c.ended, c.closing, c.t = e, encoder{seq: 1}, e.Ending != nil, nil, 0
	c.segment = c.enc.segment(n)
	return nil
}

// identify keeps a session's UUID, or gives it a new one if it has none or the
// tape has that session already.
func (c *cassetteReader) identify(s *tape.Session) error {
	if c.taken == nil {
		c.taken = map[tape.ID]bool{{}: true}
		if r, ok := c.w.(Reader); ok {
			for e, err := range Sessions(c.ctx, r) {
				if err != nil {
					return storeError{err}
				}
				c.taken[e.ID] = true
			}
		}
	}
	if c.taken[s.ID] {
		s.ID = NewID()
	}
	c.taken[s.ID] = true
	return nil
}

// NewID returns a new UUIDv7.
func NewID() tape.ID { return tape.ID(uuid.Must(uuid.NewV7())) } // crypto/rand never fails

// put appends a line's records.
func (c *cassetteReader) put(l *tape.Line) error {
	switch {
	case l.Gap != nil:
		c.segment.Raw = c.enc.gap(c.segment.Raw, tape.Client, *l.Gap, l.T)
	case l.Note != nil:
		c.segment.Raw = c.enc.note(c.segment.Raw, *l.Note, l.T)
	default:
		return c.message(l.Message)
	}
	return c.room()
}

// room makes room in the segment when it is long enough.
func (c *cassetteReader) room() error {
	if len(c.segment.Raw) < segmentBytes {
		return nil
	}
	return c.flush()
}

// message appends the frames of a message: what came in, what became of it,
// what went out.
func (c *cassetteReader) message(m *tape.Message) (err error) {
	if m.Op == tape.Close && m.Fate != tape.Dropped && c.closing == nil {
		c.closing = m
	}
	d := tape.Decision{From: m.From, Fate: m.Fate, By: m.By, Control: overtakes(m.Op)}
	about, leg := c.enc.seq, outInstead
	switch {
	case m.Fate == tape.Passed:
		return c.frames(m, &m.Content, tape.LegBoth)
	case m.Fate == tape.Dropped:
		err = c.frames(m, &m.Content, tape.LegIn)
	case m.Fate == tape.Edited && m.Received != nil:
		d.Control = overtakes(m.Received.Op)
		err = c.frames(&tape.Message{From: m.From, T: m.T, Error: m.ReceivedError}, m.Received, tape.LegIn)
	default:
		about, leg = notHere, tape.LegOut
	}
	if err != nil {
		return err
	}
	c.segment.Raw = c.enc.decision(c.segment.Raw, &d, about, m.T)
	if m.Fate == tape.Dropped {
		return c.room()
	}
	return c.frames(m, &m.Content, leg)
}

// frames appends a payload as the frames that it had, if they are known and fit.
func (c *cassetteReader) frames(m *tape.Message, content *tape.Content, leg tape.Leg) error {
	payload := content.Payload
	part := tape.Part{Begin: true, Masked: m.From == tape.Client, Violation: m.Violation}
	if content.Op == tape.OpRaw {
		return c.part(m, leg, tape.Part{Raw: true, Len: uint64(len(payload)), Payload: payload, Violation: m.Violation})
	}
	sizes := m.Frames
	var sum uint64
	for _, n := range sizes {
		sum += n
	}
	if m.Redacted {
		return c.redacted(m, content, leg)
	}
	if len(sizes) == 0 || sum != uint64(len(payload)) {
		sizes = []uint64{uint64(len(payload))}
	}
	rsv := uint8(0)
	if m.Error != "" {
		rsv = 4 // wire bytes that could not be inflated
	}
	op := content.Op
	for i, n := range sizes {
		fin := i == len(sizes)-1 && !m.Partial
		part.Head, part.Len, part.Payload = wire.Head(fin, rsv, op), n, payload[:n]
		if err := c.part(m, leg, part); err != nil {
			return err
		}
		payload, op, rsv, part.Violation = payload[n:], tape.Continuation, 0, ""
	}
	return nil
}

// redacted appends a message whose secrets were replaced, in the frames that it
// had: they say nothing about what it is now.
func (c *cassetteReader) redacted(m *tape.Message, content *tape.Content, leg tape.Leg) error {
	sizes, rsv := m.Frames, uint8(0)
	if m.RSV1 {
		rsv = 4
	}
	switch {
	case len(sizes) > 0:
	case m.RSV1:
		sizes = []uint64{m.WireLen}
	default:
		sizes = []uint64{uint64(len(content.Payload))}
	}
	part := tape.Part{Begin: true, Masked: m.From == tape.Client, Violation: m.Violation}
	payload, op := content.Payload, content.Op
	for i, n := range sizes {
		part.Head, part.Len = wire.Head(i == len(sizes)-1, rsv, op), n
		b := c.enc.plain(c.segment.Raw, m.From, leg, &part, payload, true, m.T)
		c.segment.Raw = c.enc.more(b, m.From, leg, payload[min(len(payload), maxPiece):], true)
		if err := c.room(); err != nil {
			return err
		}
		payload, op, rsv, part.Violation = nil, tape.Continuation, 0, ""
	}
	return nil
}

// part appends one part of a message in as many records as it takes.
func (c *cassetteReader) part(m *tape.Message, leg tape.Leg, rest tape.Part) error {
	for more := true; more; more = len(rest.Payload) > 0 {
		var p tape.Part
		p, rest = cutPart(rest)
		c.segment.Raw = c.enc.part(c.segment.Raw, m.From, leg, &p, m.T)
		if err := c.room(); err != nil {
			return err
		}
	}
	return nil
}

func (c *cassetteReader) flush() error {
	if err := c.session.Extend(&c.segment); err != nil {
		return err
	}
	e := *c.session
	e.State, e.Ending = tape.Open, nil
	if err := c.w.Append(c.ctx, Batch{Entries: []Entry{e}, Segments: []Segment{c.segment}}); err != nil {
		return storeError{err}
	}
	c.segment = c.enc.segment(e.N)
	return nil
}

// finish ends the session that is being read.
func (c *cassetteReader) finish() error {
	if c.session == nil {
		return nil
	}
	e := c.session
	c.session = nil
	duration := e.Duration
	if err := e.Extend(&c.segment); err != nil {
		return err
	}
	e.Duration = max(e.Duration, duration)
	if !c.ended && e.State == tape.Closed {
		e.Ending = &tape.Ending{Kind: tape.EndEOF}
		if m := c.closing; m != nil {
			code, reason, _ := tape.ParseClose(m.Payload)
			e.Ending = &tape.Ending{Kind: tape.EndClose, Code: code, Reason: reason, From: &m.From}
		}
	}
	b := Batch{Entries: []Entry{*e}}
	if len(c.segment.Raw) > 0 {
		b.Segments = []Segment{c.segment}
	}
	if err := c.w.Append(c.ctx, b); err != nil {
		return storeError{err}
	}
	c.numbers = append(c.numbers, e.N)
	// What was written as a session's tags and notes goes with it.
	if s, ok := c.w.(interface {
		SetLabel(context.Context, uint64, Label) error
	}); ok && (len(e.Tags) > 0 || len(e.Notes) > 0) {
		return s.SetLabel(c.ctx, e.N, Label{Tags: e.Tags, Notes: e.Notes})
	}
	return nil
}
