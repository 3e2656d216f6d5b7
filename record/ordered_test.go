package record

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestOrderedHandsOutAsAListWould compares it with a list that is looked through each time.
func TestOrderedHandsOutAsAListWould(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		o := ordered[int]{limit: rng.IntN(8)}
		var list []*slot[int]
		for n := range 500 {
			switch rng.IntN(3) {
			case 0:
				list = append(list, o.add(&slot[int]{value: n, done: rng.IntN(2) == 0}))
			case 1:
				if len(list) > 0 {
					list[rng.IntN(len(list))].settle(rng.IntN(4) > 0)
				}
			default:
				want := slices.IndexFunc(list, func(s *slot[int]) bool { return s.done })
				if want > 0 && len(list) <= o.limit {
					want = -1
				}
				got, ok := o.next()
				if ok != (want >= 0) || ok && got != list[want].value {
					t.Fatalf("seed %d: got %d, %v, want number %d of %d", seed, got, ok, want, len(list))
				}
				if ok {
					list = slices.Delete(list, want, want+1)
				}
			}
		}
	}
}

// TestManyThatAreNotDone would take minutes if each that comes had all that wait looked at.
func TestManyThatAreNotDone(t *testing.T) {
	o := ordered[int]{limit: followLimit}
	var first *slot[int]
	for n := range 1_000_000 {
		s := o.add(&slot[int]{value: n})
		if first == nil {
			first = s
		}
		if v, ok := o.next(); ok {
			t.Fatalf("%d went out", v)
		}
	}
	for n := range 100_000 {
		o.add(&slot[int]{value: -n, done: true})
		if v, ok := o.next(); !ok || v != -n {
			t.Fatalf("got %d, %v; want %d", v, ok, -n)
		}
	}
	first.settle(true)
	if v, ok := o.next(); !ok || v != 0 {
		t.Errorf("got %d, %v; want the first", v, ok)
	}
}
