package proxy_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/proxy"
	"github.com/wstape/wstape/tape"
)

func TestPlainHTTPPassesWithNothingAdded(t *testing.T) {
	r := start(t, func(c *setup) { c.base = "/base" })
	client := r.dial()
	client.WriteString("GET /a%2Fb?q=%zz;x HTTP/1.1\r\nHost: example.com\r\nX-Forwarded-For: 10.0.0.1\r\nCookie: a=1\r\n\r\n")
	server := r.upstream.Accept()
	want := "GET /base/a%2Fb?q=%zz;x HTTP/1.1\r\nHost: " + r.upstream.Addr + "\r\nCookie: a=1\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n"
	if got := server.ReadHead(); got != want {
		t.Errorf("the upstream got %q\nwant %q", got, want)
	}
	server.WriteString("HTTP/1.1 200 Fine\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 5\r\n\r\nhello")
	head := client.ReadHead()
	for _, line := range strings.Split(strings.TrimSpace(head), "\r\n")[1:] {
		if line != "X-A: 1" && line != "X-A: 2" && line != "Content-Length: 5" {
			t.Errorf("field %q was added", line)
		}
	}
	body := make([]byte, 5)
	if _, err := readFull(client, body); err != nil || string(body) != "hello" {
		t.Errorf("body %q, %v", body, err)
	}
}

func TestAPageAndItsSocketShareAConnection(t *testing.T) {
	r := start(t)
	client := r.dial()
	client.WriteString("GET /page HTTP/1.1\r\nHost: a\r\n\r\n")
	page := r.upstream.Accept()
	page.ReadHead()
	page.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	if _, body := answer(t, client); body != "ok" {
		t.Errorf("page %q", body)
	}
	client.WriteString(wstest.Request("/"))
	server := r.upstream.Accept()
	server.ReadHead()
	server.WriteString(wstest.Switching())
	client.ReadHead()
	hello := wstest.New(tape.Text, "hello")
	server.Send(hello)
	client.Expect(hello)
}

func TestAnswersAreStreamed(t *testing.T) {
	r := start(t)
	client := r.dial()
	client.WriteString("GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
	server := r.upstream.Accept()
	server.ReadHead()
	server.WriteString("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
	res, err := http.ReadResponse(client.In, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 { // each chunk is asked for only when the one before has come
		chunk := fmt.Sprintf("event %d", i)
		server.WriteString(fmt.Sprintf("%x\r\n%s\r\n", len(chunk), chunk))
		got := make([]byte, len(chunk))
		if _, err := res.Body.Read(got); err != nil || string(got) != chunk {
			t.Fatalf("got %q, %v", got, err)
		}
	}
}

func TestRequestBodiesAreStreamed(t *testing.T) {
	r := start(t)
	client := r.dial()
	client.WriteString("POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
	server := r.upstream.Accept()
	req, err := http.ReadRequest(server.In)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := req.Body.Read(got); err != nil || string(got) != "first" {
		t.Fatalf("got %q, %v", got, err)
	}
	client.WriteString("6\r\nsecond\r\n0\r\n\r\n")
	got = make([]byte, 6)
	if _, err := req.Body.Read(got); string(got) != "second" {
		t.Fatalf("got %q, %v", got, err)
	}
	server.WriteString("HTTP/1.1 204 No Content\r\n\r\n")
	if res, _ := answer(t, client); res.StatusCode != http.StatusNoContent {
		t.Errorf("got %s", res.Status)
	}
}

func TestPlainHTTPToADeadUpstreamIsA502(t *testing.T) {
	r := start(t)
	r.upstream.Close()
	client := r.dial()
	client.WriteString("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if res, body := answer(t, client); res.StatusCode != http.StatusBadGateway || !strings.Contains(body, r.upstream.Addr) {
		t.Errorf("got %s, %q", res.Status, body)
	}
}

func TestRoutes(t *testing.T) {
	tests := []struct {
		name        string
		routes      []proxy.Route // without upstreams; each gets its own
		host, asked string
		served      int // index of the route; -1 for none
		target      string
	}{
		{"everything", []proxy.Route{{}}, "a", "/x?y", 0, "/x?y"},
		{"prefix", []proxy.Route{{Prefix: "/api"}, {}}, "a", "/api/x", 0, "/api/x"},
		{"the prefix itself", []proxy.Route{{Prefix: "/api"}, {}}, "a", "/api?q", 0, "/api?q"},
		{"whole segments only", []proxy.Route{{Prefix: "/api"}, {}}, "a", "/apis", 1, "/apis"},
		{"slash at the end", []proxy.Route{{Prefix: "/api/"}}, "a", "/api/x", 0, "/api/x"},
		{"the first that matches", []proxy.Route{{Prefix: "/a"}, {Prefix: "/a/b"}}, "a", "/a/b", 0, "/a/b"},
		{"strip", []proxy.Route{{Prefix: "/api", Strip: true}}, "a", "/api/x%2fy?z", 0, "/x%2fy?z"},
		{"strip all", []proxy.Route{{Prefix: "/api", Strip: true}}, "a", "/api?z", 0, "/?z"},
		{"host", []proxy.Route{{Host: "one.test"}, {Host: "two.test"}}, "two.test", "/", 1, "/"},
		{"host in other letters, with a port", []proxy.Route{{Host: "one.test"}}, "One.Test:80", "/", 0, "/"},
		{"host with its port", []proxy.Route{{Host: "one.test:81"}, {Host: "one.test:82"}}, "one.test:82", "/", 1, "/"},
		{"host and prefix", []proxy.Route{{Host: "one.test", Prefix: "/a"}, {Host: "one.test"}}, "one.test", "/b", 1, "/b"},
		{"none", []proxy.Route{{Prefix: "/api"}, {Host: "one.test"}}, "two.test", "/x", -1, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var servers []*wstest.Server
			for i := range test.routes {
				servers = append(servers, wstest.Listen(t, nil))
				test.routes[i].Upstream = parse(t, "ws://"+servers[i].Addr)
			}
			r := start(t, func(c *setup) { c.Routes = test.routes })
			socket, plain := r.dial(), r.dial()
			socket.WriteString(strings.Replace(wstest.Request(test.asked), "example.com", test.host, 1))
			plain.WriteString("GET " + test.asked + " HTTP/1.1\r\nHost: " + test.host + "\r\n\r\n")
			if test.served < 0 {
				for _, client := range []*wstest.Peer{socket, plain} {
					if res, body := answer(t, client); res.StatusCode != http.StatusBadGateway || !strings.Contains(body, "known routes: /api → ws://"+servers[0].Addr) {
						t.Errorf("got %s, %q", res.Status, body)
					}
				}
				r.ended(1)
				return
			}
			for range 2 {
				if head := servers[test.served].Accept().ReadHead(); !strings.HasPrefix(head, "GET "+test.target+" HTTP/1.1\r\n") {
					t.Errorf("the upstream got %q, want %q", head, test.target)
				}
			}
		})
	}
}

func TestParseUpstream(t *testing.T) {
	good := []struct{ text, want, unix string }{
		{"ws://localhost:8765", "ws://localhost:8765", ""},
		{"http://localhost:8765/base", "ws://localhost:8765/base", ""},
		{"https://[::1]/", "wss://[::1]/", ""},
		{"wss://example.com/a%2Fb", "wss://example.com/a%2Fb", ""},
		{"unix:/run/app.sock", "unix:/run/app.sock", "/run/app.sock"},
		{"unix:///run/app.sock", "unix:/run/app.sock", "/run/app.sock"},
		{"unix:/run/app.sock:/base", "unix:/run/app.sock:/base", "/run/app.sock"},
	}
	for _, test := range good {
		u, err := proxy.ParseUpstream(test.text)
		if err != nil || u.String() != test.want || u.Unix != test.unix {
			t.Errorf("%q: got %v, %v; want %q", test.text, u, err, test.want)
		}
	}
	bad := []struct{ text, why string }{
		{"", "ws://localhost:8765"},
		{"localhost:8765", "ws://localhost:8765"},
		{"8765", "ws://localhost:8765"},
		{"ftp://localhost", "scheme"},
		{"ws://", "no host"},
		{"ws:///path", "no host"},
		{"ws://:8765", "no host"},
		{"ws://host/?q=1", "query"},
		{"ws://host/#f", "fragment"},
		{"ws://user:pw@host/", "--header"},
		{"ws://host:port", "not a URL"},
		{"unix:", "socket path"},
		{"unix://", "socket path"},
	}
	for _, test := range bad {
		u, err := proxy.ParseUpstream(test.text)
		if err == nil || !strings.Contains(err.Error(), test.why) {
			t.Errorf("%q: got %v, %v; want an error with %q", test.text, u, err, test.why)
		}
	}
}

func TestAUnixSocketIsAnUpstream(t *testing.T) {
	server := wstest.ListenUnix(t)
	r := start(t, func(c *setup) { c.Routes = []proxy.Route{{Upstream: parse(t, "unix:"+server.Addr+":/base")}} })
	r.upstream = server
	client := r.dial()
	client.WriteString(wstest.Request("/x"))
	peer := server.Accept()
	if head := peer.ReadHead(); !strings.HasPrefix(head, "GET /base/x HTTP/1.1\r\nHost: localhost\r\n") {
		t.Errorf("the upstream got %q", head)
	}
	peer.WriteString(wstest.Switching())
	client.ReadHead()
	hello := wstest.New(tape.Text, "hello")
	peer.Send(hello)
	client.Expect(hello)
	_ = peer.Conn.Close()
	client.ExpectEOF()
}

// TestATunnelOfAnotherProtocolKeepsNoPlace when it has ended.
func TestATunnelOfAnotherProtocolKeepsNoPlace(t *testing.T) {
	for _, secure := range []bool{false, true} {
		r := start(t, func(c *setup) { c.clientSecure = secure })
		client := r.dial()
		client.WriteString("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n")
		server := r.upstream.Accept()
		server.ReadHead()
		server.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n")
		client.ReadHead()
		_ = server.Conn.Close()
		client.ExpectEOF()
		_ = client.Conn.Close()
		quiet(t, r)
	}
}

// TestNoWebSocketPassesAsPlainHTTP, where it would be neither recorded nor seen by scripts.
func TestNoWebSocketPassesAsPlainHTTP(t *testing.T) {
	asking := strings.TrimSuffix(strings.TrimPrefix(wstest.Request("/"), "GET"), "\r\n")
	for name, request := range map[string]string{
		"another method": "POST" + asking + "Content-Length: 0\r\n\r\n",
		"a length":       "GET" + asking + "Content-Length: 3\r\n\r\nabc",
		"chunks":         "GET" + asking + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			client := r.dial()
			client.WriteString(request)
			if res, body := answer(t, client); res.StatusCode != http.StatusBadRequest || !strings.Contains(body, "GET without a body") {
				t.Errorf("%s: %s", res.Status, body)
			}
		})
	}
}

func TestAStatusThatIsNoneIsNotPassedOn(t *testing.T) {
	for _, request := range []string{wstest.Request("/"), "GET / HTTP/1.1\r\nHost: a\r\n\r\n"} {
		for _, secure := range []bool{false, true} {
			r := start(t, func(c *setup) { c.clientSecure = secure })
			client := r.dial()
			client.WriteString(request)
			server := r.upstream.Accept()
			server.ReadHead()
			server.WriteString("HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n")
			if res, body := answer(t, client); res.StatusCode != http.StatusBadGateway || !strings.Contains(body, "099") {
				t.Errorf("%s: %s", res.Status, body)
			}
			_ = client.Conn.Close()
			quiet(t, r)
			if n := r.proxy.Sessions(); n != 0 {
				t.Errorf("%d sessions are open", n)
			}
		}
	}
}
