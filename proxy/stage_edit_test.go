package proxy_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/proxy"
	"github.com/wstape/wstape/tape"
)

// compression is one kind that two ends agree on.
type compression struct {
	name, granted string
	on, takeover  bool
}

func compressions() []compression {
	return []compression{
		{"plain", "", false, false},
		{"takeover", "Sec-WebSocket-Extensions: permessage-deflate", true, true},
		{"no takeover", "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover", true, false},
	}
}

// open makes a session with it.
func (c compression) open(r *rig) (client, server *wstest.Peer) {
	r.t.Helper()
	if c.granted == "" {
		return r.open()
	}
	return r.open(c.granted)
}

// speech is what one side says in an orderly session.
type speech struct {
	from     tape.Side
	messages []spoken
}

// spoken is one message: its text, which tells the stage what to do, and its
// frames, pings between them included.
type spoken struct {
	text       string
	compressed bool
	frames     []wstest.Frame
}

// speak makes a speech of n messages, or of messages that begin as told.
func (c compression) speak(t *testing.T, rng *rand.Rand, from tape.Side, verbs []string, n int) speech {
	t.Helper()
	s := speech{from: from}
	z := newCodec(c.takeover)
	filler := strings.Repeat("what every message says, and so refers back to. ", 20)
	for i := range n {
		m := spoken{text: fmt.Sprintf("%s %v %d: %s", verbs[rng.IntN(len(verbs))], from, i, filler[:rng.IntN(len(filler))]), compressed: c.on && rng.IntN(3) > 0}
		payload, rsv := []byte(m.text), uint8(0)
		if m.compressed {
			payload, rsv = z.deflate(t, m.text), 4
		}
		op := tape.Text
		for _, piece := range wstest.Cut(rng, payload, 1+rng.IntN(2*len(payload))) {
			m.frames = append(m.frames, wstest.Frame{RSV: rsv, Op: op, Payload: piece}.From(from))
			op, rsv = tape.Continuation, 0
			if rng.IntN(3) == 0 {
				m.frames = append(m.frames, ping(fmt.Sprintf("pass %d", i), from))
			}
		}
		last := len(m.frames) - 1
		for m.frames[last].Op == tape.Ping {
			last--
		}
		m.frames[last].Fin = true
		s.messages = append(s.messages, m)
	}
	return s
}

func (s speech) bytes() (b []byte) {
	for _, m := range s.messages {
		b = append(b, wstest.Bytes(m.frames...)...)
	}
	return b
}

// wordly does what the first word of a message says.
func wordly(h proxy.Handle, m *tape.Message, m2 manner, done func(tape.Verdict)) {
	verb, rest, _ := strings.Cut(string(m.Payload), " ")
	v := pass
	switch verb {
	case "drop":
		v = drop
	case "edit":
		v = edit(m.Op, "edited "+rest)
	case "void":
		v = edit(m.Op)
	case "split":
		v = edit(m.Op, "edited "+rest, "split once", "split twice")
	case "send":
		for _, to := range tape.Sides() {
			if err := h.Send(to, tape.Text, []byte("sent"), "test"); err != nil {
				v = edit(m.Op, err.Error())
			}
		}
	}
	m2.answer(func() { done(v) })
}

// outcome returns what is to come of a message.
func (m spoken) outcome() []string {
	verb, rest, _ := strings.Cut(m.text, " ")
	switch verb {
	case "drop", "void":
		return nil
	case "edit":
		return []string{"edited " + rest}
	case "split":
		return []string{"edited " + rest, "split once", "split twice"}
	}
	return []string{m.text}
}

// heard is one message that arrived.
type heard struct {
	text   string
	rsv1   bool
	frames []wstest.Frame
}

// listen takes what arrived apart into messages, which it inflates, and wants no
// message of wstape's own inside another one.
func (c compression) listen(t *testing.T, frames []wstest.Frame) (messages []heard, control []wstest.Frame) {
	t.Helper()
	z := newCodec(c.takeover)
	var m heard
	for _, f := range frames {
		if f.Op.Control() {
			control = append(control, f)
			continue
		}
		if (f.Op == tape.Continuation) != (len(m.frames) > 0) {
			t.Fatalf("%v comes behind %v", f, m.frames)
		}
		m.rsv1 = m.rsv1 || f.RSV == 4
		m.text += string(f.Payload)
		if m.frames = append(m.frames, f); !f.Fin {
			continue
		}
		if m.rsv1 {
			plain, err := z.inflate([]byte(m.text))
			if err != nil {
				t.Fatalf("message %d cannot be inflated: %v", len(messages), err)
			}
			m.text = string(plain)
		}
		messages = append(messages, m)
		m = heard{}
	}
	return messages, control
}

// converse lets both sides speak at once, and returns what each direction heard.
// They take their leave when everything has been decided about.
func (c compression) converse(t *testing.T, r *rig, speeches [2]speech, rng *rand.Rand, decided *sync.WaitGroup) (arrived [2][]wstest.Frame) {
	t.Helper()
	client, server := c.open(r)
	peers := [2]*wstest.Peer{client, server}
	var got [2][]byte
	var running sync.WaitGroup
	for _, from := range tape.Sides() {
		dice := rand.New(rand.NewPCG(rng.Uint64(), 0))
		piece := 1 + rng.IntN(3000)
		running.Go(func() {
			if err := wstest.WriteCut(peers[from].Conn, dice, speeches[from].bytes(), piece); err != nil {
				t.Errorf("the %v writes: %v", from, err)
			}
			decided.Wait()
			peers[from].Send(wstest.CloseFrame(1000, "").From(from))
			peers[from].CloseWrite()
		})
		running.Go(func() {
			var err error
			if got[from], err = peers[from.Other()].ReadAll(); err != nil {
				t.Errorf("the %v reads: %v", from.Other(), err)
			}
		})
	}
	running.Wait()
	for _, from := range tape.Sides() {
		arrived[from] = parseFrames(t, got[from])
	}
	return arrived
}

func TestMessagesAreEditedDroppedAndSent(t *testing.T) {
	rng := wstest.Rand(t)
	verbs := []string{"pass", "pass", "pass", "edit", "drop", "void", "split", "send"}
	for _, c := range compressions() {
		for _, m := range manners(t, rng) {
			t.Run(c.name+", "+m.name, func(t *testing.T) {
				const messages = 60 // of each side
				var decided sync.WaitGroup
				decided.Add(2 * messages)
				p := &play{wants: wantAll, message: func(h proxy.Handle, q *tape.Message, done func(tape.Verdict)) {
					op := q.Op
					wordly(h, q, m, func(v tape.Verdict) {
						if done(v); !op.Control() {
							decided.Done()
						}
					})
				}}
				r := start(t, patient, p.on(t))
				var speeches [2]speech
				for _, from := range tape.Sides() {
					speeches[from] = c.speak(t, rng, from, verbs, messages)
				}
				arrived := c.converse(t, r, speeches, rng, &decided)
				r.ended(1)
				for _, from := range tape.Sides() {
					c.check(t, speeches[from], arrived[from])
					checkTape(t, r, speeches, from)
				}
			})
		}
	}
}

// check compares what arrived with what was said and what the stage was told to
// do about it.
func (c compression) check(t *testing.T, s speech, arrived []wstest.Frame) {
	t.Helper()
	messages, control := c.listen(t, arrived)
	messages = slices.DeleteFunc(messages, func(m heard) bool { return m.text == "sent" })
	diverged := false
	var pings []wstest.Frame
	for i, m := range s.messages {
		outcome := m.outcome()
		if len(messages) < len(outcome) {
			t.Fatalf("message %d of the %v did not arrive", i, s.from)
		}
		touched := len(outcome) != 1 || outcome[0] != m.text
		diverged = diverged || touched && m.compressed && c.takeover
		for j, want := range outcome {
			got := messages[j]
			raw := !touched && !(diverged && m.compressed)
			if got.text != want || got.rsv1 != (raw && m.compressed) {
				t.Fatalf("message %d of the %v (%.20q) arrived as %.20q, compressed: %v", i, s.from, m.text, got.text, got.rsv1)
			}
			if data := onlyData(m.frames); raw && !bytes.Equal(wstest.Bytes(got.frames...), wstest.Bytes(data...)) {
				t.Fatalf("message %d of the %v arrived in other frames: %v, were %v", i, s.from, got.frames, data)
			}
		}
		messages = messages[len(outcome):]
		pings = append(pings, slices.DeleteFunc(slices.Clone(m.frames), func(f wstest.Frame) bool { return !f.Op.Control() })...)
	}
	if len(messages) > 0 {
		t.Errorf("%d messages of the %v too many: %q", len(messages), s.from, messages[0].text)
	}
	pings = append(pings, wstest.CloseFrame(1000, "").From(s.from))
	sameBytes(t, s.from, wstest.Bytes(control...), wstest.Bytes(pings...))
}

func onlyData(frames []wstest.Frame) []wstest.Frame {
	return slices.DeleteFunc(slices.Clone(frames), func(f wstest.Frame) bool { return f.Op.Control() })
}

// checkTape wants on the tape what came in, what went out and who decided it.
func checkTape(t *testing.T, r *rig, speeches [2]speech, from tape.Side) {
	t.Helper()
	var got, want []string
	for _, m := range r.lines(1, from) {
		if m.Error != "" || m.Violation != "" {
			t.Errorf("%.20q: error %q, violation %q", m.Payload, m.Error, m.Violation)
		}
		got = append(got, brief(m))
	}
	for _, other := range speeches {
		for _, m := range other.messages {
			if strings.HasPrefix(m.text, "send ") {
				want = append(want, "sent injected by test")
			}
		}
	}
	for _, m := range speeches[from].messages {
		outcome := m.outcome()
		switch {
		case len(outcome) == 0:
			want = append(want, m.text+" dropped by test")
		case outcome[0] != m.text:
			want = append(want, m.text+" → "+outcome[0]+" edited by test")
			for _, more := range outcome[1:] {
				want = append(want, more+" injected by test")
			}
		default:
			want = append(want, m.text)
		}
		for _, f := range m.frames {
			if f.Op == tape.Ping {
				want = append(want, "ping "+string(f.Payload))
			}
		}
	}
	want = append(want, "close \x03\xe8")
	// What was sent in between may be anywhere.
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%d lines of the %v on the tape, want %d", len(got), from, len(want))
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				t.Fatalf("the first other one is %.90q, want %.90q", got[i], want[i])
			}
		}
	}
}

// TestTheTapeTellsInOrderWhatBecameOfMessages is small enough to be read.
func TestTheTapeTellsInOrderWhatBecameOfMessages(t *testing.T) {
	for _, from := range tape.Sides() {
		t.Run(from.String(), func(t *testing.T) {
			m := manner{"at once", func(done func()) { done() }}
			p := &play{message: func(h proxy.Handle, q *tape.Message, done func(tape.Verdict)) { wordly(h, q, m, done) }}
			r, near, far := pair(t, from, p.on(t))
			near.Send(text("pass 1", from), text("edit 2", from), text("split", from).Part(false), ping("p", from),
				wstest.New(tape.Continuation, " 3").From(from), text("drop 4", from), text("pass 5", from))
			far.Expect(text("pass 1", from))
			texts(t, far, "edited 2")
			far.Expect(ping("p", from))
			texts(t, far, "edited 3", "split once", "split twice")
			far.Expect(text("pass 5", from))
			part(near, far)
			r.ending(1, tape.Ending{Kind: tape.EndEOF, From: &from})
			r.onLines(from, "pass 1", "edit 2 → edited 2 edited by test", "split 3 → edited 3 edited by test", "ping p",
				"split once injected by test", "split twice injected by test", "drop 4 dropped by test", "pass 5")
			var legs []string
			for _, f := range r.frames(1, from) {
				legs = append(legs, fmt.Sprintf("%v %s", f.Leg, f.Payload))
			}
			want := []string{"both pass 1", "in edit 2", "in split", "both p", "in  3", "in drop 4", "both pass 5",
				"out edited 2", "out edited 3", "out split once", "out split twice"}
			slices.Sort(legs)
			slices.Sort(want)
			if !slices.Equal(legs, want) {
				t.Errorf("frames on the tape: %q, want %q", legs, want)
			}
		})
	}
}
