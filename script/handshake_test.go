package script

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wstape/wstape/tape"
)

func request() *tape.Request {
	return &tape.Request{Method: "GET", Target: "/chat?room=1", Headers: []tape.Header{
		{"Host", "example.com"}, {"Upgrade", "websocket"}, {"Sec-Websocket-Key", "k"},
		{"Sec-Websocket-Protocol", "a, b"}, {"X-Token", "one"}, {"x-token", "two"}, {"Cookie", "c"},
	}}
}

func response() *tape.Response {
	return &tape.Response{Status: 101, Headers: []tape.Header{{"Upgrade", "websocket"}, {"Sec-Websocket-Accept", "x"}, {"Server", "s"}}}
}

// heads writes headers in one line.
func heads(list []tape.Header) string {
	var text []string
	for _, h := range list {
		text = append(text, h[0]+"="+h[1])
	}
	return strings.Join(text, " ")
}

// refused writes a refusal in one line.
func refused(r *tape.Response) string {
	if r == nil {
		return ""
	}
	return fmt.Sprintf("%d %s", r.Status, r.Body)
}

const asItCame = "Host=example.com Upgrade=websocket Sec-Websocket-Key=k Sec-Websocket-Protocol=a, b X-Token=one x-token=two Cookie=c"

func TestOnRequest(t *testing.T) {
	for _, tc := range []struct{ hook, target, headers, refusal, note string }{
		{hook: ``},
		{hook: `req.headers.set("x-token", "three")`, headers: strings.Replace(asItCame, " X-Token=one x-token=two", "", 1) + " X-Token=three",
			note: "changed the request's headers: X-Token by script:a.js"},
		{hook: `req.headers.append("X-New", "ü"); req.headers.delete("cookie"); req.headers.delete("Cookie")`, headers: strings.Replace(asItCame, " Cookie=c", "", 1) + " X-New=ü",
			note: "changed the request's headers: Cookie, X-New by script:a.js"},
		{hook: `req.url = "/other?x"`, target: "/other?x", note: "changed the request's path"},
		{hook: `req.protocols = [...req.protocols, "c"].filter(p => p !== "a")`, headers: strings.Replace(asItCame, " Sec-Websocket-Protocol=a, b", "", 1) + " Sec-Websocket-Protocol=b, c"},
		{hook: `req.protocols = []`, headers: strings.Replace(asItCame, " Sec-Websocket-Protocol=a, b", "", 1)},
		{hook: `req.reject(403, "no")`, refusal: "403 no"},
		{hook: `req.reject()`, refusal: "403 "},
		{hook: `await null; req.reject(401, "later")`, refusal: "401 later"},
		{hook: `await new Promise(r => setTimeout(r, 5000)); req.url = "/slow"`, target: "/slow"},
		{hook: `const h = req.headers
			req.reject(400, [h.get("X-TOKEN"), h.getAll("x-token"), h.get("none"), h.has("cookie"), [...h].length, h.entries()[0], JSON.stringify(h).length > 9, req.method, req.url, req.protocols].join("|"))`,
			refusal: "400 one, two|one,two||true|7|Host,example.com|true|GET|/chat?room=1|a,b"},
		{hook: `req.reject(404, session.request.url + session.request.headers.get("x") + session.response)`, refusal: "404 /chatnullundefined"},

		{hook: `req.headers.set("Upgrade", "h2")`, note: "the header Upgrade belongs to the handshake itself and cannot be changed"},
		{hook: `req.headers.delete("connection")`, note: "the header connection belongs to the handshake itself"},
		{hook: `req.headers.append("SEC-WEBSOCKET-KEY", "x")`, note: "belongs to the handshake itself"},
		{hook: `req.headers.set("Sec-WebSocket-Version", "8")`, note: "belongs to the handshake itself"},
		{hook: `req.headers.set("Transfer-Encoding", "chunked")`, note: "belongs to the handshake itself"},
		{hook: `req.headers.set("X", "a\r\nEvil: b")`, note: "the value of header X has a line break or another control character in it"},
		{hook: `req.headers.set("X", "a\nb")`, note: "has a line break"},
		{hook: `req.headers.set("X", "a\0b")`, note: "has a line break"},
		{hook: `req.headers.set("X\r\nEvil", "a")`, note: `"X\r\nEvil" is not a header's name`},
		{hook: `req.headers.set("X: a", "a")`, note: "is not a header's name"},
		{hook: `req.headers.set("", "a")`, note: "is not a header's name"},
		{hook: `req.protocols = ["a\r\nEvil: b"]`, note: "req.protocols: the value of header"},
		{hook: `req.protocols = 5`, note: "req.protocols must be an array of strings"},
		{hook: `req.url = "http://other/"`, note: "req.url must be a path"},
		{hook: `req.url = "/a b"`, note: "req.url must be a path"},
		{hook: `req.url = "/a\r\nEvil: b"`, note: "req.url must be a path"},
		{hook: `req.reject(200)`, note: "reject: 200 is not a status to refuse with"},
		{hook: `req.reject(101)`, note: "reject: 101 is not a status to refuse with"},
		{hook: `session.request.headers.set("X", "a")`, note: "these headers have been sent; change them in onRequest or onResponse"},
		{hook: `req.headers.set("X", "a"); throw new Error("no")`, note: "onRequest failed: Error: no\n    at onRequest (a.js:1:"},
		{hook: `req.headers.set("X", "a"); await new Promise(() => {})`, note: "onRequest failed: was not done after script.await_timeout"},
	} {
		bubble(t, Options{}, func(r *rig) {
			l, req := r.open(), request()
			refusal := l.session.Request(r.t.Context(), req)
			if tc.target == "" {
				tc.target = "/chat?room=1"
			}
			if tc.headers == "" {
				tc.headers = asItCame
			}
			got := [...]string{req.Target, heads(req.Headers), refused(refusal)}
			if diff := cmp.Diff([...]string{tc.target, tc.headers, tc.refusal}, got); diff != "" {
				t.Errorf("%s:\n%s", tc.hook, diff)
			}
			if notes := strings.Join(l.all("note"), "\n"); tc.note == "" && tc.refusal != "" && notes != "" || !strings.Contains(notes, tc.note) {
				t.Errorf("%s: notes %s, want %s", tc.hook, notes, tc.note)
			}
		}, "export async function onRequest(req, session) { "+tc.hook+" }")
	}
}

func TestOnResponse(t *testing.T) {
	const came = "Upgrade=websocket Sec-Websocket-Accept=x Server=s"
	for _, tc := range []struct{ hook, headers, refusal, note string }{
		{``, came, "", ""},
		{`res.headers.set("server", "t")`, "Upgrade=websocket Sec-Websocket-Accept=x Server=t", "", "changed the response's headers: Server"},
		{`res.headers.append("Set-Cookie", "a"); res.headers.append("Set-Cookie", "b")`, came + " Set-Cookie=a Set-Cookie=b", "", "changed the response's headers: Set-Cookie by"},
		{`res.reject(503, String(res.status) + session.response.status + session.response.headers.get("server"))`, came, "503 101101s", ""},
		{`res.headers.delete("Sec-WebSocket-Extensions")`, came, "", "belongs to the handshake itself"},
		{`res.headers.set("Sec-WebSocket-Accept", "y")`, came, "", "belongs to the handshake itself"},
		{`res.headers.set("X", "a\rb")`, came, "", "has a line break"},
		{`"use strict"; res.status = 200`, came, "", "onResponse failed: TypeError"},
	} {
		l, res := openOne(t, Options{}, "export function onResponse(res, session) { "+tc.hook+" }"), response()
		refusal := l.session.Response(t.Context(), res)
		if diff := cmp.Diff([...]string{tc.headers, tc.refusal}, [...]string{heads(res.Headers), refused(refusal)}); diff != "" {
			t.Errorf("%s:\n%s", tc.hook, diff)
		}
		if notes := strings.Join(l.all("note"), "\n"); !strings.Contains(notes, tc.note) {
			t.Errorf("%s: notes %s, want %s", tc.hook, notes, tc.note)
		}
	}
}

func TestHandshakeChain(t *testing.T) {
	l, req := openOne(t, Options{},
		`export function onRequest(req) { req.headers.set("X", "1"); req.url = "/a" }`,
		`export function onMessage() {}`,
		`export async function onRequest(req) { await null; req.headers.set("X", req.headers.get("X") + 2); req.url += "b" }`,
		`export function onRequest(req) { if (req.url === "/ab") req.reject(400, req.headers.get("X")) }`,
		`export function onRequest(req, session) { session.note("reached") }`), request()
	if got := refused(l.session.Request(t.Context(), req)); got != "400 12" || req.Target != "/ab" {
		t.Errorf("%s, %s", got, req.Target)
	}
	if n := len(l.all("note reached")); n > 0 {
		t.Error("a hook ran after the refusal")
	}
}

func TestHandshakeFails(t *testing.T) {
	for on, want := range map[OnError]string{Pass: "", Drop: "502 the request could not be handled\n", Close: "502 the request could not be handled\n"} {
		for _, hook := range []string{
			`throw new Error("no")`, `return Promise.reject(new Error("no"))`, `for (;;);`,
			`return (async () => { await null; throw new Error("no") })()`,
			`return (async () => { await new Promise(r => setTimeout(r, 1)); for (;;); })()`,
		} {
			r := newRig(t, Options{OnError: on, Timeout: 30 * time.Millisecond, AwaitTimeout: time.Hour},
				`export function onRequest() { `+hook+` } export function onResponse() { `+hook+` }`,
				`export function onRequest(r) { r.headers.set("X", "1") } export function onResponse(r) { r.headers.set("X", "1") }`)
			l, req, res := r.open(), request(), response()
			if got := refused(l.session.Request(t.Context(), req)); got != want {
				t.Errorf("%s: %s: the request: %q", on, hook, got)
			}
			if got := refused(l.session.Response(t.Context(), res)); got != want {
				t.Errorf("%s: %s: the response: %q", on, hook, got)
			}
			l.must(t, "note onRequest ", "note onResponse ")
			if goesOn := strings.HasSuffix(heads(req.Headers), "X=1") && strings.HasSuffix(heads(res.Headers), "X=1"); goesOn != (on == Pass) {
				t.Errorf("%s: %s: the next script ran: %v", on, hook, goesOn)
			}
		}
	}
}

// TestHandshakeIsOver has scripts keep the request for later.
func TestHandshakeIsOver(t *testing.T) {
	bubble(t, Options{}, func(r *rig) {
		l, req := r.open(), request()
		if refusal := l.session.Request(r.t.Context(), req); refusal != nil {
			t.Errorf("refused: %v", refusal)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := heads(req.Headers) + req.Target; got != asItCame+"/chat?room=1" {
			t.Error(got)
		}
		l.must(t, "note TypeError: req.url: the hook is done", "note TypeError: reject: the hook is done", "note TypeError: these headers have been sent")
	}, `export function onRequest(req, session) {
		setTimeout(() => {
			for (const late of [() => { req.url = "/late" }, () => req.reject(), () => req.headers.set("X", "late")])
				try { late() } catch (e) { session.note(String(e)) }
		}, 1000)
	}`)
}

func TestHandshakeIsGivenUp(t *testing.T) {
	bubble(t, Options{}, func(r *rig) {
		l := r.open()
		ctx, cancel := context.WithCancelCause(r.t.Context())
		time.AfterFunc(time.Second, func() { cancel(errors.New("the client went away")) })
		began := time.Now()
		_ = l.session.Request(ctx, request())
		if took := time.Since(began); took != time.Second {
			t.Errorf("it took %v", took)
		}
		l.must(t, "note onRequest failed: the client went away")
	}, `export async function onRequest(req) { await new Promise(() => {}) }`)
}

func TestOnOpenAndOnClose(t *testing.T) {
	bubble(t, Options{}, func(r *rig) {
		j := newJournal()
		s := r.chain.Open(tape.Session{URL: "/chat"}, j)
		s.Opened("proto")
		began := time.Now()
		from := tape.Server
		s.Closed(tape.Ending{Kind: tape.EndClose, Code: 1001, Reason: "away", From: &from})
		if took := time.Since(began); took != closePatience {
			t.Errorf("onClose took %v", took)
		}
		want := []string{
			"note open proto by script:a.js", "note onOpen threw by script:a.js",
			`note {"kind":"close","code":1001,"reason":"away","from":"server"} by script:a.js`,
			"note later by script:a.js", "note onClose failed: was not done after script.await_timeout by script:a.js",
		}
		if diff := cmp.Diff(want, j.all("note")); diff != "" {
			t.Error(diff)
		}

		j = newJournal()
		r.chain.Open(tape.Session{}, j).Closed(tape.Ending{Kind: tape.EndError})
		if notes := j.all("note"); len(notes) > 0 {
			t.Errorf("a session that was never open: %q", notes)
		}
	}, `
		export async function onOpen(session) {
			session.note("open " + session.subprotocol)
			try { await Promise.reject(1) } catch { session.note("onOpen threw") }
		}
		export async function onClose(ending, session) {
			session.note(JSON.stringify(ending))
			await new Promise(r => setTimeout(r, 500))
			session.note("later")
			await new Promise(() => {})
		}`)
}
