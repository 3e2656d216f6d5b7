package record

import (
	"cmp"
	"context"
	"iter"
	"math"
	"time"
	"unicode/utf8"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/tape"
)

// readInflate is what one message may inflate to for a reader: a tape may be
// anybody's, and ten megabytes may become ten gigabytes.
const readInflate = 1 << 30

// ReadOptions say how to read a session. The zero value reads what is there,
// from the beginning, whole.
type ReadOptions struct {
	Offset  uint64 // begin with the records at this offset of the stream
	After   uint64 // begin behind the frame of this number: with what began later; Offset may say where to look for it
	Follow  bool   // go on with what is being recorded, until the session ends
	Keep    uint64 // bytes of each payload that are kept; 0 keeps all
	Inflate uint64 // what one message may inflate to; default 1 GiB
	Reuse   bool   // a line, with all that it points to, is valid until the next one only
}

// Sessions yields all sessions of a tape in the order of their numbers.
func Sessions(ctx context.Context, r Reader) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		for after := uint64(0); ; {
			page, err := r.Sessions(ctx, after)
			if err != nil {
				yield(nil, err)
				return
			}
			for i := range page {
				if after = page[i].N; !yield(&page[i], nil) {
					return
				}
			}
			if len(page) == 0 {
				return
			}
		}
	}
}

// cursor walks the records of a session as far as they are there, and goes on
// from there when it is asked again.
type cursor struct {
	r      Reader
	n      uint64
	offset uint64        // of the next segment to ask for
	at     uint64        // behind the last record
	seq    uint64        // of the next frame, 0 if not known
	t      time.Duration // of the last record
	extra  uint64        // frames that have a number and are in no count: what wstape sent in place of others
	size   uint64        // of the whole stream, 0 if it may still grow
}

// poll yields the records that are there and were not yielded before. What
// cannot be read comes as gaps. A record is valid until the next one.
func (c *cursor) poll(ctx context.Context) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		for {
			page, err := c.r.Segments(ctx, c.n, c.offset)
			if err != nil {
				yield(nil, err)
				return
			}
			for i := range page {
				c.offset = page[i].End()
				if !c.segment(&page[i], yield) {
					return
				}
			}
			if len(page) == 0 || c.size > 0 && c.offset >= c.size {
				return
			}
		}
	}
}

func (c *cursor) segment(seg *Segment, yield func(*Record, error) bool) bool {
	if seg.Lost != "" {
		return true // the gap is marked when it is known where it ends
	}
	if seg.Offset > c.at && !c.lost(yield, seg.Offset, seg.Seq) {
		return false
	}
	var rec Record
	d := newDecoder(seg)
	for d.next(&rec) {
		if rec.Offset < c.at {
			continue
		}
		c.at, c.seq, c.t = rec.End, d.seq, d.t
		if rec.Instead && rec.Kind == kindFrame {
			c.extra++
		}
		if !yield(&rec, nil) {
			return false
		}
	}
	return true // what could not be decoded is marked like what is lost
}

// end yields the gap of what should be there behind the last record and is not.
func (c *cursor) end(e *Entry, yield func(*Record, error) bool) bool {
	if e.State == tape.Open || e.Size <= c.at {
		return true
	}
	return c.lost(yield, e.Size, e.Frames.Client+e.Frames.Server+c.extra+1)
}

// lost yields the gap that stands for a damaged part of the stream, up to an
// offset and the frame that begins there. It concerns both sides; the frames
// are counted once.
func (c *cursor) lost(yield func(*Record, error) bool, offset, seq uint64) bool {
	gap := tape.Gap{Bytes: offset - c.at, Why: "this part of the tape is damaged: see wstape check"}
	if seq > max(c.seq, 1) {
		gap.Frames = seq - max(c.seq, 1)
	}
	c.at, c.seq = offset, max(c.seq, seq)
	rec := Record{Kind: kindGap, T: c.t, Gap: gap, Offset: offset - 1, End: offset}
	if !yield(&rec, nil) {
		return false
	}
	for _, from := range tape.Sides() {
		if !yield(&Record{Kind: kindTorn, From: from, Offset: offset - 1, End: offset}, nil) {
			return false
		}
	}
	return true
}

// Follower reads the lines of a session as far as they are there, and goes on
// from there when it is asked again. It belongs to one goroutine.
type Follower struct {
	r       Reader
	records cursor
	lines   *assembler
	windows []Window
	entry   *Entry // of a session that has ended; nil before
	offset  uint64 // of the first line that was asked for
	begun   bool
	first   uint64 // frame of that line
	after   uint64 // it is behind this one
}

// NewFollower prepares to read a session; opts.Follow only says that a line
// should not wait long for an earlier one that has not come to its end.
func NewFollower(ctx context.Context, r Reader, n uint64, opts ReadOptions) (*Follower, error) {
	entry, err := r.Session(ctx, n)
	if err != nil {
		return nil, err
	}
	if opts.After > 0 && opts.Offset == 0 {
		if opts.Offset, err = before(ctx, r, &entry, opts.After, nearEnough); err != nil {
			return nil, err
		}
	}
	start, windows, err := checkpoint(ctx, r, &entry, opts.Offset)
	if err != nil {
		return nil, err
	}
	a := newAssembler(&entry.Session, cmp.Or(opts.Inflate, readInflate), orMax(opts.Keep), start == 0)
	a.reuse = opts.Reuse
	if opts.Follow {
		a.out.limit = followLimit
	}
	f := &Follower{
		r: r, records: cursor{r: r, n: n, offset: start, at: start}, lines: a, windows: windows,
		offset: opts.Offset, begun: opts.Offset == start, after: opts.After,
	}
	if entry.State != tape.Open { // it stays as it is
		f.entry, f.records.size = &entry, entry.Size
	}
	return f, nil
}

// Poll yields the lines that are there and were not yielded before.
func (f *Follower) Poll(ctx context.Context) iter.Seq2[*tape.Line, error] {
	return func(yield func(*tape.Line, error) bool) {
		for rec, err := range f.records.poll(ctx) {
			if err != nil {
				yield(nil, err)
				return
			}
			if !f.record(rec, yield) {
				return
			}
		}
	}
}

func (f *Follower) record(rec *Record, yield func(*tape.Line, error) bool) bool {
	if f.first == 0 && rec.Offset >= f.offset {
		f.begun, f.first = true, f.records.seq
		if rec.Kind == kindFrame || rec.Kind == kindRaw {
			f.first = rec.Seq
		}
		if f.after > 0 {
			f.first = max(f.first, f.after+1)
		}
	}
	for i := range f.windows {
		if w := &f.windows[i]; w.Bytes != nil && rec.Offset >= w.Offset {
			f.lines.window(w)
			w.Bytes = nil
		}
	}
	f.lines.mute = !f.begun || f.after > 0 && f.records.seq <= f.after
	f.lines.record(rec)
	return f.drain(yield)
}

func (f *Follower) drain(yield func(*tape.Line, error) bool) bool {
	for line, ok := f.lines.next(); ok; line, ok = f.lines.next() {
		if (line.Message == nil || f.begun && line.Message.Seq >= f.first) && !yield(line, nil) {
			return false
		}
	}
	return true
}

// Finish yields what never came to its end. Of a session that is still open
// that is left out: it may yet come.
func (f *Follower) Finish(ctx context.Context) iter.Seq2[*tape.Line, error] {
	return func(yield func(*tape.Line, error) bool) {
		entry := f.entry
		if entry == nil {
			now, err := f.r.Session(ctx, f.records.n)
			if err != nil {
				yield(nil, err)
				return
			}
			entry = &now
			if !rest(f.Poll(ctx), entry, yield) {
				return
			}
		}
		going := true
		f.records.end(entry, func(rec *Record, _ error) bool {
			going = f.record(rec, yield)
			return going
		})
		f.lines.finish(entry.State == tape.Open)
		if going {
			f.drain(yield)
		}
	}
}

// rest yields what came of a session, which has ended, since it was polled: it may have
// ended only then. False if reading ends with that.
func rest[T any](poll iter.Seq2[T, error], e *Entry, yield func(T, error) bool) bool {
	if e.State == tape.Open {
		return true
	}
	for v, err := range poll {
		if !yield(v, err) || err != nil {
			return false
		}
	}
	return true
}

// poller is what both views of a session have in common.
type poller[T any] interface {
	Poll(context.Context) iter.Seq2[T, error]
	Finish(context.Context) iter.Seq2[T, error]
}

// run yields what a poller has, until the session has ended or, if it is not
// followed, until there is no more for now. There is no seam between what was
// stored and what comes live: both are read from the tape.
func run[T any](ctx context.Context, r Reader, n uint64, p poller[T], follow bool, yield func(T, error) bool) {
	going := true
	each := func(v T, err error) bool {
		going = yield(v, err) && err == nil
		return going
	}
	var none T
	version, over := uint64(0), !follow
	for {
		if follow {
			var err error
			if version, err = r.Wait(ctx, version); err != nil {
				yield(none, err)
				return
			}
			entry, err := r.Session(ctx, n)
			if err != nil {
				yield(none, err)
				return
			}
			over = entry.State != tape.Open // and so nothing is added to what is read now
		}
		if p.Poll(ctx)(each); !going {
			return
		}
		if over {
			p.Finish(ctx)(each)
			return
		}
	}
}

// Lines yields what people look at: messages, gaps and notes, in the order of
// the messages' first frames. It ends with an error at most once.
func Lines(ctx context.Context, r Reader, n uint64, opts ReadOptions) iter.Seq2[*tape.Line, error] {
	return func(yield func(*tape.Line, error) bool) {
		f, err := NewFollower(ctx, r, n, opts)
		if err != nil {
			yield(nil, err)
			return
		}
		run(ctx, r, n, f, opts.Follow, yield)
	}
}

// followLimit is how many lines a live view holds back for a message that has
// begun and not ended; then it shows them out of order rather than stall.
const followLimit = 64

// checkpoint finds where reading must begin so that every compressed message
// from offset on can be inflated.
func checkpoint(ctx context.Context, r Reader, e *Entry, offset uint64) (start uint64, windows []Window, err error) {
	c := Compression(&e.Session)
	start = offset
	for _, from := range tape.Sides() {
		if offset == 0 || e.Redacted || !c.On || c.NoTakeover[from] {
			continue
		}
		w, err := r.Window(ctx, e.N, from, offset)
		if err != nil {
			return 0, nil, err
		}
		start = min(start, w.Offset)
		windows = append(windows, w)
	}
	if start == 0 {
		windows = nil
	}
	return start, windows, nil
}

func orMax(n uint64) uint64 {
	if n == 0 {
		return math.MaxInt64 // leaves room to add to
	}
	return n
}

// Frames yields the frames of a session as they were on the wire, in the order
// of their headers; what is not frames comes with the opcode [tape.OpRaw].
func Frames(ctx context.Context, r Reader, n uint64, opts ReadOptions) iter.Seq2[*tape.Frame, error] {
	return func(yield func(*tape.Frame, error) bool) {
		f := &framer{r: r, records: cursor{r: r, n: n, offset: opts.Offset, at: opts.Offset}, out: ordered[*tape.Frame]{limit: queueLimit}}
		if opts.Follow {
			f.out.limit = followLimit
		}
		run(ctx, r, n, f, opts.Follow, yield)
	}
}

// framer joins records to frames.
type framer struct {
	r       Reader
	records cursor
	out     ordered[*tape.Frame]
	sides   [2]framerSide
}

// framerSide is where one direction stands.
type framerSide struct {
	current *framing // the frame whose payload is not complete
	making  *framing // the same for frames that wstape made
	open    *framed  // the message that is coming in
	waiting waiting[*framed]
}

// framing is a frame on its way to being shown.
type framing struct {
	slot  *slot[*tape.Frame]
	of    *framed // the message that somebody looked at; nil if nobody did
	need  uint64  // payload bytes of it
	ended bool
}

// framed is a message that came in, as far as its frames need to know.
type framed struct {
	frames  []*framing // until it is decided about
	decided bool
	passed  bool // as it came, so its frames were on both legs
}

func (f *framer) Poll(ctx context.Context) iter.Seq2[*tape.Frame, error] {
	return func(yield func(*tape.Frame, error) bool) {
		for rec, err := range f.records.poll(ctx) {
			if err != nil {
				yield(nil, err)
				return
			}
			f.record(rec)
			if !f.drain(yield) {
				return
			}
		}
	}
}

func (f *framer) Finish(ctx context.Context) iter.Seq2[*tape.Frame, error] {
	return func(yield func(*tape.Frame, error) bool) {
		entry, err := f.r.Session(ctx, f.records.n)
		if err != nil {
			yield(nil, err)
			return
		}
		if !rest(f.Poll(ctx), &entry, yield) {
			return
		}
		for _, s := range f.out.waiting() {
			s.settle(s.done || entry.State != tape.Open)
		}
		f.out.limit = 0
		f.drain(yield)
	}
}

func (f *framer) drain(yield func(*tape.Frame, error) bool) bool {
	for frame, ok := f.out.next(); ok; frame, ok = f.out.next() {
		if !yield(frame, nil) {
			return false
		}
	}
	return true
}

func (f *framer) record(rec *Record) {
	side := &f.sides[rec.From]
	current := &side.current
	if rec.Leg == tape.LegOut {
		current = &side.making
	}
	switch rec.Kind {
	case kindFrame, kindRaw:
		(*current).end()
		frame := frameOf(rec)
		*current = &framing{slot: f.out.add(&slot[*tape.Frame]{value: frame}), need: rec.Len}
		if rec.Plain {
			(*current).need = rec.Stored
		}
		if rec.Leg != tape.LegOut {
			side.came(frame, *current)
		}
		f.look(current)
	case kindGap, kindTorn: // pieces behind the hole belong to a frame in it
		side.current.end()
		side.making.end()
		side.current, side.making, side.open = nil, nil, nil
	case kindPiece:
		if c := *current; c != nil {
			c.slot.value.Payload = append(double(c.slot.value.Payload, len(rec.Payload)), rec.Payload...)
			f.look(current)
		}
	case kindDecision:
		side.decide(rec)
	}
}

// look ends the current frame when its payload is there.
func (f *framer) look(current **framing) {
	c := *current
	if uint64(len(c.slot.value.Payload)) < c.need {
		return
	}
	f.whole(c.slot.value)
	c.end()
	*current = nil
}

// end says that nothing more comes of a frame.
func (c *framing) end() {
	if c != nil {
		c.ended = true
		c.settle()
	}
}

// settle lets a frame go out when it has ended and its leg is known.
func (c *framing) settle() {
	if c.of != nil && c.of.passed {
		c.slot.value.Leg = tape.LegBoth
	}
	c.slot.settle(c.ended && (c.of == nil || c.of.decided))
}

// came finds the message of a frame that came in.
func (s *framerSide) came(frame *tape.Frame, c *framing) {
	data := !frame.Opcode.Control() && frame.Opcode != tape.OpRaw
	begins := !data || frame.Opcode != tape.Continuation
	if data && begins {
		s.open = nil
	}
	if frame.Leg == tape.LegIn {
		if c.of = s.open; c.of == nil || begins {
			c.of = &framed{}
			s.waiting.add(frame.Opcode, frame.Seq, c.of)
		}
		if !c.of.decided {
			c.of.frames = append(c.of.frames, c)
		}
		if data {
			s.open = c.of
		}
	}
	if data && frame.Fin {
		s.open = nil
	}
}

// decide tells the frames of a message on which legs they were.
func (s *framerSide) decide(rec *Record) {
	d := &rec.Decision
	if d.Fate == tape.Injected {
		return
	}
	m, ok := s.waiting.take(rec)
	if !ok {
		return
	}
	m.decided, m.passed = true, d.Fate == tape.Passed && !d.Resent
	for _, c := range m.frames {
		c.settle()
	}
	m.frames = nil
}

// whole looks at the payload of a frame that has come to its end. Text in
// several frames, or compressed, only [Lines] can judge.
func (f *framer) whole(frame *tape.Frame) {
	switch {
	case frame.Violation != "":
	case frame.Opcode == tape.Close:
		frame.Violation = wire.CloseViolation(frame.Payload)
	case frame.Opcode == tape.Text && frame.Fin && frame.RSV == 0 && !utf8.Valid(frame.Payload):
		frame.Violation = wire.ViolationTextEncoding
	}
}

func frameOf(r *Record) *tape.Frame {
	f := &tape.Frame{
		Seq: r.Seq, T: r.T, From: r.From, Leg: r.Leg, Masked: r.Masked, Len: r.Len, Violation: r.Violation,
		Payload: append([]byte(nil), r.Payload...), Opcode: tape.OpRaw, Redacted: r.Plain,
	}
	if r.Masked {
		f.Mask = maskKey(r.Mask)
	}
	if r.Kind == kindFrame {
		f.Fin, f.RSV, f.Opcode = wire.Split(r.Head)
	}
	return f
}
