package proxy_test

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/tape"
)

// bothWays runs a test with either side as the first to act, over every carriage.
func bothWays(t *testing.T, test func(t *testing.T, from tape.Side, c carriage)) {
	for _, c := range carriages() {
		for _, from := range tape.Sides() {
			t.Run(from.String()+", "+c.name, func(t *testing.T) { test(t, from, c) })
		}
	}
}

// pair opens a session and returns the side that acts first, and the other.
func pair(t *testing.T, from tape.Side, changes ...func(*setup)) (r *rig, near, far *wstest.Peer) {
	t.Helper()
	r = start(t, changes...)
	client, server := r.open()
	if from == tape.Client {
		return r, client, server
	}
	return r, server, client
}

func TestEOFArrivesAsEOFAndTheOtherDirectionGoesOn(t *testing.T) {
	bothWays(t, func(t *testing.T, from tape.Side, c carriage) {
		r, near, far := pair(t, from, c.apply)
		last, still := wstest.New(tape.Text, "last words").From(from), wstest.New(tape.Text, "still here").From(from.Other())
		near.Send(last)
		near.CloseWrite()
		far.Expect(last)
		far.ExpectEOF()
		far.Send(still)
		near.Expect(still)
		far.CloseWrite()
		near.ExpectEOF()
		r.ending(1, tape.Ending{Kind: tape.EndEOF, From: &from})
	})
}

// TestAResetArrivesBehindEverythingBeforeIt sends a lot, waits until the kernel
// has got rid of it, and resets.
func TestAResetArrivesBehindEverythingBeforeIt(t *testing.T) {
	bothWays(t, func(t *testing.T, from tape.Side, c carriage) {
		rng := wstest.Rand(t)
		r, near, far := pair(t, from, c.apply)
		big := wstest.Frame{Fin: true, Op: tape.Binary, Payload: wstest.Payload(rng, 1<<20)}.From(from)
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			_, _ = near.Conn.Write(wstest.Bytes(big))
		}()
		half := make([]byte, 1<<19)
		if _, err := readFull(far, half); err != nil {
			t.Fatal(err)
		}
		type end struct {
			b   []byte
			err error
		}
		rest := make(chan end, 1)
		go func() {
			b, err := far.ReadAll()
			rest <- end{b, err}
		}()
		<-sent
		near.Drain()
		near.Reset()
		got := <-rest
		sameBytes(t, from, append(half, got.b...), wstest.Bytes(big))
		if !errors.Is(got.err, syscall.ECONNRESET) {
			t.Errorf("ended with %v, want a reset", got.err)
		}
		r.ending(1, tape.Ending{Kind: tape.EndReset, From: &from})
	})
}

func readFull(p *wstest.Peer, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = p.In.Read(b[n:])
		n += m
	}
	return n, err
}

// TestAResetIsNotedWhileTheOtherSideOnlySends lets a write find out about it.
func TestAResetIsNotedWhileTheOtherSideOnlySends(t *testing.T) {
	bothWays(t, func(t *testing.T, from tape.Side, c carriage) {
		r, near, far := pair(t, from, c.apply)
		near.Reset()
		frame := wstest.Bytes(wstest.New(tape.Text, "anybody?").From(from.Other()))
		for {
			if _, err := far.Conn.Write(frame); err != nil {
				break
			}
		}
		r.ending(1, tape.Ending{Kind: tape.EndReset, From: &from})
	})
}

func TestACloseFrameArrivesAndSoDoesTheReply(t *testing.T) {
	closes := []struct {
		frame  wstest.Frame
		code   int
		reason string
	}{
		{wstest.CloseFrame(1000, "bye"), 1000, "bye"},
		{wstest.CloseFrame(0, ""), tape.NoStatus, ""},
		{wstest.CloseFrame(1006, ""), 1006, ""},
		{wstest.CloseFrame(4321, "grüße"), 4321, "grüße"},
		{wstest.New(tape.Close, "\x03"), tape.NoStatus, ""},
	}
	for _, test := range closes {
		for _, from := range tape.Sides() {
			r, near, far := pair(t, from)
			near.Send(test.frame.From(from))
			far.Expect(test.frame.From(from))
			late, reply := wstest.New(tape.Text, "before I go").From(from.Other()), wstest.CloseFrame(1000, "ok").From(from.Other())
			far.Send(late, reply)
			near.Expect(late, reply)
			far.CloseWrite()
			near.ExpectEOF()
			near.CloseWrite()
			far.ExpectEOF()
			r.ending(1, tape.Ending{Kind: tape.EndClose, Code: test.code, Reason: test.reason, From: &from})
			if n := len(r.frames(1, from.Other())); n != 2 {
				t.Errorf("%d frames of the answering side on the tape", n)
			}
		}
	}
}

func TestACloseFrameInPiecesIsTheEnding(t *testing.T) {
	r, client, server := pair(t, tape.Client)
	b := wstest.Bytes(wstest.CloseFrame(3000, "in pieces").From(tape.Client))
	for _, piece := range [][]byte{b[:1], b[1:5], b[5:7], b[7:9], b[9:]} {
		client.Write(piece)
		got := make([]byte, len(piece))
		if _, err := readFull(server, got); err != nil {
			t.Fatal(err)
		}
	}
	client.CloseWrite()
	server.CloseWrite()
	r.ending(1, tape.Ending{Kind: tape.EndClose, Code: 3000, Reason: "in pieces", From: of(tape.Client)})
}

func TestASessionThatStandsStillBehindACloseFrameIsCut(t *testing.T) {
	for _, from := range tape.Sides() {
		r, near, far := pair(t, from, func(c *setup) { c.CloseTimeout = time.Millisecond })
		bye := wstest.CloseFrame(1000, "").From(from)
		near.Send(bye)
		far.Expect(bye)
		_, _ = far.ReadAll() // never answers
		_, _ = near.ReadAll()
		r.ending(1, tape.Ending{Kind: tape.EndClose, Code: 1000, From: &from})
	}
}

// TestAHalfClosedSessionThatTakesNothingIsCut stops reading with one direction
// gone, so that only the relay's own clock can end it.
func TestAHalfClosedSessionThatTakesNothingIsCut(t *testing.T) {
	r, client, server := pair(t, tape.Client, func(c *setup) { c.CloseTimeout, c.buffers = 10*time.Millisecond, 4096 })
	client.CloseWrite()
	server.ExpectEOF()
	for frame := wstest.Bytes(wstest.New(tape.Binary, string(make([]byte, 60_000)))); ; {
		if _, err := server.Conn.Write(frame); err != nil {
			break
		}
	}
	r.ending(1, tape.Ending{Kind: tape.EndEOF, From: of(tape.Client)})
}
