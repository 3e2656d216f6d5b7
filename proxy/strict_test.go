package proxy_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/tape"
)

// violation is something that RFC 6455 forbids.
type violation struct {
	name   string
	before []wstest.Frame // these arrive
	bad    wstest.Frame
	why    string
}

func violations() []violation {
	return []violation{
		{"reserved bit", nil, wstest.Frame{Fin: true, RSV: 1, Op: tape.Text}, "reserved bit"},
		{"reserved opcode", nil, wstest.New(3, "x"), "reserved opcode"},
		{"long ping", nil, wstest.New(tape.Ping, strings.Repeat("x", 126)), "longer than 125"},
		{"fragmented ping", nil, wstest.New(tape.Ping, "x").Part(false), "fragmented control"},
		{"stray continuation", []wstest.Frame{wstest.New(tape.Text, "hi")}, wstest.New(tape.Continuation, "x"), "continuation of no message"},
		{"message in a message", []wstest.Frame{wstest.New(tape.Text, "hi").Part(false)}, wstest.New(tape.Text, "x"), "inside a fragmented one"},
		{"bad UTF-8", nil, wstest.New(tape.Text, "a\xffb"), "not UTF-8"},
		{"a rune cut by the end", []wstest.Frame{wstest.New(tape.Text, "a\xe2").Part(false)}, wstest.New(tape.Continuation, "\x82"), "not UTF-8"},
		{"bad UTF-8 in a fragment", []wstest.Frame{wstest.New(tape.Text, "a\xe2").Part(false), wstest.New(tape.Ping, "\xff")}, wstest.New(tape.Continuation, "\x28\xa1"), "not UTF-8"},
		{"close of one byte", nil, wstest.New(tape.Close, "\x03"), "one byte"},
		{"close code", nil, wstest.CloseFrame(1005+1, ""), "close code"},
		{"close reason", nil, wstest.CloseFrame(1000, "\xff"), "close reason"},
		{"length", nil, wstest.Frame{Fin: true, Op: tape.Text, LenSize: 2, Payload: []byte("x")}, "fewest bytes"},
	}
}

func TestStrictEndsASessionAtAViolation(t *testing.T) {
	for _, test := range violations() {
		for _, from := range tape.Sides() {
			t.Run(test.name+" from the "+from.String(), func(t *testing.T) {
				r, near, far := pair(t, from, strict)
				for i := range test.before {
					test.before[i] = test.before[i].From(from)
				}
				bad, after := test.bad.From(from), wstest.New(tape.Ping, "behind it").From(from)
				near.Send(append(test.before[:len(test.before):len(test.before)], bad, after)...)
				far.Expect(test.before...)
				violationEnds(t, r, near, far, from, test.why)

				frames := r.frames(1, from)
				if len(frames) != len(test.before)+3 { // what came in, and our close frame
					t.Fatalf("%d frames of that side on the tape", len(frames))
				}
				for i, want := range append(test.before, bad, after) {
					f := frames[i]
					if i == len(test.before)+1 { // our close frame stands between
						f = frames[i+1]
					}
					if string(f.Payload) != string(want.Payload) || (f.Leg == tape.LegBoth) != (i < len(test.before)) {
						t.Errorf("frame %d is %q on leg %v", i, f.Payload, f.Leg)
					}
				}
				if f := frames[len(test.before)]; !strings.Contains(f.Violation, test.why) {
					t.Errorf("recorded violation %q", f.Violation)
				}
			})
		}
	}
}

// violationEnds wants a close frame with 1002 on both sides and an end.
func violationEnds(t *testing.T, r *rig, near, far *wstest.Peer, from tape.Side, why string) {
	t.Helper()
	far.ExpectClose(1002, "protocol error")
	near.ExpectClose(1002, "protocol error")
	near.CloseWrite()
	far.ExpectEOF()
	far.CloseWrite()
	near.ExpectEOF()
	r.ending(1, tape.Ending{Kind: tape.EndError, From: &from, Why: "--strict: "})
	if got := r.ended(1).Ending.Why; !strings.Contains(got, why) {
		t.Errorf("ended because of %q, want %q", got, why)
	}
}

func TestStrictEndsASessionAtAWrongMaskSide(t *testing.T) {
	for _, from := range tape.Sides() {
		r, near, far := pair(t, from, strict)
		near.Send(wstest.New(tape.Text, "x").From(from.Other()))
		violationEnds(t, r, near, far, from, "masked")
	}
}

func TestStrictEndsASessionThatSpeaksNoFrames(t *testing.T) {
	r, near, far := pair(t, tape.Server, strict)
	near.WriteString("\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00 and more")
	violationEnds(t, r, near, far, tape.Server, "not WebSocket frames")
}

// TestStrictHoldsBackABadFrameThatComesInPieces writes byte by byte, so that
// nothing of the header may go out before all of it is there.
func TestStrictHoldsBackABadHeaderThatComesInPieces(t *testing.T) {
	r, near, far := pair(t, tape.Client, strict)
	good, bad := wstest.New(tape.Text, "fine").From(tape.Client), wstest.New(3, "").From(tape.Client)
	for _, b := range wstest.Bytes(good, bad) {
		near.Write([]byte{b})
	}
	far.Expect(good)
	violationEnds(t, r, near, far, tape.Client, "reserved opcode")
}

// TestStrictPassesNothingBehindAViolation violates when a close frame has
// already decided how the session ends.
func TestStrictPassesNothingBehindAViolation(t *testing.T) {
	r, client, server := pair(t, tape.Client, strict)
	bye := wstest.CloseFrame(1000, "bye").From(tape.Client)
	client.Send(bye)
	server.Expect(bye)
	server.Send(wstest.New(tape.Text, "ok"), wstest.New(3, "bad"), wstest.New(tape.Text, "never arrives"))
	client.Expect(wstest.New(tape.Text, "ok"))
	client.ExpectClose(1002, "protocol error")
	server.CloseWrite()
	client.ExpectEOF()
	client.CloseWrite()
	server.ExpectEOF() // and no second close frame
	r.ending(1, tape.Ending{Kind: tape.EndClose, Code: 1000, Reason: "bye", From: of(tape.Client)})
	if n := len(r.frames(1, tape.Server)); n != 4 {
		t.Errorf("%d frames of the server on the tape", n)
	}
}

// legal makes frames that RFC 6455 allows: text cut inside its runes, into
// fragments with control frames between.
func legal(rng *rand.Rand, from tape.Side, n int) (frames []wstest.Frame) {
	const runes = "aé€😀\x00z"
	send := func(f wstest.Frame) { frames = append(frames, f.From(from)) }
	for range n {
		op, text := tape.Text, strings.Repeat(runes, rng.IntN(40))
		if rng.IntN(4) == 0 {
			op, text = tape.Binary, string(wstest.Payload(rng, rng.IntN(70_000)))
		}
		for _, piece := range wstest.Cut(rng, []byte(text), 1+len(text)) {
			send(wstest.New(op, string(piece)).Part(false))
			op = tape.Continuation
			if rng.IntN(2) == 0 {
				send(wstest.New(tape.Ping+tape.Opcode(rng.IntN(2)), string(wstest.Payload(rng, rng.IntN(126)))))
			}
		}
		send(wstest.New(op, ""))
	}
	return append(frames, wstest.CloseFrame(1000, "fertig – 終").From(from))
}

func TestStrictPassesWhatIsLegal(t *testing.T) {
	for _, piece := range []int{1, 3, 5000} {
		t.Run(fmt.Sprint(piece), func(t *testing.T) {
			rng := wstest.Rand(t)
			r := start(t, patient, strict)
			x := exchange{piece: piece, sip: 4096}
			for _, from := range tape.Sides() {
				x.frames[from] = legal(rng, from, min(8*piece, 60))
				x.early[from] = 2
			}
			x.run(t, r, 1, rng)
			if got := r.ended(1).Ending; got.Kind != tape.EndClose {
				t.Errorf("ended with %+v", got)
			}
		})
	}
}
