package record

import (
	"fmt"
	"time"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/tape"
)

// rewriter turns the records of a session into those that go on the tape where
// there are rules for payloads: whole messages, inflated and without their
// secrets, each when it is complete; what cannot be searched becomes a gap. It
// belongs to one goroutine.
type rewriter struct {
	redact      *Redactor
	inflate     uint64
	session     uint64
	known       bool // what the ends agreed on
	compression wire.Compression
	sides       [2]rewriting
	spare       *holding // one that is complete, to be used again

	out     encoder
	bufs    *buffers
	scratch *[]byte   // records that are no segment yet; shared, and empty between two flushes
	segment Segment   // where they begin
	done    []Segment // for the tape
	frames  tape.Counts
	bytes   tape.Counts
}

// rewriting is where one direction stands.
type rewriting struct {
	open, made    *holding // the data message that comes in, and the one that wstape makes
	frame, making *holding // what the payload of the current frame belongs to
	waiting       waiting[*holding]
	decision      *Record // what goes out next; its About is of the tape
	skip          bool    // what goes out next belongs to what is in a gap
	inflater      *wire.Inflater
	lost          bool          // the compressed stream cannot be followed any more
	raw           tape.Gap      // what could not be read as frames
	rawT          time.Duration // of its beginning
}

// holding is a message on its way to being complete.
type holding struct {
	from     tape.Side
	leg      tape.Leg // with insteadBit
	op       tape.Opcode
	t        time.Duration
	heads    []frameHead
	payload  []byte
	frames   uint64
	bytes    uint64 // of the wire
	cost     int64  // what it counts of the limits
	why      string // it goes into a gap, "" if it does not
	need     uint64 // payload bytes of the current frame still to come
	fin      bool
	deflated bool
	plain    bool // it was stored plain before
	redacted bool
	complete bool
	seq      uint64  // of its first frame on the tape; 0 if it is not there
	decision *Record // that came before it was complete
}

// frameHead is a frame without its payload.
type frameHead struct {
	part tape.Part
	t    time.Duration
}

// headCost is what a frame counts of the limits beside its payload.
const headCost = 96

// Why messages are not on a tape.
const (
	whyLong   = "a message longer than record.redact.max_message is not searched for secrets, and so not recorded"
	whyHeld   = "more was waiting to be searched for secrets than record.redact.max_held"
	whyTorn   = "a message that never ended cannot be searched for secrets"
	whyStray  = "the rest of a message whose beginning is not here cannot be searched for secrets"
	whyRaw    = "what is not frames cannot be searched for secrets"
	whyEarly  = "a message was decided about before it ended, and cannot be searched for secrets"
	whySecret = "a message could not be read for redaction: "
	whyPlain  = "a message could not be inflated, and so not searched for secrets: "
)

// newRewriter begins a session's stream.
func newRewriter(r *Redactor, session, inflate uint64, bufs *buffers, scratch *[]byte) *rewriter {
	return &rewriter{redact: r, session: session, inflate: inflate, out: encoder{seq: 1}, bufs: bufs, scratch: scratch}
}

// rewrite takes one segment.
func (w *rewriter) rewrite(seg *Segment) {
	d := newDecoder(seg)
	var r Record
	for d.next(&r) {
		w.record(&r)
	}
}

// take returns what has become of the records so far, and brings an entry up to
// date with it.
func (w *rewriter) take(e *Entry) []Segment {
	for _, from := range tape.Sides() {
		w.markRaw(from)
	}
	w.cut()
	e.Size, e.Frames, e.Bytes = w.out.offset, w.frames, w.bytes
	done := w.done
	w.done = nil
	return done
}

// write appends records to the stream.
func (w *rewriter) write(put func(b []byte) []byte) {
	b := *w.scratch
	if len(b) == 0 {
		w.segment = w.out.segment(w.session)
	}
	*w.scratch = put(b)
	if len(*w.scratch) >= segmentBytes {
		w.cut()
	}
}

// cut makes a segment of what has been written.
func (w *rewriter) cut() {
	b := *w.scratch
	if len(b) == 0 {
		return
	}
	w.bufs.get(&w.segment, len(b))
	w.segment.Raw = append(w.segment.Raw, b...)
	w.done = append(w.done, w.segment)
	if *w.scratch = b[:0]; cap(b) > 2*segmentBytes {
		*w.scratch = nil
	}
}

// agree is told what the ends agreed on, before the first frame.
func (w *rewriter) agree(s *tape.Session) {
	if !w.known && s.Status != 0 {
		w.known, w.compression = true, Compression(s)
	}
}

// record takes one record. Its payload may be used until the next one only.
func (w *rewriter) record(r *Record) {
	s := &w.sides[r.From]
	if r.Kind != kindRaw {
		w.markRaw(r.From)
	}
	switch r.Kind {
	case kindFrame:
		w.frame(s, r)
	case kindPiece:
		h := s.frame
		if r.Leg == tape.LegOut {
			h = s.making
		}
		if h != nil {
			w.payload(s, h, r.Payload)
		}
	case kindRaw:
		s.raw.Bytes += r.Len
		if s.raw.Why == "" {
			s.raw.Why, s.rawT = whyRaw, r.T
		}
		if r.Leg == tape.LegIn {
			s.waiting.add(tape.OpRaw, r.Seq, &holding{complete: true})
		}
	case kindGap:
		w.abandon(s)
		s.lost = true
		w.gap(r.From, r.Gap, r.T)
	case kindTorn:
		w.abandon(s)
		s.lost = true
	case kindNote:
		note := tape.Note{By: r.Note.By, Text: w.redact.Text(r.Note.Text)}
		w.write(func(b []byte) []byte { return w.out.note(b, note, r.T) })
	case kindDecision:
		w.decide(s, r)
	}
}

func (w *rewriter) frame(s *rewriting, r *Record) {
	fin, _, op := wire.Split(r.Head)
	open, current := &s.open, &s.frame
	if r.Leg == tape.LegOut {
		open, current = &s.made, &s.making
	}
	if h := *current; h != nil { // of a damaged tape: the frame before never ended
		w.give(h, whyTorn)
		w.end(s, h)
	}
	h := *open
	switch {
	case op.Control():
		h = w.begin(s, r, op)
	case op != tape.Continuation:
		if h != nil {
			w.give(h, whyTorn)
			w.end(s, h)
		}
		h = w.begin(s, r, op)
	case h == nil:
		h = w.begin(s, r, op)
		h.why = whyStray
		fin = fin || r.Leg == tape.LegBoth
	}
	if !op.Control() {
		*open = h
	}
	*current = h
	h.fin, h.need = fin || op.Control(), r.Len
	if r.Plain {
		h.need, h.plain, h.deflated = r.Stored, true, false
		h.redacted = h.redacted || r.Redacted
		h.bytes += r.Len
	}
	h.frames++
	if h.why == "" {
		part := tape.Part{Begin: true, Masked: r.Masked, Head: r.Head, Mask: r.Mask, Len: r.Len, Violation: r.Violation}
		h.heads = append(h.heads, frameHead{part, r.T})
	}
	w.payload(s, h, r.Payload)
}

func (w *rewriter) begin(s *rewriting, r *Record, op tape.Opcode) *holding {
	_, rsv, _ := wire.Split(r.Head)
	h := w.spare
	if w.spare = nil; h == nil {
		h = &holding{}
	}
	*h = holding{from: r.From, leg: r.Leg, op: op, t: r.T, heads: h.heads[:0]}
	h.deflated = rsv&4 != 0 && w.compression.On && (op == tape.Text || op == tape.Binary)
	if r.Instead {
		h.leg |= insteadBit
	}
	if r.Leg == tape.LegIn {
		s.waiting.add(op, r.Seq, h)
	}
	return h
}

// payload takes bytes of the current frame, and ends the message with its last.
func (w *rewriter) payload(s *rewriting, h *holding, p []byte) {
	n := uint64(len(p))
	h.need -= min(n, h.need)
	if !h.plain {
		h.bytes += n
	}
	switch {
	case h.why != "":
	case h.fin && h.need == 0 && len(h.payload) == 0:
		if h.payload = p; int64(n) > w.redact.rules.MaxMessage {
			w.give(h, whyLong)
		}
	default:
		w.hold(h, p)
	}
	if h.need > 0 {
		return
	}
	s.leave(h)
	if h.fin {
		w.end(s, h)
	}
}

func (s *rewriting) leave(h *holding) {
	if s.frame == h {
		s.frame = nil
	}
	if s.making == h {
		s.making = nil
	}
}

// hold keeps a part of a message, as far as the limits allow.
func (w *rewriter) hold(h *holding, p []byte) {
	cost := int64(len(p) + headCost)
	h.cost += cost
	rules := &w.redact.rules
	switch held := w.redact.held.Add(cost); {
	case h.cost > rules.MaxMessage:
		w.give(h, whyLong)
	case held > rules.MaxHeld:
		w.give(h, whyHeld)
	default:
		h.payload = append(double(h.payload, len(p)), p...)
	}
}

// give gives a message up to a gap.
func (w *rewriter) give(h *holding, why string) {
	if h.why == "" {
		h.why = why
	}
	w.release(h)
}

// release forgets what a message has held.
func (w *rewriter) release(h *holding) {
	w.redact.held.Add(-h.cost)
	h.cost, h.payload, h.heads = 0, nil, nil
}

// end writes a message that has come to its end.
func (w *rewriter) end(s *rewriting, h *holding) {
	s.leave(h)
	if s.open == h {
		s.open = nil
	}
	if s.made == h {
		s.made = nil
	}
	payload := w.search(s, h)
	if h.leg&legBits == tape.LegOut {
		w.sent(s, h, payload)
	} else {
		w.came(h, payload)
	}
	h.complete = true
	if h.leg != tape.LegIn && cap(h.heads) < 16 { // those are still to be decided about
		w.spare = h
	}
	heads := h.heads
	w.release(h)
	h.heads = heads
}

// search returns a message's payload without its secrets, unless it must be
// given up.
func (w *rewriter) search(s *rewriting, h *holding) []byte {
	takeover := h.deflated && !w.compression.NoTakeover[h.from]
	switch {
	case h.why != "":
		s.lost = s.lost || takeover // what follows may refer to it
		return nil
	case takeover && s.lost:
		h.why = whyPlain + wire.ErrWindowLost.Error()
		return nil
	}
	payload := h.payload
	if h.deflated {
		if s.inflater == nil {
			s.inflater = wire.NewInflater(!w.compression.NoTakeover[h.from], w.inflate)
		}
		most := uint64(w.redact.rules.MaxMessage)
		plain, total, err := s.inflater.Message(nil, payload, most)
		switch {
		case err != nil:
			s.lost = takeover
			h.why = whyPlain + err.Error()
			return nil
		case total > most:
			h.why = whyLong
			return nil
		}
		payload = plain
	}
	out, err := w.redact.payload(h.op, payload)
	if err != nil {
		h.why = whySecret + err.Error()
		return nil
	}
	h.redacted = h.redacted || replaced(payload, out)
	return out
}

// came writes what came in, and what was decided about it meanwhile.
func (w *rewriter) came(h *holding, payload []byte) {
	w.store(h, payload)
	if d := h.decision; d != nil && h.seq > 0 {
		w.decided(d, h.seq)
	}
}

// sent writes what wstape sent, behind the decision that brought it.
func (w *rewriter) sent(s *rewriting, h *holding, payload []byte) {
	d := s.decision
	s.decision = nil
	switch {
	case s.skip:
		s.skip = false
		return
	case d == nil || h.why == "":
		if d != nil {
			w.decided(d, d.About)
		}
		w.store(h, payload)
	case d.Decision.Resent: // it says the same as what came in
		d.Decision.Resent = false
		w.decided(d, d.About)
	case d.Decision.Fate == tape.Injected:
		w.store(h, nil)
	default:
		// No word of the tape says that something else went out and is not here.
		why := fmt.Sprintf("in its place went %d bytes: %s", h.bytes, h.why)
		w.gap(h.from, tape.Gap{Why: why}, h.t)
		if d.Decision.Fate = tape.Dropped; d.About != notHere {
			w.decided(d, d.About)
		}
	}
}

// store writes a message's frames, or the gap that stands for them.
func (w *rewriter) store(h *holding, payload []byte) {
	if h.why != "" {
		w.gap(h.from, tape.Gap{Frames: h.frames, Bytes: h.bytes, Why: h.why}, h.t)
		return
	}
	h.seq = w.out.seq
	for i := range h.heads {
		f := &h.heads[i]
		here := payload
		plain := h.plain || h.deflated || h.redacted
		if plain {
			payload = nil // all of it is in the first frame
		} else {
			here, payload = payload[:f.part.Len], payload[f.part.Len:]
		}
		f.part.Payload = here[:min(len(here), maxPiece)]
		w.write(func(b []byte) []byte {
			if plain {
				b = w.out.plain(b, h.from, h.leg, &f.part, here, h.redacted, f.t)
			} else {
				b = w.out.stored(b, h.from, h.leg, &f.part, f.t)
			}
			return w.out.more(b, h.from, h.leg, here[len(f.part.Payload):], plain)
		})
	}
	if h.leg&insteadBit == 0 {
		w.frames.Add(h.from, h.frames)
		w.bytes.Add(h.from, h.bytes)
	}
}

// decide writes what was decided about a message, unless that is in a gap.
func (w *rewriter) decide(s *rewriting, r *Record) {
	d := *r
	if d.Decision.Fate == tape.Injected {
		s.decision = &d
		return
	}
	replaced := d.Decision.Fate == tape.Edited || d.Decision.Resent
	in, ok := s.waiting.take(r)
	switch d.About = notHere; {
	case !ok:
	case in.complete && in.seq > 0:
		d.About = in.seq
	case !in.complete && !replaced:
		in.decision = &d
		return
	case !in.complete:
		w.give(in, whyEarly)
	}
	switch {
	case d.Decision.Resent && d.About == notHere:
		s.skip = true
	case replaced:
		s.decision = &d
	case d.About != notHere:
		w.decided(&d, d.About)
	}
}

func (w *rewriter) decided(r *Record, about uint64) {
	w.write(func(b []byte) []byte { return w.out.decision(b, &r.Decision, about, r.T) })
}

func (w *rewriter) gap(from tape.Side, g tape.Gap, t time.Duration) {
	w.frames.Add(from, g.Frames)
	w.bytes.Add(from, g.Bytes)
	w.write(func(b []byte) []byte { return w.out.gap(b, from, g, t) })
}

// markRaw writes the gap for what could not be read as frames.
func (w *rewriter) markRaw(from tape.Side) {
	s := &w.sides[from]
	if s.raw.Bytes > 0 {
		w.gap(from, s.raw, s.rawT)
		s.raw = tape.Gap{}
	}
}

// abandon ends what one side had not completed.
func (w *rewriter) abandon(s *rewriting) {
	for _, h := range []*holding{s.frame, s.open, s.making, s.made} {
		if h != nil && !h.complete {
			w.give(h, whyTorn)
			w.end(s, h)
		}
	}
}

// finish ends what never came to its end.
func (w *rewriter) finish() {
	for i := range w.sides {
		w.abandon(&w.sides[i])
	}
}
