package stats

import (
	"math"
	"slices"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	// exactly is how many values a sample keeps as they are.
	exactly = 256
	// most is what a larger value counts as where values are no longer kept: a
	// terabyte, or 12 days of microseconds.
	most = 1 << 40
	// digits is how precise percentiles are from then on: within 1 %.
	digits = 2
)

// Sample is some whole numbers: bytes, or microseconds. It takes the same room
// however many they are: few are kept as they are, of more only how many are
// about as large. The zero value is empty.
type Sample struct {
	Count    uint64
	Min, Max int64 // exact, as the mean

	sum  float64
	few  []int64
	many *hdrhistogram.Histogram // once there are more than few
}

func (s *Sample) add(v int64) {
	if s.Count == 0 {
		s.Min, s.Max = v, v
	}
	s.Count++
	s.Min, s.Max = min(s.Min, v), max(s.Max, v)
	s.sum += float64(v)
	s.keep(v)
}

func (s *Sample) keep(v int64) {
	if s.many == nil && len(s.few) < exactly {
		s.few = append(s.few, v)
		return
	}
	s.spill()
	_ = s.many.RecordValue(min(max(v, 0), most)) // in range, so it cannot fail
}

// spill gives up exact values.
func (s *Sample) spill() {
	if s.many == nil {
		s.many = hdrhistogram.New(1, most, digits)
	}
	for _, v := range s.few {
		_ = s.many.RecordValue(min(max(v, 0), most))
	}
	s.few = nil
}

// merge adds the values of another sample.
func (s *Sample) merge(o *Sample) {
	if o.Count == 0 {
		return
	}
	if s.Count == 0 {
		s.Min, s.Max = o.Min, o.Max
	}
	s.Count += o.Count
	s.Min, s.Max = min(s.Min, o.Min), max(s.Max, o.Max)
	s.sum += o.sum
	for _, v := range o.few {
		s.keep(v)
	}
	if o.many != nil {
		s.spill()
		s.many.Merge(o.many)
	}
}

// At is the value that a percentage of all do not exceed; 0 of an empty sample.
func (s *Sample) At(percent float64) int64 {
	if s.Count == 0 {
		return 0
	}
	n := float64(s.Count)
	rank := max(math.Ceil(percent/100*n), 1) // the nearest one
	if s.many != nil {
		return min(max(s.many.ValueAtPercentile(100*rank/n), s.Min), s.Max)
	}
	slices.Sort(s.few)
	return s.few[min(int(rank), len(s.few))-1]
}

// Mean is the mean of all; 0 of an empty sample.
func (s *Sample) Mean() float64 {
	if s.Count == 0 {
		return 0
	}
	return s.sum / float64(s.Count)
}
