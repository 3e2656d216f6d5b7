package script

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/wstape/wstape/tape"
)

// program writes a hook's code, choosing by the bytes that it is made of.
type program struct{ bytes []byte }

func (p *program) pick(n int) int {
	if len(p.bytes) == 0 {
		return 0
	}
	b := int(p.bytes[0])
	p.bytes = p.bytes[1:]
	return b % n
}

// value writes an expression.
func (p *program) value(depth int) string {
	simple := []string{
		"undefined", "m", "m.text", "m.json", "m.bytes", `"x"`, `"\ud800"`, "5", "null", "false", "true", "kept", "m.json?.a", "-0", "1n", "NaN",
		"Symbol.iterator", "(() => 1)", "new Uint8Array([1, 255])", "new ArrayBuffer(2)", "new Date(0)", "new Map([[1, 2]])", `new Error("e")`,
		"new Proxy([], {})", "Object.create(null)", "session", "session.state", "m.bytes.buffer", "m.bytes.subarray(1)", "new String('s')", "globalThis", "new Array(3)",
	}
	compound := []string{
		"({ a: %s })", "[%s]", "[m, %s]", "({ toJSON() { return %s } })", "({ get a() { throw %s } })", "({ then(f) { f(%s) } })", "({ then(_, f) { f(%s) } })",
		"Promise.resolve(%s)", "Promise.reject(%s)", "(async () => { await null; return %s })()", "new Proxy({}, { get: () => %s })", "Object.assign(m.json ?? {}, { b: %s })",
		"new Promise(f => setTimeout(f, 0, %s))", "Object.freeze([%s])", "(function* () { yield %s })()", "({ __proto__: %s })", "Object.defineProperty([1], 0, { get() { return %s } })",
	}
	n := len(simple)
	if depth > 0 {
		n += len(compound)
	}
	if i := p.pick(n); i < len(simple) {
		return simple[i]
	} else {
		return fmt.Sprintf(compound[i-len(simple)], p.value(depth-1))
	}
}

// statement writes a statement.
func (p *program) statement() string {
	form := []string{
		"m.text = %s", "m.json = %s", "m.bytes = %s", "m.json.a = %s", "m.bytes[0] = %s", "delete m.json.a", "m.json.push(%s)", "m.json.length = %s", "kept = %s",
		"session.state = %s", "session.send('client', %s)", "session.note(%s)", "m.extra = %s", "m.json.a.b = %s", "await %s", "if (calls > 1) throw %s",
		"Object.prototype.a = %s", "setTimeout(() => { m.text = %s }, 0)", "m.toString = () => %s", "session.close(%s)", "Object.setPrototypeOf(m, { inherited: %s })", "console.log(%s)",
	}[p.pick(22)]
	if strings.Contains(form, "%s") {
		form = fmt.Sprintf(form, p.value(2))
	}
	return "try { " + form + " } catch (e) { caught = e }"
}

func newProgram(bytes []byte) (code string, m *tape.Message) {
	p := program{bytes: bytes}
	ops := []tape.Opcode{tape.Text, tape.Binary, tape.Ping}
	payloads := []string{`{"a":1, "b":[1e400,"\ud800"]}`, "", "plain", "a\xff", "[1, 2]", "5", `"s"`, "false", " {} "}
	m = message(tape.Side(p.pick(2)), ops[p.pick(len(ops))], payloads[p.pick(len(payloads))])
	async := []string{"", "async "}[p.pick(2)]
	var body []string
	for range p.pick(5) {
		if s := p.statement(); async != "" || !strings.HasPrefix(s, "try { await") {
			body = append(body, s)
		}
	}
	end := []string{"return %s", "throw %s", "return [%s, m.text]"}[p.pick(3)]
	body = append(body, fmt.Sprintf(end, p.value(3)))
	return async + "(m, session) => { calls++; " + strings.Join(body, "\n") + " }", m
}

// FuzzHookResult runs hooks that do and return strange things. Whatever they do, there
// is a verdict that makes sense, and the session goes on.
func FuzzHookResult(f *testing.F) {
	for _, seed := range []string{"", "\x00\x00\x00\x00\x01\x03\x20", "\x01\x00\x00\x01\x02\x0e\x29\x2a\x03\x00\x22\x21", "\x00\x01\x01\x00\x04\x00\x05\x03\x06\x0a\x07\x11\x22\x33\x00\x05"} {
		f.Add([]byte(seed))
	}
	const hook = `
		globalThis.calls = 0; globalThis.kept = globalThis.caught = undefined
		export function onMessage(m, session) { return m.text === "ping" ? "pong" : run(m, session) }
		export function onControl(m, session) { return run(m, session) }`
	r := newRig(f, Options{Timeout: 200 * time.Millisecond, AwaitTimeout: 5 * time.Millisecond, OnError: Drop}, hook)
	f.Fuzz(func(t *testing.T, bytes []byte) {
		code, m := newProgram(bytes)
		j := newJournal()
		s := r.chain.Open(tape.Session{}, j)
		defer s.Closed(tape.Ending{})
		l := &line{j, t, s}
		var err error
		l.in(func(v *vm) { _, err = v.rt.RunString("run = " + code) })
		if err != nil {
			t.Skipf("%v: %s", err, code)
		}
		began := time.Now()
		for range 2 {
			before := string(m.Payload)
			v := <-l.start(m)
			switch {
			case string(m.Payload) != before:
				t.Errorf("%s: the message itself was changed: %q", code, m.Payload)
			case v.Fate == tape.Passed && len(v.By)+len(v.Out) == 0, v.Fate == tape.Dropped && len(v.Out) == 0 && len(v.By) == 1:
			case v.Fate != tape.Edited || len(v.Out) == 0 || len(v.By) != 1:
				t.Errorf("%s: %+v", code, v)
			}
			for _, c := range v.Out {
				if m.Op.Control() && (c.Op != m.Op || len(c.Payload) > maxControl || len(v.Out) > 1) {
					t.Errorf("%s: %s", code, verdict(v))
				}
			}
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("%s: took %v", code, took)
		}
		for _, line := range l.all("note the script") { // a bug, or abandoned
			switch {
			case strings.Contains(line, "is *goja.baseObject, not *goja.Promise"):
				t.Skip("a bug of goja's: await of an object that inherits from a promise")
			case strings.Contains(line, "could not be stopped"):
				t.Skip("too slow to stop, which is for the session to bear")
			}
			t.Errorf("%s: %s", code, line)
		}
		if got := l.say("ping"); got != pong && !strings.Contains(code, "Object.prototype.a") {
			t.Errorf("%s: the session goes on with %s\n%s", code, got, strings.Join(l.all(""), "\n"))
		}
	})
}
