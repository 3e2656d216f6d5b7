package replay

import (
	"hash/maphash"

	"github.com/wstape/wstape/tape"
)

// maxCells bounds how many pairs are tried to find those that are most alike.
const maxCells = 10_000

// pairing pairs what one side says in two sessions, in order: first what is the
// same, then, of what is left between, what is most alike.
type pairing struct {
	a, b   *told
	as, bs []int // steps
	pairs  []twin

	levels [3]struct{ a, b []uint64 } // tokens, made when they are needed
}

// side pairs what one side says. One of a pair is none where there is no other;
// what only a has comes before what only b has at the same place.
func (c *collation) side(from tape.Side) (all []twin) {
	p := &pairing{a: c.a, b: c.b, as: c.a.side(from), bs: c.b.side(from)}
	p.between(stretch{0, len(p.as), 0, len(p.bs)}, 0)
	p.pairs = append(p.pairs, twin{len(p.as), len(p.bs)}) // behind both
	i, j := 0, 0
	for _, pair := range p.pairs {
		for ; i < pair.a; i++ {
			all = append(all, twin{p.as[i], none})
		}
		for ; j < pair.b; j++ {
			all = append(all, twin{none, p.bs[j]})
		}
		if i < len(p.as) && j < len(p.bs) {
			all = append(all, twin{p.as[i], p.bs[j]})
		}
		i, j = i+1, j+1
	}
	return all
}

// tokens are what messages are aligned by, the particular before the general:
// what they say, kind and key, kind.
func (p *pairing) tokens(level int) (a, b []uint64) {
	l := &p.levels[level]
	if l.a == nil {
		l.a, l.b = p.a.tokensOf(p.as, level), p.b.tokensOf(p.bs, level)
	}
	return l.a, l.b
}

func (t *told) tokensOf(steps []int, level int) []uint64 {
	out := make([]uint64, len(steps))
	for n, i := range steps {
		switch s := &t.said[i]; level {
		case 0:
			out[n] = t.tokens[i]
		case 1:
			out[n] = maphash.String(t.seed, s.Kind+"\x00"+s.Key)
		default:
			out[n] = maphash.String(t.seed, s.Kind)
		}
	}
	return out
}

// between pairs a stretch: by tokens, and what is left between those by resemblance,
// or where that would be too much by the next tokens.
func (p *pairing) between(s stretch, level int) {
	if s.empty() {
		return
	}
	if level > 0 && (s.a1-s.a0)*(s.b1-s.b0) <= maxCells {
		p.alike(s)
		return
	}
	if level == len(p.levels) {
		return
	}
	a, b := p.tokens(level)
	from := s
	for _, pair := range align(a, b, s) {
		p.between(stretch{from.a0, pair.a, from.b0, pair.b}, level+1)
		p.pairs = append(p.pairs, pair)
		from.a0, from.b0 = pair.a+1, pair.b+1
	}
	p.between(from, level+1)
}

// alike pairs what is most alike in all, in order.
func (p *pairing) alike(s stretch) {
	as, bs := make([]likely, s.a1-s.a0), make([]likely, s.b1-s.b0)
	for i := range as {
		as[i] = p.a.likely(p.as[s.a0+i])
	}
	for j := range bs {
		bs[j] = p.b.likely(p.bs[s.b0+j])
	}
	width := len(bs) + 1
	best := make([]float64, (len(as)+1)*width) // of as[i:] and bs[j:]
	score := make([]float64, len(as)*len(bs))
	for i := len(as) - 1; i >= 0; i-- {
		for j := len(bs) - 1; j >= 0; j-- {
			x := worth(&as[i], &bs[j])
			score[i*len(bs)+j] = x
			m := max(best[(i+1)*width+j], best[i*width+j+1])
			if x > 0 {
				m = max(m, x+best[(i+1)*width+j+1])
			}
			best[i*width+j] = m
		}
	}
	for i, j := 0, 0; i < len(as) && j < len(bs); {
		switch x, m := score[i*len(bs)+j], best[i*width+j]; {
		case x > 0 && m == x+best[(i+1)*width+j+1]:
			p.pairs = append(p.pairs, twin{s.a0 + i, s.b0 + j})
			i, j = i+1, j+1
		case m == best[(i+1)*width+j]:
			i++
		default:
			j++
		}
	}
}

// worth is how much speaks for two messages being versions of one; 0 if nothing
// does. One kind alone is enough, or one key where there is one.
func worth(a, b *likely) float64 {
	sameKey := a.key != "" && a.key == b.key
	switch {
	case a.kind == b.kind && sameKey:
		return 0.5 + resemblance(a, b)
	case a.kind == b.kind:
		return 0.25 + resemblance(a, b)
	case sameKey:
		return 0.1 + resemblance(a, b)/4
	}
	return 0
}
