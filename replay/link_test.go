package replay

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/wstape/wstape/tape"
)

// What the live peer chooses this time is put in place of what stands on the tape.
func TestLinks(t *testing.T) {
	const (
		uuid1, uuid2 = "0192f0c1-7b1c-7e55-9d6a-3f1b2c4d5e6f", "7d444840-9dc0-11d1-b245-5ffdce74fad2"
		tok1, tok2   = "V1StGXR8_Z5jdHi6B-myTq", "k9Zq0LwPx7RrTn2_aUe4Gh"
	)
	for _, c := range []struct {
		name string
		role tape.Side
		tape []string // in turn: what the peer says, and what the player answers
		live []string
	}{
		{"JSON-RPC ids that start elsewhere", tape.Server,
			[]string{`{"id":1,"method":"a"}`, `{"id":1,"result":7}`, `{"id":2,"method":"b"}`, `{"id":2,"result":1}`},
			[]string{`{"id":41,"method":"a"}`, `{"id":41,"result":7}`, `{"id":42,"method":"b"}`, `{"id":42,"result":1}`}},
		{"JSON-RPC ids that become strings", tape.Server,
			[]string{`{"id":1,"method":"a"}`, `{"id":1,"result":7}`},
			[]string{`{"id":"x-1","method":"a"}`, `{"id":"x-1","result":7}`}},
		{"ids of two keys", tape.Server,
			[]string{`{"id":1,"seq":1}`, `{"id":1,"seq":1,"n":1}`},
			[]string{`{"id":8,"seq":9}`, `{"id":8,"seq":9,"n":1}`}},
		{"small numbers stay under their key", tape.Server,
			[]string{`{"id":3,"n":3}`, `{"count":3,"id":3,"items":[3],"page":"3"}`},
			[]string{`{"id":70,"n":3}`, `{"count":3,"id":70,"items":[3],"page":"3"}`}},
		{"Socket.IO acknowledgements", tape.Server,
			[]string{`420["join","a"]`, `430[{"ok":0}]`, `421["say","b"]`, `431[{"ok":1}]`},
			[]string{`4217["join","a"]`, `4317[{"ok":0}]`, `4218["say","b"]`, `4318[{"ok":1}]`}},
		{"a UUID within a longer string", tape.Server,
			[]string{`{"upload":"` + uuid1 + `"}`, `{"url":"https:\/\/x.org\/f\/` + uuid1 + `.png?a=\u00e9"}`},
			[]string{`{"upload":"` + uuid2 + `"}`, `{"url":"https:\/\/x.org\/f\/` + uuid2 + `.png?a=\u00e9"}`}},
		{"a UUID out of a longer string", tape.Server,
			[]string{`{"url":"/f/` + uuid1 + `/x"}`, `{"id":"` + uuid1 + `"}`},
			[]string{`{"url":"/f/` + uuid2 + `/x"}`, `{"id":"` + uuid2 + `"}`}},
		{"a UUID in plain text", tape.Server,
			[]string{"I am " + uuid1, "hello " + uuid1 + "!"},
			[]string{"I am " + uuid2, "hello " + uuid2 + "!"}},
		{"a token that the server gave", tape.Client,
			[]string{`{"token":"` + tok1 + `"}`, `{"auth":"Bearer ` + tok1 + `"}`},
			[]string{`{"token":"` + tok2 + `"}`, `{"auth":"Bearer ` + tok2 + `"}`}},
		{"a number that is repeated as a string", tape.Client,
			[]string{`{"session":123456789}`, `{"session":"123456789","n":123456789}`},
			[]string{`{"session":987654321}`, `{"session":"987654321","n":987654321}`}},
		{"a string that is repeated as a number", tape.Client,
			[]string{`{"session":"123456789"}`, `{"session":123456789}`},
			[]string{`{"session":"987654321"}`, `{"session":987654321}`}},
		{"what needs escapes", tape.Server,
			[]string{`{"id":"a"}`, `{"id":"a"}`},
			[]string{`{"id":"<\"\\é>"}`, `{"id":"<\"\\é>"}`}},
		{"every other byte", tape.Server,
			[]string{`{"id":1}`, " {\"a\" : [1.0,1e2, \"\\u00e9\\/\"] ,\"id\"\t: 1, \"a\":{} }\n"},
			[]string{`{"id":2}`, " {\"a\" : [1.0,1e2, \"\\u00e9\\/\"] ,\"id\"\t: 2, \"a\":{} }\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			peer := "C"
			if c.role == tape.Client {
				peer = "S"
			}
			own := map[string]string{"C": "S", "S": "C"}[peer]
			tape, did := session(), []string{}
			for i := range c.tape {
				from := []string{peer, own}[i%2]
				tape += at(float64(i), from, c.tape[i])
				if i%2 == 1 {
					did = append(did, fmt.Sprintf("%d %s", i, c.live[i]))
				}
			}
			r := loadText(t, c.role, tape+closing(60, peer, 1000, ""), Matching{})
			for range 2 { // a recording may be played again
				s := open(t, r, Playing{})
				for i := 0; i < len(c.live); i += 2 {
					s.hears(float64(i)+1, text(c.live[i]))
				}
				s.ends(60, closes(1000, "")).rest().did(did...)
				s.held()
			}
		})
	}
}

// What the player chose must come back as it was sent, and what the peer chose
// must stay the same.
func TestLinksThatBreak(t *testing.T) {
	const uuid1, uuid2, uuid3 = "0192f0c1-7b1c-7e55-9d6a-3f1b2c4d5e6f", "7d444840-9dc0-11d1-b245-5ffdce74fad2", "2c5ea4c0-4067-41e9-8bad-9b1deb4d3b7d"
	for _, c := range []struct {
		name  string
		tape  string
		right []string
		wrong []string
		want  string
	}{
		{"the player's own UUID", at(1, "C", `{"req":"`+uuid1+`"}`) + at(2, "S", `{"res":"`+uuid1+`"}`),
			[]string{`{"res":"` + uuid1 + `"}`}, []string{`{"res":"` + uuid2 + `"}`}, `$.res "` + uuid1 + `" -> "` + uuid2 + `"`},
		{"the player's own UUID within a string", at(1, "C", `{"req":"`+uuid1+`"}`) + at(2, "S", `{"res":"/a/`+uuid1+`/b"}`),
			[]string{`{"res":"/a/` + uuid1 + `/b"}`}, []string{`{"res":"/a/` + uuid2 + `/b"}`}, `$.res "/a/` + uuid1 + `/b" -> "/a/` + uuid2 + `/b"`},
		{"the player's own number", at(1, "C", `{"id":7}`) + at(2, "S", `{"id":7,"ok":1}`),
			[]string{`{"id":7,"ok":1}`}, []string{`{"id":8,"ok":1}`}, `$.id 7 -> 8`},
		{"the peer's UUID, twice", at(1, "S", `{"a":"`+uuid1+`"}`) + at(2, "C", `{"b":"`+uuid1+`"}`) + at(3, "S", `{"c":"`+uuid1+`"}`),
			[]string{`{"a":"` + uuid2 + `"}`, `{"c":"` + uuid2 + `"}`}, []string{`{"a":"` + uuid2 + `"}`, `{"c":"` + uuid3 + `"}`}, `$.c "` + uuid1 + `" -> "` + uuid3 + `"`},
		{"the peer's number, as a string later", at(1, "S", `{"a":123456789}`) + at(2, "C", `{"b":123456789}`) + at(3, "S", `{"c":"123456789"}`),
			[]string{`{"a":987654321}`, `{"c":"987654321"}`}, []string{`{"a":987654321}`, `{"c":987654321}`}, `$.c "123456789" -> 987654321`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := loadText(t, tape.Client, session()+c.tape+closing(4, "S", 1000, ""), Matching{})
			for _, live := range [][]string{c.right, c.wrong} {
				s := open(t, r, Playing{})
				for i, says := range live {
					s.hears(float64(i)+1, text(says))
				}
				s.ends(5, closes(1000, "")).rest()
				o := s.play.Outcome
				if &live[0] == &c.right[0] {
					s.held()
				} else if len(o.Mismatches) != 1 || !strings.HasSuffix(strings.TrimSpace(mismatches(o)), "; "+c.want) {
					t.Errorf("got %s want %s", mismatches(o), c.want)
				}
			}
		})
	}
}

// Values of the handshake are carried along: a ticket in the client's query, a
// session in the server's headers.
func TestLinksOfTheHandshake(t *testing.T) {
	const tok1, tok2 = "V1StGXR8_Z5jdHi6B-myTq", "k9Zq0LwPx7RrTn2_aUe4Gh"
	r := loadText(t, tape.Server, session(`"url":"/chat?ticket=`+tok1+`&room=1"`)+at(1, "S", `{"welcome":"`+tok1+`","room":"1"}`)+closing(2, "C", 1000, ""), Matching{})
	s := open(t, r, Playing{})
	s.play.Open(s.now, queryValues("/chat?room=2&ticket="+tok2))
	s.ends(2, closes(1000, "")).rest()
	s.did(`0 {"welcome":"` + tok2 + `","room":"1"}`)

	r = loadText(t, tape.Client, session(`"response":{"status":101,"headers":[["X-Session","`+tok1+`"]]}`)+at(1, "C", `{"session":"`+tok1+`"}`)+closing(2, "S", 1000, ""), Matching{})
	s = open(t, r, Playing{})
	s.play.Open(s.now, headerValues([]tape.Header{{"X-Session", tok2}}))
	s.until(1).did(`0 {"session":"` + tok2 + `"}`)
}

// A rule of the cassette binds what would not be found.
func TestLinksByRule(t *testing.T) {
	rules := `"rules":{"bind":[{"path":"$.color","to":"$.paint","from":"client"}]}`
	r := loadText(t, tape.Server, session(rules)+at(1, "C", `{"color":"red"}`)+at(2, "S", `{"paint":"red","color":"red"}`)+closing(3, "C", 1000, ""), Matching{})
	s := open(t, r, Playing{})
	s.hears(1, text(`{"color":"blue"}`)).ends(3, closes(1000, "")).rest().did(`1 {"paint":"blue","color":"red"}`)
	s.held()
}

// Rebinding to the recorded values gives the recorded bytes, whatever else is in
// the messages.
func TestRebindKeepsBytes(t *testing.T) {
	forSeeds(t, 50, func(t *testing.T, rng *rand.Rand) {
		a := &author{Rand: rng}
		for _, role := range tape.Sides() {
			r := loadText(t, role, cassette(a.recording()), Matching{})
			b := newBindings(r.links)
			for i, s := range r.links.slots {
				b.put([]binding{{i, s.value}})
			}
			for _, p := range r.Plans {
				for i := range p.Steps {
					if s := &p.Steps[i]; string(b.rebind(s)) != string(s.Payload) {
						t.Errorf("%q became %q", s.Payload, b.rebind(s))
					}
				}
			}
		}
	})
}

// Rebinding to other values of the same kind keeps JSON JSON, and changes no
// value but those.
func TestRebindKeepsTheRest(t *testing.T) {
	forSeeds(t, 50, func(t *testing.T, rng *rand.Rand) {
		a := &author{Rand: rng}
		for _, role := range tape.Sides() {
			r := loadText(t, role, cassette(a.recording()), Matching{})
			b := newBindings(r.links)
			for i, s := range r.links.slots {
				v := s.value
				if v.text = fmt.Sprint(7000000 + i); v.kind == 's' {
					v.text = fmt.Sprintf(`new "%d" \`, i)
				}
				b.put([]binding{{i, v}})
			}
			for _, p := range r.Plans {
				for i := range p.Steps {
					s := &p.Steps[i]
					out := text(string(b.rebind(s)))
					out.Op = s.Op
					v := look(&out)
					if json.Valid(s.Payload) != json.Valid(out.Payload) || len(v.leaves) != len(s.view.leaves) {
						t.Fatalf("%q became %q", s.Payload, out.Payload)
					}
					used := map[int]bool{}
					for _, u := range s.uses {
						used[u.leaf] = true
					}
					for k := range v.leaves {
						if same := v.leaves[k].scalar == s.view.leaves[k].scalar; same == used[k] {
							t.Errorf("%q became %q: %v", s.Payload, out.Payload, v.leaves[k].path)
						}
					}
				}
			}
		}
	})
}
