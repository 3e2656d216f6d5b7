package replay

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wstape/wstape/tape"
)

// rulesOf writes what was learned, a line for each rule and note.
func rulesOf(l *Learned) string {
	var b strings.Builder
	for _, s := range l.Sessions {
		for i := range s.Found {
			fmt.Fprintln(&b, s.Found[i].String())
		}
		for _, n := range s.Notes {
			fmt.Fprintln(&b, "note:", n)
		}
	}
	return b.String()
}

// exchange writes a session: "> " is the client's message, "< " the server's.
func exchange(lines ...string) string {
	out := session(`"url":"/x"`)
	for i, line := range lines {
		from := map[byte]string{'>': "C", '<': "S"}[line[0]]
		out += at(float64(i+1), from, line[2:])
	}
	return out
}

func TestLearn(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b []string
		want []string
	}{
		{"prices", []string{`> {"op":"sub"}`, `< {"type":"tick","price":64012.5}`, `< {"type":"tick","price":64013}`},
			[]string{`> {"op":"sub"}`, `< {"type":"tick","price":63880.1}`, `< {"type":"tick","price":63880.2}`},
			[]string{`ignore server $.price when $.type = "tick"   64012.5 / 63880.1`}},
		{"one more tick", []string{`< {"type":"tick","n":1}`, `> {"op":"a"}`, `< {"type":"done","load":3}`},
			[]string{`< {"type":"tick","n":1}`, `< {"type":"tick","n":2}`, `> {"op":"a"}`, `< {"type":"done","load":4}`},
			[]string{
				`ignore server $.load when $.type = "done"   3 / 4`,
				`note: step 2 of session 1, from the server ({"type":"tick","n":2}), has nothing like it in session 1`,
			}},
		{"a small number comes back elsewhere", []string{`> {"method":"open"}`, `< {"result":5}`, `> {"method":"close","params":[5]}`},
			[]string{`> {"method":"open"}`, `< {"result":7}`, `> {"method":"close","params":[7]}`},
			[]string{`bind server $.result → $.params[0]   5 / 7`}},
		{"at two places", []string{`< {"result":5}`, `> {"method":"read","params":[5]}`, `> {"method":"close","args":{"h":5}}`},
			[]string{`< {"result":7}`, `> {"method":"read","params":[7]}`, `> {"method":"close","args":{"h":7}}`},
			[]string{`bind server $.result → $.args.h   5 / 7`, `bind server $.result → $.params[0]   5 / 7`}},
		{"the client's choice", []string{`> {"method":"a","n":4}`, `< {"re":4}`}, []string{`> {"method":"a","n":9}`, `< {"re":9}`},
			[]string{`bind client $.n → $.re when $.method = "a"   4 / 9`}},
		{"what is known already", []string{`> {"id":1,"nonce":"5e884898da28047151d0e56f8dc62927"}`, `< {"id":1,"nonce":"5e884898da28047151d0e56f8dc62927"}`},
			[]string{`> {"id":2,"nonce":"6b86b273ff34fce19d6b804eff5a3f57"}`, `< {"id":2,"nonce":"6b86b273ff34fce19d6b804eff5a3f57"}`}, nil},
		{"an array", []string{`< {"items":[{"p":1,"q":1},{"p":2,"q":1},{"p":3,"q":1}]}`}, []string{`< {"items":[{"p":4,"q":1},{"p":2,"q":1},{"p":5,"q":1}]}`},
			[]string{`ignore server $.items[*].p   1 / 4`}},
		{"a tuple", []string{`< ["tick",17,"x",1.5]`}, []string{`< ["tick",18,"x",1.6]`},
			[]string{`ignore server $[1] when $[0] = "tick"   17 / 18`, `ignore server $[3] when $[0] = "tick"   1.5 / 1.6`}},
		{"a tuple of strings", []string{`< ["say","a","b"]`}, []string{`< ["say","c","d"]`},
			[]string{`ignore server $[1] when $[0] = "say"   "a" / "c"`, `ignore server $[2] when $[0] = "say"   "b" / "d"`}},
		{"there or not", []string{`< {"type":"a","x":null,"list":[]}`}, []string{`< {"type":"a","extra":{"deep":1},"list":[1,2]}`},
			[]string{
				`ignore server $.extra.deep when $.type = "a"   nothing / 1`,
				`ignore server $.list when $.type = "a"   [] / nothing`,
				`ignore server $.x when $.type = "a"   null / nothing`,
			}},
		{"text", []string{`> hello 1`, `< {"a":1}`}, []string{`> hello 2`, `< {"a":1}`},
			[]string{`note: steps 1 and 1, from the client, differ (byte 6: hello 1 / hello 2), and only JSON can be learned from`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := loadText(t, tape.Server, exchange(c.a...), Matching{}), loadText(t, tape.Server, exchange(c.b...), Matching{})
			l, err := Learn(a, b)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimSuffix(rulesOf(l), "\n"); got != strings.Join(c.want, "\n") {
				t.Errorf("learned\n%s\nwant\n%s", got, strings.Join(c.want, "\n"))
			}
			for _, r := range []*Recording{a, b} {
				if own, err := Learn(r, r); err != nil || rulesOf(own) != "" {
					t.Errorf("from itself: %v %s", err, rulesOf(own))
				}
			}
		})
	}
}

func TestLearnKeepsTheRulesThatAreThere(t *testing.T) {
	a := session(`"rules":{"ignore":["$.x"],"exact":[{"path":"$.id"}]}`) + at(1, "S", `{"x":1,"y":1}`)
	b := session(`"rules":{"ignore":["$.x",{"path":"$.z","from":"client"}]}`) + at(1, "S", `{"x":2,"y":2}`)
	l, err := Learn(loadText(t, tape.Server, a, Matching{}), loadText(t, tape.Server, b, Matching{}))
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(l.Sessions[0].Rules)
	want := `{"ignore":[{"path":"$.x"},{"path":"$.z","from":"client"},{"path":"$.y","from":"server"}],"exact":[{"path":"$.id"}]}`
	if string(got) != want || err != nil || len(l.Sessions[0].Found) != 1 {
		t.Errorf("%s, %v\nwant %s", got, err, want)
	}
}

// What somebody wants exactly as it is stays so.
func TestLearnLeavesExactValues(t *testing.T) {
	head := session(`"rules":{"exact":["$.id"]}`)
	a, b := head+at(1, "S", `{"id":1}`), head+at(1, "S", `{"id":2}`)
	l, err := Learn(loadText(t, tape.Server, a, Matching{}), loadText(t, tape.Server, b, Matching{}))
	if want := "note: $.id of the server differs, which a rule wants exactly as it is\n"; err != nil || rulesOf(l) != want {
		t.Errorf("%v\n%swant\n%s", err, rulesOf(l), want)
	}
}

func TestLearnFromOtherScenarios(t *testing.T) {
	head := func(url string) string { return session(`"url":"` + url + `"`) }
	hello := at(1, "C", `{"type":"hello"}`)
	for _, c := range []struct{ name, a, b, want string }{
		{"another path", head("/a"), head("/b"), "session 1 asks for /a, and no session of the other one is left that does"},
		{"one session more", head("/a?x=1"), head("/a") + head("/a"), "session 2 asks for /a, and no session of the first one is left that does"},
		{"other messages", head("/") + hello, head("/") + at(1, "C", `{"type":"bye"}`),
			`what the client says at step 1 of session 1 ({"type":"hello"}) has nothing like it in session 1`},
		{"nothing said", head("/"), head("/") + hello + hello, `what the client says at step 1 of session 1 ({"type":"hello"}) has nothing like it in session 1`},
	} {
		_, err := Learn(loadText(t, tape.Server, c.a, Matching{}), loadText(t, tape.Server, c.b, Matching{}))
		if want := ErrScenario.Error() + ": " + c.want; err == nil || err.Error() != want {
			t.Errorf("%s: %v\nwant %s", c.name, err, want)
		}
	}
}

// world is a made up program in two halves that talk to each other: what they say
// depends on what is drawn in each run and on what they heard.
type world struct {
	script []string // what happens, in turn
	rng    *rand.Rand
}

// scripted draws a program.
func scripted(rng *rand.Rand) []string {
	var out []string
	for range 1 + rng.IntN(8) {
		out = append(out, []string{"echo", "call", "tick", "book", "greet", "token", "tuple", "when", "flaky"}[rng.IntN(9)])
	}
	return out
}

func (w *world) digits(n int) int { return w.rng.IntN(n) }

func (w *world) hex(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = "0123456789abcdef"[w.rng.IntN(16)]
	}
	return string(b)
}

// client is what the client says at a step of the script, to what it heard last.
func (w *world) client(step int, kind string, heard map[string]any, now time.Time) string {
	switch kind {
	case "echo":
		return fmt.Sprintf(`{"type":"echo","step":%d,"n":%d}`, step, 1000+w.digits(1000))
	case "call":
		return fmt.Sprintf(`{"type":"call","step":%d,"id":%d}`, step, w.digits(100000))
	case "book":
		return fmt.Sprintf(`{"type":"book","step":%d,"of":%v}`, step, heard["result"])
	case "token":
		return fmt.Sprintf(`{"type":"token","step":%d,"token":%q}`, step, heard["token"])
	case "when":
		return fmt.Sprintf(`{"type":"when","step":%d,"at":%d}`, step, now.UnixMilli())
	}
	return fmt.Sprintf(`{"type":%q,"step":%d}`, kind, step)
}

// server is what the server answers, message by message.
func (w *world) server(step int, kind string, heard map[string]any, now time.Time) []string {
	switch kind {
	case "echo":
		return []string{fmt.Sprintf(`{"type":"echo","step":%d,"again":%v}`, step, heard["n"])}
	case "call":
		return []string{fmt.Sprintf(`{"step":%d,"id":%v,"result":%d,"token":%q}`, step, heard["id"], 10000+w.digits(10000), w.hex(32))}
	case "tick":
		var out []string
		for i := range 1 + step%3 {
			out = append(out, fmt.Sprintf(`{"type":"tick","i":%d,"price":%d.%d,"at":%q}`, i, w.digits(1e5), 1+w.digits(9), now.Format(time.RFC3339)))
		}
		return out
	case "tuple":
		return []string{fmt.Sprintf(`["tuple",%d,[{"v":%d},{"v":%d}]]`, step, w.digits(1e6), w.digits(1e6))}
	case "flaky":
		return []string{fmt.Sprintf(`{"type":"flaky"%s}`, []string{``, `,"extra":{"load":1}`, `,"extra":null`}[w.digits(3)])}
	}
	return []string{fmt.Sprintf(`{"type":%q,"step":%d}`, kind, step)}
}

// hear remembers what was said.
func hear(heard map[string]any, text string) {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	said := map[string]any{}
	if dec.Decode(&said) == nil {
		for k, v := range said {
			heard[k] = v
		}
	}
}

// record plays the program against itself and writes it down.
func (w *world) record(started time.Time) string {
	out := `{"wstape":1,"session":{"url":"/w","started":"` + started.Format(time.RFC3339Nano) + `"}}` + "\n"
	t := 0.0
	toClient, toServer := map[string]any{"result": 0, "token": ""}, map[string]any{}
	for i, kind := range w.script {
		now := started.Add(time.Duration(t * float64(time.Second)))
		said := w.client(i, kind, toClient, now)
		out += at(t+1, "C", said)
		hear(toServer, said)
		for k, answer := range w.server(i, kind, toServer, now) {
			out += at(t+2+float64(k)/10, "S", answer)
			hear(toClient, answer)
		}
		t += 3
	}
	return out
}

// What was learned from two runs of a program is enough for each of the two
// recordings to stand in for one of its halves, in the run of the other one: a
// run is what was drawn in it, so that of the same draws comes the same run.
func TestLearnedRulesAreEnough(t *testing.T) {
	forSeeds(t, 100, func(t *testing.T, rng *rand.Rand) {
		script := scripted(rng)
		seeds := [2]uint64{rng.Uint64(), rng.Uint64()}
		run := func(i int) *world { return &world{script, rand.New(rand.NewPCG(seeds[i], 0))} }
		texts := [2]string{run(0).record(began()), run(1).record(replayed())}
		var both [2]*Recording
		for i := range both {
			both[i] = loadText(t, tape.Server, texts[i], Matching{})
			if own, err := Learn(both[i], both[i]); err != nil || rulesOf(own) != "" {
				t.Fatalf("from itself: %v %s\n%s", err, rulesOf(own), texts[i])
			}
		}
		learned, err := Learn(both[0], both[1])
		if err != nil {
			t.Fatal(err)
		}
		turned, err := Learn(both[1], both[0])
		if err != nil {
			t.Fatal(err)
		}
		if x, y := patterns(learned), patterns(turned); x != y {
			t.Errorf("one way\n%s\nand the other\n%s", x, y)
		}
		rules := learned.Sessions[0].Rules
		for i := range both {
			for _, role := range []tape.Side{tape.Server, tape.Client} {
				r := loadText(t, role, texts[i], Matching{Rules: rules})
				live := &world{script, rand.New(rand.NewPCG(seeds[1-i], 0))}
				if err := live.against(t, r); err != "" {
					t.Fatalf("the recorded %s with the live %s: %s\nrules\n%s\nrecording\n%sother\n%s", role, role.Other(), err, rulesOf(learned), texts[i], texts[1-i])
				}
			}
		}
	})
}

// patterns are the rules without the values.
func patterns(l *Learned) string {
	var out []string
	for _, f := range l.Sessions[0].Found {
		f.A, f.B = "", ""
		out = append(out, f.String())
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// against lets one half of the program play with a recording of the other one.
func (w *world) against(t *testing.T, r *Recording) string {
	s := open(t, r, Playing{Pace: Pace{}})
	heard := map[string]any{"result": 0, "token": ""}
	listen := func() {
		s.act()
		for _, line := range s.sent {
			_, text, _ := strings.Cut(line, " ")
			hear(heard, text)
		}
		s.sent = nil
	}
	for i, kind := range w.script {
		now := s.now
		listen()
		if r.Role == tape.Server {
			// What the server would have drawn is drawn, so that the client's draws are those of its run.
			said := w.client(i, kind, heard, now)
			mine := map[string]any{}
			hear(mine, said)
			s.play.Received(text(said), s.now)
			_ = w.server(i, kind, mine, now)
		} else {
			for _, answer := range w.answers(i, kind, heard, now) {
				s.play.Received(text(answer), s.now)
			}
		}
		if o := s.play.Outcome; !o.Held() {
			return mismatches(o)
		}
	}
	s.now = s.now.Add(time.Second)
	s.act()
	return strings.TrimSpace(mismatches(s.play.Outcome))
}

func (w *world) answers(i int, kind string, heard map[string]any, now time.Time) []string {
	_ = w.client(i, kind, map[string]any{"result": 0, "token": ""}, now) // the draws of the client's half
	return w.server(i, kind, heard, now)
}

func TestSetRules(t *testing.T) {
	rules := &Rules{Ignore: []Rule{{Path: "$.a<b"}}}
	const made = `{"ignore":[{"path":"$.a<b"}]}`
	for _, c := range []struct{ in, want string }{
		{`{"wstape":1,"session":{}}`, `{"wstape":1,"session":{"rules":` + made + `}}`},
		{"  { \"session\" : {\"url\" : \"/\\u002f\" } , \"wstape\":1}\r\n", "  { \"session\" : {\"url\" : \"/\\u002f\" ,\"rules\":" + made + "} , \"wstape\":1}\r\n"},
		{`{"wstape":1,"session":{"rules": {"ignore": ["$.x"]} ,"url":"/"}}`, `{"wstape":1,"session":{"rules": ` + made + ` ,"url":"/"}}`},
		{`{"wstape":1,"session":{"request":{"rules":1},"rules":null}}`, `{"wstape":1,"session":{"request":{"rules":1},"rules":` + made + `}}`},
	} {
		got, err := SetRules([]byte(c.in), rules)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", c.in, err, got, c.want)
		}
	}
	for _, in := range []string{``, `{`, `7`, `{"wstape":1}`, `{"session":null}`, `{"session":{}} x`, `{"session":{"a":}}`} {
		if got, err := SetRules([]byte(in), rules); err == nil {
			t.Errorf("%q became %q", in, got)
		}
	}
}

// FuzzSetRules wants the rules back, and everything else as it was.
func FuzzSetRules(f *testing.F) {
	f.Add(`{"wstape":1,"session":{"url":"/","rules":{"ignore":["$.x"]}}}`, "$.a")
	f.Add(`{"session":{"RULES":[1,2,{"rules":3}],"rules":4},"Session":{ }}`, "$..b")
	f.Fuzz(func(t *testing.T, line, path string) {
		rules := &Rules{Ignore: []Rule{{Path: strings.ToValidUTF8(path, "?")}}}
		out, err := SetRules([]byte(line), rules)
		if err != nil {
			return
		}
		type head struct {
			Session map[string]json.RawMessage `json:"session"`
		}
		var before, after head
		if json.Unmarshal([]byte(line), &before) != nil {
			t.Skip()
		}
		if err := json.Unmarshal(out, &after); err != nil {
			t.Fatalf("%q became %q: %v", line, out, err)
		}
		var loaded struct {
			Session struct{ Rules Rules }
		}
		if err := json.Unmarshal(out, &loaded); err == nil && (len(loaded.Session.Rules.Ignore) != 1 || loaded.Session.Rules.Ignore[0].Path != rules.Ignore[0].Path) {
			t.Errorf("%q became %q, whose rules are %v", line, out, loaded.Session.Rules)
		}
		for k, v := range before.Session {
			if !strings.EqualFold(k, "rules") && string(after.Session[k]) != string(v) {
				t.Errorf("%q became %q: %s was %s", line, out, k, v)
			}
		}
		again, err := SetRules(out, rules)
		if err != nil || string(again) != string(out) {
			t.Errorf("%q, once more %q: %v", out, again, err)
		}
	})
}
