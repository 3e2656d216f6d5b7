package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// exportAs writes sessions of a tape or a file for another program.
func (f tapeFile) exportAs(format, out string, args ...string) string {
	f.t.Helper()
	path := filepath.Join(f.t.TempDir(), out)
	if _, code := f.run(append([]string{"export", "--format", format, "--out", path}, args...)...); code != 0 {
		f.t.Fatalf("export --format %s: exit code %d", format, code)
	}
	return path
}

// output runs a program that must succeed.
func output(t *testing.T, command ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(within(t), command[0], command[1:]...)
	cmd.Env = cleanEnv()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command[0], err, stderr.String())
	}
	return out
}

// dissected is a frame as tshark sees it.
type dissected struct {
	From, Opcode, Fin, RSV, Masked string
	Len                            int
	Payload                        string // on the wire, unmasked, in hexadecimal
	Text                           string // inflated and joined, of a message that ends here
}

// dissect has tshark read a capture: every packet must be sound, and all frames WebSocket's.
func dissect(t *testing.T, file string) (out []dissected) {
	t.Helper()
	sound := []string{"-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE"}
	bad := output(t, append([]string{"tshark", "-r", file, "-Y", "_ws.malformed || tcp.analysis.flags || tcp.checksum.status == 0 || ip.checksum.status == 0 || websocket.decompression.failed.expert"}, sound...)...)
	if len(bad) > 0 {
		t.Errorf("tshark complains about:\n%s", bad)
	}
	var packets []struct {
		Source struct {
			Layers struct {
				TCP struct {
					Src string `json:"tcp.srcport"`
				}
				WebSocket json.RawMessage
			}
		} `json:"_source"`
	}
	must(t, json.Unmarshal(output(t, "tshark", "-r", file, "-Y", "websocket", "-T", "json", "-x"), &packets))
	for _, p := range packets {
		var w struct {
			Fin     string          `json:"websocket.fin"`
			RSV     string          `json:"websocket.rsv"`
			Opcode  string          `json:"websocket.opcode"`
			Mask    string          `json:"websocket.mask"`
			Key     string          `json:"websocket.masking_key"`
			Len     string          `json:"websocket.payload_length"`
			Len16   string          `json:"websocket.payload_length_ext_16"`
			Len64   string          `json:"websocket.payload_length_ext_64"`
			Raw     []any           `json:"websocket.payload_raw"`
			Payload json.RawMessage `json:"websocket.payload"`
		}
		must(t, json.Unmarshal(p.Source.Layers.WebSocket, &w))
		var inner struct {
			Text string `json:"websocket.payload.text"`
		}
		_ = json.Unmarshal(w.Payload, &inner) // a string where there is nothing in it
		d := dissected{From: "client", Opcode: w.Opcode, Fin: w.Fin, RSV: w.RSV, Masked: strings.ReplaceAll(w.Key, ":", ""), Text: fold(inner.Text)}
		if p.Source.Layers.TCP.Src == "80" {
			d.From = "server"
		}
		for _, n := range []string{w.Len, w.Len16, w.Len64} { // the last that is there
			if n != "" {
				d.Len, _ = strconv.Atoi(n)
			}
		}
		if len(w.Raw) > 0 {
			d.Payload = fold(fmt.Sprint(w.Raw[0]))
		}
		out = append(out, d)
	}
	return out
}

// onTape is what tshark must see of a session: the frames of its tape.
func (f tapeFile) onTape(session string) (out []dissected) {
	f.t.Helper()
	texts := map[string]string{} // of the messages that have one, by their first frame
	type framed struct {
		frame
		Mask string
	}
	for _, m := range read[message](f, "show", session, "--json") {
		if m.Op == "text" && len(m.Frames) == 0 {
			texts[fmt.Sprint(m.Seq)] = fold(m.data())
		}
	}
	for _, fr := range read[framed](f, "show", session, "--frames", "--json") {
		d := dissected{
			From: fr.From, Opcode: fmt.Sprint(fr.Opcode), Fin: "0", RSV: fmt.Sprintf("0x%02x", fr.RSV), Masked: fr.Mask,
			Len: fr.Len, Payload: fold(hex.EncodeToString(fr.B64)), Text: texts[fmt.Sprint(fr.Seq)],
		}
		if fr.Fin {
			d.Fin = "1"
		}
		out = append(out, d)
	}
	return out
}

// TestPcapngInTshark: what tshark sees in an export is what is on the tape: every
// frame with its bits, its mask and its payload, and the text that was compressed.
func TestPcapngInTshark(t *testing.T) {
	t.Parallel()
	requireProgram(t, "tshark")
	t.Run("compressed with context takeover", func(t *testing.T) {
		t.Parallel()
		s := startServer(t, node, serverOptions{})
		p := startProxy(t, "ws://"+s.addr)
		c := newClient(t, node)
		mustDial(t, c, p.url("/talk?to=me"), dialOptions{})
		first := noise("tshark", 2000)
		for _, text := range []string{first, first + " again", "short", "", "grüße 👋"} {
			echo(t, c, text)
		}
		c.binary(noise("binary", 200_000))
		c.hear()
		c.ping()
		echo(t, c, first)
		hangUp(t, c, s, closing{Code: 4001, Reason: "tschüß"})
		tape := p.stop()
		same(t, "the frames", tape.onTape("1"), dissect(t, tape.exportAs("pcapng", "a.pcapng", "1")))
	})
	t.Run("fragments, both families, sequence numbers past 2^32", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		file := filepath.Join(dir, "a.cassette.jsonl")
		must(t, os.WriteFile(file, []byte(strings.TrimSpace(fmt.Sprintf(`
{"wstape":1,"session":{"id":"01a2058b-3d14-79fd-ffff-ff00ffff8000","started":"2026-08-22T10:11:12.5Z","url":"/chat","client":"[::1]:50514","upstream":"wss://example.com/chat"}}
{"t":0.5,"from":"client","text":"%[1]s"}
{"t":0.6,"from":"server","text":"%[1]s"}
{"t":0.7,"from":"client","text":"fragment","frames":[5,3]}
{"t":0.75,"from":"server","op":"pong","b64":"AAE="}
{"t":0.8,"from":"client","op":"close","code":1000}
{"t":0.9,"from":"server","op":"close","code":1000}
`, noise("long", 70_000)))), 0o644))
		tape := tapeFile{t, filepath.Join(dir, "t.db")}
		got := dissect(t, tape.exportAs("pcapng", "a.pcapng", file))
		i := slices.IndexFunc(got, func(d dissected) bool { return d.Opcode == "0" })
		if i < 0 || got[i].Text != "" && got[i].Text != "fragment" {
			t.Fatalf("the fragments are %+v", got)
		}
		got[i].Text = "" // versions differ in whether they join
		got[i-1].Text = ""
		same(t, "the frames", tape.onTape(file), got)
	})
}

// TestMitmproxyDump: a client and a server converse through mitmdump, which drops,
// edits and injects; what is imported from its dump is what happened.
func TestMitmproxyDump(t *testing.T) {
	t.Parallel()
	requirePython(t)
	requireProgram(t, "mitmdump")
	made := filepath.Join("..", "internal", "bridge", "testdata", "mitmproxy", "make.py")
	dump := filepath.Join(t.TempDir(), "flows") // its beginning says what it is
	cmd := exec.CommandContext(within(t), pythonPath(), made, dump)
	cmd.Env = append(cleanEnv(), "PYTHONDONTWRITEBYTECODE=1", "HOME="+t.TempDir()) // mitmproxy keeps its certificates there
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	tape := tapeFile{t, filepath.Join(t.TempDir(), "t.db")}
	if out, code := tape.run("import", dump); code != 0 || out != "1\n2\n3\n4\n" {
		t.Fatalf("import: exit code %d, %q", code, out)
	}
	var got []string
	for _, m := range tape.messages(1) {
		got = append(got, fmt.Sprintf("%s %s %.12q %s %s %d", m.From, m.Op, m.data(), m.Fate, m.By, m.Code))
	}
	same(t, "the messages", []string{
		`client text "{\"type\":\"hel" passed  0`, `server text "{\"type\":\"hel" passed  0`,
		`client binary "\x00\x01\x02\xff" passed  0`, `server binary "\x00\x01\x02\xff" passed  0`,
		`client text "drop me" dropped mitmproxy 0`, `client text "edited" passed  0`, `server text "edited" passed  0`,
		`client text "inject" passed  0`, `server text "from nowhere" injected mitmproxy 0`, `server text "inject" passed  0`,
		`client text "xxxxxxxxxxxx" passed  0`, `server text "xxxxxxxxxxxx" passed  0`, `client close "" passed  1000`,
	}, got)
	var ends []string
	for _, s := range tape.sessions() {
		end := ending{}
		if s.Ending != nil {
			end = *s.Ending
		}
		ends = append(ends, fmt.Sprintf("%d %s %s %d %s %s", s.Status, s.State, end.Kind, end.Code, end.Reason, end.From))
	}
	same(t, "how the sessions ended", []string{
		"101 closed close 1000 bye client", "101 closed close 4000 grüße server", "101 closed eof 0  server", "403 refused  0  ",
	}, ends)
	if out, _ := tape.run("export", "1"); strings.Contains(out, "verysecret") {
		t.Errorf("a secret is on the tape:\n%s", out)
	}
}

const forPages = `
{"wstape":1,"session":{"url":"/chat?room=1","started":"2026-08-22T10:11:12.5Z"}}
{"t":0.1,"from":"server","json":{"type":"welcome","id":"b1"}}
{"t":0.2,"from":"client","json":{"type":"hello","id":"a1"}}
{"t":0.3,"from":"server","text":"one"}
{"t":0.31,"from":"server","b64":"AAEC/w=="}
{"t":0.4,"from":"client","b64":"/wI="}
{"t":0.5,"from":"server","text":"grüße 👋"}
{"t":0.6,"from":"server","op":"close","code":4001,"reason":"tschüß"}
{"wstape":1,"session":{"url":"/echo"}}
{"t":0.1,"from":"client","text":"a"}
{"t":0.2,"from":"server","text":"b"}
{"t":0.3,"from":"client","op":"close","code":4003,"reason":"bye"}
{"wstape":1,"session":{"url":"/cut","ending":{"kind":"reset","from":"server"}}}
{"t":0.1,"from":"client","text":"a"}
`

// TestPlaywrightStub: node runs the exported module, and a page in Chromium gets
// the recorded server through Playwright's routeWebSocket, as no server is there.
func TestPlaywrightStub(t *testing.T) {
	t.Parallel()
	requireChromium(t)
	dir := t.TempDir()
	cassette := filepath.Join(dir, "a.cassette.jsonl")
	must(t, os.WriteFile(cassette, []byte(strings.TrimSpace(forPages)), 0o644))
	module := tapeFile{t, filepath.Join(dir, "t.db")}.exportAs("playwright", "recording.mjs", cassette)
	type part struct {
		After int     `json:"after"`
		Text  *string `json:"text,omitempty"`
		B64   []byte  `json:"b64,omitempty"`
	}
	type farewell struct {
		After  int    `json:"after"`
		Code   int    `json:"code"`
		Reason string `json:"reason"`
	}
	type order struct {
		Module string    `json:"module"`
		Pace   float64   `json:"pace"`
		URL    string    `json:"url"`
		Says   []part    `json:"says"`
		Close  *farewell `json:"close,omitempty"`
	}
	says := func(after int, text string) part { return part{After: after, Text: &text} }
	other := []part{says(1, `{"type":"hello","id":"another"}`), {After: 3, B64: []byte{255, 2}}} // ids are another time's
	whole := []string{`{"type":"welcome","id":"b1"}`, "one", "AAEC/w==", "grüße 👋"}
	browser := start(t, "browser", nodePath(), peerFile(t, "browser", "route.js"), chromiumPath())
	for _, c := range []struct {
		name string
		order
		heard   []string
		how     closing
		problem string
	}{
		{"as recorded", order{URL: "ws://nowhere.invalid/chat?room=2", Says: other}, whole, closing{Code: 4001, Reason: "tschüß"}, ""},
		{"with its pacing", order{URL: "ws://nowhere.invalid/chat", Says: other, Pace: 0.1}, whole, closing{Code: 4001, Reason: "tschüß"}, ""},
		{"the page closes", order{URL: "wss://nowhere.invalid/echo", Says: []part{says(0, "a")}, Close: &farewell{1, 4003, "bye"}}, []string{"b"}, closing{Code: 4003, Reason: "bye"}, ""},
		{"the server goes without a word", order{URL: "ws://nowhere.invalid/cut", Says: []part{says(0, "a")}}, nil, closing{Code: 1006}, ""},
		{
			"another message", order{URL: "ws://nowhere.invalid/chat", Says: []part{says(1, `{"type":"bye","id":"a1"}`)}}, whole[:1],
			closing{Code: 4000, Reason: `message 1 of the page: expected "{\"type\":\"hello\",\"id\":\"a1\"}", received "{\"type\":\"bye\",\"`},
			`session 1: message 1 of the page: expected "{\"type\":\"hello\",\"id\":\"a1\"}", received "{\"type\":\"bye\",\"id\":\"a1\"}"`,
		},
		{
			"too many", order{URL: "ws://nowhere.invalid/echo", Says: []part{says(0, "a"), says(1, "b")}}, []string{"b"},
			closing{Code: 4000, Reason: `the page sends more than was recorded: "b"`}, `session 2: the page sends more than was recorded: "b"`,
		},
		{
			"too few", order{URL: "ws://nowhere.invalid/chat", Close: &farewell{1, 1000, ""}}, whole[:1],
			closing{Code: 1000}, `session 1: the page has sent 0 of 2 messages`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.Module = module
			if c.Says == nil {
				c.Says = []part{}
			}
			var saw struct {
				Heard   []part
				Code    int
				Reason  string
				Problem string
			}
			browser.ask(c.order, &saw)
			var heard []string
			for _, h := range saw.Heard {
				if h.Text != nil {
					heard = append(heard, *h.Text)
				} else {
					heard = append(heard, base64.StdEncoding.EncodeToString(h.B64))
				}
			}
			same(t, "what the page heard", c.heard, heard)
			same(t, "how the page saw it end", c.how, closing{Code: saw.Code, Reason: saw.Reason})
			same(t, "what the module says", c.problem, firstLine(saw.Problem))
		})
	}
}

// TestLoadTools: k6 and Artillery run what is exported for them, against the server
// that was recorded and against one that answers otherwise. make bridges-peers
// installs them and runs this; else it is skipped.
func TestLoadTools(t *testing.T) {
	for _, tool := range []struct {
		format, file, env string
		command           func(program, server, script string) []string
		sent              string // what the tool says of it
	}{
		{"k6", "a.k6.js", "WSTAPE_K6", func(program, server, script string) []string {
			return []string{program, "run", "-e", "TARGET=" + server, "-e", "TOKEN=live", "-e", "PATIENCE=5", script}
		}, "ws_msgs_sent"},
		{"artillery", "a.artillery.yml", "WSTAPE_ARTILLERY", func(program, server, script string) []string {
			return []string{program, "run", "--target", server, script}
		}, "websocket.messages_sent"},
	} {
		t.Run(tool.format, func(t *testing.T) {
			program := os.Getenv(tool.env)
			if program == "" {
				t.Skipf("%s names no %s: make bridges-peers installs it", tool.env, tool.format)
			}
			requireNode(t)
			s := startServer(t, node, serverOptions{})
			p := startProxy(t, "ws://"+s.addr)
			c := newClient(t, node)
			mustDial(t, c, p.url("/talk?token=secret"), dialOptions{})
			for _, text := range []string{`{"type":"hello","id":"a1"}`, "it's \"plain\"\ngrüße 👋", "12", `[1,2]`} {
				echo(t, c, text)
			}
			if tool.format == "k6" { // the other knows no binary
				c.binary(every())
				c.hear()
				c.ping()
			}
			hangUp(t, c, s, closing{Code: 4001, Reason: "bye"})
			tape := p.stop()
			run := func(script string) (string, error) {
				cmd := exec.CommandContext(within(t), program, tool.command(program, "ws://"+s.addr, script)[1:]...)
				cmd.Env = append(cleanEnv(), "TOKEN=live", "K6_NO_USAGE_REPORT=true", "ARTILLERY_DISABLE_TELEMETRY=true")
				out, err := cmd.CombinedOutput()
				return string(out), err
			}
			out, err := run(tape.exportAs(tool.format, tool.file, "1"))
			if err != nil || !strings.Contains(out, tool.sent) || strings.Contains(out, "Failed capture or match") {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("as recorded:\n%s", out)

			cassette := filepath.Join(t.TempDir(), "b.cassette.jsonl")
			must(t, os.WriteFile(cassette, []byte(`{"wstape":1,"session":{"url":"/talk"}}
{"from":"client","json":{"type":"hello"}}
{"from":"server","json":{"type":"goodbye"}}
`), 0o644))
			out, err = run(tape.exportAs(tool.format, tool.file, cassette))
			if err == nil && !strings.Contains(out, "Failed capture or match") {
				t.Errorf("another answer than was recorded went unnoticed:\n%s", out)
			}
		})
	}
}

func firstLine(text string) string { return strings.SplitN(text, "\n", 2)[0] }
