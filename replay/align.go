package replay

import "slices"

// Two sequences are aligned by tokens: what has the same token is the same. First
// what comes once in both and in the same order stands fast (as in patience diff),
// then the shortest way between is sought (Myers 1986), no further than worth it.
// Time and room are bounded, at the price of not always finding the shortest way.

const (
	// maxEdits is how many differences in a row the shortest way is sought through.
	maxEdits = 400
	// maxSplits is how often what is between unique tokens is split again.
	maxSplits = 16
)

// stretch is a part of both sequences: a[a0:a1] and b[b0:b1].
type stretch struct{ a0, a1, b0, b1 int }

func (s stretch) empty() bool { return s.a0 == s.a1 || s.b0 == s.b1 }

// aligner pairs two sequences of tokens.
type aligner struct {
	a, b  []uint64
	pairs []twin
}

// align pairs tokens within a stretch, in order.
func align(a, b []uint64, s stretch) []twin {
	x := &aligner{a: a, b: b}
	x.split(s, 0)
	return x.pairs
}

// ends pairs what a stretch begins with and returns the rest, and how many equal
// tokens there are behind it.
func (x *aligner) ends(s stretch) (rest stretch, behind int) {
	for !s.empty() && x.a[s.a0] == x.b[s.b0] {
		x.pairs = append(x.pairs, twin{s.a0, s.b0})
		s.a0, s.b0 = s.a0+1, s.b0+1
	}
	for !s.empty() && x.a[s.a1-1] == x.b[s.b1-1] {
		s.a1, s.b1, behind = s.a1-1, s.b1-1, behind+1
	}
	return s, behind
}

// split aligns a stretch between the tokens that come once in both.
func (x *aligner) split(s stretch, depth int) {
	s, behind := x.ends(s)
	if !s.empty() {
		var fast []twin
		if depth < maxSplits {
			fast = x.unique(s)
		}
		if len(fast) == 0 {
			x.shortest(s)
		} else {
			from := s
			for _, p := range fast {
				x.split(stretch{from.a0, p.a, from.b0, p.b}, depth+1)
				x.pairs = append(x.pairs, p)
				from.a0, from.b0 = p.a+1, p.b+1
			}
			x.split(from, depth+1)
		}
	}
	for i := range behind {
		x.pairs = append(x.pairs, twin{s.a1 + i, s.b1 + i})
	}
}

// unique is the longest run of tokens that come once in both and in the same order.
func (x *aligner) unique(s stretch) []twin {
	type once struct{ a, b, inA, inB int }
	seen := map[uint64]*once{}
	for i := s.a0; i < s.a1; i++ {
		o := seen[x.a[i]]
		if o == nil {
			o = &once{}
			seen[x.a[i]] = o
		}
		o.a, o.inA = i, o.inA+1
	}
	for i := s.b0; i < s.b1; i++ {
		if o := seen[x.b[i]]; o != nil {
			o.b, o.inB = i, o.inB+1
		}
	}
	var all []twin
	for i := s.a0; i < s.a1; i++ {
		if o := seen[x.a[i]]; o.inA == 1 && o.inB == 1 {
			all = append(all, twin{o.a, o.b})
		}
	}
	return rising(all)
}

// rising is the longest part of pairs, which are in the order of a, whose b rises too.
func rising(all []twin) []twin {
	var tails []int // tails[n]: the pair at which a run of n+1 ends the lowest
	before := make([]int, len(all))
	for i, p := range all {
		n, _ := slices.BinarySearchFunc(tails, p.b, func(k, b int) int { return all[k].b - b })
		before[i] = -1
		if n > 0 {
			before[i] = tails[n-1]
		}
		if n == len(tails) {
			tails = append(tails, i)
		} else {
			tails[n] = i
		}
	}
	out := make([]twin, len(tails))
	if len(tails) == 0 {
		return nil
	}
	for n, i := len(tails)-1, tails[len(tails)-1]; i >= 0; n, i = n-1, before[i] {
		out[n] = all[i]
	}
	return out
}

// shortest pairs what is equal on the way through a stretch with the fewest tokens
// left out. After [maxEdits] of those it goes on from as far as it has come.
func (x *aligner) shortest(s stretch) {
	for !s.empty() {
		a, b := x.a[s.a0:s.a1], x.b[s.b0:s.b1]
		way := reach(a, b)
		for _, p := range way.pairs {
			x.pairs = append(x.pairs, twin{s.a0 + p.a, s.b0 + p.b})
		}
		s.a0, s.b0 = s.a0+way.a, s.b0+way.b
	}
}

// way is how far it went in both sequences, and what was equal.
type way struct {
	a, b  int
	pairs []twin
}

// edits is how far each diagonal a-b comes in a after so many edits; -1 where it
// was not reached.
type edits struct {
	at     []int
	number int
}

func (e *edits) far(k int) int {
	if k < -e.number || k > e.number {
		return -1
	}
	return e.at[k+e.number]
}

// move is the farthest step from these edits to a diagonal, within the bounds of
// both sequences, and the diagonal that it comes from; -1 if there is none.
func (e *edits) move(k, lenA, lenB int) (i, from int) {
	i = -1
	if right := e.far(k - 1); right >= 0 && right < lenA { // leaves one of a out
		i, from = right+1, k-1
	}
	if down := e.far(k + 1); down >= i && down >= 0 && down-k <= lenB { // leaves one of b out
		i, from = down, k+1
	}
	return i, from
}

// reach finds the shortest way, or the farthest with [maxEdits].
func reach(a, b []uint64) way {
	along := func(k, i int) int {
		for i < len(a) && i-k < len(b) && a[i] == b[i-k] {
			i++
		}
		return i
	}
	trace := []edits{{at: []int{along(0, 0)}}}
	best, far := 0, 0 // the diagonal that has come the farthest
	for {
		last := &trace[len(trace)-1]
		if i := last.far(len(a) - len(b)); i == len(a) {
			return back(trace, len(a)-len(b), len(a), len(b))
		}
		if last.number == maxEdits {
			return back(trace, best, len(a), len(b))
		}
		next := edits{number: last.number + 1, at: make([]int, 2*last.number+3)}
		best, far = 0, -1
		for n := range next.at {
			k := n - next.number
			i, _ := last.move(k, len(a), len(b))
			if i >= 0 {
				i = along(k, i)
			}
			if next.at[n] = i; i >= 0 && 2*i-k > far {
				best, far = k, 2*i-k
			}
		}
		trace = append(trace, next)
	}
}

// back walks a way back from a diagonal to its beginning.
func back(trace []edits, k, lenA, lenB int) way {
	i := trace[len(trace)-1].far(k)
	out := way{a: i, b: i - k}
	for d := len(trace) - 1; d >= 0; d-- {
		start, from := 0, k // where the equal part began
		if d > 0 {
			start, from = trace[d-1].move(k, lenA, lenB)
		}
		for ; i > start; i-- {
			out.pairs = append(out.pairs, twin{i - 1, i - 1 - k})
		}
		if d > 0 {
			i, k = trace[d-1].far(from), from
		}
	}
	slices.Reverse(out.pairs)
	return out
}
