package cli

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/record/boltstore"
	"github.com/wstape/wstape/tape"
)

// hostile are texts that would drive a terminal, hide in it or reorder it, if
// they got there as they are.
func hostile() map[string]string {
	return map[string]string{
		"control": "\x1b[2J\x1b[1;1Hgone \x1b[31mred\x1b[0m \x1b]52;c;ZXZpbA==\x07 \x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\ \x1bP$q\"p\x1b\\" +
			" \u009b2J\u009d0;title\u009c\u0090q\u009c good\rbad\b\b\b\v\f\x00\x7f",
		"unseen": "\u202egnp.exe\u202c \u2066iso\u2069 \u200f\u061c a\u200b\u200c\u200d\u2060\ufeffb\u034f\u3164\U000e0041" +
			" a\u2028b\u2029c\u0085d ❤\ufe0f\U000e0100 e" + strings.Repeat("\u0301", 200),
		"lines": "one\ntwo\n\x1b[3A",
	}
}

// raw8 is hostile to terminals with 8-bit controls; no JSON string can hold it.
const raw8 = "\x9b2J\x9d52;c;eA==\x9c\xff\xc0\x80"

// hostileCassette has a hostile text in every place of a cassette.
func hostileCassette(t *testing.T, bad string) string {
	t.Helper()
	q := func(s string) string {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	b64 := base64.StdEncoding.EncodeToString
	x := q(bad)
	binary := q(b64([]byte(raw8 + bad)))
	return strings.NewReplacer("BAD", x, "KEY", q(bad+"k"), "BIN", binary, "JSON", q(`{"type":`+x+`,"`+"a"+`":[`+x+`]}`),
		"RPC", q(`{"jsonrpc":"2.0","id":`+x+`,"method":`+x+`}`), "ANSWER", q(`{"jsonrpc":"2.0","id":`+x+`,"error":{"code":1,"message":`+x+`}}`),
	).Replace(`{"wstape":1,"session":{"started":"2021-11-22T10:00:00Z","url":BAD,"upstream":BAD,"client":BAD,"subprotocol":BAD,"extensions":BAD,"state":"closed",` +
		`"ending":{"kind":"close","code":4000,"reason":BAD,"from":"client","why":BAD},"tags":{KEY:BAD},"notes":[BAD],` +
		`"request":{"method":"GET","target":BAD,"headers":[[BAD,BAD]]},"response":{"status":101,"headers":[[BAD,BAD]]}}}
{"t":0.1,"from":"client","text":BAD}
{"t":0.2,"from":"server","b64":BIN}
{"t":0.3,"from":"client","op":"ping","b64":BIN}
{"t":0.4,"from":"client","text":JSON}
{"t":0.5,"from":"client","text":RPC}
{"t":0.6,"from":"server","text":ANSWER}
{"t":0.7,"from":"server","op":"text","b64":BIN,"utf8":false}
{"t":0.8,"from":"server","text":BAD,"fate":"edited","by":BAD,"by_all":[BAD,BAD],"received":{"op":"text","text":BAD}}
{"t":0.9,"from":"server","b64":BIN,"error":BAD}
{"t":1.0,"from":"server","text":"x","violation":BAD,"fate":"injected","by":BAD}
{"gap":{"frames":1,"bytes":2,"why":BAD},"t":1.1}
{"note":BAD,"by":BAD,"t":1.2}
{"t":1.3,"from":"client","op":"close","code":4000,"reason":BAD}
`)
}

// harmless in JSON, which is for programs, is what a terminal at most does not show.
var harmless = strings.NewReplacer("\u200b", "", "\u200c", "", "\u200d", "", "\u2060", "", "\ufeff", "", "\U000e0041", "", "\ufe0f", "", "\U000e0100", "", "\u0301", "")

// testWhole is what commands under test read of one message.
const testWhole = 32 << 20

// both runs one command to its end and returns what it wrote to stdout and stderr.
func both(args ...string) (code int, out string) {
	var written bytes.Buffer
	code = Main(Env{whole: testWhole, Args: args, Stdin: strings.NewReader(""), Stdout: &written, Stderr: &written, Getenv: func(string) string { return "" }})
	return code, written.String()
}

// TestNothingDrivesTheTerminal puts hostile texts wherever a recording, a name
// or an argument can hold one, and looks at all that commands print.
func TestNothingDrivesTheTerminal(t *testing.T) {
	commands := [][]string{
		{"ls"}, {"ls", "--json"}, {"ls", "--color", "always"}, {"ls", "FILE"},
		{"show", "1"}, {"show", "1", "--color", "always"}, {"show", "1", "--view", "auto"}, {"show", "1", "--view", "json"}, {"show", "1", "--view", "jsonrpc", "--json"},
		{"show", "1", "--view", "raw"}, {"show", "1", "--view", "msgpack"}, {"show", "1", "--full"}, {"show", "1", "--max-bytes", "0"}, {"show", "1", "--json"},
		{"show", "1", "--frames"}, {"show", "1", "--frames", "--json"}, {"show", "1", "--hide-heartbeats"}, {"show", "FILE"}, {"show", "1", "1", "FILE"},
		{"search", "len >= 0"}, {"search", "len >= 0", "--json"}, {"search", "latency > 0", "--json"}, {"search", "BAD"},
		{"tail", "--since", "2021-11-22T00:00:00Z", "--until", "2021-11-23T00:00:00Z"},
		{"tail", "--since", "2021-11-22T00:00:00Z", "--until", "2021-11-23T00:00:00Z", "--json", "--view", "auto"},
		{"export", "1"}, {"export", "1", "--filter", "len > 3"}, {"export", "1", "--format", "har"},
		{"tag", "1", "BAD=BAD", "--note", "BAD"}, {"check"}, {"import", "FILE"},
		{"stats"}, {"stats", "--json"}, {"stats", "1"}, {"stats", "1", "--json"}, {"diff", "1", "FILE"}, {"diff", "1", "other.cassette.jsonl", "--all"},
		{"diff", "1", "other.cassette.jsonl", "--json", "--all"},
		{"replay", "explain", "1"}, {"replay", "explain", "1", "--json"},
		{"replay", "client", "1", "ws://127.0.0.1:1"}, {"replay", "client", "FILE", "ws://127.0.0.1:1", "--report", "json"},
		{"script", "run", "loud.js", "1", "--all"}, {"script", "run", "loud.js", "1", "--json"}, {"script", "run", "shout.js", "1", "--all"}, {"script", "check", "loud.js"}, {"script", "check", "loud.js", "--json"}, {"script", "test", "bad.test.js"},
		// What is wrong, and told.
		{"show", "BAD"}, {"show", "1", "--filter", "BAD"}, {"show", "1", "--view", "BAD"}, {"show", "1", "--from", "BAD"}, {"show", "1", "--since", "BAD"},
		{"show", "1", "--BAD"}, {"BAD"}, {"ls", "--tape", "BAD"}, {"rm", "BAD"}, {"search", "json. == BAD"}, {"export", "1", "--out", "BAD/BAD"},
		{"config", "check", "bad.yaml"}, {"show", "broken.cassette.jsonl"}, {"show", "broken.har"}, {"script", "check", "broken.js"}, {"show", "1", "--proto", "bad.proto", "--message", "BAD"},
	}
	for name, bad := range hostile() {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range map[string]string{
				"bad.cassette.jsonl":    hostileCassette(t, bad),
				"other.cassette.jsonl":  strings.NewReplacer("0.4", "0.45", "one", "uno", "evil", "good").Replace(hostileCassette(t, bad+"!")),
				"broken.cassette.jsonl": "{\"wstape\":1,\"session\":{}}\n{\"from\":\"client\",\"" + strings.ToValidUTF8(bad, "?") + "\":1}\n",
				"broken.har":            `{"log":{"entries":[{"` + bad + `":`,
				"bad.yaml":              "script:\n  when: |\n    " + strings.ReplaceAll(bad, "\n", " ") + "\n\"x" + strings.Trim(fmt.Sprintf("%+q", bad), `"`) + "\": 1\n",
				"bad.proto":             "syntax = \"proto3\"; message " + bad,
				"broken.js":             "export function onMessage( { `" + bad,
				"loud.js": "const x = " + fmt.Sprintf("%+q", bad) + `; export function onMessage(m, session) {
					console.log(x); console.error(x); session.note(x); session.tag(x, x); if (m.len > 5) throw new Error(x); return x + m.text; }`,
				"bad.test.js": "const x = " + fmt.Sprintf("%+q", bad) + `; test(x, () => { console.log(x); assert.equal(x, "y"); }); test("throws " + x, () => { throw new Error(x); });`,
				"shout.js":    `export function onRequest(req) { req.headers.set("X-Bad", "y"); } export function onMessage(m) { return m.text + "!"; } export function onClose() { throw "bye"; }`,
			} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			onto, file := filepath.Join(dir, "t.db"), filepath.Join(dir, "bad.cassette.jsonl")
			if code, out := both("import", file, "--tape", onto); code != exitFine {
				t.Fatalf("import: %d: %s", code, out)
			}
			for _, args := range commands {
				given := strings.Join(args, " ")
				args = slices.Clone(args)
				for i, arg := range args {
					switch arg = strings.ReplaceAll(strings.ReplaceAll(arg, "BAD", bad), "FILE", file); filepath.Ext(arg) {
					case ".js", ".yaml", ".proto", ".har":
						arg = filepath.Join(dir, arg)
					}
					if strings.HasPrefix(arg, "broken.") || strings.HasPrefix(arg, "other.") {
						arg = filepath.Join(dir, arg)
					}
					args[i] = arg
				}
				if !strings.Contains(given, "--tape") && args[0] != "config" && given != "BAD" && !strings.HasPrefix(given, "script check") {
					args = append(args, "--tape", onto)
				}
				if strings.HasPrefix(given, "script check") {
					args = append(args, "--config", "")
				}
				code, out := both(args...)
				if asJSON := strings.Contains(given, "json") || strings.HasPrefix(given, "export"); asJSON {
					out = harmless.Replace(out)
				}
				if r, is := driven(out); is {
					at := strings.IndexRune(out, r)
					t.Errorf("%s (%d): %U in %q", given, code, r, out[max(0, at-60):min(len(out), at+60)])
				}
				if strings.TrimSpace(out) == "" && args[0] != "tag" {
					t.Errorf("%s (%d) says nothing", given, code)
				}
			}
		})
	}
}

// TestNothingDrivesTheLiveLog has a client and a server say hostile things
// through a proxy, and its script print them.
func TestNothingDrivesTheLiveLog(t *testing.T) {
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		for {
			kind, text, err := conn.ReadMessage()
			if err != nil {
				return
			}
			if string(text) == "bye" {
				reason := websocket.FormatCloseMessage(4000, "\x1b[2J\u009b2J\u202e")
				_ = conn.WriteMessage(websocket.CloseMessage, reason)
				return
			}
			if conn.WriteMessage(kind, text) != nil {
				return
			}
		}
	}))
	defer server.Close()
	dir := t.TempDir()
	loud := filepath.Join(dir, "loud.js")
	script := `export function onMessage(m, session) { const x = m.text ?? "\x1b[2J\u009b\u202e"; console.log(x); session.note(x); session.tag(x, x); if (m.len > 9) throw new Error(x); return x; }`
	if err := os.WriteFile(loud, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"text", "json"} {
		p := start(t, "proxy", "ws"+strings.TrimPrefix(server.URL, "http"), "--listen", "127.0.0.1:0", "--tape", filepath.Join(dir, format+".db"),
			"--log-format", format, "--script", loud, "--addr-file", filepath.Join(dir, format+".json"))
		url := listening(filepath.Join(dir, format+".json"))
		conn, _, err := websocket.DefaultDialer.Dial(url+"/%1b[2J?\u202e", nil)
		if err != nil {
			t.Fatal(err)
		}
		texts := []string{raw8}
		for _, text := range hostile() {
			texts = append(texts, text)
		}
		for _, text := range append(texts, "bye") {
			kind := websocket.TextMessage
			if text == raw8 {
				kind = websocket.BinaryMessage
			}
			if err := conn.WriteMessage(kind, []byte(text)); err != nil {
				t.Fatal(err)
			}
			_, _, err = conn.ReadMessage()
		}
		if !websocket.IsCloseError(err, 4000) {
			t.Fatal(err)
		}
		conn.Close()
		_, lines := p.stop()
		if n := len(lines); n < 3*len(texts) {
			t.Errorf("only %d lines", n)
		}
		for _, line := range lines {
			if format == "json" {
				line = harmless.Replace(line)
			}
			if r, is := driven(line); is {
				t.Errorf("%U in %q", r, line)
			}
		}
	}
}

// bombTape records a session in which a message of a few hundred KiB inflates to
// a MiB more than is read of one, and another one refers back to it.
func bombTape(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bomb.db")
	store, err := boltstore.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	recorder := record.NewRecorder(store, record.Options{Inflate: 1 << 20})
	tap, err := recorder.Begin(tape.Session{URL: "/bomb", Started: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	tap.Answered("ws://bomb", 101, "", []string{"permessage-deflate"}, tape.Response{Status: 101})
	var deflated bytes.Buffer
	w, err := flate.NewWriter(&deflated, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	mib := bytes.Repeat([]byte("z"), 1<<20)
	if _, err := w.Write(mib); err != nil || w.Flush() != nil {
		t.Fatal(err)
	}
	bomb := bytes.Repeat(deflated.Bytes(), testWhole>>20+1) // each part begins at a byte, and refers to none before it
	bomb = bytes.TrimSuffix(bomb, []byte("\x00\x00\xff\xff"))
	deflated.Reset()
	if _, err := w.Write([]byte("zzzzzzzzzz is what came before")); err != nil || w.Flush() != nil {
		t.Fatal(err)
	}
	after := bytes.TrimSuffix(deflated.Bytes(), []byte("\x00\x00\xff\xff"))
	for _, payload := range [][]byte{bomb, after} {
		tap.Parts(tape.Server, tape.LegBoth, []tape.Part{{Begin: true, Head: 0xc1, Len: uint64(len(payload)), Payload: payload}})
	}
	tap.End(tape.Ending{Kind: tape.EndEOF})
	if err := recorder.Close(); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestBomb: what a message inflates to is bounded, and said; what comes after it
// is read as ever.
func TestBomb(t *testing.T) {
	path := bombTape(t)
	now := time.Now().Format(time.RFC3339Nano)
	for _, args := range [][]string{
		{"show", "1"}, {"show", "1", "--filter", `text startsWith "zzz"`}, {"search", "zzzz is what", "1"}, {"search", "zzzz is what"},
		{"tail", "--since", "1h", "--until", now}, {"tail", "--filter", `text startsWith "zzz"`, "--since", "1h", "--until", now}, {"stats", "1"},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		code, out := both(append(args, "--tape", path)...)
		runtime.ReadMemStats(&after)
		if code != exitFine || args[0] != "stats" && !strings.Contains(out, "zzzzzzzzzz is what came before") {
			t.Errorf("%v: %d: %.300s", args, code, out)
		}
		if args[0] == "show" && !strings.Contains(out, fmt.Sprint(testWhole+1<<20)) || len(out) > 4000 {
			t.Errorf("%v: %.1000s", args, out)
		}
		head := args[0] == "show" && len(args) == 2 || args[0] == "tail" && args[1] == "--since" // which touch what they show of a message
		whole := strings.Contains(out, "1 message longer than 32.0 MiB: only their beginnings were looked at")
		if allocated := after.TotalAlloc - before.TotalAlloc; whole == head || head && allocated > 8<<20 || allocated > 10*testWhole {
			t.Errorf("%v: allocated %d bytes, said so: %v: %.500s", args, allocated, whole, out)
		}
	}
}

// TestLongLine: of a long message only what shows is touched, and one that is
// shown whole is not copied around.
func TestLongLine(t *testing.T) {
	long := bytes.Repeat([]byte("{\"日本\":\"\x1b[2J\"},\t"), 100_000)
	m := &tape.Message{Content: tape.Content{Op: tape.Text, Payload: long, Len: uint64(len(long))}, Fate: tape.Passed}
	allocated := func(f func()) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	y := layout{columns: 80, table: true}
	if n := allocated(func() {
		if line := y.message(m, nil); visible(line) > 80 {
			t.Errorf("%d columns: %s", visible(line), line)
		}
	}); n > 100<<10 {
		t.Errorf("a line of it takes %d bytes", n)
	}
	out := bufio.NewWriter(io.Discard)
	if n := allocated(func() {
		if err := y.full(out, m); err != nil {
			t.Error(err)
		}
	}); n > 2*uint64(len(long)) {
		t.Errorf("all of it takes %d bytes, and it has %d", n, len(long))
	}
}

// TestDeepJSON: what is nested deeply costs no more than what is long.
func TestDeepJSON(t *testing.T) {
	for _, depth := range []int{9_000, 100_000} {
		deep := strings.Repeat(`[`, depth) + strings.Repeat(`]`, depth)
		object := strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat("}", depth)
		file := filepath.Join(t.TempDir(), "deep.cassette.jsonl")
		var text strings.Builder
		text.WriteString("{\"wstape\":1,\"session\":{}}\n")
		for _, payload := range []string{deep, object, deep[:depth]} {
			line, err := json.Marshal(map[string]string{"from": "client", "text": payload})
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&text, "%s\n", line)
		}
		if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"show", file}, {"show", file, "--view", "auto"}, {"show", file, "--view", "json", "--json"}, {"show", file, "--full"},
			{"show", file, "--filter", "json.a.a.a == nil"}, {"search", "json.a != 1", file}} {
			code, out := both(args...)
			if code != exitFine || len(out) > 80*text.Len() {
				t.Errorf("%v: %d, %d bytes of %d: %.300s", args, code, len(out), text.Len(), out)
			}
		}
	}
}
