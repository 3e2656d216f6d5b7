package script

import (
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/dop251/goja"
)

// folder writes files, named "script.ts" or "lib/helper.ts", to a new folder.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		write(t, filepath.Join(dir, name), text)
	}
	return dir
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// masked is an error's text with DIR in the place of a folder's path.
func masked(err error, dir string) string {
	text := strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), "DIR/")
	return strings.ReplaceAll(text, dir, "DIR")
}

// loaded loads and runs a script.
func loaded(t testing.TB, path string) (*goja.Runtime, *goja.Object) {
	t.Helper()
	p, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	rt := goja.New()
	rt.SetMaxCallStackSize(200)
	exports, err := p.run(rt)
	if err != nil {
		t.Fatal(Explain(err))
	}
	return rt, exports
}

// shown is what a script exports as r, or what the promise r came to.
func shown(exports *goja.Object) string {
	v := exports.Get("r")
	if v == nil {
		return "no r"
	}
	if p, ok := v.Export().(*goja.Promise); ok {
		v = p.Result()
		if p.State() == goja.PromiseStatePending {
			return "pending"
		}
	}
	return v.String()
}

// TestSyntax is what docs/scripting.md says about the language, row by row.
func TestSyntax(t *testing.T) {
	for _, c := range []struct{ name, source, want string }{
		// What goja knows.
		{"async functions", `export const r = (async () => await 1)()`, "1"},
		{"generators", `export const r = [...(function* () { yield 1; yield* [2] })()]`, "1,2"},
		{"classes with fields", `export const r = new (class { x = 1; static y = 2; ["z"] = 3 })().z`, "3"},
		{"private members", `class A { #x = 1; #m() { return this.#x } get #g() { return this.#m() } g() { return this.#g } static #s = 2; static s() { return A.#s } } export const r = new A().g() + A.s()`, "3"},
		{"#x in o", `class A { #x; static has(o) { return #x in o } } export const r = [A.has({}), A.has(new A())]`, "false,true"},
		{"static blocks", `class A { static x; static { this.x = 1 } } export const r = A.x`, "1"},
		{"BigInt", `export const r = 10n ** 20n + BigInt(new BigInt64Array(1).length)`, "100000000000000000001"},
		{"logical assignment", `let a, b = 0; a ??= 1; b ||= 2; b &&= 3; export const r = [a, b]`, "1,3"},
		{"numeric separators", `export const r = 1_000_000`, "1000000"},
		{"optional chaining", `export const r = String({}.a?.b?.[1]?.())`, "undefined"},
		{"nullish coalescing", `export const r = null ?? 1`, "1"},
		{"exponent", `export const r = 2 ** 3`, "8"},
		{"object rest and spread", `const { a, ...b } = { a: 1, c: 2, ...{ d: 3 } }; export const r = JSON.stringify(b)`, `{"c":2,"d":3}`},
		{"optional catch binding", `let x = 0; try { throw 1 } catch { x = 1 } export const r = x`, "1"},
		{"tagged templates", "export const r = ((s, v) => s.raw[0] + v)`\\n${1}`", `\n1`},
		{"new.target", `export const r = new (function () { this.t = new.target !== undefined })().t`, "true"},
		{"getters and computed names", `export const r = { get ["a" + 1]() { return 1 } }.a1`, "1"},
		{"Unicode in names", `const é = 1, 𠮷 = 2; export const r = é + 𠮷`, "3"},
		{"labels", `let n = 0; a: for (;;) for (;;) { n++; break a } export const r = n`, "1"},
		{"closures in loops", `const f = []; for (let i = 0; i < 3; i++) f.push(() => i); export const r = f.map(x => x())`, "0,1,2"},
		{"hashbang", "#!/usr/bin/env wstape\nexport const r = 1", "1"},
		{"direct eval", `export const r = eval("1 + 1")`, "2"},
		{"new Function", `export const r = new Function("a", "return a + 1")(1)`, "2"},
		{"Proxy and Reflect", `export const r = new Proxy({}, { get: (_, k) => k }).hello + Reflect.ownKeys({ a: 1 })`, "helloa"},
		{"regexp: named groups", `export const r = /(?<y>\d+)-\k<y>/.exec("12-12").groups.y + "1".replace(/(?<d>1)/, "<$<d>>")`, "12<1>"},
		{"regexp: look behind", `export const r = /(?<=a)b/.test("ab") && !/(?<!a)b/.test("ab")`, "true"},
		{"regexp: s, u, y", `export const r = /a.b/s.test("a\nb") && /^.$/u.test("😀") && /b/y.test("ab") === false`, "true"},
		{"regexp: matchAll", `export const r = [..."a1b2".matchAll(/\d/g)].map(m => m[0])`, "1,2"},
		{"new array methods", `export const r = [[3, 1].toSorted(), [1].with(0, 2), [1, 2].at(-1), [1, 2].findLast(x => x < 2), [[1]].flat()].join(";")`, "1,3;2;2;1;1"},
		{"set operations", `export const r = [...new Set([1]).union(new Set([2]))]`, "1,2"},
		{"promises", `export const r = (async () => [(await Promise.allSettled([1, Promise.reject(2)])).length, await Promise.any([3])])()`, "2,3"},
		{"base 64 of bytes", `export const r = new Uint8Array([1, 2]).toBase64() + new Uint8Array([255]).toHex() + Uint8Array.fromBase64("AQ==")`, "AQI=ff1"},
		{"error cause", `export const r = new Error("a", { cause: "b" }).cause`, "b"},

		// What esbuild writes in other words.
		{"for await", `export const r = (async () => { let s = 0; for await (const x of [1, Promise.resolve(2)]) s += x; return s })()`, "3"},
		{"for await over one's own", `const o = { async *[Symbol.asyncIterator]() { yield 1; yield 2 } }; export const r = (async () => { let s = 0; for await (const x of o) s += x; return s })()`, "3"},
		{"async generators", `async function* g() { yield 1; yield* [2, 3]; await null } export const r = (async () => { const a = []; for await (const x of g()) a.push(x); return a })()`, "1,2,3"},
		{"async generator methods", `class A { static async *m() { yield 1 } } export const r = A.m().next().then(x => x.value)`, "1"},
		{"async generators are async iterable", `async function* g() {} export const r = typeof g()[Symbol.asyncIterator]`, "function"},
		{"using", `let s = ""; { using a = { [Symbol.dispose]() { s += "a" } }; s += "b" } export const r = s`, "ba"},
		{"await using", `export const r = (async () => { let s = ""; { await using a = { async [Symbol.asyncDispose]() { s += "a" } }; s += "b" } return s })()`, "ba"},
		{"decorators", `const twice = f => function () { return 2 * f.call(this) }; class A { @twice m() { return 1 } accessor x = 3 } export const r = [new A().m(), new A().x]`, "2,3"},
		{"decorator metadata", `const keep = (_, c) => { c.metadata.k = 1 }; @keep class A {} export const r = A[Symbol.metadata].k`, "1"},
		{"import() of a path in quotes", `export const r = import("./helper").then(m => m.one)`, "1"},
		{"import() of a pattern", `export const r = Promise.all(["a", "b"].map(n => import("./many/" + n + ".js"))).then(m => m.map(x => x.default))`, "A,B"},
		{"functions in blocks", `{ function f() { return 1 } } module.exports = { r: f() }`, "1"},
		{"HTML comments", "<!-- a\nmodule.exports = { r: 1 }\n--> b", "1"},

		// TypeScript.
		{"types", "interface A {\n  a: number\n}\ntype B = A & { b?: string }\nexport const r = (({ a: 1 } as B) satisfies A)!.a", "1"},
		{"enums", "enum E { A = 1, B, C = 'c' }\nconst enum F { X = 9 }\nexport const r = [E.B, E[1], E.C, F.X]", "2,A,c,9"},
		{"namespaces", "namespace N { export const x = 1 }\nexport const r = N.x", "1"},
		{"parameter properties", "class A { constructor(readonly x: number, private y = 2) {} sum() { return this.x + this.y } }\nexport const r = new A(1).sum()", "3"},
		{"generics, overloads, abstract", "abstract class A<T> { abstract m(x: T): T }\nfunction f(a: string): string\nfunction f(a: any) { return a }\nclass B extends A<number> { override m(x: number) { return x } }\nexport const r = new B().m(1) + f('a')", "1a"},
		{"import type", "import type { T } from './types'\nimport { one, type U } from './helper'\nexport const r = one", "1"},

		// What else can be imported.
		{"json", `import j, { a } from "./data.json"; export const r = [j.b.c, a]`, "2,1"},
		{"json with an attribute", `import j from "./data.json" with { type: "json" }; export const r = j.a`, "1"},
		{"text", `import t from "./text.txt"; export const r = t`, "héllo\n"},
		{"bytes", `import b from "./bytes.bin"; export const r = b instanceof Uint8Array && [...b]`, "0,255,128"},
		{"require", `module.exports = { r: require("./helper").one + require("./data").a }`, "2"},
		{"a package", `import three from "three"; export const r = three()`, "3"},
		{"a part of a package", `import { four } from "@scope/pack/four"; export const r = four`, "4"},
		{"a package's browser version", `import where from "fork"; export const r = where`, "browser"},
		{"process.env.NODE_ENV", `export const r = process.env.NODE_ENV`, "production"},
		{"global", `export const r = global === globalThis`, "true"},

		// What is strict.
		{"ES modules are strict", `export const r = (function () { return this === undefined })()`, "true"},
		{"CommonJS modules need not be", `module.exports = { r: (function () { return this === globalThis })() }`, "true"},
		{"CommonJS modules are only in functions that say so", `"use strict"; const f = function () { "use strict"; return this }; module.exports = { r: [(function () { return this === globalThis })(), f() === undefined] }`, "true,true"},

		// What exists in other engines and not here.
		{"no Intl, WeakRef …", `export const r = ["Intl", "WeakRef", "FinalizationRegistry", "SharedArrayBuffer", "Atomics", "Temporal", "Iterator", "Float16Array", "WebAssembly"].filter(n => n in globalThis)`, ""},
		{"no newest functions", `export const r = [Object.groupBy, Map.groupBy, Array.fromAsync, Promise.withResolvers, Promise.try, "".isWellFormed, RegExp.escape, Error.captureStackTrace, [].values().map, ArrayBuffer.prototype.transfer].filter(f => f)`, ""},
		{"no Node", `export const r = [typeof process, typeof Buffer, typeof __dirname, typeof __filename, typeof setImmediate]`, "undefined,undefined,undefined,undefined,undefined"},
		{"no locales", `let r; try { (1234.5).toLocaleString("de-DE") } catch (e) { r = e.name } export { r }`, "RangeError"},
		{"regexps made of strings are not checked", `export const r = new RegExp("\\p{L}", "u").test("é")`, "false"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := folder(t, map[string]string{
				"script.ts": c.source,
				"helper.ts": "export type U = string\nexport const one: number = 1", "types.ts": "export type T = string",
				"many/a.js": "export default 'A'", "many/b.js": "export default 'B'",
				"data.json": `{"a": 1, "b": {"c": 2}}`, "text.txt": "héllo\n", "bytes.bin": "\x00\xff\x80",
				"node_modules/three/package.json":       `{"name": "three", "main": "lib"}`,
				"node_modules/three/lib/index.js":       "'use strict'\nmodule.exports = () => 3",
				"node_modules/@scope/pack/package.json": `{"name": "@scope/pack", "exports": {"./four": {"import": "./4.mjs", "require": "./4.cjs"}}}`,
				"node_modules/@scope/pack/4.mjs":        "export const four = 4",
				"node_modules/@scope/pack/4.cjs":        "exports.four = 'four'",
				"node_modules/fork/package.json":        `{"name": "fork", "exports": {"browser": "./b.js", "default": "./n.js"}}`,
				"node_modules/fork/b.js":                "export default 'browser'",
				"node_modules/fork/n.js":                "import crypto from 'node:crypto'\nexport default 'node'",
			})
			// goja runs pending promises when the script has run.
			if _, exports := loaded(t, filepath.Join(dir, "script.ts")); shown(exports) != c.want {
				t.Errorf("r = %q, want %q", shown(exports), c.want)
			}
		})
	}
}

func TestLoadErrors(t *testing.T) {
	for _, c := range []struct{ name, source, want string }{
		{"syntax", "let a = 1\n\tlet é = 2 3\n", `
script script.ts:2:12: Expected ";" but found "3"
    	let é = 2 3
    	          ^`},
		{"several", "let a\nlet a\nlet b, b\n", `
script script.ts:2:5: The symbol "a" has already been declared
    let a
        ^
script script.ts:3:8: The symbol "b" has already been declared
    let b, b
           ^`},
		{"in a helper", `import "./lib/broken"`, `
script lib/broken.ts:2:9: Unexpected "}"
    let x = }
            ^`},
		{"no such export", "import { two } from './helper'\nexport const x = two", `
script script.ts:1:10: No matching export in "helper.ts" for import "two"
    import { two } from './helper'
             ^`},
		{"a module of Node", "import fs from \"fs\"\nexport const x = fs", `
script script.ts:1:16: "fs" is a part of Node, and scripts do not run in Node: they have no file system, network or process
    import fs from "fs"
                   ^
    import a .json or .txt file, or keep values in the global store`},
		{"a module of Node by its long name", "const { randomUUID } = require('node:crypto')", `
script script.ts:1:32: "node:crypto" is a part of Node, and scripts do not run in Node: they have no file system, network or process
    const { randomUUID } = require('node:crypto')
                                   ^
    use the global crypto: randomUUID, getRandomValues, subtle.digest`},
		{"a part of a module of Node", "import 'fs/promises'", `
script script.ts:1:8: "fs/promises" is a part of Node, and scripts do not run in Node: they have no file system, network or process
    import 'fs/promises'
           ^
    import a .json or .txt file, or keep values in the global store`},
		{"a package that needs Node", "import 'needy'", `
script node_modules/needy/index.js:1:9: "net" is a part of Node, and scripts do not run in Node: they have no file system, network or process
    require("net")
            ^
    a script can talk only to the two ends of its session: session.send`},
		{"a package that is not installed", "import { get } from 'lodash/fp'\nexport const x = get", `
script script.ts:1:21: there is no package "lodash/fp" in node_modules
    import { get } from 'lodash/fp'
                        ^
    install it: cd DIR && npm install lodash`},
		{"a package with a scope", "import '@a/b/c'", `
script script.ts:1:8: there is no package "@a/b/c" in node_modules
    import '@a/b/c'
           ^
    install it: cd DIR && npm install @a/b`},
		{"a file without ./", "import 'helper'", `
script script.ts:1:8: there is no package "helper" in node_modules
    import 'helper'
           ^
    for the file next to this one, write "./helper"`},
		{"a file that is not there", "import './nowhere.js'", `
script script.ts:1:8: there is no file "./nowhere.js" to import
    import './nowhere.js'
           ^`},
		{"a URL", "import 'https://esm.sh/lodash'", `
script script.ts:1:8: "https://esm.sh/lodash" is on the network, which scripts have no access to
    import 'https://esm.sh/lodash'
           ^
    save the file next to the script, or install the package with npm`},
		{"a file of another kind", "import './style.sass'", `
script script.ts:1:8: No loader is configured for ".sass" files: style.sass
    import './style.sass'
           ^
    scripts can import JavaScript, TypeScript, .json, .txt (a string) and .bin (a Uint8Array)`},
		{"await outside of functions", "export const x = await 1", `
script script.ts:1:18: await is not available outside of functions
    export const x = await 1
                     ^
    put it into an async function, for example onOpen`},
		{"regexp flag v", `export const x = /[\p{L}--a]/v`, `
script script.ts:1:30: The regular expression flag "v" is not available
    export const x = /[\p{L}--a]/v
                                 ^
    the engine has the flags g, i, m, s, u and y`},
		{"regexp flag d", `export const x = /a/d`, `
script script.ts:1:21: The regular expression flag "d" is not available
    export const x = /a/d
                        ^
    the engine has the flags g, i, m, s, u and y`},
		{"regexp \\p", `export const x = /^\p{Lu}/u`, `
script script.ts:1:20: Unicode property escapes in regular expressions are not available
    export const x = /^\p{Lu}/u
                       ^
    write the range out, like [A-Za-z\u00C0-\u024F]: the engine would take \p{L} for the letters p{L}`},
		{"regexp \\p in a package", `import 'letters'`, `
script node_modules/letters/index.js:1:19: Unicode property escapes in regular expressions are not available
    module.exports = /\p{L}/u
                      ^
    write the range out, like [A-Za-z\u00C0-\u024F]: the engine would take \p{L} for the letters p{L}`},
		{"regexp modifiers, which only goja refuses", "export const y = 1\n\nexport const é = /(?i:a)b/", `
script script.ts:3:18: Invalid group
    export const é = /(?i:a)b/
                     ^
    so says the engine that runs scripts, which may not know this syntax`},
		{"import.meta", "export const x = import.meta.url", `
script script.ts:1:18: "import.meta" is not available
    export const x = import.meta.url
                     ^
    scripts have no file system that import.meta could point into`},
		{"import() of a name", "export const x = y => import(y)", `
script script.ts:1:23: This "import" expression will not be bundled because the argument is not a string literal
    export const x = y => import(y)
                          ^
    import() needs a path in quotes: what a script imports is bundled when it is loaded`},
		{"require() of a name", "exports.x = y => require(y)", `
script script.ts:1:18: This call to "require" will not be bundled because the argument is not a string literal
    exports.x = y => require(y)
                     ^
    require() needs a path in quotes: what a script imports is bundled when it is loaded`},
		{"another encoding", "export const a = 1\nconst b = '\xe9'", `
script script.ts:2:12: is not UTF-8 text: save it as UTF-8
    const b = '
               ^`},
		{"UTF-16", "\xff\xfel\x00e\x00t\x00", `
script script.ts:1:1: is not UTF-8 text: save it as UTF-8`},
		{"another encoding in a helper", "import './latin'", `
script latin.js:1:2: is not UTF-8 text: save it as UTF-8
    "
     ^`},
		{"a long line", "let a = '" + strings.Repeat("x", 300) + "' 1; " + strings.Repeat("y", 300), `
script script.ts:1:312: Expected ";" but found "1"
    ` + strings.Repeat("x", 58) + `' 1; ` + strings.Repeat("y", 57) + `
    ` + strings.Repeat(" ", 60) + `^`},
		{"very many", strings.Repeat("let a\n", 13), strings.Repeat(`
script script.ts:N:5: The symbol "a" has already been declared
    let a
        ^`, 10) + "\n… and 2 more"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := folder(t, map[string]string{
				"script.ts": c.source, "helper.ts": "export const one = 1", "lib/broken.ts": "let y\nlet x = }", "latin.js": "\"\xe9\"", "style.sass": "a",
				"node_modules/needy/index.js": `require("net")`, "node_modules/letters/index.js": `module.exports = /\p{L}/u`,
			})
			path := filepath.Join(dir, "script.ts")
			_, err := Load(path)
			var wrong *LoadError
			if !errors.As(err, &wrong) {
				t.Fatalf("error %v, want a LoadError", err)
			}
			got := masked(err, dir)
			if c.name == "very many" {
				for _, n := range []string{"2", "3", "4", "5", "6", "7", "8", "9", "10", "11"} {
					got = strings.Replace(got, "script.ts:"+n+":", "script.ts:N:", 1)
				}
			}
			if want := strings.TrimPrefix(c.want, "\n"); got != want {
				t.Errorf("error\n%s\nwant\n%s", got, want)
			}
			if wrong.Script != "script.ts" || len(wrong.Files) == 0 || wrong.Files[0] != path {
				t.Errorf("script %q, files %q, want %q first", wrong.Script, wrong.Files, path)
			}
		})
	}
}

func TestLoadFiles(t *testing.T) {
	dir := folder(t, map[string]string{
		"empty.js": "", "types.ts": "export interface A { a: number }\ntype B = A", "bom.js": "\ufeffexport const r = 1",
		"noext": "export const r = 1", "odd.name": "export const r = 1", "strange #1 %41 (é).ts": "export const r = 1",
		"folder.js/x": "", "comment.js": "// only this",
	})
	if err := os.Truncate(filepath.Join(dir, "empty.js"), 0); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" { // where no file can have that name
		write(t, filepath.Join(dir, "asterisk*.js"), "export const r = 1")
	}
	write(t, filepath.Join(dir, "large.js"), "")
	if err := os.Truncate(filepath.Join(dir, "large.js"), maxSource+1<<20); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ file, want, wrong string }{
		{"empty.js", "no r", ""},
		{"types.ts", "no r", ""},
		{"comment.js", "no r", ""},
		{"bom.js", "1", ""},
		{"noext", "1", ""},
		{"odd.name", "1", ""},
		{"strange #1 %41 (é).ts", "1", ""},
		{"missing.js", "", "load script DIR/missing.js: no such file or directory"},
		{"folder.js", "", "load script DIR/folder.js: is a folder: give the path of the script's file"},
		{"large.js", "", "load script DIR/large.js: has 33 MiB, the limit is 32"},
		{"asterisk*.js", "", "script asterisk*.js: the path of a script cannot contain an asterisk\n    rename DIR/asterisk*.js"},
	} {
		t.Run(c.file, func(t *testing.T) {
			if _, err := os.Stat(filepath.Join(dir, c.file)); err != nil && c.file != "missing.js" {
				t.Skip(err)
			}
			p, err := Load(filepath.Join(dir, c.file))
			if err != nil || c.wrong != "" {
				if err == nil || masked(err, dir) != c.wrong {
					t.Errorf("error %v, want %s", err, c.wrong)
				}
				return
			}
			exports, err := p.run(goja.New())
			if err != nil || shown(exports) != c.want || p.Name != c.file || p.Path != filepath.Join(dir, c.file) {
				t.Errorf("%+v: %v %v, want %s", p, exports, err, c.want)
			}
		})
	}
	if _, err := Load(filepath.Join(dir, "missing.js")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v is not ErrNotExist", err)
	}
}

// TestCompileErrors is about syntax that esbuild leaves as it is and goja does
// not know; there is none today that the parser, and not the compiler, refuses.
func TestCompileErrors(t *testing.T) {
	for _, c := range []struct{ name, bundle, want string }{
		{"the parser's", "(function(){\nlet x = @;\n})\n", "script a.ts:2:3: Unexpected token ILLEGAL\n      x += y\n      ^\n    so says"},
		{"the compiler's", "(function(){\nlet x = /(?i:a)/;\n})\n", "script a.ts:2:3: Invalid group\n      x += y\n      ^\n    so says"},
		{"in no file of the user", "(function(){@\n;\n})\n", "script a.ts: Unexpected token ILLEGAL\n    so says"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := folder(t, map[string]string{"a.ts": "// one\n  x += y\r\n"})
			b := &bundler{name: "a.ts", dir: dir}
			_, err := b.compile([]byte(c.bundle), []byte(`{"version": 3, "sources": ["a.ts"], "mappings": ";AACE"}`))
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("error\n%v\nwant\n%s", err, c.want)
			}
		})
	}
}

func TestLoadRefusesLargeBundles(t *testing.T) {
	if testing.Short() {
		t.Skip("32 MiB take a second")
	}
	half := strings.Repeat("x", maxSource/2)
	dir := folder(t, map[string]string{"a.txt": half, "b.txt": half, "script.js": "export { default as a } from './a.txt'\nexport { default as b } from './b.txt'"})
	_, err := Load(filepath.Join(dir, "script.js"))
	if err == nil || !strings.HasPrefix(err.Error(), "script script.js: what it imports makes a bundle of 32 MiB, the limit is 32\n    import less") {
		t.Errorf("error %v", err)
	}
}

func TestFilesOfAProgram(t *testing.T) {
	dir := folder(t, map[string]string{
		"project/script.ts":                       "import './lib/a'; import './data.json'; import 'pack'; import type { T } from './types'",
		"project/lib/a.ts":                        "import '../../shared/b'",
		"project/data.json":                       "{}",
		"project/types.ts":                        "export type T = 1",
		"project/tsconfig.json":                   "{}",
		"project/node_modules/pack/package.json":  `{"name": "pack", "main": "m.js", "sideEffects": true}`,
		"project/node_modules/pack/m.js":          "exports.x = 1",
		"project/node_modules/pack/not-needed.js": "",
		"shared/b.ts":                             "export {}; globalThis.x = 1",
	})
	link := filepath.Join(dir, "link.ts")
	if err := os.Symlink(filepath.Join("project", "script.ts"), link); err != nil {
		t.Skip(err)
	}
	p, err := Load(link)
	if err != nil {
		t.Fatal(err)
	}
	got := slices.Clone(p.Files)
	for i := range got {
		got[i] = filepath.ToSlash(strings.TrimPrefix(got[i], dir+string(filepath.Separator)))
	}
	want := []string{"link.ts", "project/data.json", "project/lib/a.ts", "project/node_modules/pack/m.js", "project/script.ts", "project/tsconfig.json", "shared/b.ts"}
	if !slices.Equal(got, want) || p.Name != "link.ts" || p.Path != link {
		t.Errorf("files %q, want %q (name %q, path %q)", got, want, p.Name, p.Path)
	}
}

func TestTSConfig(t *testing.T) {
	const paths = `{"compilerOptions": {"paths": {"@lib/*": ["./lib/*"]}}}`
	for _, c := range []struct {
		name, at string
		text     string
		ok       bool
	}{
		{"next to the script", "a/tsconfig.json", paths, true},
		{"in a folder above", "tsconfig.json", paths, false},
		{"broken, in a folder above", "tsconfig.json", "{", false},
		{"broken, next to the script", "a/tsconfig.json", "{", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := folder(t, map[string]string{
				c.at: c.text, "a/lib/x.ts": "export const r = 1", "lib/x.ts": "export const r = 1",
				"a/script.ts": "export { r } from '@lib/x'",
			})
			_, err := Load(filepath.Join(dir, "a", "script.ts"))
			if (err == nil) != c.ok {
				t.Errorf("error %v, want none: %v", err, c.ok)
			}
		})
	}
}

func TestLoadAllNames(t *testing.T) {
	dir := folder(t, map[string]string{"chat.ts": "", "a/chat.ts": "", "b/chat.ts": "", "x/y/deep.js": "", "z/y/deep.js": "", "one.js": ""})
	paths := []string{"one.js", "a/chat.ts", "b/chat.ts", "x/y/deep.js", "z/y/deep.js", "one.js", "one.js"}
	for i := range paths {
		paths[i] = filepath.Join(dir, filepath.FromSlash(paths[i]))
	}
	programs, err := LoadAll(paths)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"one.js", "a/chat.ts", "b/chat.ts", "x/y/deep.js", "z/y/deep.js", "one.js#2", "one.js#3"}
	for i, p := range programs {
		if p.Name != want[i] {
			t.Errorf("%s is named %q, want %q", p.Path, p.Name, want[i])
		}
	}
	_, err = LoadAll([]string{filepath.Join(dir, "missing1.js"), paths[0], filepath.Join(dir, "missing2.js")})
	if err == nil || !strings.Contains(err.Error(), "missing1.js") || !strings.Contains(err.Error(), "missing2.js") {
		t.Errorf("error %v, want one about both", err)
	}
}

func TestExports(t *testing.T) {
	for _, c := range []struct{ name, source, want string }{
		{"named", "export const onMessage = 1, other = 2", "onMessage,other"},
		{"CommonJS", "exports.onMessage = 1", "onMessage"},
		{"module.exports", "module.exports = { onOpen: 1 }", "onOpen"},
		{"a function as module.exports", "module.exports = Object.assign(() => {}, { onOpen: 1 })", "onOpen"},
		{"default object with hooks", "export default { onMessage: 1, from: 'client' }", "onMessage,from"},
		{"default object without hooks", "export default { message: 1 }", "default"},
		{"named hooks win", "export const onOpen = 1; export default { onMessage: 1 }", "default,onOpen"},
		{"a default that is no object", "export default 1", "default"},
		{"an instance of a class", "class A { onMessage() {} }; export default new A()", ""},
		{"none", "let a = 1", ""},
		{"this is the exports", "this.onMessage = 1", "onMessage"},
		{"names of all kinds", "const é = 1; export { é as onOpen, é as if, é as 'a \\' as b, ', é as é }; export default class {}", "a ' as b, ,default,if,onOpen,é"},
		{"from elsewhere", "export * from './b'; export * as ns from './b'; export { b as onClose } from './b'", "b,ns,onClose"},
		{"a ring of imports", "import { again } from './ring'; export const onOpen = () => again; again()", "onOpen"},
		{"text that looks like exports", "const a = 1; globalThis.x = `\nexport {\n  a as onOpen\n};\n})\n`", ""},
		{"exports and text that looks like them", "const a = 1; globalThis.x = `\nexport {\n  a as onOpen\n};\n})\n`; export { a }", "a"},
		{"CommonJS and text that looks like exports", "exports.a = `\nexport {\n  a as onOpen\n};\n})\n`", "a"},
		{"what it became in the end", "export let onOpen; onOpen = 1", "onOpen"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, exports := loaded(t, filepath.Join(folder(t, map[string]string{
				"a.js": c.source, "b.js": "export const b = 2", "ring.js": "import { onOpen } from './a'; export function again() { return onOpen }",
			}), "a.js"))
			if got := strings.Join(exports.Keys(), ","); got != c.want {
				t.Errorf("exports %s, want %s", got, c.want)
			}
		})
	}
}

func TestExportsThatFail(t *testing.T) {
	for _, c := range []struct{ name, source, want string }{
		{"a number", "module.exports = 1", "run script a.js: module.exports is not an object; assign hooks to its properties: exports.onMessage = …"},
		{"nothing", "module.exports = undefined", "run script a.js: module.exports is not an object; assign hooks to its properties: exports.onMessage = …"},
		{"a getter that throws", "module.exports = { get default() { throw new Error('no') } }", "Error: no\n    at default (a.js:1:42)"},
		{"an error in CommonJS", "exports.x = 1\n\nfoo()", "ReferenceError: foo is not defined\n    at a.js:3:1"},
		{"an error", "\n\nfoo()", "ReferenceError: foo is not defined\n    at a.js:3:1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := Load(filepath.Join(folder(t, map[string]string{"a.js": c.source}), "a.js"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.run(goja.New()); err == nil || Explain(err) != c.want {
				t.Errorf("error %s, want %s", Explain(err), c.want)
			}
		})
	}
}

func TestNamesOfExports(t *testing.T) {
	for _, c := range []struct{ name, source, want string }{
		{"ES module", "export const onOpen = 1; export default 2", "default,onOpen"},
		{"CommonJS", "exports.onOpen = 1", ""},
		{"none", "1", ""},
	} {
		p, err := Load(filepath.Join(folder(t, map[string]string{"a.js": c.source}), "a.js"))
		if err != nil || strings.Join(p.Exports, ",") != c.want {
			t.Errorf("%s: %v, error %v, want %s", c.name, p.Exports, err, c.want)
		}
	}
}

func TestProgramsAreShared(t *testing.T) {
	p, err := Load(filepath.Join(folder(t, map[string]string{"a.js": "let n = 0; export const onMessage = () => ++n"}), "a.js"))
	if err != nil {
		t.Fatal(err)
	}
	counts := make(chan string)
	for range 4 {
		go func() {
			exports, err := p.run(goja.New())
			if err != nil {
				counts <- err.Error()
				return
			}
			f, _ := goja.AssertFunction(exports.Get("onMessage"))
			_, _ = f(nil)
			n, _ := f(nil)
			counts <- n.String()
		}()
	}
	for range 4 {
		if n := <-counts; n != "2" {
			t.Errorf("counted %s, want 2", n)
		}
	}
}

// TestExplain shows positions in the user's own files, whatever the bundle
// made of them.
func TestExplain(t *testing.T) {
	dir := folder(t, map[string]string{
		"chat é.ts": `import { helper } from "./lib/help #1"
import boom from "pack"
type X = {
  a: number
}
enum E {
  A = 1,
  B
}

export function imported(m: X) {
  const s: string = "é😀"; boom(() => helper({ x: m.a }))
}
export function recursive(): number { return recursive() + 1 }
export function property(o: any) { return o.a.b.c }
export function caused() { throw new TypeError("later", { cause: new Error("because", { cause: "of this" }) }) }
export function ring() { const e = new Error("ring"); e.cause = e; throw e }
export function text() { throw "some\ntext" }
export function object() { throw { code: 7, e: E.B } }
export function nothing() { throw undefined }
export function hidden() { throw { toJSON() { throw 1 } } }
export function liar() { const e = new Error(); Object.defineProperty(e, "message", { get() { throw 1 } }); throw e }
class Own extends Error { name = "Own" }
export function own() { throw new Own("mine") }
export function evaluated() { eval("null.x") }
export function native() { [2, 1].sort(() => { throw new RangeError("in sort") }) }
export function lowered() {
  class A { @(f => f) m() {} accessor x: number = (() => { throw new Error("low") })() }
  new A()
}
export function endless() { for (;;); }
export function missing() { try { require("nowhere") } catch (e) { throw e } }
`,
		"lib/help #1.ts":                 "export interface A {\n  x: number\n}\n\nexport function helper(a: A) {\n  if (!a.x)   throw new Error(`bad é ${a.x}`)\n}\n",
		"node_modules/pack/package.json": `{"name": "pack", "main": "m.js"}`,
		"node_modules/pack/m.js":         "module.exports = function (f) {\r\n  return [1].map(function each() { return f() })\r\n}",
	})
	rt, exports := loaded(t, filepath.Join(dir, "chat é.ts"))
	for _, c := range []struct{ hook, want string }{
		{"imported", `
Error: bad é 0
    at helper (lib/help #1.ts:6:21)
    at chat é.ts:12:39
    at each (node_modules/pack/m.js:2:43)
    at map (native)
    at node_modules/pack/m.js:2:14
    at imported (chat é.ts:12:28)`},
		{"recursive", "\nRangeError: Maximum call stack size exceeded\n    at recursive (chat é.ts:14:46) (201 times)"},
		{"property", "\nTypeError: Cannot read property 'c' of undefined\n    at property (chat é.ts:15:49)"},
		{"caused", "\nTypeError: later\n    caused by Error: because\n    caused by threw \"of this\"\n    at caused (chat é.ts:16:34)"},
		{"ring", "\nError: ring" + strings.Repeat("\n    caused by Error: ring", maxCauses) + "\n    at ring (chat é.ts:17:36)"},
		{"text", "\nthrew \"some\\ntext\"\n    at text (chat é.ts:18:26)"},
		{"object", "\nthrew {\"code\":7,\"e\":2}\n    at object (chat é.ts:19:28)"},
		{"nothing", "\nthrew undefined\n    at nothing (chat é.ts:20:29)"},
		{"hidden", "\nthrew [object Object]\n    at hidden (chat é.ts:21:28)"},
		{"liar", "\nthrew something that cannot be shown\n    at liar (chat é.ts:22:36)"},
		{"own", "\nOwn: mine\n    at own (chat é.ts:24:31)"},
		{"evaluated", "\nTypeError: Cannot read property 'x' of undefined\n    at <eval>:1:6\n    at evaluated (chat é.ts:25:31)"},
		{"native", "\nRangeError: in sort\n    at chat é.ts:26:54\n    at sort (native)\n    at native (chat é.ts:26:35)"},
		{"lowered", "\nError: low\n    at chat é.ts:28:66\n    at chat é.ts:28:83\n    at lowered (chat é.ts:29:3)"},
		{"endless", "\ntook too long\n    at endless (chat é.ts:31:8)"},
		{"missing", "\nTypeError: Cannot find module 'nowhere': what a script imports is bundled when it is loaded, and this was not there\n    at native code\n    at missing (chat é.ts:32:35)"},
	} {
		t.Run(c.hook, func(t *testing.T) {
			f, ok := goja.AssertFunction(exports.Get(c.hook))
			if !ok {
				t.Fatal("not exported")
			}
			if c.hook == "endless" {
				rt.Interrupt("took too long")
				defer rt.ClearInterrupt()
			}
			_, err := f(nil, rt.ToValue(map[string]any{"a": 0}))
			if want := strings.TrimPrefix(c.want, "\n"); err == nil || Explain(err) != want {
				t.Errorf("%s\nwant\n%s", Explain(err), want)
			}
		})
	}
	if got := Explain(errors.New("plain")); got != "plain" {
		t.Errorf("Explain of any error = %q", got)
	}
}

func TestExplainKeepsWhatWasBeingDone(t *testing.T) {
	p, err := Load(filepath.Join(folder(t, map[string]string{"a.js": "throw new Error('x')"}), "a.js"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.run(goja.New())
	if got, want := Explain(errors.Join(errors.New("before"), err)), "before\nError: x\n    at a.js:1:7"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestShiftColumns(t *testing.T) {
	for _, c := range []struct{ mappings, want string }{
		{"", ""},
		{";;", ";;"},
		{"AAAA", "CAAC"},
		{";;AAAA,SAAS,OAAO;AACT", ";;CAAC,SAAS,OAAO;CACT"},
		{"AAAA;;EADF", "CAAC;;GADF"},
		{"A;AAAA", "C;CAAC"},
		{"+B,AAAA", "gC,AAAA"}, // a segment without a source; esbuild writes none
	} {
		if got := shiftColumns(c.mappings); got != c.want {
			t.Errorf("%q became %q, want %q", c.mappings, got, c.want)
		}
	}
	for _, n := range []int{0, 1, -1, 15, 16, -16, 31, 32, 1 << 20, -1 << 20} {
		if got, rest := cutVLQ(string(appendVLQ(nil, n)) + "A"); got != n || rest != "A" {
			t.Errorf("%d came back as %d, rest %q", n, got, rest)
		}
	}
}

// BenchmarkRun is what each session costs.
func BenchmarkRun(b *testing.B) {
	for _, c := range []struct{ name, source string }{
		{"plain", "export function onMessage(msg) { msg.json.a = 1 }"},
		{"async iteration", "async function* g() { yield 1 }\nexport async function onMessage(msg) { for await (const x of g()) msg.json.a = x }"},
	} {
		b.Run(c.name, func(b *testing.B) {
			p, err := Load(filepath.Join(folder(b, map[string]string{"a.js": c.source}), "a.js"))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.run(goja.New()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func FuzzLoad(f *testing.F) {
	for _, seed := range []string{
		"export function onMessage(msg) { return msg.text.toUpperCase() }", "import x from './x'; export default { x }", "module.exports = { a: require('b') }",
		"type A<T> = { [k in keyof T]: T }; enum E { A }", "async function* g() { for await (const x of y) yield* x }", "class A { static #p = /(?<n>a)\\k<n>/su; @d accessor q }", "`${`${1}`}`", "/[/", "\xff\xfe", "<!--", "#!", "})", "\u2028'use strict'\n010",
		"using a = b; label: for (;;) { break label }", "a?.[b]?.`x`", "//# sourceMappingURL=data:application/json;base64," + base64.StdEncoding.EncodeToString([]byte(`{"version":3}`)),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, source string) {
		if len(source) > 4<<10 {
			t.Skip() // deep nesting costs the parsers quadratic time
		}
		path := filepath.Join(t.TempDir(), "fuzz.ts")
		write(t, path, source)
		p, err := Load(path)
		var wrong *LoadError
		switch {
		case err == nil && p.code == nil:
			t.Error("no code and no error")
		case err != nil && !errors.As(err, &wrong):
			t.Errorf("error %v is no LoadError", err)
		case err != nil && (len(wrong.Problems) == 0 || strings.Contains(err.Error(), "panic") || wrong.Problems[0].Text == ""):
			t.Errorf("error %q says nothing, or of a panic", err)
		}
	})
}
