//go:build unix

package main

import (
	"fmt"
	"strings"
)

// figure is a number of wstape that a bar bounds.
type figure struct {
	scenario, column, row string
	how                   how
	against               string // another row
	sense                 sense
	bound, aim            float64 // aim is where nobody would ask for more; 0 is none
}

type how int

const (
	itself how = iota
	times      // how many times the other row's
	more       // how much more than the other row's
	added      // what it adds to direct: how many times what the other row adds
)

type sense string

const (
	atLeast sense = "≥"
	atMost  sense = "≤"
)

// bar is what issue 3 asks for: one of its figures reached.
type bar []figure

func bars() []bar {
	const off = "wstape --no-record"
	return []bar{
		{{small, perSecond, "wstape", times, "relay", atLeast, 0.85, 1}},
		{{small, cpuMessage, "wstape", more, "relay", atMost, 0.35, 0.2}},
		{{small, perSecond, "wstape", times, "pump", atLeast, 7, 0}},
		{{small, perSecond, "wstape", times, "mitmproxy", atLeast, 200, 0}},
		{{medium, perSecond, "wstape", times, "relay", atLeast, 0.6, 0.7}},
		{{medium, perSecond, "wstape", times, "haproxy", atLeast, 1, 0}},
		{{medium, perSecond, "wstape", times, "nginx", atLeast, 1, 0}},
		{{medium, perSecond, "wstape", times, "mitmproxy", atLeast, 40, 0}},
		{{incompress, perSecond, "wstape", times, "relay", atLeast, 0.6, 0.7}},
		{{incompress, perSecond, "wstape", times, "haproxy", atLeast, 1, 0}},
		{{incompress, perSecond, "wstape", times, "nginx", atLeast, 1, 0}},
		{{incompress, perSecond, "wstape", times, "mitmproxy", atLeast, 40, 0}},
		{
			{large, megabytes, "wstape", times, "relay", atLeast, 0.35, 0.45},
			{large, megabytes, "wstape", times, fileRow, atLeast, 0.6, 0},
		},
		{{large, megabytes, "wstape", times, "nginx", atLeast, 1, 0}},
		{{small, perSecond, off, times, "relay", atLeast, 0.95, 0}},
		{{medium, perSecond, off, times, "relay", atLeast, 0.8, 0}},
		{{open, p50, "wstape", times, "relay", atMost, 1.1, 0}},
		{{open, p50, "wstape", added, "relay", atMost, 1.1, 0}},
		{{open, p99, "wstape", times, "relay", atMost, 1.1, 0}},
		{{open, p99, "wstape", added, "relay", atMost, 1.1, 0}},
		{{openRead, p50, "wstape", times, "relay", atMost, 1.1, 0}},
		{{openRead, p50, "wstape", added, "relay", atMost, 1.1, 0}},
		{{openRead, p99, "wstape", times, "relay", atMost, 1.1, 0}},
		{{openRead, p99, "wstape", added, "relay", atMost, 1.1, 0}},
		{{idleConns, perConn, "wstape", itself, "", atMost, 10, 0}},
		{{wssIdle, perConn, "wstape wss", itself, "", atMost, 40, 0}},
		{{newConns, connsSecond, "wstape", times, "relay", atLeast, 1, 0}},
		{{wssSmall, perSecond, "wstape wss", times, "caddy wss", atLeast, 1, 0}},
		{{wssMedium, perSecond, "wstape wss", times, "caddy wss", atLeast, 1, 0}},
		{{diskSlow, perFrame, "wstape", itself, "", atMost, 60, 0}},
		{{diskFast, perFrame, "wstape", itself, "", atMost, 60, 0}},
		{{diskNoise, overhead, "wstape", itself, "", atMost, 8, 0}},
	}
}

func (f *figure) String() string {
	switch f.how {
	case times:
		return fmt.Sprintf("%s ÷ %s", f.row, f.against)
	case more:
		return fmt.Sprintf("%s − %s", f.row, f.against)
	case added:
		return fmt.Sprintf("(%s − direct) ÷ (%s − direct)", f.row, f.against)
	}
	return f.row
}

// want is the bound in words.
func (f *figure) want() string {
	text := fmt.Sprintf("%s %g", f.sense, f.bound)
	if f.aim != 0 {
		text += fmt.Sprintf(" (aim %g)", f.aim)
	}
	return text
}

// of computes the figure, if all that it needs was measured.
func (f *figure) of(b *bench) (v float64, ok bool) {
	get := func(row string) float64 {
		v, found := b.median(f.scenario, row, f.column)
		ok = ok && found
		return v
	}
	ok = true
	v = get(f.row)
	switch f.how {
	case times:
		v /= get(f.against)
	case more:
		v -= get(f.against)
	case added:
		direct := get("direct")
		base := get(f.against) - direct
		if base <= 0 {
			return 0, false // the machine was noisier than the relay is slow
		}
		v = (v - direct) / base
	}
	return v, ok
}

func (f *figure) reached(v float64) bool {
	if f.sense == atMost {
		return v <= f.bound
	}
	return v >= f.bound
}

// barsTable lists the bars of issue 3 that a run covers.
func (b *bench) barsTable() string {
	var t strings.Builder
	fmt.Fprint(&t, "\n## Bars\n\n| scenario | column | what | reached | bound | |\n|---|---|---|---|---|---|\n")
	for _, bar := range bars() {
		if b.results[bar[0].scenario] == nil {
			continue
		}
		var what, reached, want []string
		verdict := "not measured"
		for i := range bar {
			f := &bar[i]
			what, want = append(what, f.String()), append(want, f.want())
			v, ok := f.of(b)
			if !ok {
				reached = append(reached, "–")
				continue
			}
			reached = append(reached, fmt.Sprintf("%.2f", v))
			if f.reached(v) {
				verdict = "yes"
			} else if verdict != "yes" {
				verdict = "**no**"
			}
		}
		const or = " or "
		fmt.Fprintf(&t, "| %s | %s | %s | %s | %s | %s |\n", bar[0].scenario, bar[0].column,
			strings.Join(what, or), strings.Join(reached, or), strings.Join(want, or), verdict)
	}
	fmt.Fprintln(&t, "\nNot in this run: allocations per frame (`go test -bench`), that a session's records cost no fsync of their own.")
	return t.String()
}
