package proxy_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/proxy"
	"github.com/wstape/wstape/tape"
)

// answer reads an HTTP answer with its whole body.
func answer(t *testing.T, p *wstest.Peer) (*http.Response, string) {
	t.Helper()
	res, err := http.ReadResponse(p.In, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func TestARefusalArrivesWhole(t *testing.T) {
	body := strings.Repeat("no entry. ", 20_000)
	tests := []struct{ status, fields, body string }{
		{"401 Unauthorized", "WWW-Authenticate: Basic realm=\"a\"\r\nWWW-Authenticate: Bearer\r\n", body},
		{"403 Forbidden", "Set-Cookie: a=1\r\nSet-Cookie: b=2; Path=/\r\nSet-Cookie: c=3\r\nX-Why: because\r\n", body},
		{"404 Not Found", "", ""},
		{"302 Found", "Location: https://example.com/login?next=%2Fchat\r\n", "moved"},
		{"503 Service Unavailable", "Retry-After: 7\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/x-odd\r\n", body},
		{"426 Upgrade Required", "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13, 8\r\n", ""},
	}
	for _, test := range tests {
		for _, framing := range []string{"length", "chunked", "close"} {
			t.Run(test.status+", "+framing, func(t *testing.T) {
				r := start(t)
				client := r.dial()
				client.WriteString(wstest.Request("/"))
				server := r.upstream.Accept()
				server.ReadHead()
				server.WriteString("HTTP/1.1 " + test.status + "\r\n" + test.fields + framed(framing, test.body))
				_ = server.Conn.Close()

				res, got := answer(t, client)
				if res.Status != test.status || got != test.body {
					t.Errorf("got %s with %d bytes, want %s with %d", res.Status, len(got), test.status, len(test.body))
				}
				sameFields(t, res.Header, test.fields)
				entry := r.ended(1)
				if entry.State != tape.Refused || entry.Status != res.StatusCode || entry.Handshake.Response.Status != res.StatusCode {
					t.Errorf("recorded as %s, %d", entry.State, entry.Status)
				}
				if kept := string(entry.Handshake.Response.Body); !strings.HasPrefix(test.body, kept) || test.body != "" && kept == "" {
					t.Errorf("recorded body of %d bytes", len(kept))
				}
			})
		}
	}
}

// framed ends a head and adds the body in one of the ways of HTTP/1.1.
func framed(how, body string) string {
	switch how {
	case "length":
		return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)
	case "chunked":
		chunk := ""
		if body != "" {
			chunk = fmt.Sprintf("%x\r\n%s\r\n", len(body), body)
		}
		return "Transfer-Encoding: chunked\r\n\r\n" + chunk + "0\r\n\r\n"
	}
	return "Connection: close\r\n\r\n" + body
}

// sameFields wants exactly those fields, apart from what belongs to one hop.
func sameFields(t *testing.T, got http.Header, want string) {
	t.Helper()
	count := 0
	for _, line := range strings.Split(strings.TrimSpace(want), "\r\n") {
		name, value, ok := strings.Cut(line, ": ")
		if !ok || name == "Connection" || name == "Upgrade" {
			continue
		}
		values := got[http.CanonicalHeaderKey(name)]
		if count++; !contains(values, value) {
			t.Errorf("field %q is missing: %q", line, values)
		}
	}
	for name, values := range got {
		if name != "Content-Length" && name != "Connection" {
			count -= len(values)
		}
	}
	if count != 0 {
		t.Errorf("%d fields too many: %v", -count, got)
	}
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// TestARefusalThatIsCutShortDoesNotLookWhole wants the client to see that the
// body lacks its end.
func TestARefusalThatIsCutShortDoesNotLookWhole(t *testing.T) {
	r := start(t)
	client := r.dial()
	client.WriteString(wstest.Request("/"))
	server := r.upstream.Accept()
	server.ReadHead()
	server.WriteString("HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
	_ = server.Conn.Close()
	if res, err := http.ReadResponse(client.In, nil); err == nil {
		if body, err := io.ReadAll(res.Body); err == nil {
			t.Errorf("got a whole body %q", body)
		}
	}
	r.ending(1, tape.Ending{Kind: tape.EndError, From: of(tape.Server), Why: "cut short"})
}

func TestAnUpstreamThatCannotBeReachedIsA502WithTheReason(t *testing.T) {
	closed := wstest.Listen(t, nil)
	closed.Close()
	tests := []struct {
		name   string
		change func(*setup)
		server func(*rig) // what the upstream does
		why    string
	}{
		{"refused", func(c *setup) { c.upstream = closed.Addr }, nil, "connection refused"},
		{"silent", func(c *setup) { c.HandshakeTimeout = 500 * time.Millisecond }, func(r *rig) { r.upstream.Accept().ReadHead() }, "limits.handshake_timeout"},
		{"closes", nil, func(r *rig) { p := r.upstream.Accept(); p.ReadHead(); _ = p.Conn.Close() }, "read the answer"},
		{"closes in the head", nil, func(r *rig) {
			p := r.upstream.Accept()
			p.ReadHead()
			p.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgra")
			_ = p.Conn.Close()
		}, "read the answer"},
		{"endless head", func(c *setup) { c.HandshakeBytes = 10_000 }, func(r *rig) {
			p := r.upstream.Accept()
			p.ReadHead()
			_, _ = p.Conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\n" + strings.Repeat("X-More: "+strings.Repeat("x", 100)+"\r\n", 1000)))
		}, "limits.handshake_bytes"},
		{"no HTTP", nil, func(r *rig) { p := r.upstream.Accept(); p.ReadHead(); p.WriteString("SSH-2.0-x\r\n\r\n") }, "read the answer"},
		{"untrusted certificate", func(c *setup) {
			c.serverSecure = true
			c.shape = func(u *proxy.Upstream) { u.TLS = nil }
		}, func(r *rig) { r.upstream.AcceptBad() }, "TLS handshake"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			change := test.change
			if change == nil {
				change = func(*setup) {}
			}
			r := start(t, change)
			client := r.dial()
			client.WriteString(wstest.Request("/room"))
			if test.server != nil {
				test.server(r)
			}
			res, body := answer(t, client)
			if res.StatusCode != http.StatusBadGateway || !strings.Contains(body, test.why) {
				t.Errorf("got %s, %q; want 502 with %q", res.Status, body, test.why)
			}
			if entry := r.ended(1); entry.Status != http.StatusBadGateway || entry.State != tape.Refused || entry.URL != "/room" {
				t.Errorf("recorded as %d, %s, %s", entry.Status, entry.State, entry.URL)
			}
			r.ending(1, tape.Ending{Kind: tape.EndError, Why: test.why})
		})
	}
}

func TestTheHandshakeGoesOnAsItCame(t *testing.T) {
	tests := []struct {
		name    string
		change  func(*setup)
		target  string
		fields  []string
		request string   // the request line that arrives
		arrive  []string // fields that arrive beside the usual ones, sorted by name
	}{
		{"odd escapes", nil, "/a%2Fb//c/../%7e;p=1?q=%zz&&x=a+b", nil, "GET /a%2Fb//c/../%7e;p=1?q=%zz&&x=a+b HTTP/1.1", nil},
		{"empty query", nil, "/?", nil, "GET /? HTTP/1.1", nil},
		{"base path", func(c *setup) { c.base = "/base%2f/" }, "/x?y", nil, "GET /base%2f/x?y HTTP/1.1", nil},
		{"only the base path", func(c *setup) { c.base = "/base" }, "/?y", nil, "GET /base?y HTTP/1.1", nil},
		{"values and their order", nil, "/",
			[]string{"X-B: 2", "Cookie: a=1", "X-A: one,  two", "x-b: 1", "Cookie: b=\"2\"", "Origin: https://example.com", "User-Agent: "},
			"GET / HTTP/1.1",
			[]string{"Cookie: a=1", "Cookie: b=\"2\"", "Origin: https://example.com", "User-Agent: ", "X-A: one,  two", "X-B: 2", "X-B: 1"}},
		{"one hop's fields", nil, "/",
			[]string{"Connection: keep-alive, X-Mine", "X-Mine: 1", "Keep-Alive: 5", "Te: trailers", "Proxy-Authorization: Basic x", "Proxy-Connection: keep-alive", "X-Kept: 1"},
			"GET / HTTP/1.1", []string{"X-Kept: 1"}},
		{"subprotocols", nil, "/", []string{"Sec-WebSocket-Protocol: chat, superchat", "Sec-WebSocket-Protocol: v2"}, "GET / HTTP/1.1",
			[]string{"Sec-WebSocket-Protocol: chat, superchat", "Sec-WebSocket-Protocol: v2"}},
		{"extensions", nil, "/", []string{"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-other; a=1"}, "GET / HTTP/1.1",
			[]string{"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"}},
		{"an offer of other extensions", nil, "/", []string{"Sec-WebSocket-Extensions: x-other"}, "GET / HTTP/1.1", nil},
		{"added header", func(c *setup) {
			c.shape = func(u *proxy.Upstream) { u.Headers = []tape.Header{{"Authorization", "Bearer t"}, {"X-A", "2"}} }
		}, "/", []string{"X-A: 1"}, "GET / HTTP/1.1", []string{"X-A: 1", "Authorization: Bearer t", "X-A: 2"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			change := test.change
			if change == nil {
				change = func(*setup) {}
			}
			r := start(t, change)
			r.dial().WriteString(wstest.Request(test.target, test.fields...))
			server := r.upstream.Accept()
			lines := strings.Split(strings.TrimSuffix(server.ReadHead(), "\r\n\r\n"), "\r\n")
			if lines[0] != test.request {
				t.Errorf("got %q, want %q", lines[0], test.request)
			}
			got := unusual(t, r, lines[1:])
			if strings.Join(got, "\n") != strings.Join(test.arrive, "\n") {
				t.Errorf("got fields\n%q, want\n%q", got, test.arrive)
			}
		})
	}
}

// unusual takes the fields away that every handshake has, which must be there.
func unusual(t *testing.T, r *rig, fields []string) (rest []string) {
	t.Helper()
	usual := []string{"Host: " + r.upstream.Addr, "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: " + wstest.Key, "Sec-WebSocket-Version: 13"}
	found := 0
	for _, f := range fields {
		if contains(usual, f) {
			found++
		} else {
			rest = append(rest, f)
		}
	}
	if found != len(usual) {
		t.Errorf("not all usual fields once: %q", fields)
	}
	return rest
}

func TestHostIsRewrittenOrKept(t *testing.T) {
	for _, keep := range []bool{false, true} {
		r := start(t, func(c *setup) { c.shape = func(u *proxy.Upstream) { u.KeepHost = keep } })
		r.dial().WriteString(wstest.Request("/"))
		server := r.upstream.Accept()
		want := "Host: " + r.upstream.Addr
		if keep {
			want = "Host: example.com"
		}
		if head := server.ReadHead(); !strings.Contains(head, "\r\n"+want+"\r\n") {
			t.Errorf("keep %v: %q lacks %q", keep, head, want)
		}
	}
}

func TestTheAnswerArrivesAsItWasGiven(t *testing.T) {
	r := start(t)
	client := r.dial()
	client.WriteString(wstest.Request("/", "Sec-WebSocket-Protocol: chat, v2", "Sec-WebSocket-Extensions: x-other, permessage-deflate"))
	server := r.upstream.Accept()
	server.ReadHead()
	server.WriteString("HTTP/1.1 101 Web Socket Protocol Handshake\r\nupgrade: WebSocket\r\nCONNECTION: upgrade\r\nsec-websocket-accept: " + wstest.Accept +
		"\r\nSec-Websocket-Protocol: v2\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\nSet-Cookie: b=2\r\nSet-Cookie: a=1\r\nServer: x\r\n\r\n")
	want := "HTTP/1.1 101 Web Socket Protocol Handshake\r\nConnection: upgrade\r\nSec-WebSocket-Accept: " + wstest.Accept +
		"\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\nSec-WebSocket-Protocol: v2\r\nServer: x\r\nSet-Cookie: b=2\r\nSet-Cookie: a=1\r\nUpgrade: WebSocket\r\n\r\n"
	if got := client.ReadHead(); got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
	client.CloseWrite()
	server.CloseWrite()
	entry := r.ended(1)
	if entry.Subprotocol != "v2" || entry.Extensions != "permessage-deflate; server_no_context_takeover" || entry.Status != 101 {
		t.Errorf("recorded %d, %q, %q", entry.Status, entry.Subprotocol, entry.Extensions)
	}
	if notes := r.notes(1); len(notes) != 1 || !strings.Contains(notes[0], "x-other") {
		t.Errorf("notes %q", notes)
	}
	if req := entry.Handshake.Request; req.Target != "/" || req.Headers[0] != (tape.Header{"Host", "example.com"}) {
		t.Errorf("recorded request %+v", req)
	}
}

func TestWhatTheUpstreamGrantsAndWstapeCannotFollowIsNoted(t *testing.T) {
	for _, granted := range []string{"x-other", "permessage-deflate; shiny"} {
		r := start(t)
		client := r.dial()
		client.WriteString(wstest.Request("/"))
		server := r.upstream.Accept()
		server.ReadHead()
		server.WriteString(wstest.Switching("Sec-WebSocket-Extensions: " + granted))
		if head := client.ReadHead(); !strings.Contains(head, granted) {
			t.Errorf("answered %q", head)
		}
		client.CloseWrite()
		server.CloseWrite()
		r.ended(1)
		if notes := r.notes(1); len(notes) != 1 || !strings.Contains(notes[0], "granted") {
			t.Errorf("%s: notes %q", granted, notes)
		}
	}
}

func TestInterimAnswersArrive(t *testing.T) {
	r := start(t)
	client := r.dial()
	client.WriteString(wstest.Request("/"))
	server := r.upstream.Accept()
	server.ReadHead()
	server.WriteString("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + wstest.Switching())
	if head := client.ReadHead(); !strings.HasPrefix(head, "HTTP/1.1 103 ") || !strings.Contains(head, "Link: </a>\r\n") {
		t.Errorf("first %q", head)
	}
	if head := client.ReadHead(); !strings.HasPrefix(head, "HTTP/1.1 101 ") || strings.Contains(head, "Link") {
		t.Errorf("then %q", head)
	}
}

func TestMaxSessionsAnswers503AndFreesItsPlaces(t *testing.T) {
	r := start(t, func(c *setup) { c.MaxSessions = 1 })
	client, server := r.open()
	second := r.dial()
	second.WriteString(wstest.Request("/"))
	if res, body := answer(t, second); res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "limits.sessions") {
		t.Errorf("got %s, %q", res.Status, body)
	}
	if entry := r.ended(2); entry.State != tape.Refused || entry.Status != http.StatusServiceUnavailable {
		t.Errorf("recorded as %s, %d", entry.State, entry.Status)
	}
	client.CloseWrite()
	server.CloseWrite()
	r.ended(1)
	client.ExpectEOF()
	r.settle()
	r.open()
}

// settle waits until ended sessions have given their places back, which they do
// just behind the end of their record.
func (r *rig) settle() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wstest.Patience)
	defer cancel()
	if err := proxy.Settle(ctx, r.proxy); err != nil {
		r.t.Fatal(err)
	}
}

func TestAProxyThatCannotRecordDoesNotRelay(t *testing.T) {
	u := parse(t, "ws://127.0.0.1:1")
	handler := proxy.New(proxy.Config{
		Routes: []proxy.Route{{Upstream: u}},
		Record: func(tape.Session) (proxy.Tap, error) { return nil, fmt.Errorf("disk on fire") },
	})
	client := serve(t, handler)
	client.WriteString(wstest.Request("/"))
	if res, body := answer(t, client); res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "disk on fire") {
		t.Errorf("got %s, %q", res.Status, body)
	}
}
