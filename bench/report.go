//go:build unix

package main

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
)

// report writes the medians of all rounds, with each proxy's ratio to the bare relay.
func (b *bench) report(list []proxy, args []string) string {
	var t strings.Builder
	fmt.Fprintf(&t, "# Results\n\nMedians of %d interleaved rounds of %v, %d CPUs shared by load, proxy and echo, %s/%s, %s.\n",
		b.rounds, b.window, runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	fmt.Fprintf(&t, "Made by `go run ./bench run %s`. A message is one direction. wstape records with fsync unless named otherwise.\n", strings.Join(args, " "))
	for _, s := range scenarios(b.idleConns) {
		rows := b.results[s.name]
		if rows == nil {
			continue
		}
		fmt.Fprintf(&t, "\n## %s\n\n| proxy |", s.name)
		for _, column := range s.columns {
			fmt.Fprintf(&t, " %s | ÷ relay |", column)
		}
		fmt.Fprint(&t, "\n|---|"+strings.Repeat("---|---|", len(s.columns))+"\n")
		for _, p := range list {
			if rows[p.name] == nil {
				continue
			}
			fmt.Fprintf(&t, "| %s |", p.name)
			for _, column := range s.columns {
				value, base := median(rows[p.name], column), median(rows["relay"], column)
				ratio := "|"
				if base > 0 && value > 0 {
					ratio = fmt.Sprintf("%.2f |", value/base)
				}
				fmt.Fprintf(&t, " %s | %s", number(value), ratio)
			}
			fmt.Fprintln(&t)
		}
	}
	return t.String()
}

func median(samples []sample, column string) float64 {
	var values []float64
	for _, s := range samples {
		if v, ok := s[column]; ok {
			values = append(values, v)
		}
	}
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func number(v float64) string {
	switch {
	case v == 0:
		return ""
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 1000:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}
