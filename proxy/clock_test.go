package proxy

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/tape"
)

// lastWord is a tap that keeps how the session ended.
type lastWord struct {
	discard
	ending tape.Ending
}

func (w *lastWord) End(e tape.Ending) { w.ending = e }

// clocked runs a session between pipes under a clock that a test moves by waiting.
func clocked(t *testing.T, test func(s *session, client, server net.Conn)) (ending tape.Ending) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p, tap := New(Config{CloseTimeout: 15 * time.Second}), &lastWord{}
		s := newSession(p, tap)
		if why, ok := p.admit(s); !ok {
			t.Fatal(why)
		}
		client, clientLeg := net.Pipe()
		server, serverLeg := net.Pipe()
		s.start(clientLeg, nil, serverLeg, nil, wire.Compression{})
		test(s, client, server)
		_ = client.Close()
		_ = server.Close()
		p.running.Wait()
		ending = tap.ending
	})
	return ending
}

// swap writes at one end and reads as much at the other.
func swap(t *testing.T, from, to net.Conn, f wstest.Frame) {
	t.Helper()
	b := wstest.Bytes(f)
	if _, err := from.Write(b); err != nil {
		t.Fatalf("write: %v", err)
	}
	if _, err := io.ReadFull(to, b); err != nil {
		t.Fatalf("read: %v", err)
	}
}

func TestASideThatHasSaidGoodbyeMayListenOn(t *testing.T) {
	ending := clocked(t, func(_ *session, client, server net.Conn) {
		swap(t, client, server, wstest.CloseFrame(1000, "").From(tape.Client))
		for range 20 {
			<-time.After(10 * time.Second)
			swap(t, server, client, wstest.New(tape.Text, "one more"))
		}
		swap(t, server, client, wstest.CloseFrame(1000, ""))
	})
	if ending.Kind != tape.EndClose {
		t.Errorf("ended with %+v", ending)
	}
}

func TestAWindingSessionIsCutWhenNothingHasMovedForCloseTimeout(t *testing.T) {
	clocked(t, func(_ *session, client, server net.Conn) {
		swap(t, client, server, wstest.CloseFrame(1000, "").From(tape.Client))
		<-time.After(10 * time.Second)
		swap(t, server, client, wstest.New(tape.Text, "one more"))
		since := time.Now()
		if _, err := server.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the server reads %v", err)
		}
		if d := time.Since(since); d != 15*time.Second {
			t.Errorf("cut after %v", d)
		}
	})
}

func TestASessionThatIsNotEndingMayBeStill(t *testing.T) {
	ending := clocked(t, func(_ *session, client, server net.Conn) {
		<-time.After(24 * time.Hour)
		swap(t, client, server, wstest.New(tape.Ping, "").From(tape.Client))
	})
	if ending.Kind != tape.EndEOF {
		t.Errorf("ended with %+v", ending)
	}
}

// TestWhatMovesDoesNotProlongASessionThatWstapeCloses, be it that a frame of the client has no end.
func TestWhatMovesDoesNotProlongASessionThatWstapeCloses(t *testing.T) {
	for name, head := range map[string]string{"messages": "", "an endless frame": "\x82\xff\x0f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00"} {
		t.Run(name, func(t *testing.T) {
			ending := clocked(t, func(s *session, client, server net.Conn) {
				go func() { _, _ = io.Copy(io.Discard, client) }()
				go func() { _, _ = io.Copy(io.Discard, server) }()
				if _, err := io.WriteString(client, head); err != nil {
					t.Fatal(err)
				}
				s.Close(1008, "kicked", "script:test")
				since := time.Now()
				for err := error(nil); err == nil && time.Since(since) < time.Hour; <-time.After(time.Second) {
					_, err = client.Write(wstest.Bytes(wstest.New(tape.Ping, "").From(tape.Client)))
				}
				if d := time.Since(since).Truncate(5 * time.Second); d != 15*time.Second {
					t.Errorf("cut after %v", d)
				}
			})
			if ending.Kind != tape.EndClose || ending.Code != 1008 {
				t.Errorf("ended with %+v", ending)
			}
		})
	}
}
