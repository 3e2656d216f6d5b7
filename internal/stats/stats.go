// Package stats adds up what the messages of a session amount to: how many of
// which type, how large, how often, how long answers took, when nothing was said.
// It is told the lines of a session one by one, in order, and takes the same room
// however many they are. It reads no tape and knows no clock.
package stats

import (
	"cmp"
	"slices"
	"time"

	"github.com/wstape/wstape/tape"
)

const (
	maxTypes    = 200 // types that are told apart; the rest is one more
	maxSilences = 5
	maxGaps     = 20 // marks that are kept; all are counted
)

// Summary is what one session amounts to, or several ([Summary.Add]).
type Summary struct {
	Sessions  int
	Protocols []string   // that messages were read as
	Sides     [2]Traffic // text and binary messages, by who sent them
	Types     []*Type    // see Sorted for the order in which people want them
	Silences  []Silence  // the longest, longest first
	Gaps      []Gap      // the first on the tape
	Lost      tape.Gap   // all gaps together, without a reason
	Marks     int        // how many gaps there are
	Edited    uint64     // messages, by what became of them
	Dropped   uint64
	Injected  uint64
	Problems  uint64 // messages that violate RFC 6455, never ended or could not be inflated

	// What was too much to remember:
	Untold    uint64 // messages whose type is not told apart
	Forgotten uint64 // requests that were given up: so many were made after them

	spans []span
}

// Traffic is some messages of one side.
type Traffic struct {
	Messages uint64
	Bytes    uint64 // of plain payloads
	Wire     uint64 // of payloads on the wire
	Size     Sample // plain bytes of each
}

func (t *Traffic) add(m *tape.Message) {
	t.Messages++
	t.Bytes += m.Len
	t.Wire += m.WireLen
	t.Size.add(int64(m.Len))
}

func (t *Traffic) merge(o *Traffic) {
	t.Messages += o.Messages
	t.Bytes += o.Bytes
	t.Wire += o.Wire
	t.Size.merge(&o.Size)
}

// Saved is the part of the plain bytes that compression kept off the wire, from 0 to 1;
// below 0 where it made them more.
func (t *Traffic) Saved() float64 {
	if t.Bytes == 0 {
		return 0
	}
	return 1 - float64(t.Wire)/float64(t.Bytes)
}

// Type is the messages of one type that one side sent.
type Type struct {
	From    tape.Side
	Name    string // in the protocol's words; of a control frame its opcode
	Control bool   // ping, pong or close
	Untold  bool   // all types that are not told apart
	Traffic

	Heartbeat  bool
	Interval   Sample // µs from one to the next, of heartbeats
	jitter     float64
	jitters    uint64
	Answered   Sample // µs from a request to its answer, a ping to its pong, as wstape saw them
	Unanswered uint64

	last, before time.Duration // time of the last one, and the interval before it
	seen         int           // up to 2: last and before are known
}

// Jitter is how much successive intervals differ, in µs: the mean of all
// differences, 0 if there are none.
func (t *Type) Jitter() float64 {
	if t.jitters == 0 {
		return 0
	}
	return t.jitter / float64(t.jitters)
}

// beat measures the interval since the last one.
func (t *Type) beat(at time.Duration) {
	t.Heartbeat = true
	interval := at - t.last
	if t.seen > 0 {
		t.Interval.add(interval.Microseconds())
	}
	if t.seen > 1 {
		t.jitter += float64((interval - t.before).Abs().Microseconds())
		t.jitters++
	}
	t.last, t.before, t.seen = at, interval, min(t.seen+1, 2)
}

func (t *Type) merge(o *Type) {
	t.Traffic.merge(&o.Traffic)
	t.Heartbeat = t.Heartbeat || o.Heartbeat
	t.Interval.merge(&o.Interval)
	t.jitter += o.jitter
	t.jitters += o.jitters
	t.Answered.merge(&o.Answered)
	t.Unanswered += o.Unanswered
}

// Silence is a time in which no side said anything but heartbeats.
type Silence struct {
	N    uint64        // session
	T    time.Duration // when it began
	Long time.Duration
}

// Gap is a mark of frames that were not recorded.
type Gap struct {
	N uint64 // session
	T time.Duration
	tape.Gap
}

// span is when a session was open.
type span struct{ from, to time.Time }

// Add adds what other sessions amount to.
func (s *Summary) Add(o *Summary) {
	s.Sessions += o.Sessions
	for _, p := range o.Protocols {
		s.protocol(p)
	}
	for i := range s.Sides {
		s.Sides[i].merge(&o.Sides[i])
	}
	for _, t := range o.Types {
		into := s.typ(t.From, t.Name, t.Control, t.Untold)
		if into.Untold && !t.Untold {
			s.Untold += t.Messages
		}
		into.merge(t)
	}
	for _, silence := range o.Silences {
		s.silence(silence)
	}
	s.Gaps = append(s.Gaps, o.Gaps[:min(len(o.Gaps), maxGaps-len(s.Gaps))]...)
	s.Marks += o.Marks
	s.Lost.Frames += o.Lost.Frames
	s.Lost.Bytes += o.Lost.Bytes
	s.Edited += o.Edited
	s.Dropped += o.Dropped
	s.Injected += o.Injected
	s.Problems += o.Problems
	s.Untold += o.Untold
	s.Forgotten += o.Forgotten
	s.spans = append(s.spans, o.spans...)
}

// Open is how long the sessions were open; a time in which several were counts once.
func (s *Summary) Open() (d time.Duration) {
	slices.SortFunc(s.spans, func(a, b span) int { return a.from.Compare(b.from) })
	var end time.Time
	for i, x := range s.spans {
		if i > 0 && x.from.Before(end) {
			x.from = end
		}
		if x.to.After(x.from) {
			d += x.to.Sub(x.from)
			end = x.to
		}
	}
	return d
}

// Answered is how long all answers took, in µs; those of pings are not among them.
func (s *Summary) Answered() (all Sample, unanswered uint64) {
	for _, t := range s.Types {
		if !t.Control {
			all.merge(&t.Answered)
			unanswered += t.Unanswered
		}
	}
	return all, unanswered
}

// Sorted is the types, the client's before the server's, control frames behind
// messages, the most frequent first.
func (s *Summary) Sorted() []*Type {
	return slices.SortedStableFunc(slices.Values(s.Types), func(a, b *Type) int {
		return cmp.Or(cmp.Compare(a.From, b.From), compareBool(a.Control, b.Control), compareBool(a.Untold, b.Untold), cmp.Compare(b.Messages, a.Messages))
	})
}

func (s *Summary) protocol(name string) {
	if name != "" && !slices.Contains(s.Protocols, name) {
		s.Protocols = append(s.Protocols, name)
	}
}

// typ finds a type, or makes one where there is room.
func (s *Summary) typ(from tape.Side, name string, control, untold bool) *Type {
	i, found := slices.BinarySearchFunc(s.Types, name, func(t *Type, name string) int {
		return cmp.Or(cmp.Compare(t.From, from), cmp.Compare(t.Name, name), compareBool(t.Control, control), compareBool(t.Untold, untold))
	})
	if found {
		return s.Types[i]
	}
	if len(s.Types) >= maxTypes && !untold && !control {
		return s.typ(from, "", false, true)
	}
	t := &Type{From: from, Name: name, Control: control, Untold: untold}
	s.Types = slices.Insert(s.Types, i, t)
	return t
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// silence keeps a silence if it is one of the longest.
func (s *Summary) silence(x Silence) {
	i, _ := slices.BinarySearchFunc(s.Silences, x, func(a, b Silence) int { return cmp.Compare(b.Long, a.Long) })
	for i < len(s.Silences) && s.Silences[i].Long == x.Long {
		i++ // the earlier first
	}
	if x.Long > 0 && i < maxSilences {
		s.Silences = slices.Insert(s.Silences, i, x)
		s.Silences = s.Silences[:min(len(s.Silences), maxSilences)]
	}
}
