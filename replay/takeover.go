package replay

import (
	"context"
	"net/http"
	"time"

	"github.com/wstape/wstape/tape"
)

// Takeover goes on with a connection where the player ends, until it is over.
type Takeover func(ctx context.Context, t *Taken) error

// Taken is a connection that was handed over.
type Taken struct {
	Role    tape.Side     // whom the player stood for
	Request *http.Request // of the client, to a fake server; else nil
	// Unmatched are messages that have come and are not on the tape.
	Unmatched []tape.Content

	ended *tape.Ending // how the peer has left after them; nil if it has not
	play  *Play
	conn  *conn
}

// Receive returns the next message of the peer, or how the connection ended.
func (t *Taken) Receive(ctx context.Context) (tape.Content, *tape.Ending) {
	if len(t.Unmatched) > 0 {
		c := t.Unmatched[0]
		t.Unmatched = t.Unmatched[1:]
		return c, nil
	}
	if t.ended != nil {
		return tape.Content{}, t.ended
	}
	select {
	case e := <-t.conn.events:
		return e.content, e.ending
	case <-ctx.Done():
		return tape.Content{}, &tape.Ending{Kind: tape.EndError, Why: ctx.Err().Error()}
	}
}

// Send sends a message to the peer. It may be called from several goroutines.
func (t *Taken) Send(op tape.Opcode, payload []byte) error { return t.conn.write(op, payload) }

// End ends the connection.
func (t *Taken) End(ctx context.Context, e *tape.Ending) {
	t.play.ending = *e
	t.conn.end(ctx, e)
}

// answer ends a connection that the peer has ended.
func (t *Taken) answer(e *tape.Ending) {
	t.play.ending = *e
	if e.Kind == tape.EndClose {
		t.conn.closeFrame(e.Code, "") // RFC 6455 section 5.5.1: the same code
	}
}

// quiet is how long nothing must come after the end of a person's lines.
const quiet = time.Second

// Terminal hands a connection to a person: lines are sent as text messages, what
// comes is told. After the end of lines the connection ends when nothing has
// come for a second.
func Terminal(lines <-chan string, tell func(tape.Content)) Takeover {
	return func(ctx context.Context, t *Taken) error {
		for _, c := range t.Unmatched {
			tell(c)
		}
		if t.ended != nil {
			t.answer(t.ended)
			return nil
		}
		lines := lines
		var over <-chan time.Time
		for {
			select {
			case line, ok := <-lines:
				if !ok {
					lines, over = nil, time.After(quiet)
					continue
				}
				if err := t.Send(tape.Text, []byte(line)); err != nil {
					return err
				}
			case e := <-t.conn.events:
				if e.ending != nil {
					t.answer(e.ending)
					return nil
				}
				tell(e.content)
				if over != nil {
					over = time.After(quiet)
				}
			case <-over:
				t.End(ctx, &tape.Ending{Kind: tape.EndClose, Code: 1000})
				return nil
			case <-ctx.Done():
				t.End(context.WithoutCancel(ctx), &tape.Ending{Kind: tape.EndClose, Code: 1001})
				return nil
			}
		}
	}
}

// Scripted hands a connection to a stage: it is shown what comes, and sends what
// it likes through its handle. What it lets pass goes nowhere.
func Scripted(open func(about tape.Session, h Handle) Stage) Takeover {
	return func(ctx context.Context, t *Taken) error {
		session := t.play.plan.Session
		if t.Request != nil {
			session = about(&session, t.Request)
		}
		l := (&Options{Open: open}).openLeg(t.play.plan, session)
		l.opened(t.conn, session.Subprotocol)
		defer func() {
			t.conn.stop()
			t.play.Outcome.Notes = append(t.play.Outcome.Notes, l.closed(t.play.ending)...)
		}()
		for {
			c, ending := t.Receive(ctx)
			switch {
			case ctx.Err() != nil:
				t.End(context.WithoutCancel(ctx), &tape.Ending{Kind: tape.EndClose, Code: 1001})
				return nil
			case ending != nil:
				t.answer(ending)
				return nil
			}
			l.pass(t.Role.Other(), c, t.conn.quit)
		}
	}
}
