package script

import (
	"container/heap"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dop251/goja"

	"github.com/wstape/wstape/tape"
)

// Session runs a chain of scripts for one connection. Its methods are what the
// relay wants of a stage.
//
// All JavaScript of a session runs under one turn: one goroutine at a time, the
// one that brought the message or the one whose timer is due. A watchdog
// interrupts what runs for too long, and gives up a runtime that does not come
// back; from then on the session has no scripts.
type Session struct {
	set     *Set
	conn    Conn
	about   atomic.Pointer[tape.Session] // replaced as a whole
	opened  atomic.Bool                  // the client has its 101
	clock   clock
	started time.Time
	quiet   bool // only a trial

	vms   []*vm            // in the order of the chain; changed in a turn
	wants [2]atomic.Uint32 // by side: wantsMessages, wantsControl
	jobs  [4]job           // by side, messages and then control frames
	when  when

	mu      sync.Mutex
	free    sync.Cond // somebody else's turn, or the scripts are dead
	asked   uint64    // turns that were asked for
	ended   uint64    // turns that are over
	dead    bool      // abandoned: no script runs in this session any more
	killer  string    // who is to blame for that
	closed  bool      // the session is over
	gone    chan struct{}
	run     running
	dog     *time.Timer // runs while there are turns, so that a turn need not set it
	watched uint64      // turns that had ended when the watchdog last looked
	awake   bool        // dog is set
	alarm   alarm
	timers  timers
	ringing bool     // somebody is calling what is due
	ready   []func() // to be done when the turn is over; belongs to who has the turn
	number  uint64   // of timers
	pending int      // timers of scripts
}

const (
	wantsMessages = 1 << iota
	wantsControl
)

// running is what has the turn.
type running struct {
	vm    *vm
	since time.Time
	heap  uint64 // bytes, when the watchdog first looked
	phase phase
	why   error // of the interruption
	looks int   // of the watchdog, in this phase
}

type phase uint8

const (
	inTime phase = iota
	interrupted
)

// grace is the default of Options.grace.
const grace = 100 * time.Millisecond

// Open starts the chain's scripts for a session. A script that does not start is
// reported, and each of its hooks counts as failed.
func (c *Chain) Open(about tape.Session, conn Conn) *Session {
	return c.open(about, conn, realTime{})
}

func (c *Chain) open(about tape.Session, conn Conn, time clock) *Session {
	s := newSession(c.set, about, conn, time)
	for _, src := range c.scripts {
		v := newVM(s, src, src.program.Load())
		if !src.disabled.Load() {
			if err := s.start(v); err != nil {
				s.report(v, "start", err)
			}
		}
		s.mu.Lock()
		s.vms = append(s.vms, v)
		s.mu.Unlock()
	}
	s.reckon()
	c.set.mu.Lock()
	c.set.sessions[s] = struct{}{}
	c.set.mu.Unlock()
	for i, src := range c.scripts {
		if s.at(i).program != src.program.Load() { // reloaded before the set knew of this session
			s.reload(src)
		}
	}
	return s
}

func newSession(set *Set, about tape.Session, conn Conn, c clock) *Session {
	s := &Session{set: set, conn: conn, clock: c, started: about.Started}
	if s.started.IsZero() {
		s.started = c.Now()
	}
	s.about.Store(&about)
	s.free.L = &s.mu
	for i := range s.jobs {
		s.jobs[i].session = s
	}
	return s
}

// start runs a script's own code in its runtime.
func (s *Session) start(v *vm) error {
	err := errAbandoned
	loaded := make(chan error, 1)
	if s.apart(0, v, func(*vm) { loaded <- v.failure(v.load()) }) {
		err = <-loaded
	}
	if v.failed = err != nil; v.failed {
		s.cancel(func(t *timer) bool { return t.vm == v })
	}
	return err
}

// reckon notes which messages the scripts want to see.
func (s *Session) reckon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var wants [2]uint32
	for _, v := range s.vms {
		if v.source.disabled.Load() {
			continue
		}
		h := v.hooks
		if v.failed {
			h = *v.source.hooks.Load() // what it should have
		}
		for _, from := range tape.Sides() {
			if v.only != nil && *v.only != from {
				continue
			}
			if h.Message {
				wants[from] |= wantsMessages
			}
			if h.Control {
				wants[from] |= wantsControl
			}
		}
	}
	if f := s.set.opts.When; f != nil && f.NeedsView() && (wants[0]|wants[1])&wantsMessages != 0 {
		wants[0] |= wantsMessages // what a message means may depend on the other side's
		wants[1] |= wantsMessages
	}
	for from := range wants {
		if s.dead {
			wants[from] = 0
		}
		s.wants[from].Store(wants[from])
	}
}

// Wants reports whether a script looks at messages, and at pings and pongs, that
// one side sends.
func (s *Session) Wants(from tape.Side) (messages, control bool) {
	w := s.wants[from].Load()
	return w&wantsMessages != 0, w&wantsControl != 0
}

// errTimeout is what a runtime is interrupted with, and errMemory.
var (
	errAbandoned = errors.New("the script's runtime was given up")
	errTimeout   = errors.New("ran for longer than script.timeout without yielding")
	errMemory    = errors.New("made the heap grow by more than script.memory")
	errRestart   = errors.New("the script had to be restarted")
	errAwait     = errors.New("was not done after script.await_timeout")
)

// turn runs f when it is its turn, on the caller's goroutine, with v or, if that
// is nil, with the script that is number i of the chain. False means that the
// scripts of this session have been given up, before f or during it.
func (s *Session) turn(i int, v *vm, f func(*vm)) bool {
	if v = s.enter(i, v); v == nil {
		return false
	}
	s.within(v, f)
	return s.leave(v)
}

// enter waits for a turn of v or, if that is nil, of the script that is number i
// of the chain, and returns what has the turn; nil if the scripts have been given
// up. Turns are taken in the order in which they were asked for, lest a timer
// that is always due keeps messages waiting.
func (s *Session) enter(i int, v *vm) *vm {
	s.mu.Lock()
	defer s.mu.Unlock()
	number := s.asked
	s.asked++
	for s.ended != number && !s.dead {
		s.free.Wait()
	}
	if s.dead {
		return nil
	}
	if v == nil {
		v = s.vms[i]
	}
	s.run = running{vm: v, since: time.Now()}
	if !s.awake {
		s.watchIn(watchEvery)
	}
	return v
}

// within runs f in v's turn. A panic is a bug of the engine or of ours, after
// which nobody knows what state the runtime is in: it is given up.
func (s *Session) within(v *vm, f func(*vm)) {
	defer func() {
		if x := recover(); x != nil {
			s.crashed(v, x)
		}
	}()
	f(v)
	if v.suspect {
		s.checkUp(v)
	}
}

// leave ends v's turn and does what was put off until then. False means that the
// scripts have been given up.
func (s *Session) leave(v *vm) bool {
	s.mu.Lock()
	if s.dead {
		if s.run.vm != nil { // it came back after all
			s.run.vm = nil
			v.source.stuck.Add(-1)
		}
		s.mu.Unlock()
		return false
	}
	if s.run.phase == interrupted {
		s.run.vm.rt.ClearInterrupt()
	}
	since := s.run.since
	s.run = running{}
	ready := s.ready
	s.ready = nil
	if s.ended++; s.ended != s.asked {
		s.free.Broadcast()
	}
	s.mu.Unlock()
	if ran := s.set.opts.Ran; ran != nil {
		ran(v.source.name, time.Since(since))
	}
	for _, next := range ready {
		next()
	}
	return true
}

// apart is turn on a goroutine of its own, for callers who must come back.
func (s *Session) apart(i int, v *vm, f func(*vm)) bool {
	done := make(chan bool, 1)
	gone := s.goneSignal()
	go func() { done <- s.turn(i, v, f) }()
	select {
	case ok := <-done:
		return ok
	case <-gone:
		return false
	}
}

// goneSignal returns what is closed when the scripts are given up.
func (s *Session) goneSignal() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone == nil {
		s.gone = make(chan struct{})
		if s.dead {
			close(s.gone)
		}
	}
	return s.gone
}

// later has f called when the turn is over. It is called during a turn.
func (s *Session) later(f func()) { s.ready = append(s.ready, f) }

// watchEvery is how often the watchdog looks at what runs.
const watchEvery = 10 * time.Millisecond

// watchIn has the watchdog look in a while. The caller holds s.mu.
func (s *Session) watchIn(d time.Duration) {
	s.awake = true
	d = max(min(d, s.set.opts.Timeout), time.Millisecond)
	if s.dog == nil {
		s.dog = time.AfterFunc(d, s.watch)
	} else {
		s.dog.Reset(d)
	}
}

// watch looks at what has the turn: whether it has had it for too long, or takes
// too much memory. When there was no turn for a while it sleeps.
func (s *Session) watch() {
	s.mu.Lock()
	s.awake = false
	if s.run.vm == nil || s.dead {
		if s.watched != s.ended && !s.dead && !s.closed {
			s.watched = s.ended
			s.watchIn(watchEvery)
		}
		s.mu.Unlock()
		return
	}
	// The looks are counted because time alone would blame the script when the
	// whole program had been kept from running.
	limit, took := s.set.opts.Timeout, time.Since(s.run.since)
	next := min(watchEvery, limit-took)
	s.run.looks++
	switch {
	case s.run.phase == interrupted && s.run.looks >= int(s.set.opts.grace/watchEvery):
		v := s.run.vm
		s.die(v)
		s.mu.Unlock()
		s.set.abandoned(v.source)
		s.giveUp(v, fmt.Sprintf("the script %s ran for %v and could not be stopped; this session goes on without scripts", v.source.name, limit+s.set.opts.grace))
		return
	case s.run.phase == interrupted: // again, for the first may be over before the turn is
		s.run.vm.rt.Interrupt(s.run.why)
		next = watchEvery
	case took >= limit && s.run.looks > int(limit/watchEvery)/2:
		s.interrupt(errTimeout)
		next = watchEvery
	case s.run.heap == 0:
		s.run.heap = heapBytes()
	case heapBytes() > s.run.heap+uint64(s.set.opts.Memory):
		s.interrupt(errMemory)
		next = watchEvery
	}
	s.watchIn(next)
	s.mu.Unlock()
}

// interrupt asks what runs to come back. The caller holds s.mu.
func (s *Session) interrupt(why error) {
	s.run.phase, s.run.why, s.run.looks = interrupted, why, 0
	s.run.vm.rt.Interrupt(why)
}

// die has no script run in this session any more. The caller holds s.mu.
func (s *Session) die(v *vm) {
	s.dead, s.killer = true, v.source.by()
	s.free.Broadcast()
	if s.gone != nil {
		close(s.gone)
	}
}

// crashed gives up a runtime in whose turn Go code has panicked.
func (s *Session) crashed(v *vm, x any) {
	s.mu.Lock()
	if s.dead { // given up before
		s.mu.Unlock()
		return
	}
	s.run.vm = nil
	s.die(v)
	s.mu.Unlock()
	s.giveUp(v, fmt.Sprintf("the script %s hit a bug of wstape's or its JavaScript engine's, please report it; this session goes on without scripts: %v\n%s", v.source.name, x, debug.Stack()))
}

// giveUp goes on without the scripts, because of v.
func (s *Session) giveUp(v *vm, text string) {
	v.source.givenUp.Add(1)
	s.tell(v, Entry{Level: "error", Text: text, Failed: true})
	s.reckon()
	s.stop()
	if s.set.opts.OnError == Close {
		s.conn.Close(internalError, "script failed", v.source.by())
	}
	for i := range s.jobs {
		s.jobs[i].give()
	}
}

// stop ends the timers.
func (s *Session) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true // to timers
	s.timers, s.pending = nil, 0
	if s.alarm != nil {
		s.alarm.Stop()
	}
}

// clock is what a session's timers go by; a rehearsal has one of its own.
type clock interface {
	Now() time.Time
	// AfterFunc has f called after d, on a goroutine of its own.
	AfterFunc(d time.Duration, f func()) alarm
	// pass is called by who is about to wait for something that timers may bring about.
	pass(until func() bool)
}

// alarm is the part of [time.Timer] that is wanted here.
type alarm interface {
	Reset(time.Duration) bool
	Stop() bool
}

type realTime struct{}

func (realTime) Now() time.Time                            { return time.Now() }
func (realTime) AfterFunc(d time.Duration, f func()) alarm { return time.AfterFunc(d, f) }
func (realTime) pass(func() bool)                          {}

// shut ends what the session has running.
func (s *Session) shut() {
	s.stop()
	s.set.mu.Lock()
	delete(s.set.sessions, s)
	s.set.mu.Unlock()
}

// timer is a call that is due at some time: into a script's runtime, or, if vm
// is nil, of the session's own.
type timer struct {
	id    uint64
	due   time.Time
	every time.Duration
	vm    *vm
	call  func()
	index int
}

// timers is a heap, the first due first.
type timers []*timer

func (t timers) Len() int { return len(t) }
func (t timers) Less(i, j int) bool {
	return t[i].due.Before(t[j].due) || t[i].due.Equal(t[j].due) && t[i].id < t[j].id
}
func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].index, t[j].index = i, j
}
func (t *timers) Push(x any) {
	x.(*timer).index = len(*t)
	*t = append(*t, x.(*timer))
}
func (t *timers) Pop() any {
	old := *t
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*t = old[:len(old)-1]
	last.index = -1
	return last
}

// maxTimers is how many timers a session's scripts may have at once.
const maxTimers = 1000

// after arranges for call to be called; v is nil for the session's own timers.
func (s *Session) after(v *vm, d, every time.Duration, call func()) (*timer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.dead || s.closed:
		return nil, errors.New("the session is over")
	case v != nil && s.pending >= maxTimers:
		return nil, fmt.Errorf("%d timers are set already, which is the most that a session may have", s.pending)
	}
	s.number++
	t := &timer{id: s.number, due: s.clock.Now().Add(d), every: every, vm: v, call: call}
	if v != nil {
		s.pending++
	}
	heap.Push(&s.timers, t)
	s.setAlarm()
	return t, nil
}

// setAlarm makes the alarm ring for the first timer. The caller holds s.mu.
func (s *Session) setAlarm() {
	if len(s.timers) == 0 || s.ringing || s.dead || s.closed {
		return
	}
	d := s.timers[0].due.Sub(s.clock.Now())
	if s.alarm == nil {
		s.alarm = s.clock.AfterFunc(d, s.ring)
	} else {
		s.alarm.Reset(d)
	}
}

// cancel takes timers out.
func (s *Session) cancel(which func(*timer) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := 0; i < len(s.timers); {
		if t := s.timers[i]; which(t) {
			heap.Remove(&s.timers, i)
			s.forget(t)
			i = 0
			continue
		}
		i++
	}
}

// forget no longer counts a timer. The caller holds s.mu.
func (s *Session) forget(t *timer) {
	if t.vm != nil {
		s.pending--
	}
}

// ring calls what is due.
func (s *Session) ring() {
	s.mu.Lock()
	if s.ringing {
		s.mu.Unlock()
		return
	}
	s.ringing = true
	for {
		if s.dead || s.closed || len(s.timers) == 0 || s.timers[0].due.After(s.clock.Now()) {
			s.ringing = false
			s.setAlarm()
			s.mu.Unlock()
			return
		}
		t := s.timers[0]
		if t.vm == nil {
			heap.Pop(&s.timers)
		}
		s.mu.Unlock()
		if t.vm == nil {
			t.call()
		} else {
			s.turn(0, t.vm, t.run)
		}
		s.mu.Lock()
	}
}

// run calls into the timer's runtime, unless the timer has been cancelled since
// it was due, or a newer runtime has taken the place of its own.
func (t *timer) run(v *vm) {
	if v.session.take(t) && !v.replaced && !v.source.disabled.Load() {
		t.call()
	}
}

// take takes a timer that is due out, or sets it for its next time. False means
// that it has been cancelled, or taken by another one.
func (s *Session) take(t *timer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	if t.index < 0 || t.index >= len(s.timers) || s.timers[t.index] != t || t.due.After(now) {
		return false
	}
	if t.every > 0 {
		t.due = now.Add(t.every)
		heap.Fix(&s.timers, t.index)
		return true
	}
	heap.Remove(&s.timers, t.index)
	s.forget(t)
	return true
}

// say puts a line into the log and, as a note, on the tape.
func (s *Session) say(v *vm, level, text string) { s.tell(v, Entry{Level: level, Text: text}) }

func (s *Session) tell(v *vm, e Entry) {
	if s.quiet {
		return
	}
	e.Text = shorten(e.Text, maxNote)
	e.Script, e.Session = v.source.name, s.about.Load().N
	s.set.opts.Log(e)
	if r, ok := s.conn.(*rehearsalConn); ok {
		r.tell(e, v.source.by())
		return
	}
	s.conn.Note(e.Text, v.source.by())
}

// reload puts a script's new version in the place of the one that runs here, as
// soon as no hook of that is under way.
func (s *Session) reload(src *source) {
	for i := range s.vms {
		s.apart(i, nil, func(v *vm) {
			if v.source != src || s.over() {
				return
			}
			v.stale, v.staleSince = true, s.clock.Now()
			if v.awaited == 0 {
				s.renew(v)
			}
		})
	}
}

// resume starts the newest version of v's script if that had to wait for a hook
// that has come to its end, and the jobs that waited for it.
func (s *Session) resume(v *vm) {
	var parked []func()
	s.turn(0, v, func(*vm) {
		if v.awaited > 0 {
			return
		}
		if v.stale {
			s.renew(v)
		}
		parked, v.parked = v.parked, nil
	})
	for _, next := range parked {
		next()
	}
}

// renew starts a script's newest version in the place of v, in v's turn, and
// returns what runs then: if the new one does not start, v goes on.
func (s *Session) renew(v *vm) *vm {
	v.stale = false
	fresh := newVM(s, v.source, v.source.program.Load())
	s.switchTo(fresh)
	err := fresh.failure(fresh.load())
	var state *cloned
	if err == nil {
		s.switchTo(v) // whose getters may run
		state, err = v.leaveState()
	}
	if err == nil {
		s.switchTo(fresh)
		err = fresh.failure(fresh.inherit(state))
	}
	old := v
	if err != nil {
		old = fresh
	}
	s.cancel(func(t *timer) bool { return t.vm == old })
	old.replaced = true
	switch {
	case s.over():
		return v
	case err != nil:
		s.switchTo(v)
		s.say(v, "error", "not reloaded in this session, the version before goes on: "+Explain(err))
		return v
	}
	s.swap(v, fresh)
	s.conn.Note("script "+v.source.name+" reloaded", v.source.by())
	return fresh
}

// swap puts fresh in the place of v.
func (s *Session) swap(v, fresh *vm) {
	s.mu.Lock()
	s.vms[slices.Index(s.vms, v)] = fresh
	s.mu.Unlock()
	s.reckon()
}

// checkUp looks whether a runtime that had to be stopped can go on. If it was in
// an async function or a generator, goja leaves part of its call behind and thinks
// ever after that it is still running: no promise is settled any more. Such a
// runtime is replaced by a new one; what the script has not put into session.state
// is lost.
func (s *Session) checkUp(v *vm) {
	v.suspect = false
	s.switchTo(v)
	s.mu.Lock()
	running := slices.Contains(s.vms, v)
	s.mu.Unlock()
	if s.over() || !running || v.settles() {
		return
	}
	for t := range v.tasks {
		t.fail(errRestart)
	}
	fresh := newVM(s, v.source, v.source.program.Load())
	state, err := v.leaveState()
	s.switchTo(fresh)
	if failed := fresh.failure(fresh.load()); failed != nil {
		fresh.failed = true
		s.report(fresh, "start", failed)
	} else if err == nil {
		err = fresh.failure(fresh.inherit(state))
	}
	s.cancel(func(t *timer) bool { return t.vm == v || fresh.failed && t.vm == fresh })
	v.replaced, v.stale = true, false
	if s.over() {
		return
	}
	s.swap(v, fresh)
	text := "restarted, because it was stopped in an async function or a generator; what it had in variables is lost"
	if err != nil {
		text += ", and session.state too: " + Explain(err)
	}
	s.say(v, "warn", text)
}

// over reports whether the session has ended, or its scripts have been given up.
func (s *Session) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dead || s.closed
}

// switchTo gives the turn to another runtime, with time of its own.
func (s *Session) switchTo(v *vm) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run.phase == interrupted {
		s.run.vm.rt.ClearInterrupt()
	}
	if s.dead {
		return
	}
	s.run = running{vm: v, since: time.Now()}
}

// interruptedBy returns why a runtime was interrupted.
func interruptedBy(err error) error {
	if i, ok := find[*goja.InterruptedError](err); ok {
		if why, ok := i.Value().(error); ok {
			return why
		}
	}
	return nil
}
