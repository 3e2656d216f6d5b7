package script

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dop251/goja"

	"github.com/wstape/wstape/tape"
)

func rehearse(t *testing.T, o Options, sources ...string) *Rehearsal {
	t.Helper()
	dir := t.TempDir()
	var paths []string
	for i, src := range sources {
		p := filepath.Join(dir, string(rune('a'+i))+".js")
		if err := os.WriteFile(p, []byte(src), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, p)
	}
	o.Log = func(e Entry) { t.Logf("%+v", e) }
	set, err := NewSet(paths, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.Close)
	c, err := set.Chain(paths)
	if err != nil {
		t.Fatal(err)
	}
	return c.Rehearse(tape.Session{URL: "/chat"})
}

func text(s string, at time.Duration) *tape.Message {
	return &tape.Message{From: tape.Server, T: at, Content: tape.Content{Op: tape.Text, Payload: []byte(s)}}
}

func verdict(v tape.Verdict) string {
	out := string(v.Fate) + " " + strings.Join(v.By, "+")
	for _, c := range v.Out {
		out += " " + c.Op.String() + ":" + string(c.Payload)
	}
	return out
}

func TestWhatHooksReturn(t *testing.T) {
	for _, tc := range []struct{ src, in, want string }{
		{`export function onMessage(m) {}`, "hi", "passed "},
		{`export function onMessage(m) { return m.text.toUpperCase() }`, "hi", "edited script:a.js text:HI"},
		{`export function onMessage(m) { m.json.a = 2 }`, `{"a": 1, "b":9007199254740993}`, `edited script:a.js text:{"a": 2, "b":9007199254740993}`},
		{`export function onMessage(m) { return false }`, "hi", "dropped script:a.js"},
		{`export function onMessage(m) { return [m, "x", new Uint8Array([65]), {a:1}] }`, "hi", `edited script:a.js text:hi text:x binary:A text:{"a":1}`},
		{`export async function onMessage(m) { await new Promise(r => setTimeout(r, 5000)); m.text = "late" }`, "hi", "edited script:a.js text:late"},
		{`export async function onMessage(m) { await null; return "x" }`, "hi", "edited script:a.js text:x"},
		{`export function onMessage(m) { m.bytes[0] = 72 }`, "hi", "edited script:a.js text:Hi"},
		{`export function onMessage(m) { throw new Error("no") }`, "hi", "passed "},
		{`export function onMessage(m) { for(;;); }`, "hi", "passed "},
		{`export async function onMessage(m) { throw new Error("no") }`, "hi", "passed "},
		{`export function onMessage(m) { return 5 }`, "hi", "passed "},
		{`export async function onMessage(m) { await new Promise(()=>{}) }`, "hi", "passed "},
	} {
		r := rehearse(t, Options{}, tc.src)
		if got := verdict(r.Message(text(tc.in, 0))); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.src, got, tc.want)
		}
		for _, h := range r.Happened() {
			if h.Note != nil {
				t.Logf("  note %s", *h.Note)
			}
		}
		r.Closed(tape.Ending{})
	}
}

func TestChain(t *testing.T) {
	const upper = `export function onMessage(m) { return m.text.toUpperCase() }`
	for _, tc := range []struct {
		name, want string
		scripts    []string
	}{
		{"each sees what the one before made", "edited script:a.js+script:b.js text:hi12", []string{
			`export function onMessage(m) { return m.text + 1 }`, `export function onMessage(m) { return m.text + 2 }`}},
		{"in order", "edited script:a.js+script:b.js text:HIx", []string{
			upper, `export function onMessage(m) { return m.text + "x" }`}},
		{"the second restores", "passed ", []string{
			upper, `export function onMessage(m) { return m.text.toLowerCase() }`}},
		{"the first drops", "dropped script:a.js", []string{
			`export function onMessage(m) { return false }`, `export function onMessage(m) { return "second" }`}},
		{"the second drops", "dropped script:a.js+script:b.js", []string{
			upper, `export function onMessage(m) { return false }`}},
		{"the second drops what the first left", "dropped script:b.js", []string{
			`export function onMessage(m) {}`, `export function onMessage(m) { return false }`}},
		{"several go through the second", "edited script:a.js+script:b.js text:X text:Y", []string{
			`export function onMessage(m) { return ["x", "y"] }`, upper}},
		{"the second drops some", "edited script:a.js+script:b.js text:x text:z", []string{
			`export function onMessage(m) { return ["x", "y", "z"] }`, `export function onMessage(m) { if (m.text === "y") return false }`}},
		{"each of several is doubled", "edited script:a.js+script:b.js text:x text:x text:y text:y", []string{
			`export function onMessage(m) { return ["x", "y"] }`, `export async function onMessage(m) { await null; return [m, m] }`}},
		{"one of several fails", "edited script:a.js text:x text:y", []string{
			`export function onMessage(m) { return ["x", "y"] }`, `export function onMessage(m) { if (m.text === "x") throw new Error("no") }`}},
		{"the other side's", "edited script:b.js text:HI", []string{
			`export const from = "client"; export function onMessage(m) { return "no" }`, upper}},
		{"this side's", "edited script:a.js text:yes", []string{
			`export const from = "server"; export function onMessage(m) { return "yes" }`}},
		{"no such hook", "edited script:b.js text:HI", []string{
			`export function onOpen() {}`, upper}},
		{"CommonJS", "edited script:a.js text:HI", []string{
			`module.exports = { onMessage: m => m.text.toUpperCase() }`}},
	} {
		if got := openOne(t, Options{}, tc.scripts...).say("hi"); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestWants(t *testing.T) {
	for _, tc := range []struct {
		want    [4]bool // the client's messages and pings, the server's
		scripts []string
	}{
		{[4]bool{}, []string{`export function onOpen() {}`}},
		{[4]bool{true, false, true, false}, []string{`export function onMessage() {}`}},
		{[4]bool{false, true, false, true}, []string{`export function onControl() {}`}},
		{[4]bool{true, true, false, false}, []string{`export const from = "client"; export function onMessage() {} export function onControl() {}`}},
		{[4]bool{true, false, false, true}, []string{`export const from = "client"; export function onMessage() {}`, `export const from = "server"; export function onControl() {}`}},
	} {
		l := openOne(t, Options{}, tc.scripts...)
		var got [4]bool
		got[0], got[1] = l.session.Wants(tape.Client)
		got[2], got[3] = l.session.Wants(tape.Server)
		if got != tc.want {
			t.Errorf("%q: %v, want %v", tc.scripts, got, tc.want)
		}
	}
}

func TestBadExports(t *testing.T) {
	for src, want := range map[string]string{
		`export const onMessage = 5`:                                                        "a.js exports onMessage, which is not a function",
		`export const from = "both"; export function onMessage() {}`:                        `a.js exports from = "both", which is neither "client" nor "server"`,
		`export const x = 1`:                                                                "exports no hook (onRequest, onResponse, onOpen, onMessage, onControl, onMatch, onClose)",
		`throw new Error("top"); export function onMessage() {}`:                            "Error: top\n    at a.js:1:7",
		`module.exports = { onOpen() {}, get onMessage() { throw new Error("getter") } }`:   "Error: getter\n    at onMessage (a.js:1:57)",
		`for (;;); export function onMessage() {}`:                                          "ran for longer than script.timeout",
		`module.exports = { onOpen() {}, get from() { for (;;); } }`:                        "ran for longer than script.timeout",
		`throw { toString() { for (;;); } }; export function onMessage() {}`:                "a.js: threw {}",
		`module.exports = { onOpen() {}, from: { toString() { throw new Error("str") } } }`: "Error: str",
	} {
		path := filepath.Join(t.TempDir(), "a.js")
		if err := os.WriteFile(path, []byte(src), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := NewSet([]string{path}, Options{Timeout: 30 * time.Millisecond}); err == nil || !strings.Contains(Explain(err), want) {
			t.Errorf("%s: %v, want %s", src, err, want)
		}
	}
}

func TestSession(t *testing.T) {
	l := openOne(t, Options{}, `
		let calls = 0
		export function onOpen(s) {
			s.state.opened = s.subprotocol + s.url + s.number + s.client
		}
		export function onMessage(m, s) {
			calls++
			s.send("client", "text")
			s.send("server", new Uint8Array([65]))
			s.send("client", { a: 1 })
			s.ping("server", "p")
			s.note("a note")
			s.tag("k", "v")
			s.close(4000, "enough")
			const refused = []
			for (const wrong of [
				() => s.send("nobody", "x"), () => s.send("client"), () => s.send("client", 5), () => s.ping("client", "x".repeat(126)),
				() => s.close(1005), () => s.close(5000), () => s.close(1000, "x".repeat(124)), () => { s.id = 1 },
			]) try { wrong(); refused.push("none") } catch (e) { refused.push(e.constructor.name) }
			return [String(calls), s.state.opened, refused.join()]
		}
		export function onClose(ending, s) { s.note(ending.kind + " " + ending.code + " " + calls) }`)
	want := "edited script:a.js text:1 text:/chat11.2.3.4:5 text:" + strings.Repeat("TypeError,", 7) + "TypeError"
	if got := l.say("hi"); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	l.session.Closed(tape.Ending{Kind: tape.EndClose, Code: 1001})
	lines := strings.Join(l.all(""), "\n")
	for _, text := range []string{
		"send client text:text by script:a.js", "send server binary:A", `send client text:{"a":1}`, "send server ping:p",
		"note a note by script:a.js", "tag k=v", "close 4000 enough by script:a.js", "note close 1001 1 by script:a.js",
	} {
		if !strings.Contains(lines, text) {
			t.Errorf("no %q in\n%s", text, lines)
		}
	}
}

// TestNotStarted has a script's own code fail when a session begins, though it had
// not when it was loaded.
func TestNotStarted(t *testing.T) {
	for _, tc := range []struct {
		on   OnError
		want string
	}{
		{Pass, "edited script:b.js text:hi!"}, {Drop, "dropped script:a.js"}, {Close, "dropped script:a.js"},
	} {
		r := newRig(t, Options{OnError: tc.on}, `
			setInterval(() => {}, 1)
			if (store.get("bad")) throw new Error("top")
			store.set("bad", true)
			export function onRequest() {}
			export function onMessage() {}`, `
			export function onMessage(m) { return m.text + "!" }`)
		r.open()
		l := r.open()
		if got := l.say("hi"); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.on, got, tc.want)
		}
		if refusal := l.session.Request(t.Context(), &tape.Request{}); (refusal == nil) != (tc.on == Pass) {
			t.Errorf("%s: the request: %v", tc.on, refusal)
		}
		l.must(t, "start failed: Error: top\n    at a.js:3:32", "onMessage failed: the script's own code failed", "onRequest failed: the script's own code failed")
		if closed := len(l.all("close 1011 script failed")) > 0; closed != (tc.on == Close) {
			t.Errorf("%s: closed: %v", tc.on, closed)
		}
		l.in(func(v *vm) {
			if n := l.session.pending; n != 0 {
				t.Errorf("%d timers of a script that has not started", n)
			}
		})
	}
}

func TestAwait(t *testing.T) {
	const slow = `export async function onMessage(m) {
		if (m.from === "client") return
		await new Promise(done => setTimeout(done, 1000))
		return m.text.toUpperCase()
	}`
	bubble(t, Options{}, func(r *rig) {
		l := r.open()
		began := time.Now()
		decided := l.start(message(tape.Server, tape.Text, "hi"))
		synctest.Wait()
		if got := l.await(l.start(message(tape.Client, tape.Text, "other"))); got != "passed " || time.Since(began) > 0 {
			t.Errorf("the other direction: %s after %v", got, time.Since(began))
		}
		if got := l.await(decided); got != "edited script:a.js text:HI" || time.Since(began) != time.Second {
			t.Errorf("%s after %v", got, time.Since(began))
		}
	}, slow)
}

func TestAwaitTimeout(t *testing.T) {
	const never = `
		let calls = 0
		export async function onMessage(m) {
			if (calls++) return "next"
			await new Promise(done => setTimeout(done, 40000))
			m.text = "late"
			return "later"
		}`
	for on, want := range map[OnError]string{Pass: "passed ", Drop: "dropped script:a.js", Close: "dropped script:a.js"} {
		bubble(t, Options{OnError: on}, func(r *rig) {
			l := r.open()
			began := time.Now()
			if got := l.say("hi"); got != want || time.Since(began) != DefaultAwaitTimeout {
				t.Errorf("%s: %s after %v, want %s", on, got, time.Since(began), want)
			}
			l.must(t, "note onMessage failed: was not done after script.await_timeout")
			if closed := len(l.all("close 1011")) == 1; closed != (on == Close) {
				t.Errorf("%s: closed: %v", on, closed)
			}
			time.Sleep(time.Minute) // of the bubble: the first promise is settled meanwhile
			if got := l.say("hi"); got != "edited script:a.js text:next" {
				t.Errorf("%s: the next message: %s", on, got)
			}
		}, never)
	}
}

// TestStoppedLater has a hook loop after an await: its message does not wait for
// the timeout of the await.
func TestStoppedLater(t *testing.T) {
	for _, tc := range []struct{ rest, want string }{
		{`for (;;);`, "onMessage was stopped: it ran for longer than script.timeout without yielding\n    at onMessage (a.js:3:3"},
		{`(function f() { f() })()`, "onMessage failed: RangeError: Maximum call stack size exceeded"},
		{`setTimeout(() => { for (;;); }); await new Promise(() => {})`, "onMessage was stopped"},
	} {
		l := openOne(t, Options{Timeout: 30 * time.Millisecond, AwaitTimeout: time.Hour}, `
			export async function onMessage(m) {
				await new Promise(done => setTimeout(done, 1)); `+tc.rest+`
			}`)
		if got := l.say("hi"); got != "passed " {
			t.Errorf("%s: %s", tc.rest, got)
		}
		if !strings.Contains(l.wait(t, "note"), strings.Split(tc.want, "\n")[0]) {
			t.Errorf("%s: %s, want %s", tc.rest, l.all("note"), tc.want)
		}
	}
}

// TestAwaitIsNotTakenTwice hands messages between the goroutine that brought them and
// the one whose timer is due.
func TestAwaitIsNotTakenTwice(t *testing.T) {
	r := newRig(t, Options{}, `export async function onMessage(m) {
		await new Promise(done => setTimeout(done, 0))
		return m.text.toUpperCase()
	}`, `export async function onMessage(m) { await null; return m.text + "!" }`)
	l := r.open()
	for range 500 {
		if got, want := l.say("hi"), "edited script:a.js+script:b.js text:HI!"; got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	}
}

func TestErrorsAreCounted(t *testing.T) {
	l := openOne(t, Options{}, `export function onMessage(m) { throw new Error(m.text) }`)
	for range 1000 {
		l.say("same")
	}
	var got []string
	for _, line := range l.all("note") {
		_, times, _ := strings.Cut(line, "(for the ")
		got = append(got, times)
	}
	if want := []string{"", "10th time) by script:a.js", "100th time) by script:a.js", "1000th time) by script:a.js"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for i := range 1000 {
		l.say(string(rune('a' + i)))
	}
	if n := len(l.all("note")); n > maxErrors+10 {
		t.Errorf("%d notes about errors", n)
	}
}

func TestErrorPositions(t *testing.T) {
	const ts = "// TypeScript\ninterface Unused { a: string }\nconst f = (m: { text: string }): never => { throw new Error(m.text) };\n"
	for _, tc := range []struct{ hook, want string }{
		{`export function onMessage(m: any) { f(m) }`, "onMessage failed: Error: hi\n    at f (a.ts:3:51)\n    at onMessage (a.ts:4:37)"},
		{`export async function onMessage(m: any) { f(m) }`, "onMessage failed: Error: hi\n    at f (a.ts:3:51)\n    at onMessage (a.ts:4:43)"},
		{`export async function onMessage(m: any) { await null; f(m) }`, "onMessage failed: Error: hi\n    at f (a.ts:3:51)\n    at onMessage (a.ts:4:55)"},
		{`export async function onMessage(m: any) { await new Promise(r => setTimeout(r, 1)); f(m) }`, "onMessage failed: Error: hi\n    at f (a.ts:3:51)\n    at onMessage (a.ts:4:85)"},
		{`export function onMessage(m: any) { Promise.resolve(m).then(f) }`, "a promise that nobody awaits failed: Error: hi\n    at f (a.ts:3:51)"},
		{`export function onMessage(m: any) { setTimeout(f, 1, m) }`, "a timer failed: Error: hi\n    at f (a.ts:3:51)"},
		{`export function onMessage(m: any) { setTimeout(async () => f(m), 1) }`, "a promise that nobody awaits failed: Error: hi\n    at f (a.ts:3:51)\n    at a.ts:4:60"},
		{`export function onMessage(m: any) { return { get a() { return f(m) } } }`, "onMessage failed: Error: hi\n    at f (a.ts:3:51)\n    at a (a.ts:4:63)"},
		{`export function onMessage(m: any) { return Promise.reject(5) }`, "onMessage failed: threw 5"},
		{`export function onMessage(m: any) { return Promise.reject() }`, "onMessage failed: threw undefined"},
	} {
		l := openOne(t, Options{}, ts+tc.hook)
		l.say("hi")
		if got := l.wait(t, "note"); got != "note "+tc.want+" by script:a.ts" {
			t.Errorf("%s:\n%s\nwant\n%s", tc.hook, got, tc.want)
		}
	}
}

// TestTimersDoNotHogTheTurn has timers that are always due.
func TestTimersDoNotHogTheTurn(t *testing.T) {
	l := openOne(t, Options{}, `export function onMessage(m) {
		if (m.text === "start") for (let i = 0; i < 5; i++) setInterval(work, 0)
	}`)
	var runs atomic.Int32
	l.in(func(v *vm) {
		_ = v.rt.Set("work", func(goja.FunctionCall) goja.Value {
			for until := time.Now().Add(5 * time.Millisecond); time.Now().Before(until); {
			}
			if runs.Add(1) == 3 {
				l.add("three")
			}
			return nil
		})
	})
	l.say("start")
	l.wait(t, "three")
	// The least of several: on a busy machine timers also run before the
	// message has asked for its turn.
	least := int32(math.MaxInt32)
	for range 10 {
		before := runs.Load()
		l.say("hi")
		least = min(least, runs.Load()-before)
	}
	if least > 4 {
		t.Fatalf("%d timers ran before the message's turn came", least)
	}
}

func TestTimers(t *testing.T) {
	bubble(t, Options{}, func(r *rig) {
		l := r.open()
		if got := l.say("hi"); got != "passed " {
			t.Fatal(got)
		}
		time.Sleep(10 * time.Second)
		want := []string{"a 0", "i", "b 1", "i", "i", "c 2.5"}
		var got []string
		for _, line := range l.all("note") {
			got = append(got, strings.TrimSuffix(strings.TrimPrefix(line, "note "), " by script:a.js"))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		l.session.Closed(tape.Ending{})
		if n := len(l.session.timers); n > 0 {
			t.Errorf("%d timers are left", n)
		}
	}, `export function onMessage(m, s) {
		const note = text => s.note(text + " " + s.t)
		setTimeout(note, 2500, "c")
		setTimeout(note, 1000, "b")
		setTimeout(note, -5, "a")
		const never = setTimeout(note, 100, "never")
		clearTimeout(never); clearTimeout(never); clearTimeout(undefined); clearTimeout("x")
		let n = 0
		const i = setInterval(() => { s.note("i"); if (++n === 3) clearInterval(i) }, 800)
	}`)
}
