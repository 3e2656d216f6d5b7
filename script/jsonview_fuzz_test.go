package script

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
)

// FuzzJSONView changes the value of a random text by a random program.
func FuzzJSONView(f *testing.F) {
	rng := rand.New(rand.NewPCG(9, 10))
	for i := range 50 {
		f.Add([]byte(randomJSON(rng, 4, false)), []byte{byte(i), byte(i), byte(i), byte(i * 3), byte(i + 7), 1})
	}
	f.Fuzz(func(t *testing.T, text, program []byte) {
		if len(text) > 1<<12 || len(program) > 60 {
			return // slow, and no different
		}
		checkJSONMutation(t, text, program)
	})
}

// FuzzParseJSON compares what the parser accepts with encoding/json.
func FuzzParseJSON(f *testing.F) {
	rng := rand.New(rand.NewPCG(11, 12))
	for range 50 {
		f.Add([]byte(randomJSON(rng, 4, false)))
	}
	for _, text := range []string{"", "01", `"\u12`, "[1,]", `{"a":1,}`, "1e+", "-", "\ufeff1", "nulL", "\"\x1f\""} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		tree, ok := parseJSON(text)
		if want := json.Valid(text); ok != want && !jsonTooDeep(text) {
			t.Fatalf("%q: got %v, want %v", text, ok, want)
		}
		for i := range tree.nodes {
			if n := &tree.nodes[i]; !json.Valid(text[n.start:n.end]) {
				t.Fatalf("%q: node %d is %q", text, i, text[n.start:n.end])
			}
		}
	})
}

// jsonTooDeep says whether text may be refused for its depth.
func jsonTooDeep(text []byte) bool {
	open := 0
	for _, c := range text {
		if c == '[' || c == '{' {
			open++
		}
	}
	return open > maxJSONDepth
}
