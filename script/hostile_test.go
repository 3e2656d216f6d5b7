package script

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dop251/goja"

	"github.com/wstape/wstape/tape"
)

// hostileHook is a script that answers pings, and does something bad when it is told
// to go.
func hostileHook(bad string) string {
	return `export function onMessage(m, session) {
		if (m.text === "ping") return "pong"
		{ ` + bad + ` }
	}`
}

const pong = "edited script:a.js text:pong"

// TestHostile has hooks that do not come back, or fight what they run in. They fail
// as what is logged says; their session, and others, go on.
func TestHostile(t *testing.T) {
	const (
		timeout  = "onMessage was stopped: it ran for longer than script.timeout without yielding"
		overflow = "onMessage failed: RangeError: Maximum call stack size exceeded"
	)
	for _, tc := range []struct{ hook, log string }{
		{`for (;;);`, timeout + "\n    at onMessage (a.js:"},
		{`try { for (;;); } catch {} finally { for (;;); }`, timeout},
		{`for (;;) try { for (;;); } catch {}`, timeout},
		{`const g = (function* () { try { yield 1 } finally { for (;;); } })(); for (const x of g) break`, timeout},
		{`(async () => { for (;;); })()`, timeout},
		{`function loop() { return Promise.resolve().then(loop) } loop()`, timeout},
		{`(async function () { for (;;) await null })()`, timeout},
		{`(function f() { queueMicrotask(f) })()`, timeout},
		{`return new Promise(() => { for (;;); })`, timeout},
		{`const o = { get then() { for (;;); } }; return Promise.resolve(o)`, timeout},
		{`/^(a+)+$/.test("a".repeat(100) + "b"); for (;;);`, timeout},
		{`new Array(1e5).fill(0).sort(() => { for (;;); })`, timeout},
		{`"aaa".replace(/a/g, () => { for (;;); })`, timeout},
		{`JSON.parse("[1]", () => { for (;;); })`, timeout},
		{`JSON.stringify({ toJSON() { for (;;); } })`, timeout},
		{`new Proxy({}, { get() { for (;;); } }).a`, timeout},
		{`structuredClone({ get a() { for (;;); } })`, timeout},
		{`store.update("k", () => { for (;;); })`, timeout},
		{`console.log({ get a() { for (;;); } }, new Proxy({}, { ownKeys() { for (;;); } })); for (;;);`, timeout},
		{`m.json = { get a() { for (;;); } }`, timeout},
		{`session.send("client", { get a() { for (;;); } })`, timeout},
		{`session.note({ toString() { for (;;); } })`, timeout},
		{`session.state.a; session.state = { get a() { for (;;); } }; session.state.a`, timeout},

		{`(function f() { f() })()`, overflow + "\n    at f (a.js:3:"},
		{`const o = { get a() { return this.a } }; o.a`, overflow},
		{`new (class A { constructor() { new A() } })()`, overflow},
		{`const a = []; a[0] = a; String(a); (function f() { f() })()`, overflow},

		// What hooks return is read after they have returned.
		{`return { get a() { for (;;); } }`, timeout},
		{`return { toJSON() { for (;;); } }`, timeout},
		{`return Object.defineProperty([1], 0, { get() { for (;;); } })`, timeout},
		{`return new Proxy([], { get(t, k) { if (k === "length") return 5; for (;;); } })`, timeout},
		{`return new Proxy([], { get(t, k) { return k === "length" ? 2 ** 53 : "x" } })`, "onMessage failed: the hook returned 9007199254740992 messages"},
		{`return new Proxy({}, { ownKeys() { for (;;); } })`, timeout},
		{`return new Promise(r => setTimeout(() => r({ get a() { for (;;); } }), 1))`, timeout},
		{`const o = { toJSON() { return { o } } }; return o`, "onMessage failed: "},
		{`return { get a() { throw new Error("get") } }`, "onMessage failed: Error: get"},
		{`return [{ get a() { throw { get b() { throw 1 } } } }]`, "onMessage failed: "},
		{`let o = {}; for (let i = 0; i < 2000; i++) o = { o }; return o`, "onMessage failed: json: nested deeper"},
		{`m.text = "{}"; m.json.m = m`, "onMessage failed: msg.json: TypeError: json: the value contains itself"},
		{`m.text = "{}"; m.json.me = m.json`, "onMessage failed: msg.json: json: the value contains itself"},

		// What they throw is described after they have thrown it.
		{`throw { toString() { for (;;); }, toJSON() { for (;;); } }`, "onMessage failed: threw something that cannot be shown"},
		{`throw new Proxy({}, { get() { throw 1 }, ownKeys() { throw 2 }, getPrototypeOf() { throw 3 } })`, "onMessage failed: threw something that cannot be shown"},
		{`throw Object.assign(new Error("x"), { toString() { throw 1 } })`, "onMessage failed: "},
		{`const e = new Error("x"); Object.defineProperty(e, "stack", { get() { throw 1 } }); return Promise.reject(e)`, "onMessage failed: Error: x"},
		{`return Promise.reject(new Proxy({}, { get() { for (;;); } }))`, "onMessage failed: threw something that cannot be shown"},
		{`const e = new Error("ring"); e.cause = e; throw e`, "onMessage failed: Error: ring"},
		{`Promise.reject({ get stack() { throw 1 }, toJSON() { throw 2 }, toString() { throw 3 } }); throw 4`, "a promise that nobody awaits failed: threw something"},
	} {
		// A busy machine, and the race detector, slow down how a runtime comes back.
		o := Options{Memory: 64 << 20, OnError: Drop, grace: 20 * time.Second}
		if !strings.HasPrefix(tc.log, timeout) {
			o.Timeout = 10 * time.Second
		}
		r := newRig(t, o, hostileHook(tc.hook))
		l, other := r.open(), r.open()
		if got := l.say("go"); got != "dropped script:a.js" {
			t.Errorf("%s: %s", tc.hook, got)
		}
		r.log.must(t, "log error a.js: "+tc.log)
		for range 2 {
			if got := l.say("ping"); got != pong {
				t.Errorf("%s: the session goes on with %s", tc.hook, got)
			}
		}
		if got := other.say("ping"); got != pong {
			t.Errorf("%s: another session goes on with %s", tc.hook, got)
		}
		if got := l.await(l.start(message(tape.Client, tape.Text, "ping"))); got != pong {
			t.Errorf("%s: the other direction goes on with %s", tc.hook, got)
		}
	}
}

// TestSlowToStop has hooks that goja may be slow to stop, so that they are given up
// on a slow machine. The session goes on in either case.
func TestSlowToStop(t *testing.T) {
	for _, hook := range []string{
		`(function f() { [1, 2].sort(f) })()`,
		`const o = { toString() { return "" + this } }; "" + o`,
		`const p = new Proxy({}, { get(t, k, r) { return r[k] } }); p.a`,
		`(function f() { "a".replace(/a/, f) })()`,
		`return Object.defineProperty([1], 0, { get() { return this[0] } })`,
		`(function f() { JSON.parse("[1]", f) })()`,
		`const o = { toJSON() { return JSON.stringify(o) } }; JSON.stringify(o)`,
		`/^(?=(a+)+$)/.test("a".repeat(100) + "b")`,
		`/^(a+)+\1$/.test("a".repeat(100) + "b")`,
		`let a = []; for (let i = 0; i < 1e6; i++) a = [a]; return a`,
		`new Array(1e6).fill(0).map((x, i) => -i).sort()`,
	} {
		r := newRig(t, Options{Memory: 256 << 20}, hostileHook(hook))
		l, other := r.open(), r.open()
		if got := l.say("go"); got != "passed " {
			t.Errorf("%s: %s", hook, got)
		}
		if got := l.say("ping"); got != pong && !(got == "passed " && len(l.all("note the script a.js ran for")) == 1) {
			t.Errorf("%s: the session goes on with %s", hook, got)
		}
		if got := other.say("ping"); got != pong {
			t.Errorf("%s: another session goes on with %s", hook, got)
		}
	}
}

// TestRedefined has a hook change what everything is made of. Afterwards the runtime
// is what the script has made of it, but the session goes on.
func TestRedefined(t *testing.T) {
	for _, tc := range []struct{ change, hook, want string }{
		{`Array.prototype.push = () => { throw 1 }`, `return ["a", { b: [1] }]`, `edited script:a.js text:a text:{"b":[1]}`},
		{`Promise.prototype.then = () => { throw 1 }`, `return (async () => { await null; return "x" })()`, "edited script:a.js text:x"},
		{`Promise.prototype.then = function () {}; delete globalThis.Promise`, `return (async () => { await null; return "x" })()`, "edited script:a.js text:x"},
		{`Object.defineProperty(Promise, Symbol.species, { get() { throw 1 } })`, `return (async () => { await null; return "x" })()`, "edited script:a.js text:x"},
		{`Array.prototype[Symbol.iterator] = () => { throw 1 }`, `return ["a", "b"]`, "edited script:a.js text:a text:b"},
		{`Object.defineProperty(Object.prototype, "from", { set() { throw 1 }, get() { throw 2 } })`, `return m.from`, "edited script:a.js text:server"},
		{`Object.prototype.toJSON = () => "json"`, `return { a: 1 }`, `edited script:a.js text:"json"`},
		{`String.prototype.toString = String.prototype.valueOf = () => { throw 1 }`, `return m.text + "x"`, "edited script:a.js text:hix"},
		{`Object.freeze(Object.prototype); Object.freeze(Array.prototype); Object.freeze(globalThis)`, `m.text = "x"`, "edited script:a.js text:x"},
		{`Object.setPrototypeOf(Function.prototype, null); Object.setPrototypeOf(Object.prototype, null)`, `return { a: 1 }`, `edited script:a.js text:{"a":1}`},
		{`for (const k of Object.getOwnPropertyNames(globalThis)) try { delete globalThis[k] } catch {}`, `return { a: [m.text] }`, `edited script:a.js text:{"a":["hi"]}`},
		{`for (const k of Object.getOwnPropertyNames(globalThis)) try { delete globalThis[k] } catch {}`, `throw { a: 1 }`, "passed "},
		{`globalThis.TypeError = globalThis.RangeError = () => { throw 1 }`, `m.text = 5`, "passed "},
		{`Error.prototype.toString = () => { throw 1 }; Object.defineProperty(Error.prototype, "name", { get() { throw 1 } })`, `throw new Error("x")`, "passed "},
		{`Error.prototype.toString = () => { throw 1 }`, `return (async () => { await null; throw new Error("x") })()`, "passed "},
		{`Object.defineProperty(Object.prototype, "get", { get() { throw 1 } }); Object.defineProperty(Object.prototype, "value", { set() { throw 1 } })`, `return m.json ?? session.request.headers.get("a") ?? "null"`, "edited script:a.js text:null"},
	} {
		l := openOne(t, Options{}, `
			export function onOpen() { `+tc.change+` }
			export function onMessage(m, session) { if (m.from === "client") return "y"; `+tc.hook+` }`)
		if got := l.say("hi"); got != tc.want {
			t.Errorf("%s: %s: %s, want %s\n%s", tc.change, tc.hook, got, tc.want, strings.Join(l.all(""), "\n"))
		}
		if got := l.await(l.start(message(tape.Client, tape.Text, "hi"))); got != "edited script:a.js text:y" {
			t.Errorf("%s: the session goes on with %s\n%s", tc.change, got, strings.Join(l.all(""), "\n"))
		}
	}
}

// TestPollution has a session change prototypes, and looks for it in others.
func TestPollution(t *testing.T) {
	r := newRig(t, Options{}, `
		let seen = ""
		export function onMessage(m, session) {
			if (m.text === "go") {
				Object.prototype.bad = Array.prototype.bad = Function.prototype.bad = globalThis.bad = URL.bad = console.bad = Symbol.iterator.constructor.prototype.bad = 1
				session.state.bad = seen = "bad"
				try { Object.prototype.__proto__ = { bad: 1 } } catch {}
				JSON.parse = Array.prototype.map = () => "bad"
			}
			return [typeof {}.bad, typeof [].bad, typeof (() => 1).bad, typeof globalThis.bad, typeof URL.bad, typeof console.bad,
				typeof Symbol.iterator.bad, typeof session.state.bad, typeof m.bad, JSON.parse("1") + seen].join()
		}`, `export function onMessage(m) { if (m.bad || {}.bad || JSON.parse("1") !== 1) return "bad" }`)
	l, other := r.open(), r.open()
	if got := l.say("go"); !strings.Contains(got, "number,number,number,number,number,number") {
		t.Errorf("nothing was polluted: %s", got)
	}
	clean := "edited script:a.js text:" + strings.Repeat("undefined,", 9) + "1"
	for _, s := range []*line{other, r.open()} {
		if got := s.say("hi"); got != clean {
			t.Errorf("%s, want %s", got, clean)
		}
	}
}

func TestTooMuchMemory(t *testing.T) {
	l := openOne(t, Options{Timeout: 10 * time.Second, Memory: 32 << 20}, hostileHook(`
		const list = []
		for (;;) list.push(new ArrayBuffer(1 << 16))`))
	if got := l.say("go"); got != "passed " {
		t.Error(got)
	}
	l.must(t, "onMessage was stopped: it made the heap grow by more than script.memory")
	if got := l.say("ping"); got != pong {
		t.Errorf("the session goes on with %s", got)
	}
}

func TestTooManyBytes(t *testing.T) {
	l := openOne(t, Options{Memory: 1 << 20}, hostileHook(`return new Array(9000).fill("x".repeat(1e5))`),
		`export function onMessage(m) { if (m.text === "many") return new Array(9).fill("x".repeat(1e5)) }`,
		`export function onMessage(m) { if (m.text.startsWith("xx")) return [m, m] }`)
	// On a busy machine the watchdog sees what the messages take before they are counted.
	stopped := []string{"onMessage was stopped: it made the heap grow by more than script.memory"}
	for _, step := range []struct {
		text, counted string
		most          int // bytes in the place of the message
	}{
		{"go", "onMessage failed: [10]: the messages that the hook returned have more than 1048576 bytes (script.memory)", 0},
		{"many", "onMessage failed: 1200000 bytes are to be sent in the place of one message, which is more than script.memory", 1_500_000},
	} {
		before := len(l.all("note"))
		if got := l.say(step.text); len(strings.TrimPrefix(got, "passed ")) > step.most {
			t.Errorf("%d bytes in the place of %s", len(got), step.text)
		}
		told := l.all("note")[before:]
		if !slices.ContainsFunc(append(stopped, step.counted), func(why string) bool {
			return slices.ContainsFunc(told, func(line string) bool { return strings.Contains(line, why) })
		}) {
			t.Errorf("%s: told %q", step.text, told)
		}
	}
	if got := l.say("ping"); got != pong {
		t.Errorf("the session goes on with %s", got)
	}
}

func TestTooManyTimers(t *testing.T) {
	l := openOne(t, Options{}, hostileHook(`
		let set = 0, error = ""
		try { for (let i = 0; i < 10000; i++) { setTimeout(() => {}, 1e9); set++ } } catch (e) { error = String(e) }
		return [String(set), error]`))
	want := "edited script:a.js text:1000 text:RangeError: 1000 timers are set already, which is the most that a session may have"
	if got := l.say("go"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := l.say("ping"); got != pong {
		t.Errorf("the session goes on with %s", got)
	}
}

func TestTimerFlood(t *testing.T) {
	for _, work := range []string{``, `throw new Error("in a timer")`, `for (;;);`, `return Promise.reject(1)`, `setInterval(() => {}, 0)`} {
		// The hook must have time to set them all, also on a busy machine.
		l := openOne(t, Options{Timeout: 100 * time.Millisecond, grace: 20 * time.Second}, hostileHook(`
			setTimeout(() => session.note("flooded"), 1)
			for (let i = 0; i < 100; i++) setInterval(() => { `+work+` }, 0)`))
		l.say("go")
		l.wait(t, "note flooded")
		for range 5 {
			if got := l.say("ping"); got != pong {
				t.Errorf("%s: the session goes on with %s", work, got)
			}
		}
		if n := len(l.all("note")); n > maxErrors {
			t.Errorf("%s: %d notes", work, n)
		}
	}
}

// TestRestarted stops scripts where goja cannot go on afterwards.
func TestRestarted(t *testing.T) {
	for _, tc := range []struct {
		hook      string
		restarted bool
	}{
		{`for (;;);`, true},
		{`(function f() { f() })()`, true},
		{`setTimeout(() => { for (;;); }); await new Promise(() => {})`, false},
		{`await new Promise(done => setTimeout(done, 1)); for (;;);`, true},
		{`await null; (function f() { f() })()`, true},
		{`const g = (function* () { yield 1; for (;;); })(); g.next(); g.next()`, true},
		{`return { get a() { return [...(function* () { for (;;); })()] } }`, false},
		{`const f = async () => f(); f()`, true},
	} {
		l := openOne(t, Options{Timeout: 50 * time.Millisecond, AwaitTimeout: time.Hour}, `
			let calls = 0
			setInterval(() => {}, 1)
			export async function onRequest(r, session) {
				session.note("the request waits")
				await new Promise(() => {})
			}
			export async function onMessage(m, session) {
				session.state.n = (session.state.n ?? 0) + 1
				if (m.from === "client") {
					session.note("the message waits")
					await new Promise(() => {})
				}
				if (m.text === "go") { `+tc.hook+` }
				calls++
				await null
				return [String(session.state.n), String(calls)]
			}`)
		pending := l.start(message(tape.Client, tape.Text, ""))
		request := make(chan *tape.Response, 1)
		if tc.restarted {
			go func() { request <- l.session.Request(t.Context(), &tape.Request{}) }()
			l.wait(t, "the request waits")
		}
		l.wait(t, "the message waits")
		l.say("one")
		if got := l.say("go"); got != "passed " {
			t.Errorf("%s: %s", tc.hook, got)
		}
		want := "edited script:a.js text:4 text:2"
		if tc.restarted {
			l.wait(t, "note onMessage failed: the script had to be restarted")
			l.wait(t, "note onRequest failed: the script had to be restarted")
			<-request
			l.await(pending)
			want = "edited script:a.js text:4 text:1"
		}
		if got := l.say("two"); got != want {
			t.Errorf("%s: then %s, want %s", tc.hook, got, want)
		}
		if was := len(l.all("note restarted")) > 0; was != tc.restarted {
			t.Errorf("%s: restarted: %v", tc.hook, was)
		}
	}
}

// hang gives a session's script a function that ignores interrupts until release is
// closed.
func (l *line) hang(release chan struct{}) {
	l.in(func(v *vm) {
		_ = v.rt.Set("hang", func(goja.FunctionCall) goja.Value { <-release; return nil })
	})
}

func TestAbandoned(t *testing.T) {
	for on, want := range map[OnError]string{Pass: "passed ", Drop: "dropped script:a.js", Close: "dropped script:a.js"} {
		bubble(t, Options{OnError: on, Memory: 1 << 40}, func(r *rig) {
			l, other := r.open(), r.open()
			release := make(chan struct{})
			l.hang(release)
			began := time.Now()
			stuck := l.start(message(tape.Server, tape.Text, "go"))
			synctest.Wait()
			waits := l.start(message(tape.Client, tape.Text, "ping"))
			if got := l.await(stuck); got != want || time.Since(began) != DefaultTimeout+grace {
				t.Errorf("%s: %s after %v", on, got, time.Since(began))
			}
			if got := l.await(waits); got != want {
				t.Errorf("%s: what waited: %s", on, got)
			}
			l.must(t, "note the script a.js ran for 200ms and could not be stopped; this session goes on without scripts by script:a.js")
			r.log.must(t, "log error a.js: the script a.js ran for 200ms")
			if closed := len(l.all("close 1011")) == 1; closed != (on == Close) {
				t.Errorf("%s: closed: %v", on, closed)
			}
			if messages, _ := l.session.Wants(tape.Server); messages {
				t.Error("an abandoned session wants messages")
			}
			if got := l.say("ping"); got != "passed " {
				t.Errorf("%s: the session goes on with %s", on, got)
			}
			if got := other.say("ping"); got != pong {
				t.Errorf("%s: another session goes on with %s", on, got)
			}
			src := r.set.order[0]
			if n := src.stuck.Load(); n != 1 {
				t.Errorf("%d stuck", n)
			}
			close(release)
			synctest.Wait()
			if n := src.stuck.Load(); n != 0 {
				t.Errorf("%d stuck after it came back", n)
			}
			if got := l.say("ping"); got != "passed " {
				t.Errorf("after it came back: %s", got)
			}
		}, hostileHook(`hang()`))
	}
}

// TestAbandonedElsewhere has scripts hang where nobody waits for a verdict.
func TestAbandonedElsewhere(t *testing.T) {
	for _, src := range []string{
		`export function onMessage() { setTimeout(hang, 1) }`,
		`export async function onMessage() { await new Promise(r => setTimeout(r, 1)); hang() }`,
		`export function onMessage() { setTimeout(() => { throw { toJSON() { hang() } } }, 1) }`,
		`export function onMessage(m, s) { s.send("client", "x"); return { get a() { hang() } } }`,
	} {
		bubble(t, Options{Memory: 1 << 40}, func(r *rig) {
			l := r.open()
			release := make(chan struct{})
			defer close(release)
			l.hang(release)
			if got := l.say("hi"); got != "passed " {
				t.Errorf("%s: %s", src, got)
			}
			l.wait(t, "could not be stopped")
			if got := l.say("hi"); got != "passed " {
				t.Errorf("%s: %s", src, got)
			}
		}, src)
	}
	bubble(t, Options{Memory: 1 << 40, OnError: Close}, func(r *rig) {
		l := r.open()
		release := make(chan struct{})
		defer close(release)
		l.hang(release)
		began := time.Now()
		if refusal := l.session.Request(r.t.Context(), &tape.Request{}); refusal == nil || time.Since(began) != 200*time.Millisecond {
			t.Errorf("request: %v after %v", refusal, time.Since(began))
		}
		synctest.Wait() // the request is answered before the rest of giving up is done
		l.must(t, "close 1011")
		l.session.Closed(tape.Ending{})
		if n := len(l.all("note on")); n > 0 {
			t.Errorf("%d notes beside the one", n)
		}
	}, `export function onRequest() { hang() } export function onClose() {} export function onMessage() {}`)
}

func TestDisabled(t *testing.T) {
	bubble(t, Options{Memory: 1 << 40}, func(r *rig) {
		release := make(chan struct{})
		third := r.open()
		for i := range 2 {
			l := r.open()
			l.hang(release)
			if got := l.say("go"); got != "passed " {
				t.Errorf("stuck: %s", got)
			}
			if loud := len(r.log.all("log error a.js: DISABLED for all sessions: 2 of its runtimes")) == 1; loud != (i == 1) {
				t.Errorf("after %d: disabled: %v", i+1, loud)
			}
		}
		const onlyB = "edited script:b.js text:ping!"
		if got := third.say("ping"); got != onlyB {
			t.Errorf("an older session: %s", got)
		}
		fourth := r.open()
		if messages, control := fourth.session.Wants(tape.Server); !messages || control {
			t.Errorf("a new session wants messages: %v, control: %v", messages, control)
		}
		if got := fourth.say("ping"); got != onlyB {
			t.Errorf("a new session: %s", got)
		}
		if n := len(fourth.all("note started")); n > 0 {
			t.Error("the disabled script was started")
		}
		if got, want := r.set.Stats(), []Stats{{Script: "a.js", GivenUp: 2, Stuck: 2, Disabled: true}, {Script: "b.js"}}; !slices.Equal(got, want) {
			t.Errorf("figures %+v, want %+v", got, want)
		}
		close(release)
		synctest.Wait()
		if n := r.set.Stats()[0].Stuck; n != 0 {
			t.Errorf("%d stuck after they came back", n)
		}
	}, `
		export function onOpen(s) { s.note("started") }
		export function onControl() {}
		`+hostileHook(`hang()`), `export function onMessage(m) { return m.text + "!" }`)
}

// TestGoPanic has Go code panic in a hook, as bugs of goja make it.
func TestGoPanic(t *testing.T) {
	for hook, want := range map[string]string{
		`crash()`: "runtime error: index out of range",
		`(async () => { await Object.create(Promise.resolve()) })()`: "interface conversion: goja.objectImpl",
	} {
		r := newRig(t, Options{}, hostileHook(hook))
		l, other := r.open(), r.open()
		l.in(func(v *vm) {
			_ = v.rt.Set("crash", func(goja.FunctionCall) goja.Value { var list []int; _ = list[len(list)]; return nil })
		})
		if got := l.say("go"); got != "passed " {
			t.Errorf("%s: %s", hook, got)
		}
		l.must(t, "hit a bug of wstape's or its JavaScript engine's, please report it; this session goes on without scripts: "+want)
		if got := l.say("ping"); got != "passed " {
			t.Errorf("%s: the session goes on with %s", hook, got)
		}
		if got := other.say("ping"); got != pong {
			t.Errorf("%s: another session goes on with %s", hook, got)
		}
		if n := r.set.order[0].stuck.Load(); n != 0 {
			t.Errorf("%s: %d stuck", hook, n)
		}
	}
}

// hostileVariable names the script that a child process runs.
const hostileVariable = "WSTAPE_HOSTILE"

// hostileChildren are hooks that nothing can stop, or that once ended the process.
var hostileChildren = map[string]string{
	"a promise that resolves itself": `const o = {}; o.then = [o].forEach.bind([o]); Promise.resolve(o)`,
	"a search without an end":        `Array.prototype.indexOf.call({ length: 2 ** 53 - 1 }, 1)`,
	"the message in itself":          `m.text = "{}"; m.json.m = m; return m`,
	"two messages in each other": `if (globalThis.last) { m.text = last.text = "{}"; m.json.m = last; last.json.m = m; return last } globalThis.last = m
		return (async () => { m.text = "{}"; m.json.m = [m]; return m })()`,
	"nested a million deep": `let a = []; for (let i = 0; i < 1e6; i++) a = [a]; return a`,
}

// TestProcessSurvives runs them in processes of their own. Each is told to go in
// three sessions.
func TestProcessSurvives(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, hook := range hostileChildren {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			child := exec.CommandContext(ctx, program)
			child.Env = append(os.Environ(), hostileVariable+"="+name)
			output, err := child.CombinedOutput()
			if err != nil || !strings.HasSuffix(string(output), "survived\n") {
				t.Errorf("%s: %v\n%.3000s", hook, err, output)
			}
		})
	}
}

// hostileChild runs one of the hostileChildren in three sessions, and says how each
// of them goes on.
func hostileChild(name string) int {
	fail := func(format string, args ...any) int {
		fmt.Printf(format+"\n", args...)
		return 1
	}
	dir, err := os.MkdirTemp("", "hostile")
	if err != nil {
		return fail("%v", err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "a.js")
	if err := os.WriteFile(path, []byte(hostileHook(hostileChildren[name])), 0o600); err != nil {
		return fail("%v", err)
	}
	j := newJournal()
	set, err := NewSet([]string{path}, Options{Log: j.log, OnError: Drop})
	if err != nil {
		return fail("%v", err)
	}
	chain, err := set.Chain([]string{path})
	if err != nil {
		return fail("%v", err)
	}
	for n := range 3 {
		s := chain.Open(tape.Session{N: uint64(n)}, j)
		for _, text := range []string{"go", "go", "ping"} {
			decided := make(chan tape.Verdict, 1)
			go s.Message(message(tape.Server, tape.Text, text), func(v tape.Verdict) { decided <- v })
			select {
			case v := <-decided:
				fmt.Println(text, verdict(v))
			case <-time.After(10 * time.Second):
				return fail("no verdict about %s", text)
			}
		}
	}
	for _, line := range j.all("log") {
		fmt.Println(line)
	}
	if stuck := set.order[0].stuck.Load(); stuck >= maxStuck && len(j.all("log error a.js: DISABLED")) != 1 {
		return fail("%d stuck, and not disabled", stuck)
	}
	fmt.Println("survived")
	return 0
}
