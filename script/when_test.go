package script

import (
	"strings"
	"testing"
	"time"

	"github.com/wstape/wstape/internal/filter"
	"github.com/wstape/wstape/tape"
)

// TestWhen has onMessage see only what the filter lets through. Nobody asks the
// others' messages to wait for JavaScript.
func TestWhen(t *testing.T) {
	const shout = `
		export function onMessage(msg, session) { session.state.n = (session.state.n ?? 0) + 1; return msg.text.toUpperCase() + session.state.n; }
		export function onControl(frame) { return "seen"; }`
	for _, c := range []struct {
		when string
		m    *tape.Message
		want string
	}{
		{`from == "server" and text contains "BTC"`, message(tape.Server, tape.Text, "buy BTC"), "edited script:a.js text:BUY BTC1"},
		{`from == "server" and text contains "BTC"`, message(tape.Server, tape.Text, "buy ETH"), "passed"},
		{`from == "server" and text contains "BTC"`, message(tape.Client, tape.Text, "buy BTC"), "passed"},
		{`json.type == "x"`, message(tape.Client, tape.Text, `{"type":"x"}`), `edited script:a.js text:{"TYPE":"X"}1`},
		{`json.type == "x"`, message(tape.Client, tape.Binary, "no JSON"), "passed"},
		{`session.url == "/elsewhere"`, message(tape.Client, tape.Text, "hi"), "passed"},
		{`session.url == "/chat" and session.client startsWith "1.2"`, message(tape.Client, tape.Text, "hi"), "edited script:a.js text:HI1"},
		{`op == "text"`, message(tape.Client, tape.Ping, "p"), "edited script:a.js ping:seen"}, // onControl is not asked about
	} {
		f, err := filter.Compile(c.when)
		if err != nil {
			t.Fatal(err)
		}
		l := openOne(t, Options{When: f}, shout)
		if got := strings.TrimSpace(l.await(l.start(c.m))); got != c.want {
			t.Errorf("%s: %s, want %s", c.when, got, c.want)
		}
	}
}

// TestWhenKnowsTheProtocol: latency needs the requests of the side that the
// script is not for.
func TestWhenKnowsTheProtocol(t *testing.T) {
	f, err := filter.Compile(`view.type == "result" and latency > 100ms`)
	if err != nil {
		t.Fatal(err)
	}
	l := openOne(t, Options{When: f}, `export const from = "server"; export function onMessage(msg) { msg.json.slow = true; }`)
	for _, side := range tape.Sides() {
		if messages, _ := l.session.Wants(side); !messages {
			t.Errorf("messages from the %v are not wanted", side)
		}
	}
	for _, step := range []struct {
		at   int64
		from tape.Side
		text string
		want string
	}{
		{0, tape.Client, `{"jsonrpc":"2.0","id":1,"method":"a"}`, "passed"},
		{50, tape.Server, `{"jsonrpc":"2.0","id":1,"result":1}`, "passed"},
		{60, tape.Client, `{"jsonrpc":"2.0","id":2,"method":"a"}`, "passed"},
		{300, tape.Server, `{"jsonrpc":"2.0","id":2,"result":1}`, `edited script:a.js text:{"jsonrpc":"2.0","id":2,"result":1,"slow":true}`},
	} {
		m := message(step.from, tape.Text, step.text)
		m.T = time.Duration(step.at) * time.Millisecond
		if got := strings.TrimSpace(l.await(l.start(m))); got != step.want {
			t.Errorf("%s: %s", step.text, got)
		}
	}
}

// BenchmarkWhen is what a message costs that is not for the script.
func BenchmarkWhen(b *testing.B) {
	f, err := filter.Compile(`from == "server" and len > 1000`)
	if err != nil {
		b.Fatal(err)
	}
	l := openOne(b, Options{When: f}, `export function onMessage(msg) {}`)
	m := message(tape.Client, tape.Text, "not for you")
	b.ReportAllocs()
	for b.Loop() {
		l.session.Message(m, func(tape.Verdict) {})
	}
}
