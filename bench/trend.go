//go:build unix

package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// series is one figure over time.
type series struct {
	name, unit string
	share      float64 // how much it may grow while it is watched: this share of its mean,
	extra      float64 // and this much
	at         []time.Duration
	values     []float64
}

func (s *series) add(at time.Duration, value float64) {
	s.at, s.values = append(s.at, at), append(s.values, value)
}

// trend is the straight line through a series.
type trend struct {
	mean   float64
	growth float64 // from the line's beginning to its end
	err    float64 // standard error of that
	bound  float64
	from   time.Duration
	first  float64 // the line's value there
}

// trend fits a line, by least squares, to what came after the warm-up.
func (s *series) trend(warmUp time.Duration) (t trend) {
	var xs, ys []float64
	for i, at := range s.at {
		if at >= warmUp {
			xs, ys = append(xs, at.Seconds()), append(ys, s.values[i])
		}
	}
	n := float64(len(xs))
	if n < 3 {
		return t
	}
	meanX, meanY := mean(xs), mean(ys)
	var xx, xy, rest float64
	for i := range xs {
		xx += (xs[i] - meanX) * (xs[i] - meanX)
		xy += (xs[i] - meanX) * (ys[i] - meanY)
	}
	slope := xy / xx
	for i := range xs {
		d := ys[i] - meanY - slope*(xs[i]-meanX)
		rest += d * d
	}
	span := xs[len(xs)-1] - xs[0]
	return trend{mean: meanY, growth: slope * span, err: math.Sqrt(rest/(n-2)/xx) * span, bound: s.share*max(0, meanY) + s.extra,
		from: time.Duration(xs[0] * float64(time.Second)), first: meanY - slope*(meanX-xs[0])}
}

// grows reports whether the figure grew by more than it may, and by more than
// chance would have it.
func (t *trend) grows() bool { return t.growth > t.bound && t.growth > 3*t.err }

func mean(values []float64) (sum float64) {
	for _, v := range values {
		sum += v / float64(len(values))
	}
	return sum
}

// plot draws the series below one another, each with its line.
func plot(list []*series, warmUp, length time.Duration) string {
	const width, height, left, right, gap = 760, 90, 90, 10, 34
	var s strings.Builder
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n", width, len(list)*(height+gap)+gap)
	fmt.Fprintln(&s, `<rect width="100%" height="100%" fill="white"/>`)
	for i, one := range list {
		top := float64(gap + i*(height+gap))
		most := max(slices.Max(one.values), 1e-9)
		x := func(at time.Duration) float64 { return left + (width-left-right)*at.Seconds()/length.Seconds() }
		y := func(v float64) float64 { return top + height*(1-max(0, v)/most) }
		fmt.Fprintf(&s, `<text x="%d" y="%.0f" font-weight="bold">%s</text><text x="%d" y="%.0f" text-anchor="end">%.4g %s</text><text x="%d" y="%.0f" text-anchor="end">0</text>`+"\n",
			left, top-6, one.name, left-6, top+8, most, one.unit, left-6, top+height)
		fmt.Fprintf(&s, `<rect x="%d" y="%.0f" width="%d" height="%d" fill="none" stroke="#ccc"/><rect x="%d" y="%.0f" width="%.1f" height="%d" fill="#eee"/>`+"\n",
			left, top, width-left-right, height, left, top, x(warmUp)-left, height)
		s.WriteString(`<polyline fill="none" stroke="#36c" points="`)
		for j, at := range one.at {
			fmt.Fprintf(&s, "%.1f,%.1f ", x(at), y(one.values[j]))
		}
		t := one.trend(warmUp)
		fmt.Fprintf(&s, `"/>`+"\n"+`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#c33"/>`+"\n", x(t.from), y(t.first), x(length), y(t.first+t.growth))
	}
	s.WriteString("</svg>\n")
	return s.String()
}
