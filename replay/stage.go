package replay

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/wstape/wstape/tape"
)

// Stage sees the handshake and the messages between the player and the live peer
// and decides what becomes of them, as in the proxy: scripts are one.
type Stage interface {
	Request(ctx context.Context, r *tape.Request) (refusal *tape.Response)
	Response(ctx context.Context, r *tape.Response) (refusal *tape.Response)
	Opened(subprotocol string)
	// Wants reports whether it is to decide about the messages of a side.
	Wants(from tape.Side) (messages, control bool)
	// Message calls done once, before or after it returns.
	Message(m *tape.Message, done func(tape.Verdict))
	Closed(e tape.Ending)
}

// Matcher is a [Stage] that may decide whether a live message matches a recorded
// one; where by is empty, it has no opinion.
type Matcher interface {
	Match(ctx context.Context, expected, received *tape.Message) (matches bool, by, why string)
}

// Handle is what a stage may do to its session, from any goroutine.
type Handle interface {
	Send(to tape.Side, op tape.Opcode, payload []byte, by string) error
	Close(code int, reason, by string)
	Note(text, by string)
	Tag(key, value string)
}

// leg is a session's stage and what it may do.
type leg struct {
	stage   Stage
	role    tape.Side // whom the player stands for
	started time.Time
	seq     uint64

	mu      sync.Mutex
	conn    *conn // nil before the handshake is done, and after the end
	notes   []string
	outbox  chan injected // what the stage sends: it must not wait
	sending sync.WaitGroup
}

// injected is a message of the stage's own.
type injected struct {
	to      tape.Side
	op      tape.Opcode
	payload []byte
}

// maxOutbox bounds how many of them wait.
const maxOutbox = 1024

var _ Handle = (*leg)(nil)

// openLeg makes a session's stage; without one the leg is nil.
func (o *Options) openLeg(p *Plan, about tape.Session) *leg {
	if o.Open == nil {
		return nil
	}
	l := &leg{role: p.Role, started: time.Now()}
	about.Started = l.started
	l.stage = o.Open(about, l)
	return l
}

// decider is the stage's opinion about matches, nil if it has none.
func (l *leg) decider(ctx context.Context) func(expected, received *tape.Message) (*bool, string) {
	if l == nil {
		return nil
	}
	m, ok := l.stage.(Matcher)
	if !ok {
		return nil
	}
	return func(expected, received *tape.Message) (*bool, string) {
		matches, by, why := m.Match(ctx, expected, received)
		if by == "" {
			return nil, ""
		}
		if why == "" {
			why = by
		}
		return &matches, why
	}
}

// pass asks the stage about a message and returns what goes on in its place.
func (l *leg) pass(from tape.Side, c tape.Content, quit <-chan struct{}) []tape.Content {
	if l == nil || c.Op.Control() {
		return []tape.Content{c}
	}
	if messages, _ := l.stage.Wants(from); !messages {
		return []tape.Content{c}
	}
	l.mu.Lock()
	l.seq++
	m := &tape.Message{Content: c, Seq: l.seq, T: time.Since(l.started), From: from}
	l.mu.Unlock()
	decided := make(chan tape.Verdict, 1)
	go l.stage.Message(m, func(v tape.Verdict) { decided <- v }) // it may come back long after it has decided
	var v tape.Verdict
	select {
	case v = <-decided:
	case <-quit:
		return nil // what is undecided at the end stays so
	}
	switch v.Fate {
	case tape.Edited:
		return v.Out
	case tape.Dropped:
		return nil
	}
	return []tape.Content{c}
}

// opened attaches the connection.
func (l *leg) opened(c *conn, subprotocol string) {
	if l == nil {
		return
	}
	l.mu.Lock()
	l.conn, l.outbox = c, make(chan injected, maxOutbox)
	l.mu.Unlock()
	l.sending.Add(1)
	go func() {
		defer l.sending.Done()
		for {
			select {
			case x := <-l.outbox:
				l.deliver(c, x)
			case <-c.quit:
				return
			}
		}
	}()
	l.stage.Opened(subprotocol)
}

// deliver sends what the stage sent to the peer, or to the player.
func (l *leg) deliver(c *conn, x injected) {
	switch {
	case x.to != l.role:
		_ = c.write(x.op, x.payload) // a connection that is gone is found out by its reader
	case !x.op.Control(): // the player does not answer pings
		_ = c.push(event{content: tape.Content{Op: x.op, Payload: x.payload, Len: uint64(len(x.payload))}, at: time.Now()})
	}
}

// closed ends the stage and returns its notes.
func (l *leg) closed(e tape.Ending) []string {
	if l == nil {
		return nil
	}
	l.stage.Closed(e)
	l.sending.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = nil
	return l.notes
}

var (
	errNotOpen = errors.New("the connection is not open")
	errTooMuch = errors.New("too many messages wait to be sent")
)

// Send implements [Handle].
func (l *leg) Send(to tape.Side, op tape.Opcode, payload []byte, _ string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil {
		return errNotOpen
	}
	select {
	case l.outbox <- injected{to, op, payload}:
		return nil
	default:
		return errTooMuch
	}
}

// Close implements [Handle].
func (l *leg) Close(code int, reason, _ string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		l.conn.closeFrame(code, reason)
	}
}

// Note implements [Handle]: notes go into the report.
func (l *leg) Note(text, by string) {
	const most = 100
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.notes) < most {
		l.notes = append(l.notes, by+": "+text)
	}
}

// Tag implements [Handle]: a replay has no tape to tag.
func (l *leg) Tag(string, string) {}
