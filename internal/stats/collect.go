package stats

import (
	"crypto/sha256"
	"time"

	"github.com/wstape/wstape/internal/decode"
	"github.com/wstape/wstape/tape"
)

const (
	maxAsked = 10_000 // requests after which older ones are given up
	maxPings = 100    // pings that wait for their pong
	maxKey   = 64     // bytes of a correlation key that is kept as it is
)

// Collector adds up the lines of one session. Not safe for concurrent use.
type Collector struct {
	session *tape.Session
	sum     Summary
	quiet   time.Duration // since when nothing was said
	end     time.Duration // of what was seen
	asked   [2]requests
	pings   [2][]ping
}

// ping is one that has no pong yet.
type ping struct {
	payload string
	at      time.Duration
	counted bool
}

// Collect begins with a session.
func Collect(s *tape.Session) *Collector {
	return &Collector{session: s, sum: Summary{Sessions: 1}}
}

// Gap notes a mark on the tape.
func (c *Collector) Gap(t time.Duration, g tape.Gap) {
	s := &c.sum
	if s.Marks++; s.Marks <= maxGaps {
		s.Gaps = append(s.Gaps, Gap{c.session.N, t, g})
	}
	s.Lost.Frames += g.Frames
	s.Lost.Bytes += g.Bytes
	c.end = max(c.end, t)
}

// Message adds a message, with what its protocol says of it; nil of a control
// frame. One that is not counted still is a request or an answer of others.
func (c *Collector) Message(m *tape.Message, v *decode.View, counted bool) {
	c.end = max(c.end, m.T)
	if v == nil {
		c.control(m, counted)
		return
	}
	if counted {
		c.count(m)
		c.sum.protocol(v.Protocol)
		c.sum.Sides[m.From].add(m)
		t := c.sum.typ(m.From, v.Type, false, false)
		if t.Untold {
			c.sum.Untold++
		}
		t.Traffic.add(m)
		if v.Heartbeat {
			t.beat(m.T)
		} else {
			c.sum.silence(Silence{c.session.N, c.quiet, m.T - c.quiet})
			c.quiet = max(c.quiet, m.T)
		}
	}
	if v.Key != "" {
		c.pair(m, v, counted)
	}
}

// count notes what is odd about a message.
func (c *Collector) count(m *tape.Message) {
	switch m.Fate {
	case tape.Edited:
		c.sum.Edited++
	case tape.Dropped:
		c.sum.Dropped++
	case tape.Injected:
		c.sum.Injected++
	}
	if m.Violation != "" || m.Partial || m.Error != "" {
		c.sum.Problems++
	}
}

func (c *Collector) control(m *tape.Message, counted bool) {
	if counted {
		c.count(m)
		t := c.sum.typ(m.From, m.Op.String(), true, false)
		t.Traffic.add(m)
		if m.Op == tape.Ping || m.Op == tape.Pong {
			t.beat(m.T)
		}
	}
	switch m.Op {
	case tape.Ping:
		waiting := &c.pings[m.From]
		if len(*waiting) == maxPings {
			c.lost(m.From, (*waiting)[:1])
			*waiting = (*waiting)[1:]
		}
		*waiting = append(*waiting, ping{string(m.Payload), m.T, counted})
	case tape.Pong:
		c.pong(m, counted)
	}
}

// pong finds the ping that a pong answers. Who gets several may answer the last
// one only (RFC 6455 section 5.5.3).
func (c *Collector) pong(m *tape.Message, counted bool) {
	from := m.From.Other()
	for i := len(c.pings[from]) - 1; i >= 0; i-- {
		if p := c.pings[from][i]; p.payload == string(m.Payload) {
			if p.counted || counted {
				c.sum.typ(from, tape.Ping.String(), true, false).Answered.add((m.T - p.at).Microseconds())
			}
			c.pings[from] = c.pings[from][i+1:]
			return
		}
	}
}

// lost counts pings that nobody answered.
func (c *Collector) lost(from tape.Side, pings []ping) {
	for _, p := range pings {
		if p.counted {
			c.sum.typ(from, tape.Ping.String(), true, false).Unanswered++
		}
	}
}

// pair ties an answer to its request; of several answers the first.
func (c *Collector) pair(m *tape.Message, v *decode.View, counted bool) {
	key := v.Key
	if len(key) > maxKey {
		sum := sha256.Sum256([]byte(key))
		key = string(sum[:])
	}
	if !v.Answer {
		r := c.asked[m.From].find(key)
		if r != nil && r.kind != v.Type {
			return // it says more of the request, as a GraphQL client's complete
		}
		given := c.asked[m.From].add(key, &request{kind: v.Type, at: m.T, counted: counted})
		for _, old := range given {
			if c.unanswered(m.From, old) {
				c.sum.Forgotten++
			}
		}
		if r != nil {
			c.unanswered(m.From, r)
		}
		return
	}
	from := m.From.Other()
	r := c.asked[from].find(key)
	if r == nil || r.answered {
		return
	}
	r.answered = true
	if r.counted || counted {
		c.sum.typ(from, r.kind, false, false).Answered.add((m.T - r.at).Microseconds())
	}
}

// unanswered counts a request that nobody answered.
func (c *Collector) unanswered(from tape.Side, r *request) bool {
	if r.answered || !r.counted {
		return false
	}
	c.sum.typ(from, r.kind, false, false).Unanswered++
	return true
}

// Summary ends the session, of which nothing more comes.
func (c *Collector) Summary() *Summary {
	long := max(c.session.Duration, c.end)
	if c.session.State != tape.Refused {
		c.sum.silence(Silence{c.session.N, c.quiet, long - c.quiet})
	}
	c.sum.spans = []span{{c.session.Started, c.session.Started.Add(long)}}
	for _, from := range tape.Sides() {
		c.lost(from, c.pings[from])
		for r := range c.asked[from].all() {
			c.unanswered(from, r)
		}
	}
	return &c.sum
}
