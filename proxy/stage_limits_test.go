package proxy_test

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/proxy"
	"github.com/wstape/wstape/tape"
)

// short lets the stage see short messages only.
func short(s *setup) { s.MessageBytes = 10_000 }

// askLong waits for a question about a message that cannot be read.
func askLong(t *testing.T, questions <-chan question, why string) question {
	t.Helper()
	q := next(t, questions)
	if q.text != "" || !strings.Contains(q.failed, why) {
		t.Fatalf("asked about %.40q, which failed with %q; want %q", q.text, q.failed, why)
	}
	return q
}

// longMessage has several frames and pings between them.
func longMessage(rng *rand.Rand, from tape.Side) (frames []wstest.Frame) {
	op := tape.Binary
	for range 5 {
		frames = append(frames, wstest.Frame{Op: op, Payload: wstest.Payload(rng, 50_000)}.From(from), ping("between", from))
		op = tape.Continuation
	}
	return append(frames, wstest.New(tape.Continuation, "the end").From(from))
}

func TestALongMessageStreamsPastTheStage(t *testing.T) {
	bothWays(t, func(t *testing.T, from tape.Side, c carriage) {
		rng := wstest.Rand(t)
		p, questions := holding(&play{})
		r, near, far := pair(t, from, short, c.apply, p.on(t))
		frames := append([]wstest.Frame{text("short", from)}, longMessage(rng, from)...)
		frames = append(frames, text("short again", from))
		b := wstest.Bytes(frames...)
		near.Write(b[:20_000])
		ask(t, questions, "short").answer(pass)
		far.Expect(frames[0])
		askLong(t, questions, "limits.message").answer(pass)
		got := make([]byte, 15_000-len(wstest.Bytes(frames[0])))
		if _, err := readFull(far, got); err != nil { // before the rest of it has been sent
			t.Fatal(err)
		}
		go func() { _, _ = near.Conn.Write(b[20_000:]) }()
		rest := make([]byte, len(wstest.Bytes(frames[1:len(frames)-1]...))-len(got))
		if _, err := readFull(far, rest); err != nil {
			t.Fatal(err)
		}
		sameBytes(t, from, append(got, rest...), wstest.Bytes(frames[1:len(frames)-1]...)) // pings where they were
		ask(t, questions, "short again").answer(pass)
		far.Expect(frames[len(frames)-1])
		part(near, far)
		r.ended(1)
		sameFrames(t, from, r.frames(1, from), frames)
	})
}

func TestALongMessageIsDroppedOrReplaced(t *testing.T) {
	for name, v := range map[string]tape.Verdict{"dropped": drop, "replaced": edit(tape.Text, "too long")} {
		t.Run(name, func(t *testing.T) {
			eachSide(t, func(t *testing.T, from tape.Side) {
				rng := wstest.Rand(t)
				p, questions := holding(&play{})
				r, near, far := pair(t, from, short, p.on(t))
				go func() {
					_, _ = near.Conn.Write(wstest.Bytes(append(longMessage(rng, from), text("short", from))...))
				}()
				askLong(t, questions, "limits.message").answer(v)
				for pings, replaced := 0, 0; pings < 5 || replaced < len(v.Out); {
					switch f := far.Receive(); {
					case f.Op == tape.Ping:
						pings++
					case f.Op == tape.Text && string(f.Payload) == "too long":
						replaced++
					default:
						t.Fatalf("got %v", f)
					}
				}
				ask(t, questions, "short").answer(pass)
				far.Expect(text("short", from))
				part(near, far)
				r.ended(1)
				lines := r.lines(1, from)
				m := lines[0]
				received := &m.Content
				if m.Received != nil {
					received = m.Received
				}
				if m.Fate != v.Fate || received.Len != 250_007 || len(lines) != 7 {
					t.Errorf("on the tape: %v of %d bytes, and %d lines", m.Fate, received.Len, len(lines))
				}
			})
		})
	}
}

// TestALongMessageTakesLittleMemory while it is held and while it streams.
func TestALongMessageTakesLittleMemory(t *testing.T) {
	const size = 64 << 20
	p, questions := holding(&play{})
	r := start(t, short, func(s *setup) { s.HeldBytes, s.buffers, s.forgetful = 100_000, 64<<10, true }, p.on(t))
	client, server := r.open()
	before := heap()
	frame := wstest.Bytes(wstest.Frame{Fin: true, Op: tape.Binary, Payload: make([]byte, size)})
	wrote := make(chan error, 1)
	go func() {
		_, err := server.Conn.Write(frame)
		wrote <- err
	}()
	q := askLong(t, questions, "limits.message")
	if grown := heap() - before; grown > size+8<<20 { // the frame itself is in it
		t.Errorf("%d bytes while it is held", grown-size)
	}
	q.answer(pass)
	got, most := 0, int64(0)
	buf := make([]byte, 1<<20)
	for got < len(frame) {
		n, err := client.In.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if got += n; got>>23 != (got-n)>>23 {
			most = max(most, heap()-before)
		}
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
	if most > size+8<<20 {
		t.Errorf("%d bytes while it streams", most-size)
	}
	part(client, server)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// compressedPair opens a session with compression.
func compressedPair(t *testing.T, c compression, from tape.Side, changes ...func(*setup)) (r *rig, near, far *wstest.Peer) {
	t.Helper()
	r = start(t, changes...)
	client, server := c.open(r)
	if from == tape.Client {
		return r, client, server
	}
	return r, server, client
}

// unreadable are compressed messages that no stage can be given.
func unreadable(t *testing.T, z *codec, rng *rand.Rand, from tape.Side) map[string]wstest.Frame {
	corrupt := wstest.Frame{Fin: true, RSV: 4, Op: tape.Text, Payload: []byte("\xff\xff\xff nothing that inflates")}.From(from)
	return map[string]wstest.Frame{
		"long":                    compressedText(t, z, string(wstest.Payload(rng, 50_000)), from),
		"inflates to a lot":       compressedText(t, z, strings.Repeat("0", 1_000_000), from),
		"cannot be inflated":      corrupt,
		"cannot be inflated, too": {Fin: true, RSV: 4, Op: tape.Text, Payload: []byte{7}, Mask: corrupt.Mask},
	}
}

func TestACompressedMessageThatCannotBeReadPasses(t *testing.T) {
	for _, c := range compressions()[1:] {
		for name := range unreadable(t, newCodec(false), wstest.Rand(t), tape.Client) {
			t.Run(c.name+", "+name, func(t *testing.T) {
				eachSide(t, func(t *testing.T, from tape.Side) {
					p, questions := holding(&play{})
					r, near, far := compressedPair(t, c, from, short, p.on(t))
					z := newCodec(c.takeover)
					bad := unreadable(t, z, wstest.Rand(t), from)[name]
					behind := compressedText(t, z, "behind it, behind it", from)
					near.Send(bad, behind, text("plain", from))
					askLong(t, questions, "").answer(pass)
					far.Expect(bad)
					if c.takeover {
						askLong(t, questions, "earlier message").answer(pass)
					} else {
						ask(t, questions, "behind it, behind it").answer(pass)
					}
					far.Expect(behind)
					ask(t, questions, "plain").answer(pass)
					far.Expect(text("plain", from))
					part(near, far)
					r.ended(1)
					sameFrames(t, from, r.frames(1, from), []wstest.Frame{bad, behind, text("plain", from)})
				})
			})
		}
	}
}

// TestWhatNobodyCanReadEndsTheSession: behind a dropped message its receiver
// could not inflate it, and it cannot be sent plain either.
func TestWhatNobodyCanReadEndsTheSession(t *testing.T) {
	for _, c := range compressions()[1:] {
		for name := range unreadable(t, newCodec(false), wstest.Rand(t), tape.Client) {
			t.Run(c.name+", "+name, func(t *testing.T) {
				eachSide(t, func(t *testing.T, from tape.Side) {
					p, questions := holding(&play{})
					r, near, far := compressedPair(t, c, from, short, p.on(t))
					z := newCodec(c.takeover)
					bad := unreadable(t, z, wstest.Rand(t), from)[name]
					behind := compressedText(t, z, "behind it, behind it", from)
					near.Send(bad, behind)
					askLong(t, questions, "").answer(drop)
					next(t, questions).answer(pass)
					if !c.takeover {
						far.Expect(behind)
						part(near, far)
						r.ended(1)
						return
					}
					far.ExpectClose(1011, "message cannot be decompressed")
					near.ExpectClose(1011, "message cannot be decompressed")
					part(near, far)
					r.ending(1, tape.Ending{Kind: tape.EndError, Why: "cannot be passed on"})
					if lines := r.lines(1, from); lines[0].Fate != tape.Dropped || lines[1].Fate != tape.Dropped || lines[1].By[0] != "wstape" {
						t.Errorf("on the tape: %v by %v, %v by %v", lines[0].Fate, lines[0].By, lines[1].Fate, lines[1].By)
					}
				})
			})
		}
	}
}

// TestIllegalMessagesPassTheStageBy, and compressed ones among them leave the
// window known.
func TestIllegalMessagesPassTheStageBy(t *testing.T) {
	for _, c := range compressions() {
		t.Run(c.name, func(t *testing.T) {
			eachSide(t, func(t *testing.T, from tape.Side) {
				p, questions := holding(&play{})
				r, near, far := compressedPair(t, c, from, p.on(t))
				z := newCodec(c.takeover)
				say := func(s string) wstest.Frame {
					if !c.on {
						return text(s, from)
					}
					return compressedText(t, z, s, from)
				}
				first, wrong, cut := say("said, said"), say("said in a wrong mask"), say("said in fragments")
				wrong.Mask = wstest.Frame{}.From(from.Other()).Mask
				rest := wstest.Frame{Fin: true, RSV: 1, Op: tape.Continuation, Payload: cut.Payload[3:], Mask: cut.Mask}
				cut.Payload, cut.Fin = cut.Payload[:3], false
				last := say("said last")
				near.Send(first)
				ask(t, questions, "said, said").answer(pass)
				far.Expect(first)
				near.Send(wrong)
				far.Expect(wrong)
				near.Send(cut, rest, wstest.New(3, "reserved").From(from), last)
				ask(t, questions, "said last").answer(drop)
				far.Expect(cut, rest, wstest.New(3, "reserved").From(from))
				part(near, far)
				r.ended(1)
				if lines := r.lines(1, from); len(lines) != 5 || lines[1].Violation == "" || lines[2].Violation == "" || lines[4].Fate != tape.Dropped {
					t.Errorf("%d lines on the tape: %+v", len(lines), lines)
				}
			})
		})
	}
}

// TestACompressedMessageThatNeverEndsLosesTheWindow, as another one interrupts it.
func TestACompressedMessageThatNeverEndsLosesTheWindow(t *testing.T) {
	eachSide(t, func(t *testing.T, from tape.Side) {
		p, questions := holding(&play{})
		r, near, far := compressedPair(t, compressions()[1], from, p.on(t))
		z := newCodec(true)
		first, interrupts, last := compressedText(t, z, "said, said", from), compressedText(t, z, "interrupts", from), compressedText(t, z, "said last", from)
		first.Fin = false
		near.Send(first, interrupts, last)
		askLong(t, questions, "earlier message").answer(pass)
		far.Expect(first, interrupts, last)
		part(near, far)
		r.ended(1)
	})
}

// TestACompressedMessageThatNeverEndsIsDroppedBehindAnEditedOne: its receiver
// could not inflate it.
func TestACompressedMessageThatNeverEndsIsDroppedBehindAnEditedOne(t *testing.T) {
	eachSide(t, func(t *testing.T, from tape.Side) {
		p, questions := holding(&play{})
		r, near, far := compressedPair(t, compressions()[1], from, p.on(t))
		z := newCodec(true)
		first, last := compressedText(t, z, "said, said", from), compressedText(t, z, "said last", from)
		last.Fin = false
		bye := wstest.CloseFrame(1000, "").From(from)
		near.Send(first, last, bye)
		ask(t, questions, "said, said").answer(edit(tape.Text, "edited"))
		texts(t, far, "edited")
		far.Expect(bye)
		part(near, far)
		r.ended(1)
		if m := r.lines(1, from)[1]; m.Fate != tape.Dropped || m.By[0] != "wstape" {
			t.Errorf("on the tape: %v by %v", m.Fate, m.By)
		}
	})
}

// TestACompressedMessageThatNeverEndsCostsNoneBeforeIt: those that waited for the
// stage when it was cut can still be read.
func TestACompressedMessageThatNeverEndsCostsNoneBeforeIt(t *testing.T) {
	eachSide(t, func(t *testing.T, from tape.Side) {
		p, questions := holding(&play{})
		r, near, far := compressedPair(t, compressions()[1], from, p.on(t))
		z := newCodec(true)
		first, second, open := compressedText(t, z, "said, said", from), compressedText(t, z, "said again", from), compressedText(t, z, "said last", from)
		open.Fin = false
		interrupts, all := text("interrupts", from), ping("all is read", from)
		near.Send(first, second, open, interrupts, all)
		far.Expect(all)
		ask(t, questions, "said, said").answer(edit(tape.Text, "edited"))
		ask(t, questions, "said again").answer(pass)
		texts(t, far, "edited", "said again")
		far.Expect(interrupts)
		part(near, far)
		r.ended(1)
	})
}

func TestControlFramesAreEditedAndDropped(t *testing.T) {
	bothWays(t, func(t *testing.T, from tape.Side, c carriage) {
		p := &play{wants: wantControl, message: func(_ proxy.Handle, m *tape.Message, done func(tape.Verdict)) {
			switch string(m.Payload) {
			case "edit":
				done(edit(m.Op, "edited"))
			case "drop":
				done(drop)
			case "answer":
				done(edit(tape.Pong, "one", "two"))
			default:
				done(pass)
			}
		}}
		r, near, far := pair(t, from, c.apply, p.on(t))
		near.Send(ping("edit", from), text("te", from).Part(false), ping("drop", from), ping("answer", from), ping("pass", from),
			wstest.New(tape.Continuation, "xt").From(from), wstest.New(tape.Pong, "edit").From(from))
		control := func(op tape.Opcode, payload string) {
			t.Helper()
			if f := far.Receive(); f.Op != op || string(f.Payload) != payload || (f.Mask != nil) != (from == tape.Client) {
				t.Fatalf("got %v, want %v %q", f, op, payload)
			}
		}
		control(tape.Ping, "edited")
		far.Expect(text("te", from).Part(false))
		control(tape.Pong, "one")
		control(tape.Pong, "two")
		far.Expect(ping("pass", from), wstest.New(tape.Continuation, "xt").From(from))
		control(tape.Pong, "edited")
		part(near, far)
		r.ended(1)
		r.onLines(from, "edit → ping edited edited by test", "text", "ping drop dropped by test", "answer → pong one edited by test",
			"pong two injected by test", "ping pass", "edit → pong edited edited by test")
	})
}

// TestDataFlowsPastAHeldPing, which then waits for the end of a frame.
func TestDataFlowsPastAHeldPing(t *testing.T) {
	for name, wants := range map[string]func(tape.Side) (bool, bool){"control frames": wantControl, "all": wantAll} {
		t.Run(name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, from tape.Side, c carriage) {
				p, questions := holding(&play{wants: wants})
				r, near, far := pair(t, from, c.apply, short, p.on(t))
				data := func(s string) {
					t.Helper()
					if messages, _ := wants(from); messages {
						ask(t, questions, s).answer(pass)
					}
				}
				near.Send(ping("held", from))
				held := ask(t, questions, "held")
				near.Send(text("flows", from), ping("held, too", from))
				data("flows")
				far.Expect(text("flows", from))
				b := wstest.Bytes(wstest.Frame{Fin: true, Op: tape.Binary, Payload: bytes.Repeat([]byte("huge"), 100_000)}.From(from))
				near.Write(b[:200_000])
				data("")
				got := make([]byte, 200_000)
				if _, err := readFull(far, got); err != nil {
					t.Fatal(err)
				}
				held.answer(pass)
				near.Write(b[200_000:])
				rest := make([]byte, len(b)-len(got))
				if _, err := readFull(far, rest); err != nil {
					t.Fatal(err)
				}
				sameBytes(t, from, append(got, rest...), b)
				far.Expect(ping("held", from))
				ask(t, questions, "held, too").answer(pass)
				far.Expect(ping("held, too", from))
				part(near, far)
				r.ended(1)
			})
		})
	}
}

func TestStrictEndsASessionPastAStage(t *testing.T) {
	for _, test := range violations() {
		for _, m := range manners(t, wstest.Rand(t))[:2] {
			t.Run(test.name+", "+m.name, func(t *testing.T) {
				eachSide(t, func(t *testing.T, from tape.Side) {
					p := passing(m, wantAll)
					r, near, far := pair(t, from, strict, p.on(t))
					h := next(t, p.handles)
					near.Send(text("fine", from))
					far.Expect(text("fine", from))
					var frames []wstest.Frame
					for _, f := range test.before {
						frames = append(frames, f.From(from))
					}
					near.Send(append(frames, test.bad.From(from))...)
					f := far.Receive()
					for ; f.Op != tape.Close; f = far.Receive() {
						if string(f.Payload) == string(test.bad.Payload) {
							t.Errorf("%v has passed", f)
						}
					}
					if code, _, _ := tape.ParseClose(f.Payload); code != 1002 {
						t.Errorf("closed with %d", code)
					}
					near.ExpectClose(1002, "protocol error")
					if err := h.Send(from.Other(), tape.Text, []byte("too late"), "test"); err != nil {
						t.Log(err)
					}
					part(near, far)
					r.ending(1, tape.Ending{Kind: tape.EndError, From: &from, Why: test.why})
				})
			})
		}
	}
}

// TestStrictClosesInsideAFrameThatHasNotGoneOut, as the stage was to be asked about it.
func TestStrictClosesInsideAFrameThatHasNotGoneOut(t *testing.T) {
	eachSide(t, func(t *testing.T, from tape.Side) {
		p, _ := holding(&play{})
		r, near, far := pair(t, from, strict, p.on(t))
		b := wstest.Bytes(text("good, bad \xff", from))
		near.Write(b[:len(b)-3])
		near.Write(b[len(b)-3:])
		violationEnds(t, r, near, far, from, "not UTF-8")
	})
}

func TestStrictPassesWhatIsLegalPastAStage(t *testing.T) {
	rng := wstest.Rand(t)
	for _, m := range manners(t, rng) {
		for _, piece := range []int{1, 3, 5000} {
			t.Run(m.name, func(t *testing.T) {
				r := start(t, patient, strict, passing(m, wantAll).on(t))
				x := exchange{piece: piece, sip: 4096}
				for _, from := range tape.Sides() {
					x.frames[from] = legal(rng, from, min(8*piece, 30))
					x.early[from] = 2
				}
				x.runStaged(t, r, 1, rng)
			})
		}
	}
}
