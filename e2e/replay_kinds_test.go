package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// playedPlan is a conversation with all that a session can be made of.
func playedPlan() *plan {
	said := func(from string) []word {
		return []word{text(from, ", grüße 👋"), binaries(0, 1, 0xff), text(), binaries(), {Op: "ping", Data: []byte(from)},
			text(noise(from, 3000)), binaries([]byte(noise(from+" in bytes", 100<<10))...)}
	}
	p := &plan{Client: part{Send: said("client")}, Server: part{Send: said("server")}}
	p.Server.Hear = len(heardOf(p.Client.Send))
	p.Client.Hear = len(heardOf(p.Server.Send)) + 1 // and "bye"
	return p
}

// heardOf is what the other side hears.
func heardOf(said []word) (list []heard) {
	for _, w := range said {
		if w.Op != "ping" {
			list = append(list, w.heard())
		}
	}
	return list
}

// recordCall has one call to a server recorded and exports it.
func recordCall(t testing.TB, upstream string, dial func(at *recorder)) (cassette string) {
	t.Helper()
	p := startProxy(t, "ws://"+upstream, "--quiet")
	dial(p)
	p.settle(1)
	return p.stop().export(1)
}

// house is a server that is full.
func house(t testing.TB) (addr string) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-House", "full")
		http.Error(w, "the house is full", http.StatusForbidden)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// TestReplayToEveryClient: every kind of client gets from the fake server what
// the recorded one got: the subprotocol, compression where it offers that, every
// kind of message, pings and pongs, every way to end.
func TestReplayToEveryClient(t *testing.T) {
	t.Parallel()
	p := playedPlan()
	path := p.save(t)
	s := startChatServer(t, python, serving{Plan: path, Protocols: []string{"chat.v2"}})
	chat := recordCall(t, s.addr, func(at *recorder) {
		r := gorillaCall(t, call{URL: at.url("/chat"), Plan: path, Protocols: []string{"chat.v1", "chat.v2"}})
		same(t, "how it ended when it was recorded", []any{"", 1000}, []any{r.Error, r.Code})
	})
	full := recordCall(t, house(t), func(at *recorder) { gorillaCall(t, call{URL: at.url("/full")}) })
	endings := cassetteFile(t,
		`{"wstape":1,"session":{"url":"/thrown"}}`,
		`{"from":"client","text":"hello"}`, `{"from":"server","text":"there"}`, `{"from":"server","op":"close","code":4001,"reason":"tschüß 👋"}`,
		`{"wstape":1,"session":{"url":"/eof","ending":{"kind":"eof","from":"server"}}}`,
		`{"from":"client","text":"hello"}`, `{"from":"server","text":"there"}`,
		`{"wstape":1,"session":{"url":"/reset","ending":{"kind":"reset","from":"server"}}}`,
		`{"from":"client","text":"hello"}`, `{"from":"server","text":"there"}`)
	hello := (&plan{Client: part{Send: []word{text("hello")}, Hear: 2}}).save(t) // only one comes: the server ends it

	for _, kind := range present(t, append(kinds, chromium)...) {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			client := chatClient(t, kind)
			fake := replayServer(t, chat, chat, endings, full, "--once")
			wordy := call{Plan: path, Protocols: []string{"chat.v1", "chat.v2"}}
			for _, deflate := range []string{takeover, deflateOff} {
				if kind == chromium {
					deflate = takeover // it always offers it
				}
				o := wordy
				o.URL, o.Deflate = fake.url("/chat"), deflate
				r := client(o)
				same(t, "what is heard", append(heardOf(p.Server.Send), hear("text", []byte("bye"))), r.Heard)
				same(t, "subprotocol, code and reason", []any{"chat.v2", 1000, "done"}, []any{r.Protocol, r.Code, r.Reason})
				checkDeflate(t, kind, "the fake server", deflate, r.Extensions)
				if strings.Contains(r.Extensions, ";") && !strings.Contains(r.Extensions, "server_no_context_takeover") { // ws does not tell
					t.Errorf("negotiated %q, want no takeover", r.Extensions)
				}
				if kind == python || kind == node || kind == gorilla { // the others do not ping by themselves
					same(t, "pongs", []string{"client"}, r.Pongs)
				}
			}
			for _, end := range []report{{URL: "/thrown", Code: 4001, Reason: "tschüß 👋"}, {URL: "/eof", Code: 1006}, {URL: "/reset", Code: 1006}} {
				r := client(call{URL: fake.url(end.URL), Plan: hello})
				same(t, "what is heard at "+end.URL, []heard{hear("text", []byte("there"))}, r.Heard)
				if end.Code == 1006 { // where there is no reason, some libraries give their own
					r.Reason = ""
				}
				same(t, "how it ended", []any{end.Code, end.Reason}, []any{r.Code, r.Reason})
				if kind == gorilla && end.Code == 1006 && strings.Contains(r.Error, "reset") != (end.URL == "/reset") {
					t.Errorf("%s: the connection ended with %q", end.URL, r.Error)
				}
			}
			r := client(call{URL: fake.url("/full"), Plan: hello})
			if want := http.StatusForbidden; r.Error == "" || kind != chromium && r.Status != want {
				t.Errorf("status %d, error %q; want %d", r.Status, r.Error, want)
			}
			fake.held(6)
		})
	}
}

// TestReplayHandshake: the fake server answers with the recorded headers and,
// where the client was refused, with the recorded body.
func TestReplayHandshake(t *testing.T) {
	t.Parallel()
	answered := func(url string) (status int, header, body string) {
		c, r, err := websocket.DefaultDialer.Dial(url, nil)
		if err == nil {
			defer c.Close()
		} else if r == nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r.Body)
		must(t, err)
		return r.StatusCode, r.Header.Get("Server") + r.Header.Get("X-House"), string(text)
	}
	s := startServer(t, python, serverOptions{})
	for upstream, want := range map[string]int{s.addr: http.StatusSwitchingProtocols, house(t): http.StatusForbidden} {
		var header, body string
		cassette := recordCall(t, upstream, func(at *recorder) {
			var status int
			status, header, body = answered(at.url("/"))
			same(t, "recorded status", want, status)
		})
		if header == "" {
			t.Fatal("there was no header to be repeated")
		}
		fake := replayServer(t, cassette, "--once")
		gotStatus, gotHeader, gotBody := answered(fake.url("/"))
		same(t, "the answer", []any{want, header, body}, []any{gotStatus, gotHeader, gotBody})
		fake.held(1)
	}
}

// TestReplayToEveryServer: every kind of server gets from the fake client what it
// got when it was recorded.
func TestReplayToEveryServer(t *testing.T) {
	t.Parallel()
	p := playedPlan()
	path := p.save(t)
	for _, kind := range present(t, kinds...) {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := startChatServer(t, kind, serving{Plan: path, Protocols: []string{"chat.v2"}})
			cassette := recordCall(t, s.addr, func(at *recorder) {
				chatClient(t, python)(call{URL: at.url("/chat?room=1"), Plan: path, Protocols: []string{"chat.v2"}})
			})
			recorded := s.report()
			same(t, "what the recorded client said", heardOf(p.Client.Send), recorded.Heard)
			replayClient(t, cassette, "ws://"+s.addr).held(1)
			again := s.report()
			for _, name := range []string{"sec-websocket-key", "sec-websocket-extensions", "host"} { // of each connection its own
				delete(recorded.Headers, name)
				delete(again.Headers, name)
			}
			if recorded.Headers["user-agent"] == "" {
				t.Error("the recorded client did not say its name")
			}
			same(t, "what the server saw", recorded, again)
		})
	}
}

// TestReplayRefusal: the fake client is refused as the recorded one was, and
// content with it.
func TestReplayRefusal(t *testing.T) {
	t.Parallel()
	addr := house(t)
	full := recordCall(t, addr, func(at *recorder) { gorillaCall(t, call{URL: at.url("/full")}) })
	replayClient(t, full, "ws://"+addr).held(1)
	open, _ := farServer(t)
	replayClient(t, full, "ws://"+open).failed("answered the handshake with 403, but answered 101")
}
