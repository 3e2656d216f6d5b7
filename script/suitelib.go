package script

import (
	"sync"

	"github.com/dop251/goja"
)

// suiteProgram makes test and assert. It has the name of a bundle's own code,
// so that its places are in no stack.
var suiteProgram = sync.OnceValue(func() *goja.Program {
	return goja.MustCompile(bundleName, suiteSource, true)
})

const suiteSource = `(native => {

class AssertionError extends Error {
	constructor(message, compared) {
		super(message);
		if (compared) [this.actual, this.expected] = shown(compared.actual, compared.expected);
	}
	get name() { return "AssertionError"; }
}

const oneLine = 60;

// shown writes two values so that their lines can be compared.
function shown(actual, expected) {
	const short = [show(actual), show(expected)];
	if (short.every(text => text.length <= oneLine)) return short;
	return [show(actual, "\n"), show(expected, "\n")];
}

// show writes a value in one line or, if end is a line's end and indent, in several.
function show(value, end = "", inside = []) {
	switch (typeof value) {
	case "string": return JSON.stringify(value);
	case "bigint": return value + "n";
	case "number": return Object.is(value, -0) ? "-0" : String(value);
	case "function": return "[function " + (value.name || "without a name") + "]";
	case "object": break;
	default: return String(value);
	}
	if (value === null) return "null";
	if (inside.includes(value)) return "[circular]";
	const deeper = end && end + "  ";
	const member = v => show(v, deeper, [...inside, value]);
	const list = (name, open, items, close) => {
		const head = name && name + " ";
		if (items.length === 0) return head + open + close;
		if (!end) return head + open + " " + items.join(", ") + " " + close;
		return head + open + items.map(item => deeper + item + ",").join("") + end + close;
	};
	const kind = Object.prototype.toString.call(value).slice(8, -1);
	switch (kind) {
	case "Date": return "Date " + (isNaN(value) ? "invalid" : value.toISOString());
	case "RegExp": case "Error": return String(value);
	case "Array": return list("", "[", Array.from(value, member), "]");
	case "Set": return list("Set", "{", Array.from(value, member), "}");
	case "Map": return list("Map", "{", Array.from(value, ([k, v]) => member(k) + " => " + member(v)), "}");
	case "ArrayBuffer": return "ArrayBuffer " + show(new Uint8Array(value));
	}
	if (ArrayBuffer.isView(value) && kind !== "DataView") return kind + " [" + Array.from(value).join(", ") + "]";
	const name = value.constructor && value.constructor !== Object ? value.constructor.name : "";
	const keys = Object.keys(value).sort();
	return list(name, "{", keys.map(key => (/^[\w$]+$/.test(key) ? key : JSON.stringify(key)) + ": " + member(value[key])), "}");
}

// same compares deeply: what is equal looks equal. Prototypes do not count.
function same(a, b, inside = []) {
	if (Object.is(a, b)) return true;
	if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
	if (inside.some(([x, y]) => x === a && y === b)) return true;
	const deeper = [...inside, [a, b]];
	const kind = Object.prototype.toString.call(a);
	if (kind !== Object.prototype.toString.call(b)) return false;
	switch (kind) {
	case "[object Date]": return Object.is(a.getTime(), b.getTime());
	case "[object RegExp]": return String(a) === String(b);
	case "[object Error]": return a.name === b.name && a.message === b.message;
	case "[object ArrayBuffer]": return same(new Uint8Array(a), new Uint8Array(b));
	case "[object Set]": return a.size === b.size && [...a].every(x => b.has(x) || [...b].some(y => same(x, y, deeper)));
	case "[object Map]": return a.size === b.size && [...a].every(([k, v]) => b.has(k) && same(v, b.get(k), deeper));
	}
	const keys = Object.keys(a), others = Object.keys(b);
	return a.length === b.length && keys.length === others.length &&
		keys.every(key => Object.hasOwn(b, key) && same(a[key], b[key], deeper));
}

function check(holds, message, otherwise, compared) {
	if (holds) return;
	if (message instanceof Error) throw message;
	throw new AssertionError(message ?? otherwise, compared);
}

// threw checks what a function threw, or a promise was rejected with.
function threw(error, pattern, message) {
	if (pattern === undefined) return error;
	if (typeof pattern === "function") {
		check(error instanceof pattern, message, "threw " + show(error) + ", which is no " + pattern.name);
	} else {
		check(pattern.test(String(error)), message, "threw " + String(error) + ", which does not match " + pattern);
	}
	return error;
}

function pattern(value, method) {
	if (value === undefined || value instanceof RegExp || typeof value === "function") return value;
	throw new TypeError(method + " needs a regular expression or a class, not " + show(value));
}

function assert(value, message) { check(value, message, show(value) + " does not hold"); }

Object.assign(assert, {
	ok: assert,
	equal(actual, expected, message) {
		check(Object.is(actual, expected), message, "not equal", { actual, expected });
	},
	notEqual(actual, unwanted, message) {
		check(!Object.is(actual, unwanted), message, "is " + show(actual) + ", which it should not be");
	},
	deepEqual(actual, expected, message) {
		check(same(actual, expected), message, "not deeply equal", { actual, expected });
	},
	match(string, regexp, message) {
		if (!(regexp instanceof RegExp)) throw new TypeError("assert.match needs a regular expression, not " + show(regexp));
		check(typeof string === "string" && regexp.test(string), message, show(string) + " does not match " + regexp);
	},
	throws(f, wanted, message) {
		wanted = pattern(wanted, "assert.throws");
		try {
			f();
		} catch (error) {
			return threw(error, wanted, message);
		}
		check(false, message, "threw nothing");
	},
	async rejects(promise, wanted, message) {
		wanted = pattern(wanted, "assert.rejects");
		try {
			await (typeof promise === "function" ? promise() : promise);
		} catch (error) {
			return threw(error, wanted, message);
		}
		check(false, message, "was not rejected");
	},
	fail(message) { check(false, message, "failed"); },
});

function test(name, f) {
	if (typeof f !== "function") throw new TypeError("test(name, function) needs a function, not " + show(f));
	native.register(String(name), f);
}
test.skip = (name) => native.register(String(name));

return { test, assert };
})`
