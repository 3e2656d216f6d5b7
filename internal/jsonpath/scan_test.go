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

// leaves lists the leaves of a document with their paths.
func leaves(b []byte, from, to int, at Path, out []string) []string {
	if b[from] != '{' && b[from] != '[' {
		return append(out, at.String()+"="+string(b[from:to]))
	}
	for seg, span := range Inside(b, from, to) {
		out = leaves(b, span[0], span[1], append(at[:len(at):len(at)], seg), out)
	}
	return out
}

func TestInside(t *testing.T) {
	text := ` { "a" : 1 , "to\u006ben":[ "x]" , {"b":{}} ,[ ], -2e5 ] , "a":"\"}" } `
	got := leaves([]byte(text), 1, len(text)-1, nil, nil)
	want := []string{"$.a=1", `$.token[0]="x]"`, "$.token[3]=-2e5", `$.a="\"}"`}
	if !reflect.DeepEqual(got, want) {
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
		if valueEnd(b[:end], 0) != end {
			t.Errorf("%q ends at %d, not %d", b[:end], valueEnd(b[:end], 0), end)
		}
		leaves(b, 0, end, nil, nil)
		if b[0] == '"' {
			var want string
			if err := json.Unmarshal(b[:end], &want); err != nil || string(Unquote(b[:end])) != want {
				t.Errorf("%q is %q, want %q", b[:end], Unquote(b[:end]), want)
			}
			Offset(b[:end], len(want))
		}
	})
}
