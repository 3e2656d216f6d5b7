package jsonpath

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

// pathTo makes a path of keys and indexes.
func pathTo(steps ...any) Path {
	var p Path
	for _, s := range steps {
		switch s := s.(type) {
		case string:
			p = append(p, Seg{Key: s})
		case int:
			p = append(p, Seg{Index: s, IsIndex: true})
		}
	}
	return p
}

func TestPathText(t *testing.T) {
	for _, c := range []struct {
		path Path
		want string
	}{
		{pathTo(), `$`},
		{pathTo("a", 0, "odd key", "b"), `$.a[0]["odd key"].b`},
		{pathTo(0, math.MaxInt32), `$[0][2147483647]`},
		{pathTo("0", "a0", "_"), `$["0"].a0._`},
		{pathTo("", "*", "a-b", "größe"), `$[""]["*"]["a-b"]["größe"]`},
		{pathTo(`"\`), `$["\"\\"]`},
		{pathTo("\x1b[31m\n\u202e\U000e0001"), `$["\u001b[31m\u000a\u202e\udb40\udc01"]`},
		{pathTo("\xff\uFFFD"), `$["\xff` + "\uFFFD" + `"]`},
	} {
		if got := c.path.String(); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
		p, err := Parse(c.want)
		if err != nil || !p.Exactly(c.path) || p.String() != c.want {
			t.Errorf("%s: %v, %v", c.want, p, err)
		}
	}
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern string
		exactly []Path
		below   []Path
		not     []Path
	}{
		{`$`, []Path{pathTo()}, []Path{pathTo("a"), pathTo(0, "a")}, nil},
		{`$.a.b`, []Path{pathTo("a", "b")}, []Path{pathTo("a", "b", 0), pathTo("a", "b", "c", "d")}, []Path{pathTo(), pathTo("a"), pathTo("a", "c"), pathTo("b"), pathTo("x", "a", "b")}},
		{`$["a"]['b']`, []Path{pathTo("a", "b")}, nil, []Path{pathTo("a")}},
		{`$[0]`, []Path{pathTo(0)}, []Path{pathTo(0, "a")}, []Path{pathTo(1), pathTo("0")}},
		{`$["0"]`, []Path{pathTo("0")}, nil, []Path{pathTo(0)}},
		{`$.items[*].id`, []Path{pathTo("items", 0, "id"), pathTo("items", 7, "id"), pathTo("items", "x", "id")}, []Path{pathTo("items", 0, "id", 1)}, []Path{pathTo("items", 0), pathTo("items", "id"), pathTo("items", 0, 1, "id")}},
		{`$.*`, []Path{pathTo("a"), pathTo(3)}, []Path{pathTo("a", "b")}, []Path{pathTo()}},
		{`$.*.*`, []Path{pathTo("a", 0)}, nil, []Path{pathTo("a")}},
		{`$..id`, []Path{pathTo("id"), pathTo("a", 0, "id"), pathTo("id", "id")}, []Path{pathTo("a", "id", 0), pathTo("id", "x", "y")}, []Path{pathTo(), pathTo("a"), pathTo(0)}},
		{`$..["odd key"].x`, []Path{pathTo("a", "odd key", "x")}, nil, []Path{pathTo("odd key"), pathTo("odd key", "y", "x")}},
		{`$.a..b.c`, []Path{pathTo("a", "b", "c"), pathTo("a", "b", "b", "c"), pathTo("a", "b", 0, "b", "c")}, []Path{pathTo("a", "b", "c", "d")}, []Path{pathTo("b", "c"), pathTo("a", "b", 0, "c")}},
		{`$..a..b`, []Path{pathTo("a", "b"), pathTo("x", "a", "a", 1, "b"), pathTo("a", "b", "a", "b")}, []Path{pathTo("a", "b", "a")}, []Path{pathTo("b", "a"), pathTo("b")}},
		{`$..a.*`, []Path{pathTo("a", "b"), pathTo("a", "a", "b")}, []Path{pathTo("a", "b", "c")}, []Path{pathTo("a"), pathTo("b", "a")}},
		{`$.größe`, []Path{pathTo("größe")}, nil, []Path{pathTo("gr")}},
		{`$.created-at.$ref`, []Path{pathTo("created-at", "$ref")}, nil, nil},
		{`$["\u0041\ud83d\ude00\/\x41\ud800"]`, []Path{pathTo("A😀/A\uFFFD")}, nil, nil},
		{`$['it\'s "x"']`, []Path{pathTo(`it's "x"`)}, nil, nil},
	} {
		p, err := Parse(c.pattern)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, at := range c.exactly {
			if !p.Exactly(at) || !p.Covers(at) {
				t.Errorf("%s is not %s", p, at)
			}
		}
		for _, at := range c.below {
			if p.Exactly(at) && !strings.Contains(c.pattern, "..") || !p.Covers(at) {
				t.Errorf("%s does not lie below %s", at, p)
			}
		}
		for _, at := range c.not {
			if p.Exactly(at) || p.Covers(at) {
				t.Errorf("%s covers %s", p, at)
			}
		}
		some := pathTo("a", "b", 0, "b", "c", "id", "odd key")
		if n := testing.AllocsPerRun(10, func() { p.Covers(some); p.Exactly(some) }); n != 0 {
			t.Errorf("%s allocates %v times", p, n)
		}
	}
}

func TestPatternErrors(t *testing.T) {
	for text, want := range map[string]string{
		``:                       `pattern "", column 1: a pattern begins with $, like $.price or $.items[*].id`,
		`price`:                  `pattern "price", column 1: a pattern begins with $, like $.price or $.items[*].id`,
		`$price`:                 `pattern "$price", column 2: expected . or [, like .price, ["odd key"], [0], [*], .* or ..id`,
		`$.`:                     `pattern "$.", column 3: expected a key of letters, digits, _ and -; others in quotes, like ["odd key"]`,
		`$.a b`:                  `pattern "$.a b", column 4: expected . or [, like .price, ["odd key"], [0], [*], .* or ..id`,
		`$.größe.`:               `pattern "$.größe.", column 9: expected a key of letters, digits, _ and -; others in quotes, like ["odd key"]`,
		`$...a`:                  `pattern "$...a", column 4: expected a key of letters, digits, _ and -; others in quotes, like ["odd key"]`,
		`$..*`:                   `pattern "$..*", column 4: after .. comes a key, like ..id; below a place everything is meant anyway`,
		`$..[*]`:                 `pattern "$..[*]", column 4: expected a key of letters, digits, _ and -; others in quotes, like ["odd key"]`,
		`$[`:                     `pattern "$[", column 3: expected an index from 0, * or a key in quotes, and ], like [0], [*] or ["odd key"]`,
		`$[-1]`:                  `pattern "$[-1]", column 3: expected an index from 0, * or a key in quotes, and ], like [0], [*] or ["odd key"]`,
		`$[01]`:                  `pattern "$[01]", column 3: expected an index from 0, * or a key in quotes, and ], like [0], [*] or ["odd key"]`,
		`$[0`:                    `pattern "$[0", column 3: expected an index from 0, * or a key in quotes, and ], like [0], [*] or ["odd key"]`,
		`$[key]`:                 `pattern "$[key]", column 3: expected an index from 0, * or a key in quotes, and ], like [0], [*] or ["odd key"]`,
		`$["a"`:                  `pattern "$[\"a\"", column 6: expected ] after the key`,
		`$["a]`:                  `pattern "$[\"a]", column 3: the key's closing " is missing`,
		`$["\q"]`:                `pattern "$[\"\\q\"]", column 4: expected one of the escapes \" \' \\ \/ \b \f \n \r \t \u00e9 \xff`,
		`$["\u12"]`:              `pattern "$[\"\\u12\"]", column 4: expected one of the escapes \" \' \\ \/ \b \f \n \r \t \u00e9 \xff`,
		"$\x1b[31m":              `pattern "$\x1b[31m", column 2: expected . or [, like .price, ["odd key"], [0], [*], .* or ..id`,
		`$[9999999999999999999]`: `pattern "$[9999999999999999999]", column 3: expected an index from 0, * or a key in quotes, and ], like [0], [*] or ["odd key"]`,
	} {
		if p, err := Parse(text); err == nil || err.Error() != want {
			t.Errorf("%q: %v, %v\nwant %s", text, p, err, want)
		}
	}
}

// FuzzPattern looks for panics, for errors of more than a line, and for paths
// whose text means something else.
func FuzzPattern(f *testing.F) {
	for _, text := range []string{`$`, `$.a[0]["odd key"].b`, `$..a.*[*]..b`, `$['x\u00e9\xff']`, `$[`, `a`, "$.\x1b\n", `$["\ud83d\ude00"]`} {
		f.Add(text, "a.0.b.a")
	}
	f.Fuzz(func(t *testing.T, text, steps string) {
		var p Path
		for i, s := range strings.Split(steps, ".") {
			var n int
			if _, err := fmt.Sscan(s, &n); err == nil && n >= 0 {
				p = append(p, Seg{Index: n, IsIndex: true})
			} else {
				p = append(p, Seg{Key: s})
			}
			if i > 64 {
				break
			}
		}
		own, err := Parse(p.String())
		if err != nil || !own.Exactly(p) || !own.Covers(p) || own.Covers(p[:len(p)-1]) {
			t.Errorf("%s: %v", p, err)
		}
		if strings.ContainsFunc(p.String(), func(r rune) bool { return r < ' ' }) {
			t.Errorf("%q has control characters", p)
		}
		given, err := Parse(text)
		switch {
		case err != nil && strings.ContainsAny(err.Error(), "\n\r\x1b"):
			t.Errorf("%q: the error is %q", text, err)
		case err == nil && given.String() != text:
			t.Errorf("%q became %q", text, given)
		case err == nil && given.Exactly(p) && !given.Covers(p):
			t.Errorf("%s is exactly %s, but does not cover it", text, p)
		}
	})
}
