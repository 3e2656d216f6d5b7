package replay

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// diffSource reads a cassette of one session; its messages' types and ids are those of their JSON.
func diffSource(t testing.TB, name, cassette string) DiffSource {
	t.Helper()
	memory := record.NewMemory()
	numbers, err := record.ReadCassette(context.Background(), strings.NewReader(cassette), memory)
	if err != nil {
		t.Fatalf("%v, of the cassette\n%s", err, cassette)
	}
	return DiffSource{Source: Source{memory, numbers[0], name}, Look: func(m *tape.Message) Looked {
		var x struct {
			Type string
			ID   json.RawMessage
		}
		_ = json.Unmarshal(m.Payload, &x) // what is no JSON has neither
		return Looked{Kind: x.Type, Key: string(x.ID), Skip: x.Type == "skipped"}
	}}
}

func diffText(t testing.TB, a, b string, m Matching) *Diff {
	t.Helper()
	d, err := Compare(context.Background(), diffSource(t, "a", a), diffSource(t, "b", b), m)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// brief writes what a diff says, a line for each message.
func (d *Diff) brief() (out []string) {
	places := func(diff []Difference) string {
		var all []string
		for _, x := range diff {
			all = append(all, fmt.Sprintf("%s %s|%s", x.Path, x.Want, x.Got))
		}
		return strings.Join(all, ", ")
	}
	if len(d.Handshake) > 0 {
		out = append(out, "handshake "+places(d.Handshake))
	}
	for _, x := range d.Changes {
		switch x.Kind {
		case Same:
			out = append(out, "= "+string(x.A.Content.Payload))
		case Edit:
			out = append(out, "~ "+places(x.Diff))
		case OnlyA:
			out = append(out, "- "+string(x.A.Content.Payload))
		case OnlyB:
			out = append(out, "+ "+string(x.B.Content.Payload))
		case Moved:
			out = append(out, "> "+string(x.A.Content.Payload))
		}
	}
	if len(d.Ending) > 0 {
		out = append(out, "ending "+places(d.Ending))
	}
	for _, note := range d.Notes {
		out = append(out, "! "+note)
	}
	return out
}

func TestCompareSessions(t *testing.T) {
	const (
		one = "6971d1e7-11b4-42ee-b574-806ad9f1b2c3"
		two = "0f1e2d3c-aa55-4b6c-9d7e-1234567890ab"
	)
	talk := func(id, other string) string {
		return at(1, "C", `{"type":"say","id":"`+id+`"}`) + at(2, "S", `{"type":"said","re":"`+other+`"}`)
	}
	call := func(id int, method string) string {
		return at(1, "C", fmt.Sprintf(`{"type":%q,"id":%d}`, method, id)) + at(2, "S", fmt.Sprintf(`{"type":"done","id":%d,"of":%q}`, id, method))
	}
	for name, c := range map[string]struct {
		a, b  string // behind the first line
		match Matching
		want  []string
	}{
		"the same": {a: at(1, "C", "hello") + at(2, "S", "hi"), b: at(5, "C", "hello") + at(6, "S", "hi"), want: []string{"= hello", "= hi"}},
		"the sides interleave otherwise": {
			a: at(1, "C", "1") + at(2, "C", "2") + at(3, "S", "3"), b: at(1, "S", "3") + at(2, "C", "1") + at(3, "C", "2"),
			want: []string{"= 1", "= 2", "= 3"},
		},
		"one more, one less": {
			a: at(1, "C", "1") + at(2, "C", "2") + at(3, "S", "3"), b: at(1, "C", "1") + at(2, "S", "3") + at(3, "S", `{"type":"new"}`),
			want: []string{"= 1", "- 2", "= 3", `+ {"type":"new"}`},
		},
		"a value": {
			a: at(1, "S", `{"type":"tick","price":1,"of":"BTC"}`), b: at(1, "S", `{"type":"tick","price":2.5,"of":"BTC"}`),
			want: []string{"~ $.price 1|2.5"},
		},
		"a value that is not there": {
			a: at(1, "S", `{"type":"tick","price":1}`), b: at(1, "S", `{"type":"tick","prices":[]}`),
			want: []string{"~ $.price 1|, $.prices |[]"},
		},
		"the most alike": {
			a:    at(1, "S", `{"type":"tick","of":"BTC","p":1}`) + at(2, "S", `{"type":"tick","of":"ETH","p":2}`),
			b:    at(1, "S", `{"type":"tick","of":"ETH","p":9}`),
			want: []string{`- {"type":"tick","of":"BTC","p":1}`, "~ $.p 2|9"},
		},
		"other types are other messages": {
			a: at(1, "S", `{"type":"a","v":1}`), b: at(1, "S", `{"type":"b","v":1}`),
			want: []string{`- {"type":"a","v":1}`, `+ {"type":"b","v":1}`},
		},
		"but not with one key": {
			a: at(1, "S", `{"type":"result","id":7}`), b: at(1, "S", `{"type":"error","id":7}`),
			want: []string{`~ $.type "result"|"error"`},
		},
		"two in another order": {
			a: at(1, "C", `{"type":"a"}`) + at(2, "C", `{"type":"b"}`) + at(3, "C", `{"type":"c"}`),
			b: at(1, "C", `{"type":"b"}`) + at(2, "C", `{"type":"c"}`) + at(3, "C", `{"type":"a"}`),
			want: []string{
				`> {"type":"a"}`, `= {"type":"b"}`, `= {"type":"c"}`,
			},
		},
		"spacing and order of JSON": {
			a: at(1, "C", `{"a":1,"b":2.0}`), b: at(1, "C", `{ "b": 2, "a": 1 }`),
			want: []string{`= {"a":1,"b":2.0}`},
		},
		"spacing and order of JSON, by bytes": {
			a: at(1, "C", `{"a":1}`), b: at(1, "C", `{"a": 1}`), match: Matching{Level: Bytes},
			want: []string{`~ byte 5 {"a":1}|{"a": 1}`},
		},
		"ignored": {
			a: at(1, "S", `{"type":"tick","price":1}`), b: at(1, "S", `{"type":"tick"}`), match: Matching{Ignore: []string{"$.price"}},
			want: []string{`= {"type":"tick","price":1}`},
		},
		"ignored, by bytes": {
			a: at(1, "S", `{"price":1}`), b: at(1, "S", `{"price":2}`), match: Matching{Level: Bytes, Ignore: []string{"$.price"}},
			want: []string{`= {"price":1}`},
		},
		"ids of this run": {a: talk(one, one), b: talk(two, two), want: []string{
			`= {"type":"say","id":"` + one + `"}`, `= {"type":"said","re":"` + one + `"}`,
		}},
		"ids of this run, by json": {a: talk(one, one), b: talk(two, two), match: Matching{Level: JSON}, want: []string{
			`~ $.id "` + one + `"|"` + two + `"`, `~ $.re "` + one + `"|"` + two + `"`,
		}},
		"an answer to something else": {a: talk(one, one), b: talk(two, one), want: []string{
			`= {"type":"say","id":"` + one + `"}`, `~ $.re "` + one + `"|"` + one + `"`,
		}},
		"small ids that are repeated": {a: call(1, "add") + call(2, "sub"), b: call(7, "add") + call(8, "sub"), want: []string{
			`= {"type":"add","id":1}`, `= {"type":"done","id":1,"of":"add"}`, `= {"type":"sub","id":2}`, `= {"type":"done","id":2,"of":"sub"}`,
		}},
		"one call less": {a: call(1, "add") + call(2, "sub") + call(3, "mul"), b: call(1, "add") + call(2, "mul"), want: []string{
			`= {"type":"add","id":1}`, `= {"type":"done","id":1,"of":"add"}`, `- {"type":"sub","id":2}`, `- {"type":"done","id":2,"of":"sub"}`,
			`= {"type":"mul","id":3}`, `= {"type":"done","id":3,"of":"mul"}`,
		}},
		"left out": {
			a: at(1, "S", `{"type":"skipped","n":1}`), b: at(1, "S", "x"), want: []string{"+ x"},
		},
		"dropped": {
			a: at(1, "S", "x"), b: `{"t":1,"from":"server","text":"x","fate":"dropped","by":"script:a.js"}` + "\n",
			want: []string{"~ fate passed|dropped"},
		},
		"text for binary": {
			a: at(1, "S", "abc"), b: `{"t":1,"from":"server","b64":"YWJj"}` + "\n", want: []string{"~ type text|binary"},
		},
		"bytes that are no text": {
			a: `{"t":1,"from":"server","b64":"AAECAwT/"}` + "\n", b: `{"t":1,"from":"server","b64":"AAECAwX/"}` + "\n",
			want: []string{"~ byte 4 00 01 02 03 04 ff|00 01 02 03 05 ff"},
		},
		"endings": {
			a: closing(1, "C", 1000, "done"), b: closing(1, "S", 1001, ""),
			want: []string{"ending code 1000|1001, reason done|, from client|server"},
		},
		"a gap": {
			a: at(1, "C", "x"), b: at(1, "C", "x") + `{"gap":{"frames":2,"bytes":9,"why":"full"},"t":2}` + "\n",
			want: []string{"= x", "! 2 frames of 9 bytes of b were not recorded, at 2s: full"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := diffText(t, session()+c.a, session()+c.b, c.match)
			if got := d.brief(); !cmp.Equal(got, c.want) {
				t.Errorf("%s", cmp.Diff(c.want, got))
			}
			same := !slices.ContainsFunc(c.want, func(line string) bool { return line[0] != '=' })
			if d.Equal() != same {
				t.Errorf("equal: %v, want %v", d.Equal(), same)
			}
		})
	}
}

func TestCompareHandshakes(t *testing.T) {
	const one, two = "6971d1e7-11b4-42ee-b574-806ad9f1b2c3", "0f1e2d3c-aa55-4b6c-9d7e-1234567890ab"
	for name, c := range map[string]struct {
		a, b  []string // keys of the session
		level Level
		want  []string
	}{
		"target": {
			a: []string{`"url":"/a?x=1&y=2"`}, b: []string{`"url":"/b?y=3&z=4"`},
			want: []string{"handshake target /a|/b, ?x 1|, ?y 2|3, ?z |4"},
		},
		"a token in the query":           {a: []string{`"url":"/a?t=` + one + `"`}, b: []string{`"url":"/a?t=` + two + `"`}},
		"a token in the query, by bytes": {a: []string{`"url":"/a?t=` + one + `"`}, b: []string{`"url":"/a?t=` + two + `"`}, level: Bytes, want: []string{"handshake ?t " + one + "|" + two}},
		"what was agreed on": {
			a: []string{`"subprotocol":"v1"`}, b: []string{`"subprotocol":"v2"`, `"extensions":"permessage-deflate"`},
			want: []string{"handshake subprotocol v1|v2, extensions |permessage-deflate"},
		},
		"refused": {
			a: nil, b: []string{`"status":403`, `"state":"refused"`, `"response":{"status":403,"body_b64":"bm8="}`},
			want: []string{"handshake status 101|403, body, byte 0 |no", "ending kind eof|"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := diffText(t, session(c.a...), session(c.b...), Matching{Level: c.level}).brief(); !cmp.Equal(got, c.want) {
				t.Errorf("%s", cmp.Diff(c.want, got))
			}
		})
	}
}

func TestCompareRulesOfCassettes(t *testing.T) {
	a := session(`"rules":{"ignore":[{"path":"$.price","from":"server"}]}`) + at(1, "S", `{"price":1}`) + at(2, "C", `{"price":1}`)
	b := session(`"rules":{"ignore":["$.n"]}`) + at(1, "S", `{"price":2,"n":1}`) + at(2, "C", `{"price":3}`)
	for _, swapped := range []bool{false, true} {
		want := []string{`= {"price":1}`, "~ $.price 1|3"}
		if swapped {
			a, b = b, a
			want = []string{`= {"price":2,"n":1}`, "~ $.price 3|1"}
		}
		if got := diffText(t, a, b, Matching{}).brief(); !cmp.Equal(got, want) {
			t.Errorf("%s", cmp.Diff(want, got))
		}
	}
	_, err := Compare(context.Background(), diffSource(t, "a", session(`"rules":{"ignore":["price"]}`)), diffSource(t, "b", session()), Matching{})
	if err == nil || !strings.Contains(err.Error(), "a: rules: ignore 1: pattern") {
		t.Errorf("a wrong rule gives %v", err)
	}
}

// TestCompareMutated holds sessions against themselves, and against what is left
// of them when one message is left out, changed, added or changes its place.
func TestCompareMutated(t *testing.T) {
	forSeeds(t, 15, func(t *testing.T, rng *rand.Rand) {
		var lines []string
		var from []tape.Side
		for i := range 2 + rng.IntN(60) {
			who := []string{"C", "S"}[rng.IntN(2)]
			// The number makes each message another one, but not another id.
			what := fmt.Sprintf(`{"type":"t%d","n":%d,"list":[%d,"a"]}`, rng.IntN(3), i, rng.IntN(4))
			lines = append(lines, at(float64(i), who, what))
			from = append(from, side(who))
		}
		join := func(list []string) string { return session() + strings.Join(list, "") }
		for _, level := range []Level{Bytes, JSON, Shape} {
			if d := diffText(t, join(lines), join(lines), Matching{Level: level}); !d.Equal() || d.Counts[Same] != len(lines) {
				t.Fatalf("%s: a session is not equal to itself: %q", level, d.brief())
			}
			k := rng.IntN(len(lines))
			number := fmt.Sprintf(`"n":%d,`, k)
			// check wants the one change, of that message, and that all others are equal.
			check := func(what string, d *Diff, kind DiffKind, equal int) {
				t.Helper()
				if d.Equal() || d.Counts[kind] != 1 || d.Counts[Same] != equal || len(d.Changes) != equal+1 {
					t.Fatalf("%s: %s message %d: %q", level, what, k, d.brief())
				}
				x := d.Changes[slices.IndexFunc(d.Changes, func(x Change) bool { return x.Kind == kind })]
				said := x.A
				if said == nil {
					said = x.B
				}
				if !bytes.Contains(said.Content.Payload, []byte(number)) {
					t.Fatalf("%s: %s message %d is told of %s", level, what, k, said.Content.Payload)
				}
			}
			less := slices.Delete(slices.Clone(lines), k, k+1)
			check("without", diffText(t, join(lines), join(less), Matching{Level: level}), OnlyA, len(less))
			check("with", diffText(t, join(less), join(lines), Matching{Level: level}), OnlyB, len(less))

			edited := slices.Clone(lines)
			edited[k] = strings.Replace(edited[k], `\"a\"`, `\"b\"`, 1)
			d := diffText(t, join(lines), join(edited), Matching{Level: level})
			check("with another", d, Edit, len(lines)-1)
			if i := slices.IndexFunc(d.Changes, func(x Change) bool { return x.Kind == Edit }); level != Bytes {
				if want := []Difference{{"$.list[1]", `"a"`, `"b"`}}; !cmp.Equal(d.Changes[i].Diff, want) {
					t.Fatalf("%s: %v, want %v", level, d.Changes[i].Diff, want)
				}
			}
			if next := k + 1 + slices.Index(from[k+1:], from[k]); next > k {
				swapped := slices.Clone(lines)
				swapped[k], swapped[next] = swapped[next], swapped[k]
				if d := diffText(t, join(lines), join(swapped), Matching{Level: level}); d.Equal() || d.Counts[Moved] != 1 || d.Counts[Same] != len(lines)-1 {
					t.Fatalf("%s: messages %d and %d swapped: %q", level, k, next, d.brief())
				}
			}
		}
	})
}

func TestCompareBounds(t *testing.T) {
	// What is too long to be taken apart is compared as bytes.
	long := strings.Repeat("x", MaxDiffJSON)
	d := diffText(t, session()+at(1, "S", `{"a":1,"b":"`+long+`"}`), session()+at(1, "S", `{"a": 1,"b":"`+long+`"}`), Matching{})
	if len(d.Changes) != 1 || d.Changes[0].Kind != Edit || d.Changes[0].Diff[0].Path != "byte 5" {
		t.Errorf("long messages with other spacing: %v", d.Counts)
	}
	// Of what is too much the rest is left out, and said.
	a := &told{plan: &Plan{rules: &rules{level: Shape}}}
	for range 2 * maxNotes {
		a.note("gap")
	}
	if len(a.notes) != maxNotes+1 || a.notes[maxNotes] != "and more" {
		t.Errorf("%d notes", len(a.notes))
	}
}
