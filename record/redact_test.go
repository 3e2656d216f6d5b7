package record

import (
	"regexp"
	"strings"
	"testing"

	"github.com/wstape/wstape/tape"
)

func redactor(t testing.TB, key string) *Redactor {
	t.Helper()
	r, err := NewRedactor([]byte(key), Rules{Headers: defaultHeaders(), Query: defaultQuery()})
	must(t, err)
	return r
}

var pseudonym = regexp.MustCompile(`redacted:[0-9a-f]{16}`)

// stars writes a star for every pseudonym.
func stars(s string) string { return pseudonym.ReplaceAllString(s, "*") }

func TestSecretsOfHeadersAreReplacedAndNothingElse(t *testing.T) {
	r := redactor(t, "key")
	for _, c := range []struct{ name, value, want string }{
		{"Authorization", "Bearer abc.def", "Bearer *"},
		{"authorization", "abc", "*"},
		{"Proxy-Authorization", "Basic dXNlcg==", "Basic *"},
		{"Cookie", "a=1; session=xyz==;b=", "a=*; session=*;b="},
		{"Cookie", "nameless; a=1", "*; a=*"},
		{"Set-Cookie", "sid=abc; Path=/; HttpOnly; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "sid=*; Path=/; HttpOnly; Expires=Wed, 21 Oct 2026 07:28:00 GMT"},
		{"Set-Cookie", "nameless; Path=/", "*; Path=/"},
		{"X-Api-Key", "k", "*"},
		{"X-Auth-Token", "k", "*"},
		{"X-Token", "kept", "kept"},
		{"User-Agent", "Mozilla/5.0 (token=1)", "Mozilla/5.0 (token=1)"},
		{"Referer", "https://a/b?token=1&c=2", "https://a/b?token=*&c=2"},
		{"Location", "/b?a=1&api_key=2#f", "/b?a=1&api_key=*#f"},
		{"Host", "a:80", "a:80"},
		{"Authorization", "", ""},
		{"Authorization ", "Bearer abc", "Bearer *"}, // which some servers take for the same
		{"Referer", "https://ann:secret@a/b", "https://*@a/b"},
	} {
		s := tape.Session{Handshake: tape.Handshake{
			Request: tape.Request{Headers: []tape.Header{{c.name, c.value}}}, Response: tape.Response{Headers: []tape.Header{{c.name, c.value}}},
		}}
		r.Session(&s)
		for _, got := range []tape.Header{s.Handshake.Request.Headers[0], s.Handshake.Response.Headers[0]} {
			if got[0] != c.name || stars(got[1]) != c.want {
				t.Errorf("%s: %s becomes %s: %s, want %s", c.name, c.value, got[0], stars(got[1]), c.want)
			}
		}
	}
}

func TestSecretsOfURLsAreReplacedAndNothingElse(t *testing.T) {
	r := redactor(t, "key")
	for in, want := range map[string]string{
		"/chat":                          "/chat",
		"/chat?":                         "/chat?",
		"/chat?room=1&token=abc&x=%20+":  "/chat?room=1&token=*&x=%20+",
		"/chat?access_token=a=b&&ACCESS": "/chat?access_token=*&&ACCESS",
		"/chat?Token=a":                  "/chat?Token=*",
		"/chat?a/token=a":                "/chat?a/token=*",
		"/chat?to%6ben=a":                "/chat?to%6ben=*",
		"/chat?token":                    "/chat?token",
		"/chat?token=":                   "/chat?token=",
		"/chat?sig=a&signed=b":           "/chat?sig=*&signed=b",
		"/token=1/x":                     "/token=1/x",
		"ws://h/p?jwt=a.b.c#token=1":     "ws://h/p?jwt=*#token=1",
		"/?%zz=1&password=2":             "/?%zz=1&password=*",
		"http://ann:a@b@h/p@q?token=1":   "http://*@h/p@q?token=*",
		"ws://ann@h":                     "ws://*@h",
		"//ann:secret@h/p":               "//*@h/p",
		"p//ann:secret@h/p":              "p//ann:secret@h/p",
		"ws://h/ann:secret@x":            "ws://h/ann:secret@x",
		"ws://h?ann:secret@x":            "ws://h?ann:secret@x",
		"/p?to=ws://ann:secret@h":        "/p?to=ws://ann:secret@h",
		"unix:/run/a.sock:/p@q":          "unix:/run/a.sock:/p@q",
	} {
		if got := stars(r.URL(in)); got != want {
			t.Errorf("%s becomes %s, want %s", in, got, want)
		}
	}
}

func TestEqualSecretsStayEqualOnOneTape(t *testing.T) {
	one, other := redactor(t, "one"), redactor(t, "other")
	a, b := one.URL("/?token=abc"), one.URL("/?token=abd")
	if one.URL("/?token=abc") != a || a == b {
		t.Errorf("equal and unequal secrets become %s and %s", a, b)
	}
	if other.URL("/?token=abc") == a {
		t.Error("the pseudonym is the same on another tape")
	}
	if strings.Contains(a, "abc") {
		t.Errorf("the secret is in %s", a)
	}
}

func TestRedactingTwiceChangesNothing(t *testing.T) {
	r := redactor(t, "key")
	s := tape.Session{
		URL: "/?token=a", Upstream: "ws://h/?token=a",
		Handshake: tape.Handshake{Request: tape.Request{
			Target:  "/?token=a",
			Headers: []tape.Header{{"Cookie", "a=1; b=2"}, {"Authorization", "Bearer x"}, {"X-Api-Key", "k"}, {"Cookie", "nameless"}},
		}},
	}
	r.Session(&s)
	once := asJSON(t, &s.Handshake) + s.URL + s.Upstream
	r.Session(&s)
	if twice := asJSON(t, &s.Handshake) + s.URL + s.Upstream; twice != once {
		t.Errorf("first %s\nthen %s", once, twice)
	}
	if n := len(pseudonym.FindAllString(once, -1)); n != 8 {
		t.Errorf("%d pseudonyms in %s", n, once)
	}
}

func TestSecretThatLooksLikeAPseudonymIsStillOne(t *testing.T) {
	r := redactor(t, "key")
	for _, secret := range []string{"redacted:hunter2", "redacted:", "redacted:0123456789abcdeg"} {
		if got := r.URL("/?token=" + secret); strings.HasSuffix(got, secret) {
			t.Errorf("%s stays", secret)
		}
	}
}

func TestRedactorOfNothing(t *testing.T) {
	var none *Redactor
	s := tape.Session{URL: "/?token=a"}
	none.Session(&s)
	if s.URL != "/?token=a" || none.URL("/?token=a") != "/?token=a" {
		t.Error("a nil redactor redacts")
	}
	if _, err := NewRedactor(nil, Rules{Headers: []string{""}}); err == nil {
		t.Error("an empty pattern is taken")
	}
}

// What config.example.yaml has as defaults.
func defaultHeaders() []string {
	return []string{"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-*-token"}
}

func defaultQuery() []string {
	return []string{"*token*", "*secret*", "*passw*", "*apikey*", "*api_key*", "*api-key*", "*signature*", "*auth*", "*credential*", "jwt", "key", "sig"}
}
