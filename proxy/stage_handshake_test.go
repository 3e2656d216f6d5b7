package proxy_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/proxy"
	"github.com/wstape/wstape/tape"
)

func TestAStageEditsTheRequest(t *testing.T) {
	tests := []struct {
		name    string
		request func(*tape.Request)
		line    string
		host    string   // "" for the upstream's
		fields  []string // that arrive beside the usual ones, sorted by name
	}{
		{"nothing", func(*tape.Request) {}, "GET /room?a=1 HTTP/1.1", "", []string{"Sec-WebSocket-Protocol: chat", "X-A: 1", "X-A: 2"}},
		{"target", func(r *tape.Request) { r.Target = "/other?%zz" }, "GET /other?%zz HTTP/1.1", "", []string{"Sec-WebSocket-Protocol: chat", "X-A: 1", "X-A: 2"}},
		{"host", func(r *tape.Request) { r.Headers[0][1] = "elsewhere.example" }, "GET /room?a=1 HTTP/1.1", "elsewhere.example", []string{"Sec-WebSocket-Protocol: chat", "X-A: 1", "X-A: 2"}},
		{"headers", func(r *tape.Request) {
			r.Headers = append(without(without(r.Headers, "X-A"), "Sec-WebSocket-Protocol"), tape.Header{"x-b", "one, two"}, tape.Header{"X-B", "three"})
		}, "GET /room?a=1 HTTP/1.1", "", []string{"X-B: one, two", "X-B: three"}},
		{"protocols", func(r *tape.Request) {
			r.Headers = append(without(r.Headers, "Sec-WebSocket-Protocol"), tape.Header{"Sec-WebSocket-Protocol", "v2, v3"})
		}, "GET /room?a=1 HTTP/1.1", "", []string{"Sec-WebSocket-Protocol: v2, v3", "X-A: 1", "X-A: 2"}},
		{"extensions", func(r *tape.Request) {
			r.Headers = append(r.Headers, tape.Header{"Sec-WebSocket-Extensions", "permessage-deflate, x-other"})
		}, "GET /room?a=1 HTTP/1.1", "", []string{"Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Protocol: chat", "X-A: 1", "X-A: 2"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := &play{request: func(_ context.Context, r *tape.Request) *tape.Response {
				if r.Method != "GET" || r.Target != "/room?a=1" || r.Headers[0][0] != "Host" {
					t.Errorf("asked about %+v", r)
				}
				test.request(r)
				return nil
			}}
			r := start(t, p.on(t))
			client := r.dial()
			client.WriteString(wstest.Request("/room?a=1", "X-A: 1", "X-A: 2", "Sec-WebSocket-Protocol: chat"))
			server := r.upstream.Accept()
			lines := strings.Split(strings.TrimSuffix(server.ReadHead(), "\r\n\r\n"), "\r\n")
			host := r.upstream.Addr
			if test.host != "" {
				host = test.host
			}
			if lines[0] != test.line || lines[1] != "Host: "+host {
				t.Errorf("got %q, %q", lines[0], lines[1])
			}
			lines[1] = "Host: " + r.upstream.Addr
			if got := unusual(t, r, lines[1:]); strings.Join(got, "\n") != strings.Join(test.fields, "\n") {
				t.Errorf("got fields\n%q, want\n%q", got, test.fields)
			}
			server.WriteString(wstest.Switching())
			client.ReadHead()
			part(client, server)
			want := "ws://" + r.upstream.Addr + strings.Fields(test.line)[1]
			if e := r.ended(1); e.Upstream != want || e.URL != "/room?a=1" || e.Handshake.Request.Target != "/room?a=1" {
				t.Errorf("on the tape: %q, %q, %q", e.Upstream, e.URL, e.Handshake.Request.Target)
			}
		})
	}
}

func without(list []tape.Header, name string) (out []tape.Header) {
	for _, h := range list {
		if h[0] != name {
			out = append(out, h)
		}
	}
	return out
}

// no is a stage's refusal.
func no() *tape.Response {
	return &tape.Response{Status: 403, Headers: []tape.Header{{"X-Why", "because"}, {"X-Why", "really"}}, Body: []byte("no entry")}
}

// refusedBy wants the client to have got a refusal and the tape to say so.
func refusedBy(t *testing.T, r *rig, client *wstest.Peer) {
	t.Helper()
	res, body := answer(t, client)
	if res.StatusCode != 403 || body != "no entry" {
		t.Errorf("got %s, %q", res.Status, body)
	}
	sameFields(t, res.Header, "X-Why: because\r\nX-Why: really")
	if e := r.ended(1); e.State != tape.Refused || e.Status != 403 || string(e.Handshake.Response.Body) != "no entry" {
		t.Errorf("recorded as %s, %d, %q", e.State, e.Status, e.Handshake.Response.Body)
	}
	r.ending(1, tape.Ending{Kind: tape.EndError, Why: "a script refused the handshake: 403"})
}

func TestAStageRefusesARequest(t *testing.T) {
	for _, c := range carriages()[:2] {
		t.Run(c.name, func(t *testing.T) {
			p := &play{request: func(context.Context, *tape.Request) *tape.Response { return no() }}
			r := start(t, c.apply, p.on(t))
			client := r.dial()
			client.WriteString(wstest.Request("/"))
			refusedBy(t, r, client)
			next(t, p.endings)
			client.WriteString(wstest.Request("/")) // on the same connection
			if res, _ := answer(t, client); res.StatusCode != 403 {
				t.Errorf("then got %s", res.Status)
			}
			next(t, p.endings)
		})
	}
}

// TestAStageRefusesAnAnswer puts a refusal in the place of a 101, and of another
// refusal; the upstream's connection is closed.
func TestAStageRefusesAnAnswer(t *testing.T) {
	for _, c := range carriages() {
		for _, given := range []string{wstest.Switching(), "HTTP/1.1 500 Oops\r\nContent-Length: 1000\r\n\r\nonly the beginning"} {
			t.Run(c.name+", "+given[9:12], func(t *testing.T) {
				p := &play{response: func(_ context.Context, res *tape.Response) *tape.Response {
					if !strings.HasPrefix(given, fmt.Sprintf("HTTP/1.1 %d ", res.Status)) || len(res.Headers) == 0 {
						t.Errorf("asked about %+v", res)
					}
					return no()
				}}
				r := start(t, c.apply, p.on(t))
				client := r.dial()
				client.WriteString(wstest.Request("/"))
				server := r.upstream.Accept()
				server.ReadHead()
				server.WriteString(given)
				refusedBy(t, r, client)
				_, _ = server.ReadAll() // its end
				next(t, p.endings)
			})
		}
	}
}

func TestAStageEditsTheAnswer(t *testing.T) {
	change := func(_ context.Context, r *tape.Response) *tape.Response {
		r.Headers = append(without(r.Headers, "X-Old"), tape.Header{"Set-Cookie", "a=1"}, tape.Header{"Set-Cookie", "b=2"})
		return nil
	}
	t.Run("101", func(t *testing.T) {
		r := start(t, (&play{response: change}).on(t))
		client := r.dial()
		client.WriteString(wstest.Request("/"))
		server := r.upstream.Accept()
		server.ReadHead()
		server.WriteString(wstest.Switching("X-Old: 1", "X-Kept: 1"))
		head := client.ReadHead()
		if strings.Contains(head, "X-Old") || !strings.Contains(head, "X-Kept: 1\r\n") || !strings.Contains(head, "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n") {
			t.Errorf("answered %q", head)
		}
		part(client, server)
		r.ended(1)
	})
	t.Run("401", func(t *testing.T) {
		r := start(t, (&play{response: change}).on(t))
		client := r.dial()
		client.WriteString(wstest.Request("/"))
		server := r.upstream.Accept()
		server.ReadHead()
		server.WriteString("HTTP/1.1 401 Unauthorized\r\nX-Old: 1\r\nContent-Length: 2\r\n\r\nno")
		res, body := answer(t, client)
		if res.StatusCode != 401 || body != "no" {
			t.Errorf("got %s, %q", res.Status, body)
		}
		sameFields(t, res.Header, "Set-Cookie: a=1\r\nSet-Cookie: b=2")
		r.ended(1)
	})
}

// TestASlowStageIsBoundedByTheHandshake and by a shutdown.
func TestASlowStageIsBoundedByTheHandshake(t *testing.T) {
	slow := map[string]func(p *play, asked chan<- struct{}){
		"request": func(p *play, asked chan<- struct{}) {
			p.request = func(ctx context.Context, _ *tape.Request) *tape.Response {
				asked <- struct{}{}
				<-ctx.Done()
				return nil
			}
		},
		"response": func(p *play, asked chan<- struct{}) {
			p.response = func(ctx context.Context, _ *tape.Response) *tape.Response {
				asked <- struct{}{}
				<-ctx.Done()
				return nil
			}
		},
	}
	for name, slow := range slow {
		for _, shutdown := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				asked := make(chan struct{}, 1)
				p := &play{}
				slow(p, asked)
				why := "limits.handshake_timeout"
				r := start(t, p.on(t), func(s *setup) {
					if !shutdown {
						s.HandshakeTimeout = 100 * time.Millisecond
					}
				})
				client := r.dial()
				client.WriteString(wstest.Request("/"))
				if name == "response" {
					server := r.upstream.Accept()
					server.ReadHead()
					server.WriteString(wstest.Switching())
				}
				next(t, asked)
				wait := func() error { return nil }
				if shutdown {
					why = going
					wait, _ = r.shutdown()
				}
				if res, body := answer(t, client); res.StatusCode != http.StatusBadGateway || !strings.Contains(body, why) {
					t.Errorf("got %s, %q", res.Status, body)
				}
				r.ending(1, tape.Ending{Kind: tape.EndError, Why: why})
				next(t, p.endings)
				if err := wait(); err != nil {
					t.Errorf("shutdown: %v", err)
				}
			})
		}
	}
}

// TestAStageIsClosedWhateverBecomesOfTheHandshake: the play wants it to be
// closed once and last.
func TestAStageIsClosedWhateverBecomesOfTheHandshake(t *testing.T) {
	closed := wstest.Listen(t, nil)
	closed.Close()
	tests := []struct {
		name   string
		change func(*setup)
		server func(*wstest.Peer, *wstest.Peer) // what the upstream does, and the client
		kind   tape.EndingKind
	}{
		{"dial failure", func(s *setup) { s.upstream = closed.Addr }, nil, tape.EndError},
		{"no answer", nil, func(server, _ *wstest.Peer) { _ = server.Conn.Close() }, tape.EndError},
		{"refusal", nil, func(server, _ *wstest.Peer) {
			server.WriteString("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
		}, tape.EndError},
		{"refusal that breaks off", nil, func(server, _ *wstest.Peer) {
			server.WriteString("HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\n\r\n")
			_ = server.Conn.Close()
		}, tape.EndError},
		{"session", nil, func(server, client *wstest.Peer) {
			server.WriteString(wstest.Switching())
			client.ReadHead()
			part(client, server)
		}, tape.EndEOF},
	}
	for _, test := range tests {
		for _, c := range carriages()[:2] {
			t.Run(test.name+", "+c.name, func(t *testing.T) {
				p := &play{}
				changes := []func(*setup){c.apply, p.on(t)}
				if test.change != nil {
					changes = append(changes, test.change)
				}
				r := start(t, changes...)
				client := r.dial()
				client.WriteString(wstest.Request("/"))
				if test.server != nil {
					server := r.upstream.Accept()
					server.ReadHead()
					test.server(server, client)
				}
				if e := next(t, p.endings); e.Kind != test.kind {
					t.Errorf("closed with %+v", e)
				}
				if e := r.ended(1).Ending; e.Kind != test.kind {
					t.Errorf("ended with %+v", e)
				}
			})
		}
	}
}

// TestAStageIsClosedWhenTheClientIsGone before it can be answered.
func TestAStageIsClosedWhenTheClientIsGone(t *testing.T) {
	gone := make(chan struct{})
	p := &play{response: func(context.Context, *tape.Response) *tape.Response {
		<-gone
		return nil
	}}
	r := start(t, p.on(t))
	client := r.dial()
	client.WriteString(wstest.Request("/"))
	server := r.upstream.Accept()
	server.ReadHead()
	server.WriteString(wstest.Switching())
	client.Reset()
	close(gone)
	next(t, p.endings)
	_, _ = server.ReadAll()
	r.ended(1)
}

// TestAStageIsClosedWhenTheConnectionCannotBeTaken, because net/http does not
// give it away.
func TestAStageIsClosedWhenTheConnectionCannotBeTaken(t *testing.T) {
	p := &play{}
	r := start(t, p.on(t))
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	request.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		r.proxy.ServeHTTP(httptest.NewRecorder(), request)
	}()
	server := r.upstream.Accept()
	server.ReadHead()
	server.WriteString(wstest.Switching())
	next(t, answered)
	server.ExpectEOF()
	if e := next(t, p.endings); e.Kind != tape.EndError || !strings.Contains(e.Why, "answer the client") {
		t.Errorf("closed with %+v", e)
	}
}

// TestAStageSendsBeforeTheSessionOpens, and the tape says so if it never does.
func TestAStageSendsBeforeTheSessionOpens(t *testing.T) {
	for _, open := range []bool{true, false} {
		p := &play{}
		var h proxy.Handle
		change := p.on(t)
		r := start(t, change, func(s *setup) {
			stage := s.stage
			s.stage = func(about tape.Session, handle proxy.Handle) proxy.Stage {
				h = handle
				return stage(about, handle)
			}
		})
		p.request = func(context.Context, *tape.Request) *tape.Response {
			send(t, h, tape.Client, "soon")
			if open {
				return nil
			}
			return no()
		}
		if open {
			client, server := r.open()
			texts(t, client, "soon")
			part(client, server)
		} else {
			client := r.dial()
			client.WriteString(wstest.Request("/"))
			refusedBy(t, r, client)
		}
		r.ended(1)
		if notes := r.notes(1); (len(notes) == 1 && strings.Contains(notes[0], "not sent to the client")) == open {
			t.Errorf("notes %q", notes)
		}
	}
}

// TestAStageClosesASessionInItsHandshake, which is then given up.
func TestAStageClosesASessionInItsHandshake(t *testing.T) {
	p := &play{}
	var h proxy.Handle
	change := p.on(t)
	r := start(t, change, func(s *setup) {
		stage := s.stage
		s.stage = func(about tape.Session, handle proxy.Handle) proxy.Stage {
			h = handle
			return stage(about, handle)
		}
	})
	p.request = func(context.Context, *tape.Request) *tape.Response {
		h.Close(4000, "not today", "test")
		return nil
	}
	client := r.dial()
	client.WriteString(wstest.Request("/"))
	if res, body := answer(t, client); res.StatusCode != http.StatusBadGateway || !strings.Contains(body, "not today") {
		t.Errorf("got %s, %q", res.Status, body)
	}
	r.ended(1)
	next(t, p.endings)
}
