package replay

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/wstape/wstape/tape"
)

// Policy says what happens when the live peer does something else than on the
// tape.
type Policy string

// The policies.
const (
	Fail        Policy = "fail"        // close with 4000 and the reason; the default
	Skip        Policy = "skip"        // report it and go on with what matches next
	Passthrough Policy = "passthrough" // go on live with the upstream
)

// The defaults of Options.
const (
	DefaultTimeout = 10 * time.Second
	defaultGrace   = 200 * time.Millisecond
)

// MismatchCode is the close code of a session that did not go as recorded.
const MismatchCode = 4000

// Playing says how a plan is played.
type Playing struct {
	Pace       Pace
	OnMismatch Policy
	// Timeout is how long the peer may take longer than on the tape; default 10 s,
	// below 0 for ever.
	Timeout time.Duration
	// Until is the last step that is played before the connection is handed over;
	// 0 plays all.
	Until int
	// Decide may decide whether a live message matches; nil decides nothing. It is
	// asked for each with the level Script, else where the ladder says no.
	Decide func(expected, received *tape.Message) (verdict *bool, why string)
	// Keep keeps what was exchanged, for a takeover that says it again.
	Keep bool
	// Answered is told how long the peer took to answer: from the player's message
	// to the one that came next on the tape. May be nil.
	Answered func(time.Duration)
}

// Play steps through a plan with one live peer. It has neither sockets nor a
// clock: who uses it says what came and what time it is, and does what Next
// says. It belongs to one goroutine.
type Play struct {
	Outcome *Outcome

	plan *Plan
	run  *Run
	opts Playing

	times    []time.Time // when each step was over, by index
	opened   time.Time
	last     time.Time // of anything
	lastT    time.Duration
	heard    time.Time // when something of the peer was last
	heardT   time.Duration
	mine     int // index of the next step of the player
	want     int // index of the next step of the peer
	steps    int // words given to go on, with Pace.Step
	suspects []suspect
	verdict  *Mismatch // that ended it
	over     bool
	ending   tape.Ending // how the live connection ended

	log       []entry        // what was exchanged, with Keep
	unmatched []tape.Content // of the mismatch that handed the connection over
}

// suspect is a message that did not match, while it is being waited for the next
// one, which tells whether it was one too many or in the place of another.
type suspect struct {
	content tape.Content
	at      time.Time
}

// Action is what is to be done next. Of its fields one holds.
type Action struct {
	Send    *Step // send this step with Payload, and say so with Sent
	Payload []byte
	End     *tape.Ending // end the connection so
	Last    *Step        // with End: the step that it is, if it is one
	Live    bool         // go on live with the upstream, or with what else takes over
	Done    bool         // nothing is left to do: the peer has ended it
	// Until is when to ask again if nothing comes before.
	Until time.Time
	// Others says that another session of the run is waited for, too.
	Others bool
	// Word says that the player waits for a word to go on (Pace.Step).
	Word bool
}

// NewPlay begins to play a plan of a run.
func NewPlay(run *Run, p *Plan, opts Playing) *Play {
	if opts.Timeout == 0 {
		opts.Timeout = DefaultTimeout
	}
	play := &Play{plan: p, run: run, opts: opts, times: make([]time.Time, len(p.Steps))}
	play.Outcome = &Outcome{
		Session: p.Name, N: p.Session.N, Target: target(&p.Session), Steps: len(p.Steps), Notes: append([]string(nil), p.Notes...),
	}
	play.mine, play.want = play.next(0, false), play.next(0, true)
	return play
}

// next is the index of the next step of one side that is not over.
func (p *Play) next(from int, peer bool) int {
	for from < len(p.plan.Steps) && (p.plan.fromPeer(from) != peer || !p.times[from].IsZero()) {
		from++
	}
	return from
}

// step returns the step at an index if it is to be played.
func (p *Play) step(i int) *Step {
	if i >= len(p.plan.Steps) || p.opts.Until > 0 && i >= p.opts.Until {
		return nil
	}
	return &p.plan.Steps[i]
}

// Open begins with the handshake done; its values are those of the live peer's
// query or headers.
func (p *Play) Open(now time.Time, values []named) {
	p.opened, p.last, p.heard = now, now, now
	p.Outcome.Started = now
	var bound []binding
	for _, v := range values {
		if slot, ok := p.plan.opened[v.name]; ok {
			bound = append(bound, binding{slot, scalar{'s', v.text}})
		}
	}
	p.run.bindings.put(bound)
	p.run.mark(Ref{p.plan.index, 0}, now)
}

// Go gives the word for one step.
func (p *Play) Go() { p.steps++ }

// Next says what is to be done now.
func (p *Play) Next(now time.Time) Action {
	if len(p.suspects) > 0 {
		if until := p.suspects[0].at.Add(defaultGrace); now.Before(until) {
			return Action{Until: until}
		}
		p.resolve(now)
	}
	for {
		switch {
		case p.verdict != nil && p.opts.OnMismatch == Passthrough:
			p.over = true
			return Action{Live: true}
		case p.verdict != nil:
			p.over = true
			return Action{End: &tape.Ending{Kind: tape.EndClose, Code: MismatchCode, Reason: closeReason(p.verdict)}}
		case p.over:
			return Action{Done: true}
		}
		own, theirs := p.step(p.mine), p.step(p.want)
		switch {
		case own == nil && theirs == nil:
			return p.finish(now)
		case own != nil && p.mine < p.want:
			a, blocked := p.own(own, now)
			if !blocked {
				return a
			}
		case theirs.Gap != nil:
			p.opts.OnMismatch = Fail // nothing can be skipped here
			p.fail(now, &Mismatch{
				Kind: TapeGap, Text: fmt.Sprintf("the recording has a gap here (%s, %s: %s); what comes after it cannot be played",
					many(int(theirs.Gap.Frames), "frame"), many(int(theirs.Gap.Bytes), "byte"), theirs.Gap.Why),
			}, theirs)
		default:
			until := p.deadline(theirs)
			if now.Before(until) {
				return Action{Until: until}
			}
			p.late(theirs, now)
		}
	}
}

// own says what to do about a step of the player that all before it is over for.
func (p *Play) own(s *Step, now time.Time) (a Action, blocked bool) {
	// Of all that comes before it, what was last on the tape is the anchor.
	recorded, anchor := p.plan.Session.Started.Add(s.T), p.plan.Session.Started
	due := p.opened.Add(p.opts.Pace.after(s.T))
	if s.After > 0 {
		prior := s.After - 1
		anchor = anchor.Add(p.plan.Steps[prior].T)
		due = p.times[prior].Add(p.opts.Pace.after(recorded.Sub(anchor)))
	}
	for _, e := range s.Across {
		at, waiting := p.run.over(e)
		if at.IsZero() {
			until := p.deadline(s)
			switch {
			case waiting && now.Before(until):
				return Action{Until: until, Others: true}, false
			case waiting:
				p.fail(now, &Mismatch{Kind: Timeout, Text: "waited in vain for " + p.other(e)}, s)
			default:
				p.fail(now, &Mismatch{Kind: Missing, Text: "this waits for " + p.other(e) + ", which ended before"}, s)
			}
			if p.verdict == nil { // skipped
				p.skip(now, p.mine)
			}
			return Action{}, true
		}
		if t := p.run.recording.at(e); !t.Before(anchor) {
			anchor, due = t, at.Add(p.opts.Pace.after(recorded.Sub(t)))
		}
	}
	switch secret, unknown := p.run.bindings.unknown(s); {
	case p.opts.Pace.Step && p.steps == 0:
		return Action{Word: true}, false
	case !p.opts.Pace.Step && now.Before(due):
		return Action{Until: due}, false
	case unknown:
		p.fail(now, &Mismatch{Kind: Secret, Text: "this holds a secret, " + p.run.recording.links.hint(secret)}, s)
		if p.verdict == nil { // skipped
			p.skip(now, p.mine)
		}
		return Action{}, true
	case s.Ending != nil:
		p.over = true
		p.pass(p.mine, now)
		return Action{End: p.run.bindings.ending(s), Last: s}, false
	}
	return Action{Send: s, Payload: p.run.bindings.rebind(s)}, false
}

// keep notes what was exchanged, if somebody wants it.
func (p *Play) keep(from tape.Side, c tape.Content, now time.Time) {
	if p.opts.Keep && !c.Op.Control() {
		p.log = append(p.log, entry{from, now, c})
	}
}

// other names a step of another session.
func (p *Play) other(e Ref) string {
	plan := p.run.recording.Plans[e.Session]
	if e.Step == 0 {
		return fmt.Sprintf("%s (%s) to connect", plan.Name, target(&plan.Session))
	}
	return fmt.Sprintf("step %d of %s", e.Step, plan.Name)
}

// Sent says that the step of the last action has been sent, with what payload.
func (p *Play) Sent(payload []byte, now time.Time) {
	p.steps = max(0, p.steps-1)
	p.keep(p.plan.Role, tape.Content{Op: p.plan.Steps[p.mine].Op, Payload: payload, Len: uint64(len(payload))}, now)
	p.pass(p.mine, now)
}

// pass notes that a step is over.
func (p *Play) pass(i int, now time.Time) {
	p.times[i] = now
	p.Outcome.Played++
	p.last, p.lastT = now, max(p.lastT, p.plan.Steps[i].T)
	if p.plan.fromPeer(i) {
		p.heard, p.heardT = now, p.lastT
	}
	p.run.mark(Ref{p.plan.index, i + 1}, now)
	p.mine, p.want = p.next(p.mine, false), p.next(p.want, true)
}

// skip notes that a step is not waited for any more.
func (p *Play) skip(now time.Time, i int) {
	p.pass(i, now)
	p.Outcome.Played--
}

// deadline is until when a step is waited for: as long after what was last as on
// the tape, longer where the player itself takes more time, and the timeout.
func (p *Play) deadline(s *Step) time.Time {
	if p.opts.Timeout < 0 {
		return p.last.Add(math.MaxInt64)
	}
	distance := max(0, s.T-p.lastT)
	until := p.last.Add(max(distance, p.opts.Pace.after(distance)))
	// A player that is faster than the tape must not hurry a peer that goes by its
	// own clock.
	if own := p.heard.Add(min(max(0, s.T-p.heardT), maxOwnClock)); s.From != p.plan.Role && own.After(until) {
		until = own
	}
	return until.Add(p.opts.Timeout)
}

// maxOwnClock bounds how long a peer is waited for that may be going by its own
// clock: what is really missing is to be found out before that.
const maxOwnClock = time.Minute

// finish ends a play of which nothing is left.
func (p *Play) finish(now time.Time) Action {
	switch {
	case p.until():
		p.over = true
		return Action{Live: true}
	case p.plan.Role == tape.Server && (p.opts.Timeout < 0 || now.Before(p.last.Add(p.opts.Timeout))):
		return Action{Until: p.last.Add(max(p.opts.Timeout, time.Second))} // the recording does not say how it ended: the client will
	}
	p.over = true
	return Action{End: &tape.Ending{Kind: tape.EndClose, Code: 1000}}
}

// until reports whether the connection is handed over after some step.
func (p *Play) until() bool { return p.opts.Until > 0 && len(p.plan.Steps) >= p.opts.Until }

// handsOver reports whether what comes now is for who takes over.
func (p *Play) handsOver() bool {
	switch {
	case p.over:
		return false
	case p.verdict != nil:
		return p.opts.OnMismatch == Passthrough
	}
	return p.until() && p.step(p.mine) == nil && p.step(p.want) == nil
}

// Received says that a text or binary message came.
func (p *Play) Received(c tape.Content, now time.Time) {
	if p.over || p.verdict != nil {
		return // what comes after the end is not part of it
	}
	if len(p.suspects) > 0 {
		p.suspects = append(p.suspects, suspect{c, now})
		p.resolve(now)
		return
	}
	s := p.step(p.want)
	switch {
	case s != nil && s.message() && p.match(p.want, &c, now):
		return
	case s == nil && p.until(): // the player has something to send yet, the peer does not wait for it
		p.unmatched = append(p.unmatched, c)
		return
	}
	p.suspects = append(p.suspects, suspect{c, now})
	if s == nil || !s.message() {
		p.resolve(now)
	}
}

// match takes a message for the step at an index if it matches.
func (p *Play) match(i int, c *tape.Content, now time.Time) bool {
	diff, bound := p.compare(&p.plan.Steps[i], c, now)
	if len(diff) > 0 {
		return false
	}
	p.keep(p.plan.Role.Other(), *c, now)
	p.accept(i, bound, now)
	return true
}

func (p *Play) accept(i int, bound []binding, now time.Time) {
	p.run.bindings.put(bound)
	if i > 0 && !p.plan.fromPeer(i-1) && p.opts.Answered != nil && !p.times[i-1].IsZero() {
		p.opts.Answered(now.Sub(p.times[i-1]))
	}
	p.pass(i, now)
}

// compare compares a message with a step, and asks who may decide.
func (p *Play) compare(s *Step, c *tape.Content, now time.Time) ([]Difference, []binding) {
	x := comparison{p.plan, p.run.bindings, now}
	diff, bound := x.compare(s, c)
	if p.opts.Decide == nil || len(diff) == 0 && p.plan.rules.level != Script {
		return diff, bound
	}
	expected := &tape.Message{Content: s.Content, Seq: s.Seq, T: s.T, From: s.From}
	received := &tape.Message{Content: *c, T: now.Sub(p.opened), From: s.From}
	verdict, why := p.opts.Decide(expected, received)
	switch {
	case verdict == nil:
	case *verdict:
		return nil, bound
	case why != "":
		diff = append(diff, Difference{Path: "onMatch", Want: "a match", Got: why})
	case len(diff) == 0:
		diff = append(diff, Difference{Path: "onMatch", Want: "a match", Got: "false"})
	}
	return diff, bound
}

// Ended says that the peer's connection has ended.
func (p *Play) Ended(e tape.Ending, now time.Time) {
	if len(p.suspects) > 0 {
		p.resolve(now)
	}
	if p.over || p.verdict != nil {
		p.over = true
		return
	}
	p.over = true
	var closing *tape.Content
	if e.Kind == tape.EndClose {
		payload := tape.AppendClose(nil, e.Code, e.Reason)
		closing = &tape.Content{Op: tape.Close, Payload: payload, Len: uint64(len(payload))}
	}
	theirs, own := p.step(p.want), p.unsaid()
	switch {
	case theirs != nil && theirs.Ending == nil:
		m := &Mismatch{Kind: EarlyEnd, Received: closing, Text: fmt.Sprintf("the %s ended the session (%s) before this came", p.plan.Role.Other(), endingText(&e))}
		if theirs.Gap != nil {
			m = &Mismatch{Kind: TapeGap, Text: "the recording has a gap here (" + theirs.Gap.Why + "); what comes after it cannot be played"}
		}
		p.fail(now, m, theirs)
	case theirs != nil && !sameEnding(theirs.Ending, &e):
		p.fail(now, &Mismatch{Kind: WrongEnd, Received: closing, Text: fmt.Sprintf("the %s should have ended the session with %s, but ended it with %s",
			p.plan.Role.Other(), endingText(theirs.Ending), endingText(&e))}, theirs)
	case theirs == nil && own != nil && own.Ending != nil:
		p.fail(now, &Mismatch{Kind: WrongEnd, Received: closing, Text: fmt.Sprintf("on the tape the %s ended the session, with %s; now the %s did, with %s",
			p.plan.Role, endingText(own.Ending), p.plan.Role.Other(), endingText(&e))}, own)
	case own != nil && p.owed(own, theirs):
		p.fail(now, &Mismatch{Kind: EarlyEnd, Received: closing, Text: fmt.Sprintf("the %s ended the session (%s) before the %s could send this",
			p.plan.Role.Other(), endingText(&e), p.plan.Role)}, own)
	case theirs != nil:
		p.over = false
		p.pass(p.want, now)
		p.over = true
	}
	if left := p.unsent(); left > 0 && p.verdict == nil {
		p.Outcome.Notes = append(p.Outcome.Notes, fmt.Sprintf("the %s ended the session before %s of the recording could be sent", p.plan.Role.Other(), many(left, "message")))
	}
}

// owed reports whether a step that was not sent should have been before the peer
// ended the session: everything of a client, which acts, but only the first
// answer of a server, which may also push.
func (p *Play) owed(s, ending *Step) bool {
	if ending != nil && s.N > ending.N {
		return false
	}
	if p.plan.Role == tape.Client {
		return true
	}
	return !slices.ContainsFunc(p.plan.Steps[s.After:s.N-1], func(s Step) bool { return s.message() })
}

// unsaid is the player's next step, pings aside: nobody waits for those.
func (p *Play) unsaid() *Step {
	for i := p.mine; p.step(i) != nil; i = p.next(i+1, false) {
		if s := p.step(i); s.message() || s.Ending != nil {
			return s
		}
	}
	return nil
}

// unsent counts the player's steps that were not sent.
func (p *Play) unsent() (n int) {
	for i := range p.plan.Steps {
		if s := p.step(i); s != nil && !p.plan.fromPeer(i) && p.times[i].IsZero() && s.message() {
			n++
		}
	}
	return n
}

// sameEnding compares how a session ended with how it did on the tape. Whether a
// connection that just vanished was reset is the system's doing.
func sameEnding(want, got *tape.Ending) bool {
	if want.Kind != tape.EndClose || got.Kind != tape.EndClose {
		return (want.Kind == tape.EndClose) == (got.Kind == tape.EndClose)
	}
	return want.Code == got.Code && alike(want.Reason, got.Reason, `.+`)
}

func endingText(e *tape.Ending) string {
	switch {
	case e.Kind == tape.EndEOF:
		return "no close frame"
	case e.Kind == tape.EndReset:
		return "a reset"
	case e.Kind != tape.EndClose:
		return "an error: " + e.Why
	case e.Code == tape.NoStatus:
		return "close without a code"
	case e.Reason == "":
		return fmt.Sprintf("close %d", e.Code)
	}
	return fmt.Sprintf("close %d %q", e.Code, e.Reason)
}

// closeReason is what fits a close frame (RFC 6455 section 5.5: 125 bytes with
// the code).
func closeReason(m *Mismatch) string {
	text := fmt.Sprintf("%s at step %d", m.Kind, m.Step)
	return text[:min(len(text), 123)]
}

// Abort ends a play from outside: its context is done.
func (p *Play) Abort(now time.Time, why string) {
	if p.over || p.verdict != nil {
		return
	}
	s := p.step(p.want)
	if s == nil {
		s = p.step(p.mine)
	}
	if s == nil {
		p.over = true // the recording does not say how it ended
		return
	}
	p.opts.OnMismatch = Fail
	p.fail(now, &Mismatch{Kind: EarlyEnd, Text: why}, s)
	p.over = true
}
