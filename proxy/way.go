package proxy

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/tape"
)

// way is what a link needs beside itself when the session has a stage: the
// messages that are being read, wait to be decided, or wait to be sent. On the
// message way nothing is written that is not a whole frame, and messages leave
// in the order in which they came; pings and pongs do not wait for them.
//
// The stage is asked on the link's own goroutine, which for a quick answer is
// several times cheaper than handing the message to another one. If the answer
// takes longer than patience, the link goes on without that goroutine: another
// one takes it over, and the first, when it comes back, finds itself deposed.
type way struct {
	link *link

	deflate  bool // permessage-deflate was negotiated
	takeover bool // with context takeover in this direction
	inflater *wire.Inflater
	joined   bool // no compressed message has passed the inflater by, so it knows the window
	lost     bool // it was to see one and could not, so it does not know the window any more
	diverged bool // the receiver's window is not the sender's any more: nothing compressed may go on
	told     bool // that messages pass the stage by because the window is not known

	chunk   []byte // read, and still to be walked
	held    bool   // chunk is the source's, to be released
	head    []byte // the beginning of a frame's header, as it came
	frame   *item  // what the current frame belongs to; nil if it passes directly
	open    *item  // the data message that is being read; nil if it passes directly
	cut     bool   // a close frame came inside the message that was read last, of which more may follow
	spare   *item  // to be used again
	lanes   [2]queue
	waits   int   // bytes in the lanes
	failure error // reading has ended with it, and the lanes are being emptied

	out       []byte // to be written
	inFrame   bool   // what has gone to out ends inside a frame
	inMessage bool   // what has gone to out ends inside a message, maybe between two of its frames

	asking   atomic.Uint64         // the number of the question whose answer a goroutine is away for; 0 for none
	asked    atomic.Uint64         // number of the last question
	about    *item                 // what it is about
	patience *time.Timer           // runs while there are questions, so that none needs to set it
	ticking  atomic.Bool           // patience is set
	looked   uint64                // asked when it last ran out
	done     [2]func(tape.Verdict) // by lane

	waiting atomic.Bool   // the link's goroutine is about to wait, or does
	signal  chan struct{} // ends a wait that is not for bytes

	mu       sync.Mutex      // for what others leave for the link
	verdicts [2]tape.Verdict // by lane; without a fate: not decided
	injected []*injection
	weight   int // bytes in injected
	over     bool
}

// The lanes: control frames do not wait for messages.
const (
	laneData = iota
	laneControl
)

// queue is a lane: messages in order, of which the first may be with the stage.
type queue struct {
	items []*item
	asked bool
}

// item is a message or control frame that is being read or waits.
type item struct {
	msg     tape.Message
	raw     []byte // its frames as they came
	joined  []byte // their payloads, unmasked
	plain   []byte // what they inflate to
	hooked  bool   // the stage decides about it
	alone   bool   // only read, for it may not go on as it came: the stage is not asked
	fin     bool   // its last frame has begun
	whole   bool   // there is no more of it to come
	torn    bool   // and it ends inside a frame
	last    bool   // nothing may go out behind it, so it waits for the other lane
	fated   bool   // its fate is on the tape
	poured  bool   // it goes out as it came, and some of it has
	unread  bool   // compressed, and not to be inflated, so that those behind it cannot be either
	long    bool   // longer than the stage can be given
	discard bool   // what is still to come of it goes nowhere
	kept    bool   // somebody may still be looking at it when it has been decided
}

// injection is a message or control frame of wstape's own.
type injection struct {
	op      tape.Opcode
	payload []byte
	by      string
}

// itemOverhead is what a waiting message counts beside its bytes.
const itemOverhead = 256

// patienceTime is how long the link's own goroutine may be away deciding, give or
// take as much again: as long as pings behind the message have to wait.
const patienceTime = 2 * time.Millisecond

// outcome is what a goroutine that runs a link is to do next.
type outcome uint8

const (
	goOn    outcome = iota
	ended           // the direction has ended
	deposed         // another goroutine runs the link
)

var errOver = errors.New("the session is over")

func newWay(l *link) *way {
	w := &way{link: l, joined: true, signal: make(chan struct{}, 1)}
	for lane := range w.done {
		w.done[lane] = func(v tape.Verdict) { w.decided(lane, v) }
	}
	w.patience = time.AfterFunc(time.Hour, w.look)
	w.patience.Stop()
	return w
}

// compressed says what was negotiated.
func (w *way) compressed(on, takeover bool) { w.deflate, w.takeover = on, takeover }

// decided takes the stage's decision about the first message of a lane.
func (w *way) decided(lane int, v tape.Verdict) {
	w.mu.Lock()
	w.verdicts[lane] = v
	w.mu.Unlock()
	if w.waiting.Load() {
		w.wake()
	}
}

// take returns what has been decided about the first message of a lane.
func (w *way) take(lane int) (v tape.Verdict, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v = w.verdicts[lane]
	w.verdicts[lane] = tape.Verdict{}
	return v, v.Fate != ""
}

// inject leaves a message of wstape's own for the link.
func (w *way) inject(i *injection) error {
	limit := w.link.session.proxy.config.HeldBytes
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.over:
		return errOver
	case i.op != tape.Text && i.op != tape.Binary && i.op != tape.Ping && i.op != tape.Pong:
		return fmt.Errorf("a %v frame cannot be sent", i.op)
	case i.op.Control() && len(i.payload) > 125:
		return fmt.Errorf("a %v of %d bytes cannot be sent: control frames have at most 125", i.op, len(i.payload))
	case w.weight > 0 && w.weight+len(i.payload) > limit:
		return fmt.Errorf("%d bytes wait to be sent to the %v already (limits.held)", w.weight, w.link.from.Other())
	}
	w.injected = append(w.injected, i)
	w.weight += len(i.payload) + itemOverhead
	if w.waiting.Load() {
		w.wake()
	}
	return nil
}

// news reports whether others have left something that the link can act upon.
func (w *way) news() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.injected) > 0 && (w.sealed() || !w.inFrame && !w.inMessage) {
		return true
	}
	for lane := range w.lanes {
		if w.verdicts[lane].Fate != "" && w.lanes[lane].asked && !w.inFrame {
			return true
		}
	}
	return false
}

// wake ends what the link waits for.
func (w *way) wake() {
	w.link.session.signalWay(w.link.from)
	w.link.session.wakeLeg(w.link.from)
}

// run passes messages on until the direction ends or another goroutine has
// taken over.
func (w *way) run() {
	next := goOn
	for next == goOn {
		next = w.turn()
	}
	if next == deposed {
		return
	}
	w.unsent(w.end(), "the session had ended")
	w.patience.Stop()
	w.link.session.finish()
}

// end takes no more messages of wstape's own, and returns those that are left.
func (w *way) end() (left []*injection) {
	w.mu.Lock()
	defer w.mu.Unlock()
	left, w.injected, w.over = w.injected, nil, true
	return left
}

// turn does what can be done without waiting, and then waits once.
func (w *way) turn() outcome {
	if next := w.settle(); next != goOn {
		return next
	}
	if len(w.chunk) > 0 {
		return w.step()
	}
	if w.held {
		w.link.src.release()
		w.held = false
	}
	if !w.flush() || w.link.session.gone.Load() {
		return ended
	}
	return w.wait()
}

// wait waits for bytes or, when no more can be taken or there are none, for the
// stage.
func (w *way) wait() outcome {
	l := w.link
	w.waiting.Store(true)
	defer w.waiting.Store(false)
	if w.news() || w.hanging() {
		return goOn
	}
	if w.failure != nil && w.empty() {
		l.write(w.head) // of a frame that never came
		return going(l.readFailed(w.failure))
	}
	if w.failure != nil || w.full() {
		<-w.signal
		return goOn
	}
	chunk, err := l.src.read()
	w.chunk, w.held = chunk, len(chunk) > 0
	if w.held && l.session.winding.Load() {
		l.session.touch()
	}
	switch {
	case err == nil:
	case isTimeout(err) && !l.session.gone.Load():
		return going(l.readFailed(err))
	default:
		w.failure = err
		if !w.empty() {
			l.session.wind() // the stage's patience with the session is not ours
		}
	}
	return goOn
}

func going(on bool) outcome {
	if on {
		return goOn
	}
	return ended
}

// empty reports whether nothing waits.
func (w *way) empty() bool {
	return len(w.lanes[laneData].items) == 0 && len(w.lanes[laneControl].items) == 0
}

// hanging reports whether wstape's own close frame is to be sent now.
func (w *way) hanging() bool {
	return w.link.session.hanging.Load() != nil && !w.link.hungUp && !w.inFrame
}

// sealed reports whether a close frame has gone out, behind which nothing of
// wstape's own may follow.
func (w *way) sealed() bool { return w.link.closed || w.link.hungUp }

// full reports whether so much waits for the stage that the sender is held back.
// While the rest of a frame is needed before anything else can go out, it is not.
func (w *way) full() bool {
	return w.waits > w.link.session.proxy.config.HeldBytes && !w.inFrame && (w.lanes[laneData].asked || w.lanes[laneControl].asked)
}

// settle carries out what has been decided, and asks about what can be asked.
func (w *way) settle() outcome {
	if w.failure != nil && len(w.chunk) == 0 {
		w.broken()
	}
	for _, lane := range [...]int{laneData, laneControl, laneData} { // the end of either may wait for the other
		if next := w.advance(lane); next != goOn {
			return next
		}
	}
	if w.failure != nil && len(w.chunk) == 0 && w.inFrame {
		w.clear() // the frame never ends, so nothing can go out behind it
	}
	hanging := w.hanging() // asked first: what was sent before the session was closed goes out before the close frame
	w.sendInjected()
	if hanging {
		if !w.flush() {
			return ended
		}
		w.link.sendClose(w.link.session.hanging.Load())
	}
	if w.link.hungUp {
		w.clear() // nothing goes on any more
	}
	return goOn
}

// clear gives up what waits. The tape says of what was not decided about that it
// was dropped.
func (w *way) clear() {
	w.lanes, w.waits, w.open, w.frame = [2]queue{}, 0, nil, nil
}

// advance works off a lane as far as decisions allow.
func (w *way) advance(number int) outcome {
	lane := &w.lanes[number]
	for len(lane.items) > 0 {
		it := lane.items[0]
		switch {
		case w.inFrame && !it.poured && it.msg.Op != tape.OpRaw: // the rest of another one's frame comes first
			it.kept = it.kept || lane.asked
			return goOn
		case lane.asked:
			v, ok := w.take(number)
			if !ok {
				it.kept = true
				return goOn
			}
			lane.asked = false
			if now := w.link.timed(); !now.IsZero() {
				w.link.session.proxy.config.Added(now.Sub(w.link.session.began) - it.msg.T)
			}
			w.apply(it, &v)
		case it.hooked && !it.discard:
			if !it.whole && !it.long {
				return goOn // the rest of it is still to come
			}
			lane.asked = true
			if !w.ask(number, it) {
				return deposed
			}
			continue
		case w.premature(number, it):
			return goOn
		default:
			w.pour(it)
		}
		if !it.whole {
			return goOn
		}
		w.pop(lane)
	}
	return goOn
}

// premature reports whether it is too early for what nobody decides about to go
// out: nothing can follow it, and something in the other lane is to, or it is a
// control frame of which there is only the beginning.
func (w *way) premature(lane int, it *item) bool {
	other := w.lanes[laneControl].items
	if lane == laneControl {
		other = w.lanes[laneData].items
		if !it.whole && !it.poured && len(it.raw) < itemOverhead {
			return true
		}
	}
	if !it.last || it.poured || len(other) == 0 {
		return false
	}
	return lane == laneControl || !other[0].last
}

// pop takes the first message off a lane.
func (w *way) pop(lane *queue) {
	it := lane.items[0]
	lane.items = slices.Delete(lane.items, 0, 1)
	w.waits -= len(it.raw) + itemOverhead
	if w.frame == it { // cut by the end
		w.frame = nil
	}
	if w.about == it {
		w.about = nil
	}
	w.recycle(it)
}

// ask gives a message to the stage. False means that the answer took so long
// that another goroutine runs the link now.
func (w *way) ask(lane int, it *item) bool {
	w.prepare(it)
	if it.alone {
		w.decided(lane, tape.Verdict{Fate: tape.Passed})
		return true
	}
	w.about = it
	number := w.asked.Add(1)
	w.asking.Store(number) // from here on the link may be another goroutine's
	w.tick()
	w.link.session.stage.Message(&it.msg, w.done[lane])
	return w.asking.CompareAndSwap(number, 0)
}

// tick sets patience, if it is not.
func (w *way) tick() {
	if !w.ticking.Load() && w.ticking.CompareAndSwap(false, true) {
		w.patience.Reset(patienceTime)
	}
}

// look is called when patience has run out: if the question that was open the
// last time still is, it goes on in the place of the goroutine that is away.
func (w *way) look() {
	asked, open := w.asked.Load(), w.asking.Load()
	if open != 0 && open == w.looked && w.asking.CompareAndSwap(open, 0) {
		w.ticking.Store(false)
		w.about.kept = true
		w.run()
		return
	}
	if asked != w.looked || open != 0 {
		w.looked = asked
		w.patience.Reset(patienceTime)
		return
	}
	w.ticking.Store(false)
	if w.asked.Load() != asked {
		w.tick()
	}
}

// prepare completes what the stage is to see of a message.
func (w *way) prepare(it *item) {
	m := &it.msg
	switch {
	case it.long:
		m.Error = w.tooLong()
		w.lose(it)
	case m.RSV1:
		w.inflate(it)
	default:
		m.Payload = it.joined
	}
	m.Len = uint64(len(m.Payload))
}

func (w *way) tooLong() string {
	return fmt.Sprintf("the message is longer than %d bytes (limits.message)", w.link.session.proxy.config.MessageBytes)
}

// inflate makes the plain payload of a compressed message.
func (w *way) inflate(it *item) {
	if w.lost {
		it.msg.Error = wire.ErrWindowLost.Error()
		return
	}
	limit := uint64(w.link.session.proxy.config.MessageBytes)
	if w.inflater == nil {
		w.inflater = wire.NewInflater(w.takeover, limit)
	}
	plain, _, err := w.inflater.Message(it.plain[:0], it.joined, limit)
	it.plain = plain
	switch {
	case errors.Is(err, wire.ErrInflateLimit):
		it.msg.Error = w.tooLong()
	case err != nil:
		it.msg.Error = err.Error()
	default:
		it.msg.Payload = plain
	}
}

// lose is told, when it is a message's turn, that it will not be inflated.
func (w *way) lose(it *item) { w.lost = w.lost || it.msg.RSV1 && w.takeover }

// flush writes what is ready; false when the other side takes nothing more.
func (w *way) flush() bool {
	if len(w.out) == 0 {
		return true
	}
	ok := w.link.write(w.out)
	if w.out = w.out[:0]; cap(w.out) > chunkBytes {
		w.out = nil
	}
	return ok
}
