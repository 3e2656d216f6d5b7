package decode

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/wstape/wstape/tape"
)

// allocated is how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Whatever is sent, a view costs no more than some times its payload, and its line
// stays a line. What is quadratic would not come to an end here.
func TestBounds(t *testing.T) {
	for _, c := range hostile(1 << 18) { // short enough for values
		for _, p := range Protocols() {
			bounded(t, p.Name, c.payload)
		}
	}
	for _, c := range hostile(2 << 20) {
		bounded(t, c.protocol, c.payload)
		bounded(t, Auto, c.payload)
	}
}

// hostile lists payloads of about a length, each with the protocol it is aimed at.
func hostile(long int) []struct{ protocol, payload string } {
	many := func(s string) string { return strings.Repeat(s, long/len(s)) }
	return []struct{ protocol, payload string }{
		{"json", strings.Repeat("[", 1e5)},
		{"json", strings.Repeat("[", 1e5) + strings.Repeat("]", 1e5)},
		{"graphql", strings.Repeat(`{"a":`, 1e5)},
		{"json", strings.Repeat("[", 9999) + strings.Repeat("]", 9999)},
		{"wamp", "[" + many("0,") + "0]"},
		{"json", `{"type":"a",` + many(`"a":1,`) + `"b":2}`},
		{"actioncable", `{"type":"` + many("a") + `"}`},
		{"jsonrpc", `{"jsonrpc":"2.0","method":"m","id":"` + many("é") + `"}`},
		{"jsonrpc", "[" + many(`{"jsonrpc":"2.0","method":"m"},`) + `{"jsonrpc":"2.0","method":"m"}]`},
		{"json", "[" + many(" ") + "]"},
		{"phoenix", `["` + many(`\u00e9`) + `"]`},
		{Raw, many("\x00")},
		{"stomp", many("\n") + "x"},
		{"socket.io", "42" + many("1")},
		{"socket.io", `42["a",` + many("[],") + "0]"},
		{"socket.io", "45999999999-" + `["a"]`},
		{"socket.io", "42/" + many("a")},
		{"stomp", "SEND\n" + many("a:b\n") + "\n\x00"},
		{"stomp", "SEND\n" + distinct(long/16) + "\n\x00"},
		{"stomp", many("BEGIN\n\n\x00")},
		{"stomp", many("BEGIN\n\n\x00") + "BEGIN"},
		{"signalr", many(`{"type":6}` + "\x1e")},
		{"signalr", many("\x1e")},
		{"wamp", many(`[6,{},"u"]` + "\x18")},
		{"graphql", `{"type":"subscribe","id":"1","payload":{"query":"` + many("a ") + `"}}`},
		{"phoenix", `["1","2","` + many("t") + `","e",{}]`},
		{"actioncable", `{"command":"subscribe","identifier":"` + many(`\"`) + `"}`},
		{"actioncable", `{"command":"subscribe","identifier":"[` + many(` `) + `]"}`},
		{"wamp", `[48,1,{},"p",[` + many("1,") + "1]]"},
		{"signalr", many("\x01\x91")},
	}
}

func bounded(t *testing.T, protocol, payload string) {
	t.Helper()
	what := fmt.Sprintf("%s of %.20q…", protocol, payload)
	for _, op := range []tape.Opcode{tape.Text, tape.Binary} {
		m := says(tape.Client, op, payload)
		d := open(t, protocol, Hint{})
		var v View
		n := allocated(func() { v = d.View(m) })
		if limit := uint64(len(payload))*100 + 64<<20; n > limit {
			t.Errorf("%s: %d bytes allocated for %d", what, n, len(payload))
		}
		checkLine(t, what, v)
	}
}

// distinct makes n header lines, none like another.
func distinct(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%08d:v\n", i)
	}
	return b.String()
}

func checkLine(t testing.TB, what string, v View) {
	t.Helper()
	if !utf8.ValidString(v.Summary) || utf8.RuneCountInString(v.Summary) > maxSummary || strings.ContainsAny(v.Summary, "\r\n") {
		t.Errorf("%s: the summary is not a line: %q", what, v.Summary)
	}
	if !utf8.ValidString(v.Type) || utf8.RuneCountInString(v.Type) > maxType {
		t.Errorf("%s: the type is %q", what, v.Type)
	}
	if v.Err != nil && (len(v.Err.Error()) > 1000 || v.Value != nil || v.Key != "" || v.Answer || v.Heartbeat) {
		t.Errorf("%s: an error, and more than raw: %.2000v", what, v)
	}
	if v.Answer && v.Key == "" {
		t.Errorf("%s answers nothing: %+v", what, v)
	}
}
