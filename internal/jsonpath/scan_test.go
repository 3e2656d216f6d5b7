package jsonpath

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestScanFindsTheEnd(t *testing.T) {
	for _, c := range []struct {
		text string
		end  int
		ok   bool
	}{
		{`{}`, 2, true},
		{`[1,2] rest`, 5, true},
		{`{"a": [true, null , "x\"\u00e9"]}` + "\x1e", 33, true},
		{`"a" b`, 3, true},
		{`-1.5e+3,`, 7, true},
		{`[INFO] x`, 1, false},
		{`{"a":1`, 6, false},
		{`{"a":1,}`, 7, false},
		{`{a:1}`, 1, false},
		{`["` + "\n" + `"]`, 2, false},
		{`["\q"]`, 2, false},
		{`["\u12"]`, 2, false},
		{`[01]`, 2, false},
		{``, 0, false},
		{strings.Repeat("[", MaxDepth+2), MaxDepth + 1, false},
		{strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth), 2 * MaxDepth, true},
	} {
		if end, ok := Scan([]byte(c.text)); end != c.end || ok != c.ok {
			t.Errorf("%.40q: %d, %v; want %d, %v", c.text, end, ok, c.end, c.ok)
		}
	}
}

// leaves lists the leaves of a document with their paths, and what stands below
// the key "whole" in one.
func leaves(b []byte, from int) (out []string, end int) {
	var at Path
	end = Walk(b, from, &at, func(i int) int {
		if (b[i] == '{' || b[i] == '[') && (len(at) == 0 || at[len(at)-1].Key != "whole") {
			return 0
		}
		end := End(b, i)
		out = append(out, at.String()+"="+string(b[i:end]))
		return end
	})
	return out, end
}

func TestWalk(t *testing.T) {
	text := ` { "a" : 1 , "to\u006ben":[ "x]" , {"b":{}} ,[ ], -2e5 ] , "a":"\"}", "whole":[ 1, {}] } `
	got, end := leaves([]byte(text), 1)
	want := []string{"$.a=1", `$.token[0]="x]"`, "$.token[3]=-2e5", `$.a="\"}"`, `$.whole=[ 1, {}]`}
	if !reflect.DeepEqual(got, want) || end != len(text)-1 {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestOffset(t *testing.T) {
	quoted := []byte(`"a\u0062é\ud83d\ude00\/\nz"`)
	plain := Unquote(quoted)
	if string(plain) != "abé😀/\nz" {
		t.Fatalf("%q", plain)
	}
	for at, r := range string(plain) {
		rest := append([]byte{'"'}, quoted[Offset(quoted, at):]...)
		if got, _ := utf8.DecodeRune(Unquote(rest)); got != r {
			t.Errorf("at %d stands %q, want %q", at, got, r)
		}
	}
	if end := Offset(quoted, len(plain)); end != len(quoted)-1 {
		t.Errorf("the end is %d of %d", end, len(quoted))
	}
}

// FuzzScan compares with encoding/json, and walks what is found.
func FuzzScan(f *testing.F) {
	for _, text := range []string{`{"a":[1,{"b":"\ud800"}],"a":null} x`, `[[[`, `"\u00`, "\"\xff\"", `[1 , 2 ]`, `-0.0e-1`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		end, ok := Scan(b)
		if end > len(b) {
			t.Fatalf("the end is %d of %d", end, len(b))
		}
		if !ok {
			if json.Valid(b) && bytes.Count(b, []byte("["))+bytes.Count(b, []byte("{")) <= MaxDepth && Space(b, 0) == 0 {
				t.Errorf("%q is JSON", b)
			}
			return
		}
		if !json.Valid(b[:end]) {
			t.Fatalf("%q is not JSON", b[:end])
		}
		if End(b[:end], 0) != end {
			t.Errorf("%q ends at %d, not %d", b[:end], End(b[:end], 0), end)
		}
		if _, got := leaves(b[:end], 0); got != end {
			t.Errorf("%q was walked to %d", b[:end], got)
		}
		if b[0] == '"' {
			var want string
			if err := json.Unmarshal(b[:end], &want); err != nil || string(Unquote(b[:end])) != want {
				t.Errorf("%q is %q, want %q", b[:end], Unquote(b[:end]), want)
			}
			Offset(b[:end], len(want))
		}
	})
}
