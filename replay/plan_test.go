package replay

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// steps writes a plan's steps: time, side, what is said, after which step.
func steps(p *Plan) (out []string) {
	for i := range p.Steps {
		s := &p.Steps[i]
		what := content(&s.Content)
		switch {
		case s.Gap != nil:
			what = fmt.Sprintf("gap of %d", s.Gap.Frames)
		case s.Ending != nil:
			what = endingText(s.Ending)
		}
		out = append(out, fmt.Sprintf("%v %v %s, after %d", s.T.Seconds(), s.From, what, s.After))
	}
	return out
}

// Each player stands on its leg: the fake server where the client was, the fake
// client where the server was.
func TestPlanLegs(t *testing.T) {
	cassette := session() +
		`{"t":1,"from":"client","text":"in 1","fate":"dropped","by":"script:a.js"}
		{"t":2,"from":"client","text":"out 2","fate":"edited","by":"script:a.js","received":{"text":"in 2"}}
		{"t":3,"from":"client","text":"injected 3","fate":"injected","by":"operator"}
		{"t":4,"from":"server","text":"in 4","fate":"dropped","by":"operator"}
		{"t":5,"from":"server","text":"out 5","fate":"edited","by":"operator","received":{"text":"in 5"}}
		{"t":6,"from":"server","text":"injected 6","fate":"injected","by":"operator"}
		{"t":7,"from":"client","text":"passed 7"}
		{"t":8,"from":"server","text":"passed 8"}
		` + closing(9, "C", 1000, "")
	for role, want := range map[tape.Side][]string{
		tape.Server: {
			"1 client in 1, after 0", "2 client in 2, after 1", "5 server out 5, after 2", "6 server injected 6, after 2",
			"7 client passed 7, after 2", "8 server passed 8, after 5", "9 client close 1000, after 5",
		},
		tape.Client: {
			"2 client out 2, after 0", "3 client injected 3, after 0", "4 server in 4, after 0", "5 server in 5, after 3",
			"7 client passed 7, after 4", "8 server passed 8, after 4", "9 client close 1000, after 6",
		},
	} {
		if got := steps(loadText(t, role, cassette, Matching{}).Plans[0]); !slices.Equal(got, want) {
			t.Errorf("as the %v:\n got %s\nwant %s", role, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
		}
	}
}

func TestPlanEndings(t *testing.T) {
	for _, c := range []struct {
		name, cassette, want, note string
	}{
		{"close by the client, answered", session() + closing(1, "C", 1001, "bye") + closing(2, "S", 1001, ""), `1 client close 1001 "bye", after 0`, ""},
		{"close without a code", session() + `{"t":1,"from":"server","op":"close"}`, "1 server close without a code, after 0", ""},
		{"nothing comes after a close", session() + closing(1, "S", 1000, "") + at(2, "C", "late"), "1 server close 1000, after 0", ""},
		{"eof", session(`"duration":3`, `"ending":{"kind":"eof","from":"client"}`) + at(1, "C", "x"), "1 client x, after 0; 3 client no close frame, after 1", ""},
		{"reset", session(`"duration":3`, `"ending":{"kind":"reset","from":"server"}`), "3 server a reset, after 0", ""},
		{"by hand", session() + at(1, "C", "x"), "1 client x, after 0", ""},
		{"interrupted", session(`"state":"interrupted"`) + at(1, "C", "x"), "1 client x, after 0", "the recording is interrupted: it does not say how the session ended"},
		{"a gap", session() + at(1, "C", "x") + `{"t":2,"gap":{"frames":3,"bytes":9,"why":"full"}}` + "\n" + at(3, "C", "y"), "1 client x, after 0; 2 client gap of 3, after 1", ""},
		{"a gap before the end", session(`"ending":{"kind":"eof","from":"client"}`) + `{"t":2,"gap":{"frames":3,"bytes":9,"why":"full"}}`, "2 client gap of 3, after 0", ""},
		{"times that run backwards", session() + at(5, "C", "x") + at(1, "S", "y") + closing(3, "C", 1000, ""), "5 client x, after 0; 5 server y, after 1; 5 client close 1000, after 1", ""},
	} {
		p := loadText(t, tape.Server, c.cassette, Matching{}).Plans[0]
		if got := strings.Join(steps(p), "; "); got != c.want || strings.Join(p.Notes, "; ") != c.note {
			t.Errorf("%s: got %s and %q, want %s and %q", c.name, got, p.Notes, c.want, c.note)
		}
	}
}

// Control frames of the peer are no steps: libraries send and answer them on
// their own.
func TestPlanPings(t *testing.T) {
	cassette := session() +
		`{"t":1,"from":"client","op":"ping","text":"a"}
		{"t":2,"from":"server","op":"pong","text":"a"}
		{"t":3,"from":"server","op":"ping","text":"b"}
		{"t":4,"from":"client","op":"pong","text":"b"}
		{"t":5,"from":"server","op":"pong","text":"alone"}
		` + closing(9, "C", 1000, "")
	want := map[tape.Side][]string{
		tape.Server: {`3 server ping "b", after 0`, `5 server pong "alone", after 0`, "9 client close 1000, after 0"},
		tape.Client: {`1 client ping "a", after 0`, "9 client close 1000, after 0"},
	}
	for role, want := range want {
		if got := steps(loadText(t, role, cassette, Matching{}).Plans[0]); !slices.Equal(got, want) {
			t.Errorf("as the %v: %q", role, got)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	if _, err := Load(t.Context(), tape.Server, nil, Matching{}); err != ErrNothing {
		t.Errorf("nothing: %v", err)
	}
	if _, err := Load(t.Context(), tape.Server, []Source{{record.NewMemory(), 7, "session 7"}}, Matching{}); err == nil || !strings.HasPrefix(err.Error(), "prepare session 7: ") {
		t.Errorf("a session that is not there: %v", err)
	}
	for _, c := range []struct {
		cassette string
		matching Matching
	}{
		{session(), Matching{Level: "exact"}},
		{session(), Matching{Ignore: []string{"price"}}},
		{session(`"rules":{"bind":[{"path":"$.a"}]}`), Matching{}},
		{session(`"rules":{"ignore":[{"path":"$.a","to":"$.b"}]}`), Matching{}},
		{session(`"rules":{"ignored":["$.a"]}`), Matching{}},
		{session(`"rules":{"ignore":[{"path":"$.a","when":{"$.b":{"c":1,"d":2}}}]}`), Matching{}},
	} {
		if _, err := tryLoad(tape.Server, []byte(c.cassette), c.matching); err == nil {
			t.Errorf("%s with %+v was accepted", c.cassette, c.matching)
		}
	}
}

// Whatever a cassette says, its players come to an end, and time and causes of
// their steps run forwards.
func FuzzCassettePlan(f *testing.F) {
	f.Add([]byte(shop()))
	f.Add([]byte(session(`"url":"/a?x=1"`) + at(1, "C", "alice: hi") + session(`"url":"/b"`) + at(1, "S", "alice: hi")))
	f.Add([]byte(session(`"status":404`) + session(`"state":"interrupted"`, `"ending":{"kind":"reset","from":"client"}`)))
	f.Add([]byte(session(`"rules":{"ignore":["$..id"],"bind":[{"path":"$.a","to":"$.b"}]}`) + at(5, "C", `{"a":7}`) + at(1, "S", `{"b":7}`)))
	f.Add([]byte(`{"wstape":1,"session":{}}` + "\n" + `{"from":"client","op":"ping","text":""}` + "\n" + `{"gap":{"frames":1,"bytes":2,"why":"x"}}`))
	f.Fuzz(func(t *testing.T, cassette []byte) {
		var recordings [2]*Recording
		for _, role := range tape.Sides() {
			r, err := tryLoad(role, cassette, Matching{})
			if err != nil {
				return
			}
			recordings[role] = r
			order := map[Ref]int{}
			for i, e := range r.merged() {
				order[e] = i
			}
			for i, p := range r.Plans {
				for k := range p.Steps {
					s := &p.Steps[k]
					if s.N != k+1 || k > 0 && s.T < p.Steps[k-1].T || s.After > k || order[Ref{i, k + 1}] < order[Ref{i, k}] {
						t.Fatalf("session %d: step %d is %+v", i, k, s)
					}
					for _, e := range s.Across {
						if order[e] > order[Ref{i, k + 1}] {
							t.Fatalf("session %d: step %d waits for %v, which comes later", i, k, e)
						}
					}
				}
			}
		}
		for _, pace := range []Pace{{}, {Factor: 1}} {
			for _, policy := range []Policy{Fail, Skip} {
				d := newDuet(recordings[tape.Client], recordings[tape.Server])
				playing := Playing{Pace: pace, OnMismatch: policy}
				if err := d.play([2]Playing{playing, playing}); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
