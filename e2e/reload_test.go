package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// greeting is a version of a script that counts what it greets.
func greeting(version int) string {
	return fmt.Sprintf(`export const from = "client";
export function onMessage(msg, session) {
  const n = session.state.n = (session.state.n || 0) + 1;
  msg.text = "v%d #" + n + " " + msg.text;
}
`, version)
}

// overwrite writes a file in place, as nano does.
func overwrite(t testing.TB, path, text string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o600))
}

// supplant puts a new file in the place of the old one, as vim does.
func supplant(t testing.TB, path, text string) {
	t.Helper()
	overwrite(t, path+"~", text)
	must(t, os.Rename(path+"~", path))
}

// greeted sends a text that comes back greeted.
func greeted(t testing.TB, c client, version, n int, text string) {
	t.Helper()
	c.text(text)
	hearText(t, c, fmt.Sprintf("v%d #%d %s", version, n, text))
}

// TestReload: a script that is saved is the one that sees the next message, in
// the sessions that are open too, and goes on with their state. One that does not
// work changes nothing but the log.
func TestReload(t *testing.T) {
	t.Parallel()
	calling := present(t, kinds...)
	for _, quiet := range []bool{false, true} {
		t.Run(fmt.Sprintf("quiet %v", quiet), func(t *testing.T) {
			t.Parallel()
			path := scriptFile(t, "greet.js", greeting(1))
			s := startServer(t, gorilla, serverOptions{})
			p := startProxy(t, "ws://"+s.addr, "--config", unhurried(t), "--script", path, fmt.Sprintf("--quiet=%v", quiet))
			var clients []client
			for i, kind := range calling {
				clients = append(clients, newClient(t, kind))
				mustDial(t, clients[i], p.url("/"+kind), dialOptions{})
			}
			n := 0
			all := func(version int) {
				t.Helper()
				n++
				for _, c := range clients {
					greeted(t, c, version, n, "grüße")
				}
			}
			reloaded := fmt.Sprintf("script greet.js: reloaded, in %d open sessions too", len(clients))
			const kept = "script greet.js: error: not reloaded, the version before goes on: "
			all(1)
			all(1)
			overwrite(t, path, greeting(2))
			p.await(reloaded, 1)
			all(2)
			supplant(t, path, greeting(3))
			p.await(reloaded, 2)
			all(3)
			for i, broken := range []struct {
				write      func(testing.TB, string, string)
				text, says string
			}{
				{overwrite, "export function onMessage(msg) {\n  msg.text = ;\n}\n", "greet.js:2:14: Unexpected \";\"\n          msg.text = ;\n                     ^\n"},
				{supplant, "export function onMessage() {}\nthrow new TypeError('on purpose');\n", "TypeError: on purpose\n        at greet.js:2:7\n"},
				{overwrite, "import 'nothing-of-that-name';\n", `greet.js:1:8: there is no package "nothing-of-that-name" in node_modules`},
				{supplant, "", "exports no hook"},
			} {
				broken.write(t, path, broken.text)
				p.await(kept, i+1)
				p.await(broken.says, 1)
				all(3)
			}
			supplant(t, path, greeting(4))
			p.await(reloaded, 3)
			all(4)
			for _, c := range clients {
				same(t, "code", 1000, c.close(1000, "").Code)
			}
			tape := p.stop()
			for _, e := range tape.sessions() {
				checkGreetings(t, tape, e)
			}
		})
	}
}

// checkGreetings wants the reloads on the tape, between the messages.
func checkGreetings(t *testing.T, tape tapeFile, e session) {
	t.Helper()
	var got []string
	for _, m := range read[touched](tape, "show", fmt.Sprint(e.N), "--json") {
		switch {
		case m.Note != nil:
			got = append(got, *m.Note+" by "+m.By)
		case m.From == "client" && m.Op == "text":
			got = append(got, fmt.Sprintf("%s by %s, was %s", m.data(), m.By, *m.Received.Text))
		}
	}
	const by = " by script:greet.js"
	same(t, "the tape of "+e.URL, []string{
		"v1 #1 grüße" + by + ", was grüße", "v1 #2 grüße" + by + ", was grüße",
		"script greet.js reloaded" + by, "v2 #3 grüße" + by + ", was grüße",
		"script greet.js reloaded" + by, "v3 #4 grüße" + by + ", was grüße", "v3 #5 grüße" + by + ", was grüße",
		"v3 #6 grüße" + by + ", was grüße", "v3 #7 grüße" + by + ", was grüße", "v3 #8 grüße" + by + ", was grüße",
		"script greet.js reloaded" + by, "v4 #9 grüße" + by + ", was grüße",
	}, got)
}

// TestReloadUnderTraffic: while messages stream, each is seen by one version, the
// versions come in their order, and no message is missed or counted twice.
func TestReloadUnderTraffic(t *testing.T) {
	t.Parallel()
	path := scriptFile(t, "greet.js", greeting(1))
	s := startServer(t, gorilla, serverOptions{})
	p := startProxy(t, "ws://"+s.addr, "--quiet", "--config", unhurried(t), "--script", path)
	c := dialFar(t, p.url("/"))
	c.say(t, "m 1")
	c.hears(t, "v1 #1 m 1")
	stop, sent := make(chan struct{}), make(chan int, 1)
	go func() {
		n := 1
		for going := true; going; {
			select {
			case <-stop:
				going = false
			default:
				n++
				going = c.conn.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, "m %d", n)) == nil
			}
		}
		sent <- n
	}()
	last, version, heard := 1, 1, 1
	hear := func() {
		t.Helper()
		text, _ := receive(t, "a message", c.heard)
		var v, n, m int
		if _, err := fmt.Sscanf(text, "v%d #%d m %d", &v, &n, &m); err != nil || n != last+1 || m != n || v < version || v > 4 {
			t.Fatalf("after message %d in version %d the client hears %q", last, version, fold(text))
		}
		last, version, heard = n, v, heard+1
	}
	flow := func(said string, times int) {
		t.Helper()
		for strings.Count(p.stderr.String(), said) < times {
			hear()
		}
	}
	const reloaded, kept = "greet.js: reloaded", "greet.js: error: not reloaded"
	overwrite(t, path, greeting(2))
	flow(reloaded, 1)
	supplant(t, path, greeting(3))
	flow(reloaded, 2)
	overwrite(t, path, greeting(4)[:60]) // an editor that is in no hurry
	flow(kept, 1)
	overwrite(t, path, greeting(4))
	flow(reloaded, 3)
	close(stop)
	var total int
	for done := false; !done; {
		select {
		case total = <-sent:
			done = true
		default:
			hear()
		}
	}
	for last < total {
		hear()
	}
	c.say(t, "at the end")
	c.hears(t, fmt.Sprintf("v4 #%d at the end", last+1))
	t.Logf("%d messages passed meanwhile", heard)
	p.stop()
}

// TestReloadHandsOver: what the versions hand over to each other, and what ends
// with the old one.
func TestReloadHandsOver(t *testing.T) {
	t.Parallel()
	path := scriptFile(t, "clock.js", `
export const from = "client";
export function onOpen(session) { setInterval(() => session.send("client", "old tick"), 2); }
export function onMessage(msg, session) {
  session.state.seen = new Map([["first", msg.text]]);
  if (msg.text === "hold") return new Promise((resolve) => setTimeout(() => resolve("held by the old one"), 1500));
}
`)
	addr, accepted := farServer(t)
	p := startProxy(t, "ws://"+addr, "--quiet", "--config", unhurried(t), "--script", path)
	c := dialFar(t, p.url("/"))
	s, _ := receive(t, "a connection", accepted)
	c.say(t, "one")
	s.hears(t, "one")
	c.hears(t, "old tick")
	c.say(t, "hold")
	c.say(t, "behind it")
	overwrite(t, path, `
export const from = "client";
export function onReload(old, session) {
  let n = 0;
  const timer = setInterval(() => { session.send("client", "new tick"); if (++n === 20) { session.send("client", "end"); clearInterval(timer); } }, 2);
  session.state = { first: old.seen.get("first") };
}
export function onMessage(msg, session) { msg.text = "new one, after " + session.state.first + ": " + msg.text; }
`)
	s.hears(t, "held by the old one", "new one, after hold: behind it")
	// What is left of the old version's ticks was sent before the new one's first.
	tick, _ := receive(t, "a tick", c.heard)
	for tick == "old tick" {
		tick, _ = receive(t, "a tick", c.heard)
	}
	for range 20 {
		same(t, "a tick behind those of the old version", "new tick", tick)
		tick, _ = receive(t, "a tick", c.heard)
	}
	same(t, "the last", "end", tick)
	p.stop()
}

// TestReloadImport: what a script imports is watched too.
func TestReloadImport(t *testing.T) {
	t.Parallel()
	path := scriptFile(t, "main.ts", `
import { word } from "./words";
export function onMessage(msg: { from: string; text: string }) { if (msg.from === "client") msg.text = word + msg.text; }
`)
	words := strings.TrimSuffix(path, "main.ts") + "words.ts"
	overwrite(t, words, `export const word: string = "old ";`)
	s := startServer(t, gorilla, serverOptions{})
	p := startProxy(t, "ws://"+s.addr, "--quiet", "--config", unhurried(t), "--script", path)
	c := newClient(t, gorilla)
	mustDial(t, c, p.url("/"), dialOptions{})
	c.text("news")
	hearText(t, c, "old news")
	supplant(t, words, `export const word: string = "new ";`)
	p.await("script main.ts: reloaded", 1)
	c.text("news")
	hearText(t, c, "new news")
	overwrite(t, words, "export const word: string = \"new \n")
	p.await("words.ts:1:", 1)
	c.text("news")
	hearText(t, c, "new news")
	p.stop()
}

// TestReloadOff: script.reload: false.
func TestReloadOff(t *testing.T) {
	t.Parallel()
	path := scriptFile(t, "greet.js", greeting(1))
	s := startServer(t, gorilla, serverOptions{})
	p := startProxy(t, "ws://"+s.addr, "--quiet", "--config", unhurried(t, "  reload: false"), "--script", path)
	watched := scriptFile(t, "greet.js", greeting(1))
	other := startProxy(t, "ws://"+s.addr, "--quiet", "--config", unhurried(t), "--script", watched)
	c := newClient(t, gorilla)
	mustDial(t, c, p.url("/"), dialOptions{})
	overwrite(t, path, greeting(2))
	overwrite(t, watched, greeting(2))
	other.await("reloaded", 1) // by when this one would have, too
	greeted(t, c, 1, 1, "still the first")
	if said := p.stderr.String(); strings.Contains(said, "reloaded") {
		t.Errorf("wstape said:\n%s", said)
	}
	p.stop()
}
