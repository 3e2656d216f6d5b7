//go:build unix

package main

import (
	"encoding/xml"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestTrend(t *testing.T) {
	noisy := func(slope, noise float64) *series {
		rng := rand.New(rand.NewPCG(1, 2))
		s := &series{name: "x", unit: "MiB", share: 0.1, extra: 1}
		for i := range 100 {
			v := 50 + slope*float64(i) + noise*rng.NormFloat64()
			if i < 20 {
				v = float64(i) // it warms up
			}
			s.add(time.Duration(i)*time.Second, v)
		}
		return s
	}
	for _, test := range []struct {
		name         string
		slope, noise float64
		grows        bool
	}{
		{"flat", 0, 0, false},
		{"flat and noisy", 0, 20, false},
		{"within the bound", 0.05, 0.5, false},
		{"beyond the bound", 0.2, 0.5, true},
		{"beyond the bound, but it may be chance", 0.1, 30, false},
		{"shrinking", -0.3, 0.5, false},
	} {
		s := noisy(test.slope, test.noise)
		if got := s.trend(20 * time.Second); got.grows() != test.grows {
			t.Errorf("%s: %+v", test.name, got)
		}
		svg := plot([]*series{s, s}, 20*time.Second, 100*time.Second)
		for d := xml.NewDecoder(strings.NewReader(svg)); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: the plot is no XML: %v", test.name, err)
			}
		}
	}
	line := &series{share: 0, extra: 1}
	for i := range 11 {
		line.add(time.Duration(i)*time.Second, 3+2*float64(i))
	}
	if got := line.trend(0); got.growth < 19.99 || got.growth > 20.01 || got.first < 2.99 || got.first > 3.01 || got.mean < 12.99 || got.mean > 13.01 {
		t.Errorf("a line from 3 to 23: %+v", got)
	}
}
