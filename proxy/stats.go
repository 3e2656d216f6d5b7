package proxy

import (
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/tape"
)

// Stats is what a proxy has done since it was made.
type Stats struct {
	Open     int                        // sessions now, those whose handshake is under way too
	Refused  uint64                     // handshakes that did not end with a 101
	Ended    map[tape.EndingKind]uint64 // sessions that were open
	Frames   tape.Counts                // that came in, by who sent them
	Messages tape.Counts                // of those frames: beginnings of messages
	Bytes    tape.Counts                // payload of those frames
	Changed  map[tape.Fate]uint64       // messages that did not pass as they came
}

// Stats returns what the proxy has done so far.
func (p *Proxy) Stats() Stats {
	s := Stats{Open: p.Sessions(), Ended: map[tape.EndingKind]uint64{}, Changed: map[tape.Fate]uint64{}}
	for _, from := range tape.Sides() {
		f := &p.figures.flows[from]
		s.Frames.Add(from, f.frames.Load())
		s.Messages.Add(from, f.messages.Load())
		s.Bytes.Add(from, f.bytes.Load())
	}
	p.figures.mu.Lock()
	defer p.figures.mu.Unlock()
	s.Refused = p.figures.refused
	for kind, n := range p.figures.ended {
		s.Ended[kind] = n
	}
	for fate, n := range p.figures.changed {
		s.Changed[fate] = n
	}
	return s
}

// figures are what Stats is made of.
type figures struct {
	flows [2]flow // by who sends

	mu      sync.Mutex
	refused uint64
	ended   map[tape.EndingKind]uint64
	changed map[tape.Fate]uint64
}

// flow is what came from one side. The two sides' links run on different
// processors, so each has a cache line of its own.
type flow struct {
	frames, messages, bytes atomic.Uint64
	_                       [40]byte
}

// meter is a session's tap that also counts.
type meter struct {
	Tap
	figures *figures
	status  int // that the handshake was answered with
}

// Parts counts what came in, as far as it is frames.
func (m *meter) Parts(from tape.Side, leg tape.Leg, parts []tape.Part) {
	var frames, messages, bytes uint64
	for i := range parts {
		p := &parts[i]
		bytes += uint64(len(p.Payload))
		if p.Begin {
			frames++
			if _, _, op := wire.Split(p.Head); op == tape.Text || op == tape.Binary {
				messages++
			}
		}
	}
	f := &m.figures.flows[from]
	f.frames.Add(frames)
	f.messages.Add(messages)
	f.bytes.Add(bytes)
	m.Tap.Parts(from, leg, parts)
}

// Decided counts messages that others have changed.
func (m *meter) Decided(d tape.Decision, out []tape.Part) {
	if d.Fate != tape.Passed {
		m.figures.mu.Lock()
		m.figures.changed[d.Fate]++
		m.figures.mu.Unlock()
	}
	m.Tap.Decided(d, out)
}

// Answered notes whether there is to be a session.
func (m *meter) Answered(upstream string, status int, subprotocol string, extensions []string, r tape.Response) {
	m.status = status
	m.Tap.Answered(upstream, status, subprotocol, extensions, r)
}

// End counts the ending.
func (m *meter) End(e tape.Ending) {
	m.figures.mu.Lock()
	if m.status == http.StatusSwitchingProtocols {
		m.figures.ended[e.Kind]++
	} else {
		m.figures.refused++
	}
	m.figures.mu.Unlock()
	m.Tap.End(e)
}

// sampleEvery is of how many chunks one is timed: reading the clock twice for
// each would cost more than anything else that is done with a small one.
const sampleEvery = 16

// timed returns the time if what has just been read is to be timed, and else no time.
// Links begin somewhere among the chunks that are not, so that the first ones of
// short sessions are not all that is ever timed.
func (l *link) timed() time.Time {
	if l.session.proxy.config.Added == nil {
		return time.Time{}
	}
	if l.untimed == 0 {
		l.untimed = 1 + rand.Uint32N(sampleEvery)
	}
	if l.untimed--; l.untimed > 0 {
		return time.Time{}
	}
	l.untimed = sampleEvery
	return time.Now()
}

// added tells how long what was read then has been kept from being written.
func (l *link) added(since time.Time) {
	if !since.IsZero() {
		l.session.proxy.config.Added(time.Since(since))
	}
}
