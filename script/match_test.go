package script

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wstape/wstape/tape"
)

// match asks whether a text that the client sent is the expected one.
func (l *line) match(expected, received string) string {
	l.t.Helper()
	return l.compare(message(tape.Client, tape.Text, expected), message(tape.Client, tape.Text, received))
}

func (l *line) compare(expected, received *tape.Message) string {
	l.t.Helper()
	before := fmt.Sprint(expected, received)
	ctx, cancel := context.WithTimeout(l.t.Context(), waitTime)
	defer cancel()
	got := matched(l.session.Match(ctx, expected, received))
	if ctx.Err() != nil {
		l.t.Error("no answer")
	}
	if after := fmt.Sprint(expected, received); after != before {
		l.t.Errorf("the messages were %s, and are %s", before, after)
	}
	return got
}

// matched writes an answer as "yes a.js", "no a.js: why", or "" for no opinion.
func matched(matches bool, by, why string) string {
	by = strings.TrimPrefix(by, "script:")
	switch {
	case by == "" && (matches || why != ""):
		return fmt.Sprintf("nobody says %v %q", matches, why)
	case by == "":
		return ""
	case matches:
		return "yes " + by + why
	case why != "":
		return "no " + by + ": " + why
	}
	return "no " + by
}

func TestMatch(t *testing.T) {
	const lost = "the hook returned %s; it may return true, false, a string that says why they do not match, or nothing"
	for _, tc := range []struct{ hook, want, note string }{
		{`return true`, "yes a.js", ""},
		{`return false`, "no a.js", ""},
		{`return "other id"`, "no a.js: other id", ""},
		{`return ""`, "no a.js", ""},
		{`return "\ud800"`, "no a.js: \uFFFD", ""},
		{`return "x".repeat(1e5)`, "no a.js: " + strings.Repeat("x", maxWhy) + "…", ""},
		{``, "", ""},
		{`return undefined`, "", ""},
		{`return null`, "", ""},
		{`return Promise.resolve(true)`, "yes a.js", ""},
		{`return (async () => { await null; return "later" })()`, "no a.js: later", ""},
		{`return new Promise(r => setTimeout(r, 1, false))`, "no a.js", ""},
		{`return (async () => { await new Promise(r => setTimeout(r, 1)) })()`, "", ""},

		{`return e.json.n === 1 && r.json.n === 2 && e.json.s === r.json.s`, "yes a.js", ""},
		{`return [e, r].map(m => [m.from, m.op, m.t, m.len, m.text, m.utf8, m.bytes.length]).join()`,
			`no a.js: client,text,1.5,17,{"n":1, "s": "a"},true,17,client,text,2.5,17,{"n":2, "s": "a"},true,17`, ""},
		{`return JSON.stringify(Object.keys(e)) === JSON.stringify(Object.keys(r)) && s.url`, "no a.js: /chat", ""},
		{`delete e.json.n; delete r.json.n; return JSON.stringify(e.json) === JSON.stringify(r.json)`, "yes a.js", ""},

		{`return 1`, "", fmt.Sprintf(lost, "1")},
		{`return {}`, "", fmt.Sprintf(lost, "{}")},
		{`return [true]`, "", fmt.Sprintf(lost, "[ true ]")},
		{`return new Boolean(true)`, "", fmt.Sprintf(lost, "[Boolean: true]")},
		{`return Promise.resolve(7)`, "", fmt.Sprintf(lost, "7")},
		{`return new Promise(r => setTimeout(r, 1, 8n))`, "", fmt.Sprintf(lost, "8n")},
		{`return e`, "", "onMatch failed: the hook returned "},
		{`throw new Error("no")`, "", "onMatch failed: Error: no\n    at onMatch (a.js:2:9"},
		{`return Promise.reject(new Error("no"))`, "", "onMatch failed: Error: no\n    at onMatch (a.js:2:"},
		{`return new Promise((_, r) => setTimeout(() => r(new Error("no")), 1))`, "", "onMatch failed: Error: no\n    at a.js:2:"},
		{`return e.json.gone.further`, "", "onMatch failed: TypeError: "},
	} {
		l := openOne(t, Options{}, "export function onMatch(e, r, s) {\n\t\t"+tc.hook+"\n}")
		e, r := message(tape.Client, tape.Text, `{"n":1, "s": "a"}`), message(tape.Client, tape.Text, `{"n":2, "s": "a"}`)
		e.T, r.T = 1500*time.Millisecond, 2500*time.Millisecond
		if got := l.compare(e, r); got != tc.want {
			t.Errorf("%s: %.200q, want %.200q", tc.hook, got, tc.want)
		}
		notes := strings.Join(l.all("note"), "\n")
		if tc.note == "" && notes != "" || !strings.Contains(notes, tc.note) {
			t.Errorf("%s: %s\nwant %s", tc.hook, notes, tc.note)
		}
	}
}

func TestMatchOfOtherMessages(t *testing.T) {
	l := openOne(t, Options{}, `
		export const from = "server" // of messages that pass
		export function onMatch(e, r) { return e.op + (e.text ?? e.bytes) + r.op + (r.text ?? r.bytes) }`)
	if got := l.compare(message(tape.Server, tape.Binary, "A"), message(tape.Client, tape.Ping, "p")); got != "no a.js: binary65pingp" {
		t.Error(got)
	}
	broken := message(tape.Client, tape.Text, "x")
	broken.Error = "corrupt"
	if got := l.compare(message(tape.Client, tape.Text, "x"), broken) + l.compare(broken, message(tape.Client, tape.Text, "x")); got != "" {
		t.Errorf("of a message that cannot be read: %s", got)
	}
	if messages, control := l.session.Wants(tape.Server); messages || control {
		t.Error("messages that pass are not its business")
	}
}

func TestMatchChain(t *testing.T) {
	const (
		yes   = `export function onMatch() { return true }`
		no    = `export function onMatch() { return "no" }`
		none  = `export function onMatch(e, r) { e.json.x = r.json.x = 5; e.bytes[0] = r.bytes[0] = 0 }`
		fails = `export function onMatch() { throw new Error("fails") }`
		late  = `export async function onMatch() { await new Promise(r => setTimeout(r, 1)); return "late" }`
		other = `export function onMessage() { return "edited" }`
		looks = `export function onMatch(e, r) { return e.text + r.text + e.json.x + r.json.x + e.bytes[0] }`
	)
	for _, tc := range []struct {
		want    string
		scripts []string
	}{
		{"yes a.js", []string{yes, no}},
		{"no a.js: no", []string{no, yes}},
		{"yes b.js", []string{none, yes}},
		{"yes b.js", []string{fails, yes, no}},
		{"yes b.js", []string{other, yes}},
		{"no a.js: late", []string{late, yes}},
		{`no b.js: {"x":1}{"x":2}12123`, []string{none, looks}},
		{"", []string{none, fails}},
		{"", []string{other}},
	} {
		r := newRig(t, Options{OnError: Close}, tc.scripts...)
		l := r.open()
		if got := l.match(`{"x":1}`, `{"x":2}`); got != tc.want {
			t.Errorf("%q: %s, want %s", tc.scripts, got, tc.want)
		}
		if matches := strings.Contains(strings.Join(tc.scripts, ""), "onMatch"); r.chain.Matches() != matches {
			t.Errorf("%q: Matches is %v", tc.scripts, !matches)
		}
		if len(l.all("close")) > 0 {
			t.Errorf("%q: the session was closed", tc.scripts)
		}
	}
}

// TestMatchHostile has hooks that do not come back, or meddle with what they are
// shown. They have no opinion, and the session goes on.
func TestMatchHostile(t *testing.T) {
	const timeout = "onMatch was stopped: it ran for longer than script.timeout without yielding"
	const readOnly = "cannot be set: this message is only looked at"
	for _, tc := range []struct{ hook, log string }{
		{`for (;;);`, timeout + "\n    at onMatch (a.js:"},
		{`try { for (;;); } finally { for (;;); }`, timeout},
		{`return (async () => { await null; for (;;); })()`, timeout},
		{`return new Promise(() => setTimeout(() => { for (;;); }))`, timeout},
		{`return new Promise(() => { for (;;); })`, timeout},
		{`return { then() { for (;;); } }`, "onMatch failed: the hook returned "},
		{`return { get a() { for (;;); } }`, timeout}, // which is looked at to say what it is
		{`return Promise.resolve({ then() { for (;;); } })`, timeout},
		{`return { toString() { for (;;); }, toJSON() { for (;;); } }`, "onMatch failed: the hook returned "},
		{`return new Proxy({}, { get() { for (;;); }, ownKeys() { for (;;); }, getPrototypeOf() { for (;;); } })`, "onMatch "},
		{`(function f() { f() })()`, "onMatch failed: RangeError: Maximum call stack size exceeded"},
		{`throw { toString() { for (;;); } }`, "onMatch failed: threw "},

		{`e.text = "go on"`, "onMatch failed: TypeError: text " + readOnly},
		{`r.json = { a: 1 }`, "json " + readOnly},
		{`r.bytes = new Uint8Array(3)`, "bytes " + readOnly},
		{`e.from = "server"`, "from " + readOnly},
		{`e.mine = 1`, "mine " + readOnly},
		{`delete e.text`, "onMatch failed: TypeError: "},
		{`Object.defineProperty(e, "text", { value: "x" })`, "onMatch failed: TypeError: "},
		{`e.bytes.fill(0); r.bytes.fill(0); return e.text === r.text && e.bytes[0] ? "same" : undefined`, ""},
		{`e.json.a = 2; r.json.list.push(e.json); return e.text.includes("2") ? "changed" : undefined`, ""},
		{`e.json.me = e; r.json.e = e; e.json.r = r; JSON.stringify([e, r])`, "onMatch failed: TypeError: "},
		{`e.json.me = e; r.json.e = e; e.json.r = r; session.send("client", e)`, "onMatch failed: TypeError: "},
		{`e.json.me = e; r.json.e = e; e.json.r = r; session.note(e); console.log(e, r); return e`, "onMatch failed: the hook returned "},
		{`Object.defineProperty(e.json, "a", { get() { for (;;); } }); e.text; e.bytes; e.len`, ""},
	} {
		o := Options{Timeout: 50 * time.Millisecond, AwaitTimeout: time.Hour, OnError: Drop, grace: 20 * time.Second}
		r := newRig(t, o, `export function onMessage(m) { if (m.text === "ping") return "pong" }
			export function onMatch(e, r, session) {
				if (e.text === "ping") return true
				{ `+tc.hook+` }
			}`)
		l := r.open()
		if got := l.match(`{"a":1,"list":[]}`, `{"a":1,"list":[ ]}`); got != "" {
			t.Errorf("%s: %s", tc.hook, got)
		}
		if tc.log != "" {
			r.log.must(t, "log error a.js: ", tc.log)
		} else if lines := r.log.all(""); len(lines) > 0 {
			t.Errorf("%s: %s", tc.hook, lines)
		}
		if got := l.match("ping", "ping"); got != "yes a.js" {
			t.Errorf("%s: then it says %s", tc.hook, got)
		}
		if got := l.say("ping"); got != pong {
			t.Errorf("%s: the session goes on with %s", tc.hook, got)
		}
		l.in(func(v *vm) {
			if v.awaited != 0 || len(v.tasks) != 0 {
				t.Errorf("%s: %d hooks are awaited, %d tasks", tc.hook, v.awaited, len(v.tasks))
			}
		})
	}
}

func TestMatchAwait(t *testing.T) {
	bubble(t, Options{}, func(r *rig) {
		l := r.open()
		began := time.Now()
		if got := l.match("never", ""); got != "yes b.js" || time.Since(began) != DefaultAwaitTimeout {
			t.Errorf("%s after %v", got, time.Since(began))
		}
		l.must(t, "note onMatch failed: was not done after script.await_timeout")

		ctx, cancel := context.WithCancelCause(r.t.Context())
		time.AfterFunc(time.Second, func() { cancel(errors.New("the session is over")) })
		began = time.Now()
		never := message(tape.Client, tape.Text, "never")
		if got := matched(l.session.Match(ctx, never, never)); got != "" || time.Since(began) != time.Second {
			t.Errorf("given up: %s after %v", got, time.Since(began))
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		l.in(func(v *vm) {
			if v.awaited != 0 || len(v.tasks) != 0 {
				t.Errorf("%d hooks are awaited, %d tasks", v.awaited, len(v.tasks))
			}
		})
	}, `export async function onMatch(e) { await new Promise(r => setTimeout(r, e.text === "never" ? 40000 : 1)); return false }`,
		`export function onMatch() { return true }`)
}

// TestMatchKeeps has a script keep what it was shown, while the caller uses the
// messages' memory for others.
func TestMatchKeeps(t *testing.T) {
	l := openOne(t, Options{}, `const kept = []; export function onMatch(e, r) { kept.push(e, r); return kept.map(m => m.text + m.json).join() }`)
	m := message(tape.Client, tape.Text, "1")
	l.compare(m, m)
	m.Payload[0] = '2'
	if got := l.compare(m, m); got != "no a.js: 11,11,22,22" {
		t.Error(got)
	}
}

// TestMatchReload has a script's new version wait for the hook that is under way.
func TestMatchReload(t *testing.T) {
	bubble(t, Options{}, func(r *rig) {
		t, l := r.t, r.open()
		r.write(0, `export function onMatch() { return "new" }`)
		told := make(chan string, 1)
		go func() { told <- l.match("", "") }()
		synctest.Wait()
		r.set.reload(r.set.order[0])
		began := time.Now()
		if got := <-told; got != "no a.js: old" || time.Since(began) != 500*time.Millisecond {
			t.Errorf("%s after %v", got, time.Since(began))
		}
		synctest.Wait()
		if got := l.match("", ""); got != "no a.js: new" {
			t.Errorf("then %s", got)
		}
	}, `export async function onMatch() { await new Promise(r => setTimeout(r, 500)); return "old" }`)
}

// TestMatchGivenUp has runtimes that do not come back.
func TestMatchGivenUp(t *testing.T) {
	r := newRig(t, Options{Timeout: 20 * time.Millisecond, grace: 20 * time.Millisecond}, `
		export function onMatch(e) { if (e.text === "hang") hang(); return true }`)
	release := make(chan struct{})
	back := make(chan struct{}, maxStuck)
	for i := range maxStuck {
		l := r.open()
		l.in(func(v *vm) { _ = v.rt.Set("hang", func() { <-release; back <- struct{}{} }) })
		began := time.Now()
		if got := l.match("hang", ""); got != "" {
			t.Error(got)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
		l.wait(t, "could not be stopped; this session goes on without scripts")
		if got := l.match("x", ""); got != "" {
			t.Errorf("given up, it says %s", got)
		}
		if on := i+1 < maxStuck; r.chain.Matches() != on {
			t.Errorf("after %d: Matches is %v", i+1, !on)
		}
	}
	if got := r.open().match("x", ""); got != "" {
		t.Errorf("disabled, it says %s", got)
	}
	close(release)
	for range maxStuck {
		<-back
	}
}

func TestMatchNotStarted(t *testing.T) {
	r := newRig(t, Options{}, `
		if (store.get("bad")) throw new Error("top")
		store.set("bad", true)
		export function onMatch() { return true }`)
	r.open()
	l := r.open()
	if got := l.match("", ""); got != "" {
		t.Error(got)
	}
	l.must(t, "onMatch failed: the script's own code failed")
}
