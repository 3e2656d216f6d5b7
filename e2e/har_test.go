package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// harMaker is an order to e2e/peers/browser/har.js.
type harMaker struct {
	Browser  string   `json:"browser"`
	Dir      string   `json:"dir"` // where Chromium may keep what it must
	By       string   `json:"by,omitempty"`
	HAR      string   `json:"har,omitempty"`
	URL      string   `json:"url,omitempty"`
	Messages []posted `json:"messages,omitempty"`
	Code     int      `json:"code,omitempty"`
	Reason   string   `json:"reason,omitempty"`
	Open     string   `json:"open,omitempty"`
}

// ask has har.js do it.
func (m harMaker) ask(t *testing.T, answer any) {
	t.Helper()
	m.Browser, m.Dir = chromiumPath(), t.TempDir()
	start(t, "HAR maker", nodePath(), peerFile(t, "browser", "har.js")).ask(m, answer)
}

// TestHARFromTheBrowser: a page converses through wstape while its browser writes
// a HAR file. What is imported from that is what wstape recorded.
func TestHARFromTheBrowser(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ by, file string }{
		{"embed", "page.har"}, {"attach", "page.har"}, {"attach", "page.zip"}, {"devtools", "page.har"},
	} {
		t.Run(c.by+" "+c.file, func(t *testing.T) {
			t.Parallel()
			requireChromium(t)
			s := startServer(t, node, serverOptions{Page: peerFile(t, "browser", "page.html")})
			p := startProxy(t, "ws://"+s.addr)
			file := filepath.Join(t.TempDir(), c.file)
			var saw struct{ Answers []posted }
			messages := slices.DeleteFunc(script(), func(m posted) bool { return m.As == "blob" }) // Chromium does not tell anyone what is in a Blob
			harMaker{By: c.by, HAR: file, URL: "http://" + p.addr + "/", Messages: messages, Code: 4003, Reason: "tschüß 👋"}.ask(t, &saw)
			same(t, "how many answers", len(messages), len(saw.Answers))
			recorded := p.stop()
			want := plain(recorded.said(recorded.only().N))

			tape := tapeFile{t, filepath.Join(t.TempDir(), "t.db")}
			if out, code := tape.run("import", file); code != 0 || out != "1\n" {
				t.Fatalf("import: exit code %d, %q", code, out)
			}
			same(t, "the messages", want, plain(tape.said(1)))
			e := tape.only()
			same(t, "URLs", []any{"/socket", "ws://" + p.addr + "/socket", 101, "closed"}, []any{e.URL, e.Upstream, e.Status, e.State})
			same(t, "the same, from the file itself", plain(tape.said(1)), plain(tapeFile{t, tape.path}.saidOf(file)))
		})
	}
}

// plain leaves what HAR files of browsers keep: messages, not how they were sent.
func plain(list []said) []said {
	list = slices.DeleteFunc(slices.Clone(list), func(s said) bool { return s.Op != "text" && s.Op != "binary" })
	for i := range list {
		list[i].Compressed = false
	}
	return list
}

// saidOf shows a file as if it were a session.
func (f tapeFile) saidOf(file string) (out []said) {
	for _, m := range read[message](f, "show", file, "--json") {
		out = append(out, m.said())
	}
	return out
}

// TestHARInDevTools: the DevTools that this Chromium brings along read what wstape
// exports.
func TestHARInDevTools(t *testing.T) {
	t.Parallel()
	requireChromium(t)
	dir := t.TempDir()
	cassette, file := filepath.Join(dir, "a.cassette.jsonl"), filepath.Join(dir, "a.har")
	must(t, os.WriteFile(cassette, []byte(strings.TrimSpace(`
{"wstape":1,"session":{"url":"/chat?a=1","upstream":"wss://example.com/chat?a=1","started":"2026-08-22T10:11:12.5Z"}}
{"t":0.5,"from":"client","text":"grüße 👋"}
{"t":0.75,"from":"server","b64":"AAEC/w=="}
{"from":"client","op":"ping","b64":""}
{"t":1,"from":"server","text":"HI","fate":"edited","by":"script:a.js","received":{"text":"hi"}}
{"t":1.25,"from":"client","text":""}
{"t":1.5,"from":"client","op":"close","code":1000}
{"wstape":1,"session":{"url":"/no","state":"refused","status":403,"response":{"status":403,"body_b64":"bm8="}}}
`)), 0o644))
	if _, code := (tapeFile{t, filepath.Join(dir, "t.db")}).run("export", cassette, "--format", "har", "--out", file); code != 0 {
		t.Fatalf("export: exit code %d", code)
	}
	type row struct {
		Type, Data string
		Time       float64
		Opcode     int
		Mask       bool
	}
	type request struct {
		URL, Type string
		Status    int
		Messages  []row
	}
	var got []request
	harMaker{Open: file}.ask(t, &got)
	want := []row{
		{"send", "grüße 👋", 1787393473, 1, true},
		{"receive", "AAEC/w==", 1787393473.25, 2, false},
		{"receive", "HI", 1787393473.5, 1, false},
		{"send", "", 1787393473.75, 1, true},
	}
	slices.SortFunc(got, func(a, b request) int { return a.Status - b.Status }) // DevTools sorts by time
	same(t, "how many requests", 2, len(got))
	same(t, "the messages", want, got[0].Messages)
	same(t, "the others", 0, len(got[1].Messages))
	for i, want := range []string{"wss://example.com/chat?a=1 websocket 101", "ws://localhost/no websocket 403"} {
		same(t, "the request", want, fmt.Sprint(got[i].URL, " ", got[i].Type, " ", got[i].Status))
	}
}
