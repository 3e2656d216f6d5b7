package record

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

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
