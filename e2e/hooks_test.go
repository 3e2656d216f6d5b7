package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// TestHookHolds: a hook that waits holds its direction, in order, and nothing
// else: pings are answered, and the other direction flows.
func TestHookHolds(t *testing.T) {
	t.Parallel()
	path := scriptFile(t, "hold.js", `
let release;
const released = new Promise((resolve) => { release = resolve; });
export async function onMessage(msg) {
  if (msg.text === "release") release();
  if (msg.text !== "hold") return;
  await released;
  msg.text = "held";
}
`)
	addr, accepted := farServer(t)
	p := startProxy(t, "ws://"+addr, "--config", unhurried(t), "--script", path)
	for _, kind := range present(t, kinds...) {
		t.Run(kind, func(t *testing.T) {
			c := newClient(t, kind)
			mustDial(t, c, p.url("/"+kind), dialOptions{})
			s, _ := receive(t, "a connection", accepted)
			c.text("before")
			s.hears(t, "before")
			c.text("hold")
			c.text("behind 1")
			c.binary("behind 2")
			c.ping() // it has come back, so the server has read all that was sent to it before
			same(t, "messages that the server has heard", 0, len(s.heard))
			for i := range 3 {
				text := fmt.Sprintf("flow %d", i)
				s.say(t, text)
				hearText(t, c, text)
			}
			c.text("behind 3")
			c.ping()
			same(t, "messages that the server has heard", 0, len(s.heard))
			s.say(t, "release")
			hearText(t, c, "release")
			s.hears(t, "held", "behind 1", "behind 2", "behind 3")
			c.close(1000, "")
			how, _ := receive(t, "the end", s.ended)
			same(t, "how the server saw it end", closing{Code: 1000}, how)
		})
	}
	p.stop()
}

// TestInjectedBetweenMessages: what a script sends waits until the message is
// whole that is on its way in fragments, though no hook looks at that.
func TestInjectedBetweenMessages(t *testing.T) {
	t.Parallel()
	for _, from := range []string{"client", "server"} { // who asks; the other one is talking
		t.Run("to the "+from, func(t *testing.T) {
			t.Parallel()
			addr, accepted := farServer(t)
			path := scriptFile(t, "inject.js", fmt.Sprintf(`export const from = %q;
export function onMessage(msg, session) { session.send(from, "injected"); }
`, from))
			p := startProxy(t, "ws://"+addr, "--quiet", "--config", unhurried(t), "--script", path)
			asks := dialFar(t, p.url("/"))
			talks, _ := receive(t, "a connection", accepted)
			if from == "server" {
				asks, talks = talks, asks
			}
			talks.conn.EnableWriteCompression(false) // it would gather all of the message first
			long := noise("long", 10_000)
			w, err := talks.conn.NextWriter(websocket.TextMessage)
			must(t, err)
			_, err = w.Write([]byte(long)) // some frames, and some bytes that wait for more
			must(t, err)
			talks.ping(t)
			asks.say(t, "inject")
			talks.hears(t, "inject")
			talks.ping(t)
			same(t, "messages heard so far", 0, len(asks.heard))
			_, err = w.Write([]byte(long))
			must(t, err)
			must(t, w.Close())
			asks.hears(t, long+long, "injected")
			talks.ping(t)
			_ = asks.conn.Close()
			p.stop()
		})
	}
}

// TestHeldBytes: behind a message that a hook holds, a fast sender is held back,
// and the proxy's memory does not grow with what it would like to send.
func TestHeldBytes(t *testing.T) {
	t.Parallel()
	const (
		size      = 64 << 10
		count     = 1024     // 64 MiB
		whileHeld = 16 << 20 // memory above that of an idle proxy
		atTheEnd  = 96 << 20
	)
	path := scriptFile(t, "hold.js", `
let release;
const released = new Promise((resolve) => { release = resolve; });
export async function onMessage(msg) {
  if (msg.from === "server") release();
  else if (msg.len === 4) await released;
}
`)
	addr, accepted := farServer(t)
	p := startProxy(t, "ws://"+addr, "--quiet", "--config", unhurried(t, "limits:", "  held: 256KiB", "record:", "  buffer: 4MiB"), "--script", path)
	d := websocket.Dialer{HandshakeTimeout: patience}
	c, _, err := d.Dial(p.url("/"), nil)
	must(t, err)
	defer c.Close()
	s, _ := receive(t, "a connection", accepted)
	idle := p.peakRSS()
	must(t, c.WriteMessage(websocket.TextMessage, []byte("hold")))
	filler := strings.Repeat("x", size)
	var sent atomic.Int64
	done := make(chan error, 1)
	go func() {
		for i := range count {
			if err := c.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, "%d %s", i, filler)); err != nil {
				done <- err
				return
			}
			sent.Add(1)
		}
		done <- nil
	}()
	stuckAt := stuck(t, &sent, done)
	t.Logf("the sender was held back after %d KiB", stuckAt*size>>10)
	checkRSS(t, p, idle, whileHeld)
	same(t, "messages that the server has heard", 0, len(s.heard))
	s.say(t, "release")
	s.hears(t, "hold")
	for i := range count {
		s.hears(t, fmt.Sprintf("%d %s", i, filler))
	}
	err, _ = receive(t, "the sender", done)
	must(t, err)
	checkRSS(t, p, idle, atTheEnd)
	_ = c.Close()
	p.stop()
}

func checkRSS(t testing.TB, p *recorder, idle, above int) {
	t.Helper()
	if got := p.peakRSS() - idle; got > above {
		t.Errorf("peak RSS is %d MiB above idle, may be %d", got>>20, above>>20)
	} else {
		t.Logf("peak RSS is %d MiB above idle", got>>20)
	}
}

// stuck waits until a number has not grown for a while, and returns it.
func stuck(t testing.TB, n *atomic.Int64, done <-chan error) int64 {
	t.Helper()
	still := time.NewTicker(300 * time.Millisecond)
	defer still.Stop()
	for last := int64(-1); ; {
		select {
		case err := <-done:
			t.Fatalf("the sender was not held back: it has sent everything (%v)", err)
		case <-still.C:
			if now := n.Load(); now == last {
				return now
			} else {
				last = now
			}
		}
	}
}

// failScript fails in all the ways there are.
const failScript = `export const from = "client";
export async function onMessage(msg, session) {
  switch (msg.text) {
    case "throw": null.property; break;
    case "reject": await Promise.reject(new RangeError("on purpose")); break;
    case "never": await new Promise(() => {}); break;
    case "nonsense": return 42;
    case "loop": for (;;) Math.random();
  }
  msg.text = "fine " + msg.text;
}
`

// TestFailingHooks: whatever a hook does, its message goes on as it came, the
// session goes on, others do not notice, and the log says what, where and why.
func TestFailingHooks(t *testing.T) {
	t.Parallel()
	addr, accepted := farServer(t)
	path := scriptFile(t, "fail.js", failScript)
	config := filepath.Join(t.TempDir(), "wstape.yaml")
	must(t, os.WriteFile(config, []byte("script:\n  timeout: 3s\n  await_timeout: 4s\n"), 0o600))
	p := startProxy(t, "ws://"+addr, "--quiet", "--config", config, "--script", path)
	a, b := newClient(t, coders), newClient(t, gorilla)
	mustDial(t, a, p.url("/a"), dialOptions{})
	servesA, _ := receive(t, "a connection", accepted)
	mustDial(t, b, p.url("/b"), dialOptions{})
	servesB, _ := receive(t, "a connection", accepted)
	a.text("throw")
	a.text("reject")
	a.text("nonsense")
	a.text("well")
	servesA.hears(t, "throw", "reject", "nonsense", "fine well")
	p.await("script fail.js #1: error: onMessage failed: TypeError: Cannot read property 'property' of", 1)
	p.await("fail.js:4:", 1)
	p.await("onMessage failed: RangeError: on purpose", 1)
	p.await("fail.js:5:", 1)
	p.await("onMessage failed: the hook returned 42", 1)

	const stopped = "script fail.js #1: error: onMessage was stopped: it ran for longer than script.timeout without yielding"
	a.text("loop")
	a.ping()
	servesA.say(t, "the other way")
	hearText(t, a, "the other way")
	for i := range 20 {
		text := fmt.Sprintf("b %d", i)
		b.text(text)
		servesB.hears(t, "fine "+text)
	}
	same(t, "messages that have got past the endless loop", 0, len(servesA.heard))
	if strings.Contains(p.stderr.String(), stopped) {
		t.Error("the loop had ended before the others were done: nothing is proven")
	}
	a.text("after")
	servesA.hears(t, "loop", "fine after")
	p.await(stopped, 1)
	p.await("fail.js:8:", 1)

	a.text("never")
	a.ping()
	b.text("meanwhile")
	servesB.hears(t, "fine meanwhile")
	servesA.hears(t, "never")
	p.await("onMessage failed: was not done after script.await_timeout", 1)
	a.text("end")
	servesA.hears(t, "fine end")
	for _, c := range []client{a, b} {
		same(t, "code", 1000, c.close(1000, "").Code)
	}
	tape := p.stop()
	var fates, notes []string
	for _, m := range tape.messages(1) {
		switch {
		case m.Note != nil:
			first, _, _ := strings.Cut(*m.Note, "\n")
			notes = append(notes, m.By+": "+first)
		case m.From == "client" && m.Op == "text":
			fates = append(fates, m.Fate+" "+m.data())
		}
	}
	same(t, "fates", []string{"passed throw", "passed reject", "passed nonsense", "edited fine well", "passed loop",
		"edited fine after", "passed never", "edited fine end"}, fates)
	notes = slices.DeleteFunc(notes, func(note string) bool { return strings.Contains(note, "restarted, because it was stopped") })
	same(t, "number of notes", 5, len(notes))
	for i, want := range []string{"TypeError", "on purpose", "returned 42", "script.timeout", "script.await_timeout"} {
		if !strings.HasPrefix(notes[i], "script:fail.js: onMessage ") || !strings.Contains(notes[i], want) {
			t.Errorf("note %q does not speak of %s", notes[i], want)
		}
	}
}

// TestOnErrorDrop: a message whose hook failed goes nowhere, and says so.
func TestOnErrorDrop(t *testing.T) {
	t.Parallel()
	addr, accepted := farServer(t)
	p := startProxy(t, "ws://"+addr, "--quiet", "--config", unhurried(t, "  on_error: drop"), "--script", scriptFile(t, "fail.js", failScript))
	c := newClient(t, gorilla)
	mustDial(t, c, p.url("/"), dialOptions{})
	s, _ := receive(t, "a connection", accepted)
	c.text("throw")
	c.text("reject")
	c.text("well")
	s.hears(t, "fine well")
	c.close(1000, "")
	var got []string
	for _, m := range p.stop().messages(1) {
		if m.From == "client" && m.Op == "text" {
			got = append(got, m.Fate+" "+m.data()+" "+m.By)
		}
	}
	same(t, "the tape", []string{"dropped throw script:fail.js", "dropped reject script:fail.js", "edited fine well script:fail.js"}, got)
}

// TestOnErrorClose: both ends get 1011 and no word of what went wrong.
func TestOnErrorClose(t *testing.T) {
	t.Parallel()
	addr, accepted := farServer(t)
	p := startProxy(t, "ws://"+addr, "--quiet", "--config", unhurried(t, "  on_error: close"), "--script", scriptFile(t, "fail.js", failScript))
	sessions := 0
	for _, kind := range present(t, kinds...) {
		t.Run(kind, func(t *testing.T) {
			sessions++
			c := newClient(t, kind)
			mustDial(t, c, p.url("/"+kind), dialOptions{})
			s, _ := receive(t, "a connection", accepted)
			c.text("well")
			s.hears(t, "fine well")
			c.text("reject")
			want := closing{Code: 1011, Reason: "script failed"}
			same(t, "how the client sees it end", want, c.closed())
			how, _ := receive(t, "the end", s.ended)
			same(t, "how the server sees it end", want, how)
			same(t, "messages that the server has heard", 0, len(s.heard))
		})
	}
	tape := p.stop()
	for _, e := range tape.sessions() {
		if e.State != "closed" || e.Ending == nil || e.Ending.Code != 1011 || e.Ending.From != "" {
			t.Errorf("%s: state %s, ending %+v, want a close with 1011 from neither side", e.URL, e.State, e.Ending)
		}
	}
	same(t, "number of sessions", sessions, len(tape.sessions()))
}

// TestStuckRuntime: a builtin that is hard to stop (here backtracking without end)
// costs its message the script, and its session at most that; others do not
// notice, and the proxy ends when it is told to.
func TestStuckRuntime(t *testing.T) {
	t.Parallel()
	path := scriptFile(t, "stick.js", `export const from = "client";
export function onMessage(msg) {
  if (msg.text === "stick") /^(a+)+\1$/.test("a".repeat(100) + "b");
  msg.text = "seen " + msg.text;
}
`)
	s := startServer(t, gorilla, serverOptions{})
	p := startProxy(t, "ws://"+s.addr, "--quiet", "--script", path)
	a, b := newClient(t, gorilla), newClient(t, gorilla)
	for i, c := range []client{a, b} {
		mustDial(t, c, p.url(fmt.Sprintf("/%d", i)), dialOptions{})
	}
	echo(t, a, "stick")
	p.await("ran for ", 1)
	a.text("after")
	if _, got := a.hear(); got != "seen after" && got != "after" {
		t.Errorf("the session goes on with %q", got)
	}
	b.text("well")
	hearText(t, b, "seen well")
	p.stop()
}

// doorScript changes handshakes.
const doorScript = `
export function onRequest(req, session) {
  const url = new URL(req.url, "ws://any");
  if (url.pathname === "/no") return req.reject(403, "not you");
  req.headers.set("X-User", "alice");
  req.headers.append("X-Many", "one");
  req.headers.append("X-Many", "two");
  req.headers.delete("User-Agent");
  req.protocols = req.protocols.filter((name) => name !== "a");
  req.url = "/moved" + url.pathname;
  session.state.path = url.pathname;
}
export function onResponse(res, session) {
  res.headers.set("X-Answer", "from " + res.status);
  if (session.state.path === "/late") res.reject(409, "changed my mind");
  if (session.state.path === "/translated") res.headers.set("Sec-WebSocket-Protocol", "a");
}
export function onOpen(session) { session.tag("protocol", session.subprotocol); }
`

// TestHandshakeHooks: what a script does to the handshake, as seen from outside.
func TestHandshakeHooks(t *testing.T) {
	t.Parallel()
	short := &plan{Client: part{[]word{text("hello")}, 1}, Server: part{[]word{}, 1}}
	plan := short.save(t)
	for _, kind := range present(t, kinds...) {
		t.Run(kind+" server", func(t *testing.T) {
			t.Parallel()
			s := startChatServer(t, kind, serving{Plan: plan, Protocols: []string{"a", "b"}})
			p := startProxy(t, "ws://"+s.addr, "--quiet", "--config", unhurried(t), "--script", scriptFile(t, "door.js", doorScript))
			for _, calling := range present(t, kinds...) {
				t.Run(calling+" client", func(t *testing.T) { knock(t, chatClient(t, calling), calling, s, p, plan) })
			}
			tape := p.stop()
			for _, e := range tape.sessions() {
				switch e.URL {
				case "/no", "/late":
					same(t, e.URL+": state", "refused", e.State)
				default:
					same(t, e.URL+": subprotocol and upstream", []string{e.Tags["protocol"], "ws://" + s.addr + "/moved" + e.URL}, []string{e.Subprotocol, e.Upstream})
				}
			}
		})
	}
	if slices.Contains(present(t, chromium), chromium) {
		s := startChatServer(t, gorilla, serving{Plan: plan, Protocols: []string{"a", "b"}})
		p := startProxy(t, "ws://"+s.addr, "--quiet", "--config", unhurried(t), "--script", scriptFile(t, "door.js", doorScript))
		knock(t, chatClient(t, chromium), chromium, s, p, plan)
		p.stop()
	}
}

func knock(t *testing.T, client func(call) report, calling string, s *chatServer, p *recorder, plan string) {
	t.Helper()
	r := client(call{URL: p.url("/yes"), Plan: plan, Protocols: []string{"a", "b"}})
	same(t, "the client", []any{1000, "", "b", []heard{hear("text", []byte("bye"))}}, []any{r.Code, r.Error, r.Protocol, r.Heard})
	r = s.report()
	same(t, "the server", []any{"/moved/yes", "b", "alice", "one, two", []heard{hear("text", []byte("hello"))}},
		[]any{r.URL, r.Protocol, r.Headers["x-user"], r.Headers["x-many"], r.Heard})
	if agent, ok := r.Headers["user-agent"]; ok {
		t.Errorf("the server sees User-Agent %q", agent)
	}
	r = client(call{URL: p.url("/translated"), Plan: plan, Protocols: []string{"a", "b"}})
	same(t, "the client", []any{1000, "a"}, []any{r.Code, r.Protocol})
	same(t, "the server's protocol", "b", s.report().Protocol)
	for path, status := range map[string]int{"/no": 403, "/late": 409} {
		r = client(call{URL: p.url(path), Plan: plan, Protocols: []string{"a", "b"}})
		switch calling {
		case chromium: // which does not tell pages
			same(t, path, 1006, r.Code)
		default:
			same(t, path, status, r.Status)
		}
		if body := map[string]string{"/no": "not you", "/late": "changed my mind"}[path]; calling == gorilla || calling == node {
			same(t, path, body, r.Body)
		}
	}
	same(t, "the server sees the one that was refused late", "/moved/late", s.report().URL)
}

// TestResponseHeader: a header of onResponse reaches the client.
func TestResponseHeader(t *testing.T) {
	t.Parallel()
	addr, _ := farServer(t)
	p := startProxy(t, "ws://"+addr, "--quiet", "--config", unhurried(t), "--script", scriptFile(t, "door.js", doorScript))
	c, res, err := websocket.DefaultDialer.Dial(p.url("/yes"), nil)
	must(t, err)
	defer c.Close()
	same(t, "the header", "from 101", res.Header.Get("X-Answer"))
	_ = c.Close()
	p.stop()
}

// TestSecureScript: with TLS on both legs, each with a certificate of a private
// authority, scripts do what they do without.
func TestSecureScript(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	front, back := ca.issue(), ca.issue()
	p := everyPlan()
	path := p.save(t)
	for _, kind := range present(t, python, gorilla) {
		t.Run(kind+" server", func(t *testing.T) {
			t.Parallel()
			s := startChatServer(t, kind, serving{Plan: path, Cert: back.cert, Key: back.key})
			proxy := startProxy(t, "wss://"+s.addr, "--quiet", "--upstream-ca", ca.file, "--tls-cert", front.cert, "--tls-key", front.key,
				"--config", unhurried(t), "--script", scriptFile(t, "every.js", everyScript))
			for _, calling := range present(t, append(slices.Clone(kinds), chromium)...) {
				r := chatClient(t, calling)(call{URL: "wss://" + proxy.addr + "/" + calling, Plan: path, CA: ca.file})
				checkReport(t, calling, calling, p, "client", &r)
				r = s.report()
				checkReport(t, kind+" for "+r.URL, kind, p, "server", &r)
			}
			proxy.stop()
		})
	}
}

// TestScriptUnrecorded: --no-record takes nothing away from scripts.
func TestScriptUnrecorded(t *testing.T) {
	t.Parallel()
	p := everyPlan()
	path := p.save(t)
	s := startChatServer(t, gorilla, serving{Plan: path})
	proxy := startProxy(t, "ws://"+s.addr, "--quiet", "--no-record", "--config", unhurried(t), "--script", scriptFile(t, "every.js", everyScript))
	for _, calling := range present(t, kinds...) {
		r := chatClient(t, calling)(call{URL: proxy.url("/" + calling), Plan: path})
		checkReport(t, calling, calling, p, "client", &r)
		r = s.report()
		checkReport(t, gorilla+" for "+r.URL, gorilla, p, "server", &r)
	}
	same(t, "exit code", 0, proxy.interrupt())
	if _, err := os.Stat(proxy.tape.path); !os.IsNotExist(err) {
		t.Errorf("there is a tape: %v", err)
	}
}

// around puts a word around a message.
func around(word string) string {
	return fmt.Sprintf(`export function onMessage(msg) { if (msg.text === "drop %[1]s") return false; if (msg.text !== "pass") msg.text = "%[1]s(" + msg.text + ")"; }`, word)
}

// TestChain: scripts run in order, each on what the one before it made; those of
// a route behind the others.
func TestChain(t *testing.T) {
	t.Parallel()
	addr, accepted := farServer(t)
	one, two, three := scriptFile(t, "one.js", around("one")), scriptFile(t, "two.js", around("two")), scriptFile(t, "three.js", around("three"))
	for _, way := range []struct {
		name  string
		flags []string
		path  string
		want  []string // what the server hears of: a, drop two, pass
		byAll []string
	}{
		{"flags", []string{"--script", one, "--script", two}, "/", []string{"two(one(a))", "two(one(drop two))", "pass"}, []string{"script:one.js", "script:two.js"}},
		{"the other way round", []string{"--script", two, "--script", one}, "/", []string{"one(two(a))", "pass"}, []string{"script:two.js", "script:one.js"}},
		{"short form", []string{"--config", scriptFile(t, "wstape.yaml", "script: "+one+"\n")}, "/", []string{"one(a)", "one(drop two)", "pass"}, nil},
		{"short list", []string{"--config", scriptFile(t, "wstape.yaml", "script: ["+one+", "+two+"]\n")}, "/", []string{"two(one(a))", "two(one(drop two))", "pass"}, []string{"script:one.js", "script:two.js"}},
		{"route", []string{"--config", routed(t, addr, one, three)}, "/in/it", []string{"three(one(a))", "three(one(drop two))", "pass"}, []string{"script:one.js", "script:three.js"}},
		{"beside the route", []string{"--config", routed(t, addr, one, three)}, "/beside", []string{"one(a)", "one(drop two)", "pass"}, nil},
	} {
		t.Run(way.name, func(t *testing.T) {
			p := startProxy(t, "ws://"+addr, append(way.flags, "--quiet")...)
			c := newClient(t, gorilla)
			mustDial(t, c, p.url(way.path), dialOptions{})
			s, _ := receive(t, "a connection", accepted)
			c.text("a")
			c.text("drop two")
			c.text("pass")
			s.hears(t, way.want...)
			c.close(1000, "")
			tape := p.stop()
			m := read[touched](tape, "show", "1", "--json")[0]
			same(t, "by_all", way.byAll, m.ByAll)
			same(t, "the message", []string{way.want[0], "a"}, []string{m.data(), *m.Received.Text})
		})
	}
}

// routed is a configuration with a script for everything and one for a route.
func routed(t testing.TB, addr, all, some string) string {
	t.Helper()
	return scriptFile(t, "wstape.yaml", fmt.Sprintf("script: %s\nroutes:\n  - path: /in\n    upstream: ws://%s\n    script: [%s]\n", all, addr, some))
}

// TestScriptRefused: a script that cannot run is refused before anything listens,
// with the place to look at.
func TestScriptRefused(t *testing.T) {
	t.Parallel()
	syntax := scriptFile(t, "bad.js", "export function onMessage(msg) {\n  msg.text = ;\n}\n")
	missing := filepath.Join(t.TempDir(), "missing.js")
	const caret = "bad.js:2:14: Unexpected \";\"\n      msg.text = ;\n                 ^\n"
	for name, run := range map[string]struct {
		flags []string
		says  string
	}{
		"syntax":          {[]string{"--script", syntax}, caret},
		"syntax, config":  {[]string{"--config", scriptFile(t, "wstape.yaml", "script: "+syntax+"\n")}, caret},
		"syntax, route":   {[]string{"--config", routed(t, "127.0.0.1:1", scriptFile(t, "one.js", around("one")), syntax)}, caret},
		"missing":         {[]string{"--script", missing}, missing + ": no such file or directory"},
		"missing, config": {[]string{"--config", scriptFile(t, "wstape.yaml", "script:\n  files: ["+missing+"]\n")}, missing + ": no such file or directory"},
		"throws":          {[]string{"--script", scriptFile(t, "top.js", "\nthrow new Error('at once');")}, "top.js:2:7"},
		"no hook":         {[]string{"--script", scriptFile(t, "none.js", "export const x = 1;")}, "exports no hook (onRequest,"},
		"unknown key":     {[]string{"--config", scriptFile(t, "wstape.yaml", "script:\n  timeut: 1s\n")}, `unknown key "script.timeut"`},
		"bad value":       {[]string{"--config", scriptFile(t, "wstape.yaml", "script:\n  on_error: retry\n")}, "script.on_error"},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, "wstape proxy", append([]string{binary, "proxy", "ws://127.0.0.1:1", "--listen", "127.0.0.1:0", "--no-record"}, run.flags...)...)
			receive(t, "wstape to end", p.done)
			same(t, "exit code", 2, p.cmd.ProcessState.ExitCode())
			if said := p.stderr.String(); !strings.Contains(said, run.says) || strings.Contains(said, "→") {
				t.Errorf("wstape said:\n%s\nwhich does not hold:\n%s", said, run.says)
			}
		})
	}
}

// TestConsole: what a script prints is a note of its session, in the live log and
// on the tape; --quiet silences the log but not errors.
func TestConsole(t *testing.T) {
	t.Parallel()
	path := scriptFile(t, "talk.js", `
export function onMessage(msg) {
  console.log("saw", { text: msg.text }, [1, 2]);
  console.warn("beware\nof \x1b[31mthis");
  if (msg.text === "throw") throw new Error("on purpose");
}
`)
	s := startServer(t, gorilla, serverOptions{})
	for _, quiet := range []bool{false, true} {
		p := startProxy(t, "ws://"+s.addr, "--script", path, fmt.Sprintf("--quiet=%v", quiet))
		c := newClient(t, gorilla)
		mustDial(t, c, p.url("/"), dialOptions{})
		echo(t, c, "throw")
		c.close(1000, "")
		var notes []string
		for _, m := range p.stop().messages(1) {
			if m.Note != nil {
				notes = append(notes, m.By+" "+*m.Note)
			}
		}
		once := []string{"script:talk.js saw { text: 'throw' } [ 1, 2 ]", "script:talk.js beware\nof \x1b[31mthis"}
		failed := "script:talk.js onMessage failed: Error: on purpose\n    at onMessage (talk.js:5:35)"
		same(t, "notes", []string{once[0], once[1], failed, once[0], once[1]}, notes)
		said := p.stderr.String()
		same(t, "the log has what was printed", !quiet, strings.Contains(said, "note: saw { text: 'throw' } [ 1, 2 ]"))
		same(t, "the log has the error", true, strings.Contains(said, "onMessage failed: Error: on purpose"))
		same(t, "the log has an escape in it", false, strings.Contains(said, "\x1b[31m"))
	}
}

// TestConsoleJSON: what scripts say is JSON too, if the log is.
func TestConsoleJSON(t *testing.T) {
	t.Parallel()
	path := scriptFile(t, "talk.js", `export function onMessage(msg) { console.log("saw " + msg.text); }`)
	s := startServer(t, gorilla, serverOptions{})
	p := startProxy(t, "ws://"+s.addr, "--script", path, "--log-format", "json")
	c := newClient(t, gorilla)
	mustDial(t, c, p.url("/"), dialOptions{})
	echo(t, c, "this")
	overwrite(t, path, `export function onMessage(msg) { msg.text = ; }`)
	p.await("not reloaded", 1)
	c.close(1000, "")
	p.stop()
	found := map[string]bool{}
	for line := range strings.Lines(p.stderr.String()) {
		var e struct{ Note, Text, Event, Script string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			if !strings.HasPrefix(line, "wstape: ws://") {
				t.Errorf("a line of the log is not JSON: %s", line)
			}
			continue
		}
		found["note"] = found["note"] || e.Note == "saw this"
		found["error"] = found["error"] || e.Script == "talk.js" && strings.Contains(e.Text, "talk.js:1:45")
	}
	same(t, "found", map[string]bool{"note": true, "error": true}, found)
}

// TestClearedTimer: a timer that is due and cannot run yet can still be cleared.
func TestClearedTimer(t *testing.T) {
	t.Parallel()
	path := scriptFile(t, "clear.js", `
export const from = "client";
export function onMessage(msg, session) {
  const timers = [setTimeout(() => session.send("client", "too late"), 1), setInterval(() => session.send("client", "too late"), 1)];
  const end = Date.now() + 20;
  while (Date.now() < end);
  timers.forEach(clearTimeout);
  setTimeout(() => session.send("client", "in time"), 10);
}
`)
	addr, accepted := farServer(t)
	p := startProxy(t, "ws://"+addr, "--quiet", "--config", unhurried(t), "--script", path)
	c := newClient(t, gorilla)
	mustDial(t, c, p.url("/"), dialOptions{})
	s, _ := receive(t, "a connection", accepted)
	c.text("go")
	s.hears(t, "go")
	hearText(t, c, "in time")
	p.stop()
}
