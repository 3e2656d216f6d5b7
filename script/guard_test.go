package script

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/dop251/goja"
)

func TestGuardRefuses(t *testing.T) {
	const most = 1 << 20
	for _, row := range []row{
		{`"x".repeat(2 ** 30)`, `repeat would make a string of 1073741824 bytes; script.memory allows 1048576`},
		{`"xy".repeat(2 ** 20)`, `repeat would make a string of 2097152 bytes`},
		{`"x".repeat(2 ** 53 - 1)`, `repeat would make`},
		{`"x".repeat(Infinity)`, `Invalid count`},
		{`"x".repeat(-1)`, `Invalid count`},
		{`"x".padStart(2 ** 30)`, `padStart or padEnd would make`},
		{`"x".padEnd(2 ** 53 - 1, "ab")`, `padStart or padEnd would make`},
		{`const s = "x".repeat(2000); s.replaceAll("x", s)`, `replace would make a string of 4002000 bytes`},
		{`const s = "x".repeat(2000); s.replace(/x/g, s)`, `replace would make a string of 4002000 bytes`},
		{`"x".repeat(1e5).replace(/x+/, "$&".repeat(1000))`, `replace would make`},
		{`new Array(2 ** 32 - 1).join("xx")`, `join would make a string of 8589934590 bytes`},
		{`const a = new Array(1e4).fill("x".repeat(1e4)); a.join()`, `join would make`},
		{`String(new Array(1e4).fill("x".repeat(1e4)))`, `join would make`},
		{`new Array(1e8).fill(0)`, `fill would make an array of 1600000000 bytes`},
		{`Array.from({ length: 1e9 })`, `Array.from would make an array of 16000000000 bytes`},
		{`new ArrayBuffer(2 ** 36)`, `new ArrayBuffer would make a buffer of 68719476736 bytes`},
		{`new Uint8Array(2 ** 21)`, `new Uint8Array would make a buffer of 2097152 bytes`},
		{`new Float64Array(2 ** 18)`, `new Float64Array would make a buffer of 2097152 bytes`},
		{`new Uint8Array({ length: 2 ** 40 })`, `new Uint8Array would make`},
		{`class Bytes extends Uint8Array {} new Bytes(2 ** 40)`, `new Uint8Array would make`},
		{`BigInt("9".repeat(1e6))`, `BigInt takes at most 300000 digits, not 1000000`},
		{`JSON.parse("[".repeat(1e5) + "]".repeat(1e5))`, `JSON.parse: nested more than 1000 levels deep`},
		{`JSON.parse('{"é":'.repeat(1e4))`, `JSON.parse: nested more than 1000 levels deep`},
	} {
		rt := newGlobals(nil)
		guardAll.install(rt, most)
		if _, err := rt.RunString(row.source); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, want %s", row.source, err, row.want)
		}
	}
}

func TestGuardIsNotInTheWay(t *testing.T) {
	for _, row := range []row{
		{`["ab".repeat(3), "x".repeat(0), "x".padStart(3), "x".padEnd(3, "ab"), "x".padEnd("4")]`, `[ 'ababab', '', '  x', 'xab', 'x   ' ]`},
		{`["a-b-c".replace("-", "+"), "a-b-c".replaceAll("-", "+"), "aab".replace(/a/g, "$&$&"), "ab".replace(/(a)(b)/, (m, a, b) => b + a)]`,
			`[ 'a+b-c', 'a+b+c', 'aaaab', 'ba' ]`},
		{`const s = "y".repeat(5000); (s + "x").replace(/x/g, s).length`, `10000`},
		{`const r = /x/g; r.lastIndex = 3; const s = "x".repeat(100); s.replace(r, "y".repeat(5000)).length + r.lastIndex`, `500000`},
		{`[[1, 2].join(), [1, [2, 3]].join("-"), [].join(), Array.prototype.join.call({ length: 2, 0: "a", 1: "b" })]`, `[ '1,2', '1-2,3', '', 'a,b' ]`},
		{`[new Array(3).fill(0), [1, 2, 3].fill(9, 1, 2), [1, [2, [3, [4]]]].flat(), [1, [2, [3, [4]]]].flat(Infinity)]`,
			`[ [ 0, 0, 0 ], [ 1, 9, 3 ], [ 1, 2, [ 3, [ 4 ] ] ], [ 1, 2, 3, 4 ] ]`},
		{`[Array.from({ length: 2 }, (_, i) => i), Array.from("ab"), Array.from(new Set([1]))]`, `[ [ 0, 1 ], [ 'a', 'b' ], [ 1 ] ]`},
		{`[new Uint8Array(2), new Uint8Array([1, 2]), new Uint8Array(new ArrayBuffer(4), 1, 2), Uint8Array.from([3]), Uint8Array.of(4), new Uint8Array()]`,
			`[ Uint8Array(2) [ 0, 0 ], Uint8Array(2) [ 1, 2 ], Uint8Array(2) [ 0, 0 ], Uint8Array(1) [ 3 ], Uint8Array(1) [ 4 ], Uint8Array(0) [] ]`},
		{`const u = new Uint8Array(1); [u.constructor === Uint8Array, u instanceof Uint8Array, Uint8Array.name, Uint8Array.BYTES_PER_ELEMENT, u.map(x => x) instanceof Uint8Array, typeof Uint8Array]`,
			`[ true, true, 'Uint8Array', 1, true, 'function' ]`},
		{`class Bytes extends Uint8Array { sum() { return this.reduce((a, b) => a + b) } } const b = new Bytes([1, 2]); [b.sum(), b instanceof Bytes, b instanceof Uint8Array, b.slice(1).constructor === Bytes]`,
			`[ 3, true, true, true ]`},
		{`[ArrayBuffer.isView(new Uint8Array(1)), new ArrayBuffer(8).slice(2).byteLength, new DataView(new ArrayBuffer(2)).byteLength]`, `[ true, 6, 2 ]`},
		{`try { Uint8Array(1) } catch (e) { e.name }`, `'TypeError'`},
		{`new TextEncoder().encode("x") instanceof Uint8Array`, `true`},
		{`[BigInt("12"), BigInt(3), typeof BigInt, BigInt.asUintN(8, 257n), Object(1n) instanceof BigInt]`, `[ 12n, 3n, 'function', 1n, true ]`},
		{`[JSON.parse('[{"a":"[[["}]'), JSON.parse("[1]", (k, v) => Array.isArray(v) ? v : v + 1), JSON.stringify({ a: 1 })]`, `[ [ { a: '[[[' } ], [ 2 ], '{"a":1}' ]`},
		{`JSON.parse("[" + '"[\\"[[",'.repeat(5000) + "1]").length`, `5001`},
		{`JSON.parse("[".repeat(1000) + "]".repeat(1000)).length`, `1`},
		{`["repeat".length, "".repeat.name, "".repeat.length, [].join.length, JSON.parse.length, Array.from.name]`, `[ 6, 'repeat', 1, 1, 2, 'from' ]`},
		{`Object.keys(Array.prototype).concat(Object.keys(String.prototype))`, `[]`},

		// The global object has another in front of it.
		{`this === globalThis`, `true`},
		{`var v = 1; function f() { return this.v } [globalThis.v, f(), delete globalThis.v, Object.keys(globalThis)]`, `[ 1, 1, false, [ 'f', 'v' ] ]`},
		{`globalThis.x = 1; x++; [x, "x" in globalThis, delete globalThis.x, typeof x]`, `[ 2, true, true, 'undefined' ]`},
		{`y = 1; [y, typeof undefined, typeof NaN, "Math" in globalThis, String(globalThis)]`, `[ 1, 'undefined', 'number', true, '[object global]' ]`},
		{`"use strict"; try { z = 1 } catch (e) { e.name }`, `'ReferenceError'`},
		{`const Map = 1; let Uint8Array = 2; [Map, Uint8Array]`, `[ 1, 2 ]`},
		{`Uint8Array = 5; [Uint8Array, globalThis.Uint8Array]`, `[ 5, 5 ]`},
		{`undefined = 5; undefined`, `undefined`},
	} {
		rt := newGlobals(nil)
		guardAll.install(rt, 1<<20)
		if got := evaluate(t, rt, row.source); got != row.want {
			t.Errorf("%s\n got %s\nwant %s", row.source, got, row.want)
		}
	}
}

func TestGuardsForASource(t *testing.T) {
	for _, row := range []struct {
		source string
		want   guards
	}{
		{`export function onMessage(msg) { msg.json.user = "alice" }`, 0},
		{`x.repeat(3)`, guardRepeat},
		{`x.replaceAll("a", "b")`, guardReplace | guardReplaceAll},
		{`[1].join() + y.fill(0)`, guardJoin | guardFill},
		{`String(list)`, guardJoin},
	} {
		if got := guardsFor(row.source); got != row.want {
			t.Errorf("%s: got %b, want %b", row.source, got, row.want)
		}
	}
	rt := goja.New()
	guardRepeat.install(rt, 100)
	if _, err := rt.RunString(`"x".repeat(101)`); err == nil {
		t.Error("repeat has no guard")
	}
	if _, err := rt.RunString(`"x".padStart(101)`); err != nil {
		t.Errorf("padStart has one: %v", err)
	}
}

// runaways are scripts that never end by themselves, or only after very long.
func runaways() []string {
	return []string{
		`function f() { f() } f()`,
		`function f(a, b, c) { return f(a, b, c) + 1 } f(1, 2, 3)`,
		`const o = { get x() { return this.x } }; o.x`,
		`const o = { toString() { return "" + this } }; "" + o`,
		`const o = { valueOf() { return +this } }; +o`,
		`const o = { toJSON() { return JSON.stringify(this) } }; JSON.stringify(o)`,
		`const o = { toJSON() { return { o } } }; JSON.stringify(o)`,
		`function f() { [1, 2].sort(f) } f()`,
		`function f() { "x".replace(/x/, f) } f()`,
		`function f() { [1].map(f) } f()`,
		`const p = new Proxy({}, { get(t, k, r) { return r[k] } }); p.x`,
		`class A { constructor() { new A() } } new A()`,
		`function* g() { for (const x of g()) yield x } g().next()`,
		`async function f() { await f() } f()`,
		`const o = { [Symbol.iterator]() { return [...this] } }; [...o]`,
		`function f() { eval("f()") } f()`,
		`function f() { JSON.parse("[1]", f) } f()`,
		`let a = []; for (;;) a = [a]`,
		`let s = "xy"; for (;;) s = s.slice(1) + "é"`,
		`const list = []; list.push(list); list.flat(Infinity); for (;;);`,
		`const deep = "[".repeat(5e6) + "]".repeat(5e6); JSON.parse(deep)`,
		`/(?=x|a)(a+)+$/.test("a".repeat(40) + "b"); throw "it answered"`,
		`/(a+)+\1$/.test("a".repeat(40) + "b"); throw "it answered"`,
		`const r = /(a+)+$/g; r.lastIndex = 1; r.test("a".repeat(40) + "b"); throw "it answered"`,
		`"a".repeat(40).concat("b").replace(/(?=a)(a+)+$/g, "x"); throw "it answered"`,
	}
}

const asRunaway = "WSTAPE_TEST_RUNAWAY"

// TestRunaways runs them in a process of their own, because a stack overflow in Go
// ends the process, and expects all of them to come back.
func TestRunaways(t *testing.T) {
	if os.Getenv(asRunaway) != "" {
		runRunaways()
		return
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	child := exec.CommandContext(ctx, program, "-test.run=^TestRunaways$", "-test.v")
	child.Env = append(os.Environ(), asRunaway+"=1")
	output, err := child.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%.3000s", err, output)
	}
	for i, source := range runaways() {
		if !strings.Contains(string(output), fmt.Sprintf("came back %d\n", i)) {
			t.Errorf("%s did not come back as it should:\n%.3000s", source, output)
		}
	}
}

// runRunaways prints which of them end with what they should.
func runRunaways() {
	const timeout = 100 * time.Millisecond
	limitRegexps(timeout)
	for i, source := range runaways() {
		rt := newGlobals(nil)
		rt.SetMaxCallStackSize(maxCallStack)
		guardAll.install(rt, 64<<20)
		program := goja.MustCompile("", source, false)
		timer := time.AfterFunc(timeout, func() { rt.Interrupt("timeout") })
		_, err := rt.RunProgram(program)
		timer.Stop()
		var interrupted *goja.InterruptedError
		var overflow *goja.StackOverflowError
		if errors.As(err, &interrupted) || errors.As(err, &overflow) || err != nil && strings.Contains(err.Error(), "nested more") {
			fmt.Printf("came back %d\n", i)
		} else {
			fmt.Printf("%s: %v\n", source, err)
		}
	}
}

func BenchmarkGuard(b *testing.B) {
	install := func(set guards) func(b *testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				set.install(goja.New(), 256<<20)
			}
		}
	}
	b.Run("constructors only", install(0))
	b.Run("and repeat", install(guardRepeat))
	b.Run("and three methods", install(guardRepeat|guardReplace|guardJoin))
	b.Run("and all methods", install(guardAll))
}
