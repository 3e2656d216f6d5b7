package script

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/dop251/goja"
)

// cloneInto clones the value of source into another runtime, where it is named v.
func cloneInto(t *testing.T, source string) (*cloned, *goja.Runtime) {
	t.Helper()
	from, to := newGlobals(nil), newGlobals(nil)
	v, err := from.RunString(source)
	if err != nil {
		t.Fatalf("%s: %v", source, err)
	}
	c, err := snapshot(from, v, cloneLimit)
	if err != nil {
		t.Fatalf("%s: %v", source, err)
	}
	if err := to.Set("v", c.value(to)); err != nil {
		t.Fatal(err)
	}
	return c, to
}

func TestClone(t *testing.T) {
	for _, row := range []struct{ source, look, want string }{
		{`undefined`, `v`, `undefined`},
		{`null`, `v`, `null`},
		{`true`, `v`, `true`},
		{`-0`, `v`, `-0`},
		{`NaN`, `v`, `NaN`},
		{`1.5`, `v`, `1.5`},
		{`-(2n ** 70n)`, `v`, `-1180591620717411303424n`},
		{`"long enough to be imported é"`, `v`, `'long enough to be imported é'`},
		{`"\ud800x"`, `[v.length, v.charCodeAt(0)]`, `[ 2, 55296 ]`},
		{`({})`, `[v, Object.getPrototypeOf(v) === Object.prototype]`, `[ {}, true ]`},
		{`({ a: { b: [1, { c: "x" }] }, 2: 1, "k k": null })`, `v`, `{ '2': 1, a: { b: [ 1, { c: 'x' } ] }, 'k k': null }`},
		{`({ "\ud800": 1, "\ud801": { x: 2 }, "\ufffd": 3 })`, `[v["\ud800"], v["\ud801"], v["\ufffd"]]`, `[ 1, { x: 2 }, 3 ]`},
		{`JSON.parse('{"__proto__": {"evil": 1}, "x": 2}')`, `[v.evil, Object.keys(v), v.x]`, `[ undefined, [ '__proto__', 'x' ], 2 ]`},
		{`new (class A { x = 1; get y() { return 2 } })`, `[v, v.constructor === Object]`, `[ { x: 1 }, true ]`},
		{`({ get x() { return 5 } })`, `Object.getOwnPropertyDescriptor(v, "x").value`, `5`},
		{`Object.create({ inherited: 1 }, { hidden: { value: 1 }, shown: { value: 2, enumerable: true } })`, `v`, `{ shown: 2 }`},
		{`({ [Symbol("s")]: 1, a: 1 })`, `v`, `{ a: 1 }`},
		{`[1, "a", [2]]`, `[v, Array.isArray(v)]`, `[ [ 1, 'a', [ 2 ] ], true ]`},
		{`[1, , 3]`, `[v, 1 in v, v.length]`, `[ [ 1, <1 empty item>, 3 ], false, 3 ]`},
		{`const a = []; a[4e9] = "far"; a`, `[v.length, v[4e9]]`, `[ 4000000001, 'far' ]`},
		{`new Array(5)`, `[v.length, 0 in v]`, `[ 5, false ]`},
		{`const a = [1]; a.named = 2; a`, `[v.length, v.named]`, `[ 1, 2 ]`},
		{`Array.from({ length: 1000 }, (_, i) => i)`, `[v.length, v.every((x, i) => x === i)]`, `[ 1000, true ]`},
		{`new Date(86400000)`, `[v, v instanceof Date]`, `[ 1970-01-02T00:00:00.000Z, true ]`},
		{`new Date(NaN)`, `v`, `Invalid Date`},
		{`const r = /a\/é/gi; r.lastIndex = 3; r`, `[v, v.lastIndex, v.test("A/É")]`, `[ /a\/é/gi, 0, true ]`},
		{`[new Number(-0), new String("s\ud800"), new Boolean(false), Object(3n)]`, `[...v.map(x => typeof x), Object.is(v[0].valueOf(), -0), v[1].charCodeAt(1), v[2].valueOf(), v[3].valueOf()]`,
			`[ 'object', 'object', 'object', 'object', true, 55296, false, 3n ]`},
		{`new Map([[{ a: 1 }, new Set([1, "x"])], ["k", -0]])`, `[v, v instanceof Map]`, `[ Map(2) { { a: 1 } => Set(2) { 1, 'x' }, 'k' => -0 }, true ]`},
		{`new Uint8Array([1, 2, 3]).buffer`, `new Uint8Array(v)`, `Uint8Array(3) [ 1, 2, 3 ]`},
		{`new Uint8Array([1, 2, 3, 4]).subarray(1, 3)`, `[v, v.buffer.byteLength, v.byteOffset]`, `[ Uint8Array(2) [ 2, 3 ], 4, 1 ]`},
		{`[new Float64Array([1.5]), new BigInt64Array([-1n]), new Uint8ClampedArray([300]), new Int16Array([-1])]`, `v`,
			`[ Float64Array(1) [ 1.5 ], BigInt64Array(1) [ -1n ], Uint8ClampedArray(1) [ 255 ], Int16Array(1) [ -1 ] ]`},
		{`const b = new ArrayBuffer(4); [b, new Uint8Array(b), new DataView(b, 2)]`, `v[1][2] = 7; [v[0] === v[1].buffer, v[2].getUint8(0), v[2].byteLength]`, `[ true, 7, 2 ]`},
		{`new TypeError("bad", { cause: { n: 1 } })`, `[v instanceof TypeError, v.message, v.cause, v.stack.startsWith("TypeError: bad"), Object.keys(v)]`, `[ true, 'bad', { n: 1 }, true, [] ]`},
		{`const e = new RangeError("x"); e.name = "Mine"; e`, `[v instanceof RangeError, v instanceof Error, v.message]`, `[ false, true, 'x' ]`},
		{`const o = { n: 1 }; o.self = o; o.list = [o]; o`, `[v.self === v, v.list[0] === v]`, `[ true, true ]`},
		{`const m = new Map(); m.set(m, m); m`, `[v.get(v) === v]`, `[ true ]`},
		{`const e = new Error("x"); e.cause = e; e`, `v.cause === v`, `true`},
		{`const s = {}; [s, s]`, `v[0] === v[1]`, `true`},
		{`new Proxy({ a: 1 }, {})`, `v`, `{ a: 1 }`},
		{`new Proxy([1, 2], {})`, `[v, Array.isArray(v)]`, `[ [ 1, 2 ], true ]`},
		{`({ [Symbol.toStringTag]: "Uint8Array", x: 1 })`, `v.x`, `1`},
	} {
		_, rt := cloneInto(t, row.source)
		if got := evaluate(t, rt, row.look); got != row.want {
			t.Errorf("%s, %s\n got %s\nwant %s", row.source, row.look, got, row.want)
		}
	}
}

func TestCloneRefuses(t *testing.T) {
	for _, row := range []row{
		{`() => 1`, `state is a function`},
		{`({ socket: { onmessage() {} } })`, `state.socket.onmessage is a function`},
		{`({ "a b": [0, class {}] })`, `state["a b"][1] is a function`},
		{`({ s: Symbol("x") })`, `state.s is a symbol`},
		{`[Object(Symbol("x"))]`, `state[0] is a symbol`},
		{`({ p: Promise.resolve() })`, `state.p is a Promise`},
		{`({ w: new WeakMap() })`, `state.w is a WeakMap`},
		{`(function* () {})()`, `state is a Generator`},
		{`new Map([[1, { f() {} }]])`, `state (value 0).f is a function`},
		{`new Map([[() => 1, 2]])`, `state (key 0) is a function`},
		{`new Set([1, () => 1])`, `state (item 1) is a function`},
		{`({ a: { get x() { throw new Error("no") } } })`, `state.a.x cannot be read: Error: no`},
		{`({ p: new Proxy({}, { ownKeys() { throw new TypeError("trap") } }) })`, `state.p cannot be read: TypeError: trap`},
		{`const { proxy, revoke } = (() => { let r; const p = new Proxy({}, { get ownKeys() { throw new Error("revoked") } }); return { proxy: p, revoke: r } })(); [proxy]`, `state[0] cannot be read: Error: revoked`},
		{`let deep = []; for (let i = 0; i < 2000; i++) deep = [deep]; deep`, `is nested more than 1000 levels deep`},
		{`new Uint8Array(2 << 20)`, `state is too big to clone: more than 1048576 bytes`},
		{`Array.from({ length: 1e5 }, () => ({}))`, `state is too big to clone: more than 1048576 bytes`},
		{`const b = new ArrayBuffer(1); structuredClone(b, { transfer: [b] }); b`, `state is a detached ArrayBuffer`},
	} {
		rt := newGlobals(nil)
		v, err := rt.RunString(row.source)
		if err != nil {
			t.Fatalf("%s: %v", row.source, err)
		}
		_, err = snapshot(rt, v, 1<<20)
		var failed *cloneError
		if !errors.As(err, &failed) {
			t.Errorf("%s: got %v", row.source, err)
			continue
		}
		if got := failed.in("state"); !strings.HasSuffix(got, row.want) || len(got) > 500 {
			t.Errorf("%s\n got %s\nwant %s", row.source, got, row.want)
		}
	}
}

func TestCloneOfRevokedProxy(t *testing.T) {
	rt := goja.New()
	proxy := rt.NewProxy(rt.NewObject(), &goja.ProxyTrapConfig{})
	v := rt.ToValue(proxy)
	proxy.Revoke()
	if _, err := snapshot(rt, v, cloneLimit); err == nil {
		t.Error("a revoked proxy was cloned")
	}
	if got := inspect(rt, v); !strings.Contains(got, "revoked") {
		t.Errorf("it shows as %s", got)
	}
}

func TestCloneIsInterrupted(t *testing.T) {
	rt := goja.New()
	if err := rt.Set("interrupt", func() { rt.Interrupt("enough") }); err != nil {
		t.Fatal(err)
	}
	v, err := rt.RunString(`({ get x() { interrupt(); for (;;); } })`)
	if err != nil {
		t.Fatal(err)
	}
	_, err = snapshot(rt, v, cloneLimit)
	var interrupted *goja.InterruptedError
	if !errors.As(err, &interrupted) {
		t.Errorf("got %v", err)
	}
	rt.ClearInterrupt()
	if got, err := rt.RunString(`1 + 1`); err != nil || got.ToInteger() != 2 {
		t.Errorf("afterwards: %v, %v", got, err)
	}
}

func TestCloneKeepsNothingOfItsSource(t *testing.T) {
	rt := goja.New()
	v, err := rt.RunString(`globalThis.o = { list: [1], bytes: new Uint8Array([1]) }; o`)
	if err != nil {
		t.Fatal(err)
	}
	c, err := snapshot(rt, v, cloneLimit)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rt.RunString(`o.list.push(2); o.bytes[0] = 9; o.more = 1`); err != nil {
		t.Fatal(err)
	}
	first := c.value(rt)
	if err := rt.Set("first", first); err != nil {
		t.Fatal(err)
	}
	if _, err := rt.RunString(`first.list.push(3); first.bytes[0] = 8`); err != nil {
		t.Fatal(err)
	}
	if got := inspect(rt, c.value(rt)); got != `{ list: [ 1 ], bytes: Uint8Array(1) [ 1 ] }` {
		t.Errorf("got %s", got)
	}
}

// TestCloneIsShared is for the race detector: goja's own strings and BigInts are in
// the cloned, and all runtimes read them.
func TestCloneIsShared(t *testing.T) {
	from := goja.New()
	if err := from.Set("imported", strings.Repeat("imported é ", 10)); err != nil {
		t.Fatal(err)
	}
	v, err := from.RunString(`({ imported, plain: "a".repeat(50), big: 2n ** 80n, m: new Map([["k", new Uint8Array(9)]]), r: /x(?=y)/g,
		json: JSON.parse(JSON.stringify({ s: "é long enough for json" })), built: JSON.stringify("é built by json") })`)
	if err != nil {
		t.Fatal(err)
	}
	c, err := snapshot(from, v, cloneLimit)
	if err != nil {
		t.Fatal(err)
	}
	const look = `[v.imported.length, v.imported + v.plain, v.big + 1n, v.m.get("k")[0]++, v.r.test("xy"), v.json.s.toUpperCase(), v.built.length].join()`
	var group sync.WaitGroup
	results := make([]string, 8)
	for i := range results {
		group.Go(func() {
			rt := goja.New()
			if err := rt.Set("v", c.value(rt)); err != nil {
				t.Error(err)
				return
			}
			v, err := rt.RunString(look)
			if err != nil {
				t.Error(err)
				return
			}
			results[i] = v.String()
		})
	}
	group.Wait()
	for _, got := range results {
		if got == "" || got != results[0] {
			t.Errorf("got %q and %q", got, results[0])
		}
	}
}

func TestCloneSizeGrows(t *testing.T) {
	sizes := []int64{}
	for _, source := range []string{`1`, `({})`, `"x".repeat(1000)`, `new Uint8Array(1e5)`, `Array.from({ length: 1e4 }, (_, i) => ({ i }))`} {
		c, _ := cloneInto(t, source)
		if last := len(sizes) - 1; last >= 0 && c.size() <= sizes[last] {
			t.Errorf("%s has size %d, what came before %d", source, c.size(), sizes[last])
		}
		sizes = append(sizes, c.size())
	}
}

func BenchmarkClone(b *testing.B) {
	rt := goja.New()
	v, err := rt.RunString(`({ user: "alice", seen: 12, tags: ["a", "b"], last: { id: 7, at: new Date(0) } })`)
	if err != nil {
		b.Fatal(err)
	}
	c, err := snapshot(rt, v, cloneLimit)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("snapshot", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := snapshot(rt, v, cloneLimit); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("value", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.value(rt)
		}
	})
}
