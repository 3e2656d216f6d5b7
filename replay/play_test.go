package replay

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/wstape/wstape/tape"
)

// A step is sent when what preceded it from the peer has come, at the distance
// that it had from that on the tape.
func TestPace(t *testing.T) {
	cassette := session() +
		at(1, "S", "push 1") +
		at(3, "C", "ask") +
		at(3.5, "S", "answer") +
		at(7.5, "S", "push 2") +
		closing(10, "C", 1000, "")
	for _, c := range []struct {
		pace  string
		asked float64 // when the client asks
		did   []string
	}{
		{"recorded", 3, []string{"1 push 1", "3.5 answer", "7.5 push 2"}},
		{"recorded", 6, []string{"1 push 1", "6.5 answer", "10.5 push 2"}},  // the answer waits for the question
		{"recorded", 0.25, []string{"1 push 1", "1 answer", "4.75 push 2"}}, // and for what was said before it
		{"2x", 3, []string{"0.5 push 1", "3.25 answer", "5.25 push 2"}},     // twice as fast
		{"0.5x", 3, []string{"2 push 1", "4 answer", "12 push 2"}},          // half
		{"instant", 3, []string{"0 push 1", "3 answer", "3 push 2"}},        // only causality
		{"instant", 11, []string{"0 push 1", "11 answer", "11 push 2"}},     // as long as the peer takes
	} {
		pace, err := ParsePace(c.pace)
		if err != nil {
			t.Fatal(err)
		}
		s := open(t, loadText(t, tape.Server, cassette, Matching{}), Playing{Pace: pace})
		s.hears(c.asked, text("ask")).until(13).ends(13, closes(1000, "")).rest().did(c.did...)
		s.held()
	}
}

func TestParsePace(t *testing.T) {
	for text, want := range map[string]Pace{"": {Factor: 1}, "recorded": {Factor: 1}, "instant": {}, "step": {Step: true}, "2x": {Factor: 2}, "0.001x": {Factor: 0.001}, "1000x": {Factor: 1000}} {
		if got, err := ParsePace(text); got != want || err != nil {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"2", "x", "0x", "-1x", "1001x", "NaNx", "Infx", "fast"} {
		if got, err := ParsePace(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// With Pace.Step nothing is sent without a word, and one thing for each.
func TestStepByStep(t *testing.T) {
	cassette := session() + at(1, "S", "one") + at(2, "S", "two") + at(3, "C", "ask") + at(4, "S", "three") + closing(5, "S", 1000, "")
	s := open(t, loadText(t, tape.Server, cassette, Matching{}), Playing{Pace: Pace{Step: true}})
	s.until(100).did()
	s.play.Go()
	s.until(101).did("100 one")
	s.play.Go()
	s.hears(102, text("ask")).did("100 one", "101 two")
	s.play.Go()
	s.play.Go()
	s.rest().did("100 one", "101 two", "102 three", "102 close 1000")
	s.held()
}

// A client that leaves need not have waited for what the server pushes, but for
// an answer.
func TestClientLeavesEarly(t *testing.T) {
	push := session() + at(1, "C", "ask") + at(2, "S", "answer") + at(50, "S", "push") + at(60, "S", "push again") + closing(61, "C", 1000, "")
	s := open(t, loadText(t, tape.Server, push, Matching{}), Playing{Pace: Pace{Factor: 1}})
	s.hears(1, text("ask")).ends(5, closes(1000, "")).rest().did("2 answer")
	s.held()
	if notes := s.play.Outcome.Notes; len(notes) != 1 || notes[0] != "the client ended the session before 2 messages of the recording could be sent" {
		t.Errorf("notes %q", notes)
	}
	s = open(t, loadText(t, tape.Server, push, Matching{}), Playing{Pace: Pace{Factor: 1}})
	s.hears(1, text("ask")).ends(1.5, closes(1000, "")).rest()
	if got, want := mismatches(s.play.Outcome), "session 1: early end at step 2 of server: expected answer, received close \"\\x03\\xe8\"\n"; got != want {
		t.Errorf("got %s want %s", got, want)
	}
	// A ping between question and answer changes nothing.
	pinged := session() + at(1, "C", "ask") + `{"t":1.1,"from":"server","op":"ping","text":""}` + "\n" + at(2, "S", "answer") + closing(3, "C", 1000, "")
	for ended, want := range map[float64]string{
		1.05: "session 1: early end at step 3 of server: expected answer, received close \"\\x03\\xe8\"\n",
		1.5:  "session 1: early end at step 3 of server: expected answer, received close \"\\x03\\xe8\"\n",
		2.5:  "",
	} {
		s := open(t, loadText(t, tape.Server, pinged, Matching{}), Playing{Pace: Pace{Factor: 1}})
		s.hears(1, text("ask")).ends(ended, closes(1000, "")).rest()
		if got := mismatches(s.play.Outcome); got != want {
			t.Errorf("ended at %v: got %s want %s", ended, got, want)
		}
	}
}

// A client acts: a server that leaves before everything was said is wrong. It
// does not wait for pings.
func TestServerLeavesEarly(t *testing.T) {
	cassette := session() + at(1, "S", "hello") + at(5, "C", "ask") + closing(6, "S", 1000, "")
	s := open(t, loadText(t, tape.Client, cassette, Matching{}), Playing{Pace: Pace{Factor: 1}})
	s.hears(1, text("hello")).ends(2, closes(1000, "")).rest()
	if got, want := mismatches(s.play.Outcome), "session 1: early end at step 2 of client: expected ask, received close \"\\x03\\xe8\"\n"; got != want {
		t.Errorf("got %s want %s", got, want)
	}
	ping := session() + at(1, "S", "hello") + `{"t":5,"from":"client","op":"ping","text":""}` + "\n" + closing(6, "S", 1000, "")
	s = open(t, loadText(t, tape.Client, ping, Matching{}), Playing{Pace: Pace{Factor: 1}})
	s.hears(1, text("hello")).ends(2, closes(1000, "")).rest()
	s.held()
}

// The peer ends a session that the player ended on the tape.
func TestPeerEndsFirst(t *testing.T) {
	cassette := session() + at(1, "C", "ask") + closing(6, "S", 1008, "too slow")
	s := open(t, loadText(t, tape.Server, cassette, Matching{}), Playing{Pace: Pace{Factor: 1}})
	s.hears(1, text("ask")).ends(2, closes(1000, "")).rest()
	if o := s.play.Outcome; len(o.Mismatches) != 1 || o.Mismatches[0].Kind != WrongEnd || o.Mismatches[0].Step != 2 {
		t.Errorf("%s", mismatches(o))
	}
}

// A recording that does not say how it ended: the client ends it, or, if it never
// does, the player.
func TestNoEnding(t *testing.T) {
	cassette := session() + at(1, "C", "ask") + at(2, "S", "answer")
	s := open(t, loadText(t, tape.Server, cassette, Matching{}), Playing{})
	s.hears(1, text("ask")).ends(3, closes(1001, "")).rest().did("1 answer")
	s.held()
	s = open(t, loadText(t, tape.Server, cassette, Matching{}), Playing{})
	s.hears(1, text("ask")).rest()
	s.held()
	s = open(t, loadText(t, tape.Client, cassette, Matching{}), Playing{})
	s.hears(1, text("answer")).rest().did("0 ask", "1 close 1000")
	s.held()
}

// A player that takes its time waits longer for a peer that does so, too.
func TestSlowPaceWaitsLonger(t *testing.T) {
	cassette := session() + at(5, "S", "one") + at(25, "S", "two") + closing(26, "S", 1000, "")
	s := open(t, loadText(t, tape.Client, cassette, Matching{}), Playing{Pace: Pace{Factor: 0.1}})
	s.hears(50, text("one")).hears(250, text("two")).ends(260, closes(1000, "")).rest()
	s.held()
}

// Until hands the connection over.
func TestUntil(t *testing.T) {
	s := open(t, loadText(t, tape.Server, shop(), Matching{}), Playing{Until: 4})
	s.hears(0, text(`{"op":"hi","n":1}`)).hears(1, text(`{"op":"buy","n":2,"x":true}`)).did(`0 {"ok":1}`, `1 {"ok":2}`, "1 live")
	s.held()
}

// What comes early is for who takes over, too: the player waits with its last
// step, the peer does not.
func TestUntilEarly(t *testing.T) {
	cassette := session() + at(0, "C", "one") + at(50, "S", "ONE") + at(60, "C", "two")
	s := open(t, loadText(t, tape.Server, cassette, Matching{}), Playing{Until: 2, Pace: Pace{Factor: 1}})
	s.hears(0, text("one")).hears(10, text("early")).rest().did("50 ONE", "50 live")
	if u := s.play.unmatched; len(u) != 1 || content(&u[0]) != "early" {
		t.Errorf("%v", u)
	}
	s.held()
}

// Passthrough hands over what did not match.
func TestPassthrough(t *testing.T) {
	s := open(t, loadText(t, tape.Server, shop(), Matching{}), Playing{OnMismatch: Passthrough})
	s.hears(0, text(`{"op":"hi","n":1}`)).hears(1, text(`{"op":"new"}`)).rest().did(`0 {"ok":1}`, "1.2 live")
	if u := s.play.unmatched; len(u) != 1 || content(&u[0]) != `{"op":"new"}` {
		t.Errorf("%v", u)
	}
}

// The player is asked about what the ladder does not accept, and with the level
// Script about everything.
func TestDecide(t *testing.T) {
	yes, no := true, false
	for _, c := range []struct {
		level   Level
		verdict *bool
		says    string
		held    bool
		asked   int
	}{
		{Shape, nil, "other", false, 1},
		{Shape, &yes, "other", true, 1},
		{Shape, &no, "ask", true, 0},
		{Script, &no, "ask", false, 1},
		{Script, nil, "ask", true, 1},
		{Script, &yes, "other", true, 1},
	} {
		asked := 0
		decide := func(_, received *tape.Message) (*bool, string) {
			if string(received.Payload) != c.says {
				t.Errorf("asked about %q", received.Payload)
			}
			asked++
			return c.verdict, ""
		}
		s := open(t, loadText(t, tape.Server, session()+at(1, "C", "ask")+closing(2, "C", 1000, ""), Matching{Level: c.level}), Playing{Decide: decide})
		s.hears(1, text(c.says)).ends(2, closes(1000, "")).rest()
		if got := s.play.Outcome.Held(); got != c.held || c.held && asked != c.asked || asked < c.asked {
			t.Errorf("%s, %q: held %v, asked %d times", c.level, c.says, got, asked)
		}
	}
}

// A stopped replay names what was missing.
func TestAbort(t *testing.T) {
	s := open(t, loadText(t, tape.Server, shop(), Matching{}), Playing{OnMismatch: Skip})
	s.hears(0, text(`{"op":"hi","n":1}`))
	s.play.Abort(s.now, "stopped")
	if o := s.play.Outcome; len(o.Mismatches) != 1 || o.Mismatches[0].Kind != EarlyEnd || o.Mismatches[0].Step != 3 {
		t.Errorf("%s", mismatches(o))
	}
}

// Whatever comes, and whenever, the player ends and reports each step at most once.
func TestPlaySurvivesAnything(t *testing.T) {
	forSeeds(t, 200, func(t *testing.T, rng *rand.Rand) {
		a := &author{Rand: rng, fates: true}
		r := loadText(t, tape.Sides()[rng.IntN(2)], cassette(a.recording()[:1]), Matching{})
		s := open(t, r, Playing{OnMismatch: pick(a, Fail, Skip), Pace: a.pace()})
		for now := 0.0; rng.IntN(30) > 0 && !s.done; now += rng.Float64() * 3 {
			m := text(fmt.Sprint(rng.IntN(5)))
			if steps := r.Plans[0].Steps; len(steps) > 0 && rng.IntN(4) > 0 {
				if step := &steps[rng.IntN(len(steps))]; step.message() {
					m = step.Content
				}
			}
			s.hears(now, m)
		}
		if rng.IntN(2) == 0 {
			s.ends(s.now.Sub(s.start).Seconds()+1, tape.Ending{Kind: tape.EndEOF})
		}
		s.rest()
		o := s.play.Outcome
		if o.Played > o.Steps || s.play.opts.OnMismatch == Fail && len(o.Mismatches) > 1 {
			t.Errorf("%d of %d steps\n%s", o.Played, o.Steps, mismatches(o))
		}
		if o.Held() && len(o.Skipped) == 0 && o.Played < needed(r.Plans[0]) && s.play.unsent() == 0 {
			t.Errorf("%d of %d steps were played, and nothing is said about it", o.Played, o.Steps)
		}
	})
}

// TestPeerGoesByItsOwnClock has a server that ticks every thirty seconds and a
// player that is faster than the tape.
func TestPeerGoesByItsOwnClock(t *testing.T) {
	r := loadText(t, tape.Client, session()+at(0, "S", "tick 1")+at(29, "C", "hello")+at(30, "S", "tick 2")+closing(31, "S", 1000, ""), Matching{})
	p := NewPlay(NewRun(r), r.Plans[0], Playing{})
	now := replayed()
	p.Open(now, nil)
	p.Received(tape.Content{Op: tape.Text, Payload: []byte("tick 1")}, now)
	if a := p.Next(now); a.Send == nil {
		t.Fatalf("%+v instead of hello", a)
	}
	p.Sent([]byte("hello"), now)
	if a, want := p.Next(now), now.Add(30*time.Second+DefaultTimeout); !a.Until.Equal(want) {
		t.Errorf("waits until %v, want %v", a.Until, want)
	}
}
