package script

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wstape/wstape/tape"
)

func rehearse(t *testing.T, o Options, sources ...string) *Rehearsal {
	t.Helper()
	dir := t.TempDir()
	var paths []string
	for i, src := range sources {
		p := filepath.Join(dir, string(rune('a'+i))+".js")
		if err := os.WriteFile(p, []byte(src), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, p)
	}
	o.Log = func(e Entry) { t.Logf("%+v", e) }
	set, err := NewSet(paths, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.Close)
	c, err := set.Chain(paths)
	if err != nil {
		t.Fatal(err)
	}
	return c.Rehearse(tape.Session{URL: "/chat"})
}

func text(s string, at time.Duration) *tape.Message {
	return &tape.Message{From: tape.Server, T: at, Content: tape.Content{Op: tape.Text, Payload: []byte(s)}}
}

func verdict(v tape.Verdict) string {
	out := string(v.Fate) + " " + strings.Join(v.By, "+")
	for _, c := range v.Out {
		out += " " + c.Op.String() + ":" + string(c.Payload)
	}
	return out
}

func TestWhatHooksReturn(t *testing.T) {
	for _, tc := range []struct{ src, in, want string }{
		{`export function onMessage(m) {}`, "hi", "passed "},
		{`export function onMessage(m) { return m.text.toUpperCase() }`, "hi", "edited script:a.js text:HI"},
		{`export function onMessage(m) { m.json.a = 2 }`, `{"a": 1, "b":9007199254740993}`, `edited script:a.js text:{"a": 2, "b":9007199254740993}`},
		{`export function onMessage(m) { return false }`, "hi", "dropped script:a.js"},
		{`export function onMessage(m) { return [m, "x", new Uint8Array([65]), {a:1}] }`, "hi", `edited script:a.js text:hi text:x binary:A text:{"a":1}`},
		{`export async function onMessage(m) { await new Promise(r => setTimeout(r, 5000)); m.text = "late" }`, "hi", "edited script:a.js text:late"},
		{`export async function onMessage(m) { await null; return "x" }`, "hi", "edited script:a.js text:x"},
		{`export function onMessage(m) { m.bytes[0] = 72 }`, "hi", "edited script:a.js text:Hi"},
		{`export function onMessage(m) { throw new Error("no") }`, "hi", "passed "},
		{`export function onMessage(m) { for(;;); }`, "hi", "passed "},
		{`export async function onMessage(m) { throw new Error("no") }`, "hi", "passed "},
		{`export function onMessage(m) { return 5 }`, "hi", "passed "},
		{`export async function onMessage(m) { await new Promise(()=>{}) }`, "hi", "passed "},
	} {
		r := rehearse(t, Options{}, tc.src)
		if got := verdict(r.Message(text(tc.in, 0))); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.src, got, tc.want)
		}
		for _, h := range r.Happened() {
			if h.Note != nil {
				t.Logf("  note %s", *h.Note)
			}
		}
		r.Closed(tape.Ending{})
	}
}

