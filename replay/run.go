package replay

import (
	"sync"
	"time"
)

// Run is one run of a recording: what its sessions have reached, for those that
// wait for each other, and what the live peers chose. Safe for concurrent use.
type Run struct {
	recording *Recording
	bindings  *bindings

	mu       sync.Mutex
	sessions []progress
	changed  chan struct{} // closed at the next change
}

// progress is how far a session has come.
type progress struct {
	times []time.Time // when each step was over, by number; 0 is the opening
	ended bool        // nothing more will come
}

// NewRun begins a run of a recording.
func NewRun(r *Recording) *Run {
	run := &Run{recording: r, bindings: newBindings(r.links), sessions: make([]progress, len(r.Plans)), changed: make(chan struct{})}
	for i, p := range r.Plans {
		run.sessions[i].times = make([]time.Time, len(p.Steps)+1)
	}
	return run
}

// over says when a step was over; waiting is false if it never will be.
func (r *Run) over(e Ref) (at time.Time, waiting bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &r.sessions[e.Session]
	return s.times[e.Step], !s.ended
}

// mark notes that a step is over.
func (r *Run) mark(e Ref, at time.Time) {
	r.mu.Lock()
	r.sessions[e.Session].times[e.Step] = at
	r.tell()
}

// end notes that nothing more will come of a session.
func (r *Run) end(session int) {
	r.mu.Lock()
	r.sessions[session].ended = true
	r.tell()
}

// tell wakes who waits, and unlocks.
func (r *Run) tell() {
	if len(r.sessions) > 1 { // else there is nobody
		close(r.changed)
		r.changed = make(chan struct{})
	}
	r.mu.Unlock()
}

// Changed is closed when a session of the run has come further.
func (r *Run) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// opens reports whether a session of a fake client may begin, and when: as long
// as on the tape after what happened last in the sessions that went on, at once
// after those that had ended.
func (r *Run) opens(p *Plan, pace Pace) (due time.Time, ok bool) {
	var anchor time.Time
	for _, e := range p.Opens {
		at, waiting := r.over(e)
		if at.IsZero() && waiting {
			return due, false
		}
		if t := r.recording.at(e); !at.IsZero() && !t.Before(anchor) && e.Step < len(r.recording.Plans[e.Session].Steps) {
			anchor, due = t, at.Add(pace.after(p.Session.Started.Sub(t)))
		}
	}
	return due, true
}

// fromPeer reports whether a step is the live peer's.
func (p *Plan) fromPeer(i int) bool { return p.Steps[i].From != p.Role }
