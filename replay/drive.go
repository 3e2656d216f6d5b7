package replay

import (
	"context"
	"net/http"
	"time"

	"github.com/wstape/wstape/tape"
)

// driver gives a play a connection and the time.
type driver struct {
	play  *Play
	conn  *conn
	words <-chan struct{} // one for each step, with Pace.Step
	held  []event         // what came while something was being sent
	ended *tape.Ending    // how the peer has ended the connection; nil if it has not
}

// finish plays a session to its end, with who takes over if somebody does.
func (d *driver) finish(ctx context.Context, takeover Takeover, req *http.Request) {
	live, unmatched := d.run(ctx)
	if !live {
		return
	}
	o := d.play.Outcome
	if takeover == nil {
		d.conn.end(ctx, &tape.Ending{Kind: tape.EndClose, Code: 1000})
		return
	}
	t := &Taken{Role: d.play.plan.Role, Request: req, Unmatched: unmatched, ended: d.ended, play: d.play, conn: d.conn}
	for _, e := range d.held {
		if t.ended = e.ending; e.ending == nil {
			t.Unmatched = append(t.Unmatched, e.content)
		}
	}
	if err := takeover(ctx, t); err != nil {
		o.Notes = append(o.Notes, "after the player: "+err.Error())
	}
}

// run plays until the connection is over; live if it is to go on otherwise, with
// the messages that did not match.
func (d *driver) run(ctx context.Context) (live bool, unmatched []tape.Content) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	stopped := ctx.Done()
	var stop, last time.Time // when to give up after ctx is done
	for {
		if d.one() && !stop.IsZero() {
			stop = time.Now().Add(defaultGrace)
		}
		changed := d.play.run.Changed() // before Next looks, so that nothing is missed
		a := d.play.Next(time.Now())
		switch {
		case a.Send != nil:
			began := time.Now() // the answer may be here before the call is back
			if err := d.send(&a); err != nil {
				d.lost(ctx, err)
				continue
			}
			d.play.Sent(a.Payload, began)
			continue
		case a.End != nil:
			d.play.ending = *a.End
			d.conn.leave(ctx, a.End, a.Last)
			return false, nil
		case a.Live:
			return true, d.play.unmatched
		case a.Done:
			return false, nil
		}
		if len(d.held) > 0 {
			continue
		}
		if !a.Others {
			changed = nil
		}
		var words <-chan struct{}
		if a.Word {
			words = d.words
		}
		if now := time.Now(); !stop.IsZero() && (now.After(stop) || now.After(last)) {
			d.play.Abort(now, "the replay was stopped before this came")
			d.conn.closeFrame(1001, "")
			return false, nil
		}
		until := a.Until
		if !stop.IsZero() && (until.IsZero() || stop.Before(until)) {
			until = stop
		}
		var due <-chan time.Time
		if !until.IsZero() {
			timer.Reset(time.Until(until))
			due = timer.C
		}
		select {
		case e := <-d.conn.events:
			d.held = append(d.held, e)
		case <-due:
		case <-changed:
		case <-words:
			d.play.Go()
		case <-stopped:
			// What the peer has sent already is still taken: who stops the replay may
			// have seen the client leave.
			stopped = nil
			stop, last = time.Now().Add(defaultGrace), time.Now().Add(closeWait)
		}
	}
}

// maxHeld bounds what is held back while something is being sent.
const maxHeld = 16 << 20

// send sends a step and reads on meanwhile: a peer that sends, too, may not read
// before it is read.
func (d *driver) send(a *Action) error {
	sent := make(chan error, 1)
	go func() { sent <- d.conn.play(a.Send, a.Payload, d.play.plan) }()
	events, size := d.conn.events, 0
	for {
		select {
		case err := <-sent:
			return err
		case e := <-events:
			d.held = append(d.held, e)
			if size += len(e.content.Payload); size > maxHeld {
				events = nil
			}
		}
	}
}

// release takes what was held back.
func (d *driver) release() (ended bool) {
	held := d.held
	d.held = nil
	for _, e := range held {
		d.take(e)
		ended = ended || e.ending != nil
	}
	return ended
}

// one takes what came next, if anything has come: one at a time, so that what it
// sets going is sent before the peer's next word is looked at. What is for who
// takes over is left to them.
func (d *driver) one() (took bool) {
	var e event
	switch {
	case d.play.handsOver():
		return false
	case len(d.held) > 0:
		e, d.held = d.held[0], d.held[1:]
	default:
		select {
		case e = <-d.conn.events:
		default:
			return false
		}
	}
	d.take(e)
	return true
}

func (d *driver) take(e event) {
	if e.ending == nil {
		d.play.Received(e.content, e.at)
		return
	}
	d.ended = e.ending
	d.play.ending = *e.ending
	d.play.Ended(*e.ending, e.at)
	if e.ending.Kind == tape.EndClose {
		d.conn.closeFrame(d.play.plan.answerTo(e.ending))
	}
}

// lost learns from the reader how a connection ended that cannot be written any more.
func (d *driver) lost(ctx context.Context, err error) {
	if d.release() {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, closeWait)
	defer cancel()
	for {
		select {
		case e := <-d.conn.events:
			d.take(e)
			if e.ending != nil {
				return
			}
		case <-bounded.Done():
			d.play.Ended(tape.Ending{Kind: tape.EndError, Why: err.Error()}, time.Now())
			return
		}
	}
}
