package cli

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/wstape/wstape/tape"
)

// beats is a run of pings, pongs and an application's own heartbeats.
type beats struct {
	lines       int
	first, last time.Duration
	kinds       map[string]*beat
}

// beat is the heartbeats of one kind that one side sent.
type beat struct {
	n           int
	first, last time.Duration
}

// take adds a message to the run if it is a heartbeat of which nothing else is to
// be said.
func (b *beats) take(m *tape.Message, x *seen) bool {
	if m == nil || m.Fate != tape.Passed || m.Error != "" || m.Violation != "" || m.Partial {
		return false
	}
	kind := m.From.String() + m.Op.String()
	switch {
	case m.Op == tape.Ping, m.Op == tape.Pong:
	case x.view != nil && x.view.Heartbeat && x.view.Err == nil:
		kind += x.view.Type
	default:
		return false
	}
	if b.lines++; b.lines == 1 {
		b.first, b.kinds = m.T, map[string]*beat{}
	}
	b.last = m.T
	k := b.kinds[kind]
	if k == nil {
		k = &beat{first: m.T}
		b.kinds[kind] = k
	}
	k.n++
	k.last = m.T
	return true
}

func (b *beats) reset() { *b = beats{} }

// every is how far the heartbeats of the commonest kind are apart on average; 0
// of fewer than two.
func (b *beats) every() time.Duration {
	var most beat
	for _, k := range b.kinds {
		if k.n > most.n || k.n == most.n && k.last-k.first > most.last-most.first {
			most = *k
		}
	}
	if most.n < 2 {
		return 0
	}
	return (most.last - most.first) / time.Duration(most.n-1)
}

func (b *beats) text() string {
	text := "~ " + count(b.lines, "heartbeat")
	if b.lines > 1 {
		text += " in " + shortDuration(b.last-b.first)
	}
	if every := b.every(); every > 0 {
		text += ", every " + shortDuration(every)
	}
	return text
}

// json writes the run as a line among those of show --json.
func (b *beats) json() []byte {
	type about struct {
		Count    int     `json:"count"`
		Duration float64 `json:"duration"`
		Every    float64 `json:"every,omitempty"`
	}
	text, err := json.Marshal(about{b.lines, (b.last - b.first).Seconds(), b.every().Seconds()})
	if err != nil {
		panic(err) // numbers
	}
	return fmt.Appendf(nil, `{"heartbeats":%s,"t":%.6f}`, text, b.first.Seconds())
}
