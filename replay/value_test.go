package replay

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// leaves writes what a message is taken apart into: path, kind, and the bytes
// that it stands in.
func leaves(payload string) (out []string) {
	c := text(payload)
	v := look(&c)
	for _, l := range v.leaves {
		out = append(out, fmt.Sprintf("%v %c %s", l.path, l.kind, payload[l.start:l.end]))
	}
	if v.text {
		out = append(out, "text")
	}
	return out
}

func TestLook(t *testing.T) {
	for _, c := range []struct {
		payload string
		want    []string
	}{
		{`{"a":1,"b":["x",true,false,null,{},[]]}`, []string{`$.a n 1`, `$.b[0] s "x"`, `$.b[1] t true`, `$.b[2] f false`, `$.b[3] z null`, `$.b[4] { {}`, `$.b[5] [ []`}},
		{" \t{ \"a\" :\r\n-1.50e+3 } ", []string{"$.a n -1.50e+3"}},
		{`"x"`, []string{`$ s "x"`}},
		{`[ { } , [ ] ]`, []string{"$[0] { { }", "$[1] [ [ ]"}},
		{`{"":{"":1}}`, []string{`$[""][""] n 1`}},
		{`1 2`, []string{"$ s 1 2", "text"}},
		{`{"a":1}x`, []string{`$ s {"a":1}x`, "text"}},
		{`{"a":1,}`, []string{`$ s {"a":1,}`, "text"}},
		{`[1,]`, []string{`$ s [1,]`, "text"}},
		{`[1 2]`, []string{`$ s [1 2]`, "text"}},
		{`{1:2}`, []string{`$ s {1:2}`, "text"}},
		{`01`, []string{`$ s 01`, "text"}},
		{`NaN`, []string{`$ s NaN`, "text"}},
		{``, []string{"$ s ", "text"}},
		{"\uFEFF{}", []string{"$ s \uFEFF{}", "text"}},
		{`42["a",1]`, []string{`$["(type)"] n 42`, `$[0] s "a"`, `$[1] n 1`}},
		{`4217["a"]`, []string{`$["(type)"] n 42`, `$["(id)"] n 17`, `$[0] s "a"`}},
		{`451-/adm,17[{"_placeholder":true}]`, []string{`$["(type)"] n 45`, `$["(attachments)"] n 1`, `$["(namespace)"] s /adm`, `$["(id)"] n 17`, `$[0]._placeholder t true`}},
		{`40{"sid":"x"}`, []string{`$["(type)"] n 40`, `$.sid s "x"`}},
		{`42["a"`, []string{`$ s 42["a"`, "text"}},
	} {
		if got := leaves(c.payload); !slices.Equal(got, c.want) {
			t.Errorf("%q:\n got %q\nwant %q", c.payload, got, c.want)
		}
	}
}

func TestCanonical(t *testing.T) {
	for _, group := range [][]string{
		{"1", "1.0", "1e0", "10e-1", "0.1E+1", "0.01e2"},
		{"0", "-0", "0.0", "0e5", "-0.000e-7"},
		{"-150", "-1.5e2", "-150.00", "-15E1"},
		{"12345678901234567890"}, {"12345678901234567891"},
		{"1e999999999999999999"}, {"1e999999999999999998"}, {"1e2147483648"}, {"-1"},
	} {
		for _, n := range group[1:] {
			if canonical(n) != canonical(group[0]) {
				t.Errorf("%s is %s, but %s is %s", n, canonical(n), group[0], canonical(group[0]))
			}
		}
	}
	seen := map[string]string{}
	for _, n := range []string{"1", "0", "-150", "12345678901234567890", "12345678901234567891", "1e999999999999999999", "1e999999999999999998", "1e2147483648", "-1", "10", "1e-1", "0.5"} {
		if other, ok := seen[canonical(n)]; ok {
			t.Errorf("%s and %s are both %s", n, other, canonical(n))
		}
		seen[canonical(n)] = n
	}
}

func FuzzLook(f *testing.F) {
	for _, s := range []string{`{"a":[1,"x",null,{},[ ]],"b":-1.5e+3}`, `4217["a",{"b":"\u00e9\ud800"}]`, `451-/adm,17[]`, "alice: hi", "\xff", strings.Repeat("[", 300), `["\ud83d\ude00"]`, " 1 "} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		c := text(string(payload))
		v := look(&c)
		last := 0
		for i, l := range v.leaves {
			if l.start < last || l.end < l.start || l.end > len(payload) {
				t.Fatalf("%q: leaf %d stands at %d..%d, the one before it ends at %d", payload, i, l.start, l.end, last)
			}
			last = l.end
			raw := payload[l.start:l.end]
			if v.text || len(l.path) > 0 && strings.HasPrefix(l.path[0].Key, "(") && l.text == string(raw) {
				continue // the whole text, or a part of a Socket.IO packet's head
			}
			again, ok := jsonLeaves(raw, 0, nil)
			if !ok || len(again) != 1 || again[0].scalar != l.scalar {
				t.Fatalf("%q: the leaf %v, which is %q, reads as %v", payload, l, raw, again)
			}
			if spelled, ok := jsonLeaves(spell(l.scalar, true), 0, nil); !ok || spelled[0].scalar != l.scalar {
				t.Fatalf("%q: the leaf %v is spelled %s", payload, l, spell(l.scalar, true))
			}
		}
		if isJSON := json.Valid(payload) && utf8.Valid(payload); v.text && isJSON && bytes.Count(payload, []byte("["))+bytes.Count(payload, []byte("{")) < maxDepth && !bytes.Contains(bytes.ToLower(payload), []byte(`\u`)) {
			t.Fatalf("%q counts as text", payload)
		} else if !v.text && len(v.leaves) > 0 && v.leaves[0].start == 0 && !isJSON && (payload[0] < '0' || payload[0] > '6') {
			t.Fatalf("%q counts as JSON", payload)
		}
	})
}
