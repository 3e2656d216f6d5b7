package proxy

import (
	"fmt"
	"time"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/tape"
)

// step takes the next frame, or piece of one, off what has been read.
func (w *way) step() outcome {
	l := w.link
	if w.fast() {
		return w.passChunk()
	}
	n, whole := l.walker.Next(w.chunk)
	raw := w.chunk[:n]
	l.parts = l.walker.Walk(l.parts[:0], raw)
	w.chunk = w.chunk[n:]
	if !whole {
		w.head = append(w.head, raw...)
		return goOn
	}
	if len(w.head) > 0 {
		raw, w.head = append(w.head, raw...), nil
	}
	if l.guard != nil {
		if violation := l.inspect(); violation != "" {
			w.violated(violation)
			return goOn
		}
	}
	switch p := &l.parts[0]; {
	case l.hungUp:
		l.look()
		w.record(tape.LegIn)
		if l.heedless() {
			return ended
		}
	case p.Raw:
		w.blind(p, raw)
	case p.Begin:
		w.begin(p, raw)
	default:
		w.add(w.frame, p, raw)
	}
	if len(w.out) >= chunkBytes && !w.flush() {
		return ended
	}
	return goOn
}

// fast reports whether a whole chunk can go on unread: the stage wants nothing
// of this direction, and nothing waits.
func (w *way) fast() bool {
	l := w.link
	if l.guard != nil || w.diverged || len(w.head) > 0 || w.frame != nil || w.open != nil || !w.empty() || l.session.hanging.Load() != nil {
		return false
	}
	messages, control := l.session.stage.Wants(l.from)
	w.mu.Lock()
	defer w.mu.Unlock()
	return !messages && !control && len(w.injected) == 0
}

// passChunk passes what has been read on, unread and unchanged.
func (w *way) passChunk() outcome {
	if !w.flush() {
		return ended
	}
	chunk := w.chunk
	w.chunk = nil
	on := w.link.pass(chunk)
	w.inFrame, w.inMessage = !w.link.walker.Boundary(), w.link.walker.Fragmented()
	for i := range w.link.parts {
		p := &w.link.parts[i]
		_, rsv, op := wire.Split(p.Head)
		w.missed(p.Begin && w.compression(op, rsv))
	}
	return going(on)
}

// compression reports whether a frame begins a compressed message.
func (w *way) compression(op tape.Opcode, rsv uint8) bool {
	return w.deflate && rsv&4 != 0 && (op == tape.Text || op == tape.Binary)
}

// missed notes that a compressed message passes without being inflated.
func (w *way) missed(compressed bool) {
	if compressed && w.takeover {
		w.joined = false
	}
}

func (w *way) record(leg tape.Leg) { w.link.session.tap.Parts(w.link.from, leg, w.link.parts) }

// direct passes on what the stage has nothing to say about and nothing is in
// the way of.
func (w *way) direct(p *tape.Part, raw []byte) {
	w.link.look()
	w.record(tape.LegBoth)
	w.out = append(w.out, raw...)
	w.inFrame = !w.link.walker.Boundary()
	if _, _, op := wire.Split(p.Head); p.Begin && !op.Control() {
		w.inMessage = w.link.walker.Fragmented()
	}
}

// begin takes the beginning of a frame.
func (w *way) begin(p *tape.Part, raw []byte) {
	fin, rsv, op := wire.Split(p.Head)
	var it *item
	switch {
	case w.inFrame: // a part of the header has gone out already, in a chunk that passed unread
		w.missed(w.compression(op, rsv))
	case op == tape.Close:
		it = w.beginClose()
	case op.Control():
		it = w.beginControl(p, op)
	case op == tape.Continuation && w.open != nil:
		it = w.open
		if p.Violation != "" && !it.long { // no stage sees a message with a violation
			it.alone = it.msg.RSV1
			it.hooked = it.hooked && it.alone
		}
	default:
		it = w.beginMessage(p, op, rsv)
	}
	if it != nil {
		it.fin = fin || op.Control()
	}
	w.add(it, p, raw)
}

// beginClose makes a close frame wait for everything before it.
func (w *way) beginClose() *item {
	if w.empty() {
		return nil
	}
	w.cut = w.cut || w.open != nil
	w.cutShort() // the message will hardly go on, and its end is not awaited
	it := w.queue(laneData, tape.Close)
	it.last = true
	return it
}

func (w *way) beginControl(p *tape.Part, op tape.Opcode) *item {
	_, hooked := w.link.session.stage.Wants(w.link.from)
	hooked = hooked && p.Violation == "" && (op == tape.Ping || op == tape.Pong)
	inTheWay := len(w.lanes[laneData].items) > 0 && !w.link.walker.Boundary()
	if !hooked && !inTheWay && len(w.lanes[laneControl].items) == 0 {
		return nil
	}
	it := w.queue(laneControl, op)
	it.hooked = hooked
	return it
}

func (w *way) beginMessage(p *tape.Part, op tape.Opcode, rsv uint8) *item {
	w.cutShort() // a message that another one interrupts
	fated := w.cut && op == tape.Continuation
	w.cut = false
	wanted, _ := w.link.session.stage.Wants(w.link.from)
	busy := len(w.lanes[laneData].items) > 0
	message := op == tape.Text || op == tape.Binary
	compressed := w.compression(op, rsv)
	hooked := wanted && message && p.Violation == "" && w.readable(compressed)
	// Those before it may be edited yet, and the stage may want those behind it.
	alone := !hooked && compressed && (w.diverged || w.takeover && w.joined && (busy || wanted))
	if !hooked && !alone {
		w.missed(compressed)
		if !busy {
			return nil
		}
	}
	it := w.queue(laneData, op)
	it.hooked, it.alone, it.msg.RSV1, it.fated = hooked || alone, alone, compressed, fated
	w.open = it
	return it
}

// readable reports whether a message can be given to the stage: a compressed one
// only if all those before it have been inflated.
func (w *way) readable(compressed bool) bool {
	if !compressed || !w.takeover || w.joined {
		return true
	}
	if !w.told {
		w.told = true
		w.link.session.tap.Note("messages from the "+w.link.from.String()+" are compressed with what passed before the script wanted to see them; it sees them from the next connection on", "wstape")
	}
	return false
}

// queue opens a message or control frame that does not pass directly.
func (w *way) queue(lane int, op tape.Opcode) *item {
	it := w.spare
	if it == nil {
		it = new(item)
	}
	w.spare = nil
	it.msg.Op, it.msg.From, it.msg.T = op, w.link.from, time.Since(w.link.session.began)
	w.lanes[lane].items = append(w.lanes[lane].items, it)
	w.waits += itemOverhead
	return it
}

// recycle keeps a message's memory for the next one.
func (w *way) recycle(it *item) {
	if it.kept || cap(it.raw)+cap(it.joined)+cap(it.plain) > chunkBytes {
		return
	}
	*it = item{raw: it.raw[:0], joined: it.joined[:0], plain: it.plain[:0]}
	w.spare = it
}

// add takes bytes of the current frame, which belongs to it or, if that is nil,
// passes directly.
func (w *way) add(it *item, p *tape.Part, raw []byte) {
	boundary := w.link.walker.Boundary()
	if w.frame = it; boundary {
		w.frame = nil
	}
	if it == nil {
		w.direct(p, raw)
		return
	}
	w.record(tape.LegIn)
	if !it.discard {
		it.raw = append(it.raw, raw...)
		w.waits += len(raw)
	}
	if (it.hooked || it.msg.Op == tape.Close) && !it.long {
		it.joined = wire.AppendMasked(it.joined, p.Payload, p.Mask, p.MaskOffset)
	}
	most := w.link.session.proxy.config.MessageBytes
	if it.hooked && (len(it.joined) > most || len(it.raw) > 2*most+chunkBytes) { // the headers of a flood of tiny frames
		it.long, it.joined = true, nil
	}
	if boundary && it.fin {
		w.complete(it)
	}
}

func (w *way) complete(it *item) {
	it.whole = true
	if w.open == it {
		w.open = nil
	}
}

// cutShort ends the message that is being read before it is whole. Such a one
// the stage is not asked about.
func (w *way) cutShort() {
	it := w.open
	if it == nil {
		return
	}
	if !it.long {
		it.hooked, it.unread = false, true
	}
	w.complete(it)
}

// broken ends what is being read, because there is no more to come.
func (w *way) broken() {
	w.cutShort()
	if it := w.frame; it != nil && !it.torn {
		it.hooked = it.hooked && it.long
		it.whole, it.torn, it.last = true, true, true
	}
}

// blind takes bytes that are not frames.
func (w *way) blind(p *tape.Part, raw []byte) {
	w.cutShort()
	w.cut = false
	if w.empty() {
		w.direct(p, raw)
		return
	}
	w.record(tape.LegIn)
	for i := range w.link.parts {
		it := w.queue(laneData, tape.OpRaw)
		it.raw = append(it.raw, w.link.parts[i].Payload...)
		it.whole, it.last = true, true
		w.waits += len(it.raw)
	}
}

// pour passes on as it came what there is of the first message of a lane.
func (w *way) pour(it *item) {
	if it.discard {
		return
	}
	if it.unread {
		w.lose(it)
	}
	if it.msg.RSV1 && w.diverged { // it was cut short, so it cannot be inflated either
		w.discard(it)
		w.fate(it, &tape.Decision{Fate: tape.Dropped, By: []string{"wstape"}})
		return
	}
	if !it.fated {
		it.fated = true
		w.fate(it, &tape.Decision{Fate: tape.Passed})
	}
	if len(it.raw) > 0 {
		w.out = append(w.out, it.raw...)
		w.waits -= len(it.raw)
		it.raw, it.poured = it.raw[:0], true
		w.inFrame = w.frame == it || it.msg.Op == tape.OpRaw
		if !it.msg.Op.Control() {
			w.inMessage = !it.whole || !it.fin
		}
	}
	if it.msg.Op == tape.Close && it.whole && !it.torn {
		w.link.closes(it.joined[:min(len(it.joined), 125)])
	}
}

// discard forgets what there is of a message and what is still to come.
func (w *way) discard(it *item) {
	w.waits -= len(it.raw)
	it.raw, it.discard = it.raw[:0], true
}

// fate records what became of a message, and what goes on in its place.
func (w *way) fate(it *item, d *tape.Decision, out ...tape.Content) {
	l := w.link
	d.From, d.Control = l.from, it.msg.Op.Control() && it.msg.Op != tape.Close
	if len(out) == 0 {
		l.session.tap.Decided(*d, nil)
		return
	}
	w.send(d, out[0].Op, out[0].Payload)
	for _, c := range out[1:] {
		w.send(&tape.Decision{From: l.from, Fate: tape.Injected, By: d.By}, c.Op, c.Payload)
	}
}

// send puts a frame of wstape's own behind what is to be written.
func (w *way) send(d *tape.Decision, op tape.Opcode, payload []byte) {
	l := w.link
	var part tape.Part
	w.out, part = l.frame(w.out, op, payload)
	l.parts = append(l.parts[:0], part)
	l.session.tap.Decided(*d, l.parts)
}

// apply carries out what has been decided about a message.
func (w *way) apply(it *item, v *tape.Verdict) {
	it.hooked = false
	switch {
	case v.Fate == tape.Edited && len(v.Out) > 0:
		w.fate(it, &tape.Decision{Fate: tape.Edited, By: v.By}, v.Out...)
	case v.Fate == tape.Edited || v.Fate == tape.Dropped:
		w.fate(it, &tape.Decision{Fate: tape.Dropped, By: v.By})
	case !it.msg.RSV1 || !w.diverged:
		w.pour(it)
		return
	case it.msg.Error != "":
		// Its receiver could not read it as it came, and we cannot read it ourselves.
		w.fate(it, &tape.Decision{Fate: tape.Dropped, By: []string{"wstape"}})
		w.link.session.hangUp(&hangup{code: 1011, reason: "message cannot be decompressed", by: "wstape",
			ending: &tape.Ending{Kind: tape.EndError, Why: "a message behind an edited one cannot be passed on: " + it.msg.Error}})
	default:
		w.fate(it, &tape.Decision{Fate: tape.Passed, By: v.By, Resent: true}, it.msg.Content)
	}
	w.diverged = w.diverged || it.msg.RSV1 && w.takeover
	w.discard(it)
}

// sendInjected sends what others have put behind what is being sent.
func (w *way) sendInjected() {
	if (w.inFrame || w.inMessage) && !w.sealed() {
		return
	}
	w.mu.Lock()
	list := w.injected
	w.injected, w.weight = nil, 0
	w.mu.Unlock()
	if w.sealed() {
		w.unsent(list, "the close frame had gone before")
		return
	}
	for _, i := range list {
		w.send(&tape.Decision{From: w.link.from, Fate: tape.Injected, By: []string{i.by}}, i.op, i.payload)
	}
}

// unsent notes what was injected too late.
func (w *way) unsent(list []*injection, why string) {
	for _, i := range list {
		w.link.session.tap.Note(fmt.Sprintf("not sent to the %v, because %s: a %v of %d bytes", w.link.from.Other(), why, i.op, len(i.payload)), i.by)
	}
}

// violated ends the session because of what has just been read. What waits for
// the stage is given up.
func (w *way) violated(violation string) {
	l := w.link
	w.record(tape.LegIn)
	if w.flush() {
		l.violated(violation, !w.inFrame)
	}
}
