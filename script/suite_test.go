package script

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const suiteScript = `
let mine = 0;
export function onRequest(req, session) {
  session.state.user = req.headers.get("X-User");
  if (req.url === "/no") req.reject(401, "who?");
  if (req.protocols.length > 1) req.protocols = req.protocols.slice(1);
}
export function onResponse(res) { if (res.status === 101) res.headers.set("X-By", "script"); }
export function onOpen(session) {
  session.send("client", { hello: session.state.user });
  session.tag("user", session.state.user ?? "");
  setInterval(() => session.ping("server", "beat"), 1000);
}
export async function onMessage(msg, session) {
  switch (msg.text) {
  case "count": return String(++mine) + " " + store.update("n", (n = 0) => n + 1);
  case "wait": await new Promise(r => setTimeout(r, 700)); return "waited until " + session.t;
  case "when": return new Date().toISOString() + " " + msg.t;
  case "log": console.warn("careful", 1); session.note("a note"); return;
  case "fail": throw new Error("no");
  case "loop": for (;;);
  case "many": return [msg, new Uint8Array([1]), { a: 1 }];
  case "drop": return false;
  case "env": return String(env.A);
  case "close": session.close(4001, "enough"); return;
  }
}
export function onControl(frame) { if (frame.text === "no") return false; if (frame.op === "ping") frame.text = "edited"; }
export function onClose(ending) { console.log(JSON.stringify(ending)); }
`

// Each of these must hold.
func TestSuiteRehearses(t *testing.T) {
	for name, body := range map[string]string{
		"messages": `
			const s = open();
			assert.deepEqual(s.client("many").out, [{ op: "text", text: "many" }, { op: "binary", bytes: new Uint8Array([1]) }, { op: "text", text: '{"a":1}' }]);
			assert.deepEqual(s.client("many").out[2].json, { a: 1 });
			const drop = s.server("drop");
			assert.deepEqual([drop.fate, drop.by, drop.out, drop.text, drop.json, drop.bytes], ["dropped", "script:a.js", [], undefined, undefined, undefined]);
			const pass = s.client({ some: "JSON" });
			assert.deepEqual([pass.fate, pass.by, pass.text], ["passed", undefined, '{"some":"JSON"}']);
			assert.deepEqual(s.client(new Uint8Array([255, 0])).bytes, new Uint8Array([255, 0]));`,
		"control": `
			const s = open();
			assert.equal(s.ping("client", "x").text, "edited");
			assert.equal(s.ping("client", "no").fate, "dropped");
			assert.deepEqual(s.pong("server", new Uint8Array([65])).out, [{ op: "pong", text: "A" }]);
			assert.throws(() => s.ping("nobody"), /needs "client" or "server"/);
			assert.throws(() => s.ping("client", "x".repeat(126)), /at most 125 bytes/);`,
		"handshake": `
			const s = open({ headers: { "x-user": "ann", "Sec-WebSocket-Protocol": "a, b" } });
			const r = s.request({ url: "/chat?x=1" });
			assert.deepEqual([r.url, r.protocols, r.headers.get("X-User"), r.refusal], ["/chat?x=1", ["b"], "ann", undefined]);
			assert.equal(r.headers.get("upgrade"), "websocket");
			assert.equal(s.response({ headers: { "X-Up": ["1", "2"] } }).headers.get("x-by"), "script");
			assert.deepEqual(s.sent, [{ to: "client", op: "text", text: '{"hello":"ann"}' }]);
			assert.deepEqual(s.sent[0].json, { hello: "ann" });
			assert.deepEqual(s.tags, { user: "ann" });
			assert.throws(() => s.request(), /has been handled/);`,
		"what is refused": `
			const s = open({ url: "/no" });
			assert.throws(() => s.client("x"), /refused with 401: who\?/);
			assert.deepEqual(open().request({ url: "/no" }).refusal, { status: 401, body: "who?" });
			const gone = open();
			assert.equal(gone.response({ status: 404 }).status, 404);
			assert.throws(() => gone.client("x"), /refused with 404/);`,
		"time": `
			const s = open({ started: new Date("2020-02-02T00:00:00Z") });
			assert.equal(s.client("wait").text, "waited until 0.7");
			s.advance(2400);
			assert.deepEqual(s.sent.slice(1).map(m => [m.to, m.op, m.text, m.t]), [["server", "ping", "beat", 1], ["server", "ping", "beat", 2], ["server", "ping", "beat", 3]]);
			assert.equal(s.server("when", { t: 60 }).text, "2020-02-02T00:01:00.000Z 60");
			assert.throws(() => s.client("x", { t: 5 }), /time does not go back/);`,
		"a message comes while a hook awaits": `
			const s = open();
			s.client("wait", { t: 5 });
			assert.equal(s.client("when", { t: 5 }).text, "2026-01-01T00:00:05.700Z 5");`,
		"sessions are apart, the store is not": `
			const a = open(), b = open();
			assert.deepEqual([a.client("count").text, a.client("count").text, b.client("count").text], ["1 1", "2 2", "1 3"]);
			assert.equal(store.get("n"), 3);
			store.set("n", 10);
			assert.equal(b.client("count").text, "2 11");`,
		"the store is new":  `assert.deepEqual(store.keys(), []); assert.equal(open().client("count").text, "1 1");`,
		"env":               `assert.deepEqual([open().client("env").text, open({ env: { A: "1" } }).client("env").text], ["undefined", "1"]);`,
		"notes and logs":    `const s = open(); s.client("log"); assert.deepEqual(s.notes, ["changed the response's headers: X-By", "a note"]); assert.deepEqual(s.logs, [{ level: "warn", text: "careful 1" }]); assert.deepEqual(s.errors, []);`,
		"failures":          `const s = open(); s.client("fail"); s.client("fail"); assert.equal(s.errors.length, 2); assert.match(s.errors[1], /^onMessage failed: Error: no\n    at onMessage \(a\.js:\d+:\d+\)$/);`,
		"loops are stopped": `const s = open(); assert.equal(s.client("loop").fate, "passed"); assert.match(s.errors[0], /was stopped/); assert.equal(s.client("drop").fate, "dropped");`,
		"closing": `
			const s = open();
			assert.equal(s.closed, undefined);
			s.client("close");
			assert.deepEqual(s.closed, { code: 4001, reason: "enough" });
			s.close({ code: 1000, from: "client" });
			assert.deepEqual(s.logs, [{ level: "info", text: '{"kind":"close","code":1000,"reason":"","from":"client"}' }]);
			assert.throws(() => s.client("x"), /has ended/);
			const t = open(); t.close({ kind: "eof" }); assert.equal(t.logs[0].text, '{"kind":"eof"}');
			assert.throws(() => open().close({ kind: "bang" }), /is not one of/);`,
		"the test's own time": `
			const s = open(), began = s.sent.length;
			await new Promise(done => setTimeout(done, 3000));
			assert.equal(s.sent.length, began + 3);
			let ticks = 0;
			await new Promise(done => { const id = setInterval(() => { if (++ticks === 5) { clearInterval(id); done(); } }, 10); });
			assert.equal(ticks, 5);`,
		"asserting": `
			const fails = (f, message) => assert.throws(f, message);
			fails(() => assert(0), /^AssertionError: 0 does not hold$/);
			fails(() => assert(false, "mine"), /^AssertionError: mine$/);
			fails(() => assert.equal({}, {}), /not equal/);
			assert.equal(NaN, NaN);
			fails(() => assert.equal(0, -0), /not equal/);
			fails(() => assert.deepEqual([1, 2], { 0: 1, 1: 2, length: 2 }), /not deeply equal/);
			fails(() => assert.deepEqual({ a: undefined }, {}), /not deeply equal/);
			fails(() => assert.deepEqual(new Uint8Array([1]), new Uint8Array([2])), /not deeply equal/);
			assert.deepEqual(new Map([["a", { b: [1n] }]]), new Map([["a", { b: [1n] }]]));
			assert.deepEqual(new Set([{ a: 1 }]), new Set([{ a: 1 }]));
			fails(() => assert.deepEqual(new Date(1), new Date(2)), /not deeply equal/);
			const ring = {}; ring.ring = ring; const other = {}; other.ring = other;
			assert.deepEqual(ring, other);
			fails(() => assert.match("abc", /d/), /"abc" does not match/);
			fails(() => assert.match("abc", "b"), /needs a regular expression/);
			fails(() => assert.throws(() => {}), /threw nothing/);
			fails(() => assert.throws(() => { throw new Error("a"); }, /b/), /threw Error: a, which does not match/);
			assert.equal(assert.throws(() => { throw 5; }), 5);
			assert.throws(() => { throw new RangeError(); }, RangeError);
			fails(() => assert.throws(() => { throw new RangeError(); }, TypeError), /is no TypeError/);
			await assert.rejects(async () => { throw new Error("later"); }, /later/);
			await assert.rejects(assert.rejects(Promise.resolve(1)), /was not rejected/);
			fails(() => assert.fail("so"), /so/);
			fails(() => assert.notEqual(1, 1), /is 1, which it should not be/);`,
	} {
		t.Run(name, func(t *testing.T) {
			s := writeSuite(t, suiteScript, `test("first", () => { open().client("count"); }); test("it", async () => {`+body+`});`)
			outcomes, err := s.Run(SuiteOptions{Options: Options{Timeout: 300 * time.Millisecond}})
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range outcomes {
				if o.Failure != nil {
					t.Errorf("%s: %+v\n%s", o.Name, *o.Failure, strings.Join(o.Log, "\n"))
				}
			}
		})
	}
}

// Each of these must fail, and say why.
func TestSuiteFails(t *testing.T) {
	for name, tc := range map[string]struct{ body, want string }{
		"assertion":                {`assert.equal(open().client("env").text, "x");`, "not equal | a.test.js:1:25 | \"undefined\" / \"x\""},
		"with words of its own":    {`assert(false, "it should");`, "it should | a.test.js:1:19"},
		"exception":                {`open().nope();`, "TypeError: Object has no member 'nope' | a.test.js:1:24"},
		"thrown later":             {`await null; throw new Error("late");`, "Error: late | a.test.js:1:37"},
		"in a timer":               {`setTimeout(() => { throw new Error("tick"); }, 5); await new Promise(() => {});`, "Error: tick | a.test.js:1:44"},
		"nobody awaits":            {`(async () => { throw new Error("lost"); })();`, "a promise that the test does not await: Error: lost | a.test.js:1:40"},
		"no end":                   {`await new Promise(() => {});`, "the test never ends: it awaits what no timer of it is going to bring about | "},
		"a loop":                   {`for (;;);`, "the test ran out of time (100ms) | a.test.js:1:12"},
		"a loop of timers":         {`setInterval(() => {}, 1); await new Promise(() => {});`, "the test ran out of time (100ms) | "}, // and perhaps a place
		"a hook that fails":        {`open().client("fail");`, "the script failed, and the test did not look at the session's errors: onMessage failed: Error: no | a.js:20:22"},
		"mistyped option":          {`open({ user: "x" });`, "TypeError: open: there is no option user; there are url, headers, client, subprotocol, env, started | a.test.js:1:23"},
		"no message":               {`open().client(5);`, "TypeError: client: the data must be a string, a Uint8Array or an object, not 5 | a.test.js:1:32"},
		"a test in a test":         {`test("x", () => {});`, "TypeError: a test cannot contain another; write them one after the other | a.test.js:1:22"},
		"something that is thrown": {`throw { code: 5 };`, `threw {"code":5} | `},
	} {
		t.Run(name, func(t *testing.T) {
			s := writeSuite(t, suiteScript, `test("it", async () => {`+strings.TrimSpace(tc.body)+`}); test("next", () => {});`)
			outcomes, err := s.Run(SuiteOptions{Limit: 100 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			f := outcomes[0].Failure
			if f == nil {
				t.Fatal("it passed")
			}
			got := f.Text + " | " + f.Place
			if f.Compared {
				got += " | " + f.Actual + " / " + f.Expected
			}
			place := regexp.MustCompile(`:1:\d+`) // columns are goja's
			if !strings.HasPrefix(place.ReplaceAllString(got, ":1:"), place.ReplaceAllString(tc.want, ":1:")) {
				t.Errorf("%s\nwant %s", got, tc.want)
			}
			if outcomes[1].Failure != nil {
				t.Errorf("the next test failed: %+v", *outcomes[1].Failure)
			}
		})
	}
}

func TestSuitesThatCannotRun(t *testing.T) {
	for name, tc := range map[string]struct{ script, tests, want string }{
		"the script does not load": {`export function {`, `test("x", () => {})`, `script a.js:1:17: Expected identifier but found "{"`},
		"the script has no hook":   {`export const x = 1`, `test("x", () => {})`, "exports no hook"},
		"the tests do not load":    {`export function onMessage() {}`, `test(`, "script a.test.js:1:6: Unexpected end of file"},
		"the tests' code fails":    {`export function onMessage() {}`, `assert(false)`, "a.test.js: AssertionError: false does not hold"},
		"open outside of a test":   {`export function onMessage() {}`, `open()`, "open() works within a test only"},
		"no test":                  {`export function onMessage() {}`, ``, "there are no tests in "},
		"a loop":                   {`export function onMessage() {}`, `for (;;);`, "ran out of time"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := writeSuite(t, tc.script, tc.tests).Run(SuiteOptions{Limit: 100 * time.Millisecond})
			if err == nil || !strings.Contains(Explain(err), tc.want) {
				t.Errorf("%v\nwant %s", Explain(err), tc.want)
			}
		})
	}
}

func TestSuitesAreFoundBesideTheirScripts(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.js", "a.test.js", "b.ts", "b.test.js", "b.js", "c.mjs", "c.test.ts", "d.js", "node_modules/x.test.js", ".git/x.test.js", "sub/e.ts", "sub/e.test.ts", "wstape.d.ts"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		".":         "a.js+a.test.js b.js+b.test.js c.mjs+c.test.ts sub/e.ts+sub/e.test.ts",
		"a.js":      "a.js+a.test.js",
		"b.ts":      "b.ts+b.test.js",
		"c.test.ts": "c.mjs+c.test.ts",
		"sub":       "sub/e.ts+sub/e.test.ts",
	} {
		suites, err := Suites(filepath.Join(dir, path))
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		var got []string
		for _, s := range suites {
			got = append(got, strings.ReplaceAll(filepath.ToSlash(s.Script+"+"+s.File), filepath.ToSlash(dir)+"/", ""))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %s\nwant %s", path, got, want)
		}
	}
	if _, err := Suites(filepath.Join(dir, "d.js")); !errors.Is(err, ErrNoTests) {
		t.Errorf("d.js: %v", err)
	}
}
