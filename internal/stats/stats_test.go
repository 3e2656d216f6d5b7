package stats

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wstape/wstape/internal/decode"
	"github.com/wstape/wstape/tape"
)

// event is a message as the tables write it.
type event struct {
	t    time.Duration
	from tape.Side
	op   tape.Opcode // text if zero
	kind string
	key  string
	len  int
	wire int // as len if zero

	answer, heartbeat, left bool // left: by the filter
	payload                 string
	fate                    tape.Fate
	partial                 bool
}

const (
	client = tape.Client
	server = tape.Server
	ms     = time.Millisecond
)

func (e *event) tell(c *Collector) {
	m := &tape.Message{T: e.t, From: e.from, WireLen: uint64(e.wire), Fate: e.fate, Partial: e.partial}
	m.Op, m.Len, m.Payload = e.op, uint64(e.len), []byte(e.payload)
	if m.WireLen == 0 {
		m.WireLen = m.Len
	}
	if e.op.Control() {
		c.Message(m, nil, !e.left)
		return
	}
	v := decode.View{Protocol: "test", Type: e.kind, Key: e.key, Answer: e.answer, Heartbeat: e.heartbeat}
	c.Message(m, &v, !e.left)
}

// collect measures a session of 10 s.
func collect(events []event) *Summary {
	c := Collect(&tape.Session{N: 3, Started: time.Unix(1000, 0), Duration: 10 * time.Second, State: tape.Closed})
	for _, e := range events {
		e.tell(c)
	}
	return c.Summary()
}

func marshal(t *testing.T, s *Summary) string {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestSummary(t *testing.T) {
	for name, c := range map[string]struct {
		events []event
		want   string
	}{
		"nothing": {nil, `{"open":10,"client":{"messages":0,"messages_per_second":0,"bytes":0,"bytes_per_second":0,"wire":0,"saved":0},` +
			`"server":{"messages":0,"messages_per_second":0,"bytes":0,"bytes_per_second":0,"wire":0,"saved":0},"silences":[{"t":0,"seconds":10}]}`},
		"types, sizes and what was saved": {
			[]event{
				{t: 1000 * ms, from: server, kind: "tick", len: 10, wire: 5},
				{t: 2000 * ms, from: server, kind: "tick", len: 30, wire: 10},
				{t: 8000 * ms, from: server, kind: "news", len: 60, wire: 35},
			},
			`{"open":10,"protocols":["test"],"client":{"messages":0,"messages_per_second":0,"bytes":0,"bytes_per_second":0,"wire":0,"saved":0},` +
				`"server":{"messages":3,"messages_per_second":0.3,"bytes":100,"bytes_per_second":10,"wire":50,"saved":0.5,"size":{"min":10,"mean":33.333333,"p50":30,"p95":60,"max":60}},` +
				`"types":[{"from":"server","type":"tick","messages":2,"messages_per_second":0.2,"bytes":40,"bytes_per_second":4,"wire":15,"saved":0.625,"size":{"min":10,"mean":20,"p50":10,"p95":30,"max":30}},` +
				`{"from":"server","type":"news","messages":1,"messages_per_second":0.1,"bytes":60,"bytes_per_second":6,"wire":35,"saved":0.416667,"size":{"min":60,"mean":60,"p50":60,"p95":60,"max":60}}],` +
				`"silences":[{"t":2,"seconds":6},{"t":8,"seconds":2},{"t":0,"seconds":1},{"t":1,"seconds":1}]}`,
		},
		"the fate of messages": {
			[]event{
				{t: 9999 * ms, from: client, kind: "a", fate: tape.Edited}, {t: 9999 * ms, from: client, kind: "a", fate: tape.Dropped},
				{t: 9999 * ms, from: client, kind: "a", fate: tape.Injected}, {t: 9999 * ms, from: client, kind: "a", partial: true},
			},
			`{"open":10,"protocols":["test"],"client":{"messages":4,"messages_per_second":0.4,"bytes":0,"bytes_per_second":0,"wire":0,"saved":0,"size":{"min":0,"mean":0,"p50":0,"p95":0,"max":0}},` +
				`"server":{"messages":0,"messages_per_second":0,"bytes":0,"bytes_per_second":0,"wire":0,"saved":0},` +
				`"types":[{"from":"client","type":"a","messages":4,"messages_per_second":0.4,"bytes":0,"bytes_per_second":0,"wire":0,"saved":0,"size":{"min":0,"mean":0,"p50":0,"p95":0,"max":0}}],` +
				`"silences":[{"t":0,"seconds":9.999},{"t":9.999,"seconds":0.001}],"edited":1,"dropped":1,"injected":1,"problems":1}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := marshal(t, collect(c.events)); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// waits is what is known of how long answers took, in ms.
type waits struct {
	From       tape.Side
	Name       string
	Took       []int64 // least, median, most
	Unanswered uint64
}

func TestAnswers(t *testing.T) {
	ask := func(at time.Duration, kind, key string) event {
		return event{t: at, from: client, kind: kind, key: key}
	}
	answer := func(at time.Duration, key string) event {
		return event{t: at, from: server, kind: "result", key: key, answer: true}
	}
	for name, c := range map[string]struct {
		events []event
		want   []waits
	}{
		"by type": {
			[]event{ask(1*ms, "add", "1"), ask(2*ms, "sub", "2"), answer(5*ms, "2"), answer(11*ms, "1"), ask(20*ms, "add", "3"), answer(22*ms, "3")},
			[]waits{{client, "add", []int64{2, 2, 10}, 0}, {client, "sub", []int64{3, 3, 3}, 0}},
		},
		"of several answers the first": {
			[]event{ask(1*ms, "subscribe", "s"), answer(3*ms, "s"), answer(90*ms, "s"), ask(95*ms, "complete", "s")},
			[]waits{{client, "subscribe", []int64{2, 2, 2}, 0}},
		},
		"a key used again": {
			[]event{ask(1*ms, "add", "1"), answer(2*ms, "1"), ask(3*ms, "add", "1"), ask(4*ms, "add", "1"), answer(8*ms, "1")},
			[]waits{{client, "add", []int64{1, 1, 4}, 1}},
		},
		"both sides ask": {
			[]event{ask(1*ms, "add", "1"), {t: 2 * ms, from: server, kind: "call", key: "1"}, {t: 9 * ms, from: client, kind: "result", key: "1", answer: true}},
			[]waits{{client, "add", nil, 1}, {server, "call", []int64{7, 7, 7}, 0}},
		},
		"an answer to nothing": {[]event{answer(1*ms, "1")}, nil},
		"a very long key": {
			[]event{ask(1*ms, "add", string(make([]byte, 1000))), answer(2*ms, string(make([]byte, 1001))), answer(3*ms, string(make([]byte, 1000)))},
			[]waits{{client, "add", []int64{2, 2, 2}, 0}},
		},
		"pings": {
			[]event{
				{t: 1 * ms, from: server, op: tape.Ping, payload: "a"}, {t: 2 * ms, from: server, op: tape.Ping, payload: "b"},
				{t: 7 * ms, from: client, op: tape.Pong, payload: "b"}, {t: 8 * ms, from: client, op: tape.Pong, payload: "unasked"},
				{t: 9 * ms, from: server, op: tape.Ping, payload: "c"},
			},
			[]waits{{server, "ping", []int64{5, 5, 5}, 1}},
		},
		"one of both passes the filter": {
			[]event{
				{t: 1 * ms, from: client, kind: "add", key: "1"}, {t: 2 * ms, from: server, key: "1", answer: true, left: true},
				{t: 3 * ms, from: client, kind: "sub", key: "2", left: true}, {t: 6 * ms, from: server, kind: "result", key: "2", answer: true},
				{t: 7 * ms, from: client, kind: "mul", key: "3", left: true}, {t: 8 * ms, from: server, key: "3", answer: true, left: true},
				{t: 9 * ms, from: client, kind: "div", key: "4", left: true}, {t: 9 * ms, from: client, op: tape.Ping, left: true},
			},
			[]waits{{client, "add", []int64{1, 1, 1}, 0}, {client, "sub", []int64{3, 3, 3}, 0}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []waits
			for _, x := range collect(c.events).Types {
				if s := &x.Answered; s.Count+x.Unanswered > 0 {
					w := waits{x.From, x.Name, nil, x.Unanswered}
					if s.Count > 0 {
						w.Took = []int64{s.Min / 1000, s.At(50) / 1000, s.Max / 1000}
					}
					got = append(got, w)
				}
			}
			if !cmp.Equal(got, c.want) {
				t.Errorf("%s", cmp.Diff(c.want, got))
			}
		})
	}
}

func TestHeartbeats(t *testing.T) {
	s := collect([]event{
		{t: 1000 * ms, from: client, kind: "beat", heartbeat: true}, {t: 2000 * ms, from: client, kind: "beat", heartbeat: true},
		{t: 2500 * ms, from: client, kind: "talk"},
		{t: 3100 * ms, from: client, kind: "beat", heartbeat: true}, {t: 4100 * ms, from: client, kind: "beat", heartbeat: true},
	})
	i := slices.IndexFunc(s.Types, func(x *Type) bool { return x.Name == "beat" })
	x := s.Types[i]
	if !x.Heartbeat || x.Interval.Count != 3 || x.Interval.At(50) != 1_000_000 || x.Interval.Max != 1_100_000 || x.Jitter() != 100_000 {
		t.Errorf("heartbeat %v, intervals %+v, jitter %v", x.Heartbeat, x.Interval, x.Jitter())
	}
	want := []Silence{{3, 2500 * ms, 7500 * ms}, {3, 0, 2500 * ms}} // heartbeats break none
	if !cmp.Equal(s.Silences, want) {
		t.Errorf("silences %v, want %v", s.Silences, want)
	}
}

func TestGaps(t *testing.T) {
	c := Collect(&tape.Session{N: 3, Started: time.Unix(1000, 0)})
	for i := range maxGaps + 5 {
		c.Gap(time.Duration(i)*time.Second, tape.Gap{Frames: 2, Bytes: 10, Why: "full"})
	}
	s := c.Summary()
	if s.Marks != maxGaps+5 || len(s.Gaps) != maxGaps || s.Lost.Frames != 2*(maxGaps+5) || s.Lost.Bytes != 10*(maxGaps+5) {
		t.Errorf("%d marks, %d kept, lost %+v", s.Marks, len(s.Gaps), s.Lost)
	}
	if s.Open() != (maxGaps+4)*time.Second {
		t.Errorf("a session without a duration was open for %s", s.Open())
	}
}

func TestCaps(t *testing.T) {
	var events []event
	for i := range maxTypes + 50 {
		events = append(events, event{t: ms, from: server, kind: fmt.Sprintf("type %03d", i), len: 1})
	}
	for i := range 3 * maxAsked {
		events = append(events, event{t: 2 * ms, from: client, kind: "ask", key: fmt.Sprint(i)})
	}
	events = append(events, event{t: 3 * ms, from: server, kind: "type 000", key: "0", answer: true}) // given up
	s := collect(events)
	var all uint64
	for _, x := range s.Types {
		all += x.Messages
	}
	if len(s.Types) > maxTypes+2 || s.Untold != uint64(50+3*maxAsked) || all != uint64(len(events)) {
		t.Errorf("%d types, %d messages not told apart, %d of %d counted", len(s.Types), s.Untold, all, len(events))
	}
	_, unanswered := s.Answered()
	if s.Forgotten != maxAsked || unanswered != 3*maxAsked {
		t.Errorf("%d given up, %d unanswered", s.Forgotten, unanswered)
	}
	c := Collect(&tape.Session{})
	for i := range 3 * maxPings {
		(&event{from: client, op: tape.Ping, payload: fmt.Sprint(i)}).tell(c)
	}
	if len(c.pings[client]) != maxPings || c.Summary().Types[0].Unanswered != 3*maxPings {
		t.Errorf("%d pings are remembered", len(c.pings[client]))
	}
}

// TestAdd holds the sum of two sessions against what is known of both.
func TestAdd(t *testing.T) {
	a := collect([]event{{t: 1000 * ms, from: client, kind: "x", len: 10}, {t: 2000 * ms, from: client, kind: "x", len: 20}})
	b := collect([]event{{t: 5000 * ms, from: client, kind: "x", len: 40}, {t: 5000 * ms, from: server, kind: "y", len: 5}})
	b.spans[0] = span{time.Unix(1005, 0), time.Unix(1030, 0)} // overlaps by 5 s
	var sum Summary
	sum.Add(a)
	sum.Add(b)
	if sum.Sessions != 2 || sum.Open() != 30*time.Second {
		t.Errorf("%d sessions open for %s, want 2 for 30s", sum.Sessions, sum.Open())
	}
	x := sum.Types[0]
	if len(sum.Types) != 2 || x.Messages != 3 || x.Bytes != 70 || x.Size.At(50) != 20 || x.Size.Max != 40 {
		t.Errorf("types %+v", x)
	}
	if sum.Silences[0].Long != 8*time.Second {
		t.Errorf("silences %v", sum.Silences)
	}
}

// TestSample holds percentiles against sorted values.
func TestSample(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 2, 3, exactly, exactly + 1, 10_000} {
		var parts [3]Sample
		var values []int64
		for i := range n {
			v := int64(math.Exp(rng.Float64() * 20))
			if i == 0 {
				v = 0
			}
			values = append(values, v)
			parts[i%3].add(v)
		}
		var s Sample
		for i := range parts {
			s.merge(&parts[i])
		}
		slices.Sort(values)
		if s.Count != uint64(n) || s.Min != values[0] || s.Max != values[n-1] {
			t.Errorf("%d values: count %d, %d to %d", n, s.Count, s.Min, s.Max)
		}
		for _, percent := range []float64{0, 1, 50, 90, 95, 99, 100} {
			want := values[max(int(math.Ceil(percent/100*float64(n))), 1)-1]
			got := s.At(percent)
			if off := math.Abs(float64(got - want)); n <= exactly && off != 0 || off > 0.01*float64(want) {
				t.Errorf("%d values: %v %% is %d, want %d", n, percent, got, want)
			}
		}
	}
	if s := new(Sample); s.At(50) != 0 || s.Mean() != 0 {
		t.Error("an empty sample has values")
	}
}
