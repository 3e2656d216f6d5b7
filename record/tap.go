package record

import (
	"encoding/binary"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/tape"
)

// Tap takes down one session. The links of both directions use it at once.
type Tap struct {
	rec *Recorder

	mu       sync.Mutex
	session  tape.Session
	enc      encoder
	current  Segment   // grows; Raw is nil between flushes
	full     []Segment // closed, waiting to be written
	gaps     [2]missed // by side: not yet marked
	dropping [2]bool   // by side: inside a frame that is being dropped
	left     [2]uint64 // by side: bytes still to come of the frame that is coming in
	awaited  *awaited  // what came in and was not decided about; nil while nothing did
	queued   bool
	begun    bool // the handshake has been answered
	told     bool // and the feed has been told
	ended    bool
	overfull bool   // more tags were set than there may be
	stored   bool   // a flush has taken it
	usual    uint16 // KiB that one flush takes of this session, about

	watch   *watcher  // set once; what it holds is the recorder goroutine's own
	rewrite *rewriter // likewise; nil if nothing is to be looked for in payloads
}

// missed is what was not recorded.
type missed struct{ frames, bytes uint64 }

// awaited is what came in and waits for a decision, so that each decision can
// say what it is about even if a reader has not seen all of it.
type awaited struct {
	lines [2][2]queue // by side: messages; pings and pongs
	open  [2]bool     // by side: a message is coming in, of which more frames will
	cut   [2]bool     // by side: a part of it was dropped
}

// Number returns the session's number on its tape.
func (t *Tap) Number() uint64 { return t.session.N }

// ID returns the session's UUID.
func (t *Tap) ID() tape.ID { return t.session.ID }

func (t *Tap) clock() time.Duration { return t.rec.opts.now().Sub(t.session.Started) }

// touch puts the tap on the recorder's list. The caller holds t.mu.
func (t *Tap) touch() {
	if !t.queued {
		t.queued = true
		t.rec.queue(t)
	}
}

// write appends one record with put. The caller holds t.mu.
func (t *Tap) write(size int, put func(b []byte) []byte) {
	b := t.buffer(size)
	before := len(b)
	t.current.Raw = put(b)
	t.rec.added(len(t.current.Raw) - before)
}

// buffer returns the current segment's memory with room for size more bytes,
// closing the segment first when it is long enough.
func (t *Tap) buffer(size int) []byte {
	raw := t.current.Raw
	switch {
	case raw != nil && len(raw) < segmentBytes && len(raw)+size <= cap(raw):
		return raw
	case raw == nil:
		t.open(max(size, int(t.usual)<<10))
	case len(raw) < segmentBytes && cap(raw) < segmentBytes:
		t.rec.bufs.grow(&t.current, len(raw)+size)
	default:
		t.full = append(t.full, t.current)
		t.open(max(size, segmentBytes))
	}
	return t.current.Raw
}

// open begins a segment with room for size bytes.
func (t *Tap) open(size int) {
	t.current = t.enc.segment(t.session.N)
	t.rec.bufs.get(&t.current, size)
}

// recordOverhead is more than a record takes beside its payload.
const recordOverhead = 64

// Parts records what one read brought from one side. It waits when the tape
// cannot keep up, unless the policy is to drop.
func (t *Tap) Parts(from tape.Side, leg tape.Leg, parts []tape.Part) {
	admitted := t.rec.admit()
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock()
	lossy := !admitted || t.dropping[from] || t.awaited != nil && t.awaited.cut[from]
	counted := 0
	for i := range parts {
		p := &parts[i]
		if lossy && t.drop(from, leg, p, admitted) {
			continue
		}
		if t.gaps[from] != (missed{}) && (p.Begin || p.Raw) {
			t.markGap(from, now)
		}
		if leg == tape.LegIn || t.awaited != nil {
			t.await(from, leg, p, t.enc.seq)
		}
		t.count(from, p)
		if len(p.Payload) > maxPiece {
			t.long(from, leg, *p, now)
			continue
		}
		b := t.buffer(recordOverhead + len(p.Violation) + len(p.Payload))
		t.current.Raw = t.enc.part(b, from, leg, p, now)
		counted += len(t.current.Raw) - len(b)
	}
	if counted > 0 {
		t.rec.added(counted)
	}
	t.follow(from, parts)
	t.touch()
}

// follow keeps t.left: of what one read brought, only the last part may be of a
// frame that goes on.
func (t *Tap) follow(from tape.Side, parts []tape.Part) {
	if len(parts) == 0 {
		return
	}
	switch p := &parts[len(parts)-1]; {
	case p.Begin:
		t.left[from] = p.Len - uint64(len(p.Payload))
	case !p.Raw:
		t.left[from] -= uint64(len(p.Payload))
	}
}

// await notes that a message which begins with this part will be decided about,
// if one does; the rest of a fragmented message is its beginning's.
func (t *Tap) await(from tape.Side, leg tape.Leg, p *tape.Part, seq uint64) {
	if !p.Begin && !p.Raw {
		return
	}
	if t.awaited == nil {
		t.awaited = &awaited{}
	}
	fin, _, op := wire.Split(p.Head)
	if op.Control() && !p.Raw {
		if leg == tape.LegIn {
			t.awaited.lines[from][lineOf(overtakes(op))].push(seq)
		}
		return
	}
	begins := p.Raw || op != tape.Continuation || !t.awaited.open[from]
	t.awaited.open[from] = leg == tape.LegIn && !fin && !p.Raw
	if begins {
		t.awaited.cut[from] = false
		if leg == tape.LegIn {
			t.awaited.lines[from][0].push(seq)
		}
	}
}

// long writes a part that is too long for one record. The caller holds t.mu.
func (t *Tap) long(from tape.Side, leg tape.Leg, rest tape.Part, now time.Duration) {
	for more := true; more; more = len(rest.Payload) > 0 {
		var p tape.Part
		p, rest = cutPart(rest)
		t.write(recordOverhead+len(p.Violation)+len(p.Payload), func(b []byte) []byte {
			return t.enc.part(b, from, leg, &p, now)
		})
	}
}

func (t *Tap) count(from tape.Side, p *tape.Part) {
	if p.Begin {
		t.session.Frames.Add(from, 1)
	}
	t.session.Bytes.Add(from, uint64(len(p.Payload)))
}

// drop counts a part into the gap, unless there is room again and the part
// begins a frame. Of a message that will be decided about, what comes behind the
// hole is dropped too: it would look like one that nobody decides about.
func (t *Tap) drop(from tape.Side, leg tape.Leg, p *tape.Part, admitted bool) bool {
	begins := p.Begin || p.Raw
	if admitted && (begins && !t.torso(from, p) || !begins && !t.dropping[from]) {
		t.dropping[from] = false
		return false
	}
	missing := missed{bytes: uint64(len(p.Payload))}
	if begins {
		missing.frames = 1
	}
	t.miss(from, missing)
	t.dropping[from] = true
	if leg == tape.LegIn {
		t.await(from, leg, p, 0)
		if t.awaited != nil && !control(p) {
			t.awaited.cut[from] = true
		}
	}
	return true
}

// miss counts what is not recorded, of a session and of all.
func (t *Tap) miss(from tape.Side, m missed) {
	t.gaps[from].frames += m.frames
	t.gaps[from].bytes += m.bytes
	t.rec.missed.frames.Add(m.frames)
	t.rec.missed.bytes.Add(m.bytes)
}

// torso reports whether a frame goes on with a message of which a part was dropped.
func (t *Tap) torso(from tape.Side, p *tape.Part) bool {
	_, _, op := wire.Split(p.Head)
	return t.awaited != nil && t.awaited.cut[from] && t.awaited.open[from] && !p.Raw && op == tape.Continuation
}

// markGaps marks what was dropped so far, so that a crash does not take the marks
// along. Where frames of wstape's own were dropped while one comes in, that waits:
// a mark ends the frame before it.
func (t *Tap) markGaps(now time.Duration) {
	for _, from := range tape.Sides() {
		if t.gaps[from] != (missed{}) && (t.dropping[from] || t.left[from] == 0) {
			t.markGap(from, now)
		}
	}
}

// markGap writes the mark for what was dropped of one side, and counts it.
func (t *Tap) markGap(from tape.Side, now time.Duration) {
	gap := tape.Gap{Frames: t.gaps[from].frames, Bytes: t.gaps[from].bytes, Why: "tape buffer full (record.buffer)"}
	t.session.Frames.Add(from, gap.Frames)
	t.session.Bytes.Add(from, gap.Bytes)
	t.write(recordOverhead, func(b []byte) []byte { return t.enc.gap(b, from, gap, now) })
	t.gaps[from] = missed{}
}

// Decided records what became of the message or control frame that came in
// first and was not decided about, and what wstape put on the other leg for it
// or, injected, of its own accord: whole frames, masked as they were sent. It
// waits for room for messages that wstape made, as Parts does.
func (t *Tap) Decided(d tape.Decision, out []tape.Part) {
	admitted := true
	if len(out) > 0 && !control(&out[0]) { // those are small, and a shutdown's close must not wait for a disk
		admitted = t.rec.admit()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	leg, about := outInstead, uint64(firstWaiting)
	if d.Fate == tape.Injected {
		leg = tape.LegOut
	} else if about = t.decided(&d); about == notHere && (d.Fate != tape.Edited || !admitted) {
		return // it is in a gap, and so is what went out for it
	}
	if d.Fate == tape.Injected && !admitted {
		t.dropMade(d.From, out)
		t.touch()
		return
	}
	now := t.clock()
	if d.Fate == tape.Injected {
		t.markGaps(now)
	}
	size := recordOverhead
	for _, by := range d.By {
		size += binary.MaxVarintLen64 + len(by)
	}
	b := t.buffer(size)
	t.current.Raw = t.enc.decision(b, &d, about, now)
	t.rec.added(len(t.current.Raw) - len(b))
	for i := range out {
		t.long(d.From, leg, out[i], now)
		if d.Fate == tape.Injected {
			t.count(d.From, &out[i])
		}
	}
	t.touch()
}

// decided takes what a decision is about off the list of what waits for one.
func (t *Tap) decided(d *tape.Decision) uint64 {
	if t.awaited == nil {
		return notHere
	}
	if seq := t.awaited.lines[d.From][lineOf(d.Control)].pop(); seq > 0 {
		return seq
	}
	return notHere
}

// dropMade counts frames that wstape made into the gap.
func (t *Tap) dropMade(from tape.Side, out []tape.Part) {
	for i := range out {
		t.miss(from, missed{1, uint64(len(out[i].Payload))})
	}
}

// control reports whether a part begins a control frame.
func control(p *tape.Part) bool {
	_, _, op := wire.Split(p.Head)
	return p.Begin && op.Control()
}

// The bounds of what scripts may tag a session with: it is all in memory, and
// written again with each change.
const (
	maxTags = 64
	maxTag  = 1 << 10 // bytes of key and value
)

// Tag attaches a tag to the session, or changes it. What is past the bounds is
// ignored, and a note says so once.
func (t *Tap) Tag(key, value string) {
	key, value = t.rec.opts.Redactor.Text(key), t.rec.opts.Redactor.Text(value)
	t.mu.Lock()
	defer t.mu.Unlock()
	old, known := t.session.Tags[key]
	switch {
	case known && old == value:
		return
	case len(key)+len(value) > maxTag || !known && len(t.session.Tags) >= maxTags:
		if !t.overfull {
			t.overfull = true
			t.note(fmt.Sprintf("a tag was ignored: a session has at most %d, of %d bytes each", maxTags, maxTag), "wstape")
		}
		return
	}
	tags := make(map[string]string, len(t.session.Tags)+1) // a new one: entries on their way to the tape share the old one
	maps.Copy(tags, t.session.Tags)
	tags[key] = value
	t.session.Tags = tags
	t.touch()
}

// Note puts a remark on the tape.
func (t *Tap) Note(text, by string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.note(text, by)
}

func (t *Tap) note(text, by string) {
	now := t.clock()
	t.write(recordOverhead+len(by)+len(text), func(b []byte) []byte {
		return t.enc.note(b, tape.Note{Text: text, By: by}, now)
	})
	t.touch()
}

// Answered records the upstream's answer to the handshake.
func (t *Tap) Answered(upstream string, status int, subprotocol string, extensions []string, h tape.Response) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := &t.session
	s.Upstream, s.Status, s.Subprotocol, s.Handshake.Response = upstream, status, subprotocol, h
	s.Extensions = joinFields(extensions)
	t.rec.opts.Redactor.Session(s)
	if status != 101 {
		s.State = tape.Refused
	}
	t.begun = true
	if needsWindows(s) || t.rec.opts.Feed != nil {
		t.watch = newWatcher(s, t.rec.opts.Inflate)
	}
	t.touch()
}

// End closes the session. The tap must not be used afterwards.
func (t *Tap) End(e tape.Ending) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return
	}
	now := t.clock()
	for _, from := range tape.Sides() {
		if t.gaps[from] != (missed{}) {
			t.markGap(from, now)
		}
	}
	t.ended = true
	e = t.rec.opts.Redactor.ending(e)
	t.session.Ending, t.session.Duration = &e, now
	if t.session.State == tape.Open {
		t.session.State = tape.Closed
	}
	t.touch()
}

// taken is what one flush takes from a tap.
type taken struct {
	tap      *Tap
	entry    Entry
	watch    *watcher
	segments []Segment
	begun    bool // the feed has not been told yet
}

func (t *Tap) take() taken {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gaps != [2]missed{} && !t.ended {
		t.markGaps(t.clock())
	}
	t.usual = uint16(len(t.current.Raw) >> 10)
	if len(t.full) > 0 {
		t.usual = segmentBytes >> 10
	}
	if len(t.current.Raw) > 0 {
		t.full = append(t.full, t.current)
	}
	if !t.ended {
		t.session.Duration = t.enc.t // what a crash leaves: up to the last frame
	}
	part := taken{tap: t, entry: Entry{Session: t.session, Size: t.enc.offset}, watch: t.watch, segments: t.full, begun: t.begun && !t.told}
	if !t.stored {
		t.stored = true
		t.rec.unstored.Add(-1)
	}
	t.told = t.begun
	t.full, t.current, t.queued = nil, Segment{}, false
	return part
}

// redact puts in place of what the links have recorded what may be stored of it.
func (p *taken) redact(bufs *buffers) {
	w := p.tap.rewrite
	if w == nil {
		return
	}
	w.agree(&p.entry.Session)
	for i := range p.segments {
		w.rewrite(&p.segments[i])
		bufs.put(&p.segments[i])
	}
	if p.entry.Ending != nil {
		w.finish()
	}
	p.segments = w.take(&p.entry)
}

// observe inflates behind the links what needs it, takes windows and notes what
// a live view should show.
func (p *taken) observe(v *view, windows []Window) []Window {
	w := p.watch
	if w == nil { // nobody looks, and nothing is needed to read it later
		return windows
	}
	session := p.entry.Session
	if p.begun {
		v.add(Event{Session: &session, Begun: true})
	}
	for i := range p.segments {
		windows = w.segment(&p.segments[i], &session, v, windows)
	}
	if session.Ending != nil {
		w.end(&session, v)
	}
	return windows
}

// Compression reads from a recorded handshake what the two ends agreed on.
func Compression(s *tape.Session) wire.Compression {
	c, _, err := wire.Granted([]string{s.Extensions})
	if err != nil {
		return wire.Compression{}
	}
	return c
}
