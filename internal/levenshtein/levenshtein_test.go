package levenshtein

import "testing"

func TestDistance(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"form", "from", 2}, {"kitten", "sitting", 3}, {"len", "len", 0}} {
		if got := Distance(tc.a, tc.b); got != tc.want {
			t.Errorf("Distance(%q, %q) = %d, want %d", tc.a, tc.b, got, tc.want)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"t", "op", "len", "from", "form", "latency"}
	for word, want := range map[string]string{"frm": "from", "latncy": "latency", "latttt": "", "oo": "op", "x": "", "lem": "len", "lxx": "len", "xxx": "", "form": "form"} {
		if got := Nearest(word, known); got != want {
			t.Errorf("%s: %q, want %q", word, got, want)
		}
	}
}
