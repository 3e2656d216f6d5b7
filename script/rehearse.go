package script

import (
	"context"
	"sync"
	"time"

	"github.com/wstape/wstape/tape"
)

// Rehearsal runs a chain on given messages without a connection, and without
// waiting: its time is the messages' own, and timers are due when it gets there.
// It belongs to one goroutine.
type Rehearsal struct {
	session *Session
	time    *ownTime
	stage   *rehearsalConn
}

// Happening is one thing that scripts did in a rehearsal beside deciding about
// the message at hand. Exactly one of the pointers but Log is set.
type Happening struct {
	T     time.Duration // since the session began
	By    string
	Sent  *Sent
	Close *tape.Ending
	Note  *string
	Log   *Entry // beside Note: it is a line of console, or a failure
	Tag   *[2]string
}

// Sent is a message or ping that a script put on the wire.
type Sent struct {
	To tape.Side
	tape.Content
}

// Rehearse opens a session that is only rehearsed. Its clock stands at zero.
func (c *Chain) Rehearse(about tape.Session) *Rehearsal {
	if about.Started.IsZero() {
		about.Started = time.Unix(0, 0)
	}
	t := &ownTime{now: about.Started}
	conn := &rehearsalConn{time: t, start: about.Started}
	r := &Rehearsal{session: c.open(about, conn, t), time: t, stage: conn}
	t.gone = r.session.goneSignal()
	return r
}

// Request runs onRequest on req, which it may change.
func (r *Rehearsal) Request(req *tape.Request) (refusal *tape.Response) {
	return r.session.Request(context.Background(), req)
}

// Response runs onResponse on res, which it may change.
func (r *Rehearsal) Response(res *tape.Response) (refusal *tape.Response) {
	return r.session.Response(context.Background(), res)
}

// Opened runs onOpen.
func (r *Rehearsal) Opened(subprotocol string) { r.session.Opened(subprotocol) }

// Now returns the time since the session began.
func (r *Rehearsal) Now() time.Duration { return r.time.Now().Sub(r.session.started) }

// Advance lets time pass until t after the session's beginning.
func (r *Rehearsal) Advance(t time.Duration) {
	until := r.session.started.Add(t)
	for r.time.next(until) {
	}
	r.time.set(until)
}

// Wants reports whether a script looks at messages, and at pings and pongs, that
// one side sends.
func (r *Rehearsal) Wants(from tape.Side) (messages, control bool) { return r.session.Wants(from) }

// Message has the scripts decide about a message. If a hook awaits, time passes
// until it is done.
func (r *Rehearsal) Message(m *tape.Message) tape.Verdict { return r.Settle(r.Start(m)) }

// Start is Message for those who go on while a hook awaits: with what the other
// side sends. The verdict is in the channel when time has got there.
func (r *Rehearsal) Start(m *tape.Message) <-chan tape.Verdict {
	r.Advance(m.T)
	decided, returned := make(chan tape.Verdict, 1), make(chan struct{})
	go func() { // which may not come back
		defer close(returned)
		r.session.Message(m, func(v tape.Verdict) { decided <- v })
	}()
	select {
	case <-returned:
	case <-r.session.goneSignal():
	}
	return decided
}

// Settle lets time pass until there is a verdict.
func (r *Rehearsal) Settle(decided <-chan tape.Verdict) tape.Verdict {
	r.time.pass(func() bool { return len(decided) > 0 })
	return <-decided
}

// Closed runs onClose and ends the rehearsal.
func (r *Rehearsal) Closed(e tape.Ending) { r.session.Closed(e) }

// Happened returns what scripts have done since it was last asked.
func (r *Rehearsal) Happened() []Happening { return r.stage.take() }

// ownTime is a clock that only moves when it is told to. It has one alarm, which
// is all that a session needs.
type ownTime struct {
	mu      sync.Mutex
	now     time.Time
	due     time.Time // of the alarm
	ringing bool
	f       func()
	gone    chan struct{} // closed when what f runs may not come back
}

// Now implements [clock].
func (c *ownTime) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// AfterFunc implements [clock].
func (c *ownTime) AfterFunc(d time.Duration, f func()) alarm {
	c.f = f
	c.Reset(d)
	return c
}

// Reset sets the alarm.
func (c *ownTime) Reset(d time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.ringing
	c.due, c.ringing = c.now.Add(max(d, 0)), true
	return was
}

// Stop takes the alarm back.
func (c *ownTime) Stop() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.ringing
	c.ringing = false
	return was
}

// set moves the clock on.
func (c *ownTime) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.After(c.now) {
		c.now = t
	}
}

// next rings the alarm if that is set for no later than until, or for any time
// if until is zero.
func (c *ownTime) next(until time.Time) bool {
	c.mu.Lock()
	if !c.ringing || !until.IsZero() && c.due.After(until) {
		c.mu.Unlock()
		return false
	}
	c.ringing = false
	if c.due.After(c.now) {
		c.now = c.due
	}
	c.mu.Unlock()
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		c.f()
	}()
	select {
	case <-returned:
	case <-c.gone:
	}
	return true
}

// pass implements [clock]: time goes by until something has happened.
func (c *ownTime) pass(until func() bool) {
	for !until() && c.next(time.Time{}) {
	}
}

// rehearsalConn notes what scripts do to the session.
type rehearsalConn struct {
	time  clock
	start time.Time

	mu   sync.Mutex
	list []Happening
}

func (c *rehearsalConn) add(h Happening) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h.T = c.time.Now().Sub(c.start)
	c.list = append(c.list, h)
}

func (c *rehearsalConn) take() []Happening {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.list
	c.list = nil
	return list
}

func (c *rehearsalConn) Send(to tape.Side, op tape.Opcode, payload []byte, by string) error {
	c.add(Happening{By: by, Sent: &Sent{to, tape.Content{Op: op, Payload: payload, Len: uint64(len(payload))}}})
	return nil
}

func (c *rehearsalConn) Close(code int, reason, by string) {
	c.add(Happening{By: by, Close: &tape.Ending{Kind: tape.EndClose, Code: code, Reason: reason}})
}

// tell notes what the script printed, or how it failed.
func (c *rehearsalConn) tell(e Entry, by string) { c.add(Happening{By: by, Note: &e.Text, Log: &e}) }

func (c *rehearsalConn) Note(text, by string) { c.add(Happening{By: by, Note: &text}) }

func (c *rehearsalConn) Tag(key, value string) {
	c.add(Happening{Tag: &[2]string{key, value}})
}
