package e2e

import (
	"encoding/json"
	"testing"
)

// posted is what the page sends and what it got back.
type posted struct {
	As   string  `json:"as"` // text, blob, arraybuffer
	Text *string `json:"text,omitempty"`
	B64  []byte  `json:"b64,omitempty"`
}

// TestBrowser: Chromium loads a page through wstape, and the page's socket goes
// through the same address.
func TestBrowser(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		name := "http"
		if secure {
			name = "https"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requireChromium(t)
			s := startServer(t, node, serverOptions{Page: peerFile(t, "browser", "page.html")})
			scheme, flags := "http", []string(nil)
			if secure {
				front := newAuthority(t).issue()
				scheme, flags = "https", []string{"--tls-cert", front.cert, "--tls-key", front.key}
			}
			p := startProxy(t, "ws://"+s.addr, flags...)
			browser := start(t, "browser", nodePath(), peerFile(t, "browser", "drive.js"))
			browse(t, browser, scheme+"://"+p.addr+"/")
			same(t, "how the server saw it end", closing{Code: 4003, Reason: "tschüß 👋"}, s.ended())
			checkBrowsed(t, p.stop())
		})
	}
}

// script is what the page sends. The second text and the second buffer only
// differ a little from the first, which takeover makes use of.
func script() []posted {
	first := noise("page", 3000)
	second := first[:1500] + "with a change" + first[1500:]
	umlauts := "grüße, 世界 👋"
	bytes := []byte(every() + noise("bytes", 3000))
	return []posted{
		{As: "text", Text: &first},
		{As: "text", Text: &second},
		{As: "blob", B64: bytes},
		{As: "arraybuffer", B64: append([]byte("again: "), bytes...)},
		{As: "text", Text: &umlauts},
		{As: "text", Text: &first},
	}
}

func browse(t *testing.T, browser *process, url string) {
	t.Helper()
	type visit struct {
		Browser  string   `json:"browser"`
		URL      string   `json:"url"`
		Messages []posted `json:"messages"`
		Code     int      `json:"code"`
		Reason   string   `json:"reason"`
	}
	var saw struct {
		Extensions string
		Answers    []posted
		Code       int
		Reason     string
		Clean      bool
	}
	browser.ask(visit{chromiumPath(), url, script(), 4003, "tschüß 👋"}, &saw)
	same(t, "extensions", "permessage-deflate", saw.Extensions[:min(18, len(saw.Extensions))])
	same(t, "how many answers", len(script()), len(saw.Answers))
	for i, sent := range script() {
		want, err := json.Marshal(sent)
		must(t, err)
		got, err := json.Marshal(saw.Answers[i])
		must(t, err)
		same(t, "the answer", fold(string(want)), fold(string(got)))
	}
	same(t, "how the page saw it end", []any{4003, "tschüß 👋", true}, []any{saw.Code, saw.Reason, saw.Clean})
}

func checkBrowsed(t *testing.T, tape tapeFile) {
	t.Helper()
	var want []said
	for _, m := range script() {
		op, data := "binary", string(m.B64)
		if m.Text != nil {
			op, data = "text", *m.Text
		}
		for _, from := range []string{"client", "server"} {
			want = append(want, said{From: from, Op: op, Data: fold(data), Compressed: true})
		}
	}
	for _, from := range []string{"client", "server"} {
		want = append(want, said{From: from, Op: "close", Code: 4003, Data: "tschüß 👋"})
	}
	e := tape.only() // the page itself is not a session
	same(t, "the tape", want, tape.said(e.N))
	same(t, "path", "/socket", e.URL)
	checkFrames(t, tape, e)
	list := tape.messages(e.N)
	for i := range 2 { // from the client, then from the server
		first, second := list[i].Wire.Len, list[i+2].Wire.Len
		if second > first/4 {
			t.Errorf("the second text from the %s took %d bytes after %d: it did not refer back", list[i].From, second, first)
		}
	}
}
