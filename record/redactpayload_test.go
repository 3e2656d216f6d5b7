package record

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/wstape/wstape/internal/jsonpath"
	"github.com/wstape/wstape/tape"
)

// paths parses patterns.
func paths(t testing.TB, texts ...string) (out []*jsonpath.Pattern) {
	t.Helper()
	for _, text := range texts {
		p, err := jsonpath.Parse(text)
		must(t, err)
		out = append(out, p)
	}
	return out
}

// expressions compiles regular expressions.
func expressions(texts ...string) (out []*regexp.Regexp) {
	for _, text := range texts {
		out = append(out, regexp.MustCompile(text))
	}
	return out
}

// payloads returns a redactor of payloads.
func payloads(t testing.TB, rules Rules) *Redactor {
	t.Helper()
	r, err := NewRedactor([]byte("key"), rules)
	must(t, err)
	return r
}

func TestSecretsAtPathsAreReplacedAndNothingElse(t *testing.T) {
	for _, c := range []struct{ path, text, want string }{
		// What is replaced.
		{`$.token`, ` { "a":1, "token" : "abc" , "b":"é\u00e9"} `, ` { "a":1, "token" : "*" , "b":"é\u00e9"} `},
		{`$.token`, `{"token":12.50,"x":{"token":"kept"}}`, `{"token":"*","x":{"token":"kept"}}`},
		{`$.token`, `{"token":true}`, `{"token":"*"}`},
		{`$.token`, `{"token":{"a":[1,{"token":2}]},"b":1}`, `{"token":"*","b":1}`},
		{`$.token`, `{"token":["a" , "b"]}`, `{"token":"*"}`},
		{`$.token`, `{"token":null}`, `{"token":null}`},
		{`$.token`, `{"token":""}`, `{"token":""}`},
		{`$.token`, `{"token":"redacted:0123456789abcdef"}`, `{"token":"*"}`},
		// Where it is found.
		{`$.token`, `{"token":"a","token":"b"}`, `{"token":"*","token":"*"}`},
		{`$.token`, `{"to\u006ben":"a"}`, `{"to\u006ben":"*"}`},
		{`$["a/b"]`, `{"a\/b":"a"}`, `{"a\/b":"*"}`},
		{`$..password`, `[{"user":{"password":"a"}},{"password":"b"}]`, `[{"user":{"password":"*"}},{"password":"*"}]`},
		{`$.users[*].email`, `{"users":[{"email":"a@b","n":1},{"email":"c@d"}],"email":"kept"}`, `{"users":[{"email":"*","n":1},{"email":"*"}],"email":"kept"}`},
		{`$.users[0]`, `{"users":["a","b"]}`, `{"users":["*","b"]}`},
		{`$[1]`, `["login","abc"]`, `["login","*"]`},
		{`$`, `"abc"`, `"*"`},
		{`$`, `{"a":1}`, `"*"`},
		{`$.*`, `{"a":1,"b":"x"}`, `{"a":"*","b":"*"}`},
		// Around it.
		{`$[1].token`, `42/chat,17["login",{"token":"abc"}]`, `42/chat,17["login",{"token":"*"}]`},
		{`$.token`, `a["{\"type\":\"login\",\"token\":\"ab\\u0063\"}"]`, `a["{\"type\":\"login\",\"token\":\"*\"}"]`},
		{`$[0].token`, `a["{\"token\":\"abc\"}"]`, `a["{\"token\":\"*\"}"]`},
		{`$.data.token`, `{"data":"{\"token\":\"a\/b\"}","u":"\/"}`, `{"data":"{\"token\":\"*\"}","u":"\/"}`},
		{`$..token`, `{"a":"{\"b\":\"{\\\"token\\\":\\\"abc\\\"}\"}"}`, `{"a":"{\"b\":\"{\\\"token\\\":\\\"*\\\"}\"}"}`},
		{`$..token`, "{\"token\":\"a\"}\x1e{\"type\":6}\x1e{\"token\":\"b\"}\x1e", "{\"token\":\"*\"}\x1e{\"type\":6}\x1e{\"token\":\"*\"}\x1e"},
		{`$.token`, "SEND\ndestination:/x\n\n{\"token\":\"abc\"}\x00", "SEND\ndestination:/x\n\n{\"token\":\"*\"}\x00"},
		{`$.token`, `[12:30] bob: {"token":"abc"}`, `[12:30] bob: {"token":"*"}`},
		{`$.user.token`, `{bad {"token":"abc"}`, `{bad {"token":"*"}`}, // where it stands is not known
		// What is no JSON and none of its business.
		{`$.token`, `[12:30] bob: my token is abc`, `[12:30] bob: my token is abc`},
		{`$.token`, `token=abc`, `token=abc`},
		{`$.token`, `{"x":"[1"}`, `{"x":"[1"}`},
		// What is no JSON and may be.
		{`$.token`, `{"token":"abc`, ``},
		{`$.token`, `{"a":undefined,"token":"abc"}`, ``},
		{`$.token`, `{token: 'abc'}`, ``},
		{`$.token`, `{'tok\u0065n': 'abc'}`, ``},
		{`$.token`, `{"x":"{\"token\":\"abc"}`, ``},
		{`$.token`, `{"token":"abc"} {"token":`, ``},
		{`$[0]`, `["abc"`, ``},
		{`$.token`, strings.Repeat("[", 600) + `{"token":"abc"}` + strings.Repeat("]", 600), ``},
		{`$.token`, `{"a":` + strings.Repeat("[", 600) + `1,"token":"abc"`, ``},
	} {
		r := payloads(t, Rules{JSON: paths(t, c.path)})
		in := []byte(c.text)
		got, err := r.payload(tape.Text, in)
		if err != nil {
			got = nil
		}
		if strings.HasPrefix(c.text, "[[") { // every [ opens something that is no JSON, but what is inside them is
			if strings.Contains(string(got), "abc") {
				t.Errorf("%s: %.20s: the secret stays", c.path, c.text)
			}
			continue
		}
		if stars(string(got)) != c.want {
			t.Errorf("%s: %.80s\n becomes %s (%v)\n    want %s", c.path, c.text, stars(string(got)), err, c.want)
		}
		if string(in) != c.text {
			t.Errorf("%s was changed in place", c.text)
		}
		if c.want == c.text && (len(got) == 0 || &got[0] != &in[0]) {
			t.Errorf("%s was copied", c.text)
		}
	}
}

func TestMatchesAreReplacedAndNothingElse(t *testing.T) {
	for _, c := range []struct {
		rules    []string
		in, want string
	}{
		{[]string{`sk_live_\w+`}, `key sk_live_abc, sk_live_d`, `key *, *`},
		{[]string{`token=(\S+)`}, `a token=abc b`, `a token=* b`},
		{[]string{`token=(\S+)|pin`}, `token=abc pin`, `token=* *`},
		{[]string{`x*`}, `abc`, `abc`},
		{[]string{`(?i)bearer (\S+)`, `\S+@\S+`}, `Bearer a@b a@c`, `Bearer * *`},
		{[]string{`\d{4,}`}, `redacted:0123456789abcdef 1234`, `* *`},
		{[]string{`\w+ \w+`}, `a redacted:0123456789abcdef`, `*`},
		{[]string{`sk_\w+`}, `{"a":"sk_\u0061bc\/","b":"\/"}`, `{"a":"*\/","b":"\/"}`},
		{[]string{`[a-z]+/[a-z]+`}, `{"a":"sk\/abc"}`, `{"a":"*"}`},
		{[]string{`\xe9\w+`}, `{"a":"x\u00e9abc y"}`, `{"a":"x* y"}`},
	} {
		r := payloads(t, Rules{Text: expressions(c.rules...)})
		once, err := r.payload(tape.Text, []byte(c.in))
		must(t, err)
		if got := stars(string(once)); got != c.want {
			t.Errorf("%s: %s becomes %s, want %s", c.rules, c.in, got, c.want)
		}
		twice, err := r.payload(tape.Text, once)
		must(t, err)
		if !bytes.Equal(once, twice) {
			t.Errorf("%s: %s becomes %s, and then %s", c.rules, c.in, once, twice)
		}
	}
}

func TestEqualSecretsStayEqualHoweverTheyAreWritten(t *testing.T) {
	r := payloads(t, Rules{JSON: paths(t, `$..token`), Text: expressions(`key=([^"\s]+)`), Headers: []string{"authorization"}})
	want := r.pseudonym("ab/é😀")
	for _, text := range []string{
		`{"token":"ab/é😀"}`, `{"token":"\u0061b\/\u00e9\ud83d\ude00"}`, `a["{\"token\":\"ab/é\\ud83d\\ude00\"}"]`, `key=ab/é😀`, `{"x":"key=ab\/é😀"}`,
	} {
		got, err := r.payload(tape.Text, []byte(text))
		must(t, err)
		if !strings.Contains(string(got), want) {
			t.Errorf("%s becomes %s, want %s in it", text, got, want)
		}
	}
	if got := r.field([2]string{"Authorization", "Bearer ab/é😀"}); got != "Bearer "+want {
		t.Errorf("in a header it becomes %s, want %s", got, want)
	}
	a, err := r.payload(tape.Text, []byte(`{"token":{"a":["x" ,1]}}`))
	must(t, err)
	b, err := r.payload(tape.Text, []byte(`{"token":{"\u0061":[ "x",1]}}`))
	must(t, err)
	if !bytes.Equal(a, b) {
		t.Errorf("equal objects become %s and %s", a, b)
	}
}

func TestPayloadsThatAreNoText(t *testing.T) {
	r := payloads(t, Rules{JSON: paths(t, `$..token`), Text: expressions(`sk_\w+`)})
	for _, c := range []struct {
		op       tape.Opcode
		in, want string
	}{
		{tape.Binary, "\x00\xff sk_abc\x00", "\x00\xff *\x00"},
		{tape.Binary, `{"token":"abc"}`, `{"token":"*"}`},
		{tape.Binary, "\xff{\"token\":\"abc\"}", "\xff{\"token\":\"*\"}"},
		{tape.Binary, "\x81\xa5token{\xa3abc:", "\x81\xa5token{\xa3abc:"}, // MessagePack is not looked into
		{tape.Text, "\xff{\"token\":\"abc\"}", "\xff{\"token\":\"*\"}"},
		{tape.Close, "\x03\xe8sk_abc", "\x03\xe8*"},
		{tape.Close, "\x03\xe8", "\x03\xe8"},
		{tape.Close, "\x03", "\x03"},
		{tape.Ping, "sk_abc", "*"},
		{tape.Ping, "", ""},
	} {
		got, err := r.payload(c.op, []byte(c.in))
		if must(t, err); stars(string(got)) != c.want {
			t.Errorf("%v %q becomes %q, want %q", c.op, c.in, got, c.want)
		}
	}
	for _, text := range []string{`{"token":"abc`, `my sk_abc`} {
		if got := stars(r.Text(text)); strings.Contains(got, "abc") {
			t.Errorf("%s becomes %s", text, got)
		}
	}
}

func TestSessionWithoutSecrets(t *testing.T) {
	r := payloads(t, Rules{Headers: []string{"sec-websocket-protocol"}, JSON: paths(t, `$.token`), Text: expressions(`sk_\w+`)})
	s := tape.Session{
		URL: "/u/sk_a?x=sk_b", Upstream: "ws://h/sk_a", Client: "127.0.0.1:1", Subprotocol: "sk_x.y",
		Tags: map[string]string{"a": "sk_a", "sk_b": "c"}, Notes: []string{"kept", "sk_a"},
		Ending: &tape.Ending{Kind: tape.EndClose, Reason: "bad sk_a", Why: "sk_b"},
		Handshake: tape.Handshake{
			Request:  tape.Request{Target: "/u/sk_a?x=sk_b", Headers: []tape.Header{{"Sec-WebSocket-Protocol", "chat, sk_x.y"}, {"X-A", "1 sk_a"}}},
			Response: tape.Response{Headers: []tape.Header{{"Sec-WebSocket-Protocol", "sk_x.y"}}, Body: []byte(`{"token":"abc","b":"sk_a"}`)},
		},
	}
	before := s
	for range 2 {
		r.Session(&s)
		text, err := s.MarshalFull()
		must(t, err)
		if strings.Contains(string(text), "sk_") || bytes.Contains(s.Handshake.Response.Body, []byte("abc")) || !json.Valid(s.Handshake.Response.Body) {
			t.Errorf("a secret stays: %s, %s", text, s.Handshake.Response.Body)
		}
	}
	if got := s.Handshake.Request.Headers[0][1]; got != r.pseudonym("chat")+", "+s.Subprotocol || got == "chat, "+s.Subprotocol {
		t.Errorf("subprotocols: %s", got)
	}
	if before.Ending.Reason != "bad sk_a" || before.Tags["a"] != "sk_a" || before.Notes[1] != "sk_a" {
		t.Error("what others share was changed")
	}
}

// FuzzRedact looks for panics, for secrets that stay where the text is JSON, and
// for JSON that is none afterwards.
func FuzzRedact(f *testing.F) {
	for _, text := range []string{`{"a":{"token":"x"}}`, `42["e",{"tok\u0065n":[1]}]`, `a["{\"token\":1}"]`, `{"token":`, `[[{"token":"a"}`, "{\"\x80\":\"\\ud800sk_a\"}", `"{\"token\":\"sk_\\u0061\"}"`, `[1e1000,{"token":1e1000}]`} {
		f.Add([]byte(text))
	}
	r := payloads(f, Rules{JSON: paths(f, `$..token`, `$.a[*]`), Text: expressions(`sk_\w+`)})
	f.Fuzz(func(t *testing.T, in []byte) {
		before := string(in)
		out, err := r.payload(tape.Text, in)
		if string(in) != before {
			t.Fatalf("%q was changed in place to %q", before, in)
		}
		if err != nil {
			if json.Valid(in) && !bytes.ContainsAny(bytes.Trim(in, "{["), "{[") {
				t.Errorf("%q is JSON, and could not be read", in)
			}
			return
		}
		if !json.Valid(in) || bytes.Count(in, []byte("["))+bytes.Count(in, []byte("{")) > jsonpath.MaxDepth {
			return
		}
		if !json.Valid(out) {
			t.Fatalf("%q became %q", in, out)
		}
		var v any
		d := json.NewDecoder(bytes.NewReader(out))
		d.UseNumber() // 1e1000 is JSON, and no float64
		must(t, d.Decode(&v))
		look(t, v)
	})
}

// look fails if a decoded document has a secret under the key "token".
func look(t *testing.T, v any) {
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			if s, ok := inner.(string); key == "token" && inner != nil && (!ok || s != "" && !isPseudonym(s)) {
				t.Errorf("the secret %v stays", inner)
			}
			look(t, inner)
		}
	case []any:
		for _, inner := range v {
			look(t, inner)
		}
	}
}
