//go:build unix

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// report writes the medians of all rounds and what they say of wstape.
func (b *bench) report(list []proxy, args []string) string {
	var t strings.Builder
	fmt.Fprintf(&t, "# Results\n\nMade by `%s`.\n\n", strings.Join(append([]string{"go run ./bench run"}, args...), " "))
	fmt.Fprintf(&t, "%s; load, proxy and echo share it.\n", machine())
	fmt.Fprint(&t, b.found.String())
	fmt.Fprintf(&t, `
Medians of %d interleaved rounds of %v; pump, mockttp, mitmproxy, idle connections and disk: one round. A message is one
direction. wstape records with compression and fsync unless named otherwise. No two messages are the same; the server echoes
them, but for disk use, where it changes a bit of every byte, so that an answer is no copy of what it answers. "÷ relay" and "+ over relay" compare a row with the bare
relay, "wstape ×" is how many times the row's number wstape's is. The CPU time is the proxy's alone.
`, b.rounds, b.window)
	for _, s := range scenarios() {
		if b.results[s.name] != nil {
			t.WriteString(b.table(&s, list))
		}
	}
	return t.String() + b.barsTable()
}

func (f *found) String() string {
	var t strings.Builder
	fmt.Fprint(&t, "\n| peer | version |\n|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(f.versions)) {
		fmt.Fprintf(&t, "| %s | %s |\n", name, f.versions[name])
	}
	for _, name := range slices.Sorted(maps.Keys(f.missing)) {
		fmt.Fprintf(&t, "| %s | not measured: %v |\n", name, f.missing[name])
	}
	return t.String()
}

// table is a scenario's rows. What cannot be compared has no column.
func (b *bench) table(s *scenario, list []proxy) string {
	ours := "wstape"
	if s.tls {
		ours = "wstape wss"
	}
	var t strings.Builder
	fmt.Fprintf(&t, "\n## %s\n\n", s.name)
	var rows []string
	for i := range list {
		rows = append(rows, list[i].name)
	}
	rows = slices.DeleteFunc(append(rows, fileRow), func(row string) bool { return b.results[s.name][row] == nil })
	lines := make([][]string, len(rows)+1)
	column := func(title string, cell func(row string) string) {
		lines[0] = append(lines[0], title)
		for i, row := range rows {
			lines[i+1] = append(lines[i+1], cell(row))
		}
	}
	column("proxy", func(row string) string { return row })
	for _, c := range s.columns {
		column(c.name, func(row string) string { return b.cell(s, row, c.name, number) })
		against := func(title, base, format string, f func(v, base float64) float64) {
			of, ok := b.median(s.name, base, c.name)
			if !ok || of == 0 {
				return
			}
			column(title, func(row string) string {
				return b.cell(s, row, c.name, func(v float64) string { return fmt.Sprintf(format, f(v, of)) })
			})
		}
		if c.compare == cost {
			against("+ over relay", "relay", "%+.2f", func(v, base float64) float64 { return v - base })
		}
		if c.compare == extra {
			against("+ over no script", "wstape", "%+.2f", func(v, base float64) float64 { return v - base })
		}
		if c.compare == ratio || c.compare == faster {
			against("÷ relay", "relay", "%.2f", func(v, base float64) float64 { return v / base })
		}
		if c.compare == faster {
			against("wstape ×", ours, "%.2f", func(v, base float64) float64 { return base / v })
		}
	}
	for i, line := range lines {
		fmt.Fprintf(&t, "| %s |\n", strings.Join(line, " | "))
		if i == 0 {
			fmt.Fprintf(&t, "|%s\n", strings.Repeat("---|", len(line)))
		}
	}
	return t.String()
}

// cell is empty where nothing was measured.
func (b *bench) cell(s *scenario, row, column string, format func(float64) string) string {
	v, ok := b.median(s.name, row, column)
	if !ok || v == 0 {
		return ""
	}
	return format(v)
}

func (b *bench) median(scenario, row, column string) (v float64, ok bool) {
	var values []float64
	for _, s := range b.results[scenario][row] {
		if v, ok := s[column]; ok {
			values = append(values, v)
		}
	}
	if len(values) == 0 {
		return 0, false
	}
	slices.Sort(values)
	return values[len(values)/2], true
}

func number(v float64) string {
	switch {
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 1000:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

func (s sample) String() string {
	var parts []string
	for _, column := range slices.Sorted(maps.Keys(s)) {
		parts = append(parts, column+" "+number(s[column]))
	}
	return strings.Join(parts, ", ")
}
