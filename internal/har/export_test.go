package har

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// exported is a HAR file of the sessions, which must be one by the letter.
func exported(t testing.TB, r record.Reader, o ExportOptions, numbers ...uint64) string {
	t.Helper()
	var sessions []Session
	for _, n := range numbers {
		sessions = append(sessions, Session{r, n})
	}
	var out bytes.Buffer
	must(t, Export(context.Background(), &out, sessions, o))
	if mistakes := validate(out.Bytes(), o); len(mistakes) > 0 {
		t.Fatalf("not HAR 1.2: %s\n%s", strings.Join(mistakes, "\n"), out.String())
	}
	return out.String()
}

func cassette(t testing.TB, text string) *record.Memory {
	t.Helper()
	m := record.NewMemory()
	_, err := record.ReadCassette(context.Background(), strings.NewReader(text), m)
	must(t, err)
	return m
}

// told is a session as a cassette tells it, without its lines.
func told(t testing.TB, r record.Reader, n uint64) string {
	t.Helper()
	e, err := r.Session(context.Background(), n)
	must(t, err)
	e.N = 0
	text, err := e.MarshalFull()
	must(t, err)
	return string(text)
}

const allKinds = `
{"wstape":1,"session":{"id":"0198a0b1-c2d3-7e4f-8a9b-0c1d2e3f4a5b","started":"2026-11-22T10:11:12.345678901Z","url":"/chat?room=1&x=%C3%BC","upstream":"wss://192.0.2.1:8765/chat?room=1&x=%C3%BC","client":"127.0.0.1:50514","extensions":"permessage-deflate","tags":{"bug":"17"},"notes":["jumps"],"rules":{"ignore":["$.a"]},"request":{"method":"GET","target":"/chat?room=1&x=%C3%BC","headers":[["Host","a"],["X","1"],["X","<2>"]]},"response":{"status":101,"headers":[["Upgrade","websocket"]]}}}
{"note":"begins","by":"operator"}
{"t":0.001,"from":"client","text":"hi <&> \u2028"}
{"t":0.002,"from":"server","text":"HI!","fate":"edited","by":"script:b.js","by_all":["script:a.js","script:b.js"],"received":{"op":"text","text":"hi!"}}
{"t":0.003,"from":"server","b64":"AAH/","fate":"injected","by":"script:x.js"}
{"t":0.0035,"from":"client","op":"text","b64":"/w==","violation":"text is not UTF-8"}
{"from":"client","op":"ping","b64":""}
{"t":0.004,"from":"client","text":"","fate":"dropped","by":"script:x.js"}
{"gap":{"frames":2,"bytes":10,"why":"tape buffer full (record.buffer)"},"t":0.005}
{"t":0.007,"from":"client","text":"frag","frames":[3,1]}
{"t":0.0075,"from":"server","op":"reserved(3)","b64":"AA=="}
{"t":0.0076,"from":"server","op":"raw","b64":"3q0="}
{"t":0.008,"from":"client","op":"close","code":4000,"reason":"tschüß"}
{"t":0.009,"from":"server","op":"close","code":4000,"fate":"edited","by":"s","received":{"op":"close"}}
`

func TestWhatIsWritten(t *testing.T) {
	m := cassette(t, allKinds)
	text := exported(t, m, ExportOptions{Version: "1"}, 1)
	for _, part := range []string{
		`{"log":{"version":"1.2","creator":{"name":"wstape","version":"1"},"pages":[],"entries":[`,
		`"url":"wss://192.0.2.1:8765/chat?room=1&x=%C3%BC"`, `"queryString":[{"name":"room","value":"1"},{"name":"x","value":"ü"}]`,
		`"headers":[{"name":"Host","value":"a"},{"name":"X","value":"1"},{"name":"X","value":"<2>"}]`, `"serverIPAddress":"192.0.2.1"`,
		`{"type":"send","time":1795342272.346678,"opcode":1,"data":"hi <&> \u2028","_wstape":{"seq":1,"t":0.001,"fate":"passed"}}`,
		`{"type":"receive","time":1795342272.347678,"opcode":1,"data":"HI!","_wstape":{"seq":2,"t":0.002,"fate":"edited","by":"script:b.js",` +
			`"by_all":["script:a.js","script:b.js"],"received":{"op":"text","len":3,"text":"hi!"}}}`,
		`{"type":"receive","time":1795342272.348678,"opcode":2,"data":"AAH/","encoding":"base64","_wstape":{"seq":4,"t":0.003,"fate":"injected","by":"script:x.js"}}`,
		`"opcode":1,"data":"/w==","encoding":"base64"`,
		`{"before":5,"line":{"gap":{"frames":2,"bytes":10,"why":"tape buffer full (record.buffer)"},"t":0.005000}}`,
		`"_webSocketClose":{"code":4000,"reason":"tschüß","timestamp":1795342272.353678}`,
	} {
		if !strings.Contains(text, part) {
			t.Errorf("%s is not in\n%s", part, text)
		}
	}
	if strings.Contains(text, `"opcode":8`) {
		t.Error("a close frame is among the messages")
	}
	if n := strings.Count(text, "<2>"); n != 1 {
		t.Errorf("a header stands in %d places", n)
	}
	text = exported(t, m, ExportOptions{Dialect: Playwright, Control: true}, 1)
	for _, part := range []string{
		`{"type":"send","time":1795342272346.678,"opcode":1,`, `"opcode":8,"data":"D6B0c2Now7zDnw==","encoding":"base64"`,
		`"opcode":9,"data":"","encoding":"base64"`, `"opcode":3,"data":"AA=="`, `"timestamp":1795342272353.678`,
	} {
		if !strings.Contains(text, part) {
			t.Errorf("%s is not in\n%s", part, text)
		}
	}
}

func TestEndingsForOtherPrograms(t *testing.T) {
	for ending, want := range map[string]string{
		`"ending":{"kind":"close","code":1000,"reason":"","from":"client"}`: `"_webSocketClose":{"code":1000}`,
		`"ending":{"kind":"close"}`:                                         `"_webSocketClose":{}`,
		`"ending":{"kind":"reset"}`:                                         `"_webSocketClose":"aborted"`,
		`"ending":{"kind":"error","why":"limit"}`:                           `"_webSocketClose":"aborted"`,
		`"state":"interrupted"`:                                             `"_webSocketMessages":[]}`,
	} {
		if text := exported(t, cassette(t, `{"wstape":1,"session":{`+ending+`}}`), ExportOptions{}, 1); !strings.Contains(text, want) {
			t.Errorf("%s: %s is not in %s", ending, want, text)
		}
	}
}

// comesBack checks that a tape's sessions are the same after a HAR file.
func comesBack(t *testing.T, m *record.Memory, o ExportOptions, change func(string) string, numbers ...uint64) {
	t.Helper()
	text := exported(t, m, o, numbers...)
	again, warnings := imported(t, from(change(text), nil))
	if len(warnings) > 0 {
		t.Errorf("said %v", warnings)
	}
	for i, n := range numbers {
		same(t, told(t, again, uint64(i+1)), told(t, m, n))
		same(t, strings.Join(shown(t, again, uint64(i+1)), "\n"), strings.Join(shown(t, m, n), "\n"))
	}
}

func asItIs(s string) string { return s }

// sorted puts the keys in the order of the alphabet, as `jq -S` does.
func sorted(s string) string {
	var v any
	dec := json.NewDecoder(strings.NewReader(s))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return err.Error()
	}
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func TestASessionComesBack(t *testing.T) {
	for _, dialect := range []Dialect{Chrome, Playwright} {
		for _, control := range []bool{false, true} {
			for name, change := range map[string]func(string) string{"as it is": asItIs, "sorted": sorted} {
				t.Run(fmt.Sprint(dialect, control, name), func(t *testing.T) {
					comesBack(t, cassette(t, allKinds), ExportOptions{Dialect: dialect, Control: control}, change, 1)
				})
			}
		}
	}
}

// Whatever happens in a session comes back from a HAR file.
func TestRandomSessionsComeBack(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 100 {
		var text strings.Builder
		var numbers []uint64
		for n := range 1 + rnd.IntN(3) {
			numbers = append(numbers, uint64(n+1))
			randomSession(&text, rnd)
		}
		o := ExportOptions{Dialect: []Dialect{Chrome, Playwright}[rnd.IntN(2)], Control: rnd.IntN(2) == 0}
		comesBack(t, cassette(t, text.String()), o, []func(string) string{asItIs, sorted}[rnd.IntN(2)], numbers...)
		if t.Failed() {
			t.Fatalf("the cassette was\n%s", text.String())
		}
	}
}

// randomSession writes a cassette.
func randomSession(out *strings.Builder, rnd *rand.Rand) {
	pick := func(of ...string) string { return of[rnd.IntN(len(of))] }
	fmt.Fprintf(out, `{"wstape":1,"session":{"duration":%d.5,"url":"/%d","client":"c"%s}}`+"\n", rnd.IntN(3), rnd.IntN(1000), pick(
		"", `,"ending":{"kind":"eof","from":"server"}`, `,"ending":{"kind":"reset"}`, `,"ending":{"kind":"close","code":1001,"reason":"x"}`,
		`,"ending":{"kind":"timeout","why":"idle"}`, `,"state":"interrupted"`, `,"state":"refused","status":403,"response":{"status":403,"body_b64":"AP8="}`,
		`,"state":"refused","status":404,"response":{"status":404,"headers":[["Content-Type","text/plain"]],"body_b64":"bm8="}`,
		`,"upstream":"ws://u/p?q","tags":{"a":"","b":"c"},"notes":["n"],"rules":{"ignore":["$.x"]}`))
	payload := func() string {
		b := make([]byte, rnd.IntN(40))
		if rnd.IntN(100) == 0 {
			b = make([]byte, 200<<10) // longer than what is written in one piece
		}
		for i := range b {
			b[i] = byte(rnd.UintN(256))
		}
		if rnd.IntN(2) == 0 {
			b = bytes.ToValidUTF8(b, []byte("ü\u2028\""))
		}
		return base64.StdEncoding.EncodeToString(b)
	}
	t := 0.0
	for range rnd.IntN(12) {
		t += float64(rnd.IntN(3)) / 1e6 * float64(rnd.IntN(1e6))
		side := pick("client", "server")
		switch rnd.IntN(8) {
		case 0:
			fmt.Fprintf(out, `{"gap":{"frames":%d,"bytes":7,"why":"w"},"t":%.6f}`+"\n", rnd.IntN(3), t)
		case 1:
			fmt.Fprintf(out, `{"note":"n","by":%q,"t":%.6f}`+"\n", pick("operator", "wstape"), t)
		case 2:
			op := pick("ping", "pong", "reserved(11)", "reserved(4)", "raw", "close")
			fmt.Fprintf(out, `{"t":%.6f,"from":%q,"op":%q,"b64":"%s"%s}`+"\n", t, side, op, pick("", "A+g=", "A+hhYmM=", "AA=="), pick("", `,"fate":"dropped","by":"s"`))
		default:
			op := pick("text", "binary")
			fmt.Fprintf(out, `{"t":%.6f,"from":%q,"op":%q,"b64":"%s"%s}`+"\n", t, side, op, payload(), pick("", "", "",
				`,"fate":"dropped","by":"s"`, `,"fate":"injected","by":"t","by_all":["s","t"]`,
				fmt.Sprintf(`,"fate":"edited","by":"s","received":{"op":%q,"b64":"%s"}`, pick("text", "binary"), payload()),
				`,"fate":"edited","by":"s"`, `,"violation":"v"`, `,"error":"corrupt"`))
		}
	}
}

// What was compressed says so; it comes back plain, as from a cassette.
func TestACompressedSession(t *testing.T) {
	m := record.NewMemory()
	r := record.NewRecorder(m, record.Options{})
	tap, err := r.Begin(tape.Session{URL: "/"})
	must(t, err)
	tap.Answered("ws://h/", 101, "", []string{"permessage-deflate"}, tape.Response{Status: 101})
	deflated := []byte{0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00} // "Hello", RFC 7692 section 7.2.3.1
	tap.Parts(tape.Server, tape.LegBoth, []tape.Part{
		{Begin: true, Head: 0x41, Len: 3, Payload: deflated[:3]}, {Begin: true, Head: 0x89, Len: 1, Payload: []byte("p")},
		{Begin: true, Head: 0x80, Len: 4, Payload: deflated[3:]},
	})
	tap.End(tape.Ending{Kind: tape.EndEOF})
	must(t, r.Close())
	text := exported(t, m, ExportOptions{}, 1)
	if want := `"data":"Hello","_wstape":{"seq":1,`; !strings.Contains(text, want) || !strings.Contains(text, `"frames":[3,4],"wire":{"rsv1":true,"len":7}`) {
		t.Errorf("got %s", text)
	}
	again, _ := imported(t, from(text, nil))
	var plain bytes.Buffer
	must(t, record.WriteCassette(t.Context(), &plain, m, 1))
	same(t, strings.Join(shown(t, again, 1), "\n"), strings.Join(shown(t, cassette(t, plain.String()), 1), "\n"))
}

// growing is a session to which a message is added between two looks at it.
type growing struct {
	*record.Memory
	looks int
	add   func()
}

func (g *growing) Segments(ctx context.Context, n, offset uint64) ([]record.Segment, error) {
	if offset == 0 {
		if g.looks++; g.looks == 2 {
			g.add()
		}
	}
	return g.Memory.Segments(ctx, n, offset)
}

func TestASessionThatGoesOn(t *testing.T) {
	m := record.NewMemory()
	r := record.NewRecorder(m, record.Options{})
	tap, err := r.Begin(tape.Session{URL: "/"})
	must(t, err)
	say := func(texts ...string) {
		for _, text := range texts {
			tap.Parts(tape.Server, tape.LegBoth, []tape.Part{{Begin: true, Head: 0x81, Len: uint64(len(text)), Payload: []byte(text)}})
		}
		must(t, r.Flush(t.Context()))
	}
	say("one", "two")
	g := &growing{Memory: m, add: func() { say("three") }}
	text := exported(t, g, ExportOptions{}, 1)
	again, _ := imported(t, from(text, nil))
	if got := shown(t, again, 1); g.looks != 2 || len(got) != 2 {
		t.Errorf("%d looks, lines %v", g.looks, got)
	}
	tap.End(tape.Ending{Kind: tape.EndEOF})
	must(t, r.Close())
}

// validate says what of a file is not as HAR 1.2 and Chrome's messages have it.
func validate(text []byte, o ExportOptions) (mistakes []string) {
	bad := func(format string, args ...any) { mistakes = append(mistakes, fmt.Sprintf(format, args...)) }
	var har struct {
		Log struct {
			Version string
			Creator struct{ Name, Version *string }
			Pages   []any
			Entries []map[string]json.RawMessage
		}
	}
	if err := json.Unmarshal(text, &har); err != nil {
		return []string{err.Error()}
	}
	if har.Log.Version != "1.2" || har.Log.Creator.Name == nil || har.Log.Creator.Version == nil || har.Log.Pages == nil {
		bad("log: %+v", har.Log.Creator)
	}
	for i, e := range har.Log.Entries {
		var q struct {
			Method, URL, HTTPVersion      *string
			Cookies, Headers, QueryString []struct{ Name, Value *string }
			HeadersSize, BodySize         *int
		}
		var a struct {
			Status                               *int
			StatusText, HTTPVersion, RedirectURL *string
			Cookies, Headers                     []struct{ Name, Value *string }
			Content                              struct {
				Size           *int
				MimeType       *string
				Text, Encoding string
			}
			HeadersSize, BodySize *int
		}
		var times map[string]float64
		var started string
		var life float64
		var rows []struct {
			Type, Data, Encoding *string
			Time, Opcode         *float64
		}
		var cache *struct{}
		for key, v := range map[string]any{
			"request": &q, "response": &a, "timings": &times, "startedDateTime": &started, "time": &life, "_webSocketMessages": &rows, "cache": &cache,
		} {
			if err := json.Unmarshal(e[key], v); err != nil {
				bad("entry %d, %s: %v", i, key, err)
			}
		}
		if _, err := time.Parse(time.RFC3339, started); err != nil {
			bad("entry %d: %v", i, err)
		}
		sum := 0.0
		for key, ms := range times {
			if ms != -1 && key != "ssl" {
				sum += ms
			}
		}
		if times["send"] < 0 || times["wait"] < 0 || times["receive"] < 0 || sum != life || life < 0 {
			bad("entry %d: time %g, timings %v", i, life, times)
		}
		if cache == nil || q.Method == nil || q.URL == nil || q.HTTPVersion == nil || q.Cookies == nil || q.Headers == nil || q.QueryString == nil || q.HeadersSize == nil || q.BodySize == nil {
			bad("entry %d: request %s", i, e["request"])
		}
		if a.Status == nil || a.StatusText == nil || a.HTTPVersion == nil || a.Cookies == nil || a.Headers == nil || a.RedirectURL == nil || a.HeadersSize == nil || a.BodySize == nil ||
			a.Content.Size == nil || a.Content.MimeType == nil {
			bad("entry %d: response %s", i, e["response"])
		}
		for _, p := range slices.Concat(q.Headers, q.QueryString, a.Headers) {
			if p.Name == nil || p.Value == nil {
				bad("entry %d: a pair without name or value", i)
			}
		}
		if rows == nil || string(e["_resourceType"]) != `"websocket"` {
			bad("entry %d: no WebSocket", i)
		}
		for n, r := range rows {
			switch {
			case r.Type == nil || *r.Type != "send" && *r.Type != "receive" || r.Time == nil || r.Opcode == nil || r.Data == nil:
				bad("entry %d, row %d: a key is missing", i, n)
			case !o.Control && *r.Opcode != 1 && *r.Opcode != 2:
				bad("entry %d, row %d: opcode %g", i, n, *r.Opcode)
			case (*r.Time > 1e11) != (o.Dialect == Playwright):
				bad("entry %d, row %d: time %g", i, n, *r.Time)
			case *r.Opcode != 1 || r.Encoding != nil:
				if _, err := base64.StdEncoding.DecodeString(*r.Data); err != nil {
					bad("entry %d, row %d: %v", i, n, err)
				}
			case !utf8.ValidString(*r.Data):
				bad("entry %d, row %d: no text", i, n)
			}
		}
	}
	return mistakes
}
