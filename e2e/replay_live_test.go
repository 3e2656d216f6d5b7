package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// exchange has words put into capitals and leaves.
func exchange(t testing.TB, url string, words ...string) {
	t.Helper()
	f := dialFar(t, url)
	for _, word := range words {
		f.say(t, word)
		f.hears(t, strings.ToUpper(word))
	}
	f.leaves(t)
}

// leaves closes and waits for the answer.
func (f *far) leaves(t testing.TB) {
	t.Helper()
	f.closes(t, 1000, "bye")
	how, _ := receive(t, "the answer to the close", f.ended)
	same(t, "code of the answer", 1000, how.Code)
}

// refused wants that a connection is answered with 404 and says why.
func refused(t testing.TB, url, why string) {
	t.Helper()
	_, r, err := websocket.DefaultDialer.Dial(url, nil)
	if r == nil {
		t.Fatal(err)
		return
	}
	body := make([]byte, 1024)
	n, _ := r.Body.Read(body)
	if r.StatusCode != http.StatusNotFound || !strings.Contains(string(body[:n]), why) {
		t.Errorf("%s: status %d, %q; want 404 and %q", url, r.StatusCode, body[:n], why)
	}
}

// hello is a session in which the server says one thing.
func hello(url, text string) string {
	return fmt.Sprintf("{\"wstape\":1,\"session\":{\"url\":%q}}\n{\"from\":\"server\",\"text\":%q}\n{\"from\":\"client\",\"op\":\"close\",\"code\":1000,\"reason\":\"bye\"}", url, text)
}

// greets connects, hears one thing and leaves.
func greets(t testing.TB, url, want string) {
	t.Helper()
	f := dialFar(t, url)
	f.hears(t, want)
	f.leaves(t)
}

// TestReplaySockets: connections get the sessions of their path in order, or the
// one that was asked for like them, as often as there are any.
func TestReplaySockets(t *testing.T) {
	t.Parallel()
	cassette := cassetteFile(t, hello("/a", "first"), hello("/b", "only"), hello("/a", "second"), hello("/q?user=x", "x"), hello("/q?user=y", "y"))
	t.Run("in order", func(t *testing.T) {
		t.Parallel()
		report := filepath.Join(t.TempDir(), "report")
		fake := replayServer(t, cassette, "--report-file", report)
		first, second := dialFar(t, fake.url("/a")), (*far)(nil)
		first.hears(t, "first")
		second = dialFar(t, fake.url("/a")) // while the first is open
		second.hears(t, "second")
		greets(t, fake.url("/b"), "only")
		first.leaves(t)
		second.leaves(t)
		greets(t, fake.url("/q?user=y"), "y")
		greets(t, fake.url("/q?user=x"), "x")
		refused(t, fake.url("/a"), "every recorded session of /a has been played")
		refused(t, fake.url("/c"), "nothing was recorded at /c: the recording has /a, /b, /q")
		fake.await("went as recorded", 5)
		same(t, "exit code", 1, fake.interrupt())
		text, err := os.ReadFile(report)
		must(t, err)
		for _, want := range []string{"5 of 7 sessions held", "FAILED no session (/a)", "FAILED no session (/c)"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("the report does not say %q:\n%s", want, text)
			}
		}
	})
	t.Run("again and again", func(t *testing.T) {
		t.Parallel()
		fake := replayServer(t, cassette, "--loop")
		for range 3 {
			greets(t, fake.url("/a"), "first")
			greets(t, fake.url("/a"), "second")
		}
		greets(t, fake.url("/b"), "only")
		fake.await("went as recorded", 7)
		fake.stopped()
	})
}

// TestReplayModes: a cassette comes about with the real server and is played
// without it; what is new is added to it, or takes its place.
func TestReplayModes(t *testing.T) {
	t.Parallel()
	cassette := filepath.Join(t.TempDir(), "new.cassette.jsonl")
	// live lets do against a fake server in a mode, with the real one behind it.
	live := func(mode string, do func(fake *replaying)) {
		t.Helper()
		s := startServer(t, python, serverOptions{})
		fake := replayServer(t, cassette, "--mode", mode, "--upstream", "ws://"+s.addr)
		do(fake)
		fake.stopped()
	}
	// dead is a real server that is not there.
	dead := []string{"--upstream", "ws://" + deadPort(t), "--once"}

	live("once", func(fake *replaying) {
		exchange(t, fake.url("/upper"), "one", "two")
		fake.await("a session was added", 1)
	})
	recorded, err := os.ReadFile(cassette)
	must(t, err)
	for _, mode := range []string{"once", "new_episodes"} { // all is known
		fake := replayServer(t, append(dead, cassette, "--mode", mode)...)
		exchange(t, fake.url("/upper"), "one", "two")
		fake.held(1)
	}
	fake := replayServer(t, append(dead, cassette, "--mode", "once")...)
	f := dialFar(t, fake.url("/upper"))
	f.say(t, "one")
	f.hears(t, "ONE")
	f.say(t, "three")
	receive(t, "the end", f.ended)
	fake.failed("changed message at step 3")
	after, err := os.ReadFile(cassette)
	must(t, err)
	same(t, "the cassette", string(recorded), string(after))

	live("new_episodes", func(fake *replaying) {
		exchange(t, fake.url("/upper"), "one", "two", "three")
		fake.await("session 1 is now what happened live", 1)
		exchange(t, fake.url("/upper"), "four") // no session is left for it
		fake.await("a session was added", 1)
	})
	fake = replayServer(t, cassette, "--once")
	exchange(t, fake.url("/upper"), "one", "two", "three")
	exchange(t, fake.url("/upper"), "four")
	fake.held(2)

	live("all", func(fake *replaying) {
		exchange(t, fake.url("/upper"), "five")
		fake.await("a session was added", 1)
	})
	fake = replayServer(t, cassette, "--once")
	exchange(t, fake.url("/upper"), "five")
	fake.held(1)
}

// TestReplayModeSecrets: what is recorded live holds no secret.
func TestReplayModeSecrets(t *testing.T) {
	t.Parallel()
	addr, seen := guarded(t)
	cassette := filepath.Join(t.TempDir(), "new.cassette.jsonl")
	config := unhurried(t, "record: {redact: {text: ['^hello$']}}")
	fake := replayServer(t, cassette, "--mode", "once", "--upstream", "ws://"+addr, "--config", config)
	knocks(t, fake.url("/door?token=open-sesame"))
	fake.await("a session was added", 1)
	fake.stopped()
	asked, _ := receive(t, "what the server was asked", seen)
	same(t, "what the server got", []string{"Bearer hunter2hunter2", "/door?token=open-sesame"}, []string{asked.Header.Get("Authorization"), asked.URL.RequestURI()})
	text, err := os.ReadFile(cassette)
	must(t, err)
	if s := string(text); strings.Contains(s, "hunter2") || strings.Contains(s, "open-sesame") || strings.Contains(s, "hello") || strings.Count(s, "redacted:") != 5 {
		t.Errorf("the cassette is\n%s", s)
	}
	fake = replayServer(t, cassette, "--once")
	knocks(t, fake.url("/door?token=open-sesame"))
	fake.held(1)
}

// guarded is a server that remembers how it was asked, and echoes.
func guarded(t testing.TB) (addr string, seen <-chan *http.Request) {
	asked := make(chan *http.Request, 16)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r
		gorillaEcho(w, r, deflateOff)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), asked
}

// knocks says hello with a secret.
func knocks(t testing.TB, url string) {
	t.Helper()
	c, _, err := websocket.DefaultDialer.Dial(url, http.Header{"Authorization": {"Bearer hunter2hunter2"}})
	must(t, err)
	defer c.Close()
	must(t, c.WriteMessage(websocket.TextMessage, []byte("hello")))
	_, data, err := c.ReadMessage()
	must(t, err)
	same(t, "the echo", "hello", string(data))
	must(t, c.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(1000, "")))
	_, _, err = c.ReadMessage()
	same(t, "how it ended", closing{Code: 1000}, gorillaClosing(err))
}

// TestReplaySecrets: a pseudonym is sent nowhere; the secret that it stands for
// is, where it is given.
func TestReplaySecrets(t *testing.T) {
	t.Parallel()
	addr, seen := guarded(t)
	cassette := recordCall(t, addr, func(at *recorder) { knocks(t, at.url("/door?token=open-sesame")) })
	receive(t, "what the server was asked", seen)

	secret := func(text string) string {
		path := filepath.Join(t.TempDir(), "secret")
		must(t, os.WriteFile(path, []byte(text+"\n"), 0o600))
		return path
	}
	token := "token=file:" + secret("another sesame, & 100 %")
	for _, c := range []struct {
		flags []string
		hints []string
	}{
		{nil, []string{"--secret token=env:"}},
		{[]string{"--secret", token}, []string{"--secret Authorization=env:", "--header 'Authorization: VALUE'"}},
	} {
		fake := replayClient(t, append(c.flags, cassette, "ws://"+addr)...)
		_, code := fake.finish()
		same(t, "exit code and connections", []int{2, 0}, []int{code, len(seen)})
		for _, hint := range c.hints {
			if !strings.Contains(fake.stderr.String(), hint) {
				t.Errorf("%q does not say %q", fake.stderr.String(), hint)
			}
		}
	}
	for _, c := range []struct {
		want  string
		flags []string
	}{
		{"Bearer another2", []string{"--secret", "Authorization=file:" + secret("another2")}},
		{"Bearer by hand", []string{"--header", "Authorization: Bearer by hand"}},
		{"", []string{"--header", "Authorization:"}},
	} {
		replayClient(t, append(c.flags, "--secret", token, cassette, "ws://"+addr)...).held(1)
		asked, _ := receive(t, "what the server was asked", seen)
		same(t, "what the server got", []string{c.want, "another sesame, & 100 %"}, []string{asked.Header.Get("Authorization"), asked.URL.Query().Get("token")})
	}
}

// TestReplayPassthrough: what is not on the tape goes to the real server, which
// has been told what the client said so far, and knows it under its own token.
func TestReplayPassthrough(t *testing.T) {
	t.Parallel()
	s := named(t, "login").serve(t)
	fake := replayServer(t, "../examples/cassettes/login.cassette.jsonl", "--on-mismatch", "passthrough", "--upstream", "ws://"+s.addr, "--once")
	f := dialFar(t, fake.url("/login"))
	f.say(t, `{"type": "login", "user": "ann", "nonce": "00c0ffee00c0ffee"}`)
	var welcome struct{ Nonce, Token string }
	text, _ := receive(t, "a welcome", f.heard)
	must(t, json.Unmarshal([]byte(text), &welcome))
	same(t, "nonce", "00c0ffee00c0ffee", welcome.Nonce)
	f.say(t, fmt.Sprintf(`{"type": "do", "token": %q, "count": 1, "task": "paint the door"}`, welcome.Token))
	f.hears(t, `{"type": "done", "count": 1, "task": "paint the door"}`)
	f.say(t, `{"type": "do", "token": "made up", "count": 2, "task": "sell the door"}`)
	f.hears(t, `{"type": "error", "error": "wrong token"}`)
	how, _ := receive(t, "the end", f.ended)
	same(t, "how it ended", closing{Code: 4401, Reason: "wrong token"}, how)
	fake.held(1)
}

// TestReplayHandedOver: what a client says in one breath, and that it leaves, all
// gets to who takes over.
func TestReplayHandedOver(t *testing.T) {
	t.Parallel()
	cassette := cassetteFile(t, `{"wstape":1,"session":{}}`, `{"from":"client","text":"one"}`, `{"from":"server","text":"ONE"}`)
	for name, flags := range map[string][]string{"mismatch": {"--on-mismatch", "passthrough"}, "until": {"--until", "2", "--then", "upstream"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr, accepted := farServer(t)
			fake := replayServer(t, append(flags, cassette, "--once", "--upstream", "ws://"+addr)...)
			f := dialFar(t, fake.url("/"))
			for _, word := range []string{"one", "two", "three", "four"} {
				f.say(t, word)
			}
			f.closes(t, 1000, "bye")
			up, _ := receive(t, "the fake server", accepted)
			up.hears(t, "one")
			up.say(t, "ONE") // for this it waits
			up.hears(t, "two", "three", "four")
			how, _ := receive(t, "the end", up.ended)
			same(t, "how the client left", closing{Code: 1000, Reason: "bye"}, how)
			fake.held(1)
		})
	}
}

// TestReplayUntil: after a step somebody else goes on.
func TestReplayUntil(t *testing.T) {
	t.Parallel()
	shouts := cassetteFile(t, `{"wstape":1,"session":{}}`, `{"from":"client","text":"one"}`, `{"from":"server","text":"ONE"}`,
		`{"from":"client","text":"two"}`, `{"from":"server","text":"TWO"}`)
	until2 := func(t *testing.T, then string) (*replaying, *far) {
		fake := replayServer(t, shouts, "--once", "--until", "2", "--then", then)
		f := dialFar(t, fake.url("/"))
		f.say(t, "one")
		f.hears(t, "ONE")
		return fake, f
	}
	t.Run("upstream", func(t *testing.T) {
		t.Parallel()
		sc := named(t, "login")
		// The token is the tape's; the real server did the greeting and gave another.
		fake := replayServer(t, "../examples/cassettes/login.cassette.jsonl", "--until", "4", "--then", "upstream", "--upstream", "ws://"+sc.serve(t).addr, "--once")
		sc.talk(t, fake.addr)
		fake.held(1)
	})
	t.Run("script", func(t *testing.T) {
		t.Parallel()
		fake, f := until2(t, scriptFile(t, "then.js", `export const onMessage = (msg, session) => session.send("client", "the script heard " + msg.text);`))
		f.say(t, "three")
		f.hears(t, "the script heard three")
		f.leaves(t)
		fake.held(1)
	})
	t.Run("stdin", func(t *testing.T) {
		t.Parallel()
		fake, f := until2(t, "stdin")
		_, err := fake.stdin.Write([]byte("typed\n"))
		must(t, err)
		f.hears(t, "typed")
		f.say(t, "understood")
		same(t, "what the person reads", "understood", fake.line())
		must(t, fake.stdin.Close())
		how, _ := receive(t, "the end", f.ended)
		same(t, "code", 1000, how.Code)
		fake.held(1)
	})
}

// editScript edits, drops and injects, both ways.
const editScript = `
export function onMessage(msg, session) {
  if (msg.from === "client") {
    if (msg.text === "edit me") msg.text = "edited";
    if (msg.text === "drop me") return false;
    if (msg.text === "add to me") session.send("server", "added");
    return;
  }
  if (msg.text === "edited") msg.text = "edited, for you";
  if (msg.text === "drop the answer") return false;
  if (msg.text === "add to the answer") session.send("client", "added for you");
}
`

// TestReplayEdited: of a recording that a script changed, the fake server is to
// the client what the proxy was, and the fake client to the server.
func TestReplayEdited(t *testing.T) {
	t.Parallel()
	p := &plan{Client: part{Hear: 7}}
	for _, m := range []string{"plain", "edit me", "drop me", "drop the answer", "add to me", "add to the answer", "end"} {
		p.Client.Send = append(p.Client.Send, text(m))
	}
	path := p.save(t)
	client := chatClient(t, python)
	s := startServer(t, python, serverOptions{})
	rec := startProxy(t, "ws://"+s.addr, "--quiet", "--config", unhurried(t), "--script", scriptFile(t, "edit.js", editScript))
	saw := client(call{URL: rec.url("/"), Plan: path})
	rec.settle(1)
	tape := rec.stop()
	fates := map[string]int{}
	for _, m := range tape.messages(1) {
		if m.Op != "close" {
			fates[m.From+" "+m.Fate]++
		}
	}
	same(t, "fates", map[string]int{"client passed": 5, "client edited": 1, "client dropped": 1, "client injected": 1,
		"server passed": 5, "server edited": 1, "server dropped": 1, "server injected": 1}, fates)

	fake := replayServer(t, append(tape.numbers(1), "--once")...)
	again := client(call{URL: fake.url("/"), Plan: path})
	same(t, "what the client saw", saw.Heard, again.Heard)
	fake.held(1)
	replayClient(t, append(tape.numbers(1), "ws://"+s.addr)...).held(1)
}
