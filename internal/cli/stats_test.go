package cli

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTableFits(t *testing.T) {
	for _, c := range []struct {
		room int
		want string
	}{
		{80, "NAME                     COUNT      MIN    MAX\na rather long type name    100  1.2 KiB  9 MiB\nb                            5      2 B   17 B\n"},
		{46, "NAME                     COUNT      MIN    MAX\na rather long type name    100  1.2 KiB  9 MiB\nb                            5      2 B   17 B\n"},
		{40, "NAME               COUNT      MIN    MAX\na rather long ty…    100  1.2 KiB  9 MiB\nb                      5      2 B   17 B\n"},
		{30, "NAME              COUNT    MAX\na rather long t…    100  9 MiB\nb                     5   17 B\n"},
		{10, "NAME          COUNT    MAX\na rather lo…    100  9 MiB\nb                 5   17 B\n"}, // no less is of use
	} {
		table := table{columns: []column{{name: "NAME", left: true, wide: true}, {name: "COUNT"}, {name: "MIN", drop: 1}, {name: "MAX"}}}
		table.add("a rather long type name", "100", "1.2 KiB", "9 MiB")
		table.add("b", "5", "2 B", "17 B")
		var out strings.Builder
		if err := table.write(&out, c.room); err != nil {
			t.Fatal(err)
		}
		if out.String() != c.want {
			t.Errorf("in %d columns\n%swant\n%s", c.room, out.String(), c.want)
		}
		for line := range strings.Lines(out.String()) {
			if n := utf8.RuneCountInString(line) - 1; n > max(c.room, 26) {
				t.Errorf("%d columns where there is room for %d: %s", n, c.room, line)
			}
		}
	}
}
