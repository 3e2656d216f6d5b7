package replay

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/wstape/wstape/tape"
)

// What is sent may depend on everything that had been heard: within a session
// the player sends a step when all that the peer sent before it on the tape has
// come (Step.After). Between sessions:
//
// A fake client holds both ends of all its sessions, so it keeps the whole order
// of the tape: nothing is sent before what was heard or sent earlier in any
// session has been.
//
// A fake server does not know whether all clients will come. It waits for
// another session only where what it sends was caused by it: where it says what
// that session's client said, or how it introduced itself in the handshake.

// merged lists the openings (step 0) and steps of all sessions in the order of
// time.
func (r *Recording) merged() []Ref {
	var out []Ref
	for i, p := range r.Plans {
		for n := range len(p.Steps) + 1 {
			out = append(out, Ref{i, n})
		}
	}
	slices.SortStableFunc(out, func(a, b Ref) int {
		if a.Session == b.Session {
			return cmp.Compare(a.Step, b.Step)
		}
		return r.at(a).Compare(r.at(b))
	})
	return out
}

// at is when something happened on the tape.
func (r *Recording) at(e Ref) time.Time {
	p := r.Plans[e.Session]
	if e.Step == 0 {
		return p.Session.Started
	}
	return p.Session.Started.Add(p.Steps[e.Step-1].T)
}

// order fills in what steps wait for in other sessions.
func (r *Recording) order() {
	if len(r.Plans) < 2 {
		return
	}
	if r.Role == tape.Client {
		r.orderAll()
	} else {
		r.orderCaused()
	}
}

// orderAll keeps the order of the tape between sessions.
func (r *Recording) orderAll() {
	// The last of each session so far, by side; peers' steps and the player's
	// own come each in their order, not as one.
	type reached [2]int
	last := make([]reached, len(r.Plans))
	known := make([][]reached, len(r.Plans)) // what a session has waited for already
	for i := range known {
		known[i] = make([]reached, len(r.Plans))
		for k := range known[i] {
			known[i][k] = reached{-1, -1}
		}
		last[i] = reached{-1, -1}
	}
	for _, e := range r.merged() {
		p := r.Plans[e.Session]
		from, waited := r.Role, true
		if e.Step > 0 {
			s := &p.Steps[e.Step-1]
			from, waited = s.From, s.message() || s.Ending != nil // a ping may never be sent
		}
		if from == r.Role {
			var waits []Ref
			for k := range r.Plans {
				if k == e.Session {
					continue
				}
				for side, n := range last[k] {
					if n > known[e.Session][k][side] {
						waits = append(waits, Ref{k, n})
						known[e.Session][k][side] = n
					}
				}
			}
			if e.Step == 0 {
				p.Opens = waits
			} else {
				p.Steps[e.Step-1].Across = waits
			}
		}
		if waited {
			last[e.Session][from] = e.Step
		}
	}
}

// orderCaused finds what of other sessions the steps of a fake server repeat.
func (r *Recording) orderCaused() {
	c := causes{r: r, said: map[string][]Ref{}, payloads: map[string][]Ref{}, waited: map[[2]int]int{}}
	for _, e := range r.merged() {
		p := r.Plans[e.Session]
		switch {
		case e.Step == 0:
			for _, v := range queryValues(target(&p.Session)) {
				c.remember("", v.text, e)
			}
		case !p.Steps[e.Step-1].message():
		case p.Steps[e.Step-1].From != r.Role:
			c.heard(&p.Steps[e.Step-1], e)
		default:
			c.sent(&p.Steps[e.Step-1], e)
		}
	}
}

type causes struct {
	r        *Recording
	said     map[string][]Ref // who said a value, by key and value and by the value alone
	payloads map[string][]Ref
	waited   map[[2]int]int // the last step of one session that another has waited for
}

// minSaid is how long a value must be that is taken for a repetition under
// another name; two characters do under the same name.
const minSaid = 4

func (c *causes) remember(key, text string, e Ref) {
	if len(text) >= 2 {
		for _, k := range []string{key + "\x00" + text, "\x00" + text} {
			if n := len(c.said[k]); n == 0 || c.said[k][n-1] != e {
				c.said[k] = append(c.said[k], e)
			}
		}
	}
}

func (c *causes) heard(s *Step, e Ref) {
	c.payloads[string(s.Payload)] = append(c.payloads[string(s.Payload)], e)
	for i := range s.view.leaves {
		if l := &s.view.leaves[i]; l.kind == 's' {
			c.remember(l.ownKey(), l.text, e)
		}
	}
}

// sent finds the one message of another session that a step repeats: the same
// payload, or a value that only one message had so far. A value that several
// had says nothing: it is a word of the protocol.
func (c *causes) sent(s *Step, e Ref) {
	var found []Ref
	if list := c.payloads[string(s.Payload)]; len(list) > 0 {
		found = append(found, list[len(list)-1])
	}
	for i := range s.view.leaves {
		l := &s.view.leaves[i]
		if l.kind != 's' {
			continue
		}
		for _, k := range []string{l.ownKey() + "\x00" + l.text, "\x00" + l.text} {
			if list := c.said[k]; len(list) == 1 && (len(l.text) >= minSaid || k[0] != 0 || list[0].Step == 0) {
				found = append(found, list[0])
			}
		}
		if s.view.text { // "alice: hi" repeats what alice said
			for word := range strings.FieldsFuncSeq(l.text, func(r rune) bool { return r == ':' || r == ',' || r == ' ' }) {
				if list := c.said["\x00"+word]; len(list) == 1 && len(word) >= 2 {
					found = append(found, list[0])
				}
			}
		}
	}
	for _, cause := range found {
		pair := [2]int{e.Session, cause.Session}
		if cause.Session == e.Session || c.waited[pair] > cause.Step || slices.Contains(s.Across, cause) {
			continue
		}
		if cause.Step > 0 || !c.opened(e, cause) {
			s.Across = append(s.Across, cause)
			c.waited[pair] = cause.Step
		}
	}
}

// opened reports whether an earlier step of the session has waited for the other
// session's opening.
func (c *causes) opened(e, cause Ref) bool {
	for _, s := range c.r.Plans[e.Session].Steps[:e.Step-1] {
		if slices.Contains(s.Across, cause) {
			return true
		}
	}
	return false
}
