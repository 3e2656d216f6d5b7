package filter

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/wstape/wstape/tape"
)

// looked is what an expression looks at of a value that was decoded whole.
func looked(v any, m *member) any {
	object, ok := v.(map[string]any)
	if !ok || m.all {
		return v
	}
	out := map[string]any{}
	for _, one := range m.some {
		if x, ok := object[one.name]; ok {
			out[one.name] = looked(x, one)
		}
	}
	return out
}

func scanned() []string {
	return []string{
		`json.a == 5`, `json.a.b == "x"`, `json.a <= -0.5`, `1e3 < json.a`, `json.b == true`, `json.a == json.b`, `not (json.a.a.a == 5)`, `json["é"] == 5`,
		`json["/"] == 5`, `json[","] == 5`, `json.a.b > 1 or json.a[0] == 1`, `json == 5`, `json.b startsWith "x"`, "json[\"\ufffd\"] == nil", `(json.a ?? 5) == 5`,
	}
}

func FuzzScan(f *testing.F) {
	for _, text := range []string{
		`{"a":5}`, `{"a":{"b":"x"},"a":{"c":1}}`, `{"\u0061" : 5e0 , "b":true}`, `{"a":-0.5e+0,"é":5,"\/":5}`, "{\"\xff\":1,\"a\":\"\xff\"}", ` [ ] `, `5`,
		`{"a":1e999,"b":12345678901234567890}`, `{"a":01}`, `{"a":5,}`, `[1,]`, `{"a":"\x"}`, "{\"a\":\"\n\"}", `{"a":[1,{"b":2}],"b":"\ud83d\ude00\ud800"}`,
		`{"a":"b",",":5}`, `{"a":5}{"a":5}`, `{"a":tru}`, `{"a":-}`, `{"a":1.}`, `{"a":"\u00g0"}`, `{"a"`, ``, `{"a":{"a":{"a":5}},"a b":null}`, "\ufeff{}", "{\"a\":5}\x00",
	} {
		f.Add([]byte(text))
	}
	sameAsWhole := compareScans(f)
	f.Fuzz(func(t *testing.T, payload []byte) { sameAsWhole(t, payload) })
}

// What is too deep for encoding/json is too deep here.
func TestScanOfDeepJSON(t *testing.T) {
	sameAsWhole := compareScans(t)
	for _, depth := range []int{maxDeep, maxDeep + 1} {
		sameAsWhole(t, []byte(`{"a":5,"b":`+strings.Repeat(`[`, depth-2)+`{}`+strings.Repeat("]", depth-2)+`}`))
	}
}

// compareScans compares what is read of a payload with what encoding/json makes of
// it, and filters with those that look at every message, and at all of it.
func compareScans(t testing.TB) func(testing.TB, []byte) {
	var filters, naive []*Filter
	for _, text := range scanned() {
		for _, list := range []*[]*Filter{&filters, &naive} {
			one, err := Compile(text)
			if err != nil {
				t.Fatal(err)
			}
			*list = append(*list, one)
		}
		one := naive[len(naive)-1]
		one.needs, one.json = need{}, &member{all: true}
	}
	return func(t testing.TB, payload []byte) {
		var whole any
		_ = json.Unmarshal(payload, &whole)
		m := &tape.Message{Content: tape.Content{Op: tape.Text, Payload: payload}}
		for i, filter := range filters {
			var s scan
			for range 2 { // with memory that was used
				if got, want := s.read(payload, filter.json), looked(whole, filter.json); !reflect.DeepEqual(got, want) {
					t.Fatalf("%s looks at %#v of %q, should be %#v", scanned()[i], got, payload, want)
				}
				s.forget()
			}
			if got, want := filter.Match(&Subject{Message: m}), naive[i].Match(&Subject{Message: m}); got != want {
				t.Fatalf("%s for %q: %v, should be %v", scanned()[i], payload, got, want)
			}
		}
		s := scan{text: payload}
		s.space()
		_, ok := s.value(nil)
		s.space()
		if ok = ok && s.at == len(payload); ok != json.Valid(payload) {
			t.Fatalf("%q is valid: %v", payload, ok)
		}
	}
}
