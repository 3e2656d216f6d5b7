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
	t := &Taken{Role: d.play.plan.Role, Request: req, Unmatched: unmatched, play: d.play, conn: d.conn}
	if err := takeover(ctx, t); err != nil {
		o.Notes = append(o.Notes, "after the player: "+err.Error())
	}
}

// run plays until the connection is over; live if it is to go on otherwise, with
// the messages that did not match.
func (d *driver) run(ctx context.Context) (live bool, unmatched []tape.Content) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		d.pending()
		changed := d.play.run.Changed() // before Next looks, so that nothing is missed
		a := d.play.Next(time.Now())
		switch {
		case a.Send != nil:
			if err := d.conn.play(a.Send, a.Payload, d.play.plan); err != nil {
				d.lost(ctx, err)
				continue
			}
			d.play.Sent(a.Payload, time.Now())
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
		if !a.Others {
			changed = nil
		}
		var words <-chan struct{}
		if a.Word {
			words = d.words
		}
		var due <-chan time.Time
		if !a.Until.IsZero() {
			timer.Reset(time.Until(a.Until))
			due = timer.C
		}
		select {
		case e := <-d.conn.events:
			d.take(e)
		case <-due:
		case <-changed:
		case <-words:
			d.play.Go()
		case <-ctx.Done():
			if d.play.leaving() {
				d.farewell()
			}
			d.play.Abort(time.Now(), "the replay was stopped before this came")
			d.conn.closeFrame(1001, "")
			return false, nil
		}
	}
}

// farewell waits a moment for the end of a session of which nothing else is
// missing: who stops the replay may have seen the client leave already.
func (d *driver) farewell() {
	moment := time.NewTimer(defaultGrace)
	defer moment.Stop()
	select {
	case e := <-d.conn.events:
		d.take(e)
	case <-moment.C:
	}
}

// pending takes what has come already: the order in which it is looked at is
// then that in which it came.
func (d *driver) pending() {
	for {
		select {
		case e := <-d.conn.events:
			d.take(e)
		default:
			return
		}
	}
}

func (d *driver) take(e event) {
	if e.ending == nil {
		d.play.Received(e.content, time.Now())
		return
	}
	d.play.ending = *e.ending
	d.play.Ended(*e.ending, time.Now())
	if e.ending.Kind == tape.EndClose {
		d.conn.closeFrame(e.ending.Code, "") // RFC 6455 section 5.5.1: the same code
	}
}

// lost learns from the reader how a connection ended that cannot be written any more.
func (d *driver) lost(ctx context.Context, err error) {
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
