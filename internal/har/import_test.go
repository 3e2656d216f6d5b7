package har

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// from makes a source of a text.
func from(text string, beside fs.FS) Source {
	return Source{ReaderAt: strings.NewReader(text), Size: int64(len(text)), Beside: beside}
}

// imported is a tape of the file's sessions, and what was said about them.
func imported(t testing.TB, src Source) (*record.Memory, []string) {
	t.Helper()
	m := record.NewMemory()
	numbers, warnings, err := Import(context.Background(), src, m, nil)
	must(t, err)
	if len(numbers) == 0 {
		t.Fatal("no session and no error")
	}
	return m, warnings
}

// shown is a session as `show --json` shows it.
func shown(t testing.TB, r record.Reader, n uint64) (lines []string) {
	t.Helper()
	for line, err := range record.Lines(context.Background(), r, n, record.ReadOptions{}) {
		must(t, err)
		text, err := json.Marshal(line)
		must(t, err)
		lines = append(lines, string(text))
	}
	return lines
}

// short is a session in a few words: status, state, ending, then its lines as
// sender, opcode and payload.
func short(t testing.TB, r record.Reader, n uint64) string {
	t.Helper()
	e, err := r.Session(context.Background(), n)
	must(t, err)
	ending, err := json.Marshal(e.Ending)
	must(t, err)
	out := []string{fmt.Sprintf("%s %d %s %s", e.Upstream, e.Status, e.State, ending)}
	for line, err := range record.Lines(context.Background(), r, n, record.ReadOptions{}) {
		must(t, err)
		switch m := line.Message; {
		case line.Note != nil:
			out = append(out, fmt.Sprintf("%v note %q by %s", line.T, line.Note.Text, line.Note.By))
		case line.Gap != nil:
			out = append(out, fmt.Sprintf("%v gap", line.T))
		default:
			out = append(out, fmt.Sprintf("%v %v %v %q", line.T, m.From, m.Op, m.Payload))
		}
	}
	return strings.Join(out, "\n") + "\n"
}

func same(t testing.TB, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

const notSaid = ` {"kind":"error","why":"the HAR file does not say how"}` + "\n"

// The files of testdata were written by Chromium's DevTools and by Playwright
// themselves; those of mitmproxy, HTTP Toolkit and gori by hand, after their sources.
func TestDialects(t *testing.T) {
	refused := `refused {"kind":"error","why":"Error during WebSocket handshake: Unexpected response code: 403"}` + "\n"
	for _, c := range []struct {
		file     string
		sessions []string
		warns    []string
	}{
		{"chrome.har", []string{
			"ws://127.0.0.1:41813/chat?room=1 101 closed" + notSaid +
				`33.581ms client text "hello"` + "\n" + `45.344ms server text "hello"` + "\n" +
				`45.523ms client text "grüße 👋"` + "\n" + `46.863ms server text "grüße 👋"` + "\n" +
				`47.053ms client binary "\x00\xff\x01"` + "\n" + `48.243ms server binary "\x00\xff\x01"` + "\n" +
				`48.288ms client text ""` + "\n" + `59.045ms server text ""` + "\n",
			"ws://127.0.0.1:41813/no 502 " + refused +
				`1.58ms note "Error during WebSocket handshake: Unexpected response code: 403" by devtools` + "\n",
		}, nil},
		{"playwright.har", []string{
			"ws://127.0.0.1:38261/chat?room=1 101 closed" + notSaid +
				`11.814ms client text "hello"` + "\n" + `23.015ms server text "hello"` + "\n" +
				`23.142ms client text "grüße 👋"` + "\n" + `28.779ms server text "grüße 👋"` + "\n" +
				`28.896ms client binary "\x00\xff\x01"` + "\n" + `30.021ms server binary "\x00\xff\x01"` + "\n",
			"ws://127.0.0.1:38261/no 502 " + refused,
		}, nil},
		{"playwright-attach/a.har", []string{
			"ws://127.0.0.1:38261/chat?room=1 101 closed" + notSaid +
				`17.9ms client text "hello"` + "\n" + `23.585ms server text "hello"` + "\n" +
				`23.75ms client text "grüße 👋"` + "\n" + `32.646ms server text "grüße 👋"` + "\n" +
				`32.89ms client binary "\x00\xff\x01"` + "\n" + `35.03ms server binary "\x00\xff\x01"` + "\n",
			"ws://127.0.0.1:38261/no 502 " + refused,
		}, nil},
		{"playwright.zip", []string{
			"ws://127.0.0.1:38261/chat?room=1 101 closed" + notSaid +
				`18.076ms client text "hello"` + "\n" + `23.686ms server text "hello"` + "\n" +
				`23.856ms client text "grüße 👋"` + "\n" + `33.886ms server text "grüße 👋"` + "\n" +
				`34.043ms client binary "\x00\xff\x01"` + "\n" + `35.274ms server binary "\x00\xff\x01"` + "\n",
			"ws://127.0.0.1:38261/no 502 " + refused,
		}, nil},
		{"mitmproxy.har", []string{
			"wss://chat.example/ws 101 closed" + notSaid +
				`154.322ms client text "hello"` + "\n" + `279.322ms server binary "\x00\x01\x02\xff"` + "\n" + `404.322ms server text ""` + "\n",
		}, nil},
		{"httptoolkit.har", []string{
			`wss://chat.example/room?n=100 101 closed {"kind":"close","code":1000,"reason":"done"}` + "\n" +
				`400ms client text "hi"` + "\n" + `650ms server binary "\x00\x01\x02\xff"` + "\n",
			`wss://chat.example/room?n=200 101 closed {"kind":"close","reason":""}` + "\n" + `300ms client text "hi"` + "\n",
			`wss://chat.example/room?n=300 101 closed {"kind":"error","why":"the HAR file says aborted"}` + "\n" + `200ms client text "hi"` + "\n",
			`wss://chat.example/room?n=400 502 refused {"kind":"error","why":"the HAR file has no answer to the handshake"}` + "\n",
		}, nil},
		{"gori.har", []string{
			`wss://chat.example/ws?a=1 101 closed {"kind":"close","code":1000,"reason":"bye","from":"server"}` + "\n" +
				`0s note "[gori] the handshake offered permessage-deflate" by gori` + "\n" +
				`55ms client text "hello"` + "\n" + `155ms server binary "plain"` + "\n" + `255ms server binary "\x00\xff\x01"` + "\n" +
				`355ms client text "\xff"` + "\n" + `455ms client ping "p"` + "\n" + `455ms server pong "p"` + "\n" +
				`555ms server close "\x03\xe8bye"` + "\n",
			"wss://chat.example/h2 101 closed" + notSaid + `250ms client text "over h2"` + "\n",
		}, []string{"log.entries[1]: the handshake was answered with 200, as over HTTP/2; it is on the tape as 101, for messages followed"}},
	} {
		t.Run(c.file, func(t *testing.T) {
			text, err := os.ReadFile("testdata/" + c.file)
			must(t, err)
			m, warnings := imported(t, from(string(text), os.DirFS("testdata/playwright-attach")))
			for i, want := range c.sessions {
				same(t, short(t, m, uint64(i+1)), want)
			}
			if _, err := m.Session(t.Context(), uint64(len(c.sessions)+1)); err == nil {
				t.Error("there are more sessions")
			}
			same(t, fmt.Sprint(warnings), fmt.Sprint(c.warns))
		})
	}
}

func TestHandshakeComesAlongWithoutItsSecrets(t *testing.T) {
	text, err := os.ReadFile("testdata/mitmproxy.har")
	must(t, err)
	redact, err := record.NewRedactor([]byte("key"), record.Rules{Headers: []string{"cookie"}})
	must(t, err)
	m := record.NewMemory()
	_, _, err = Import(t.Context(), from(string(text), nil), m, redact)
	must(t, err)
	e, err := m.Session(t.Context(), 1)
	must(t, err)
	full, err := e.MarshalFull()
	must(t, err)
	for _, part := range []string{
		`"url":"/ws"`, `"subprotocol":"chat.v1"`, `"duration":0.404322`, `"tags":{"har":"mitmproxy 12.1.2"}`,
		`"request":{"method":"GET","target":"/ws","headers":[["Host","chat.example"],["Cookie","sid=redacted:`, `"response":{"status":101,`,
	} {
		if !strings.Contains(string(full), part) {
			t.Errorf("%s is not in %s", part, full)
		}
	}
	if strings.Contains(string(full), "verysecret") {
		t.Errorf("the secret is in %s", full)
	}
}

// file puts rows into the shortest HAR file that there is.
func file(rows string, more ...string) string {
	return `{"log":{"entries":[{"request":{"url":"ws://h/"},` + strings.Join(more, "") + `"_webSocketMessages":[` + rows + `]}]}}`
}

// What the algorithm of the dialects comes down to.
func TestRows(t *testing.T) {
	const started = `"startedDateTime":"2026-08-22T10:11:12Z",`
	for _, c := range []struct{ name, text, want, warns string }{
		{"seconds", file(`{"type":"send","time":1787393473.5,"opcode":1,"data":"a"}`, started), `1.5s client text "a"`, ""},
		{"milliseconds", file(`{"type":"send","time":1787393473500.25,"opcode":1,"data":"a"}`, started), `1.50025s client text "a"`, ""},
		{"put in order, but not what happened at once", file(`{"type":"send","time":1787393474,"opcode":1,"data":"b"},{"type":"receive","time":1787393473,"opcode":1,"data":"a"},`+
			`{"type":"send","time":1787393474,"opcode":1,"data":"c"}`, started), "1s server text \"a\"\n2s client text \"b\"\n2s client text \"c\"", ""},
		{"a time is not known", file(`{"type":"send","time":1787393474,"opcode":1,"data":"b"},{"type":"receive","time":-1,"opcode":1,"data":"?"},`+
			`{"type":"send","time":1787393473,"opcode":1,"data":"a"}`, started), "2s client text \"b\"\n2s server text \"?\"\n1s client text \"a\"", ""},
		{"no time is known", file(`{"type":"send","time":-1,"opcode":1,"data":"a"},{"type":"send","opcode":1,"data":"b"}`, started), "0s client text \"a\"\n0s client text \"b\"", ""},
		{"a time is a lie", file(`{"type":"send","time":1e300,"opcode":1,"data":"a"}`, started), `0s client text "a"`, "time 1e+300 is no time"},
		{"the beginning is not known", file(`{"type":"send","time":1787393474,"opcode":1,"data":"a"}`), `0s client text "a"`, ""},
		{"before the beginning", file(`{"type":"send","time":1787393471,"opcode":1,"data":"a"},{"type":"send","time":1787393473,"opcode":1,"data":"b"}`, started), "0s client text \"a\"\n2s client text \"b\"", ""},
		{"base64 as it should be", file(`{"type":"send","time":-1,"opcode":2,"data":"aGk="}`, started), `0s client binary "hi"`, ""},
		{"no base64 where it should be", file(`{"type":"send","time":-1,"opcode":2,"data":"hi!"}`, started), `0s client binary "hi!"`, "should be base64"},
		{"text that looks like base64", file(`{"type":"send","time":-1,"opcode":1,"data":"aGk="}`, started), `0s client text "aGk="`, ""},
		{"text that is said to be base64", file(`{"type":"send","time":-1,"opcode":1,"data":"aGk=","encoding":"base64"}`, started), `0s client text "hi"`, ""},
		{"no opcode", file(`{"type":"send","time":-1,"data":"a"}`, started), `0s client text "a"`, "no opcode"},
		{"half of a surrogate", file(`{"type":"send","time":-1,"opcode":1,"data":"\ud800"}`, started), `0s client text "` + "\uFFFD" + `"`, "not valid Unicode"},
		{"gori's remark elsewhere is traffic", file(`{"type":"receive","time":-1,"opcode":1,"data":"[gori] hi"}`, started), `0s server text "[gori] hi"`, ""},
		{"an error is never traffic", file(`{"type":"error","time":-1,"opcode":-1,"data":"broken"},{"type":"send","time":-1,"opcode":1,"data":"a"}`, started), "0s note \"broken\" by devtools\n0s client text \"a\"", ""},
		{"a Blob", `{"log":{"creator":{"name":"WebInspector"},` + file(`{"type":"send","time":-1,"opcode":2,"data":""}`, started)[len(`{"log":{`):], `0s client binary ""`, "Chromium writes a Blob so"},
		{"a reserved opcode", file(`{"type":"send","time":-1,"opcode":3,"data":"aGk="}`, started), `0s client reserved(3) "hi"`, ""},
		{"keys in another order", `{"log":{"entries":[{"_webSocketMessages":[{"data":"cA==","opcode":2,"time":-1,"type":"send"}],"request":{"url":"wss://h"}}],"creator":{"name":"gori"}}}`, `0s client binary "cA=="`, ""},
		{"a byte order mark", "\xef\xbb\xbf" + file(`{"type":"send","time":-1,"opcode":1,"data":"a"}`, started), `0s client text "a"`, ""},
		{"nothing in particular", `{"log":{"entries":[{"_resourceType":"websocket","request":{"url":"ws://h/"},"response":null,"_webSocketMessages":null}]}}`, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, warnings := imported(t, from(c.text, nil))
			_, lines, _ := strings.Cut(short(t, m, 1), "\n")
			same(t, strings.TrimSuffix(lines, "\n"), c.want)
			said := strings.Join(slices.DeleteFunc(warnings, func(w string) bool { return strings.Contains(w, "begins now") }), "; ")
			if c.warns == "" && said != "" || !strings.Contains(said, c.warns) {
				t.Errorf("said %q, want %q", said, c.warns)
			}
		})
	}
}

func TestEntriesThatAreNoWebSockets(t *testing.T) {
	m, _ := imported(t, from(`{"log":{"comment":{"x":[1,{}]},"entries":[
		{"request":{"url":7,"headers":"nonsense"},"response":{"status":"200","content":{"text":"big"}}},
		{"request":{"url":"http://h/"},"response":{"status":101,"headers":[{"name":"Upgrade","value":"h2c"}]}},
		{"request":{"url":"http://h/ws"},"response":{"status":101,"headers":[{"name":"upgrade","value":"WebSocket"}]}}]},"more":true}`, nil))
	if got := short(t, m, 1); !strings.HasPrefix(got, "ws://h/ws 101 ") {
		t.Error(got)
	}
}

func TestWhatIsRefusedIsNamed(t *testing.T) {
	row := func(text string) string { return file(`{"type":"send","time":-1,"opcode":1,"data":"fine"},` + text) }
	const second = "log.entries[0]._webSocketMessages[1]: "
	for _, c := range []struct{ name, text, says string }{
		{"no JSON", "hello", "not JSON at byte 1"},
		{"nothing", "", "cut short"},
		{"an array", "[]", "the file is not an object"},
		{"no log", `{"a":1}`, "not a HAR file"},
		{"no entries", `{"log":{}}`, "there is no WebSocket in it"},
		{"no WebSocket", `{"log":{"entries":[{},{"response":{"status":200}}]}}`, "none of its 2 entries"},
		{"entries of another kind", `{"log":{"entries":{}}}`, "log.entries is not an array"},
		{"an entry of another kind", `{"log":{"entries":[7]}}`, "log.entries[0]: it is not an object"},
		{"rows of another kind", `{"log":{"entries":[{"request":{"url":"ws://h"},"_webSocketMessages":{}}]}}`, "log.entries[0]: _webSocketMessages is not an array"},
		{"rows twice", `{"log":{"entries":[{"_webSocketMessages":[],"_webSocketMessages":[]}]}}`, "is there twice"},
		{"no URL", `{"log":{"entries":[{"_webSocketMessages":[]}]}}`, `log.entries[0]: request.url: "" is not a ws, wss, http or https URL`},
		{"another URL", `{"log":{"entries":[{"_webSocketMessages":[],"request":{"url":"ftp://h/"}}]}}`, `request.url: "ftp://h/" is not`},
		{"a header of another kind", `{"log":{"entries":[{"_webSocketMessages":[],"request":{"url":"ws://h","headers":[{"name":7}]}}]}}`, `request: "headers.name" cannot be a JSON number`},
		{"a row of another kind", row(`7`), second + "it cannot be a JSON number"},
		{"no type", row(`{"opcode":1,"data":"a"}`), second + `it has no "type"`},
		{"another type", row(`{"type":"in","opcode":1,"data":"a"}`), second + `type "in" is neither send, receive nor error`},
		{"no data", row(`{"type":"send","opcode":1}`), second + `it has no "data"`},
		{"data of another kind", row(`{"type":"send","opcode":1,"data":{}}`), second + `"data" cannot be a JSON object`},
		{"a large opcode", row(`{"type":"send","opcode":16,"data":"a"}`), second + "opcode 16 is not one"},
		{"half an opcode", row(`{"type":"send","opcode":1.5,"data":"a"}`), second + "opcode 1.5 is not one"},
		{"a large number", row(`{"type":"send","opcode":1e999,"data":"a"}`), second + `"opcode" cannot be a JSON number 1e999`},
		{"base64 that is none", row(`{"type":"send","opcode":1,"data":"!","encoding":"base64"}`), second + "its data is said to be base64 and is not"},
		{"another encoding", row(`{"type":"send","opcode":1,"data":"!","encoding":"hex"}`), second + `encoding "hex" is not base64`},
		{"an unknown key of ours", row(`{"type":"send","opcode":1,"data":"!","_wstape":{"fte":"edited"}}`), second + `_wstape: json: unknown field "fte"`},
		{"a fate that is none", row(`{"type":"send","opcode":1,"data":"!","_wstape":{"fate":"lost"}}`), second + `fate "lost" is not`},
		{"cut short", row(`{"type":"send","opco`), second + "the file is cut short"},
		{"a mistake", row(`{"type":"send",}`), second + "not JSON at byte"},
		{"a close that is none", file("", `"_webSocketClose":{"code":1e9},"response":{"status":101},`), "_webSocketClose.code 1e+09 is not"},
		{"newer", file("", `"_wstape":{"version":2},`), "written by a newer wstape"},
		{"a session in a session", file("", `"_wstape":{"version":1,"lines":[{"before":0,"line":{"wstape":1}}]},`), `_wstape.lines[0]: json: unknown field "wstape"`},
		{"far apart", file(`{"type":"send","time":253402300000000,"opcode":1,"data":"a"}`, `"startedDateTime":"2026-08-22T10:11:12Z",`), "is not a time since the session began"},
		{"attached elsewhere", `{"log":{"entries":[{"_resourceType":"websocket","request":{"url":"ws://h"},"response":{"status":101,"content":{"_file":"../x.jsonl"}}}]}}`, `"../x.jsonl" is not the name of a file beside it`},
		{"attached and not there", `{"log":{"entries":[{"_resourceType":"websocket","request":{"url":"ws://h"},"response":{"status":101,"content":{"_file":"y.jsonl"}}}]}}`, `"y.jsonl" is not beside the HAR file`},
		{"attached with a mistake", `{"log":{"entries":[{"_resourceType":"websocket","request":{"url":"ws://h"},"response":{"status":101,"content":{"_file":"x.jsonl"}}}]}}`, `log.entries[0], x.jsonl line 2: it has no "type"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			beside := fstest.MapFS{"x.jsonl": {Data: []byte(`{"type":"send","time":-1,"opcode":1,"data":"a"}` + "\n{}\n")}}
			_, _, err := Import(t.Context(), from(c.text, beside), record.NewMemory(), nil)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("said %v, want %s", err, c.says)
			}
		})
	}
}

func TestSessionsBeforeAMistakeAreWhole(t *testing.T) {
	const one = `{"request":{"url":"ws://h/"},"_webSocketMessages":[{"type":"send","time":1787393472,"opcode":1,"data":"a"}]}`
	m := record.NewMemory()
	numbers, _, err := Import(t.Context(), from(`{"log":{"entries":[`+one+`,`+one+`,{"_webSocketMessages":[{}]}]}}`, nil), m, nil)
	if err == nil || !strings.HasPrefix(err.Error(), "log.entries[2]._webSocketMessages[0]: ") || len(numbers) < 1 {
		t.Fatalf("sessions %v, %v", numbers, err)
	}
	if got := shown(t, m, 1); len(got) != 1 {
		t.Error(got)
	}
}

func TestATapeThatCannotBeWrittenIsNotTheFilesMistake(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := Import(ctx, from(file(""), nil), record.NewMemory(), nil)
	if err != context.Canceled && err == nil {
		t.Errorf("said %v", err)
	}
	_, _, err = Import(t.Context(), from(file(`{"type":"send","time":-1,"opcode":1,"data":"a"}`), nil), full{record.NewMemory()}, nil)
	if err == nil || err.Error() != "disk full" {
		t.Errorf("said %v", err)
	}
}

// full is a tape on a disk that is full.
type full struct{ *record.Memory }

func (full) Append(context.Context, record.Batch) error { return fmt.Errorf("disk full") }

// zipped packs files; what their names end in says how they lie.
func zipped(t testing.TB, files ...string) string {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for i := 0; i < len(files); i += 2 {
		f, err := w.Create(files[i])
		must(t, err)
		_, err = f.Write([]byte(files[i+1]))
		must(t, err)
	}
	must(t, w.Close())
	return out.String()
}

// lying packs one file and says another size of it.
func lying(t testing.TB, name, text string, says uint64) string {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	f, err := w.CreateRaw(&zip.FileHeader{
		Name: name, Method: zip.Store, CRC32: crc32.ChecksumIEEE([]byte(text)), CompressedSize64: uint64(len(text)), UncompressedSize64: says,
	})
	must(t, err)
	_, err = f.Write([]byte(text))
	must(t, err)
	must(t, w.Close())
	return out.String()
}

func attaching(names ...string) string {
	var entries []string
	for _, name := range names {
		entries = append(entries, `{"_resourceType":"websocket","request":{"url":"ws://h"},"response":{"status":101,"content":{"_file":"`+name+`"}}}`)
	}
	return `{"log":{"entries":[` + strings.Join(entries, ",") + `]}}`
}

// Nothing is believed about sizes, and nothing grows without a limit.
func TestFilesThatLieAboutSizes(t *testing.T) {
	const row = `{"type":"send","time":-1,"opcode":1,"data":"a"}` + "\n"
	bomb, padded := strings.Repeat(" ", 1<<20)+row, strings.Repeat(" ", 4<<10)+row
	small := limits{value: 64 << 10, session: 16 << 10, file: 512 << 10, archive: 600 << 10}
	for _, c := range []struct{ name, text, says string }{
		{"a bomb", zipped(t, "a.har", attaching("b.jsonl"), "b.jsonl", bomb), `"b.jsonl" in the archive unpacks to more than 512 KiB: unpack it`},
		{"a bomb as the HAR file", zipped(t, "a.har", bomb), `"a.har" in the archive unpacks to more than 512 KiB`},
		{"a bomb that says it is small", lying(t, "a.har", bomb, 100), "archive"},
		{"a file that says it is large", lying(t, "a.har", file(row), 1<<40), "unpacks to more than 512 KiB"},
		{"many bombs", zipped(t, "a.har", attaching("b.jsonl", "c.jsonl"), "b.jsonl", strings.Repeat(padded, 100), "c.jsonl", strings.Repeat(padded, 100)), "the archive unpacks to more than 600 KiB"},
		{"the same again and again", zipped(t, "a.har", attaching("b.jsonl", "b.jsonl"), "b.jsonl", row), `"b.jsonl" is attached to another entry already`},
		{"a long value", file(`{"type":"send","time":-1,"opcode":1,"data":"` + strings.Repeat("a", 200<<10) + `"}`), "a single value is longer than 64 KiB"},
		{"a long value elsewhere", `{"log":{"comment":"` + strings.Repeat("a", 200<<10) + `"}}`, "a single value is longer than 64 KiB"},
		{"many rows", file(strings.TrimSuffix(strings.Repeat(row+",", 200), ",")), "messages of more than 16 KiB"},
		{"two HAR files", zipped(t, "a.har", "", "b.har", ""), `more than one HAR file, "a.har" and "b.har"`},
		{"no HAR file", zipped(t, "a.json", ""), "no .har file in the archive"},
		{"not there", zipped(t, "a.har", attaching("b.jsonl")), `"b.jsonl" is not in the archive`},
		{"half an archive", zipped(t, "a.har", file(row))[:60], "the archive cannot be read"},
		{"deep", `{"log":{"a":` + strings.Repeat("[", 20_000), "exceeded max depth"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := importHAR(t.Context(), from(c.text, nil), record.NewMemory(), nil, small)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("said %v, want %s", err, c.says)
			}
		})
	}
	// Sizes inside of the HAR file are only compared.
	m, warnings := imported(t, from(`{"log":{"entries":[{"_resourceType":"websocket","request":{"url":"ws://h/","bodySize":1e300,"headersSize":-7},
		"response":{"status":403,"bodySize":9e18,"content":{"size":1e18,"text":"no!"}}}]}}`, nil))
	e, err := m.Session(t.Context(), 1)
	must(t, err)
	if string(e.Handshake.Response.Body) != "no!" || e.State != tape.Refused || e.Status != 403 {
		t.Errorf("got %+v", e)
	}
	if !strings.Contains(fmt.Sprint(warnings), "response.content.size is said to be 1000000000000000000, and 3 bytes are there") {
		t.Errorf("said %v", warnings)
	}
}

func TestWarningsAreCounted(t *testing.T) {
	rows := strings.TrimSuffix(strings.Repeat(`{"type":"send","time":-1,"opcode":2,"data":"!"},`, 50), ",")
	_, warnings := imported(t, from(file(rows, `"startedDateTime":"2026-08-22T10:11:12Z",`), nil))
	if len(warnings) != warningsLimit+1 || warnings[warningsLimit] != "and 30 more of the kind" {
		t.Errorf("said %q", warnings)
	}
}

func TestIs(t *testing.T) {
	for text, want := range map[string]bool{
		"": false, "{": false, `{"log":{}}`: true, "\xef\xbb\xbf\n { \"log\" : 1": true, `{"wstape":1}`: false, "PK\x03\x04": true, "// a\n{\"log\"": false,
	} {
		if Is([]byte(text)) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}
