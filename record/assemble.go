package record

import (
	"encoding/binary"
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
	limit int
}

type slot[T any] struct {
	value T
	done  bool
}

func (o *ordered[T]) add(v T, done bool) *slot[T] {
	s := &slot[T]{v, done}
	o.slots = append(o.slots, s)
	return s
}

// next takes the first value that may go out.
func (o *ordered[T]) next() (v T, ok bool) {
	for i, s := range o.slots {
		if s.done {
			if i == 0 {
				o.slots = o.slots[1:]
			} else {
				o.slots = append(o.slots[:i:i], o.slots[i+1:]...)
			}
			return s.value, true
		}
		if len(o.slots) <= o.limit {
			break
		}
	}
	return v, false
}

// assembler turns the records of a session into lines: it joins pieces to
// frames and frames to messages, unmasked and inflated. It belongs to one
// goroutine.
type assembler struct {
	keep        uint64 // bytes of a plain payload that are kept
	inflate     uint64
	compression wire.Compression
	mute        bool // notes and gaps are not wanted yet
	sides       [2]side
	out         ordered[*tape.Line]
}

// side is where one direction stands.
type side struct {
	joined   bool      // messages are known from their beginning
	frame    *building // what the payload of the current frame belongs to
	making   *building // the same for the frame that wstape makes on this leg
	message  *building // the data message that is open
	made     *building // the message that wstape makes on this leg
	decision *tape.Decision
	received []*building // came in, fate not known yet
	inflater *wire.Inflater
	lost     bool   // a gap tore the compressed stream
	plain    uint64 // bytes inflated since the last window
}

// building is a message on its way to being complete.
type building struct {
	slot     *slot[*tape.Line]
	m        *tape.Message
	wire     []byte // compressed payload
	deflated bool
	need     uint64 // payload bytes of the current frame still to come
	fin      bool
}

// queueLimit is how many lines may wait for an earlier message to come to its
// end; it bounds a reader's memory.
const queueLimit = 10_000

func newAssembler(s *tape.Session, inflate, keep uint64, fromStart bool) *assembler {
	a := &assembler{keep: keep, inflate: inflate, compression: Compression(s), out: ordered[*tape.Line]{limit: queueLimit}}
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
	}
	return s.inflater
}

// record takes one record; what it completes waits in a.out.
func (a *assembler) record(r *Record) {
	s := &a.sides[r.From]
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
		m := &tape.Message{
			Seq: r.Seq, T: r.T, From: r.From, Fate: tape.Passed, Violation: r.Violation, WireLen: r.Len,
			Content: tape.Content{Op: tape.OpRaw, Len: r.Len, Payload: clip(nil, r.Payload, a.keep)},
		}
		slot := a.out.add(&tape.Line{T: r.T, Message: m}, r.Leg != tape.LegIn)
		if r.Leg == tape.LegIn {
			m.Fate = "" // not known yet
			s.received = append(s.received, &building{slot: slot, m: m})
		}
	case kindGap:
		a.abandon(s)
		s.lost, s.joined = true, true
		gap := r.Gap
		a.remark(&tape.Line{T: r.T, Gap: &gap})
	case kindTorn:
		a.abandon(s)
		s.lost = true
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
		a.out.add(l, true)
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
		s.joined = true
	case b == nil && !s.joined:
		s.frame = nil // the end of a message that began before the reader came
		return
	case b == nil:
		b = a.begin(s, r, op) // a stray one stands for itself
		fin = true
	}
	if !op.Control() {
		*open = b
	}
	b.fin, b.need = fin || op.Control(), r.Len
	b.m.Frames = append(b.m.Frames, 0)
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
	m := &tape.Message{Seq: r.Seq, T: r.T, From: r.From, Fate: tape.Passed, Content: tape.Content{Op: op}}
	b := &building{m: m, deflated: rsv&4 != 0 && a.compression.On && (op == tape.Text || op == tape.Binary)}
	m.RSV1 = b.deflated
	if r.Leg == tape.LegOut && s.decision != nil {
		m.Fate, m.By = s.decision.Fate, s.decision.By
		if m.Fate == tape.Edited && len(s.received) > 0 {
			in := s.received[0]
			s.received = s.received[1:]
			content := in.m.Content
			m.Received, m.Seq, m.T, b.slot = &content, in.m.Seq, in.m.T, in.slot
			in.slot.value.Message = m
		}
		s.decision = nil
	}
	if r.Leg == tape.LegIn {
		m.Fate = "" // not known yet
	}
	if b.slot == nil {
		b.slot = a.out.add(&tape.Line{T: m.T, Message: m}, false)
	}
	return b
}

// payload adds bytes of the current frame, and completes frame and message when
// they were the last.
func (a *assembler) payload(s *side, b *building, p []byte) {
	n := uint64(len(p))
	b.m.Frames[len(b.m.Frames)-1] += n
	b.m.WireLen += n
	b.need -= min(n, b.need)
	if b.deflated {
		b.wire = clip(b.wire, p, a.inflate+1)
	} else {
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
	if b.deflated {
		a.plain(s, b)
	}
	a.check(m)
	if m.Fate == "" {
		s.received = append(s.received, b)
		return
	}
	b.slot.done = true
}

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
	plain, total, err := z.Message(nil, b.wire, a.keep)
	if err != nil {
		fail(err.Error())
		s.lost = takeover
		return
	}
	m.Payload, m.Len = plain, total
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

// decide applies what became of the message that came in first.
func (a *assembler) decide(s *side, r *Record) {
	d := r.Decision
	if (d.Fate == tape.Passed || d.Fate == tape.Dropped) && len(s.received) > 0 {
		in := s.received[0]
		s.received = s.received[1:]
		in.m.Fate, in.m.By = d.Fate, d.By
		in.slot.done = true
		return
	}
	s.decision = &d
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
		if !open {
			a.abandon(s)
		}
		for _, in := range s.received {
			in.m.Fate, in.m.By = tape.Dropped, []string{"wstape"} // nothing of it went on
			in.slot.done = !open
		}
	}
	a.out.limit = 0
}

// maskKey gives the mask its wire form.
func maskKey(mask uint32) (key [4]byte) {
	binary.LittleEndian.PutUint32(key[:], mask)
	return key
}
