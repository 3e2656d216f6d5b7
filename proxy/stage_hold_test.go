package proxy_test

import (
	"bytes"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/proxy"
	"github.com/wstape/wstape/tape"
)

// eachSide runs a test with either side as the first to act.
func eachSide(t *testing.T, test func(t *testing.T, from tape.Side)) {
	for _, from := range tape.Sides() {
		t.Run(from.String(), func(t *testing.T) { test(t, from) })
	}
}

// hold opens a session past a stage whose questions the test answers, and sends
// a first message.
func hold(t *testing.T, from tape.Side, changes ...func(*setup)) (r *rig, near, far *wstest.Peer, held question, questions <-chan question) {
	t.Helper()
	p, questions := holding(&play{})
	r, near, far = pair(t, from, append(changes, p.on(t))...)
	near.Send(text("held", from))
	return r, near, far, ask(t, questions, "held"), questions
}

func TestPingsAndTheOtherDirectionPassAHeldMessage(t *testing.T) {
	bothWays(t, func(t *testing.T, from tape.Side, c carriage) {
		r, near, far, held, questions := hold(t, from, c.apply)
		to := from.Other()
		near.Send(ping("1", from), text("behind", from), ping("2", from))
		far.Expect(ping("1", from), ping("2", from))
		far.Send(ping("3", to), text("from the other side", to))
		near.Expect(ping("3", to))
		ask(t, questions, "from the other side").answer(pass)
		near.Expect(text("from the other side", to))
		held.answer(pass)
		far.Expect(text("held", from))
		ask(t, questions, "behind").answer(pass)
		far.Expect(text("behind", from))
		part(near, far)
		r.ending(1, tape.Ending{Kind: tape.EndEOF, From: &from})
	})
}

func TestMessagesWaitBehindAHeldOneInTheirOrder(t *testing.T) {
	eachSide(t, func(t *testing.T, from tape.Side) {
		r, near, far, held, questions := hold(t, from)
		near.Send(wstest.New(3, "reserved").From(from), text("a", from).Part(false), ping("", from),
			wstest.New(tape.Continuation, "b").From(from), text("c", from))
		far.Expect(ping("", from))
		held.answer(edit(tape.Text, "HELD"))
		texts(t, far, "HELD")
		far.Expect(wstest.New(3, "reserved").From(from))
		ask(t, questions, "ab").answer(drop)
		ask(t, questions, "c").answer(pass)
		far.Expect(text("c", from))
		part(near, far)
		r.ended(1)
		r.onLines(from, "held → HELD edited by test", "reserved", "ab dropped by test", "ping ", "c")
	})
}

// TestWhatIsHeldIsBounded writes until the sender is stopped, and then wants all of it.
func TestWhatIsHeldIsBounded(t *testing.T) {
	for _, c := range carriages()[:2] {
		t.Run(c.name, func(t *testing.T) {
			small := func(s *setup) { s.HeldBytes, s.buffers = 100_000, 64<<10 }
			r, near, far, held, questions := hold(t, tape.Server, c.apply, small)
			shrink(near.TCP(), 64<<10)
			frame := wstest.Bytes(wstest.New(tape.Binary, string(make([]byte, 60_000)))) // as fill sends
			sent := fill(near, flood)
			if sent > flood/8 {
				t.Errorf("%d bytes were taken while a message was held", sent)
			}
			_ = near.Conn.SetWriteDeadline(time.Now().Add(wstest.Patience))
			var rest sync.WaitGroup
			rest.Go(func() {
				_, _ = near.Conn.Write(append(frame[sent%len(frame):], wstest.Bytes(text("last", tape.Server))...))
				near.CloseWrite()
			})
			held.answer(pass)
			far.Expect(text("held", tape.Server))
			for range (sent + len(frame) - 1) / len(frame) {
				next(t, questions).answer(pass)
				if f := far.Receive(); len(f.Payload) != 60_000 {
					t.Fatalf("got %v", f)
				}
			}
			ask(t, questions, "last").answer(pass)
			far.Expect(text("last", tape.Server))
			rest.Wait()
			far.ExpectEOF()
			far.CloseWrite()
			near.ExpectEOF()
			r.ended(1)
		})
	}
}

// TestHeldPingsAreBoundedToo floods with pings, which a message does not stop.
func TestHeldPingsAreBoundedToo(t *testing.T) {
	p, questions := holding(&play{wants: wantControl})
	r, server, _ := pair(t, tape.Server, func(s *setup) { s.HeldBytes, s.buffers = 10_000, 64<<10 }, p.on(t))
	shrink(server.TCP(), 64<<10)
	pings := strings.Repeat(string(wstest.Bytes(wstest.New(tape.Ping, ""))), 50_000)
	sent := 0
	for sent < flood {
		_ = server.Conn.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)) // see fill
		n, err := server.Conn.Write([]byte(pings))
		if sent += n; err != nil {
			break
		}
	}
	if sent > 8<<20 {
		t.Errorf("%d bytes of pings were taken", sent)
	}
	next(t, questions)
	r.cut()
}

func TestACloseFrameAndTheEOFWaitBehindAHeldMessage(t *testing.T) {
	bothWays(t, func(t *testing.T, from tape.Side, c carriage) {
		r, near, far, held, questions := hold(t, from, patient, c.apply)
		bye := wstest.CloseFrame(4000, "bye").From(from)
		near.Send(ping("1", from), text("behind", from), bye)
		near.CloseWrite()
		far.Expect(ping("1", from))
		far.Send(wstest.New(tape.Pong, "1").From(from.Other()))
		near.Expect(wstest.New(tape.Pong, "1").From(from.Other()))
		held.answer(pass)
		far.Expect(text("held", from))
		ask(t, questions, "behind").answer(pass)
		far.Expect(text("behind", from), bye)
		far.ExpectEOF()
		far.CloseWrite()
		near.ExpectEOF()
		r.ending(1, tape.Ending{Kind: tape.EndClose, Code: 4000, Reason: "bye", From: &from})
		r.onLines(from, "held", "ping 1", "behind", "close \x0f\xa0bye")
	})
}

// TestALongCloseFrameIsTheEndingWhenItWasHeld, as far as a close frame may go.
func TestALongCloseFrameIsTheEndingWhenItWasHeld(t *testing.T) {
	r, near, far, held, _ := hold(t, tape.Client)
	bye := wstest.CloseFrame(1000, strings.Repeat("x", 1000)).From(tape.Client)
	near.Send(bye, ping("", tape.Client))
	far.Expect(ping("", tape.Client))
	held.answer(pass)
	far.Expect(text("held", tape.Client), bye)
	part(near, far)
	r.ending(1, tape.Ending{Kind: tape.EndClose, Code: 1000, Reason: strings.Repeat("x", 123), From: of(tape.Client)})
}

// TestACloseFrameWaitsBehindAHeldPing too: nothing may follow it.
func TestACloseFrameWaitsBehindAHeldPing(t *testing.T) {
	eachSide(t, func(t *testing.T, from tape.Side) {
		p, questions := holding(&play{wants: wantControl})
		r, near, far := pair(t, from, p.on(t))
		bye := wstest.CloseFrame(1000, "").From(from)
		near.Send(ping("held", from), text("passes", from), bye)
		far.Expect(text("passes", from))
		ask(t, questions, "held").answer(pass)
		far.Expect(ping("held", from), bye)
		part(near, far)
		r.ending(1, tape.Ending{Kind: tape.EndClose, Code: 1000, From: &from})
	})
}

// TestACloseFrameInsideAMessageEndsIt although it has no end, and so the stage
// is not asked about it.
func TestACloseFrameInsideAMessageEndsIt(t *testing.T) {
	eachSide(t, func(t *testing.T, from tape.Side) {
		p, questions := holding(&play{})
		r, near, far := pair(t, from, patient, p.on(t))
		frames := []wstest.Frame{text("beginning", from).Part(false), wstest.CloseFrame(1000, "").From(from),
			wstest.New(tape.Continuation, "too late").From(from), text("much ", from).Part(false), wstest.New(tape.Continuation, "later").From(from)}
		near.Send(frames[:2]...)
		far.Expect(frames[:2]...)
		near.Send(frames[2:]...)
		far.Expect(frames[2])
		ask(t, questions, "much later").answer(pass)
		far.Expect(frames[3:]...)
		part(near, far)
		r.ending(1, tape.Ending{Kind: tape.EndClose, Code: 1000, From: &from})
		sameFrames(t, from, r.frames(1, from), frames)
	})
}

// TestWhatGoesOnBehindACloseFrameHasItsFate: it is a part of the message
// that had its fate before, so that the fates on the tape stay with their messages.
func TestWhatGoesOnBehindACloseFrameHasItsFate(t *testing.T) {
	bye := wstest.CloseFrame(1000, "")
	for _, fast := range []bool{false, true} { // something passes unread in between
		eachSide(t, func(t *testing.T, from tape.Side) {
			var unwanted atomic.Bool
			p, questions := holding(&play{wants: func(tape.Side) (bool, bool) { return !unwanted.Load(), false }})
			r, near, far := pair(t, from, patient, p.on(t))
			near.Send(text("held", from))
			held := ask(t, questions, "held")
			near.Send(text("beginning", from).Part(false), bye.From(from))
			want := []string{"both held", "both beginning", "both \x03\xe8"}
			if fast {
				held.answer(pass)
				far.Expect(text("held", from), text("beginning", from).Part(false), bye.From(from))
				unwanted.Store(true)
				near.Send(text("unread", from))
				far.Expect(text("unread", from))
				unwanted.Store(false)
				near.Send(text("held, too", from))
				held = ask(t, questions, "held, too")
				want = append(want, "both unread", "both held, too")
			}
			rest := wstest.New(tape.Continuation, "the rest").From(from)
			near.Send(rest, text("dropped", from), text("last", from), ping("", from))
			far.Expect(ping("", from))
			held.answer(pass)
			if fast {
				far.Expect(text("held, too", from), rest)
			} else {
				far.Expect(text("held", from), text("beginning", from).Part(false), bye.From(from), rest)
			}
			ask(t, questions, "dropped").answer(drop)
			ask(t, questions, "last").answer(pass)
			far.Expect(text("last", from))
			part(near, far)
			r.ended(1)
			want = append(want, "both the rest", "in dropped", "both last", "both ")
			for i, f := range r.frames(1, from) {
				if got := f.Leg.String() + " " + string(f.Payload); got != want[i] {
					t.Errorf("frame %d is %q, want %q", i, got, want[i])
				}
			}
		})
	}
}

// TestHalfAPingWaitsBehindAHeldMessage: nothing could follow it if no more came.
func TestHalfAPingWaitsBehindAHeldMessage(t *testing.T) {
	eachSide(t, func(t *testing.T, from tape.Side) {
		r, near, far, held, _ := hold(t, from, patient)
		b := wstest.Bytes(ping("in two pieces", from))
		near.Write(b[:len(b)-3])
		far.Send(ping("", from.Other()))
		near.Expect(ping("", from.Other()))
		held.answer(pass)
		far.Expect(text("held", from))
		near.CloseWrite()
		if got, err := far.ReadAll(); err != nil || !bytes.Equal(got, b[:len(b)-3]) {
			t.Errorf("got %x, %v", got, err)
		}
		far.CloseWrite()
		near.ExpectEOF()
		r.ended(1)
	})
}

// TestALongPingThatHasBegunIsReadToItsEnd although what is held has no room for
// more: everything else waits for it.
func TestALongPingThatHasBegunIsReadToItsEnd(t *testing.T) {
	eachSide(t, func(t *testing.T, from tape.Side) {
		p, questions := holding(&play{})
		r, near, far := pair(t, from, func(s *setup) { s.HeldBytes = 1 }, p.on(t))
		b := wstest.Bytes(text("held", from), ping(strings.Repeat("illegal", 100), from))
		begun := len(b) - 300
		near.Write(b[:begun])
		head := len(wstest.Bytes(text("held", from)))
		got := make([]byte, begun-head)
		if _, err := readFull(far, got); err != nil {
			t.Fatal(err)
		}
		ask(t, questions, "held").answer(pass)
		near.Write(b[begun:])
		rest := make([]byte, 300)
		if _, err := readFull(far, rest); err != nil {
			t.Fatal(err)
		}
		sameBytes(t, from, append(got, rest...), b[head:])
		far.Expect(text("held", from))
		part(near, far)
		r.ended(1)
	})
}

// TestNothingFollowsAFrameThatNeverEnds, and the session ends all the same.
func TestNothingFollowsAFrameThatNeverEnds(t *testing.T) {
	eachSide(t, func(t *testing.T, from tape.Side) {
		p, questions := holding(&play{wants: wantControl})
		r, near, far := pair(t, from, patient, p.on(t))
		near.Send(ping("held", from))
		held := ask(t, questions, "held")
		b := wstest.Bytes(text("never ends", from))
		near.Write(b[:len(b)-1])
		near.CloseWrite()
		if got, err := far.ReadAll(); err != nil || !bytes.Equal(got, b[:len(b)-1]) {
			t.Errorf("got %x, %v", got, err)
		}
		held.answer(pass)
		far.CloseWrite()
		near.ExpectEOF()
		r.ending(1, tape.Ending{Kind: tape.EndEOF, From: &from})
		r.onLines(from, "ping held dropped by wstape", "never end partial")
	})
}

// TestWhatTheStageStillLooksAtStaysAsItIs even when somebody else has decided
// about it, and other messages have passed.
func TestWhatTheStageStillLooksAtStaysAsItIs(t *testing.T) {
	looked, back := make(chan string), make(chan struct{})
	p := &play{message: func(_ proxy.Handle, m *tape.Message, done func(tape.Verdict)) {
		if string(m.Payload) != "looked at" {
			done(pass)
			return
		}
		go done(pass)
		<-back
		looked <- string(m.Payload)
	}}
	r, near, far := pair(t, tape.Client, p.on(t))
	near.Send(text("looked at", tape.Client))
	far.Expect(text("looked at", tape.Client))
	for range 5 {
		near.Send(text("another", tape.Client))
		far.Expect(text("another", tape.Client))
	}
	close(back)
	if got := next(t, looked); got != "looked at" {
		t.Errorf("it has become %q", got)
	}
	part(near, far)
	r.ended(1)
}

// TestWhatEndsInsideAFrameGoesOutLast puts what is held before it.
func TestWhatEndsInsideAFrameGoesOutLast(t *testing.T) {
	for _, torn := range []wstest.Frame{wstest.New(tape.Text, "torn text"), wstest.New(tape.Ping, "torn ping"), wstest.CloseFrame(1000, "torn close"), wstest.New(4, "torn")} {
		eachSide(t, func(t *testing.T, from tape.Side) {
			p, questions := holding(&play{wants: wantAll})
			r, near, far := pair(t, from, patient, p.on(t))
			near.Send(text("held", from), ping("held", from))
			asked := map[tape.Opcode]question{}
			for range 2 {
				q := next(t, questions)
				asked[q.op] = q
			}
			piece := wstest.Bytes(torn.From(from))
			piece = piece[:len(piece)-3]
			near.Write(piece)
			near.CloseWrite()
			for _, op := range []tape.Opcode{tape.Ping, tape.Text} { // nothing holds the last frame but the text
				asked[op].answer(pass)
				far.Expect(wstest.New(op, "held").From(from))
			}
			if got, err := far.ReadAll(); err != nil || string(got) != string(piece) {
				t.Fatalf("%v: got %x, %v, want %x", torn.Op, got, err, piece)
			}
			far.CloseWrite()
			near.ExpectEOF()
			r.ending(1, tape.Ending{Kind: tape.EndEOF, From: &from})
			frames := r.frames(1, from)
			if f := frames[len(frames)-1]; !f.Partial() || f.Leg != tape.LegBoth {
				t.Errorf("on the tape: %+v", f)
			}
		})
	}
}

func TestWhatIsNotFramesWaitsBehindHeldMessages(t *testing.T) {
	eachSide(t, func(t *testing.T, from tape.Side) {
		p, questions := holding(&play{wants: wantAll})
		r, near, far := pair(t, from, patient, p.on(t))
		near.Send(text("held", from), ping("held", from))
		first, second := next(t, questions), next(t, questions)
		garbage := "\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00" + strings.Repeat("garbage ", 1000)
		near.WriteString(garbage)
		near.CloseWrite()
		for _, q := range []question{first, second} {
			q.answer(pass)
			far.Expect(wstest.New(q.op, "held").From(from))
		}
		if got, err := far.ReadAll(); err != nil || string(got) != garbage {
			t.Fatalf("got %d bytes of garbage of %d, %v", len(got), len(garbage), err)
		}
		far.CloseWrite()
		near.ExpectEOF()
		r.ended(1)
		for _, f := range r.frames(1, from) {
			if f.Leg != tape.LegBoth {
				t.Errorf("%v on leg %v", f.Opcode, f.Leg)
			}
		}
	})
}

func TestShutdownDoesNotWaitForWhatIsHeld(t *testing.T) {
	for name, size := range map[string]int{"room for more": 0, "no room for more": 1} {
		t.Run(name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, from tape.Side, c carriage) {
				r, near, far, held, _ := hold(t, from, patient, c.apply, func(s *setup) { s.HeldBytes = size })
				wait, _ := r.shutdown()
				far.ExpectClose(1001, going)
				near.ExpectClose(1001, going)
				near.Send(wstest.CloseFrame(1001, "").From(from))
				held.answer(pass)
				part(near, far)
				if err := wait(); err != nil {
					t.Errorf("shutdown: %v", err)
				}
				r.ending(1, tape.Ending{Kind: tape.EndClose, Code: 1001, Reason: going})
				r.onLines(from, "held dropped by wstape", "close \x03\xe9"+going+" injected by operator", "close \x03\xe9 dropped by wstape")
			})
		})
	}
}

func TestShutdownCutsASessionWhoseMessageIsHeld(t *testing.T) {
	for _, size := range []int{0, 1} {
		r, near, far, held, _ := hold(t, tape.Client, patient, func(s *setup) { s.HeldBytes = size })
		wait, cut := r.shutdown()
		cut()
		_ = wait()
		_, _ = near.ReadAll()
		_, _ = far.ReadAll()
		r.ended(1)
		held.answer(pass) // nobody is there to hear it
	}
}

func TestAHeldMessageArrivesAlthoughItsSenderHasLeft(t *testing.T) {
	bothWays(t, func(t *testing.T, from tape.Side, c carriage) {
		r, near, far, held, _ := hold(t, from, patient, c.apply)
		near.CloseWrite()
		held.answer(edit(tape.Text, "edited"))
		texts(t, far, "edited")
		far.ExpectEOF()
		far.CloseWrite()
		near.ExpectEOF()
		r.ending(1, tape.Ending{Kind: tape.EndEOF, From: &from})
	})
}

func TestAHeldMessageArrivesAlthoughItsSenderHasReset(t *testing.T) {
	bothWays(t, func(t *testing.T, from tape.Side, c carriage) {
		r, near, far, held, _ := hold(t, from, patient, c.apply)
		near.Reset()
		held.answer(pass)
		got, err := far.ReadAll()
		if string(got) != string(wstest.Bytes(text("held", from))) || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("got %q, %v", got, err)
		}
		r.ending(1, tape.Ending{Kind: tape.EndReset, From: &from})
	})
}

// TestAStageMayNotKeepASessionThatEnds for longer than it may stand still.
func TestAStageMayNotKeepASessionThatEnds(t *testing.T) {
	leave := map[string]func(*wstest.Peer){"EOF": (*wstest.Peer).CloseWrite, "reset": (*wstest.Peer).Reset}
	for name, leave := range leave {
		t.Run(name, func(t *testing.T) {
			eachSide(t, func(t *testing.T, from tape.Side) {
				r, near, far, held, _ := hold(t, from, func(s *setup) { s.CloseTimeout = 10 * time.Millisecond })
				leave(near)
				_, _ = far.ReadAll()
				r.ending(1, tape.Ending{Kind: tape.EndTimeout, Why: "limits.close_timeout"})
				held.answer(pass)
				r.onLines(from, "held dropped by wstape")
			})
		})
	}
}

// TestTheLinkGoesOnWhileTheStageIsAway calls the stage on a goroutine that it
// does not get back.
func TestTheLinkGoesOnWhileTheStageIsAway(t *testing.T) {
	for _, when := range []string{"decides before it comes back", "comes back before it decides", "never comes back"} {
		t.Run(when, func(t *testing.T) {
			bothWays(t, func(t *testing.T, from tape.Side, c carriage) {
				asked, back, over := make(chan func(tape.Verdict), 1), make(chan struct{}), make(chan struct{})
				defer close(over)
				p := &play{message: func(_ proxy.Handle, m *tape.Message, done func(tape.Verdict)) {
					switch {
					case string(m.Payload) != "slow":
						done(pass)
						return
					case when == "comes back before it decides":
						asked <- done
						<-back
						return
					case when == "never comes back":
						asked <- done
						<-over
						return
					}
					asked <- func(tape.Verdict) {}
					<-back
					done(edit(tape.Text, "late"))
				}}
				r, near, far := pair(t, from, c.apply, p.on(t))
				for range 3 {
					near.Send(text("slow", from))
					done := next(t, asked)
					near.Send(ping("not slow", from), text("behind", from))
					far.Expect(ping("not slow", from)) // so another goroutine runs the link
					if when != "never comes back" {
						back <- struct{}{}
					}
					done(edit(tape.Text, "late"))
					texts(t, far, "late")
					far.Expect(text("behind", from))
				}
				part(near, far)
				r.ending(1, tape.Ending{Kind: tape.EndEOF, From: &from})
				if n := len(r.lines(1, from)); n != 9 {
					t.Errorf("%d messages on the tape", n)
				}
			})
		})
	}
}

// TestAGoroutineThatComesBackLateDoesNotRunTheLink, not even if it does while
// the stage is asked about another message.
func TestAGoroutineThatComesBackLateDoesNotRunTheLink(t *testing.T) {
	const messages = 200
	var away []chan struct{}
	p := &play{message: func(_ proxy.Handle, m *tape.Message, done func(tape.Verdict)) {
		if n := len(away); n > 0 && string(m.Payload) == "here" {
			close(away[n-1]) // the last one that was away comes back right now
			away = nil
			for range 100 {
				runtime.Gosched()
			}
			done(pass)
			return
		}
		if string(m.Payload) == "away" {
			leave := make(chan struct{})
			away = append(away, leave)
			go done(pass)
			<-leave
			return
		}
		done(pass)
	}}
	r, near, far := pair(t, tape.Client, p.on(t))
	for range messages {
		near.Send(text("away", tape.Client))
		far.Expect(text("away", tape.Client))
		near.Send(text("here", tape.Client), text("and here", tape.Client))
		far.Expect(text("here", tape.Client), text("and here", tape.Client))
	}
	part(near, far)
	r.ended(1)
	if n := len(r.lines(1, tape.Client)); n != 3*messages {
		t.Errorf("%d messages on the tape", n)
	}
}

func TestShutdownDoesNotWaitForAStageThatNeverComesBack(t *testing.T) {
	over := make(chan struct{})
	defer close(over)
	asked := make(chan struct{}, 2)
	p := &play{message: func(proxy.Handle, *tape.Message, func(tape.Verdict)) {
		asked <- struct{}{}
		<-over
	}}
	r, client, server := pair(t, tape.Client, p.on(t))
	client.Send(text("1", tape.Client))
	server.Send(text("2", tape.Server))
	next(t, asked)
	next(t, asked)
	wait, cut := r.shutdown()
	client.ExpectClose(1001, going)
	server.ExpectClose(1001, going)
	cut()
	_ = wait()
	r.ending(1, tape.Ending{Kind: tape.EndClose, Code: 1001, Reason: going})
	if e := next(t, p.endings); e.Code != 1001 {
		t.Errorf("the stage was closed with %+v", e)
	}
}
