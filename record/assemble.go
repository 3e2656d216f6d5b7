package record

import (
	"encoding/binary"
	"errors"
	"slices"
	"unicode/utf8"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/tape"
)

// ordered hands out values in the order in which they began, although they
// come to their end in another: a control frame inside a fragmented message
// ends before it. No more than limit values wait; then the first goes out late.
type ordered[T any] struct {
	slots []*slot[T]
	head  int // those before it are gone
	ready int // waiting slots that are done
	limit int
}

type slot[T any] struct {
	value T
	done  bool
	ready *int // of what it waits in, nil when it has gone out
}

// settle says whether a slot's value is complete.
func (s *slot[T]) settle(done bool) {
	switch {
	case s.ready == nil || done == s.done:
	case done:
		*s.ready++
	default:
		*s.ready--
	}
	s.done = done
}

func (o *ordered[T]) add(s *slot[T]) *slot[T] {
	s.ready = &o.ready
	if s.done {
		o.ready++
	}
	if o.head == len(o.slots) {
		o.slots, o.head = o.slots[:0], 0
	}
	if o.head > len(o.slots)/2 && len(o.slots) == cap(o.slots) {
		n := copy(o.slots, o.slots[o.head:])
		clear(o.slots[n:])
		o.slots, o.head = o.slots[:n], 0
	}
	o.slots = append(o.slots, s)
	return s
}

// waiting are the slots that have not gone out.
func (o *ordered[T]) waiting() []*slot[T] { return o.slots[o.head:] }

// next takes the first value that may go out. Thousands may wait that are not done,
// so they are not looked through for each that is asked for: the only one that is
// done is usually the last that came.
func (o *ordered[T]) next() (v T, ok bool) {
	waiting := o.waiting()
	i := 0
	switch {
	case o.ready == 0:
		return v, false
	case waiting[0].done:
	case len(waiting) <= o.limit:
		return v, false
	case o.ready > 1:
		i = slices.IndexFunc(waiting, func(s *slot[T]) bool { return s.done })
	default:
		for i = len(waiting) - 1; !waiting[i].done; i-- {
		}
	}
	s := waiting[i]
	s.ready = nil
	o.ready--
	if i == 0 {
		o.slots[o.head] = nil
		o.head++
	} else {
		o.slots = slices.Delete(o.slots, o.head+i, o.head+i+1)
	}
	return s.value, true
}

// assembler turns the records of a session into lines: it joins pieces to
// frames and frames to messages, unmasked and inflated. It belongs to one
// goroutine.
type assembler struct {
	keep        uint64 // bytes of a plain payload that are kept
	inflate     uint64
	compression wire.Compression
	mute        bool   // notes and gaps are not wanted yet
	reuse       bool   // a line is valid until the next one only, and segments are never written to again
	first       uint64 // number of the first frame that was read, 0 if none was
	sides       [2]side
	out         ordered[*lineMade]
	gone        *made   // belongs to the line that was handed out last
	free        []*made // to be used again
}

// side is where one direction stands.
type side struct {
	joined   bool      // messages are known from their beginning
	frame    *building // what the payload of the current frame belongs to
	making   *building // the same for the frame that wstape makes on this leg
	message  *building // the data message that is open
	made     *building // the message that wstape makes on this leg
	decision *Record   // what the frames that go out next are
	waiting  waiting[*building]
	inflater *wire.Inflater
	lost     bool   // a gap tore the compressed stream
	plain    uint64 // bytes inflated since the last window
}

// made is what one message takes, in one piece of memory.
type made struct {
	building building
	message  tape.Message
	line     lineMade
	slot     slot[*lineMade]
	frames   [2]uint64
	plain    []byte // memory for its payload
}

// lineMade is a line and what it was made in, nil if that is not used again.
type lineMade struct {
	tape.Line
	in *made
}

// What is kept to be used again: for so many messages, each with so many bytes.
const (
	maxFree      = 16
	maxFreePlain = 64 << 10
)

// take returns memory for a message.
func (a *assembler) take() *made {
	n := len(a.free)
	if n == 0 {
		return &made{}
	}
	p := a.free[n-1]
	a.free = a.free[:n-1]
	*p = made{plain: p.plain[:0]}
	return p
}

// next takes the first line that may go out. With reuse it ends the one before.
func (a *assembler) next() (*tape.Line, bool) {
	if p := a.gone; p != nil {
		a.gone = nil
		if cap(p.plain) > maxFreePlain {
			p.plain = nil
		}
		if len(a.free) < maxFree {
			a.free = append(a.free, p)
		}
	}
	line, ok := a.out.next()
	if !ok {
		return nil, false
	}
	if p := line.in; a.reuse && p != nil && p.building.in == nil && p.building.out == nil {
		a.gone = p // nothing else points to it: it has come to its end
	}
	return &line.Line, true
}

// building is a message on its way to being complete.
type building struct {
	slot     *slot[*lineMade] // nil: it makes no line, for it is what came in in other frames
	made     *made            // the memory it is in
	m        *tape.Message
	in       *building // of an edited message: what came in
	out      *building // of that: what went out in its place
	wire     []byte    // compressed payload
	deflated bool
	plain    bool   // of frames that hold the payload as it is: see Record.Plain
	need     uint64 // payload bytes of the current frame still to come
	fin      bool
	ended    bool
	torn     bool // the decision about it may be in a damaged part
}

// maxFrames is how many frames of one message are told apart, so that a flood of
// tiny ones does not fill a reader's memory; what the others have counts for the last.
const maxFrames = 100_000

// queueLimit is how many lines may wait for an earlier message to come to its
// end; it bounds a reader's memory.
const queueLimit = 10_000

func newAssembler(s *tape.Session, inflate, keep uint64, fromStart bool) *assembler {
	a := &assembler{keep: keep, inflate: inflate, compression: Compression(s), out: ordered[*lineMade]{limit: queueLimit}}
	if fromStart {
		a.first = 1
	}
	for i := range a.sides {
		a.sides[i].joined = fromStart
	}
	return a
}

// window puts a side's inflater where it stood when the window was taken.
func (a *assembler) window(w *Window) {
	a.inflater(w.From).SetWindow(w.Bytes)
	a.sides[w.From].lost = false
}

func (a *assembler) inflater(from tape.Side) *wire.Inflater {
	s := &a.sides[from]
	if s.inflater == nil {
		s.inflater = wire.NewInflater(!a.compression.NoTakeover[from], a.inflate)
		if a.reuse {
			s.inflater.KeepDecoder()
		}
	}
	return s.inflater
}

// record takes one record; what it completes waits in a.out.
func (a *assembler) record(r *Record) {
	s := &a.sides[r.From]
	if a.first == 0 {
		a.first = r.Seq
	}
	switch r.Kind {
	case kindFrame:
		a.frame(s, r)
	case kindPiece:
		b := s.frame
		if r.Leg == tape.LegOut {
			b = s.making
		}
		if b != nil {
			a.payload(s, b, r.Payload)
		}
	case kindRaw:
		b := a.begin(s, r, tape.OpRaw)
		b.m.Violation, b.m.WireLen, b.m.Len = r.Violation, r.Len, r.Len
		b.m.Payload = clip(nil, r.Payload, a.keep)
		a.complete(s, b, false)
	case kindGap:
		a.abandon(s)
		s.lost, s.joined = true, true
		gap := r.Gap
		a.remark(&tape.Line{T: r.T, Gap: &gap})
	case kindTorn:
		a.abandon(s)
		s.lost = true
		s.waiting.each(func(b *building) { b.torn = true })
	case kindNote:
		note := r.Note
		a.remark(&tape.Line{T: r.T, Note: &note})
	case kindDecision:
		a.decide(s, r)
	}
}

// remark adds a line that is not a message.
func (a *assembler) remark(l *tape.Line) {
	if !a.mute {
		a.out.add(&slot[*lineMade]{value: &lineMade{Line: *l}, done: true})
	}
}

func (a *assembler) frame(s *side, r *Record) {
	fin, _, op := wire.Split(r.Head)
	open := &s.message
	if r.Leg == tape.LegOut {
		open = &s.made
	}
	b := *open
	switch {
	case op.Control():
		b = a.begin(s, r, op)
	case op != tape.Continuation:
		if b != nil {
			a.complete(s, b, true)
		}
		b = a.begin(s, r, op)
		s.joined = s.joined || r.Leg != tape.LegOut
	case r.Leg == tape.LegOut && b == nil && s.decision == nil:
		s.making = nil // the end of a message whose beginning is not here
		return
	case b == nil && !s.joined && r.Violation != wire.ViolationStray:
		s.frame = nil // the end of a message that began before the reader came
		return
	case b == nil:
		b = a.begin(s, r, op)
		s.joined = s.joined || r.Leg != tape.LegOut
		fin = fin || r.Leg == tape.LegBoth // a stray one stands for itself, unless it is decided about with what follows
	}
	if !op.Control() {
		*open = b
	}
	b.fin, b.need = fin || op.Control(), r.Len
	if len(b.m.Frames) < maxFrames {
		b.m.Frames = append(b.m.Frames, 0)
	}
	if b.plain = r.Plain; b.plain {
		b.need, b.deflated = r.Stored, false
		b.m.Frames[len(b.m.Frames)-1] += r.Len
		b.m.WireLen += r.Len
		b.m.Redacted = b.m.Redacted || r.Redacted
	}
	if b.m.Violation == "" {
		b.m.Violation = r.Violation
	}
	if r.Leg == tape.LegOut {
		s.making = b
	} else {
		s.frame = b
	}
	a.payload(s, b, r.Payload)
}

// begin opens a message; its place among the lines is taken now.
func (a *assembler) begin(s *side, r *Record, op tape.Opcode) *building {
	_, rsv, _ := wire.Split(r.Head)
	p := a.take()
	m, b := &p.message, &p.building
	*m = tape.Message{Seq: r.Seq, T: r.T, From: r.From, Fate: tape.Passed, Content: tape.Content{Op: op}, Frames: p.frames[:0]}
	*b = building{made: p, m: m, deflated: rsv&4 != 0 && a.compression.On && (op == tape.Text || op == tape.Binary)}
	m.RSV1 = b.deflated
	if d := s.decision; r.Leg == tape.LegOut && d != nil {
		s.decision = nil
		if d.Decision.Resent {
			return b
		}
		m.Fate, m.By = d.Decision.Fate, d.Decision.By
		if m.Fate == tape.Edited {
			a.replace(s, b, d)
		}
	}
	if b.slot == nil {
		p.line = lineMade{tape.Line{T: m.T, Message: m}, p}
		p.slot = slot[*lineMade]{value: &p.line}
		b.slot = a.out.add(&p.slot)
	}
	if r.Leg == tape.LegIn {
		m.Fate = "" // not known yet
		s.waiting.add(op, m.Seq, b)
	}
	return b
}

// replace puts what goes out into the place of what came in.
func (a *assembler) replace(s *side, b *building, d *Record) {
	in, ok := s.waiting.take(d)
	switch {
	case ok:
		b.in, in.out, b.slot = in, b, in.slot
		b.m.Received, b.m.Seq, b.m.T = &in.m.Content, in.m.Seq, in.m.T
		in.m.Fate, in.slot.value.Message = tape.Edited, b.m
	case d.About != firstWaiting && d.About != notHere && (a.first == 0 || d.About < a.first):
		b.m.Seq = d.About // it came in before reading began, and that is its place
	}
}

// payload adds bytes of the current frame, and completes frame and message when
// they were the last.
func (a *assembler) payload(s *side, b *building, p []byte) {
	n := uint64(len(p))
	if !b.plain {
		b.m.Frames[len(b.m.Frames)-1] += n
		b.m.WireLen += n
	}
	b.need -= min(n, b.need)
	switch {
	case b.slot == nil:
	case b.deflated && b.wire == nil && a.reuse && n <= a.inflate:
		b.wire = p
	case b.deflated:
		b.wire = clip(b.wire, p, a.inflate+1)
	case b.m.Len == 0 && a.reuse:
		b.m.Len, b.m.Payload = n, p[:min(n, a.keep):min(n, a.keep)] // what is appended goes elsewhere, for there is no room behind it
	default:
		b.m.Len += n
		b.m.Payload = clip(b.m.Payload, p, a.keep)
	}
	if b.need > 0 {
		return
	}
	s.leave(b)
	if b.fin {
		a.complete(s, b, false)
	}
}

// leave ends the frame that belongs to b.
func (s *side) leave(b *building) {
	if s.frame == b {
		s.frame = nil
	}
	if s.making == b {
		s.making = nil
	}
}

// clip appends p to dst as far as limit allows.
func clip(dst, p []byte, limit uint64) []byte {
	p = p[:min(uint64(len(p)), limit-min(limit, uint64(len(dst))))]
	return append(double(dst, len(p)), p...)
}

// double makes room for n more bytes, at least doubling: a payload of a GiB
// comes in a thousand pieces, and append would move it fifty times.
func double(dst []byte, n int) []byte {
	if cap(dst)-len(dst) >= n {
		return dst
	}
	return slices.Grow(dst, max(n, len(dst)))
}

// complete ends a message; partial when the connection or a gap ended it.
func (a *assembler) complete(s *side, b *building, partial bool) {
	m := b.m
	m.Partial = partial
	if s.message == b {
		s.message = nil
	}
	if s.made == b {
		s.made = nil
	}
	s.leave(b)
	if b.slot == nil {
		return
	}
	if b.deflated {
		a.plain(s, b)
	}
	a.check(m)
	b.ended = true
	b.settle()
}

// settle lets a message go out as a line when nothing of it is missing any more.
func (b *building) settle() {
	if b.out != nil {
		b = b.out
	}
	if b.in != nil {
		b.m.ReceivedError = b.in.m.Error
		b.m.Redacted = b.m.Redacted || b.in.m.Redacted
	}
	b.slot.settle(b.ended && b.m.Fate != "" && (b.in == nil || b.in.ended))
}

// errTooLong means that a reader has given a message up.
var errTooLong = errors.New("inflates to more than 1 GiB, which is as much as is read of one message")

// plain inflates a complete message.
func (a *assembler) plain(s *side, b *building) {
	m, z := b.m, a.inflater(b.m.From)
	fail := func(why string) {
		m.Error, m.Payload, m.Len = why, clip(nil, b.wire, a.keep), m.WireLen
	}
	takeover := !a.compression.NoTakeover[m.From]
	switch {
	case m.Partial:
		fail("the message never ended")
		s.lost = s.lost || takeover
		return
	case s.lost && takeover:
		fail(wire.ErrWindowLost.Error())
		return
	case uint64(len(b.wire)) > a.inflate:
		fail(wire.ErrInflateLimit.Error())
		s.lost = takeover
		return
	}
	plain, total, err := z.Message(b.made.plain, b.wire, a.keep)
	if err != nil {
		if errors.Is(err, wire.ErrInflateLimit) && a.inflate == readInflate { // which no key sets
			err = errTooLong
		}
		fail(err.Error())
		s.lost = takeover
		return
	}
	m.Payload, m.Len = plain, total
	if a.reuse {
		b.made.plain = plain[:0]
	}
	s.plain += total
	b.wire = nil
}

// check looks for what RFC 6455 forbids about a payload, and keeps a text that
// was cut to a preview readable.
func (a *assembler) check(m *tape.Message) {
	if m.Error != "" || m.Partial {
		return
	}
	switch m.Op {
	case tape.Text:
		if uint64(len(m.Payload)) < m.Len {
			m.Payload = trimRune(m.Payload)
		}
		if m.Violation == "" && !utf8.Valid(m.Payload) {
			m.Violation = wire.ViolationTextEncoding
		}
	case tape.Close:
		if m.Violation == "" && uint64(len(m.Payload)) == m.Len {
			m.Violation = wire.CloseViolation(m.Payload)
		}
	}
}

// trimRune takes a rune that was cut in two off the end.
func trimRune(p []byte) []byte {
	for i := 1; i <= min(3, len(p)); i++ {
		if c := p[len(p)-i]; utf8.RuneStart(c) {
			if !utf8.FullRune(p[len(p)-i:]) {
				return p[:len(p)-i]
			}
			break
		}
	}
	return p
}

// decide applies what became of a message that came in. One that is still
// coming in has its fate then, and becomes a line when it ends. What was edited
// is looked for when that which goes out is there.
func (a *assembler) decide(s *side, r *Record) {
	d := &r.Decision
	if d.Fate == tape.Edited || d.Fate == tape.Injected || d.Resent {
		next := *r
		s.decision = &next
	}
	if d.Fate == tape.Edited || d.Fate == tape.Injected {
		return
	}
	if in, ok := s.waiting.take(r); ok {
		in.m.Fate, in.m.By = d.Fate, d.By
		in.settle()
	}
}

// abandon ends what one side had not completed.
func (a *assembler) abandon(s *side) {
	for _, b := range []*building{s.frame, s.message, s.making, s.made} {
		if b != nil && !b.m.Partial {
			a.complete(s, b, true)
		}
	}
}

// finish ends what never came to its end. Of a session that is still open it is
// left out: it may yet come.
func (a *assembler) finish(open bool) {
	for i := range a.sides {
		s := &a.sides[i]
		if open {
			continue
		}
		a.abandon(s)
		s.waiting.each(func(in *building) {
			in.m.Fate, in.m.By = tape.Dropped, []string{"wstape"} // nothing of it went on
			if in.torn || in.m.Op == tape.Continuation {
				in.m.Fate, in.m.By = tape.Passed, nil // the decision is lost, and a gap says so
			}
			in.settle()
		})
	}
	a.out.limit = 0
}

// maskKey gives the mask its wire form.
func maskKey(mask uint32) (key [4]byte) {
	binary.LittleEndian.PutUint32(key[:], mask)
	return key
}
