package replay

import (
	"fmt"
	"time"

	"github.com/wstape/wstape/tape"
)

// fail notes a mismatch at a step, which may be nil.
func (p *Play) fail(now time.Time, m *Mismatch, s *Step) {
	m.From, m.T = p.plan.Role.Other(), now.Sub(p.opened)
	if s != nil {
		m.Step, m.Seq, m.From = s.N, s.Seq, s.From
		if m.Expected == nil && m.Kind != Extra && (s.message() || s.Op == tape.Close && s.Ending != nil) {
			content := s.Content
			m.Expected = &content
		}
	}
	switch p.opts.OnMismatch {
	case Skip:
		p.Outcome.Skipped = append(p.Outcome.Skipped, *m)
		return
	case Passthrough:
		p.Outcome.Skipped = append(p.Outcome.Skipped, *m)
		p.verdict = m
		return
	}
	p.Outcome.Mismatches = append(p.Outcome.Mismatches, *m)
	p.verdict = m
}

// late notes that a step of the peer did not come in time.
func (p *Play) late(s *Step, now time.Time) {
	what := "this message"
	if s.Ending != nil {
		what = "the end (" + endingText(s.Ending) + ")"
	}
	p.fail(now, &Mismatch{Kind: Timeout, Text: fmt.Sprintf("waited %s for %s, in vain", now.Sub(p.last).Round(time.Millisecond), what)}, s)
	if p.verdict == nil {
		p.skip(now, p.want)
	}
}

// lookAhead bounds among how many recorded messages a place for one is sought.
const lookAhead = 1000

// resolve decides in what way the suspects differ from the tape: with the
// message after it, if there was one, a message that is out of its place can be
// told from one too many.
func (p *Play) resolve(now time.Time) {
	first := p.suspects[0]
	var second *suspect
	if len(p.suspects) > 1 {
		second = &p.suspects[1]
	}
	for _, x := range p.suspects {
		p.unmatched = append(p.unmatched, x.content)
	}
	p.suspects = nil
	s := p.step(p.want)
	m := &Mismatch{Received: &first.content}
	if s == nil || !s.message() {
		m.Kind, m.Text = Extra, "nothing more was to come from the "+p.plan.Role.Other().String()
		if s != nil && s.Ending != nil {
			m.Text = fmt.Sprintf("the %s should have ended the session with %s", p.plan.Role.Other(), endingText(s.Ending))
		}
		m.Nearest = p.nearest(&first.content, -1, maxDiff, now)
		if m.Step = len(p.plan.Steps) + 1; p.opts.Until > 0 {
			m.Step = min(m.Step, p.opts.Until+1)
		}
		p.fail(now, m, s)
		return
	}
	k := p.want
	var bound []binding
	m.Diff, bound = p.compare(s, &first.content, now)
	ahead, aheadBound := p.ahead(k+1, &first.content, now)
	secondIsDue := false
	if second != nil {
		diff, _ := p.compare(s, &second.content, now)
		secondIsDue = len(diff) == 0
	}
	content := s.Content
	m.Expected = &content
	switch {
	case ahead > 0 && secondIsDue:
		m.Kind = Order
		m.Text = fmt.Sprintf("what is step %d on the tape came before this one", ahead+1)
	case ahead > 0:
		m.Kind = Missing
		m.Text = fmt.Sprintf("this did not come; what came is step %d", ahead+1)
	case secondIsDue || p.repeats(&first.content, k):
		m.Kind = Extra
		m.Text = "a message came that is not on the tape; this one was due"
	case s.Op != first.content.Op:
		m.Kind = WrongType
		m.Text = fmt.Sprintf("this should have come as %s, but came as %s", s.Op, first.content.Op)
	default:
		m.Kind = Changed
		m.Text = "this came, but not as on the tape"
	}
	m.Nearest = p.nearest(&first.content, k, len(m.Diff), now)
	p.fail(now, m, s)
	if p.verdict != nil {
		return
	}
	p.unmatched = nil
	// Skipping: go on as what it was.
	switch m.Kind {
	case Order:
		p.accept(ahead, aheadBound, now)
	case Missing:
		for p.want < ahead {
			p.skip(now, p.want)
		}
		p.accept(ahead, aheadBound, now)
	case Changed, WrongType:
		p.accept(k, bound, now)
	}
	if second != nil {
		p.Received(second.content, second.at)
	}
}

// ahead finds a later message of the peer that matches; 0 if there is none.
func (p *Play) ahead(from int, c *tape.Content, now time.Time) (int, []binding) {
	for i, n := from, 0; p.step(i) != nil && n < lookAhead; i++ {
		if s := p.step(i); p.plan.fromPeer(i) && s.message() && p.times[i].IsZero() {
			n++
			if diff, bound := p.compare(s, c, now); len(diff) == 0 {
				return i, bound
			}
		}
	}
	return 0, nil
}

// repeats reports whether the peer said just that before.
func (p *Play) repeats(c *tape.Content, before int) bool {
	for i := max(0, before-lookAhead); i < before; i++ {
		if s := p.step(i); p.plan.fromPeer(i) && s.Op == c.Op && string(s.Payload) == string(c.Payload) {
			return true
		}
	}
	return false
}

// nearest finds the recorded message, other than the one that was due, that is
// most like what came.
func (p *Play) nearest(c *tape.Content, due, worst int, now time.Time) (best *Candidate) {
	x := comparison{p.plan, p.run.bindings, now}
	from := max(0, due-lookAhead/2)
	for i := from; i < min(len(p.plan.Steps), from+lookAhead); i++ {
		s := &p.plan.Steps[i]
		if i == due || !p.plan.fromPeer(i) || !s.message() || s.Op != c.Op {
			continue
		}
		diff, _ := x.compare(s, c)
		if len(diff) == 0 && best != nil && best.Same || len(diff) >= worst {
			continue
		}
		worst = len(diff)
		best = &Candidate{Step: s.N, Seq: s.Seq, Same: len(diff) == 0, Diff: diff}
	}
	return best
}
