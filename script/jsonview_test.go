package script

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/dop251/goja"
)

// viewJSON parses text for a test, with the live value in the global j.
func viewJSON(t testing.TB, text string) *jsonView {
	t.Helper()
	rt := goja.New()
	v, ok := newJSONView(rt, []byte(text))
	if !ok {
		t.Fatalf("%q is not JSON", text)
	}
	if err := rt.Set("j", v.value()); err != nil {
		t.Fatal(err)
	}
	return v
}

// changeJSON runs a script that changes j. Assigning to j itself is msg.json = …
func changeJSON(t testing.TB, v *jsonView, script string) {
	t.Helper()
	if _, err := v.rt.RunString(script); err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	if now := v.rt.Get("j"); !now.StrictEquals(v.value()) {
		v.set(now)
	}
}

// changedJSON is the text of a view after a script changed it.
func changedJSON(t testing.TB, text, script string) string {
	t.Helper()
	v := viewJSON(t, text)
	changeJSON(t, v, script)
	out, err := v.bytes()
	if err != nil {
		t.Fatalf("%s on %s: %v", script, text, err)
	}
	return string(out)
}

func TestJSONViewChanges(t *testing.T) {
	const big = "9007199254740993"
	tests := []struct{ name, text, script, want string }{
		{"assign", `{"a": 1, "id":` + big + `}`, `j.a = 2`, `{"a": 2, "id":` + big + `}`},
		{"assign what is there", `{"a":2.0}`, `j.a = 2`, `{"a":2.0}`},
		{"assign and back", `{"a":1e0}`, `j.a = 2; j.a = 1`, `{"a":1e0}`},
		{"zero is not minus zero", `{"a":-0}`, `j.a = 0`, `{"a":0}`},
		{"minus zero is written as zero", `{"a":1}`, `j.a = -0`, `{"a":0}`},
		{"infinity stays", `{"a":1e400,"b":1}`, `j.b = -j.a`, `{"a":1e400,"b":null}`},
		{"not a number", `[1]`, `j[0] = NaN`, `[null]`},
		{"numbers as JavaScript writes them", `[1,2,3,4]`, `j[0] = 1e21; j[1] = 0.1; j[2] = 1e-7; j[3] = -5`, `[1e+21,0.1,1e-7,-5]`},
		{"escaped key", `{"\u0061":1}`, `j.a = 2`, `{"\u0061":2}`},
		{"escaped value stays", `{"a":"\u0061\/","b":1}`, `j.b = j.a`, `{"a":"\u0061\/","b":"a/"}`},
		{"lone surrogate stays", `{"a":"\uD800","b":1}`, `j.b = 2`, `{"a":"\uD800","b":2}`},
		{"lone surrogate written", `{"a":1}`, `j.a = "\udc00x\ud83d\ude00"`, `{"a":"\udc00x😀"}`},
		{"lone surrogate in a key", `{"\uD800":1,"\ufffd":2}`, `j["\ud800"] = 3; j["\udfff"] = 4`, `{"\uD800":3,"\ufffd":2,"\udfff":4}`},
		{"lone surrogate key deleted", `{"\uD800":1,"\uD801":2}`, `delete j["\ud800"]`, `{"\uD801":2}`},
		{"pair in a key", `{"\ud83d\ude00":1}`, `j["😀"]++`, `{"\ud83d\ude00":2}`},
		{"escapes written", `[1]`, `j[0] = "\"\\\b\f\n\r\t\x01\x7f\u2028/"`, "[\"\\\"\\\\\\b\\f\\n\\r\\t\\u0001\x7f\u2028/\"]"},
		{"invalid UTF-8 stays", "{\"a\":\"\xff\xe2\x82\",\"b\":1}", `j.b = j.a.length`, "{\"a\":\"\xff\xe2\x82\",\"b\":3}"},
		{"surrounding space", " [1]\n", `j[0] = 2`, " [2]\n"},
		{"new root", " {\"a\":{ \"b\" : 1e0 }} \n", `j = {x: j.a, y: [j.a]}`, " {\"x\":{ \"b\" : 1e0 },\"y\":[{ \"b\" : 1e0 }]} \n"},
		{"root primitive", ` 1e0 `, `j = 1`, ` 1e0 `},
		{"root primitive changed", ` 1e0 `, `j = "x"`, ` "x" `},

		{"delete first", `{"a": 1, "b": 2, "c": 3}`, `delete j.a`, `{"b": 2, "c": 3}`},
		{"delete middle", `{"a": 1, "b": 2 , "c": 3}`, `delete j.b`, `{"a": 1 , "c": 3}`},
		{"delete last", `{"a": 1, "b": 2, "c": 3}`, `delete j.c`, `{"a": 1, "b": 2}`},
		{"delete last of lines", "{\n  \"a\": 1,\n  \"b\": 2\n}", `delete j.b`, "{\n  \"a\": 1\n}"},
		{"delete first of lines", "{\n  \"a\": 1,\n  \"b\": 2\n}", `delete j.a`, "{\n  \"b\": 2\n}"},
		{"delete all", "{\n  \"a\": 1,\n  \"b\": 2\n}", `delete j.a; delete j.b`, "{}"},
		{"delete and add again", `{"a":1.0,"b":2}`, `delete j.a; j.a = 1`, `{"a":1.0,"b":2}`},
		{"undefined is deleted", `{"a":1,"b":2}`, `j.a = undefined`, `{"b":2}`},
		{"function is deleted", `{"a":1,"b":2}`, `j.b = () => 1`, `{"a":1}`},
		{"symbol is deleted", `{"a":1,"b":2}`, `j.b = Symbol("x")`, `{"a":1}`},
		{"not enumerable is deleted", `{"a":1,"b":2}`, `Object.defineProperty(j, "a", {enumerable: false})`, `{"b":2}`},

		{"add", `{"a":1}`, `j.b = 2`, `{"a":1,"b":2}`},
		{"add in style", `{"a" : 1 , "b" : 2}`, `j.c = 3`, `{"a" : 1 , "b" : 2 , "c" : 3}`},
		{"add to one in style", `{"a": 1}`, `j.b = 2`, `{"a": 1, "b": 2}`},
		{"add to lines", "{\n\t\"a\": 1,\n\t\"b\": 2\n}", `j.c = {x: 1}`, "{\n\t\"a\": 1,\n\t\"b\": 2,\n\t\"c\": {\"x\":1}\n}"},
		{"add to one line", "{\n\t\"a\": 1\n}", `j.c = 3`, "{\n\t\"a\": 1,\n\t\"c\": 3\n}"},
		{"add to empty", `{"a": { }}`, `j.a.x = 1; j.a.y = 2`, `{"a": {"x": 1, "y": 2}}`},
		{"empty stays", `{"a": { }, "b":[ ], "c":1}`, `j.c = 2`, `{"a": { }, "b":[ ], "c":2}`},
		{"replace all", "{ \"a\": 1 }", `delete j.a; j.b = 2`, "{ \"b\": 2 }"},
		{"integer keys keep their place", `{"b":1,"2":2,"a":3,"1":4}`, `j.a = 5; j[0] = 6`, `{"b":1,"2":2,"a":5,"1":4,"0":6}`},
		{"proto is a key", `{"__proto__":{"x":1},"b":2}`, `j.b = j.x === undefined && Object.keys(j).length`, `{"__proto__":{"x":1},"b":2}`},
		{"proto is changed", `{"__proto__":{"x":1}}`, `Object.getOwnPropertyDescriptor(j, "__proto__").value.x = 3`, `{"__proto__":{"x":3}}`},
		{"empty key", `{"":1}`, `j[""] = 2`, `{"":2}`},

		{"duplicate assigned", `{"a":1,"b":2,"a":3}`, `j.a = 4`, `{"a":1,"b":2,"a":4}`},
		{"duplicate deleted", `{"a":1,"b":2,"\u0061":3}`, `delete j.a`, `{"b":2}`},
		{"duplicate undefined", `{"a":{"x":1},"b":2,"a":3}`, `j.a = undefined; j.c = 1`, `{"b":2,"c":1}`},
		{"duplicate beside a change", `{"a":{"x":1},"b":2,"a":3}`, `j.b = 7`, `{"a":{"x":1},"b":7,"a":3}`},

		{"push", `[` + big + `, 1]`, `j.push(2)`, `[` + big + `, 1, 2]`},
		{"push to one", `[1]`, `j.push(2)`, `[1,2]`},
		{"push to one in style", `{"a": [1]}`, `j.a.push(2)`, `{"a": [1, 2]}`},
		{"push to none", `[ ]`, `j.push(1, 2)`, `[1,2]`},
		{"pop", `[1, ` + big + ` , 2 ]`, `j.pop()`, `[1, ` + big + ` ]`},
		{"pop all", `[ 1 ]`, `j.pop()`, `[]`},
		{"shift", `[ 1, ` + big + `, 2 ]`, `j.shift()`, `[ ` + big + `, 2 ]`},
		{"unshift", `[ ` + big + `, 2 ]`, `j.unshift(0)`, `[ 0, ` + big + `, 2 ]`},
		{"splice", `[1, 2 ,` + big + `,  1.0]`, `j.splice(1, 1)`, `[1 ,` + big + `,  1.0]`},
		{"splice in", `[1.0, 2,` + big + `]`, `j.splice(1, 0, 7, 8)`, `[1.0,7,8, 2,` + big + `]`},
		{"splice over", `[1.0, 2, 3,` + big + `]`, `j.splice(1, 2, 7)`, `[1.0, 7,` + big + `]`},
		{"assign two", `[0, 1, 1.0 ,0]`, `j[0] = 9; j[2] = 8; j[3] = 9`, `[9, 1, 8 ,9]`},
		{"assign and pop", `[1, 7, 1.0, 9]`, `j[0] = 3; j.pop()`, `[3, 7, 1.0]`},
		{"reverse", `[1e0, ` + big + `,"\u0061"]`, `j.reverse()`, `["\u0061", ` + big + `,1e0]`},
		{"sort", `[{"n":2.0 }, { "n":1e0}]`, `j.sort((a, b) => a.n - b.n)`, `[{ "n":1e0}, {"n":2.0 }]`},
		{"swap", `{"a":{"x" :1}, "b":{ "y":2}}`, `[j.a, j.b] = [j.b, j.a]`, `{"a":{ "y":2}, "b":{"x" :1}}`},
		{"copy", `{"a":{"x" :1}}`, `j.b = j.a; j.c = [j.a]`, `{"a":{"x" :1},"b":{"x" :1},"c":[{"x" :1}]}`},
		{"move and change", `[{"x" :1, "y":1e0}, 2]`, `j.push({o: j.shift()}); j[1].o.x = 2`, `[2, {"o":{"x" :2, "y":1e0}}]`},
		{"length cut", `[1,2 , 3]`, `j.length = 1`, `[1]`},
		{"hole", `[1]`, `j[2] = 3`, `[1,null,3]`},
		{"undefined in an array", `[1,2.0]`, `j[0] = undefined`, `[null,2.0]`},
		{"filter", `{"ids":[ 1, ` + big + `, 3 ]}`, `j.ids = j.ids.filter(id => id != 1)`, `{"ids":[ ` + big + `, 3 ]}`},
		{"filter inside an array", `[[1,` + big + `,3],4]`, `j[0] = j[0].filter(id => id != 3)`, `[[1,` + big + `],4]`},
		{"array becomes object", `[[1]]`, `j[0] = {0: 1}`, `[{"0":1}]`},
		{"set length only", `[1,2]`, `j.x = 1`, `[1,2]`},

		{"date", `{"d":1}`, `j.d = new Date(0)`, `{"d":"1970-01-01T00:00:00.000Z"}`},
		{"boxed", `[1,2,3]`, `j[0] = new Number(4); j[1] = new String("x"); j[2] = new Boolean(false)`, `[4,"x",false]`},
		{"toJSON", `{"a":{"x":1},"b":1.0}`, `j.a.toJSON = key => [key, j.b]`, `{"a":["a",1],"b":1.0}`},
		{"toJSON in an array", `[1.0]`, `j.push({toJSON: key => typeof key + key})`, `[1.0,"string1"]`},
		{"toJSON undefined", `{"a":1,"b":{}}`, `j.b.toJSON = () => undefined`, `{"a":1}`},
		{"toJSON is a known node", `{"a":{ "x":1 },"b":1}`, `j.b = {toJSON: () => j.a}`, `{"a":{ "x":1 },"b":{ "x":1 }}`},
		{"toJSON that is no function", `{"toJSON":1.0}`, `0`, `{"toJSON":1.0}`},
		{"bigint with toJSON", `[1]`, `BigInt.prototype.toJSON = function () { return String(this) }; j[0] = 5n`, `["5"]`},
		{"raw JSON", `{"id":1}`, `j.id = JSON.rawJSON("` + big + `")`, `{"id":` + big + `}`},
		{"map and set", `[1,2]`, `j[0] = new Map([[1, 2]]); j[1] = new Set([1])`, `[{},{}]`},
		{"typed array", `[1]`, `j[0] = new Uint8Array([1, 2])`, `[{"0":1,"1":2}]`},
		{"getter", `{"a":1}`, `Object.defineProperty(j, "g", {get() { return this.a + 1 }, enumerable: true})`, `{"a":1,"g":2}`},
		{"getter runs once", `{"a":1,"a":2,"n":0}`, `let n = 0; Object.defineProperty(j, "a", {get() { return ++n }, enumerable: true})`, `{"a":1,"a":1,"n":0}`},
		{"proxy", `{"a":{ "x":1 },"b":[1]}`, `j.b = new Proxy(j.b, {}); j.a = new Proxy(j.a, {})`, `{"a":{"x":1},"b":[1]}`},
		{"null prototype", `[[1.0],{"a":1.0}]`, `Object.setPrototypeOf(j[0], null); Object.setPrototypeOf(j[1], null)`, `[[1.0],{"a":1.0}]`},
		{"prototype setters do not fire", `{"a":1}`, `Object.defineProperty(Object.prototype, "a", {set() { throw 1 }}); j.a = 2`, `{"a":2}`},
		{"frozen", `{"a":1.0}`, `Object.freeze(j)`, `{"a":1.0}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := changedJSON(t, tt.text, tt.script); got != tt.want {
				t.Errorf("%s\n on %s\ngot %s\nwant %s", tt.script, tt.text, got, tt.want)
			}
		})
	}
}

// What was not changed is the very slice.
func TestJSONViewUntouched(t *testing.T) {
	for _, text := range []string{
		`{}`, ` [ ] `, `null`, "\t\"\\ud800\"\n", `1e400`, `-0`, `9007199254740993`,
		`{"a":1,"a":{"b":2},"2":0,"1":[ 1 , 1E-7 ],"__proto__":{"\uDC00":0},"":""}`,
		"[\"\xff\xfe\",{\"\xff\":1, \"\\ufffd\":2}]",
		strings.Repeat("[", maxJSONDepth) + strings.Repeat("]", maxJSONDepth),
	} {
		in := []byte(text)
		v, ok := newJSONView(goja.New(), in)
		if !ok {
			t.Errorf("%q is not JSON", text)
			continue
		}
		for range 2 {
			if out, err := v.bytes(); err != nil || !sameJSONSlice(out, in) {
				t.Errorf("%q became %q, %v", text, out, err)
			}
		}
		if _, isObject := v.value().(*goja.Object); isObject {
			if out, err := v.encode(v.value()); err != nil || !sameJSONSlice(out, in) {
				t.Errorf("encode: %q became %q, %v", text, out, err)
			}
		}
	}
}

func sameJSONSlice(a, b []byte) bool {
	return len(a) == len(b) && len(a) > 0 && &a[0] == &b[0]
}

// A view compares with the text it came from, however often it is asked.
func TestJSONViewAgain(t *testing.T) {
	v := viewJSON(t, `{"a": 1.0, "b": [1.0, 2]}`)
	for _, step := range []struct{ script, want string }{
		{`j.a = 2`, `{"a": 2, "b": [1.0, 2]}`},
		{`j.b.shift()`, `{"a": 2, "b": [2]}`},
		{`j.a = 1; j.b.unshift(1)`, `{"a": 1.0, "b": [1.0, 2]}`},
		{`j = j.b`, `[1.0, 2]`},
		{`j = {b: j}`, `{"b":[1.0, 2]}`},
	} {
		changeJSON(t, v, step.script)
		if out, err := v.bytes(); err != nil || string(out) != step.want {
			t.Errorf("%s: got %s, %v; want %s", step.script, out, err, step.want)
		}
	}
}

func TestJSONViewEncode(t *testing.T) {
	v := viewJSON(t, ` {"a": {"x": 1.0}, "b": [ 1e0 ]}`)
	for script, want := range map[string]string{
		`j.a`:                                  `{"x": 1.0}`,
		`({r: j})`:                             `{"r":{"a": {"x": 1.0}, "b": [ 1e0 ]}}`,
		`[j.b, j.a, 1.0]`:                      `[[ 1e0 ],{"x": 1.0},1]`,
		`j.a.x`:                                `1`,
		`"x"`:                                  `"x"`,
		`({f() {}, u: undefined})`:             `{}`,
		`({a: 1, ["\ud800"]: 2, "\ufffd": 3})`: "{\"a\":1,\"\\ud800\":2,\"\ufffd\":3}",
		`[function () {}, undefined, Symbol("s"), , 1]`: `[null,null,null,null,1]`,
	} {
		val, err := v.rt.RunString(script)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := v.encode(val); err != nil || string(out) != want {
			t.Errorf("%s: got %s, %v; want %s", script, out, err, want)
		}
	}
}

// Without known nodes, the result is that of JSON.stringify.
func TestEncodeJSONStringify(t *testing.T) {
	rt := goja.New()
	for _, script := range []string{
		`null`, `true`, `-0`, `1e21`, `1.5e-7`, `123456789012345680000`, `"a\u0000\u001f\u2028\ud800\udc00\ud800"`,
		`[]`, `({})`, `[[],{}]`, `[1,,2]`, `({b: 1, 2: 1, a: 1, 1: 1})`, `[NaN, Infinity, -Infinity]`,
		`new Date(1e12)`, `[new Date(NaN)]`, `[new Number(3), new String("x"), new Boolean(true)]`,
		`new Proxy([1, [2]], {})`, `new Proxy({a: 1}, {ownKeys: () => ["a"]})`, `new Proxy(new Proxy([1], {}), {})`,
		`[() => 1]`, `({a: class {}, b: Symbol("x"), c: undefined, d: 1})`, `({toJSON() { return {x: this.y} }, y: 7})`,
		`new Map([[1, 2]])`, `new Error("x")`, `/x/g`, `Object.assign([1, 2], {x: 3})`, `Object.create({a: 1})`,
		`Object.create(null, {a: {value: 1, enumerable: true}, b: {value: 2}})`, `"x".repeat(100)`, `"é€😀\ufffd"`,
		`({["\ud800"]: 1, é: 2})`, `[new Number(-0)]`, `JSON.rawJSON("1e1000")`, `Array(3)`, `new Uint8Array([1,2])`,
		`(function () { return arguments })(1, 2)`, `new (class A { x = 1; #y = 2; get z() { return 3 } })`,
	} {
		val, err := rt.RunString("(" + script + ")")
		if err != nil {
			t.Fatalf("%s: %v", script, err)
		}
		rt.Set("val", val)
		want, err := rt.RunString("JSON.stringify(val)")
		if err != nil {
			t.Fatalf("%s: %v", script, err)
		}
		if got, err := encodeJSON(rt, val); err != nil || string(got) != want.String() {
			t.Errorf("%s: got %s, %v; want %s", script, got, err, want)
		}
	}
}

func TestJSONViewErrors(t *testing.T) {
	tests := []struct {
		name, script string
		want         error // nil: an exception of the script
	}{
		{"cycle", `j.a = j`, errJSONCycle},
		{"long cycle", `let o = j; for (let i = 0; i < 100; i++) o = o.a = {}; o.a = j`, errJSONCycle},
		{"cycle of arrays", `j.a = [[]]; j.a[0][0] = j.a`, errJSONCycle},
		{"cycle in a new root", `j = []; j[0] = j`, errJSONCycle},
		{"deep", `let o = j; for (let i = 0; i < 1000; i++) o = o.a = {}`, errJSONDepth},
		{"endless", `j.a = new Proxy({}, {ownKeys: () => ["x"], get: (t, k) => k === "x" ? new Proxy(t, this) : undefined,
			getOwnPropertyDescriptor: () => ({value: 1, enumerable: true, configurable: true})})
			const h = {ownKeys: () => ["x"], get: (t, k) => k === "x" ? new Proxy({}, h) : undefined,
			getOwnPropertyDescriptor: () => ({value: 1, enumerable: true, configurable: true})}; j.a = new Proxy({}, h)`, errJSONDepth},
		{"bigint", `j.a = 1n`, errJSONBigInt},
		{"boxed bigint", `j.a = Object(1n)`, errJSONBigInt},
		{"undefined", `j = undefined`, errJSONNothing},
		{"function", `j = () => 1`, errJSONNothing},
		{"root toJSON", `j.toJSON = () => undefined`, errJSONNothing},
		{"revoked", `const p = Proxy.revocable([], {}); j.a = {toJSON: () => p.proxy}; p.revoke()`, nil},
		{"sparse", `j.a = []; j.a.length = 4294967295`, errJSONSize},
		{"sparse, known", `j.l.length = 30000000`, errJSONSize},
		{"long", `j.a = "x".repeat(1 << 21)`, errJSONSize},
		{"doubling", `let o = "xx"; for (let i = 0; i < 40; i++) o = [o, o]; j.a = o`, errJSONSize},
		{"claims a length", `j.a = new Proxy([], {get: (t, k) => k === "length" ? 2 ** 53 : undefined})`, errJSONSize},
		{"throwing getter", `Object.defineProperty(j, "g", {get() { throw new Error("no") }, enumerable: true})`, nil},
		{"throwing element", `Object.defineProperty(j.l, 0, {get() { throw 1 }})`, nil},
		{"throwing toJSON", `j.toJSON = () => { throw new Error("no") }`, nil},
		{"throwing valueOf", `j.a = new Number(1); j.a.valueOf = () => { throw 1 }`, nil},
		{"throwing trap", `j.a = new Proxy({}, {ownKeys() { throw 1 }})`, nil},
		{"symbol as length", `j.a = new Proxy([], {get: (t, k) => k === "length" ? Symbol() : undefined})`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := viewJSON(t, `{"a":1,"l":[1],"long":"`+strings.Repeat("x", 100)+`"}`)
			v.limit = 1 << 20
			changeJSON(t, v, tt.script)
			out, err := v.bytes()
			if out != nil || err == nil {
				t.Fatalf("got %.100q, %v", out, err)
			}
			var thrown *goja.Exception
			if tt.want != nil && !errors.Is(err, tt.want) || tt.want == nil && !errors.As(err, &thrown) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if got, err := v.rt.RunString("1 + 1"); err != nil || got.ToInteger() != 2 {
				t.Errorf("the runtime is broken: %v, %v", got, err)
			}
		})
	}
}

// An interruption is an error, wherever it strikes.
func TestJSONViewInterrupted(t *testing.T) {
	for _, script := range []string{
		`Object.defineProperty(j, "a", {get() { for (stop();;); }, enumerable: true})`,
		`j.toJSON = () => { for (stop();;); }`,
		`j.a = new Proxy({}, {ownKeys() { for (stop();;); }})`,
		`Object.defineProperty(j, "\ud800", {get() { for (stop();;); }, enumerable: true})`,
	} {
		v := viewJSON(t, `{"a":1}`)
		v.rt.Set("stop", func() { v.rt.Interrupt("enough") })
		changeJSON(t, v, script)
		_, err := v.bytes()
		var interrupted *goja.InterruptedError
		if !errors.As(err, &interrupted) {
			t.Errorf("%s: got %v", script, err)
		}
	}
}

func TestJSONViewStackOverflow(t *testing.T) {
	v := viewJSON(t, `{"a":1}`)
	v.rt.SetMaxCallStackSize(100)
	changeJSON(t, v, `Object.defineProperty(j, "g", {get() { return this.g }, enumerable: true})`)
	_, err := v.bytes()
	var overflow *goja.StackOverflowError
	if !errors.As(err, &overflow) {
		t.Errorf("got %v", err)
	}
}

// The getter and toJSON of a value may change the value while it is being written.
func TestJSONViewChangesUnderneath(t *testing.T) {
	for _, script := range []string{
		`Object.defineProperty(j.l, 0, {get() { j.l.length = 1; return 7 }})`,
		`Object.defineProperty(j, "a", {get() { delete j.b; j.c = 1; return {} }, enumerable: true})`,
		`let n = 0; Object.defineProperty(j, "a", {get() { return n++ % 2 ? undefined : [n] }, enumerable: true})`,
		`j.l[1] = {toJSON() { j.l.push(1); return 1 }}`,
		`j.b.toJSON = () => { delete j.b.toJSON; return j.b }`,
	} {
		v := viewJSON(t, `{"a":1,"b":{"x":1},"l":[1,2,3]}`)
		changeJSON(t, v, script)
		for range 3 {
			if out, err := v.bytes(); err != nil || !json.Valid(out) {
				t.Errorf("%s: %s, %v", script, out, err)
			}
		}
	}
}

func TestParseJSON(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for text, want := range map[string]bool{
		"": false, " ": false, "{": false, "[1,]": false, `{"a":1,}`: false, `{"a"}`: false, `{a:1}`: false,
		"01": false, "-": false, "1.": false, ".5": false, "1e": false, "+1": false, "1 2": false, "nul": false,
		"NaN": false, "'x'": false, "\"\n\"": false, `"\x"`: false, `"\u12"`: false, `"\u123`: false, `"\`: false, `"`: false,
		"\ufeff1": false, "\v1": false, "1\x00": false,
		"0": true, "-0.0e-0": true, "1E+5": true, "\"\x7f\"": true, "\"\xff\"": true, `"\uD800"`: true, "\r\n\t null ": true,
		deep(maxJSONDepth): true, deep(maxJSONDepth + 1): false,
	} {
		if _, ok := parseJSON([]byte(text)); ok != want {
			t.Errorf("%.50q: got %v", text, ok)
		}
	}
}

// The values are those of JSON.parse where goja's JSON.parse is right.
func TestJSONViewValues(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		text := randomJSON(rng, 4, true)
		v := viewJSON(t, text)
		v.rt.Set("text", text)
		got, err := v.rt.RunString(`JSON.stringify([j, [j].map(x => x && typeof x === "object" ? Object.keys(x) : Object.is(x, -0))])`)
		if err != nil {
			t.Fatal(err)
		}
		want, err := v.rt.RunString(`j = JSON.parse(text); JSON.stringify([j, [j].map(x => x && typeof x === "object" ? Object.keys(x) : Object.is(x, -0))])`)
		if err != nil {
			t.Fatal(err)
		}
		if got.String() != want.String() {
			t.Fatalf("%s\n got %s\nwant %s", text, got, want)
		}
	}
	v := viewJSON(t, `[1e400,-1e400,-0,9007199254740993,1e-400,1E3,100000000000000000000,-5]`)
	got, err := v.rt.RunString(`j.map(x => Object.is(x, -0) ? "-0" : String(x)).join()`)
	if want := "Infinity,-Infinity,-0,9007199254740992,0,1000,100000000000000000000,-5"; err != nil || got.String() != want {
		t.Errorf("got %v, %v", got, err)
	}
	if n := v.value().ToObject(v.rt).Get("5"); n.ExportType() != v.rt.ToValue(1).ExportType() {
		t.Errorf("1E3 is a %v", n.ExportType())
	}
}

// Assigning one value changes the bytes of that value and no others.
func TestJSONViewAssignOne(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 5000 {
		text := randomJSON(rng, 5, false)
		v := viewJSON(t, text)
		i, holder, key, ok := randomJSONNode(rng, v)
		if !ok {
			continue
		}
		v.rt.Set("holder", holder)
		v.rt.Set("key", key)
		changeJSON(t, v, `holder[key] = "assigned"`)
		n := v.tree.nodes[i]
		want := text[:n.start] + `"assigned"` + text[n.end:]
		if got, err := v.bytes(); err != nil || string(got) != want {
			t.Fatalf("%s\n got %s, %v\nwant %s", text, got, err, want)
		}
	}
}

// randomJSONNode picks a node that is the property key of holder.
func randomJSONNode(rng *rand.Rand, v *jsonView) (i int32, holder, key goja.Value, ok bool) {
	type property struct {
		node        int32
		holder, key goja.Value
	}
	var all []property
	tree := &v.tree
	for i := range tree.nodes {
		holder := tree.nodes[i].val
		index := 0
		for c := int32(i) + 1; holder != nil && c < tree.nodes[i].next; c = tree.nodes[c].next {
			switch {
			case tree.nodes[i].kind == jsonArray:
				all = append(all, property{c, holder, v.rt.ToValue(index)})
			case !tree.nodes[c].shadowed && tree.keys[tree.nodes[c].key] != "__proto__":
				all = append(all, property{c, holder, v.wide.keyValue(tree.keys[tree.nodes[c].key])})
			}
			index++
		}
	}
	if len(all) == 0 {
		return 0, nil, nil, false
	}
	p := all[rng.IntN(len(all))]
	return p.node, p.holder, p.key, true
}

// Deleting a member removes it and one comma, and nothing else but white space.
func TestJSONViewDeleteOne(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 5000 {
		text := randomJSON(rng, 5, true)
		v := viewJSON(t, text)
		i, holder, key, ok := randomJSONNode(rng, v)
		if !ok || holder.(*goja.Object).ClassName() == "Array" {
			continue
		}
		v.rt.Set("holder", holder)
		v.rt.Set("key", key)
		changeJSON(t, v, `delete holder[key]`)
		n := v.tree.nodes[i]
		before, behind := squeezeJSON(text[:n.slot]), squeezeJSON(text[n.end:])
		if behind[0] == ',' {
			behind = behind[1:]
		} else if before[len(before)-1] == ',' {
			before = before[:len(before)-1]
		}
		got, err := v.bytes()
		if want := before + behind; err != nil || squeezeJSON(string(got)) != want {
			t.Fatalf("%s\n got %s, %v\nwant %s", text, got, err, want)
		}
		if !isSubsequence(string(got), text) {
			t.Fatalf("%s\nhas no %s", text, got)
		}
	}
}

// squeezeJSON removes white space. The strings of randomJSON have none.
func squeezeJSON(s string) string {
	return strings.NewReplacer(" ", "", "\n", "", "\t", "", "\r", "").Replace(s)
}

func isSubsequence(short, long string) bool {
	for i := 0; i < len(long) && short != ""; i++ {
		if long[i] == short[0] {
			short = short[1:]
		}
	}
	return short == ""
}

// randomJSON writes odd but valid JSON. If tame, goja's own JSON.parse reads it the same way:
// no infinities, lone surrogates or duplicate keys.
func randomJSON(rng *rand.Rand, depth int, tame bool) string {
	var b strings.Builder
	g := jsonGenerator{rng: rng, tame: tame, b: &b}
	g.space()
	g.value(depth)
	g.space()
	return b.String()
}

type jsonGenerator struct {
	rng  *rand.Rand
	tame bool
	b    *strings.Builder
}

func (g jsonGenerator) pick(from ...string) { g.b.WriteString(from[g.rng.IntN(len(from))]) }

func (g jsonGenerator) space() { g.pick("", "", "", " ", "\n  ", "\t", " \r\n") }

func (g jsonGenerator) value(depth int) {
	kind := g.rng.IntN(10)
	if depth == 0 {
		kind %= 5
	}
	switch {
	case kind < 3:
		g.number()
	case kind == 3:
		g.pick("true", "false", "null")
	case kind == 4:
		g.str(g.rng.IntN(5))
	case kind < 8:
		g.list('{', '}', func(i int) {
			g.key(i)
			g.space()
			g.b.WriteByte(':')
			g.space()
			g.value(depth - 1)
		})
	default:
		g.list('[', ']', func(int) { g.value(depth - 1) })
	}
}

func (g jsonGenerator) list(open, end byte, item func(i int)) {
	g.b.WriteByte(open)
	g.space()
	for i := range g.rng.IntN(6) {
		if i > 0 {
			g.b.WriteByte(',')
			g.space()
		}
		item(i)
		g.space()
	}
	g.b.WriteByte(end)
}

func (g jsonGenerator) number() {
	if !g.tame && g.rng.IntN(8) == 0 {
		g.pick("1e400", "-1E+999")
		return
	}
	g.pick("9007199254740993", "9007199254740992", "1E-7", "-0", "0", "1.0", "1e0", "1", "-12.50", "123456789012345678901234567890")
}

func (g jsonGenerator) key(i int) {
	if g.tame { // keys differ
		fmt.Fprintf(g.b, `"k%d`, i)
		g.pick(`"`, `\u0061"`, `é"`, `__proto__"`)
		return
	}
	switch g.rng.IntN(4) {
	case 0:
		g.pick(`""`, `"__proto__"`, `"1"`, `"0"`, `"a"`, `"\u0061"`, `"toJSON"`, `"length"`, `"constructor"`)
	case 1:
		fmt.Fprintf(g.b, `"%d"`, g.rng.IntN(30))
	default:
		g.str(g.rng.IntN(3))
	}
}

func (g jsonGenerator) str(n int) {
	g.b.WriteByte('"')
	for range n {
		g.pick("a", "b", `\u0061`, `\n`, `\/`, `\"`, "é", "😀", `\ud83d\ude00`)
		if !g.tame {
			g.pick("", "", `\uD800`, `\udc00`, "\xff", "\xed\xa0\x80", "\ufffd")
		}
	}
	g.b.WriteByte('"')
}

// jsonMutations are statements on o, some object or array of the value, with p another one and
// x a number.
func jsonMutations() []string {
	return []string{
		`o[x] = 7`, `o.a = "s"`, `delete o[x]`, `delete o.a`, `o["\ud800"] = x`, `delete o[Object.keys(o)[x]]`,
		`o[Object.keys(o)[x]] = 5`, `o[Object.keys(o)[x]] = undefined`, `o.a = {b: p}`, `o.a = [x, p, "é"]`,
		`if (Array.isArray(o)) o.push(x)`, `if (Array.isArray(o)) o.pop()`, `if (Array.isArray(o)) o.shift()`,
		`if (Array.isArray(o)) o.unshift(x, p)`, `if (Array.isArray(o)) o.splice(x, 1)`,
		`if (Array.isArray(o)) o.splice(1, 1, x, "new")`, `if (Array.isArray(o)) o.splice(x, 2, 1)`,
		`if (Array.isArray(o)) o.sort()`, `if (Array.isArray(o)) o.reverse()`, `if (Array.isArray(o)) o.length = x`,
		`{ const [a, b] = Object.keys(o); if (b !== undefined) [o[a], o[b]] = [o[b], o[a]] }`,
		`{ const k = Object.keys(o)[0]; if (Array.isArray(o[k])) o[k] = o[k].filter(v => v !== x) }`,
		`{ const k = Object.keys(o)[0]; if (Array.isArray(o[k])) o[k] = [...o[k], ...o[k]] }`,
		`o.d = new Date(x)`, `o.a = new Proxy(p, {})`, `o.a = new Number(x)`, `p = o`,
		`if (!Array.isArray(o) && o !== j) j = {root: j, o}`, `j = [j, o]`, `Object.freeze(o)`,
		`o.toJSON = () => x`,
	}
}

// mutateJSON is a script that picks its way through j and changes it. Its program is bytes.
func mutateJSON(program []byte) string {
	all := jsonMutations()
	var b strings.Builder
	b.WriteString("let o = j, p = j, x = 0;\n")
	b.WriteString("const step = n => { const k = o && Object.keys(o); const v = k && o[k[n % k.length]]; o = v && typeof v === 'object' ? v : j }\n")
	for len(program) >= 3 {
		fmt.Fprintf(&b, "step(%d); x = %d; if (o && typeof o === 'object') try { %s } catch {}\n",
			program[0], program[0]%5, all[int(program[1])%len(all)])
		if program[2]%3 == 0 {
			b.WriteString("p = o; o = j;\n")
		}
		program = program[3:]
	}
	return b.String()
}

// canonicalScript is a script whose result tells values apart, whatever the order of their keys.
const canonicalScript = `(function canon(v) {
	if (v === null || typeof v !== "object") return Object.is(v, -0) ? "-0" : typeof v === "number" ? String(v) : JSON.stringify(v);
	if (Array.isArray(v)) return "[" + v.map(canon).join() + "]";
	return "{" + Object.keys(v).sort().map(k => JSON.stringify(k) + ":" + canon(v[k])).join() + "}";
})`

// checkJSONMutation compares what a script makes of a view with what JSON.stringify makes of
// the same value, and the view's text with itself.
func checkJSONMutation(t testing.TB, text []byte, program []byte) {
	rt := goja.New()
	v, ok := newJSONView(rt, text)
	if !ok {
		return
	}
	if out, err := v.bytes(); err != nil || !sameJSONSlice(out, text) {
		t.Fatalf("untouched %q became %q, %v", text, out, err)
	}
	rt.Set("j", v.value())
	script := mutateJSON(program)
	if _, err := rt.RunString(script); err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	v.set(rt.Get("j"))
	out, err := v.bytes()
	plain, plainErr := rt.RunString(`JSON.stringify(j)`)
	if plainErr == nil && goja.IsUndefined(plain) {
		plainErr = errJSONNothing
	}
	if errors.Is(err, errJSONDepth) {
		return // JSON.stringify has no such limit
	}
	if (err == nil) != (plainErr == nil) {
		t.Fatalf("%s\non %q: %v, but JSON.stringify: %v", script, text, err, plainErr)
	}
	if err != nil {
		return
	}
	if !json.Valid(out) {
		t.Fatalf("%s\non %q: invalid %q", script, text, out)
	}
	got, want := canonicalJSON(t, rt, out), canonicalJSON(t, rt, []byte(plain.String()))
	// JSON.stringify loses what the view keeps.
	got = strings.NewReplacer("-Infinity", "null", "Infinity", "null", "-0", "0").Replace(got)
	want = strings.ReplaceAll(want, "-0", "0")
	if got != want {
		t.Fatalf("%s\non %q:\n got %s\nwant %s\n(%s)", script, text, got, want, out)
	}
	if again, err := v.bytes(); err != nil || !slices.Equal(again, out) {
		t.Fatalf("%s\non %q: first %q, then %q, %v", script, text, out, again, err)
	}
}

// canonicalJSON reads text and writes it in one way.
func canonicalJSON(t testing.TB, rt *goja.Runtime, text []byte) string {
	t.Helper()
	v, ok := newJSONView(rt, text)
	if !ok {
		t.Fatalf("%q is not JSON", text)
	}
	canon, err := rt.RunString(canonicalScript)
	if err != nil {
		t.Fatal(err)
	}
	call, _ := goja.AssertFunction(canon)
	s, err := call(goja.Undefined(), v.value())
	if err != nil {
		t.Fatal(err)
	}
	return s.String()
}

// Whatever a script does, the text says what JSON.stringify would say.
func TestJSONViewMutations(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 5000 {
		program := make([]byte, 3*rng.IntN(8))
		for i := range program {
			program[i] = byte(rng.Uint32())
		}
		checkJSONMutation(t, []byte(randomJSON(rng, 4, false)), program)
	}
}

// Large arrays are aligned in linear time, and keep their bytes all the same.
func TestJSONViewLargeArray(t *testing.T) {
	const count = 20000
	var elements []string
	for i := range count {
		elements = append(elements, fmt.Sprintf("%d.0", i))
	}
	text := func(elements []string) string { return "[" + strings.Join(elements, ", ") + "]" }
	reversed := slices.Clone(elements)
	slices.Reverse(reversed)
	var even []string
	for i := 0; i < count; i += 2 {
		even = append(even, elements[i])
	}
	for script, want := range map[string]string{
		`j.splice(5, 1); j.splice(19000, 1)`:    text(slices.Delete(slices.Delete(slices.Clone(elements), 5, 6), 19000, 19001)),
		`j.reverse()`:                           text(reversed),
		`j = j.filter(n => n % 2 === 0)`:        text(even),
		`j.shift(); j.push("x")`:                text(append(slices.Clone(elements[1:]), `"x"`)),
		`j.shift(); j[10000] = null; j.shift()`: text(append(append(slices.Clone(elements[2:10001]), "null"), elements[10002:]...)),
	} {
		if got := changedJSON(t, text(elements), script); got != want {
			t.Errorf("%s: got %.200s\nwant %.200s", script, got, want)
		}
	}
}

func TestJSONViewManyKeys(t *testing.T) {
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, `, "k%d": %d.0`, i, i)
	}
	text := "{" + b.String()[2:] + `, "k7": 1}`
	want := strings.Replace(strings.Replace(text, `"k5": 5.0, `, "", 1), `"k7": 1}`, `"k7": 2, "n": 3}`, 1)
	if got := changedJSON(t, text, `delete j.k5; j.k7 = 2; j.n = 3`); got != want {
		t.Errorf("got %.300s", got)
	}
}

func TestSameValueNumbers(t *testing.T) {
	rt := goja.New()
	one, half, minusZero := rt.ToValue(1), rt.ToValue(0.5), rt.ToValue(math.Copysign(0, -1))
	for _, tt := range []struct {
		was, is goja.Value
		want    bool
	}{
		{one, rt.ToValue(1.0), true}, {half, rt.ToValue(0.5), true}, {minusZero, rt.ToValue(0), false}, {rt.ToValue(0), minusZero, false},
		{one, rt.ToValue("1"), false}, {one, rt.ToValue(true), false}, {goja.Null(), goja.Undefined(), false}, {goja.Null(), goja.Null(), true},
		{one, nil, false}, {nil, one, false}, {rt.NewObject(), rt.NewObject(), false},
		{goja.StringFromUTF16([]uint16{0xD800}), goja.StringFromUTF16([]uint16{0xD800}), true},
		{goja.StringFromUTF16([]uint16{0xD800}), goja.StringFromUTF16([]uint16{0xD801}), false},
	} {
		if got := sameValue(tt.was, tt.is); got != tt.want {
			t.Errorf("%v, %v: got %v", tt.was, tt.is, got)
		}
	}
}

const benchJSON = `{"type":"message","id":12345,"user":{"id":77,"name":"alice","admin":false},"channel":"general",` +
	`"ts":1712345678.25,"seq":100231,"text":"hello there, how are you today?","tags":["a","b",3],"ok":true,"x":null}`

func BenchmarkJSONView(b *testing.B) {
	large := []byte(`{"items":[` + benchJSON)
	for len(large) < 4000 {
		large = append(append(large, ','), benchJSON...)
	}
	large = append(large, `],"type":"x"}`...)
	for _, msg := range []struct {
		name string
		text []byte
	}{{"200B", []byte(benchJSON)}, {"4KiB", large}} {
		b.Run(msg.name+"/parse", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				parseJSON(msg.text)
			}
		})
		b.Run(msg.name+"/new", func(b *testing.B) {
			rt := goja.New()
			b.ReportAllocs()
			for b.Loop() {
				newJSONView(rt, msg.text)
			}
		})
		b.Run(msg.name+"/read", func(b *testing.B) {
			rt := goja.New()
			b.ReportAllocs()
			for b.Loop() {
				v, _ := newJSONView(rt, msg.text)
				v.value().(*goja.Object).Get("type")
				v.bytes()
			}
		})
		b.Run(msg.name+"/assign", func(b *testing.B) {
			rt := goja.New()
			b.ReportAllocs()
			for b.Loop() {
				v, _ := newJSONView(rt, msg.text)
				v.value().(*goja.Object).Set("type", "y")
				v.bytes()
			}
		})
		b.Run(msg.name+"/goja-parse-stringify", func(b *testing.B) {
			rt := goja.New()
			made, _ := rt.RunString(`s => JSON.stringify(JSON.parse(s))`)
			call, _ := goja.AssertFunction(made)
			b.ReportAllocs()
			for b.Loop() {
				call(goja.Undefined(), rt.ToValue(string(msg.text)))
			}
		})
	}
}
