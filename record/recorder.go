package record

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/tape"
)

// Options of a [Recorder]. The zero value of each means its default.
type Options struct {
	Flush    time.Duration                       // how long a frame may wait to be written; default 50 ms, at most 500 ms
	Buffer   int64                               // bytes that may wait to be written; default 16 MiB
	Drop     bool                                // when the buffer is full, drop frames and mark the gap instead of holding the links
	Inflate  uint64                              // what one message may inflate to, bytes; default 64 MiB
	Redactor *Redactor                           // applied to all that is recorded; nil redacts nothing
	Feed     Feed                                // is told what was written, for a live view; may be nil
	OnWrite  func(took time.Duration, err error) // is told of each write; must not block; may be nil
	OnError  func(error)                         // is told when writing begins to fail, and nil when it works again; may be nil
	now      func() time.Time                    // for tests
	newID    func() (tape.ID, error)
}

// The default limits.
const (
	DefaultFlush   = 50 * time.Millisecond
	MaxFlush       = 500 * time.Millisecond
	DefaultBuffer  = 16 << 20
	DefaultInflate = 64 << 20
	flushBytes     = 4 << 20 // this much waiting is written at once, whatever the time
	maxUnstored    = 50_000  // sessions that the tape does not have yet: each takes a few KiB
)

// Feed is told what the recorder wrote, in order per session. Its methods are
// called by the recorder's goroutine and must not block.
type Feed interface {
	// Event takes one event; false if there was no room for it.
	Event(Event) bool
	// Skipped says how many frames were not turned into events because there
	// was no room.
	Skipped(frames uint64)
}

// Event is a change of a session (Line is nil), or one line of it whose payload
// is cut to a preview.
type Event struct {
	Session *tape.Session // as it stood when the batch was taken; shared, not to be changed
	Begun   bool          // the handshake has been answered
	Ended   bool
	Line    *tape.Line
}

// Recorder takes down sessions: links append to taps, one goroutine writes what
// has gathered. Begin, Flush and Close are safe for concurrent use.
type Recorder struct {
	store    Writer
	opts     Options
	pending  atomic.Int64 // bytes not yet written
	writing  atomic.Int64 // those of them that the flush under way has taken
	unstored atomic.Int64 // sessions that no flush has taken yet
	missed   struct{ frames, bytes atomic.Uint64 }
	wake     chan struct{} // something is waiting
	hurry    chan struct{} // it should be written now
	stop     chan struct{}
	stopped  sync.Once
	done     chan struct{}
	bufs     buffers

	batch   Batch // of one flush and the next: only their memory stays
	taken   []taken
	scratch []byte // of rewriters

	mu     sync.Mutex
	room   sync.Cond // pending shrank
	dirty  []*Tap
	turn   uint64 // flushes begun
	err    error  // why the last write failed, nil if it did not
	letGo  bool   // nobody is held back any more
	closed bool
	lost   map[uint64]bool // sessions of which something was given up at the end
	gaveUp int64           // bytes of that

	flushed sync.Cond // on mu: a flush has ended
	ended   uint64    // flushes ended
}

// NewRecorder starts the writing goroutine; Close ends it.
func NewRecorder(store Writer, opts Options) *Recorder {
	if opts.Flush <= 0 {
		opts.Flush = DefaultFlush
	}
	opts.Flush = min(opts.Flush, MaxFlush)
	if opts.Buffer <= 0 {
		opts.Buffer = DefaultBuffer
	}
	if opts.Inflate == 0 {
		opts.Inflate = DefaultInflate
	}
	if opts.OnError == nil {
		opts.OnError = func(error) {}
	}
	if opts.OnWrite == nil {
		opts.OnWrite = func(time.Duration, error) {}
	}
	if opts.newID == nil {
		opts.newID = newIDs()
	}
	if opts.now == nil {
		opts.now = time.Now
	}
	r := &Recorder{
		store: store, opts: opts,
		wake: make(chan struct{}, 1), hurry: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	r.room.L, r.flushed.L = &r.mu, &r.mu
	go r.loop()
	return r
}

// newIDs returns what makes UUIDv7s; reading random bytes for many at once saves
// a system call for each.
func newIDs() func() (tape.ID, error) {
	var mu sync.Mutex
	random := bufio.NewReaderSize(rand.Reader, 1<<10)
	return func() (tape.ID, error) {
		mu.Lock()
		defer mu.Unlock()
		id, err := uuid.NewV7FromReader(random)
		return tape.ID(id), err
	}
}

var errSlow = errors.New("the disk cannot keep up")

// Begin opens a session that started now: the caller fills in what it knows in
// s (URL, Upstream, Client, Handshake.Request); the recorder gives it a number,
// an ID and a start.
func (r *Recorder) Begin(s tape.Session) (*Tap, error) {
	if r.unstored.Add(1) > maxUnstored {
		r.unstored.Add(-1)
		return nil, fmt.Errorf("%d sessions wait to be written to the tape: %w", maxUnstored, cmp.Or(r.Healthy(), errSlow))
	}
	n, err := r.store.Begin(context.Background())
	id, idErr := r.opts.newID()
	if err = errors.Join(err, idErr); err != nil {
		r.unstored.Add(-1)
		return nil, fmt.Errorf("begin session: %w", err)
	}
	s.N, s.ID, s.Started, s.State = n, id, r.opts.now(), tape.Open
	r.opts.Redactor.Session(&s)
	t := &Tap{rec: r, session: s, enc: encoder{seq: 1}}
	if r.opts.Redactor.Payloads() {
		t.rewrite = newRewriter(r.opts.Redactor, n, r.opts.Inflate, &r.bufs, &r.scratch)
	}
	t.mu.Lock()
	t.touch()
	t.mu.Unlock()
	return t, nil
}

// Flush writes everything that was recorded before the call and returns when it
// is on the tape, or why it is not.
func (r *Recorder) Flush(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.flushed.Broadcast()
	})
	defer stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	want := r.turn
	if len(r.dirty) > 0 {
		want++ // the flush under way, if any, has passed these by
	}
	for r.ended < want && !r.closed && ctx.Err() == nil {
		signal(r.hurry)
		r.flushed.Wait()
	}
	return errors.Join(ctx.Err(), r.err)
}

// Healthy returns nil while the tape is being written, and else why it is not.
func (r *Recorder) Healthy() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Waiting returns how many bytes wait to be written.
func (r *Recorder) Waiting() int64 { return r.pending.Load() }

// Gaps returns how much was not recorded so far because there was no room for it.
func (r *Recorder) Gaps() tape.Gap {
	return tape.Gap{Frames: r.missed.frames.Load(), Bytes: r.missed.bytes.Load()}
}

// LetGo ends holding links back, for a shutdown that cannot wait for a tape: from
// now on a full buffer drops frames, whatever the policy, and marks the gap.
func (r *Recorder) LetGo() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.letGo = true
	r.room.Broadcast()
}

// Close writes what is left and ends the goroutine. If the store refuses even
// then, what was waiting is lost, and the error says how much.
func (r *Recorder) Close() error {
	r.stopped.Do(func() { close(r.stop) })
	<-r.done
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil || len(r.lost) == 0 {
		return r.err
	}
	sessions := "one session"
	if n := len(r.lost); n > 1 {
		sessions = fmt.Sprintf("%d sessions", n)
	}
	return fmt.Errorf("%d bytes of %s: %w", r.gaveUp, sessions, r.err)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (r *Recorder) loop() {
	defer close(r.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-r.stop:
			r.finish()
			return
		case <-r.wake:
		}
		timer.Reset(r.opts.Flush)
		select {
		case <-r.stop:
			r.finish()
			return
		case <-timer.C:
		case <-r.hurry:
		}
		r.flush()
	}
}

// finish writes what is left, unless the store has just refused for good: what
// came after that would stand behind a hole.
func (r *Recorder) finish() {
	r.mu.Lock()
	refused := r.err != nil && !errors.Is(r.err, ErrAstray)
	if refused {
		r.giveUp(r.dirty, r.pending.Load())
	}
	r.mu.Unlock()
	if !refused {
		r.flush()
	}
	r.mu.Lock()
	r.closed = true
	r.room.Broadcast()
	r.flushed.Broadcast()
	r.mu.Unlock()
}

// giveUp notes what is lost because the store refuses to the last. The caller
// holds r.mu.
func (r *Recorder) giveUp(taps []*Tap, bytes int64) {
	if r.lost == nil {
		r.lost = map[uint64]bool{}
	}
	for _, t := range taps {
		r.lost[t.session.N] = true
	}
	r.gaveUp += bytes
}

// retryPause is how long a failed write waits before it is tried again.
const retryPause = 250 * time.Millisecond

// retries returns what says, after a little while, that a failed write is to be
// tried again; once the recorder is closing that is once more only.
func (r *Recorder) retries() func() bool {
	last := false
	return func() bool {
		if last {
			return false
		}
		select {
		case <-r.stop:
			last = true
		case <-time.After(retryPause):
		}
		return true
	}
}

// flush writes everything that is waiting, however often the store fails. What
// is given up when the recorder is closing is lost, and r.err says why.
func (r *Recorder) flush() {
	r.mu.Lock()
	dirty := r.dirty
	r.dirty = nil
	r.turn++
	r.mu.Unlock()

	batch, taken := r.batch, r.taken
	var bytes int64
	for _, t := range dirty {
		part := t.take()
		taken = append(taken, part)
		for i := range part.segments {
			bytes += int64(len(part.segments[i].Raw))
		}
	}
	r.writing.Store(bytes)
	for i := range taken {
		part := &taken[i]
		part.redact(&r.bufs)
		batch.Entries = append(batch.Entries, part.entry)
		batch.Segments = append(batch.Segments, part.segments...)
	}
	select {
	case <-r.hurry: // it was about what has just been taken; who waits in Flush asks again
	default:
	}
	seen := view{on: r.opts.Feed != nil}
	for i := range taken {
		batch.Windows = taken[i].observe(&seen, batch.Windows)
	}
	retry := r.retries()
	for len(dirty) > 0 {
		began := time.Now()
		err := r.store.Append(context.Background(), batch)
		r.opts.OnWrite(time.Since(began), err)
		if changed := r.setErr(err); changed {
			r.opts.OnError(err)
		}
		if err == nil || errors.Is(err, ErrAstray) {
			break
		}
		if !retry() {
			r.mu.Lock()
			r.giveUp(dirty, bytes)
			r.mu.Unlock()
			break
		}
	}
	if seen.on {
		seen.feed(r.opts.Feed)
	}
	for i := range batch.Segments {
		r.bufs.put(&batch.Segments[i])
	}
	r.batch = Batch{Entries: again(batch.Entries), Segments: again(batch.Segments)}
	r.taken = again(taken)
	r.writing.Store(0)
	r.pending.Add(-bytes)
	r.mu.Lock()
	r.ended = r.turn
	r.room.Broadcast()
	r.flushed.Broadcast()
	r.mu.Unlock()
}

// again empties a slice so that the next flush may use it; a long one, of an
// exceptional flush, is given back.
func again[T any](s []T) []T {
	if cap(s) > 1<<10 {
		return nil
	}
	clear(s)
	return s[:0]
}

// setErr notes how the last write went and reports whether that is news.
func (r *Recorder) setErr(err error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed := (err == nil) != (r.err == nil) || errors.Is(err, ErrAstray) != errors.Is(r.err, ErrAstray)
	r.err = err
	return changed
}

// queue puts a tap on the list of those that have something to write.
func (r *Recorder) queue(t *Tap) {
	r.mu.Lock()
	r.dirty = append(r.dirty, t)
	r.mu.Unlock()
	signal(r.wake)
}

// added counts n bytes that wait to be written.
func (r *Recorder) added(n int) {
	if r.pending.Add(int64(n))-r.writing.Load() > flushBytes {
		signal(r.hurry)
	}
}

// admit waits until there is room for more, which is what holds a link back
// when the disk cannot keep up. False means: do not record this (the policy is
// to drop, or the recorder is closed).
func (r *Recorder) admit() bool {
	if r.pending.Load() < r.opts.Buffer {
		return true
	}
	if r.opts.Drop {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.pending.Load() >= r.opts.Buffer && !r.closed && !r.letGo {
		r.room.Wait()
	}
	return !r.closed && r.pending.Load() < r.opts.Buffer
}

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
