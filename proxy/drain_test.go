package proxy_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/tape"
)

// drain begins one, waits until nothing is accepted any more, and returns how to
// end it and what is closed when it has.
func (r *rig) drain() (cut context.CancelFunc, done chan struct{}) {
	r.t.Helper()
	ctx, cut := context.WithCancel(context.Background())
	r.t.Cleanup(cut)
	done = make(chan struct{})
	go func() { r.proxy.Drain(ctx); close(done) }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(wstest.Patience); ; <-tick.C {
		conn, err := net.Dial("tcp", r.addr)
		if err != nil {
			return cut, done
		}
		conn.Close()
		if time.Now().After(end) {
			r.t.Fatal("it goes on accepting")
		}
	}
}

func (r *rig) finished(done chan struct{}) {
	r.t.Helper()
	select {
	case <-done:
	case <-time.After(wstest.Patience):
		r.t.Fatal("the drain does not end")
	}
}

// answered reads a 101, after the upstream has given one.
func (r *rig) answered(client *wstest.Peer) (server *wstest.Peer) {
	r.t.Helper()
	server = r.upstream.Accept()
	server.ReadHead()
	server.WriteString(wstest.Switching())
	if head := client.ReadHead(); !strings.HasPrefix(head, "HTTP/1.1 101 ") {
		r.t.Fatalf("answered %q", head)
	}
	return server
}

// bye ends a session as clients do.
func bye(client, server *wstest.Peer) {
	client.CloseWrite()
	server.ExpectEOF()
	server.CloseWrite()
	client.ExpectEOF()
}

func TestDrainServesWhatWasAcceptedAndWaitsForItsEnd(t *testing.T) {
	for _, c := range carriages() {
		t.Run(c.name, func(t *testing.T) {
			r := start(t, c.apply)
			quiet, page := r.dial(), r.dial() // accepted before the session below is
			client, server := r.open()
			_, done := r.drain()
			hello := wstest.New(tape.Text, "going on").From(tape.Client)
			client.Send(hello)
			server.Expect(hello)

			quiet.WriteString(wstest.Request("/late"))
			late := r.answered(quiet)
			quiet.Send(hello)
			late.Expect(hello)
			page.WriteString("GET /page HTTP/1.1\r\nHost: a\r\n\r\n")
			up := r.upstream.Accept()
			up.ReadHead()
			up.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			if _, body := answer(t, page); body != "ok" {
				t.Errorf("page %q", body)
			}

			bye(client, server)
			select {
			case <-done:
				t.Error("the drain has ended before the late session")
			default:
			}
			bye(quiet, late)
			r.finished(done)
			if err := r.proxy.Shutdown(context.Background()); err != nil {
				t.Errorf("shutdown: %v", err)
			}
			r.ending(1, tape.Ending{Kind: tape.EndEOF, From: of(tape.Client)})
		})
	}
}

func TestDrainHasAnEnd(t *testing.T) {
	r, client, server := pair(t, tape.Client)
	cut, done := r.drain()
	cut()
	r.finished(done)
	wait, _ := r.shutdown()
	client.ExpectClose(1001, going)
	server.ExpectClose(1001, going)
	bye(client, server)
	if err := wait(); err != nil {
		t.Errorf("shutdown: %v", err)
	}
}

func TestDrainOfAnIdleProxyIsShort(t *testing.T) {
	r := start(t)
	_, done := r.drain()
	r.finished(done)
}

func TestStats(t *testing.T) {
	added := make(chan time.Duration, 1000)
	r := start(t, func(s *setup) { s.Added = func(d time.Duration) { added <- d } })
	client, server := r.open()
	if s := r.proxy.Stats(); s.Open != 1 || s.Refused != 0 || len(s.Ended) != 0 {
		t.Errorf("while it is open: %+v", s)
	}
	for range 40 {
		f := wstest.New(tape.Text, "12345").From(tape.Client)
		client.Send(f)
		server.Expect(f)
	}
	for _, f := range []wstest.Frame{wstest.New(tape.Ping, "p"), {Op: tape.Binary, Payload: []byte("ab")}, {Fin: true, Op: tape.Continuation, Payload: []byte("c")}} {
		server.Send(f)
		client.Expect(f)
	}
	bye(client, server)
	r.ended(1)

	r.forbid("/")
	r.ended(2)

	s := r.proxy.Stats()
	if s.Frames != (tape.Counts{Client: 40, Server: 3}) || s.Messages != (tape.Counts{Client: 40, Server: 1}) || s.Bytes != (tape.Counts{Client: 200, Server: 4}) {
		t.Errorf("frames %v, messages %v, bytes %v", s.Frames, s.Messages, s.Bytes)
	}
	if s.Refused != 1 || s.Ended[tape.EndEOF] != 1 || len(s.Ended) != 1 {
		t.Errorf("refused %d, ended %v", s.Refused, s.Ended)
	}
	if n := len(added); n == 0 || n > 43/2 {
		t.Errorf("%d chunks of 43 were timed", n)
	}
}
