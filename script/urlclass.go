package script

import (
	"strconv"
	"strings"
	"sync"

	"github.com/dop251/goja"
)

// set does what assigning text to a property of a URL does; what the standard
// ignores is ignored. It is false only for an href that is not valid.
func (u *urlRecord) set(property, text string) bool {
	switch property {
	case "href":
		parsed, ok := parseURL(text, nil)
		if ok {
			*u = *parsed
		}
		return ok
	case "protocol":
		u.parsePart(schemeStartState, text+":")
	case "username":
		if u.hasServer() {
			u.username = percentEncode(text, inUserinfoSet)
		}
	case "password":
		if u.hasServer() {
			u.password = percentEncode(text, inUserinfoSet)
		}
	case "host":
		if !u.opaque {
			u.parsePart(hostState, text)
		}
	case "hostname":
		if !u.opaque {
			u.parsePart(hostnameState, text)
		}
	case "port":
		u.setPort(text)
	case "pathname":
		if !u.opaque {
			u.path = nil
			u.parsePart(pathStartState, text)
		}
	case "search":
		u.query, u.hasQuery = "", text != ""
		u.parsePart(queryState, strings.TrimPrefix(text, "?"))
	case "hash":
		u.fragment, u.hasFrag = "", text != ""
		u.parsePart(fragmentState, strings.TrimPrefix(text, "#"))
	}
	return true
}

// parsePart parses text as a part of u and leaves u as it was if that fails.
func (u *urlRecord) parsePart(state urlState, text string) {
	changed := *u
	changed.path = append([]string(nil), u.path...)
	p := &urlParser{url: &changed, state: state, override: state}
	if ok := p.run(text); ok || state == hostState && p.state == portState {
		*u = changed // a host counts even if the port after it is not valid
	}
}

// hasServer tells whether a URL may have a user and a port.
func (u *urlRecord) hasServer() bool { return u.host != "" && u.scheme != "file" }

func (u *urlRecord) setPort(text string) {
	if !u.hasServer() {
		return
	}
	if text == "" {
		u.port = -1
		return
	}
	u.parsePart(portState, text)
}

// get returns a property of a URL.
func (u *urlRecord) get(property string) string {
	switch property {
	case "href":
		return u.href()
	case "origin":
		return u.origin()
	case "protocol":
		return u.scheme + ":"
	case "username":
		return u.username
	case "password":
		return u.password
	case "host":
		return u.hostPort()
	case "hostname":
		return u.host
	case "port":
		if u.port >= 0 {
			return strconv.Itoa(u.port)
		}
	case "pathname":
		return u.pathname()
	case "search":
		if u.query != "" {
			return "?" + u.query
		}
	case "hash":
		if u.fragment != "" {
			return "#" + u.fragment
		}
	}
	return ""
}

// parseForm parses application/x-www-form-urlencoded to names and values in turns.
func parseForm(text string) []string {
	var list []string
	for part := range strings.SplitSeq(text, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(strings.ReplaceAll(part, "+", " "), "=")
		list = append(list, decodeText(percentDecode(name)).String(), decodeText(percentDecode(value)).String())
	}
	return list
}

// formatForm is the reverse of parseForm.
func formatForm(list []string) string {
	var b strings.Builder
	for i, text := range list {
		switch {
		case i%2 == 1:
			b.WriteByte('=')
		case i > 0:
			b.WriteByte('&')
		}
		b.WriteString(strings.ReplaceAll(percentEncode(text, func(c byte) bool { return c != ' ' && inFormSet(c) }), " ", "+"))
	}
	return b.String()
}

// urlLibrary is URL.
func urlLibrary(g *globals) (*goja.Program, *goja.Object) {
	rt := g.rt
	record := func(c goja.FunctionCall) *urlRecord { return c.Argument(0).Export().(*urlRecord) }
	return urlProgram(), natives(rt, map[string]func(goja.FunctionCall) goja.Value{
		"parse": g.parseURL,
		"get":   func(c goja.FunctionCall) goja.Value { return rt.ToValue(record(c).get(c.Argument(1).String())) },
		"set": func(c goja.FunctionCall) goja.Value {
			return rt.ToValue(record(c).set(c.Argument(1).String(), c.Argument(2).String()))
		},
		"query":  func(c goja.FunctionCall) goja.Value { return rt.ToValue(record(c).query) },
		"params": func(goja.FunctionCall) goja.Value { return g.library("params", paramsLibrary) },
	})
}

// parseURL parses a URL and perhaps a base; it returns undefined if that fails.
func (g *globals) parseURL(c goja.FunctionCall) goja.Value {
	var base *urlRecord
	if given := c.Argument(1); !goja.IsUndefined(given) {
		parsed, ok := parseURL(given.String(), nil)
		if !ok {
			return goja.Undefined()
		}
		base = parsed
	}
	parsed, ok := parseURL(c.Argument(0).String(), base)
	if !ok {
		return goja.Undefined()
	}
	return g.rt.ToValue(parsed)
}

// paramsLibrary is URLSearchParams and what URL needs of it.
func paramsLibrary(g *globals) (*goja.Program, *goja.Object) {
	rt := g.rt
	return paramsProgram(), natives(rt, map[string]func(goja.FunctionCall) goja.Value{
		"text": func(c goja.FunctionCall) goja.Value { return rt.ToValue(c.Argument(0).String()) },
		"parse": func(c goja.FunctionCall) goja.Value {
			var items []any
			for _, text := range parseForm(c.Argument(0).String()) {
				items = append(items, text)
			}
			return rt.NewArray(items...)
		},
		"format": func(c goja.FunctionCall) goja.Value {
			var list []string
			items := c.Argument(0).ToObject(rt)
			for i := range items.Get("length").ToInteger() {
				list = append(list, items.Get(strconv.FormatInt(i, 10)).String())
			}
			return rt.ToValue(formatForm(list))
		},
	})
}

var paramsProgram = sync.OnceValue(func() *goja.Program {
	return goja.MustCompile("wstape:params", paramsSource, true)
})

var urlProgram = sync.OnceValue(func() *goja.Program {
	return goja.MustCompile("wstape:url", urlSource, true)
})

// A URLSearchParams keeps names and values in turns in one list. If it belongs to a
// URL, each tells the other of changes.
const paramsSource = `(native => {
const text = v => native.text(String(v));
let attach, refill;

class URLSearchParams {
	#list;
	#changed;
	static {
		attach = (params, changed) => { params.#changed = changed; };
		refill = (params, query) => { params.#list = native.parse(query); };
	}
	constructor(init = "") {
		if (init === null || typeof init !== "object" && typeof init !== "function") {
			init = text(init);
			refill(this, init[0] === "?" ? init.slice(1) : init);
			return;
		}
		this.#list = [];
		if (typeof init[native.iterator] === "function") {
			for (const pair of init) {
				const both = [...pair];
				if (both.length !== 2) throw new TypeError("URLSearchParams needs pairs of a name and a value");
				this.#list.push(text(both[0]), text(both[1]));
			}
		} else {
			for (const name of Object.keys(init)) this.#list.push(text(name), text(init[name]));
		}
	}
	#tell() { this.#changed?.(this.toString()); }
	#filter(keep) {
		const list = [];
		for (let i = 0; i < this.#list.length; i += 2) {
			if (keep(this.#list[i], this.#list[i + 1])) list.push(this.#list[i], this.#list[i + 1]);
		}
		this.#list = list;
	}
	#iterate(show) {
		let i = -2;
		return {
			next: () => (i += 2) < this.#list.length ? { value: show(this.#list[i], this.#list[i + 1]), done: false } : { value: undefined, done: true },
			[native.iterator]() { return this; },
			[native.tag]: "URLSearchParams Iterator",
		};
	}
	get size() { return this.#list.length / 2; }
	append(name, value) {
		this.#list.push(text(name), text(value));
		this.#tell();
	}
	delete(name, value) {
		name = text(name);
		if (value !== undefined) value = text(value);
		this.#filter((n, v) => n !== name || value !== undefined && v !== value);
		this.#tell();
	}
	get(name) {
		name = text(name);
		for (let i = 0; i < this.#list.length; i += 2) if (this.#list[i] === name) return this.#list[i + 1];
		return null;
	}
	getAll(name) {
		name = text(name);
		const values = [];
		for (let i = 0; i < this.#list.length; i += 2) if (this.#list[i] === name) values.push(this.#list[i + 1]);
		return values;
	}
	has(name, value) {
		name = text(name);
		if (value !== undefined) value = text(value);
		for (let i = 0; i < this.#list.length; i += 2) {
			if (this.#list[i] === name && (value === undefined || this.#list[i + 1] === value)) return true;
		}
		return false;
	}
	set(name, value) {
		name = text(name);
		value = text(value);
		let found = false;
		for (let i = 0; i < this.#list.length && !found; i += 2) {
			if (this.#list[i] === name) {
				this.#list[i + 1] = value;
				found = true;
			}
		}
		if (found) {
			let first = true;
			this.#filter(n => n !== name || first && !(first = false));
		} else {
			this.#list.push(name, value);
		}
		this.#tell();
	}
	sort() {
		const pairs = [];
		for (let i = 0; i < this.#list.length; i += 2) pairs.push([this.#list[i], this.#list[i + 1]]);
		this.#list = pairs.sort((a, b) => a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0).flat();
		this.#tell();
	}
	forEach(f, self) {
		for (let i = 0; i < this.#list.length; i += 2) f.call(self, this.#list[i + 1], this.#list[i], this);
	}
	entries() { return this.#iterate((name, value) => [name, value]); }
	keys() { return this.#iterate(name => name); }
	values() { return this.#iterate((name, value) => value); }
	[native.iterator]() { return this.entries(); }
	toString() { return native.format(this.#list); }
	get [native.tag]() { return "URLSearchParams"; }
}

return { URLSearchParams, attach, refill };
})`

const urlSource = `(native => {
class URL {
	#record;
	#params;
	constructor(url, base) {
		if (arguments.length === 0) throw new TypeError("URL needs a URL");
		this.#record = native.parse(String(url), base === undefined ? undefined : String(base));
		if (!this.#record) {
			const failed = new TypeError("Invalid URL");
			failed.code = "ERR_INVALID_URL";
			failed.input = String(url);
			throw failed;
		}
	}
	static canParse(url, base) { return native.parse(String(url), base === undefined ? undefined : String(base)) !== undefined; }
	static parse(url, base) { return URL.canParse(url, base) ? new URL(url, base) : null; }
	#set(property, value) {
		if (!native.set(this.#record, property, String(value))) throw new TypeError("Invalid URL");
		if (this.#params) native.params().refill(this.#params, native.query(this.#record));
	}
	get href() { return native.get(this.#record, "href"); }
	set href(v) { this.#set("href", v); }
	get origin() { return native.get(this.#record, "origin"); }
	get protocol() { return native.get(this.#record, "protocol"); }
	set protocol(v) { this.#set("protocol", v); }
	get username() { return native.get(this.#record, "username"); }
	set username(v) { this.#set("username", v); }
	get password() { return native.get(this.#record, "password"); }
	set password(v) { this.#set("password", v); }
	get host() { return native.get(this.#record, "host"); }
	set host(v) { this.#set("host", v); }
	get hostname() { return native.get(this.#record, "hostname"); }
	set hostname(v) { this.#set("hostname", v); }
	get port() { return native.get(this.#record, "port"); }
	set port(v) { this.#set("port", v); }
	get pathname() { return native.get(this.#record, "pathname"); }
	set pathname(v) { this.#set("pathname", v); }
	get search() { return native.get(this.#record, "search"); }
	set search(v) { this.#set("search", v); }
	get hash() { return native.get(this.#record, "hash"); }
	set hash(v) { this.#set("hash", v); }
	get searchParams() {
		if (!this.#params) {
			const library = native.params();
			this.#params = new library.URLSearchParams();
			library.refill(this.#params, native.query(this.#record));
			library.attach(this.#params, query => native.set(this.#record, "search", query));
		}
		return this.#params;
	}
	toString() { return this.href; }
	toJSON() { return this.href; }
	get [native.tag]() { return "URL"; }
}

return { URL };
})`
