package replay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// ErrNothing says that a recording holds nothing that could be played.
var ErrNothing = errors.New("there is nothing to replay")

// Step is one thing that happens in a session as the player sees it: a message,
// a ping, or how the session ended.
type Step struct {
	N    int           // from 1
	Seq  uint64        // of its first frame on the tape; 0 for an ending without a frame
	T    time.Duration // since the recorded session began
	From tape.Side
	tape.Content
	Ending *tape.Ending // how the connection ended, of the last step; nil of all others
	Gap    *tape.Gap    // a hole in the recording: nothing after it can be played

	// After is the last step of the other side that must have come before the
	// player sends this one; 0 if only the handshake must.
	After int
	// Across names steps of other sessions that must be over before the player
	// sends this one.
	Across []Ref

	frames     []tape.Frame // of what the player sends, as they were on the wire, with Matching.Wire; empty if they went out inside of another message
	compressed bool         // its frames are
	view       view
	sources    []source // where it may hold what the live peer chose
	uses       []use    // where what the player sends repeats what the live peer chose
}

// Ref names a step of one session of a recording, or its opening (step 0).
type Ref struct {
	Session int // index in the recording
	Step    int
}

// message reports whether the step is a text or binary message.
func (s *Step) message() bool { return s.Ending == nil && s.Gap == nil && !s.Op.Control() }

// Plan is what one side of a recorded session does, and what it expects of the
// other side: the session's steps in the order of the tape. It is not changed
// after it was made, and may be played any number of times at once.
type Plan struct {
	Name    string    // as people name the session
	Role    tape.Side // whom the player stands for
	Session tape.Session
	Steps   []Step
	Opens   []Ref    // what must be over in other sessions before this one begins, of a fake client
	Notes   []string // what of the recording is not played, and why

	index   int              // in its recording
	deflate wire.Compression // as agreed on the tape
	opened  slots            // what of the handshake the live peer chose
	rules   *rules
	answer  *tape.Ending // how the player's side answered the peer's close frame; nil if it did not
}

// answerTo is how the player answers a close frame: as on the tape where that is
// the one on the tape, else with the same code (RFC 6455 section 5.5.1).
func (p *Plan) answerTo(e *tape.Ending) (code int, reason string) {
	if n := len(p.Steps); p.answer != nil && n > 0 && p.Steps[n-1].Ending != nil && sameEnding(p.Steps[n-1].Ending, e) {
		return p.answer.Code, p.answer.Reason
	}
	return e.Code, ""
}

// Source names a session to be played.
type Source struct {
	Reader record.Reader
	N      uint64
	Name   string // as people name it, "session 3"
}

// Recording is some sessions that are played together, and the order between
// them. Like its plans it may be played any number of times at once.
type Recording struct {
	Role  tape.Side
	Plans []*Plan

	links *links
}

// Load reads sessions and derives their causal order, for a player that stands
// for role. Rules of the options hold for all of them; those that a cassette
// carries hold for its own session.
func Load(ctx context.Context, role tape.Side, sources []Source, opts Matching) (*Recording, error) {
	if len(sources) == 0 {
		return nil, ErrNothing
	}
	r := &Recording{Role: role}
	for i, src := range sources {
		p, err := newPlan(ctx, role, src, opts)
		if err != nil {
			return nil, fmt.Errorf("prepare %s: %w", src.Name, err)
		}
		p.index = i
		r.Plans = append(r.Plans, p)
	}
	r.links = findLinks(r)
	r.order()
	return r, nil
}

func newPlan(ctx context.Context, role tape.Side, src Source, opts Matching) (*Plan, error) {
	entry, err := src.Reader.Session(ctx, src.N)
	if err != nil {
		return nil, err
	}
	p := &Plan{Name: src.Name, Role: role, Session: entry.Session}
	if p.Session.Status == 0 {
		p.Session.Status = 101 // written by hand
	}
	p.deflate = record.Compression(&p.Session)
	if p.rules, err = opts.rules(entry.Rules); err != nil {
		return nil, err
	}
	if p.Session.Status != 101 {
		return p, nil
	}
	b := planner{plan: p, wire: opts.Wire}
	for line, err := range record.Lines(ctx, src.Reader, src.N, record.ReadOptions{}) {
		if err != nil {
			return nil, err
		}
		if !b.line(line) {
			break
		}
	}
	b.finish()
	if opts.Wire {
		return p, p.addFrames(ctx, src)
	}
	return p, nil
}

// addFrames reads the frames of what the player sends.
func (p *Plan) addFrames(ctx context.Context, src Source) error {
	bySeq := map[uint64]*Step{}
	for i := range p.Steps {
		if s := &p.Steps[i]; s.From == p.Role && s.Seq > 0 {
			bySeq[s.Seq] = s
		}
	}
	var open *Step // whose message is fragmented and not at its end
	for f, err := range record.Frames(ctx, src.Reader, src.N, record.ReadOptions{}) {
		if err != nil {
			return err
		}
		if f.From != p.Role || f.Leg == tape.LegIn || f.Redacted {
			continue
		}
		s := bySeq[f.Seq]
		data := !f.Opcode.Control() && f.Opcode != tape.OpRaw
		switch {
		case open != nil:
			open.frames = append(open.frames, *f)
			if s != nil {
				s.frames = []tape.Frame{}
			}
			if data && f.Fin {
				open = nil
			}
		case s != nil:
			s.frames, s.compressed = []tape.Frame{*f}, f.RSV&4 != 0
			if data && !f.Fin {
				open = s
			}
		}
	}
	return nil
}

// planner turns a session's lines into steps.
type planner struct {
	plan    *Plan
	wire    bool
	last    [2]int // last step of each side
	left    map[string]int
	pinged  map[string]bool // payloads of the peer's pings, which are answered without a step
	stopped bool
}

// onLeg returns what of a message was to be seen on the leg on which the player
// stands: of its own side what went out, of the other what came in.
func onLeg(m *tape.Message, role tape.Side) (c tape.Content, ok bool) {
	switch {
	case m.From == role:
		return m.Content, m.Fate != tape.Dropped
	case m.Fate == tape.Injected:
		return c, false
	case m.Fate == tape.Edited && m.Received != nil:
		return *m.Received, true
	}
	return m.Content, true
}

// line adds what a line of the tape tells; false after the last step.
func (b *planner) line(l *tape.Line) bool {
	if b.stopped { // by the peer: what is left to know is how the player's side answered
		return !b.answer(l.Message)
	}
	if l.Gap != nil {
		gap := *l.Gap
		b.add(Step{T: l.T, From: b.plan.Role.Other(), Gap: &gap})
		b.stopped = true
		return false
	}
	m := l.Message
	if m == nil {
		return true
	}
	c, ok := onLeg(m, b.plan.Role)
	if !ok {
		return true
	}
	s := Step{Seq: m.Seq, T: m.T, From: m.From, Content: c}
	switch {
	case m.From != b.plan.Role:
	case b.wire && m.Redacted:
		b.leave("played in one frame, because its secrets were replaced: it is not what was on the wire")
	case len(m.Frames) > 1 && !b.wire:
		b.leave("played in one frame, where there were several on the tape: --wire plays them as they were")
	}
	switch {
	case b.wire && m.From == b.plan.Role && (m.Partial || c.Op == tape.OpRaw || c.Op.Reserved()):
		b.add(s) // whatever it is, its frames are played
	case m.Partial:
		b.leave("not played: on the tape it never ended")
	case m.Error != "" && m.Fate != tape.Edited || m.ReceivedError != "" && m.From != b.plan.Role:
		s.Gap = &tape.Gap{Frames: uint64(max(1, len(m.Frames))), Bytes: m.WireLen, Why: "a message could not be read: " + m.Error + m.ReceivedError}
		b.add(s)
		b.stopped = true
		return false
	case c.Op == tape.Close:
		code, reason, ok := tape.ParseClose(c.Payload)
		if !ok {
			if code, reason = 1002, ""; !b.wire || m.From != b.plan.Role {
				b.leave("played as close 1002: its payload is not valid")
			}
		}
		from := m.From
		s.Ending = &tape.Ending{Kind: tape.EndClose, Code: code, Reason: reason, From: &from}
		b.add(s)
		b.stopped = true
		return m.From != b.plan.Role
	case c.Op == tape.Ping && m.From != b.plan.Role:
		b.pinged = set(b.pinged, string(c.Payload))
	case c.Op == tape.Pong && (m.From != b.plan.Role || b.pinged[string(c.Payload)]):
		// the answers to pings are the library's, on both sides
	case c.Op == tape.OpRaw || c.Op.Reserved():
		b.leave("not played: of a reserved opcode, or not WebSocket at all")
	default:
		b.add(s)
	}
	return true
}

// answer takes down the player's close frame, if this is it.
func (b *planner) answer(m *tape.Message) bool {
	if m == nil || m.Op != tape.Close || m.From != b.plan.Role || m.Fate == tape.Dropped {
		return false
	}
	if code, reason, ok := tape.ParseClose(m.Payload); ok {
		if hasPseudonym(reason) {
			reason = ""
		}
		b.plan.answer = &tape.Ending{Kind: tape.EndClose, Code: code, Reason: reason}
	}
	return true
}

func set(m map[string]bool, key string) map[string]bool {
	if m == nil {
		m = map[string]bool{}
	}
	m[key] = true
	return m
}

// leave counts what is not played.
func (b *planner) leave(why string) {
	if b.left == nil {
		b.left = map[string]int{}
	}
	if b.left[why]++; b.left[why] == 1 {
		b.plan.Notes = append(b.plan.Notes, why)
	}
}

func (b *planner) add(s Step) {
	p := b.plan
	if s.N = len(p.Steps) + 1; s.N > 1 {
		s.T = max(s.T, p.Steps[s.N-2].T) // a cassette written by hand may say what it likes
	}
	s.After = b.last[p.Role.Other()]
	b.last[s.From] = s.N
	s.view = look(&s.Content)
	p.Steps = append(p.Steps, s)
}

// finish adds the ending, where it was no close frame.
func (b *planner) finish() {
	p := b.plan
	for i, why := range p.Notes {
		p.Notes[i] = many(b.left[why], "message") + " " + why
	}
	if c := p.deflate; c.On && c.NoTakeover != [2]bool{true, true} && !b.wire {
		p.Notes = append(p.Notes, "compressed messages are played without context takeover")
	}
	if b.stopped {
		return
	}
	e := p.Session.Ending
	switch {
	case e == nil:
		p.Notes = append(p.Notes, fmt.Sprintf("the recording is %s: it does not say how the session ended", p.Session.State))
	case e.From == nil:
		// nobody's doing, or a cassette written by hand that says nothing
	case e.Kind == tape.EndEOF, e.Kind == tape.EndReset:
		ending := *e
		b.add(Step{T: p.Session.Duration, From: *e.From, Ending: &ending})
	case e.Kind != tape.EndClose:
		p.Notes = append(p.Notes, fmt.Sprintf("the recording ended with %s (%s), which is not played", e.Kind, e.Why))
	}
}

func many(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func sessionName(n uint64) string { return fmt.Sprintf("session %d", n) }
