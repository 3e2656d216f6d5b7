package replay

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// common is the length of the longest common subsequence, by the textbook.
func common(a, b []uint64) int {
	row := make([]int, len(b)+1)
	for i := range a {
		diagonal := 0
		for j := range b {
			above := row[j+1]
			if a[i] == b[j] {
				row[j+1] = diagonal + 1
			} else {
				row[j+1] = max(above, row[j])
			}
			diagonal = above
		}
	}
	return row[len(b)]
}

// checkPairs reports whether pairs are in order, of equal tokens, within the sequences.
func checkPairs(t *testing.T, a, b []uint64, pairs []twin) {
	t.Helper()
	last := twin{-1, -1}
	for _, p := range pairs {
		if p.a <= last.a || p.b <= last.b || p.a >= len(a) || p.b >= len(b) || a[p.a] != b[p.b] {
			t.Fatalf("pair %v after %v does not belong there", p, last)
		}
		last = p
	}
}

func whole(a, b []uint64) stretch { return stretch{0, len(a), 0, len(b)} }

func TestAlign(t *testing.T) {
	for name, c := range map[string]struct {
		a, b []uint64
		want []twin
	}{
		"nothing":         {nil, nil, nil},
		"nothing in a":    {nil, []uint64{1, 2}, nil},
		"the same":        {[]uint64{1, 2, 2}, []uint64{1, 2, 2}, []twin{{0, 0}, {1, 1}, {2, 2}}},
		"one more":        {[]uint64{1, 3}, []uint64{1, 2, 3}, []twin{{0, 0}, {1, 2}}},
		"one less":        {[]uint64{1, 2, 3}, []uint64{1, 3}, []twin{{0, 0}, {2, 1}}},
		"one is another":  {[]uint64{1, 2, 3}, []uint64{1, 9, 3}, []twin{{0, 0}, {2, 2}}},
		"all are others":  {[]uint64{1, 2}, []uint64{3, 4}, nil},
		"unique ones":     {[]uint64{7, 1, 7, 2, 7}, []uint64{7, 7, 1, 2}, []twin{{0, 1}, {1, 2}, {3, 3}}},
		"only duplicates": {[]uint64{5, 5, 6, 5, 6}, []uint64{6, 6, 5, 5, 6}, []twin{{0, 2}, {1, 3}, {4, 4}}},
	} {
		t.Run(name, func(t *testing.T) {
			got := align(c.a, c.b, whole(c.a, c.b))
			checkPairs(t, c.a, c.b, got)
			if len(got) != len(c.want) || len(got) != common(c.a, c.b) {
				t.Errorf("aligned %v and %v as %v, want as many as %v", c.a, c.b, got, c.want)
			}
		})
	}
}

// TestShortest holds the way between unique tokens against the textbook.
func TestShortest(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		sequence := func() []uint64 {
			out := make([]uint64, r.IntN(60))
			for i := range out {
				out[i] = r.Uint64N(5)
			}
			return out
		}
		a, b := sequence(), sequence()
		x := &aligner{a: a, b: b}
		x.shortest(whole(a, b))
		checkPairs(t, a, b, x.pairs)
		if want := common(a, b); len(x.pairs) != want {
			t.Fatalf("seed %d: %d pairs of %v and %v, want %d", seed, len(x.pairs), a, b, want)
		}
		checkPairs(t, a, b, align(a, b, whole(a, b)))
	}
}

// TestShortestGivesUp sees that what has nothing in common ends, and that what was
// far off is found again.
func TestShortestGivesUp(t *testing.T) {
	var a, b []uint64
	for i := range uint64(3 * maxEdits) {
		a, b = append(a, 2*i), append(b, 2*i+1)
	}
	if got := align(a, b, whole(a, b)); len(got) != 0 {
		t.Errorf("%d pairs of what has nothing in common", len(got))
	}
	same := []uint64{1 << 40, 1<<40 + 1, 1<<40 + 2}
	a, b = slices.Concat(a, same, a), slices.Concat(same, b)
	got := align(a, b, whole(a, b))
	checkPairs(t, a, b, got)
	if len(got) != len(same) {
		t.Errorf("%d pairs, want the %d in the middle", len(got), len(same))
	}
}

func TestRising(t *testing.T) {
	got := rising([]twin{{0, 4}, {1, 1}, {2, 2}, {3, 0}, {4, 3}})
	if want := []twin{{1, 1}, {2, 2}, {4, 3}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
