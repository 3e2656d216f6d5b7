package script

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/wstape/wstape/tape"
)

// TestReturnValues has hooks return everything that there is, for every kind of
// message. A verdict that begins with "!" is about a hook that fails, and is what
// the log says.
func TestReturnValues(t *testing.T) {
	const (
		pass    = "passed "
		drop    = "dropped script:a.js"
		badText = "a\xffb"
	)
	edited := func(out string) string { return "edited script:a.js " + out }
	for _, tc := range []struct{ hook, text, binary, bad, empty string }{
		// what the hook returns  {"a": 1}  the bytes 1 2  invalid UTF-8  nothing
		{``, pass, pass, pass, pass},
		{`return undefined`, pass, pass, pass, pass},
		{`return null`, pass, pass, pass, pass},
		{`return true`, pass, pass, pass, pass},
		{`return false`, drop, drop, drop, drop},
		{`return []`, drop, drop, drop, drop},
		{`return m`, pass, pass, pass, pass},
		{`return m.bytes`, pass, pass, pass, pass},
		{`return [m]`, pass, pass, pass, pass},
		{`return m.text`, pass, pass, pass, pass},
		{`return m.json`, pass, pass, pass, pass},
		{`return ""`, edited("text:"), edited("text:"), edited("text:"), pass},
		{`return "é"`, edited("text:é"), edited("text:é"), edited("text:é"), edited("text:é")},
		{`return "\ud800"`, edited("text:\ufffd"), edited("text:\ufffd"), edited("text:\ufffd"), edited("text:\ufffd")},
		{`return new Uint8Array([1, 2])`, edited("binary:\x01\x02"), pass, edited("binary:\x01\x02"), edited("binary:\x01\x02")},
		{`return new Uint8Array([0, 1, 2, 3]).subarray(1, 3)`, edited("binary:\x01\x02"), pass, edited("binary:\x01\x02"), edited("binary:\x01\x02")},
		{`return new Uint16Array([0x201])`, edited("binary:\x01\x02"), pass, edited("binary:\x01\x02"), edited("binary:\x01\x02")},
		{`return new Uint8Array([1, 2]).buffer`, edited("binary:\x01\x02"), pass, edited("binary:\x01\x02"), edited("binary:\x01\x02")},
		{`return { a: 1 }`, edited(`text:{"a":1}`), edited(`text:{"a":1}`), edited(`text:{"a":1}`), edited(`text:{"a":1}`)},
		{`return new Date(0)`, edited(`text:"1970-01-01T00:00:00.000Z"`), edited(`text:"1970-01-01T00:00:00.000Z"`), edited(`text:"1970-01-01T00:00:00.000Z"`), edited(`text:"1970-01-01T00:00:00.000Z"`)},
		{`return { toJSON() { return [1] } }`, edited(`text:[1]`), edited(`text:[1]`), edited(`text:[1]`), edited(`text:[1]`)},
		{`return ["x", m]`, edited(`text:x text:{"a": 1}`), edited("text:x binary:\x01\x02"), edited("text:x text:" + badText), edited("text:x text:")},
		{`return [[1, "x"]]`, edited(`text:[1,"x"]`), edited(`text:[1,"x"]`), edited(`text:[1,"x"]`), edited(`text:[1,"x"]`)},
		{`return ["x", new Uint8Array([65]), { b: [] }, ["y"]]`, edited(`text:x binary:A text:{"b":[]} text:["y"]`), edited(`text:x binary:A text:{"b":[]} text:["y"]`), edited(`text:x binary:A text:{"b":[]} text:["y"]`), edited(`text:x binary:A text:{"b":[]} text:["y"]`)},
		{`return { m: m.from }`, edited(`text:{"m":"server"}`), edited(`text:{"m":"server"}`), edited(`text:{"m":"server"}`), edited(`text:{"m":"server"}`)},
		{`return Promise.resolve(false)`, drop, drop, drop, drop},
		{`return 5`, "!the hook returned 5; it may return nothing", "!returned 5", "!returned 5", "!returned 5"},
		{`return 5n`, "!returned 5n", "!returned 5n", "!returned 5n", "!returned 5n"},
		{`return Symbol("s")`, "!returned Symbol(s)", "!returned Symbol(s)", "!returned Symbol(s)", "!returned Symbol(s)"},
		{`return () => 1`, "!no JSON form", "!no JSON form", "!no JSON form", "!no JSON form"},
		{`return [m, 5]`, "![1]: the hook returned 5", "![1]: the hook returned 5", "![1]: the hook returned 5", "![1]: the hook returned 5"},
		{`return ["x", , "y"]`, "![1]: the hook returned undefined", "![1]", "![1]", "![1]"},
		{`m.json; return [, 1]`, "![0]: the hook returned undefined", "![0]", "![0]", "![0]"},
		{`return [null]`, "![0]: the hook returned null", "![0]", "![0]", "![0]"},
		{`return [false]`, "![0]: the hook returned false", "![0]", "![0]", "![0]"},
		{`return { a: 1n }`, "!BigInt", "!BigInt", "!BigInt", "!BigInt"},
		{`const o = {}; o.o = o; return o`, "!contains itself", "!contains itself", "!contains itself", "!contains itself"},
		{`return new Array(10001).fill("x")`, "!returned 10001 messages", "!returned 10001", "!returned 10001", "!returned 10001"},
		{`return { get a() { throw new Error("in a getter") } }`, "!in a getter", "!in a getter", "!in a getter", "!in a getter"},
	} {
		l := openOne(t, Options{}, "export function onMessage(m) { "+tc.hook+" }")
		for i, m := range []*tape.Message{
			message(tape.Server, tape.Text, `{"a": 1}`), message(tape.Server, tape.Binary, "\x01\x02"),
			message(tape.Server, tape.Text, badText), message(tape.Server, tape.Text, ""),
		} {
			want := []string{tc.text, tc.binary, tc.bad, tc.empty}[i]
			got := l.await(l.start(m))
			if failure, fails := strings.CutPrefix(want, "!"); fails {
				l.must(t, failure)
				want = pass
			}
			if got != want {
				t.Errorf("%s: %v %q: %q, want %q", tc.hook, m.Op, m.Payload, got, want)
			}
		}
	}
}

func TestControlFrames(t *testing.T) {
	long := strings.Repeat("x", 126)
	for _, tc := range []struct{ hook, want, log string }{
		{``, "passed ", ""},
		{`return false`, "dropped script:a.js", ""},
		{`return "other"`, "edited script:a.js ping:other", ""},
		{`return ["other"]`, "edited script:a.js ping:other", ""},
		{`return new Uint8Array([65])`, "edited script:a.js ping:A", ""},
		{`m.text = m.op + m.text`, "edited script:a.js ping:pinghi", ""},
		{`m.bytes = new Uint8Array(125).fill(65)`, "edited script:a.js ping:" + long[:0] + strings.Repeat("A", 125), ""},
		{`return ["a", "b"]`, "passed ", "onControl returned several frames"},
		{`return "` + long + `"`, "passed ", "at most 125 bytes"},
		{`m.text = "` + long + `"`, "passed ", "at most 125 bytes"},
		{`throw new Error("no")`, "passed ", "onControl failed: Error: no"},
	} {
		l := openOne(t, Options{}, "export function onControl(m) { "+tc.hook+" }")
		if messages, control := l.session.Wants(tape.Server); messages || !control {
			t.Errorf("wants messages: %v, control: %v", messages, control)
		}
		if got := l.await(l.start(message(tape.Server, tape.Ping, "hi"))); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.hook, got, tc.want)
		}
		if tc.log != "" {
			l.must(t, tc.log)
		}
	}
}

// TestViewsFollow changes a message through one view and reads it through others.
func TestViewsFollow(t *testing.T) {
	for _, tc := range []struct{ in, hook, want string }{
		{`{"a":1}`, `m.text = '{"a":2}'; return [m.json, String(m.json.a), String(m.bytes[5])]`, `{"a":2}|2|50`},
		{`{"a":1}`, `m.json.a = 3; return [m.text, String(m.bytes[5]), String(m.len)]`, `{"a":3}|51|7`},
		{`{"a":1}`, `m.bytes[5] = 0x34; return [m.text, String(m.json.a)]`, `{"a":4}|4`},
		{`{"a":1}`, `const b = m.bytes; m.json.a = 10; b[0] = 0; return [m.text, String(b.length)]`, `{"a":10}|7`},
		{`{"a":1}`, `const j = m.json; m.text = "{}"; j.a = 9; return m.text`, `{}`},
		{`{"a":1}`, `m.json = [1]; return [m.text, String(m.json[0])]`, `[1]|1`},
		{`{"a":1}`, `m.json = m.json; return m.text`, `{"a":1}`},
		{`{"a":1}`, `const before = m.text; m.json.a = 2; return before`, `{"a":1}`},
		{`{"a":1}`, `const before = m.bytes; m.json.a = 2; return before`, `{"a":1}`},
		{`{"a":1}`, `m.json.a = 2; m.text = m.text.replace("2", "3"); m.bytes[2] = 98`, `{"b":3}`},
		{`{"a":1}`, `m.bytes = new TextEncoder().encode("[7]"); return m.json`, `[7]`},
		{`{"a":1}`, `m.bytes = m.bytes.subarray(1, 4); return m.text`, `"a"`},
		{`{"a":1}`, `try { m.json = undefined } catch (e) { m.json.b = e.constructor.name }`, `{"a":1,"b":"TypeError"}`},
		{`{"a":1}`, `const j = m.json; j.m = m; try { m.text } catch { delete j.m }`, `{"a":1}`},
		{`{"a":1}`, `try { m.text = 5 } catch (e) { return e.message }`, `msg.text must be set to a string`},
		{`{"a":1}`, `try { m.bytes = "x" } catch (e) { return e.message }`, `msg.bytes must be set to a Uint8Array or ArrayBuffer`},
		{`{"a":1}`, `"use strict"; try { m.from = "x" } catch (e) { return e.constructor.name + m.from }`, `TypeErrorserver`},
		{`{"a":1}`, `m.mine = 1; return Object.keys(m).join()`, `from,op,t,len,text,utf8,bytes,json,mine`},
		{`{"a":1}`, `m.mine = 1; delete m.mine; return String("mine" in m) + Reflect.deleteProperty(m, "json")`, `falsefalse`},
		{`no JSON`, `m.json ??= {a: 1}; return m.text`, `{"a":1}`},
		{`no JSON`, `try { m.json = undefined } catch (e) { return e.message + m.text }`, `msg.json: json: undefined, functions and symbols have no JSON formno JSON`},
		{"a\xffb", `return [m.text, String(m.utf8), String(m.len)]`, "a\xffb|false|3"},
		{"a\xffb", `m.text = m.text; m.bytes = m.bytes.slice(); return m`, "a\xffb"},
		{"a\xffb", `m.text += "c"; return [m.text, String(m.utf8)]`, "a\ufffdbc|true"},
		{`5`, `return m.json`, `5`},
		{` "x" `, `return m.json`, ` "x" `},
	} {
		l := openOne(t, Options{OnError: Drop}, "export function onMessage(m) { "+tc.hook+" }")
		m := message(tape.Server, tape.Text, tc.in)
		decided := make(chan tape.Verdict, 1)
		l.session.Message(m, func(v tape.Verdict) { decided <- v })
		v := <-decided
		var out []string
		for _, c := range v.Out {
			out = append(out, string(c.Payload))
		}
		if v.Fate == tape.Passed {
			out = []string{tc.in}
		}
		if got := strings.Join(out, "|"); got != tc.want {
			t.Errorf("%q: %s: %q, want %q\n%s", tc.in, tc.hook, got, tc.want, strings.Join(l.all(""), "\n"))
		}
	}
}

func TestViewsOfBinary(t *testing.T) {
	l := openOne(t, Options{}, `export function onMessage(m) {
		let refused = "";
		try { m.text = "x" } catch (e) { refused = e.message }
		return [String(m.text), m.op, refused, JSON.stringify(m.json), new Uint8Array(m.bytes)];
	}`)
	got := l.await(l.start(message(tape.Client, tape.Binary, `[1]`)))
	want := `edited script:a.js text:undefined text:binary text:msg.text of a binary message cannot be set; return a string to send text in its place text:[1] binary:[1]`
	if got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// TestKeptView has a script keep a message for later, when its memory has been used
// for another one.
func TestKeptView(t *testing.T) {
	l := openOne(t, Options{}, `
		let kept;
		export function onMessage(m) {
			if (m.op === "binary") { kept = [m, m.json]; return }
			kept[1].a = 2;
			return [kept[0].text ?? "none", kept[0].json, kept[0].bytes, kept[0].from];
		}`)
	first := message(tape.Client, tape.Binary, `{"a":1, "b":"x"}`)
	l.await(l.start(first))
	first.From = tape.Server
	copy(first.Payload, bytes.Repeat([]byte("!"), 100))
	want := `edited script:a.js text:none text:{"a":2,"b":"x"} binary:{"a":2, "b":"x"} text:client`
	if got := l.say("now"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestNothingElseChanges holds hooks against random messages: what a hook does not
// assign to stays as it is, to the byte.
func TestNothingElseChanges(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	random := rand.New(rand.NewPCG(seed, 0))
	readers := []string{
		`m.text; m.json; m.bytes; m.len; m.utf8; JSON.stringify(m.json)`,
		`return m.text`, `return m.bytes`, `return m.json`, `return m`,
		`JSON.stringify(m)`,
		`m.text = m.text ?? ""`,
		`m.bytes = m.bytes`, `m.json = m.json ?? m.json`,
		`const j = m.json; if (j && typeof j === "object") for (const k in j) j[k] = j[k]`,
		`await null; m.json; return m.text ?? m.bytes`,
	}
	const add = `const j = m.json; j.added = 1; m.text`
	var sources []string
	for _, hook := range append(readers, add) {
		if strings.HasPrefix(hook, "m.text =") {
			hook = `if (m.op === "text") ` + hook
		}
		if strings.HasPrefix(hook, "m.json =") {
			hook = `if (m.json !== undefined) ` + hook
		}
		if strings.HasPrefix(hook, "return m.json") {
			hook = `if (m.json !== false) ` + hook
		}
		sources = append(sources, "export async function onMessage(m) { "+hook+" }")
	}
	// One session for each hook.
	var lines []*line
	for _, src := range sources {
		lines = append(lines, openOne(t, Options{OnError: Drop, Timeout: time.Second}, src))
	}
	for range 400 {
		m := randomMessage(random)
		for i, hook := range readers {
			if got := lines[i].await(lines[i].start(m)); got != "passed " {
				t.Fatalf("%s: %v %q: %s\n%s", hook, m.Op, m.Payload, got, strings.Join(lines[i].all(""), "\n"))
			}
		}
		head, isObject := bytes.CutSuffix(bytes.TrimRight(m.Payload, " \r\n\t"), []byte("}"))
		if !isObject || !json.Valid(m.Payload) || m.Op == tape.Binary || bytes.Contains(m.Payload, []byte(`"added"`)) {
			continue
		}
		last := lines[len(readers)]
		decided := <-last.start(m)
		if len(decided.Out) != 1 || !bytes.HasPrefix(decided.Out[0].Payload, bytes.TrimRight(head, " \r\n\t")) || !json.Valid(decided.Out[0].Payload) {
			t.Fatalf("%s: %q: %s", add, m.Payload, verdict(decided))
		}
	}
}

// randomMessage makes JSON with all that is hard to keep, and what is none.
func randomMessage(r *rand.Rand) *tape.Message {
	op := tape.Text
	if r.IntN(4) == 0 {
		op = tape.Binary
	}
	payload := []byte(randomJSON(r, 3, false))
	if r.IntN(3) == 0 { // broken somewhere
		for range 1 + r.IntN(3) {
			payload = append(payload, ' ')
			payload[r.IntN(len(payload))] = byte(r.Uint32())
		}
	}
	return message(tape.Client, op, string(payload))
}
