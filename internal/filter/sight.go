package filter

import (
	"time"

	"github.com/wstape/wstape/internal/decode"
	"github.com/wstape/wstape/tape"
)

// Sight looks at the messages of one session, in their order: what they mean,
// how long their answers took, whether a filter holds. Not safe for concurrent use.
type Sight struct {
	filter  *Filter
	session *tape.Session
	decoder decode.Decoder
	asked   map[string]time.Duration // when, by who was asked and the request's key
}

// NewSight returns a sight of a session. Without a filter all messages pass;
// without a decoder there are no views, and so no latencies.
func NewSight(f *Filter, s *tape.Session, d decode.Decoder) *Sight {
	return &Sight{filter: f, session: s, decoder: d, asked: map[string]time.Duration{}}
}

// Seen is what a sight says of one message.
type Seen struct {
	View    *decode.View  // nil without a decoder, and of what is neither text nor binary
	Latency time.Duration // of an answer, since its request; of several the longest
	Passes  bool          // the filter holds
}

// See looks at the next message.
func (s *Sight) See(m *tape.Message) Seen {
	out := Seen{Passes: true}
	if s.decoder != nil && (m.Op == tape.Text || m.Op == tape.Binary) {
		v := s.decoder.View(m)
		out.View = &v
		out.Latency = s.pair(m, decode.Ref{Key: v.Key, Answer: v.Answer})
		for _, ref := range v.More {
			out.Latency = max(out.Latency, s.pair(m, ref))
		}
	}
	if s.filter != nil {
		out.Passes = s.filter.Match(&Subject{Session: s.session, Message: m, View: out.View, Latency: out.Latency})
	}
	return out
}

const (
	maxAsked = 10_000 // requests without an answer that are remembered; with one more, all of them are forgotten
	maxKey   = 200    // bytes of a key; what is longer is not paired
)

// pair notes a request, or finds out how long an answer took; of several answers
// to one request the first.
func (s *Sight) pair(m *tape.Message, ref decode.Ref) time.Duration {
	if ref.Key == "" || len(ref.Key) > maxKey {
		return 0
	}
	if !ref.Answer {
		if len(s.asked) == maxAsked {
			clear(s.asked)
		}
		s.asked[m.From.String()+ref.Key] = m.T
		return 0
	}
	key := m.From.Other().String() + ref.Key
	at, ok := s.asked[key]
	if !ok {
		return 0
	}
	delete(s.asked, key)
	return m.T - at
}

// Sight returns a sight of a session that finds out itself what messages mean,
// where the filter asks for that.
func (f *Filter) Sight(s *tape.Session) *Sight {
	if !f.NeedsView() {
		return NewSight(f, s, nil)
	}
	d, _ := decode.Open(decode.Auto, decode.Hint{Subprotocol: s.Subprotocol, Target: s.URL}) // it is in the table
	return NewSight(f, s, d)
}

// NeedsView reports whether the filter asks what a message means.
func (f *Filter) NeedsView() bool { return f.uses["view"] || f.uses["latency"] }
