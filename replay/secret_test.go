package replay

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/wstape/wstape/tape"
)

const (
	red1 = "redacted:0123456789abcdef"
	red2 = "redacted:fedcba9876543210"
)

// A pseudonym stands for any value that the peer says in its place, and for that
// one alone from then on.
func TestPseudonymsOfThePeer(t *testing.T) {
	for _, c := range []struct {
		name string
		tape []string // in turn: what the client says, and what the server answers
		live []string
		diff string // of the last message of the client, if it does not match
	}{
		{"a token that comes back",
			[]string{`{"login":"ann","token":"` + red1 + `"}`, `{"welcome":"ann","token":"` + red1 + `","as":"Bearer ` + red1 + `"}`},
			[]string{`{"login":"ann","token":"s3 \"cret"}`, `{"welcome":"ann","token":"s3 \"cret","as":"Bearer s3 \"cret"}`}, ""},
		{"a number, and nobody repeats it",
			[]string{`{"pin":"` + red1 + `"}`, `ok`},
			[]string{`{"pin":1234}`, `ok`}, ""},
		{"a number that comes back",
			[]string{`{"pin":"` + red1 + `"}`, `{"pin":"` + red1 + `"}`},
			[]string{`{"pin":1234}`, `{"pin":1234}`}, ""},
		{"true",
			[]string{`{"pin":"` + red1 + `"}`, `{"pin":"` + red1 + `"}`},
			[]string{`{"pin":true}`, `{"pin":true}`}, ""},
		{"an object",
			[]string{`{"user":"` + red1 + `","n":1}`, `ok`},
			[]string{`{"user":{"name":"ann","tags":[1,2]},"n":1}`, `ok`}, ""},
		{"the same again",
			[]string{`{"token":"` + red1 + `"}`, `ok`, `{"do":1,"token":"` + red1 + `"}`, `done`},
			[]string{`{"token":"abc"}`, `ok`, `{"do":1,"token":"abc"}`, `done`}, ""},
		{"another one",
			[]string{`{"token":"` + red1 + `"}`, `ok`, `{"do":1,"token":"` + red1 + `"}`, `done`},
			[]string{`{"token":"abc"}`, `ok`, `{"do":1,"token":"abd"}`}, "$.token"},
		{"two of them",
			[]string{`{"a":"` + red1 + `","b":"` + red2 + `"}`, `["` + red2 + `","` + red1 + `"]`},
			[]string{`{"a":"x","b":"y"}`, `["y","x"]`}, ""},
		{"one that is not there",
			[]string{`{"a":1,"token":"` + red1 + `"}`, `ok`},
			[]string{`{"a":1}`}, "$.token"},
		{"one besides a wrong value",
			[]string{`{"a":1,"token":"` + red1 + `"}`, `ok`},
			[]string{`{"a":2,"token":"x"}`}, "$.a"},
		{"in a text",
			[]string{`LOGIN ann ` + red1 + ` now`, `hello ` + red1},
			[]string{`LOGIN ann s3 cret now`, `hello s3 cret`}, ""},
		{"in what was JSON",
			[]string{`{"pin":` + red1 + `}`, `ok ` + red1},
			[]string{`{"pin":1234}`, `ok 1234`}, ""},
		{"in a Socket.IO packet",
			[]string{`420["login",{"token":"` + red1 + `"}]`, `430["` + red1 + `"]`},
			[]string{`427["login",{"token":"abc"}]`, `437["abc"]`}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			recorded := session()
			for i, m := range c.tape {
				recorded += at(float64(i), []string{"C", "S"}[i%2], m)
			}
			for _, level := range []Level{Shape, JSON} {
				if level == JSON && strings.HasPrefix(c.name, "in a Socket") {
					continue // its number is another one
				}
				r := loadText(t, tape.Server, recorded+closing(60, "C", 1000, ""), Matching{Level: level})
				if err := r.Check(&Live{}, nil); err != nil {
					t.Fatal(err)
				}
				s := open(t, r, Playing{Pace: Pace{Factor: 1}})
				for i, m := range c.live {
					if i%2 == 0 {
						s.hears(float64(i), text(m))
					}
				}
				if c.diff != "" {
					s.rest()
					if ms := s.play.Outcome.Mismatches; len(ms) != 1 || len(ms[0].Diff) != 1 || ms[0].Diff[0].Path != c.diff {
						t.Errorf("%s: %+v", level, ms)
					}
					continue
				}
				s.until(59)
				var want []string
				for i, m := range c.live {
					if i%2 == 1 {
						want = append(want, fmt.Sprintf("%d %s", i, m))
					}
				}
				if !slices.Equal(s.sent, want) || len(s.play.Outcome.Mismatches) > 0 {
					t.Errorf("%s: sent %q, want %q; %+v", level, s.sent, want, s.play.Outcome.Mismatches)
				}
			}
		})
	}
}

func TestPseudonymsInBytes(t *testing.T) {
	cassette := session() + at(0, "C", "key "+red1) + `{"t":1,"from":"server","b64":"` + "AHJlZGFjdGVkOjAxMjM0NTY3ODlhYmNkZWY=" + `"}` + "\n" +
		`{"t":2,"from":"client","b64":"` + "AHJlZGFjdGVkOjAxMjM0NTY3ODlhYmNkZWYB" + `"}` + "\n" + closing(3, "C", 1000, "bye "+red1)
	r := loadText(t, tape.Server, cassette, Matching{Level: Bytes})
	s := open(t, r, Playing{Pace: Pace{Factor: 1}})
	s.hears(0, text("key s3cret")).hears(2, binary("\x00s3cret\x01")).until(2.5)
	s.play.Ended(tape.Ending{Kind: tape.EndClose, Code: 1000, Reason: "bye s3cret"}, s.now)
	if want := []string{`1 binary "\x00s3cret"`}; !slices.Equal(s.sent, want) || !s.play.Outcome.Held() {
		t.Errorf("sent %q, want %q; %+v", s.sent, want, s.play.Outcome.Mismatches)
	}
}

// A secret that the player is the first to say must be given to it.
func TestPseudonymsOfThePlayer(t *testing.T) {
	cassette := session(`"request":{"target":"/?ticket=`+red2+`","headers":[["X-Key","`+red2+`"]]}`) +
		at(0, "C", `{"login":{"password":"`+red1+`"},"ticket":"`+red2+`"}`) + at(1, "S", `{"ok":true,"was":"`+red1+`"}`) +
		closing(2, "C", 1000, "bye "+red1)
	r := loadText(t, tape.Client, cassette, Matching{})
	for _, c := range []struct {
		given map[string]string
		want  string
	}{
		{nil, "the client sends a secret at step 1, of which the recording holds only a pseudonym (" + red1 + "): give it with --secret password=env:VARIABLE"},
		{map[string]string{"PASSWORD": "x"}, "--secret ticket=env:VARIABLE"},
	} {
		if err := r.checkSecrets(r.Plans[0], &Live{Secrets: c.given}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
	s := open(t, r, Playing{Pace: Pace{Factor: 1}})
	s.rest()
	if m := s.play.Outcome.Mismatches; len(m) != 1 || m[0].Kind != Secret || m[0].Step != 1 || len(s.sent) != 1 {
		t.Errorf("sent %q; %+v", s.sent, m)
	}
	for _, secrets := range []map[string]string{{"password": "s3\"", "ticket": "t&"}, {red1: "s3\"", "x-key": "t&"}} {
		live := Live{Secrets: secrets}
		if err := r.checkSecrets(r.Plans[0], &live); err != nil {
			t.Fatal(err)
		}
		run := NewRun(r).reveal(&live)
		s := openSession(t, run, 0, Playing{Pace: Pace{Factor: 1}}).until(0.5).hears(1, text(`{"ok":true,"was":"s3\""}`)).rest()
		if want := []string{`0 {"login":{"password":"s3\""},"ticket":"t&"}`, `2 close 1000 "bye s3\""`}; !slices.Equal(s.sent, want) || !s.play.Outcome.Held() {
			t.Errorf("sent %q, want %q; %+v", s.sent, want, s.play.Outcome.Mismatches)
		}
		s = openSession(t, NewRun(r).reveal(&live), 0, Playing{Pace: Pace{Factor: 1}}).until(0.5).hears(1, text(`{"ok":true,"was":"else"}`)).rest()
		if s.play.Outcome.Held() {
			t.Error("another secret came back, and it is taken")
		}
	}
}

func TestAlike(t *testing.T) {
	for _, c := range []struct {
		recorded, live string
		want           bool
	}{
		{"/a", "/a", true}, {"/a", "/b", false}, {"/u/" + red1 + "/x", "/u/abc/x", true}, {"/u/" + red1, "/u/a/b", false},
		{red1 + "." + red2, "a.b", true}, {red1, "", false}, {"a.b" + red1, "aXbc", false},
	} {
		if got := alike(c.recorded, c.live, anySegment); got != c.want {
			t.Errorf("%s and %s: %v", c.recorded, c.live, got)
		}
	}
}

func TestSubprotocolsThatAreSecrets(t *testing.T) {
	offer := func(p string) *tape.Session {
		return &tape.Session{Subprotocol: p, Handshake: tape.Handshake{Request: tape.Request{Headers: []tape.Header{{"Sec-WebSocket-Protocol", "chat, " + red1}}}}}
	}
	for _, c := range []struct{ chosen, want string }{{"chat", "chat"}, {red1, "s3cret"}, {"other", "other"}} {
		if got := subprotocol(offer(c.chosen), []string{"chat", "s3cret"}); got != c.want {
			t.Errorf("of %s it chooses %s, want %s", c.chosen, got, c.want)
		}
	}
	if _, err := (&Live{}).offered(offer("chat")); err == nil || !strings.Contains(err.Error(), "--secret Sec-WebSocket-Protocol=env:VARIABLE") {
		t.Error(err)
	}
	got, err := (&Live{Secrets: map[string]string{"sec-websocket-protocol": "s3cret"}}).offered(offer("chat"))
	if err != nil || !slices.Equal(got, []string{"chat", "s3cret"}) {
		t.Errorf("offered %q, %v", got, err)
	}
}
