package cli

import (
	"bufio"
	"bytes"
	"math"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestSafeTextCannotHarmATerminal(t *testing.T) {
	for in, want := range map[string]string{
		"plain ✓":                          "plain ✓",
		"\x1b[2J":                          `\u001b[2J`,
		"a\nb\tc\r":                        `a\nb\tc\r`,
		"\xff\xfe":                         `\xff\xfe`,
		"\x9b2J":                           `\x9b2J`, // an 8-bit CSI
		"\u202eevil":                       `\u202eevil`,
		"\u2066a\u2069":                    `\u2066a\u2069`,
		"replacement \uFFFD":               "replacement \uFFFD",
		"\u009b31m":                        `\u009b31m`,
		"\x7f":                             `\u007f`,
		"a\u200bb\ufeffc":                  `a\u200bb\ufeffc`,
		"日本\u3000語":                        "日本\u3000語",
		"שלום":                             "שלום",
		"e\u0301":                          "e\u0301", // é in two parts
		"\u0301":                           `\u0301`,  // on nothing
		"a\u0301\u0302\u0303\u0304\u0305b": "a\u0301\u0302\u0303" + `\u0304\u0305b`,
		"❤\ufe0f":                          `❤\ufe0f`,
		"👍🏽":                               `👍\U0001f3fd`,
		"👨\u200d👩":                         `👨\u200d👩`,
		"\U000e0041":                       `\U000e0041`, // a tag: invisible
		"\u115f\u3164":                     `\u115f\u3164`,
		"\ue000":                           `\ue000`,
		"a\u2028b\u2029c":                  `a\u2028b\u2029c`,
	} {
		if got := safe(in, 100); got != want {
			t.Errorf("safe(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestSafeTextFits(t *testing.T) {
	for _, c := range []struct {
		in   string
		room int
		want string
	}{
		{"abcdef", 3, "ab…"},
		{"abc", 3, "abc"},
		{"日本語", 6, "日本語"},
		{"日本語", 5, "日本…"},
		{"日本語", 4, "日…"},
		{"a\x1b[2Jb", 8, `a\u001b…`},
		{"a\x1b[2Jb", 6, `a…`},
		{"ée\u0301x", 3, "ée\u0301x"},
		{"abcdef", 1, "…"},
		{"", 0, ""},
		{"a line of any length", math.MaxInt, "a line of any length"},
	} {
		if got := safe(c.in, c.room); got != c.want || visible(got) > c.room {
			t.Errorf("safe(%q, %d) = %q, want %q", c.in, c.room, got, c.want)
		}
	}
}

// driven returns the first character of an output that a terminal would obey,
// or would not show where it stands; colours of ours are none.
func driven(out string) (rune, bool) {
	for _, c := range []colour{dim, red, green, yellow, blue, cyan, "0"} {
		out = strings.ReplaceAll(out, "\x1b["+string(c)+"m", "")
	}
	marks := 0
	for i, r := range out {
		if marks++; !unicode.In(r, unicode.Mn, unicode.Me) {
			marks = 0
		}
		bad := r == utf8.RuneError && !strings.HasPrefix(out[i:], "\uFFFD")
		if bad || marks > maxMarks || r != '\n' && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Variation_Selector) {
			return r, true
		}
	}
	return 0, false
}

func FuzzSafe(f *testing.F) {
	f.Add("\x1b]8;;http://x\x07link\x9b2J\u202e\u0301日本", 10)
	f.Fuzz(func(t *testing.T, s string, room int) {
		if room < 1 || room > 1000 || len(s) > 10_000 {
			return
		}
		got := safe(s, room)
		if r, bad := driven(got); bad || strings.Contains(got, "\n") {
			t.Errorf("safe(%q) = %q has %U", s, got, r)
		}
		if visible(got) > room {
			t.Errorf("safe(%q, %d) = %q takes %d columns", s, room, got, visible(got))
		}
		var out bytes.Buffer
		w := bufio.NewWriter(&out)
		escape(w, []byte(s))
		w.Flush()
		if long := safe(s, 1<<20); out.String() != long {
			t.Errorf("escape(%q) = %q, safe %q", s, out.String(), long)
		}
	})
}
