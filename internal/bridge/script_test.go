package bridge

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/evanw/esbuild/pkg/api"
	"github.com/google/go-cmp/cmp"
)

// writers are the formats that are programs, by name.
func writers() map[string]func(context.Context, io.Writer, []Session) ([]string, error) {
	return map[string]func(context.Context, io.Writer, []Session) ([]string, error){
		"k6": func(ctx context.Context, w io.Writer, s []Session) ([]string, error) {
			return K6(ctx, w, s, Options{Version: "1"})
		},
		"artillery": func(ctx context.Context, w io.Writer, s []Session) ([]string, error) {
			return Artillery(ctx, w, s, Options{Version: "1"})
		},
		"playwright": func(ctx context.Context, w io.Writer, s []Session) ([]string, error) {
			return nil, Playwright(ctx, w, s, Options{Version: "1"})
		},
	}
}

// written is what a format makes of a cassette; a script must be JavaScript.
func written(t *testing.T, name, text string) (string, []string) {
	t.Helper()
	m := cassette(t, text)
	var out bytes.Buffer
	remarks, err := writers()[name](t.Context(), &out, all(t, m))
	must(t, err)
	if name != "artillery" {
		if result := api.Transform(out.String(), api.TransformOptions{Loader: api.LoaderJS}); len(result.Errors) > 0 {
			t.Fatalf("%s: %+v\n%s", name, result.Errors, out.String())
		}
	}
	return out.String(), remarks
}

// recordings is the part of a script that the sessions make.
func recordings(t *testing.T, script string) string {
	t.Helper()
	_, rest, ok := strings.Cut(script, "const recordings = [\n")
	data, _, ok2 := strings.Cut(rest, "\n];\n")
	if !ok || !ok2 {
		t.Fatal(script)
	}
	return data
}

const secretive = `
{"wstape":1,"session":{"started":"2026-11-22T10:11:12.5Z","url":"/chat?token=redacted:0123456789abcdef&a=%22","upstream":"wss://example.com/v2/chat?token=redacted:0123456789abcdef&a=%22","extensions":"permessage-deflate","request":{"method":"GET","target":"/chat","headers":[["Host","localhost"],["Authorization","Bearer redacted:0123456789abcdee"],["Cookie","sid=redacted:0123456789abcded; theme=dark; csrf=redacted:0123456789abcdec"],["Sec-WebSocket-Protocol","v1, v2"],["X-Two","1"],["X-Two","2"]]}}}
{"t":0.01,"from":"client","json":{"token":"redacted:0123456789abcdef","it's":"\u202eevil"}}
{"t":0.0125,"from":"server","text":"welcome redacted:0123456789abcdee"}
{"t":0.02,"from":"server","b64":"AAEC/w=="}
{"t":0.03,"from":"client","op":"ping","b64":"AQ=="}
{"t":0.04,"from":"server","text":"x","fate":"injected","by":"script:a.js"}
{"t":0.05,"from":"client","text":"theirs","fate":"edited","by":"script:a.js","received":{"text":"ours"}}
{"t":0.06,"from":"server","op":"close","code":4001,"reason":"go \"away\""}
{"wstape":1,"session":{"started":"2026-11-22T10:11:13Z","url":"/"}}
{"t":0.001,"from":"client","text":""}
{"t":0.002,"from":"client","op":"close"}
`

func TestK6Script(t *testing.T) {
	text, remarks := written(t, "k6", secretive)
	want := `  {
    name: "session 1",
    recorded: "2026-11-22T10:11:12Z",
    server: "wss://example.com",
    target: "/v2/chat?token=" + secret("TOKEN") + "&a=%22",
    begin: 0, // ms after the first session
    protocols: ["v1", "v2"],
    headers: {
      "Authorization": "Bearer " + secret("AUTHORIZATION"),
      "Cookie": "sid=" + secret("COOKIE_SID") + "; theme=dark; csrf=" + secret("COOKIE_CSRF"),
      "X-Two": "1, 2"
    },
    compression: "deflate",
    steps: [
      { after: 10, send: '{"token":"' + secret("TOKEN") + "\",\"it's\":\"\\u202eevil\"}" }, // 1
      { after: 2.500, hear: null }, // 2
      { after: 7.500, hear: bytes("AAEC/w==") }, // 3
      { after: 10, ping: true }, // 4
      { after: 20, send: "theirs" }, // 6
      { after: 10, closed: 4001, reason: 'go "away"' }, // 8
    ],
  },
  {
    name: "session 2",
    recorded: "2026-11-22T10:11:13Z",
    server: "ws://localhost",
    target: "/",
    begin: 500, // ms after the first session
    headers: {
    },
    steps: [
      { after: 1, send: "" }, // 1
      { after: 1, close: 1005, reason: "" }, // 2
    ],
  },`
	if diff := cmp.Diff(want, recordings(t, text)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{
		"left out the payloads of the client's pings (1): k6 makes its own",
		"the recording has no secrets: give the live ones in k6 run -e NAME=…: AUTHORIZATION, COOKIE_CSRF, COOKIE_SID, TOKEN",
	}, remarks); diff != "" {
		t.Error(diff)
	}
}

// TestPlaywrightScript: the stub is on the other leg, and needs no secrets.
func TestPlaywrightScript(t *testing.T) {
	text, _ := written(t, "playwright", secretive)
	want := `    steps: [
      { after: 10, hear: "{\"token\":\"redacted:0123456789abcdef\",\"it's\":\"\\u202eevil\"}" }, // 1
      { after: 2.500, send: "welcome redacted:0123456789abcdee" }, // 2
      { after: 7.500, send: bytes("AAEC/w==") }, // 3
      { after: 20, send: "x" }, // 5
      { after: 10, hear: "ours" }, // 6
      { after: 10, close: 4001, reason: 'go "away"' }, // 8
    ],`
	if got := recordings(t, text); !strings.Contains(got, want) || !strings.Contains(got, `target: "/chat?token=redacted:0123456789abcdef&a=%22",`) {
		t.Errorf("%s\nwants\n%s", got, want)
	}
}

func TestArtilleryScript(t *testing.T) {
	text, remarks := written(t, "artillery", `
{"wstape":1,"session":{"started":"2026-11-22T10:11:12.5Z","upstream":"wss://example.com/chat?token=redacted:0123456789abcdef","request":{"headers":[["Authorization","Bearer redacted:0123456789abcdee"],["Sec-WebSocket-Protocol","v1"]]}}}
{"t":0.01,"from":"server","json":{"type":"hello","id":7}}
{"t":0.02,"from":"server","json":[1]}
{"t":0.05,"from":"client","text":"it's \"it\""}
{"t":30.06,"from":"server","text":"it's \"it\""}
{"t":30.07,"from":"client","text":"two\nlines"}
{"t":30.08,"from":"client","op":"ping","b64":""}
{"t":30.09,"from":"client","text":"last"}
{"t":30.1,"from":"server","text":"redacted:0123456789abcdee"}
{"t":30.2,"from":"client","op":"close","code":1000}
`)
	_, got, _ := strings.Cut(text, "config:\n")
	if diff := cmp.Diff(`  target: "wss://example.com"
  timeout: 40 # seconds that a message of the server may take
  phases:
    - duration: 1
      arrivalCount: 1
scenarios:
  - name: "session 1, recorded 2026-11-22T10:11:12Z"
    engine: ws
    flow:
      - connect:
          target: "{{ target }}/chat?token={{ $env.TOKEN }}"
          subprotocols: ["v1"]
          headers:
            "Authorization": "Bearer {{ $env.AUTHORIZATION }}"
      - wait:
          match:
            - json: "$.type"
              value: "hello"
      - wait:
          capture:
            - json: "$"
              as: answer2
      - think: "30ms"
      - send:
          payload: 'it''s "it"'
          match:
            - regexp: "^[\\s\\S]*$"
              value: 'it''s "it"'
      - think: "10ms"
      - send: "two\nlines"
      - think: "20ms"
      - send:
          payload: "last"
          match:
            - regexp: "."
`, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{
		"left out the client's pings (1): Artillery sends none",
		"left out how sessions were closed (1): Artillery closes without a code, and does not look at the server's",
		"the recording has no secrets: give the live ones in the environment: AUTHORIZATION, TOKEN",
	}, remarks); diff != "" {
		t.Error(diff)
	}
}

func TestWhatProgramsCannotDo(t *testing.T) {
	const everyone = "k6 artillery playwright"
	for _, c := range []struct{ name, line, formats, want string }{
		{"binary", `{"from":"client","b64":"AA=="}`, "artillery", "message 1 of the client cannot be written in this format: it is binary"},
		{"binary answer", `{"from":"server","b64":"AA=="}`, "artillery", "message 1 of the server cannot be written in this format: it is binary"},
		{"empty answer", `{"from":"server","text":""}`, "artillery", "it is empty"},
		{"template", `{"from":"client","text":"{{ name }}"}`, "artillery", "it holds {{"},
		{"no text", `{"from":"client","op":"text","b64":"/w=="}`, everyone, "not valid UTF-8"},
		{"reserved", `{"from":"client","op":"reserved(3)","b64":""}`, everyone, "its opcode is reserved(3)"},
		{"raw", `{"from":"server","op":"raw","b64":"AA=="}`, everyone, "its opcode is raw"},
		{"partial", `{"from":"server","text":"a","partial":true}`, everyone, "it never ended"},
		{"gap", `{"gap":{"frames":2,"bytes":10,"why":"full"},"t":0.5}`, everyone, "the gap at 500ms cannot be written in this format: 2 frames are missing (full)"},
		{"close", `{"from":"server","op":"close","b64":"AA=="}`, "k6 playwright", "not a code and a reason"},
	} {
		for name, write := range writers() {
			t.Run(c.name+" "+name, func(t *testing.T) {
				m := cassette(t, oneSession+c.line)
				_, err := write(t.Context(), io.Discard, all(t, m))
				switch refused := strings.Contains(c.formats, name); {
				case !refused && err != nil:
					t.Error(err)
				case refused && (!errors.Is(err, ErrCannot) || !strings.HasPrefix(err.Error(), "session 1: ") || !strings.Contains(err.Error(), c.want)):
					t.Errorf("got %v, want %q", err, c.want)
				}
			})
		}
	}
	for name, write := range writers() {
		m := cassette(t, `{"wstape":1,"session":{"state":"refused","status":403}}`)
		if _, err := write(t.Context(), io.Discard, all(t, m)); !errors.Is(err, ErrCannot) || !strings.Contains(err.Error(), "the handshake was refused with 403") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		`a`: `"a"`, `"`: `'"'`, `"'`: `"\"'"`, "\\\n\r\t": `"\\\n\r\t"`, "\x1b[2J\u202e\u2028\u0085": `"\u001b[2J\u202e\u2028\u0085"`, "ü👋": `"ü👋"`, "\U000e0001": `"\udb40\udc01"`,
	} {
		if got := quote(in); got != want {
			t.Errorf("quote(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestNamesOfSecrets(t *testing.T) {
	const a, b = "redacted:0123456789abcdef", "redacted:0123456789abcdee"
	s := newSecrets()
	var got []string
	for _, text := range []string{`{"api-key": "` + a + `"}`, "api_key=" + b, a, "9=redacted:0123456789abcdec", "redacted:0123456789abcdeb"} {
		s.split(text, nameBefore, func(_, name string) { got = append(got, name) })
	}
	if diff := cmp.Diff([]string{"API_KEY", "", "API_KEY_2", "", "API_KEY", "", "SECRET_9", "", "SECRET", ""}, got); diff != "" {
		t.Error(diff)
	}
}

func TestTranscript(t *testing.T) {
	m := cassette(t, longSession+`
{"t":0.005,"from":"server","text":"two\nlines\u001b[2J","fate":"edited","by":"script:a.js","received":{"b64":"AAECAwQFBgcICQoLDA0ODxAR"}}
{"gap":{"frames":2,"bytes":9,"why":"full"},"t":0.006}
{"note":"look\nhere","by":"operator","t":0.007}
`)
	var out bytes.Buffer
	must(t, Text(t.Context(), &out, all(t, m), func(s string) string { return strings.Trim(strconv.QuoteToASCII(s), `"`) }))
	if diff := cmp.Diff(`session 1, 2026-11-22 10:11:12.345678 UTC
client 127.0.0.1:50514, upstream ws://192.0.2.1:8765/chat?room=1

  → GET /chat?room=1
  ← 101

    0.001000  → text, 2 bytes
              │ hi
    0.002000  ← text, 4 bytes, in 2 frames
              │ abcd
    0.003000  ← raw, 2 bytes
              │ 00000000  de ad                                             |..|
    0.004000  → close 4000 no
    0.005000  ← text, 13 bytes, edited by script:a.js
              │ two
              │ lines\x1b[2J
              it came in as binary, 18 bytes
              │ 00000000  00 01 02 03 04 05 06 07  08 09 0a 0b 0c 0d 0e 0f  |................|
              │ 00000010  10 11                                             |..|
    0.006000  gap: 2 frames with 9 bytes are missing: full
    0.007000  note by operator:
              │ look
              │ here
    0.005000  ended: close 4000 no from the client
`, out.String()); diff != "" {
		t.Error(diff)
	}
}
