package proxy_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/proxy"
	"github.com/wstape/wstape/tape"
)

func send(t *testing.T, h proxy.Handle, to tape.Side, what string) {
	t.Helper()
	if err := h.Send(to, tape.Text, []byte(what), "test"); err != nil {
		t.Fatalf("send to the %v: %v", to, err)
	}
}

// wishes are the kinds of things that stages want.
func wishes() map[string]func(tape.Side) (messages, control bool) {
	return map[string]func(tape.Side) (messages, control bool){"all": wantAll, "nothing": wantNone, "control frames": wantControl}
}

func TestWhatIsSentWhenTheSessionOpensComesFirst(t *testing.T) {
	for name, wants := range wishes() {
		t.Run(name, func(t *testing.T) {
			p := &play{wants: wants, opened: func(h proxy.Handle) {
				for _, to := range tape.Sides() {
					send(t, h, to, "welcome")
				}
			}}
			r := start(t, p.on(t))
			early := [2]wstest.Frame{text("early", tape.Client), text("early", tape.Server)}
			client := r.dial()
			client.WriteString(wstest.Request("/") + string(wstest.Bytes(early[tape.Client])))
			server := r.upstream.Accept()
			server.ReadHead()
			server.WriteString(wstest.Switching() + string(wstest.Bytes(early[tape.Server])))
			client.ReadHead()
			texts(t, client, "welcome")
			client.Expect(early[tape.Server])
			texts(t, server, "welcome")
			server.Expect(early[tape.Client])
			part(client, server)
			r.ended(1)
			r.onLines(tape.Client, "welcome injected by test", "early")
		})
	}
}

func TestWhatIsSentWakesAnIdleSession(t *testing.T) {
	for name, wants := range wishes() {
		t.Run(name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, from tape.Side, c carriage) {
				p := &play{wants: wants}
				r, near, far := pair(t, from, c.apply, p.on(t))
				h := next(t, p.handles)
				for i := range 20 {
					send(t, h, from.Other(), fmt.Sprint(i))
					texts(t, far, fmt.Sprint(i))
					if err := h.Send(from, tape.Ping, []byte("?"), "test"); err != nil {
						t.Fatal(err)
					}
					if f := near.Receive(); f.Op != tape.Ping || string(f.Payload) != "?" || (f.Mask != nil) != (from == tape.Server) {
						t.Fatalf("got %v", f)
					}
				}
				part(near, far)
				r.ending(1, tape.Ending{Kind: tape.EndEOF, From: &from})
			})
		})
	}
}

// TestWhatIsSentWaitsForTheEnd of a frame that is passing, and of a message.
func TestWhatIsSentWaitsForTheEnd(t *testing.T) {
	for name, wants := range wishes() {
		t.Run(name, func(t *testing.T) {
			eachSide(t, func(t *testing.T, from tape.Side) {
				p := &play{wants: wants}
				r, near, far := pair(t, from, p.on(t), func(s *setup) { s.MessageBytes = 100 })
				h := next(t, p.handles)
				huge := wstest.Frame{Op: tape.Binary, Payload: make([]byte, 1<<20)}.From(from) // more follow
				b := wstest.Bytes(huge)
				near.Write(b[:1<<19])
				got := make([]byte, 1<<19)
				if _, err := readFull(far, got); err != nil {
					t.Fatal(err)
				}
				send(t, h, from.Other(), "sent")
				near.Write(b[1<<19:])
				near.Send(ping("", from))
				rest := make([]byte, len(b)-len(got))
				if _, err := readFull(far, rest); err != nil {
					t.Fatal(err)
				}
				sameBytes(t, from, append(got, rest...), b)
				far.Expect(ping("", from))
				end := wstest.New(tape.Continuation, "end").From(from)
				near.Send(end)
				far.Expect(end)
				texts(t, far, "sent")
				part(near, far)
				r.ended(1)
			})
		})
	}
}

// TestWhatIsSentDoesNotWaitForWhatHasNotGoneOut: half a header, a message that is
// held, the beginning of one that the stage will be asked about.
func TestWhatIsSentDoesNotWaitForWhatHasNotGoneOut(t *testing.T) {
	eachSide(t, func(t *testing.T, from tape.Side) {
		p, questions := holding(&play{})
		r, near, far := pair(t, from, p.on(t))
		h := next(t, p.handles)
		near.Send(text("held", from))
		held := ask(t, questions, "held")
		send(t, h, from.Other(), "past a held message")
		texts(t, far, "past a held message")
		held.answer(drop)
		frame := wstest.Bytes(text("in pieces", from))
		for _, cut := range []int{1, 3} {
			near.Write(frame[:cut])
			frame = frame[cut:]
			send(t, h, from.Other(), "past a piece")
			texts(t, far, "past a piece")
		}
		near.Write(frame)
		ask(t, questions, "in pieces").answer(pass)
		far.Expect(text("in pieces", from))
		near.Send(text("begun", from).Part(false), ping("", from))
		far.Expect(ping("", from))
		send(t, h, from.Other(), "past a fragment")
		texts(t, far, "past a fragment")
		near.Send(wstest.New(tape.Continuation, "").From(from))
		ask(t, questions, "begun").answer(pass)
		far.Expect(text("begun", from).Part(false), wstest.New(tape.Continuation, "").From(from))
		part(near, far)
		r.ended(1)
	})
}

// TestWhatIsSentIsBounded while nothing of it can go out.
func TestWhatIsSentIsBounded(t *testing.T) {
	p := &play{wants: wantNone}
	r, client, server := pair(t, tape.Client, func(s *setup) { s.HeldBytes = 10_000 }, p.on(t))
	h := next(t, p.handles)
	frame := wstest.Bytes(text("a frame in two pieces", tape.Client))
	client.Write(frame[:10])
	if _, err := readFull(server, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	n, size := 0, 1000
	var err error
	for ; err == nil; n++ {
		if n > 100 {
			t.Fatal("there is no bound")
		}
		err = h.Send(tape.Server, tape.Binary, make([]byte, size), "test")
	}
	if !strings.Contains(err.Error(), "limits.held") {
		t.Errorf("failed with %v", err)
	}
	client.Write(frame[10:])
	if _, err := readFull(server, make([]byte, len(frame)-10)); err != nil {
		t.Fatal(err)
	}
	for range n - 1 {
		if f := server.Receive(); f.Op != tape.Binary || len(f.Payload) != size {
			t.Fatalf("got %v", f)
		}
	}
	send(t, h, tape.Server, "room again")
	texts(t, server, "room again")
	part(client, server)
	r.ended(1)
}

func TestWhatCannotBeSentIsAnError(t *testing.T) {
	p := &play{}
	r, client, server := pair(t, tape.Client, p.on(t))
	h := next(t, p.handles)
	for op, payload := range map[tape.Opcode]int{tape.Close: 2, tape.Continuation: 1, tape.Ping: 126, tape.Pong: 126, 3: 0} {
		if err := h.Send(tape.Client, op, make([]byte, payload), "test"); err == nil {
			t.Errorf("%v of %d bytes was taken", op, payload)
		}
	}
	part(client, server)
	next(t, p.endings)
	if err := h.Send(tape.Client, tape.Text, nil, "test"); err == nil {
		t.Error("something was taken when the session was over")
	}
	r.ended(1)
	h.Note("too late", "test")
	h.Tag("too", "late")
	if notes := r.notes(1); len(notes) != 0 || r.ended(1).Tags != nil {
		t.Errorf("notes %q, tags %v", notes, r.ended(1).Tags)
	}
}

// TestWhatIsSentBehindACloseFrameIsNoted, and nothing follows that frame.
func TestWhatIsSentBehindACloseFrameIsNoted(t *testing.T) {
	for name, wants := range wishes() {
		t.Run(name, func(t *testing.T) {
			eachSide(t, func(t *testing.T, from tape.Side) {
				p := &play{wants: wants}
				r, near, far := pair(t, from, p.on(t))
				h := next(t, p.handles)
				bye := wstest.CloseFrame(1000, "").From(from)
				near.Send(bye)
				far.Expect(bye)
				send(t, h, from.Other(), "too late")
				send(t, h, from, "in time")
				texts(t, near, "in time")
				part(near, far)
				r.ended(1)
				if notes := r.notes(1); len(notes) != 1 || !strings.Contains(notes[0], "not sent to the "+from.Other().String()) {
					t.Errorf("notes %q", notes)
				}
			})
		})
	}
}

func TestAStageClosesASession(t *testing.T) {
	for name, wants := range wishes() {
		t.Run(name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, from tape.Side, c carriage) {
				p := &play{wants: wants}
				r, near, far := pair(t, from, c.apply, p.on(t))
				h := next(t, p.handles)
				near.Send(text("before", from))
				far.Expect(text("before", from))
				for _, to := range tape.Sides() {
					send(t, h, to, "last words")
				}
				h.Close(4001, "enough", "test")
				h.Close(4002, "too much", "test")
				for _, peer := range []*wstest.Peer{near, far} {
					texts(t, peer, "last words")
					peer.ExpectClose(4001, "enough")
				}
				near.Send(text("behind", from))
				part(near, far)
				r.ending(1, tape.Ending{Kind: tape.EndClose, Code: 4001, Reason: "enough"})
				r.onLines(from, "before", "last words injected by test", "close \x0f\xa1enough injected by test", "behind dropped by wstape")
				if e := next(t, p.endings); e.Code != 4001 {
					t.Errorf("the stage was closed with %+v", e)
				}
			})
		})
	}
}

// TestAStageClosesASessionAboutWhatItIsAsked sends what it says about it first,
// if it says it at once.
func TestAStageClosesASessionAboutWhatItIsAsked(t *testing.T) {
	for _, later := range []bool{false, true} {
		eachSide(t, func(t *testing.T, from tape.Side) {
			p := &play{message: func(h proxy.Handle, m *tape.Message, done func(tape.Verdict)) {
				if later {
					h.Close(4001, "enough", "test")
					go done(edit(tape.Text, "never sent"))
					return
				}
				done(edit(tape.Text, "last words"))
				h.Close(4001, "enough", "test")
			}}
			r, near, far := pair(t, from, p.on(t))
			near.Send(text("words", from), text("more words", from))
			if !later {
				texts(t, far, "last words")
			}
			for f := far.Receive(); f.Op != tape.Close; f = far.Receive() {
				if string(f.Payload) != "never sent" && string(f.Payload) != "last words" {
					t.Fatalf("got %v", f)
				}
			}
			near.ExpectClose(4001, "enough")
			part(near, far)
			r.ending(1, tape.Ending{Kind: tape.EndClose, Code: 4001, Reason: "enough"})
		})
	}
}

func TestAStageClosesASessionWhenItOpens(t *testing.T) {
	p := &play{opened: func(h proxy.Handle) {
		send(t, h, tape.Client, "sorry")
		h.Close(4001, "full", "test")
	}}
	r, client, server := pair(t, tape.Client, p.on(t))
	texts(t, client, "sorry")
	client.ExpectClose(4001, "full")
	server.ExpectClose(4001, "full")
	part(client, server)
	r.ending(1, tape.Ending{Kind: tape.EndClose, Code: 4001, Reason: "full"})
}

// TestWhatIsSentLandsBetweenMessages of two busy senders whose writes end
// anywhere, under a stage that changes its mind.
func TestWhatIsSentLandsBetweenMessages(t *testing.T) {
	rng := wstest.Rand(t)
	for _, wish := range []string{"all", "nothing", "control frames", "now this, now that"} {
		for _, m := range manners(t, rng) {
			t.Run(wish+", "+m.name, func(t *testing.T) {
				mind := dice{rng: rand.New(rand.NewPCG(rng.Uint64(), 0))}
				wants := wishes()[wish]
				if wants == nil {
					wants = func(tape.Side) (bool, bool) { return mind.IntN(2) == 0, mind.IntN(2) == 0 }
				}
				p := passing(m, wants)
				r := start(t, patient, p.on(t))
				const messages, sent = 150, 300
				plain := compressions()[0]
				var speeches [2]speech
				for _, from := range tape.Sides() {
					speeches[from] = plain.speak(t, rng, from, []string{"say"}, messages)
				}
				var sending sync.WaitGroup
				sending.Add(1)
				go func() {
					defer sending.Done()
					h := <-p.handles
					for i := range sent {
						if err := h.Send(tape.Side(i%2), tape.Text, []byte("sent"), "test"); err != nil {
							t.Error(err)
						}
					}
				}()
				arrived := plain.converse(t, r, speeches, rng, &sending)
				r.ended(1)
				for _, from := range tape.Sides() {
					plain.check(t, speeches[from], arrived[from])
					heard, _ := plain.listen(t, arrived[from])
					if n := len(heard) - messages; n != sent/2 {
						t.Errorf("%d messages were sent as if they came from the %v", n, from)
					}
				}
			})
		}
	}
}

// TestABusySenderDoesNotKeepWhatIsSentWaiting never lets a write end where a
// frame does.
func TestABusySenderDoesNotKeepWhatIsSentWaiting(t *testing.T) {
	for name, wants := range wishes() {
		t.Run(name, func(t *testing.T) {
			p := &play{wants: wants}
			r, client, server := pair(t, tape.Client, p.on(t))
			frame := wstest.Bytes(wstest.New(tape.Text, "busy"))
			server.Write(frame[:1])
			var sending sync.WaitGroup
			sending.Go(func() {
				for {
					if _, err := server.Conn.Write(append(frame[1:], frame[0])); err != nil {
						return
					}
				}
			})
			h := next(t, p.handles)
			for range 10 {
				send(t, h, tape.Client, "sent")
				for f := client.Receive(); string(f.Payload) != "sent"; f = client.Receive() {
					if string(f.Payload) != "busy" {
						t.Fatalf("got %v", f)
					}
				}
			}
			r.cut()
			sending.Wait()
		})
	}
}

// TestAStageChangesItsMindInsideAMessage which goes on as it began.
func TestAStageChangesItsMindInsideAMessage(t *testing.T) {
	eachSide(t, func(t *testing.T, from tape.Side) {
		var wanted atomic.Bool
		p, questions := holding(&play{wants: func(tape.Side) (bool, bool) { return wanted.Load(), wanted.Load() }})
		r, near, far := pair(t, from, p.on(t))
		first := wstest.Bytes(text("un", from).Part(false))
		whole := append(first, wstest.Bytes(wstest.New(tape.Continuation, "seen").From(from))...)
		sent := 0
		for _, to := range []int{1, len(first) - 1, len(first), len(whole) - 1, len(whole)} { // inside the header, the payload, the message
			near.Write(whole[sent:to])
			got := make([]byte, to-sent)
			if _, err := readFull(far, got); err != nil || !bytes.Equal(got, whole[sent:to]) {
				t.Fatalf("got %x, %v, want %x", got, err, whole[sent:to])
			}
			sent = to
			wanted.Store(true)
		}
		near.Send(text("se", from).Part(false), ping("a", from))
		ask(t, questions, "a").answer(pass)
		far.Expect(ping("a", from))
		wanted.Store(false)
		near.Send(ping("b", from))
		far.Expect(ping("b", from))
		near.Send(wstest.New(tape.Continuation, "en").From(from), text("unseen again", from))
		ask(t, questions, "seen").answer(edit(tape.Text, "SEEN"))
		texts(t, far, "SEEN")
		far.Expect(text("unseen again", from))
		part(near, far)
		r.ended(1)
		r.onLines(from, "unseen", "seen → SEEN edited by test", "ping a", "ping b", "unseen again")
	})
}

// compressed returns a message of one frame.
func compressedText(t *testing.T, z *codec, s string, from tape.Side) wstest.Frame {
	t.Helper()
	return wstest.Frame{Fin: true, RSV: 4, Op: tape.Text, Payload: z.deflate(t, s)}.From(from)
}

// TestAStageThatComesLateDoesNotSeeCompressedMessages that refer to what it has
// not seen; they pass as they are, and a note says so.
func TestAStageThatComesLateDoesNotSeeCompressedMessages(t *testing.T) {
	for _, c := range compressions()[1:] {
		t.Run(c.name, func(t *testing.T) {
			eachSide(t, func(t *testing.T, from tape.Side) {
				var wanted atomic.Bool
				p, questions := holding(&play{wants: func(tape.Side) (bool, bool) { return wanted.Load(), false }})
				r := start(t, p.on(t))
				client, server := c.open(r)
				near, far := client, server
				if from == tape.Server {
					near, far = server, client
				}
				z := newCodec(c.takeover)
				first := compressedText(t, z, "hello, hello", from)
				near.Send(first)
				far.Expect(first)
				wanted.Store(true)
				second, third := compressedText(t, z, "hello, hello again", from), compressedText(t, z, "hello and goodbye", from)
				near.Send(second, text("plain", from), third)
				if c.takeover {
					ask(t, questions, "plain").answer(drop)
					far.Expect(second, third)
				} else {
					ask(t, questions, "hello, hello again").answer(edit(tape.Text, "edited"))
					ask(t, questions, "plain").answer(drop)
					ask(t, questions, "hello and goodbye").answer(pass)
					texts(t, far, "edited")
					far.Expect(third)
				}
				part(near, far)
				r.ended(1)
				if notes := r.notes(1); (len(notes) == 1 && strings.Contains(notes[0], "next connection")) != c.takeover {
					t.Errorf("notes %q", notes)
				}
			})
		})
	}
}

// TestCompressedMessagesStayReadableWhenTheStageLeaves: the receiver still lacks
// what was dropped.
func TestCompressedMessagesStayReadableWhenTheStageLeaves(t *testing.T) {
	eachSide(t, func(t *testing.T, from tape.Side) {
		var unwanted atomic.Bool
		p, questions := holding(&play{wants: func(tape.Side) (bool, bool) { return !unwanted.Load(), false }})
		c := compressions()[1]
		r := start(t, p.on(t))
		client, server := c.open(r)
		near, far := client, server
		if from == tape.Server {
			near, far = server, client
		}
		z := newCodec(true)
		near.Send(compressedText(t, z, "hello, hello", from))
		held := ask(t, questions, "hello, hello")
		unwanted.Store(true)
		near.Send(compressedText(t, z, "hello, hello behind it", from), ping("", from))
		far.Expect(ping("", from))
		held.answer(drop)
		texts(t, far, "hello, hello behind it")
		near.Send(compressedText(t, z, "hello again", from), text("plain", from))
		texts(t, far, "hello again")
		far.Expect(text("plain", from))
		part(near, far)
		r.ended(1)
		r.onLines(from, "hello, hello dropped by test", "hello, hello behind it", "ping ", "hello again", "plain")
	})
}

// TestAStageMayCallAtAnyTime calls everything at once while sessions begin
// and end.
func TestAStageMayCallAtAnyTime(t *testing.T) {
	p := &play{}
	calls := func(h proxy.Handle) {
		for i := range 20 {
			_ = h.Send(tape.Side(i%2), tape.Text, []byte("x"), "test")
			h.Note("note", "test")
			h.Tag("key", fmt.Sprint(i))
		}
		h.Close(4000, "", "test")
	}
	var calling sync.WaitGroup
	p.opened = func(h proxy.Handle) {
		for range 3 {
			calling.Go(func() { calls(h) })
		}
	}
	r := start(t, p.on(t), func(s *setup) { s.CloseTimeout = time.Millisecond })
	for n := range uint64(20) {
		client, server := r.open()
		_, _ = client.ReadAll()
		_, _ = server.ReadAll()
		r.ended(n + 1)
	}
	calling.Wait()
}
