package filter

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/tape"
)

func TestWhatIsNeeded(t *testing.T) {
	tests := []struct {
		filter, payload string
		want            bool // it may hold
	}{
		{`json.type == "x"`, `{"type":"x"}`, true},
		{`json.type == "x"`, `{"type":"xx"}`, false},
		{`json.type == "x"`, `{"kind":"x"}`, false},
		{`json.type == "x"`, `{"kind":"\u0078"}`, true}, // escaped it might be anything
		{`json.a.b == 5`, `{"a":{"b":7}}`, false},
		{`json.a.b == 5`, `{"a":{"b" : 50e-1 }}`, true},
		{`5 == json.a`, `{"a":"5"}`, false},
		{`json.a == 5`, `{"a":7,"b":{"a":5}}`, true}, // it is not known which one is meant
		{`json.a == 5`, `{"a":7,"\u0061":5}`, true},
		{`json.a == 5`, `{"a":7,"b":"\n"}`, false}, // no letter is written like that
		{`json["/"] == 5`, `{"\/":5}`, true},
		{`json[","] == 5`, `{"a":"b",",":5}`, true},
		{`json.a == -5`, `{"a":5}`, false},
		{`json.a == -5`, `{"a":-5}`, true},
		{`json.a == true`, `{"a":false}`, false},
		{`json.a == true`, `{"a": true}`, true},
		{`json.a[0] == 5`, `{"a":[5]}`, true},
		{`json.a == 5 and json.b == 5`, `{"a":5,"b":6}`, false},
		{`json.a.b == 5`, `{"a":{"c":5}}`, false},
		{`json.a.b > 5`, `{"a":7}`, false},
		{`json.a > 5`, `{"a":5}`, false},
		{`json.a > 5`, `{"a":5.1}`, true},
		{`5 > json.a`, `{"a":5}`, false},
		{`5 > json.a`, `{"a":4}`, true},
		{`json.a > json.b`, `{"a":"b","b":"a"}`, true},
		{`json.a == nil`, `{}`, true},
		{`json.a != "x"`, `{}`, true},
		{`not (json.a == "x")`, `{}`, true},
		{`json.a == json.b`, `{}`, true},
		{`(json.a ?? "x") == "x"`, `{}`, true},
		{`json.type startsWith "ab"`, `{"type":"abc"}`, true},
		{`json.type startsWith "ab"`, `{"type":"cab"}`, false},
		{`json.type endsWith "bc"`, `{"type":"abcd"}`, false},
		{`json.type in ["x", "y"]`, `{"type":"y"}`, true},
		{`json.type in ["x", "y"]`, `{"type":"z"}`, false},
		{`json.type in ["x", nil]`, `{}`, true},
		{`json.type == "x" || len > 3`, `{}`, true},
		{`json.type == "x" && len > 3`, `{}`, false},
		{`json.type == "x" or json.type == "y"`, `{"type":"z"}`, false},
		{`text contains "BTC"`, `ETH`, false},
		{`text contains "BTC" and from == "client"`, `a BTC`, true},
		{`not (text contains "BTC")`, `a`, true},
		{`text not contains "BTC"`, `a`, true},
		{`let text2 = "x"; text2 contains "x"`, `a`, true},
		{"json.a == \"\ufffd\"", "{\"a\":\"\xff\"}", true},
	}
	for _, test := range tests {
		f, err := Compile(test.filter)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.needs.in([]byte(test.payload)); got != test.want {
			t.Errorf("%s may hold for %s: %v", test.filter, test.payload, got)
		}
	}
}

// TestNothingThatHoldsIsNeededAway compares filters with those that look at
// every message, and at all of it.
func TestNothingThatHoldsIsNeededAway(t *testing.T) {
	rng := wstest.Rand(t)
	held := 0
	for range 500 {
		text := randomFilter(rng, 3)
		f, err := Compile(text)
		if err != nil {
			continue // a string is never a number
		}
		naive, err := Compile(text)
		if err != nil {
			t.Fatal(err)
		}
		naive.needs, naive.json = need{}, &member{all: true}
		for range 20 {
			m := &tape.Message{Content: tape.Content{Op: []tape.Opcode{tape.Text, tape.Binary}[rng.IntN(2)], Payload: randomJSON(rng)}}
			got, want := f.Match(&Subject{Message: m}), naive.Match(&Subject{Message: m})
			if got != want {
				t.Fatalf("%s for %s: %v, should be %v", text, m.Payload, got, want)
			}
			if want {
				held++
			}
		}
	}
	if held < 100 {
		t.Errorf("only %d held", held)
	}
}

func pick(rng *rand.Rand, of ...string) string { return of[rng.IntN(len(of))] }

func words() []string {
	return []string{"", "a", "b", "ab", "é", "\"", "\\", "\n", "\ufffd", "5", "5.0", "a\"b", "<"}
}

func randomFilter(rng *rand.Rand, depth int) string {
	if depth > 0 && rng.IntN(2) == 0 {
		if rng.IntN(6) == 0 {
			return "not (" + randomFilter(rng, depth-1) + ")"
		}
		return "(" + randomFilter(rng, depth-1) + pick(rng, ") && (", ") || (", ") and (", ") or (") + randomFilter(rng, depth-1) + ")"
	}
	field := pick(rng, "text", "json", "json.a", "json.b", "json.a.b", "json[0]", "json.a[0].b", `json["a b"]`, `json[","]`, "json?.a", "(json.a ?? json.b)")
	word := strconv.Quote(pick(rng, words()...))
	switch rng.IntN(7) {
	case 6:
		return pick(rng, `any(json.list ?? [1], # == "a")`, `any(keys(json.a ?? {}), # == "b")`, `json?.a?.b?.a == "a"`, `len(json.a ?? "") > 1`,
			`let x = json; x.a == "a"`, `(json | type()) == "map"`, `$env.json.a == "a"`, `"b" in (json.a ?? {})`, `json.a.b.a == nil`)
	case 0:
		return field + " in [" + word + ", " + strconv.Quote(pick(rng, words()...)) + pick(rng, "", ", nil", ", 5") + "]"
	case 1:
		return field + pick(rng, " == ", " != ") + pick(rng, "5", "5.0", "true", "nil", "json.b", "-5")
	case 2:
		field, operator, with := "json.a", pick(rng, " < ", " <= ", " > ", " >= "), pick(rng, "5", "-5", "0.0", "json.b", `"b"`)
		if rng.IntN(2) == 0 {
			field, with = with, field
		}
		return field + operator + with
	case 3:
		return word + " == " + field
	}
	return field + pick(rng, " == ", " != ", " contains ", " startsWith ", " endsWith ") + word
}

// randomJSON is JSON as others write it: with escapes, spaces and keys twice, or
// bytes that are none.
func randomJSON(rng *rand.Rand) []byte {
	text := randomValue(rng, 3)
	if rng.IntN(10) == 0 {
		text = strings.Replace(text, "a", "\xff", 1)
	}
	return []byte(text)
}

func randomValue(rng *rand.Rand, depth int) string {
	switch n := rng.IntN(8); {
	case n < 3 && depth > 0:
		var members []string
		for range rng.IntN(4) {
			members = append(members, randomString(rng, pick(rng, "a", "b", "a b", ","))+pick(rng, ":", " : ")+randomValue(rng, depth-1))
		}
		return "{" + strings.Join(members, ",") + "}"
	case n == 3 && depth > 0:
		return "[" + randomValue(rng, depth-1) + ", " + randomValue(rng, depth-1) + "]"
	case n == 4:
		return pick(rng, "5", "5.0", "50e-1", "1e999", "-0", "true", "null", "-5")
	}
	return randomString(rng, pick(rng, words()...))
}

func randomString(rng *rand.Rand, s string) string {
	if rng.IntN(4) > 0 {
		text, err := json.Marshal(s)
		if err != nil {
			panic(err) // a string always can
		}
		return string(text)
	}
	var b strings.Builder
	for _, r := range s {
		fmt.Fprintf(&b, `\u%04x`, r)
	}
	return `"` + b.String() + `"`
}
