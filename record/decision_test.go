package record

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/wstape/wstape/tape"
)

// decider is what a link records messages with that scripts look at. A tap says
// what each decision is about; a writer does as tapes do that do not.
type decider interface {
	Parts(from tape.Side, leg tape.Leg, parts []tape.Part)
	Decided(d tape.Decision, out []tape.Part)
}

func (w *writer) Parts(from tape.Side, leg tape.Leg, parts []tape.Part) {
	for _, p := range parts {
		w.part(from, leg, p)
	}
}

func (w *writer) Decided(d tape.Decision, made []tape.Part) {
	w.decideAbout(d, firstWaiting)
	leg := instead
	if d.Fate == tape.Injected {
		leg = out
	}
	w.Parts(d.From, leg, made)
}

// came records what came in and will be decided about.
func came(d decider, from tape.Side, parts ...tape.Part) { d.Parts(from, in, parts) }

// through records what nobody looks at.
func through(d decider, from tape.Side, parts ...tape.Part) { d.Parts(from, both, parts) }

// fate records a decision by script s about a message.
func fate(d decider, from tape.Side, f tape.Fate, made ...tape.Part) {
	decision := tape.Decision{From: from, Fate: f, By: []string{"s"}}
	if f == tape.Passed {
		decision.By = nil
	}
	d.Decided(decision, made)
}

// controlFate is the same about a ping or pong.
func controlFate(d decider, from tape.Side, f tape.Fate, made ...tape.Part) {
	decision := tape.Decision{From: from, Fate: f, Control: true, By: []string{"s"}}
	if f == tape.Passed {
		decision.By = nil
	}
	d.Decided(decision, made)
}

func resent(d decider, from tape.Side, made ...tape.Part) {
	d.Decided(tape.Decision{From: from, Fate: tape.Passed, Resent: true}, made)
}

// frames reads session 1 of a tape, each frame in short.
func frames(t testing.TB, r Reader, opts ReadOptions) (all []string) {
	t.Helper()
	for f, err := range Frames(context.Background(), r, 1, opts) {
		must(t, err)
		all = append(all, briefFrame(f))
	}
	return all
}

func briefFrame(f *tape.Frame) string {
	s := fmt.Sprintf("%d %v %v %v %s", f.Seq, f.From, f.Leg, f.Opcode, short(f.Payload))
	if !f.Fin && f.Opcode != tape.OpRaw {
		s += " …"
	}
	if f.Partial() {
		s += " partial"
	}
	return s
}

func TestDecisions(t *testing.T) {
	z := newDeflater(t, true)
	first, second := z.message("first"), z.message("first again")
	for _, c := range []struct {
		name          string
		extensions    string
		write         func(decider)
		lines, frames []string
	}{
		{"two messages are read before the first is decided about", "", func(d decider) {
			came(d, client, whole(text, "one"), whole(text, "two"))
			fate(d, client, tape.Passed)
			came(d, client, whole(text, "three"))
			fate(d, client, tape.Edited, masked(text, "TWO", 9))
			fate(d, client, tape.Dropped)
		}, []string{
			`1 client text "one"`, `2 client text "TWO" edited [s] received text "two"`, `3 client text "three" dropped [s]`,
		}, []string{`1 client both text "one"`, `2 client in text "two"`, `3 client in text "three"`, `4 client out text "TWO"`}},

		{"the sides decide for themselves", "", func(d decider) {
			came(d, client, whole(text, "c"))
			came(d, server, whole(text, "s"))
			fate(d, server, tape.Dropped)
			fate(d, client, tape.Passed)
		}, []string{`1 client text "c"`, `2 server text "s" dropped [s]`}, []string{`1 client both text "c"`, `2 server in text "s"`}},

		{"pings are decided about while messages are held", "", func(d decider) {
			came(d, client, whole(text, "held"))
			came(d, client, whole(ping, "a"), whole(ping, "b"))
			controlFate(d, client, tape.Edited, whole(ping, "A"))
			came(d, client, whole(text, "too"))
			controlFate(d, client, tape.Dropped)
			came(d, client, whole(ping, "c"))
			controlFate(d, client, tape.Passed)
			fate(d, client, tape.Edited, whole(text, "HELD"))
			fate(d, client, tape.Passed)
		}, []string{
			`1 client text "HELD" edited [s] received text "held"`, `2 client ping "A" edited [s] received ping "a"`,
			`3 client ping "b" dropped [s]`, `5 client text "too"`, `6 client ping "c"`,
		}, []string{
			`1 client in text "held"`, `2 client in ping "a"`, `3 client in ping "b"`, `4 client out ping "A"`,
			`5 client both text "too"`, `6 client both ping "c"`, `7 client out text "HELD"`,
		}},

		{"a close frame waits for the messages before it", "", func(d decider) {
			came(d, client, whole(text, "held"), whole(closing, "\x03\xe8"))
			fate(d, client, tape.Dropped)
			fate(d, client, tape.Passed)
		}, []string{`1 client text "held" dropped [s]`, `2 client close "\x03\xe8"`}, []string{
			`1 client in text "held"`, `2 client both close "\x03\xe8"`,
		}},

		{"a ping between fragments that wait", "", func(d decider) {
			came(d, server, whole(textOpen, "a"))
			came(d, server, whole(ping, "p"))
			controlFate(d, server, tape.Passed)
			came(d, server, whole(more, "b"), whole(last, "c"))
			fate(d, server, tape.Passed)
		}, []string{`1 server text "abc" [1 1 1]`, `2 server ping "p"`}, []string{
			`1 server both text "a" …`, `2 server both ping "p"`, `3 server both continuation "b" …`, `4 server both continuation "c"`,
		}},

		{"edited into several", "", func(d decider) {
			came(d, server, whole(text, "one"), whole(bin, "\x00"))
			fate(d, server, tape.Edited, whole(text, "1"))
			fate(d, server, tape.Injected, whole(text, "2"))
			fate(d, server, tape.Injected, whole(text, "3"))
			fate(d, server, tape.Edited, whole(text, "zero"))
		}, []string{
			`1 server text "1" edited [s] received text "one"`, `2 server text "zero" edited [s] received binary "\x00"`,
			`4 server text "2" injected [s]`, `5 server text "3" injected [s]`,
		}, []string{
			`1 server in text "one"`, `2 server in binary "\x00"`, `3 server out text "1"`, `4 server out text "2"`,
			`5 server out text "3"`, `6 server out text "zero"`,
		}},

		{"fragments edited into fragments", "", func(d decider) {
			came(d, server, whole(textOpen, "he"), whole(last, "llo"))
			fate(d, server, tape.Edited, whole(textOpen, "H"), whole(last, "O"))
			through(d, server, whole(text, "next"))
		}, []string{`1 server text "HO" [1 1] edited [s] received text "hello"`, `5 server text "next"`}, []string{
			`1 server in text "he" …`, `2 server in continuation "llo"`, `3 server out text "H" …`, `4 server out continuation "O"`,
			`5 server both text "next"`,
		}},

		{"sent on in another form", takeover, func(d decider) {
			came(d, server, whole(compressed, first), whole(compressed, second))
			fate(d, server, tape.Edited, whole(text, "FIRST"))
			resent(d, server, whole(textOpen, "first"), whole(last, " again"))
			through(d, server, whole(text, "next"))
		}, []string{
			`1 server text "FIRST" edited [s] received text "first"`, `2 server text "first again"`, `6 server text "next"`,
		}, []string{
			`1 server in text ` + short([]byte(first)), `2 server in text ` + short([]byte(second)), `3 server out text "FIRST"`,
			`4 server out text "first" …`, `5 server out continuation " again"`, `6 server both text "next"`,
		}},

		{"let through before its end", "", func(d decider) {
			came(d, client, beginning(bin, 9, "one"))
			fate(d, client, tape.Passed)
			came(d, client, piece("two"), piece("six"), whole(text, "next"))
			fate(d, client, tape.Dropped)
		}, []string{`1 client binary "onetwosix"`, `2 client text "next" dropped [s]`}, []string{
			`1 client both binary "onetwosix"`, `2 client in text "next"`,
		}},

		{"let through before its end, in fragments", "", func(d decider) {
			came(d, client, whole(textOpen, "a"), beginning(more, 2, "b"))
			fate(d, client, tape.Passed)
			came(d, client, piece("c"), whole(more, "d"))
			through(d, client, whole(last, "e"), whole(text, "next"))
		}, []string{`1 client text "abcde" [1 2 1 1]`, `5 client text "next"`}, []string{
			`1 client both text "a" …`, `2 client both continuation "bc" …`, `3 client both continuation "d" …`,
			`4 client both continuation "e"`, `5 client both text "next"`,
		}},

		{"dropped before its end", "", func(d decider) {
			came(d, client, whole(textOpen, "a"))
			fate(d, client, tape.Dropped)
			came(d, client, whole(last, "b"), whole(text, "next"))
			fate(d, client, tape.Passed)
		}, []string{`1 client text "ab" [1 1] dropped [s]`, `3 client text "next"`}, []string{
			`1 client in text "a" …`, `2 client in continuation "b"`, `3 client both text "next"`,
		}},

		{"edited before its end", "", func(d decider) {
			came(d, client, whole(textOpen, "a"))
			fate(d, client, tape.Edited, whole(text, "A"))
			came(d, client, whole(last, "b"))
		}, []string{`1 client text "A" edited [s] received text "ab"`}, []string{
			`1 client in text "a" …`, `2 client out text "A"`, `3 client in continuation "b"`,
		}},

		{"held and let through before its end, behind one that is whole", "", func(d decider) {
			came(d, client, whole(text, "first"), whole(textOpen, "a"))
			fate(d, client, tape.Dropped)
			fate(d, client, tape.Passed)
			came(d, client, whole(last, "b"))
		}, []string{`1 client text "first" dropped [s]`, `2 client text "ab" [1 1]`}, []string{
			`1 client in text "first"`, `2 client both text "a" …`, `3 client both continuation "b"`,
		}},

		{"the session ended first", "", func(d decider) {
			came(d, client, whole(text, "passed"), whole(text, "held"), whole(ping, "p"), whole(textOpen, "a"))
			came(d, server, whole(textOpen, "b"))
			fate(d, client, tape.Passed)
			fate(d, server, tape.Passed)
		}, []string{
			`1 client text "passed"`, `2 client text "held" dropped [wstape]`, `3 client ping "p" dropped [wstape]`,
			`4 client text "a" dropped [wstape] partial`, `5 server text "b" partial`,
		}, []string{
			`1 client both text "passed"`, `2 client in text "held"`, `3 client in ping "p"`, `4 client in text "a" …`,
			`5 server both text "b" …`,
		}},

		{"a message that another one interrupts", "", func(d decider) {
			came(d, client, whole(textOpen, "a"), whole(text, "b"))
			fate(d, client, tape.Passed)
			fate(d, client, tape.Dropped)
		}, []string{`1 client text "a" partial`, `2 client text "b" dropped [s]`}, []string{
			`1 client both text "a" …`, `2 client in text "b"`,
		}},

		{"stray continuations and raw bytes behind a held message", "", func(d decider) {
			came(d, client, whole(text, "held"), whole(more, "x"), whole(last, "y"), raw("zz"), raw("~"))
			fate(d, client, tape.Dropped)
			fate(d, client, tape.Passed)
			fate(d, client, tape.Passed)
			fate(d, client, tape.Dropped)
		}, []string{
			`1 client text "held" dropped [s]`, `2 client continuation "xy" [1 1]`, `4 client raw "zz" violation`, `5 client raw "~" dropped [s] violation`,
		}, []string{
			`1 client in text "held"`, `2 client both continuation "x" …`, `3 client both continuation "y"`,
			`4 client both raw "zz"`, `5 client in raw "~"`,
		}},

		{"injected between others that wait", "", func(d decider) {
			came(d, server, whole(text, "a"))
			fate(d, server, tape.Injected, whole(text, "made"))
			fate(d, client, tape.Injected, whole(ping, ""))
			fate(d, server, tape.Dropped)
			through(d, server, whole(text, "b"))
		}, []string{
			`1 server text "a" dropped [s]`, `2 server text "made" injected [s]`, `3 client ping "" injected [s]`, `4 server text "b"`,
		}, []string{`1 server in text "a"`, `2 server out text "made"`, `3 client out ping ""`, `4 server both text "b"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWriter(t)
			c.write(w)
			store := NewMemory()
			r := NewRecorder(store, Options{})
			tap := begin(t, r, c.extensions)
			c.write(tap)
			tap.End(eof)
			must(t, r.Close())
			for name, r := range map[string]Reader{"without references": w.store(c.extensions, tape.Closed), "through a tap": store} {
				t.Run(name, func(t *testing.T) {
					equal(t, lines(t, r, ReadOptions{}), c.lines)
					equal(t, frames(t, r, ReadOptions{}), c.frames)
				})
			}
		})
	}
}

func TestCountsAreWhatWasSent(t *testing.T) {
	store := NewMemory()
	r := NewRecorder(store, Options{})
	tap := begin(t, r)
	huge := strings.Repeat("x", maxPiece+5)
	came(tap, client, whole(text, "one"), whole(text, "two"), whole(text, "three"))
	fate(tap, client, tape.Edited, whole(textOpen, huge), whole(last, "longer"))
	fate(tap, client, tape.Injected, whole(textOpen, "se"), whole(last, "cond"))
	resent(tap, client, whole(text, "two"))
	fate(tap, client, tape.Dropped)
	tap.End(eof)
	must(t, r.Close())
	e, err := store.Session(t.Context(), 1)
	must(t, err)
	recount := Entry{}
	for _, seg := range store.sessions[1].segments {
		must(t, recount.Extend(&seg))
	}
	for _, got := range []*Entry{&e, &recount} {
		if got.Frames != (tape.Counts{Client: 5}) || got.Bytes != (tape.Counts{Client: 17}) {
			t.Errorf("%v frames and %v bytes, want what came in and what was injected", got.Frames, got.Bytes)
		}
	}
}

func TestOpenSessionShowsNoFramesThatWait(t *testing.T) {
	w := newWriter(t)
	came(w, client, whole(text, "passed"), whole(text, "held"))
	fate(w, client, tape.Passed)
	through(w, server, whole(text, "s"))
	equal(t, frames(t, w.store("", tape.Open), ReadOptions{}), []string{`1 client both text "passed"`, `3 server both text "s"`})
}

// A held message does not stall a live view for ever, and appears when it is
// decided about.
func TestFollowedFramesOvertakeOneThatWaits(t *testing.T) {
	w := newWriter(t)
	came(w, client, whole(text, "held"))
	for range followLimit + 1 {
		through(w, server, whole(text, "s"))
	}
	w.cut()
	fate(w, client, tape.Passed)
	w.cut()
	store := w.store("", tape.Open, w.done[0])
	f := &framer{r: store, records: cursor{r: store, n: 1}, out: ordered[*tape.Frame]{limit: followLimit}}
	poll := func() (all []string) {
		for frame, err := range f.Poll(t.Context()) {
			must(t, err)
			all = append(all, briefFrame(frame))
		}
		return all
	}
	equal(t, poll(), []string{`2 server both text "s"`, `3 server both text "s"`})
	e, err := store.Session(t.Context(), 1)
	must(t, err)
	must(t, store.Append(t.Context(), Batch{Entries: []Entry{e}, Segments: w.done[1:]}))
	if got := poll(); len(got) != followLimit || got[0] != `1 client both text "held"` {
		t.Errorf("got %s", got)
	}
}

// What was decided about may be in a part of the tape that was not read or cannot
// be; no other message gets its fate.
func TestDecisionIsAboutItsMessageOnly(t *testing.T) {
	w := newWriter(t)
	came(w, client, whole(text, "before"), whole(text, "early"))
	w.cut()
	came(w, client, whole(text, "after"), whole(text, "last"))
	about := func(seq uint64, f tape.Fate, made ...tape.Part) {
		w.decideAbout(tape.Decision{From: client, Fate: f, By: []string{"s"}}, seq)
		w.Parts(client, instead, made)
	}
	about(1, tape.Edited, whole(text, "BEFORE"))
	about(2, tape.Dropped)
	about(3, tape.Edited, whole(text, "AFTER"))
	about(notHere, tape.Edited, whole(text, "MADE"))
	about(4, tape.Dropped)
	store := w.store("", tape.Closed)
	after := []string{`3 client text "AFTER" edited [s] received text "after"`, `4 client text "last" dropped [s]`}
	made := `7 client text "MADE" edited [s]`
	equal(t, lines(t, store, ReadOptions{Offset: w.done[1].Offset}), append(slices.Clone(after), made))
	equal(t, frames(t, store, ReadOptions{Offset: w.done[1].Offset}), []string{
		`3 client in text "after"`, `4 client in text "last"`, `5 client out text "BEFORE"`, `6 client out text "AFTER"`, `7 client out text "MADE"`,
	})
	damaged := lines(t, w.store("", tape.Closed, w.done[1]), ReadOptions{})
	equal(t, damaged[1:], append(slices.Clone(after), `5 client text "BEFORE" edited [s]`, made))
}

func TestFirstTapesDecideAboutPingsAsAboutMessages(t *testing.T) {
	w := newWriter(t)
	came(w, client, whole(ping, "p"))
	w.decide(client, tape.Edited, "s")
	w.part(client, out, whole(ping, "P"))
	came(w, client, whole(ping, "q"))
	w.decide(client, tape.Dropped, "s")
	store := w.store("", tape.Closed)
	equal(t, lines(t, store, ReadOptions{}), []string{`1 client ping "P" edited [s] received ping "p"`, `3 client ping "q" dropped [s]`})
	equal(t, frames(t, store, ReadOptions{}), []string{`1 client in ping "p"`, `2 client out ping "P"`, `3 client in ping "q"`})
}

// Of messages whose decision is in a damaged part nothing is claimed but the gap.
func TestLostDecisionIsNotADrop(t *testing.T) {
	w := newWriter(t)
	came(w, client, whole(text, "one"), whole(text, "two"), whole(text, "three"))
	w.cut()
	w.decideAbout(tape.Decision{From: client, Fate: tape.Passed}, 1)
	w.cut()
	w.decideAbout(tape.Decision{From: client, Fate: tape.Dropped, By: []string{"s"}}, 2)
	came(w, client, whole(text, "held"))
	w.cut()
	equal(t, lines(t, w.store("", tape.Closed, w.done[0], w.done[2]), ReadOptions{}), []string{
		`1 client text "one"`, `2 client text "two" dropped [s]`, `3 client text "three"`,
		fmt.Sprintf("gap 0 frames %d bytes: this part of the tape is damaged: see wstape check", len(w.done[1].Raw)),
		`4 client text "held" dropped [wstape]`,
	})
}

// The gap at the end names the frames that are missing, although what went out
// in place of others is in no count.
func TestGapBehindEditedMessages(t *testing.T) {
	w := newWriter(t)
	for range 3 {
		came(w, client, whole(text, "a"))
		fate(w, client, tape.Edited, whole(text, "A"))
	}
	w.cut()
	through(w, client, whole(text, "x"), whole(text, "y"))
	w.cut()
	got := lines(t, w.store("", tape.Closed, w.done[0]), ReadOptions{})
	if len(got) != 4 || !strings.HasPrefix(got[3], "gap 2 frames") {
		t.Errorf("got %s", got)
	}
}

func TestEditedMessageThatCannotBeInflatedSaysSo(t *testing.T) {
	w := newWriter(t)
	came(w, client, whole(compressed, "\xff\xff"))
	fate(w, client, tape.Edited, whole(text, "clear"))
	for line, err := range Lines(t.Context(), w.store(noTakeover, tape.Closed), 1, ReadOptions{}) {
		must(t, err)
		if m := line.Message; m.Error != "" || m.ReceivedError == "" || string(m.Received.Payload) != "\xff\xff" || string(m.Payload) != "clear" {
			t.Errorf("got %s, received error %q", brief(line), m.ReceivedError)
		}
	}
}

// modelled is a session that is recorded and, beside it, written down as it
// should be read.
type modelled struct {
	*rand.Rand
	tap    *Tap
	seq    uint64
	lines  []*tape.Message
	frames []*tape.Frame
	counts tape.Counts
	held   [2][2][]*heldMessage // by side: messages; pings
	open   [2]*heldMessage
	n      int
}

// heldMessage is a message that came in, with its frames.
type heldMessage struct {
	line   *tape.Message
	in     tape.Content // all that came in
	edited bool         // so the line shows something else
	frames []*tape.Frame
	leg    tape.Leg
}

func (s *modelled) words() string { s.n++; return fmt.Sprint("message ", s.n) }

// frame writes down a frame and the part that it is.
func (s *modelled) frame(from tape.Side, leg tape.Leg, op tape.Opcode, fin bool, words string) (*tape.Frame, tape.Part) {
	s.seq++
	f := &tape.Frame{Seq: s.seq, From: from, Leg: leg, Opcode: op, Fin: fin, Len: uint64(len(words)), Payload: []byte(words)}
	s.frames = append(s.frames, f)
	head := byte(op)
	if fin {
		head |= 0x80
	}
	return f, whole(head, words)
}

func (s *modelled) line(from tape.Side, op tape.Opcode, fate tape.Fate, by ...string) *tape.Message {
	m := &tape.Message{Seq: s.seq, From: from, Fate: fate, By: by, Content: tape.Content{Op: op}}
	s.lines = append(s.lines, m)
	return m
}

func (s *modelled) grow(m *tape.Message, words string) {
	m.Frames = append(m.Frames, uint64(len(words)))
	m.Payload = append(m.Payload, words...)
	m.Len = uint64(len(m.Payload))
}

// came is a message or ping that will be decided about, or the next frame of one.
func (s *modelled) came(from tape.Side, op tape.Opcode, fin bool) {
	words := s.words()
	h := s.open[from]
	if op != tape.Continuation {
		h = &heldMessage{leg: in}
	}
	f, p := s.frame(from, h.leg, op, fin, words)
	h.frames = append(h.frames, f)
	if op != tape.Continuation {
		h.line, h.in.Op = s.line(from, op, ""), op
		line := lineOf(op == tape.Ping)
		s.held[from][line] = append(s.held[from][line], h)
	}
	h.in.Payload = append(h.in.Payload, words...)
	h.in.Len = uint64(len(h.in.Payload))
	if !h.edited {
		s.grow(h.line, words)
	}
	if op != tape.Ping {
		if s.open[from] = h; fin {
			s.open[from] = nil
		}
	}
	s.counts.Add(from, 1)
	s.tap.Parts(from, in, []tape.Part{p})
}

// made returns the frames of a message of wstape's own.
func (s *modelled) made(m *tape.Message, op tape.Opcode) (parts []tape.Part) {
	n := 1
	if op != tape.Ping {
		n += s.IntN(2)
	}
	for i := range n {
		words := s.words()
		if m != nil {
			s.grow(m, words)
		}
		_, p := s.frame(0, out, op, i == n-1, words)
		op, parts = tape.Continuation, append(parts, p)
	}
	return parts
}

func (s *modelled) sent(from tape.Side, parts []tape.Part) {
	for _, f := range s.frames[len(s.frames)-len(parts):] {
		f.From = from
	}
}

func (s *modelled) inject(from tape.Side, op tape.Opcode) {
	s.seq++
	m := s.line(from, op, tape.Injected, "a", "b")
	s.seq--
	parts := s.made(m, op)
	s.sent(from, parts)
	s.counts.Add(from, uint64(len(parts)))
	s.tap.Decided(tape.Decision{From: from, Fate: tape.Injected, By: m.By}, parts)
}

// decide decides about the first message or ping that waits.
func (s *modelled) decide(from tape.Side, line int) {
	held := s.held[from][line]
	if len(held) == 0 {
		return
	}
	h := held[0]
	s.held[from][line] = held[1:]
	d := tape.Decision{From: from, Control: line == 1, By: []string{"s"}}
	var parts []tape.Part
	switch s.IntN(4) {
	case 0:
		d.Fate, h.leg = tape.Passed, both
	case 1:
		d.Fate = tape.Dropped
	case 2:
		d.Fate, d.Resent = tape.Passed, true
		parts = s.made(nil, h.in.Op)
	default:
		d.Fate, h.edited = tape.Edited, true
		h.line.Received, h.line.Content, h.line.Frames = &h.in, tape.Content{Op: h.in.Op}, nil
		parts = s.made(h.line, h.in.Op)
	}
	s.sent(from, parts)
	h.line.Fate, h.line.By = d.Fate, d.By
	for _, f := range h.frames {
		f.Leg = h.leg
	}
	s.tap.Decided(d, parts)
}

func (s *modelled) step() {
	from := tape.Side(s.IntN(2))
	switch s.IntN(10) {
	case 0, 1, 2:
		if s.open[from] != nil {
			s.came(from, tape.Continuation, s.IntN(2) == 0)
		} else {
			s.came(from, tape.Opcode(1+s.IntN(2)), s.IntN(3) > 0)
		}
	case 3:
		s.came(from, tape.Ping, true)
	case 4:
		if s.open[from] == nil {
			words := s.words()
			_, p := s.frame(from, both, tape.Text, true, words)
			s.grow(s.line(from, tape.Text, tape.Passed), words)
			s.counts.Add(from, 1)
			s.tap.Parts(from, both, []tape.Part{p})
		}
	case 5:
		s.inject(from, []tape.Opcode{tape.Ping, tape.Text}[s.IntN(2)])
	case 6:
		s.decide(from, 1)
	default:
		s.decide(from, 0)
	}
}

// end is what the lines are when the session has ended.
func (s *modelled) end() {
	for _, from := range tape.Sides() {
		if h := s.open[from]; h != nil && !h.edited {
			h.line.Partial = true
		}
		for _, h := range slices.Concat(s.held[from][0], s.held[from][1]) {
			h.line.Fate, h.line.By = tape.Dropped, []string{"wstape"}
		}
	}
}

// Whatever is decided in whatever order: lines, frames and counts are what
// happened, from wherever the reading begins.
func TestRandomDecisionsAgreeWithAModel(t *testing.T) {
	r := random(t)
	for range 200 {
		store := NewMemory()
		rec := NewRecorder(store, Options{})
		s := &modelled{Rand: r, tap: begin(t, rec)}
		var places []spot
		for i := range 60 {
			s.step()
			if i%20 == 19 {
				must(t, rec.Flush(t.Context()))
				e, err := store.Session(t.Context(), 1)
				must(t, err)
				places = append(places, spot{e.Size, s.seq + 1})
			}
		}
		s.tap.End(eof)
		s.end()
		must(t, rec.Close())
		var wantLines, wantFrames []string
		for _, m := range s.lines {
			wantLines = append(wantLines, brief(&tape.Line{Message: m}))
		}
		for _, f := range s.frames {
			wantFrames = append(wantFrames, briefFrame(f))
		}
		equal(t, lines(t, store, ReadOptions{}), wantLines)
		equal(t, frames(t, store, ReadOptions{}), wantFrames)
		for _, at := range places {
			equal(t, at.behind(lines(t, store, ReadOptions{Offset: at.offset})), at.whole(s))
		}
		if e, err := store.Session(t.Context(), 1); err != nil || e.Frames != s.counts {
			t.Errorf("counts %v, want %v (%v)", e.Frames, s.counts, err)
		}
		if t.Failed() {
			return
		}
	}
}

// whole lists the lines of the messages that begin behind a place.
func (p spot) whole(s *modelled) (out []string) {
	for _, m := range s.lines {
		if m.Seq >= p.next {
			out = append(out, brief(&tape.Line{Message: m}))
		}
	}
	return out
}

// told checks that no line has a fate other than the one that its payload names.
// Passed may be shown for a message whose decision is in a damaged part.
func told(t *testing.T, r Reader, damaged bool) (seen map[tape.Fate]int) {
	t.Helper()
	seen = map[tape.Fate]int{}
	for line, err := range Lines(t.Context(), r, 1, ReadOptions{}) {
		must(t, err)
		m := line.Message
		if m == nil {
			continue
		}
		seen[m.Fate]++
		words := string(m.Payload)
		if m.Received != nil {
			words = string(m.Received.Payload)
		}
		named, _, _ := strings.Cut(words, " ")
		lost := damaged && (m.Fate == tape.Passed || m.Op == tape.Continuation) || m.Fate == tape.Edited && m.Received == nil
		if tape.Fate(named) != m.Fate && !lost {
			t.Errorf("the wrong fate: %s", brief(line))
		}
	}
	return seen
}

// fated records messages that say what becomes of them, of which some wait for a while.
type fated struct {
	*rand.Rand
	tap  *Tap
	held [2][]tape.Fate
}

func (f *fated) step() {
	from := tape.Side(f.IntN(2))
	if f.IntN(2) == 0 {
		fate := []tape.Fate{tape.Passed, tape.Dropped, tape.Edited}[f.IntN(3)]
		f.held[from] = append(f.held[from], fate)
		words := string(fate) + strings.Repeat(" words", f.IntN(20)) + " "
		if f.IntN(2) == 0 {
			came(f.tap, from, whole(text, words))
			return
		}
		cut := len(fate) + 1 + f.IntN(len(words)-len(fate))
		came(f.tap, from, whole(textOpen, words[:cut]))
		came(f.tap, from, whole(ping, "dropped "))
		controlFate(f.tap, from, tape.Dropped)
		came(f.tap, from, whole(last, words[cut:]))
	} else if len(f.held[from]) > 0 {
		f.decide(from)
	}
}

func (f *fated) decide(from tape.Side) {
	what := f.held[from][0]
	f.held[from] = f.held[from][1:]
	var made []tape.Part
	if what == tape.Edited {
		made = append(made, whole(text, strings.Repeat("made", f.IntN(30))))
	}
	fate(f.tap, from, what, made...)
	if f.IntN(4) == 0 {
		fate(f.tap, from, tape.Injected, whole(text, "injected "))
	}
}

func (f *fated) end() {
	for _, from := range tape.Sides() {
		for len(f.held[from]) > 0 {
			f.decide(from)
		}
	}
	f.tap.End(eof)
}

// With the policy to drop, decisions about messages that are not on the tape
// change nothing about those that are.
func TestDecisionsAmongDroppedFrames(t *testing.T) {
	r := random(t)
	store := newGate()
	rec := NewRecorder(store, Options{Buffer: 2000, Drop: true})
	f := &fated{Rand: r, tap: begin(t, rec)}
	for range 60 {
		store.hold()
		for range 40 + f.IntN(80) {
			f.step()
		}
		store.release()
		must(t, rec.Flush(t.Context()))
		for range f.IntN(60) {
			f.step()
		}
	}
	must(t, rec.Flush(t.Context()))
	f.end()
	must(t, rec.Close())
	seen := told(t, store, false)
	if seen[tape.Passed] < 20 || seen[tape.Dropped] < 20 || seen[tape.Edited] < 20 || seen[tape.Injected] < 20 {
		t.Errorf("too little was recorded to say anything: %v", seen)
	}
	e, err := store.Session(t.Context(), 1)
	must(t, err)
	recount := Entry{}
	for _, seg := range store.sessions[1].segments {
		must(t, recount.Extend(&seg))
	}
	if recount.Frames != e.Frames || recount.Bytes != e.Bytes {
		t.Errorf("the session says %v frames and %v bytes, its stream %v and %v", e.Frames, e.Bytes, recount.Frames, recount.Bytes)
	}
	gaps := 0
	for line, err := range Lines(t.Context(), store, 1, ReadOptions{}) {
		must(t, err)
		if line.Gap != nil {
			gaps++
		}
	}
	if gaps < 10 {
		t.Errorf("%d gaps: nothing was dropped", gaps)
	}
}

// Room that comes back inside a message does not make a message of its rest,
// which nobody would decide about.
func TestRestOfAMessageThatLostAFrameIsDroppedToo(t *testing.T) {
	for _, c := range []struct {
		name  string
		parts []tape.Part // come while there is no room
		want  []string
	}{
		{"its beginning", []tape.Part{whole(textOpen, "lost")}, []string{
			"gap 1 frames 4 bytes: tape buffer full (record.buffer)", "gap 1 frames 2 bytes: tape buffer full (record.buffer)", `4 client ping "p" dropped [s]`,
			"gap 1 frames 1 bytes: tape buffer full (record.buffer)", `6 client text "NEXT" edited [s] received text "next"`,
		}},
		{"a frame in its middle", []tape.Part{whole(more, "lost"), whole(ping, "also")}, []string{
			"gap 2 frames 8 bytes: tape buffer full (record.buffer)", "gap 1 frames 2 bytes: tape buffer full (record.buffer)", `6 client ping "p" dropped [s]`,
			"gap 1 frames 1 bytes: tape buffer full (record.buffer)", `8 client text "NEXT" edited [s] received text "next"`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := newGate()
			r := NewRecorder(store, Options{Buffer: 1000, Drop: true})
			tap := begin(t, r)
			var want []string
			if c.parts[0].Head == more {
				came(tap, client, whole(textOpen, "begun "))
				must(t, r.Flush(t.Context()))
				want = append(want, `1 client text "begun " dropped [s] partial`)
			}
			store.hold()
			through(tap, server, whole(text, strings.Repeat("x", 1500)))
			came(tap, client, c.parts...)
			if len(c.parts) > 1 {
				controlFate(tap, client, tape.Passed)
			}
			store.release()
			must(t, r.Flush(t.Context()))
			came(tap, client, whole(more, "no"), whole(ping, "p"), whole(last, "t"), whole(text, "next"))
			controlFate(tap, client, tape.Dropped)
			fate(tap, client, tape.Dropped) // about the message of which only a part, or nothing, is there
			fate(tap, client, tape.Edited, whole(text, "NEXT"))
			tap.End(eof)
			must(t, r.Close())
			var got []string
			for _, line := range lines(t, store, ReadOptions{}) {
				if !strings.Contains(line, " server ") {
					got = append(got, line)
				}
			}
			equal(t, got, append(want, c.want...))
		})
	}
}

// What is damaged may hold messages, decisions or both: those that can be read
// keep their own fate.
func TestDecisionsAmongDamage(t *testing.T) {
	r := random(t)
	store := NewMemory()
	rec := NewRecorder(store, Options{})
	f := &fated{Rand: r, tap: begin(t, rec)}
	for range 1500 {
		if f.step(); f.IntN(4) == 0 {
			must(t, rec.Flush(t.Context()))
		}
	}
	f.end()
	must(t, rec.Close())
	told(t, store, false)
	all := store.sessions[1].segments
	for range 20 {
		store.sessions[1].segments = slices.DeleteFunc(slices.Clone(all), func(Segment) bool { return f.IntN(5) == 0 })
		seen := told(t, store, true)
		if seen[tape.Edited] < 20 {
			t.Errorf("too little was read: %v", seen)
		}
		frames(t, store, ReadOptions{})
	}
}
