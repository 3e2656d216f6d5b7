package replay

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/wstape/wstape/tape"
)

// differences compares a live message with a recorded one, which the other side
// of the player said.
func differences(t testing.TB, want, got tape.Content, matching Matching) []string {
	t.Helper()
	rules, err := matching.rules(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &Plan{Role: tape.Server, Session: tape.Session{Started: began()}, rules: rules}
	b := planner{plan: p}
	b.add(Step{From: tape.Client, Content: want})
	x := comparison{p, newBindings(&links{}), replayed()}
	diff, _ := x.compare(&p.Steps[0], &got)
	var out []string
	for _, d := range diff {
		out = append(out, fmt.Sprintf("%s %s -> %s", d.Path, d.Want, d.Got))
	}
	return out
}

func TestCompare(t *testing.T) {
	deep := func(n int, inside string) string { return strings.Repeat("[", n) + inside + strings.Repeat("]", n) }
	const same = ""
	for _, c := range []struct {
		name, want, got, json string
	}{
		{"the same", `{"a":1}`, `{"a":1}`, same},
		{"order of keys", `{"a":1,"b":{"c":[2],"d":null}}`, `{"b":{"d":null,"c":[2]},"a":1}`, same},
		{"order of an array", `[1,2]`, `[2,1]`, "$[0] 1 -> 2, $[1] 2 -> 1"},
		{"spacing", `{"a":[1,2]}`, " {\t\"a\" :\n[ 1 , 2 ] } \r\n", same},
		{"escapes", `["\u00e9\/\n"]`, "[\"é/\\u000a\"]", same},
		{"numbers that are the same", `[1.0,1e2,-0.50,0,100E-2,12e0]`, `[1,100,-5e-1,-0.0,1.00,1.2e+1]`, same},
		{"big integers", `[12345678901234567890]`, `[12345678901234567891]`, "$[0] 12345678901234567890 -> 12345678901234567891"},
		{"integers beyond 2^53", `{"n":9007199254740993}`, `{"n":9007199254740992}`, "$.n 9007199254740993 -> 9007199254740992"},
		{"huge exponents", `[1e999999999999]`, `[1e999999999998]`, "$[0] 1e999999999999 -> 1e999999999998"},
		{"number and string", `[1]`, `["1"]`, `$[0] 1 -> "1"`},
		{"true and string", `[true]`, `["true"]`, `$[0] true -> "true"`},
		{"null and nothing", `{"a":null}`, `{}`, "$.a null -> , $  -> {}"},
		{"key that is missing", `{"a":1,"b":2}`, `{"a":1}`, "$.b 2 -> "},
		{"key too many", `{"a":1}`, `{"a":1,"b":"x"}`, `$.b  -> "x"`},
		{"empty object and missing", `{"a":{},"b":1}`, `{"b":1}`, "$.a {} -> "},
		{"empty object and empty array", `{"a":{}}`, `{"a":[]}`, "$.a {} -> []"},
		{"empty object and null", `{"a":{}}`, `{"a":null}`, "$.a {} -> null"},
		{"object that is empty now", `{"a":{"b":1}}`, `{"a":{}}`, "$.a.b 1 -> , $.a  -> {}"},
		{"longer array", `[1]`, `[1,2]`, "$[1]  -> 2"},
		{"shorter array", `[1,2]`, `[1]`, "$[1] 2 -> "},
		{"duplicate keys", `{"a":1,"a":2}`, `{"a":1,"a":2}`, same},
		{"one of two duplicate keys", `{"a":1,"a":2}`, `{"a":1}`, "$.a 2 -> "},
		{"duplicate keys in another order", `{"a":1,"a":2}`, `{"a":2,"a":1}`, "$.a 1 -> 2, $.a 2 -> 1"},
		{"key that is an index", `{"0":1}`, `[1]`, `$["0"] 1 -> , $[0]  -> 1`},
		{"deep", deep(200, "1"), deep(200, "2"), "$" + strings.Repeat("[0]", 200) + " 1 -> 2"},
		{"too deep, the same", deep(10000, "1"), deep(10000, "1"), same},
		{"too deep, another", deep(10000, "1"), deep(10000, "2"), "byte 10000 …[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]… -> …[[[[[[[[[[[[[[[[[[[[[[[[2]]]]]]]]]]]]]]]]]]]]]]]…"},
		{"deep and never closed", strings.Repeat("[", 10000), strings.Repeat("[", 10001), "byte 10000 …[[[[[[[[[[[[[[[[[[[[[[[[ -> …[[[[[[[[[[[[[[[[[[[[[[[[["},
		{"plain text", "alice: hi", "alice: ho", "byte 8 alice: hi -> alice: ho"},
		{"text and JSON", "hello", `"hello"`, `byte 0 hello -> "hello"`},
		{"empty", "", "", same},
		{"empty and not", "", "x", "byte 0  -> x"},
		{"invalid UTF-8", "a\xffb", "a\xfeb", "byte 1 a\uFFFDb -> a\uFFFDb"},
		{"invalid UTF-8 in JSON", "{\"a\":\"\xff\"}", "{\"a\":\"\xfe\"}", "byte 6 {\"a\":\"\uFFFD\"} -> {\"a\":\"\uFFFD\"}"},
		{"invalid UTF-8 in a key", "{\"\xff\":1}", "{\"\xfe\":1}", "byte 2 {\"\uFFFD\":1} -> {\"\uFFFD\":1}"},
		{"lone surrogates", `["\ud800"]`, `["\ud801"]`, `byte 7 ["\ud800"] -> ["\ud801"]`},
		{"the replacement character", `["\ufffd"]`, "[\"\uFFFD\"]", same},
		{"Socket.IO, spacing", `421["a",{"b":1}]`, `421[ "a", {"b":1.0} ]`, same},
		{"Socket.IO, another event", `421["a"]`, `421["b"]`, `$[0] "a" -> "b"`},
		{"Socket.IO, another type", `421["a"]`, `431["a"]`, `$["(type)"] 42 -> 43`},
		{"Socket.IO, another namespace", `42/a,["a"]`, `42/b,["a"]`, `$["(namespace)"] "/a" -> "/b"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, level := range []Level{JSON, Shape, Script} {
				if got := strings.Join(differences(t, text(c.want), text(c.got), Matching{Level: level}), ", "); got != c.json {
					t.Errorf("%s: %.300s -> %.300s:\n got %s\nwant %s", level, c.want, c.got, got, c.json)
				}
			}
			if got := differences(t, text(c.want), text(c.got), Matching{Level: Bytes}); (len(got) == 0) != (c.want == c.got) {
				t.Errorf("bytes: %.300s -> %.300s: %s", c.want, c.got, got)
			}
		})
	}
}

func TestCompareTypes(t *testing.T) {
	for _, level := range []Level{Bytes, JSON, Shape, Script} {
		if got := differences(t, text(`{"a":1}`), binary(`{"a":1}`), Matching{Level: level}); !slices.Equal(got, []string{"type text -> binary"}) {
			t.Errorf("%s: %q", level, got)
		}
		if got := differences(t, binary("\x00\x01"), binary("\x00\x02"), Matching{Level: level}); len(got) != 1 || !strings.HasPrefix(got[0], "byte 1 ") {
			t.Errorf("%s: %q", level, got)
		}
	}
	if got := differences(t, binary(`{"a":1, "b":2}`), binary(`{"b":2,"a":1}`), Matching{Level: JSON}); len(got) > 0 {
		t.Errorf("JSON in binary messages: %q", got)
	}
}

// Each level accepts what the one before it does, and more.
func TestLadder(t *testing.T) {
	const uuid1, uuid2 = "0192f0c1-7b1c-7e55-9d6a-3f1b2c4d5e6f", "7d444840-9dc0-11d1-b245-5ffdce74fad2"
	levels := []Level{Bytes, JSON, Shape}
	for _, c := range []struct {
		want, got string
		from      int // the first level that accepts it
	}{
		{`{"a":1}`, `{"a":1}`, 0},
		{`{"a":1}`, `{ "a":1 }`, 1},
		{`{"key":"` + uuid1 + `"}`, `{"key":"` + uuid2 + `"}`, 2},
		{`{"ts":1774733400000}`, `{"ts":1795342272000}`, 2},
		{`{"at":"2026-03-28T21:30:00Z"}`, `{"at":"2026-11-22T10:11:12Z"}`, 2},
		{`{"price":1774733400000}`, `{"price":1795342272000}`, 3}, // no time by its name
		{`{"a":1}`, `{"a":2}`, 3},
		{"hello " + uuid1, "hello " + uuid2, 3}, // no JSON
	} {
		for i, level := range levels {
			if got := differences(t, text(c.want), text(c.got), Matching{Level: level}); (len(got) == 0) != (i >= c.from) {
				t.Errorf("%s: %s -> %s: %q", level, c.want, c.got, got)
			}
		}
	}
}

// A path may be ignored at every level, whether the value is there or not.
func TestIgnore(t *testing.T) {
	for _, c := range []struct {
		want, got string
		bytes     bool // also at the level bytes
		json      bool
	}{
		{`{"a":1,"price":2}`, `{"a":1,"price":3}`, true, true},
		{`{"a":1,"price":2}`, `{"a":1,"price":"x"}`, true, true},
		{`{"a":1,"price":2}`, `{"a":1}`, true, true},
		{`{"a":1}`, `{"a":1,"price":2}`, true, true},
		{`{"a":1,"price":{"b":2}}`, `{"a":1,"price":[3,4]}`, true, true},
		{`{"a":1,"price":2}`, `{"price":3,"a":1}`, false, true},
		{`{"a":1,"price":2}`, `{"a": 1,"price":3}`, false, true},
		{`{"a":1,"price":2}`, `{"a":1.0,"price":3}`, false, true},
		{`{"a":"\u00e9","price":2}`, `{"a":"\u00e9","price":3}`, true, true},
		{`{"a":"\u00e9","price":2}`, `{"a":"é","price":3}`, false, true},
		{`{"a":1,"price":2}`, `{"a":2,"price":2}`, false, false},
		{`{"a":1,"price":2}`, `{"a":1,"prices":2}`, false, false},
	} {
		for level, want := range map[Level]bool{Bytes: c.bytes, JSON: c.json, Shape: c.json} {
			if got := differences(t, text(c.want), text(c.got), Matching{Level: level, Ignore: []string{"$.price"}}); (len(got) == 0) != want {
				t.Errorf("%s: %s -> %s: %q", level, c.want, c.got, got)
			}
		}
	}
}

func FuzzCompare(f *testing.F) {
	for _, seeds := range [][2]string{{`{"a":[1,"x",null]}`, `{"a":[1.0,"x",null]}`}, {`{"a":1,"a":2}`, `{"a":2,"a":1}`}, {`42/a,7["x"]`, `42/a,8["x"]`}, {"\xff", ""}, {`["\ud800"]`, `["\ud801"]`}} {
		f.Add([]byte(seeds[0]), []byte(seeds[1]), true)
	}
	f.Fuzz(func(t *testing.T, a, b []byte, isText bool) {
		op := tape.Binary
		if isText {
			op = tape.Text
		}
		x, y := tape.Content{Op: op, Payload: a}, tape.Content{Op: op, Payload: b}
		for _, level := range []Level{Bytes, JSON, Shape} {
			if got := differences(t, x, x, Matching{Level: level}); len(got) > 0 {
				t.Errorf("%s: %q differs from itself: %q", level, a, got)
			}
			for _, ignore := range [][]string{{"$.nothing"}, {"$"}} {
				if got := differences(t, x, x, Matching{Level: level, Ignore: ignore}); len(got) > 0 {
					t.Errorf("%s, ignoring %s: %q differs from itself: %q", level, ignore, a, got)
				}
			}
		}
		there, back := differences(t, x, y, Matching{Level: JSON}), differences(t, y, x, Matching{Level: JSON})
		if (len(there) == 0) != (len(back) == 0) {
			t.Errorf("%q and %q: %q, the other way round %q", a, b, there, back)
		}
	})
}
