package e2e

import "testing"

// TestKilled: one side is killed in the middle; the other sees a connection that
// broke, not a polite close, and the tape says the same.
func TestKilled(t *testing.T) {
	t.Parallel()
	for _, serving := range []string{python, node} {
		for _, calling := range kinds {
			t.Run(serving+" server of a "+calling+" client", func(t *testing.T) {
				t.Parallel()
				s := startServer(t, serving, serverOptions{})
				p := startProxy(t, "ws://"+s.addr)
				c := newClient(t, calling)
				mustDial(t, c, p.url("/"), dialOptions{})
				echo(t, c, "still here")
				s.kill()
				op, _ := c.hear()
				same(t, "what the client heard", "close", op)
				same(t, "code", 1006, c.closed().Code)
				wantBroken(t, p.stop(), "server")
			})
		}
	}
	for _, calling := range []string{python, node} {
		for _, serving := range kinds {
			t.Run(calling+" client of a "+serving+" server", func(t *testing.T) {
				t.Parallel()
				s := startServer(t, serving, serverOptions{})
				p := startProxy(t, "ws://"+s.addr)
				c := newClient(t, calling).(*childClient)
				mustDial(t, c, p.url("/"), dialOptions{})
				echo(t, c, "still here")
				c.kill()
				same(t, "code", 1006, s.ended().Code)
				wantBroken(t, p.stop(), "client")
			})
		}
	}
}

// TestKilledException names what a program on the websockets library catches.
func TestKilledException(t *testing.T) {
	t.Parallel()
	s := startServer(t, python, serverOptions{})
	p := startProxy(t, "ws://"+s.addr)
	c := newClient(t, python).(*childClient)
	mustDial(t, c, p.url("/"), dialOptions{})
	echo(t, c, "still here")
	s.kill()
	var got struct {
		Error string
		Code  int
	}
	c.ask(order{Do: "recv"}, &got)
	if got.Error != "ConnectionClosedError" || got.Code != 1006 {
		t.Errorf("recv raised %s with code %d, want ConnectionClosedError with 1006", got.Error, got.Code)
	}
	wantBroken(t, p.stop(), "server")
}

// wantBroken wants a session that one side ended without a close frame.
func wantBroken(t *testing.T, tape tapeFile, from string) {
	t.Helper()
	e := tape.only()
	same(t, "state", "closed", e.State)
	if e.Ending == nil || e.Ending.From != from || e.Ending.Kind != "eof" && e.Ending.Kind != "reset" {
		t.Errorf("ending %+v, want eof or reset from the %s", e.Ending, from)
	}
	same(t, "the tape", []said{
		{From: "client", Op: "text", Data: "still here", Compressed: true},
		{From: "server", Op: "text", Data: "still here", Compressed: true},
	}, tape.said(e.N))
}

// TestInterrupted: SIGINT to the proxy with sessions open is a polite goodbye to
// both sides, and the tape is whole.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	for _, serving := range kinds {
		t.Run(serving+" server", func(t *testing.T) {
			t.Parallel()
			s := startServer(t, serving, serverOptions{})
			p := startProxy(t, "ws://"+s.addr)
			clients := make([]client, len(kinds))
			for i, kind := range kinds {
				clients[i] = newClient(t, kind)
				mustDial(t, clients[i], p.url("/"+kind), dialOptions{})
				echo(t, clients[i], "still here")
			}
			tape := p.stop()
			for i, c := range clients {
				if how := c.closed(); how.Code != 1001 {
					t.Errorf("the %s client saw %+v, want code 1001", kinds[i], how)
				}
				if how := s.ended(); how.Code != 1001 {
					t.Errorf("the server saw %+v, want code 1001", how)
				}
			}
			list := tape.sessions()
			same(t, "number of sessions", len(kinds), len(list))
			for _, e := range list {
				wantGoodbye(t, tape, e)
			}
		})
	}
}

// wantGoodbye wants a session that wstape closed to both sides: each leg was sent
// one close frame with 1001. It is wstape's own, unless the answer of the side that
// was told first got through before the other side's goodbye.
func wantGoodbye(t *testing.T, tape tapeFile, e session) {
	t.Helper()
	if e.State != "closed" || e.Ending == nil || e.Ending.Kind != "close" || e.Ending.Code != 1001 || e.Ending.From != "" {
		t.Errorf("%s: state %s, ending %+v, want a close with 1001 from neither side", e.URL, e.State, e.Ending)
	}
	messages := tape.messages(e.N)
	injected := 0
	for _, from := range []string{"client", "server"} {
		var words []string
		sent := 0
		for _, m := range messages {
			switch {
			case m.From != from:
			case m.Op != "close":
				words = append(words, m.data())
			case m.Fate == "injected":
				same(t, "who closes", []any{"operator", 1001}, []any{m.By, m.Code})
				injected++
				sent++
			case m.Fate == "passed":
				same(t, "code of the answer", 1001, m.Code)
				sent++
			}
		}
		same(t, "words from the "+from, []string{"still here"}, words)
		same(t, "close frames sent on from the "+from, 1, sent)
	}
	if injected == 0 {
		t.Errorf("%s: no close frame of wstape's own", e.URL)
	}
}
