package storetest

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"time"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// randomSteps is how many operations the random part does.
const randomSteps = 200

// random does arbitrary operations on the engine and on [record.Memory], which
// is simple enough to be believed, and compares what both say.
func random(t T, s record.Store) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := &randomRun{t: t, rand: rand.New(rand.NewPCG(seed, 0)), engine: s, oracle: record.NewMemory()}
	for range randomSteps {
		r.step()
	}
	r.compare()
}

type randomRun struct {
	t              T
	rand           *rand.Rand
	engine, oracle record.Store
	all            []*session
	last           record.Batch
}

func (r *randomRun) both(what string, do func(record.Store) error) {
	r.t.Helper()
	got, want := do(r.engine), do(r.oracle)
	for _, kind := range []error{record.ErrNotFound, record.ErrOpen} {
		if errors.Is(got, kind) != errors.Is(want, kind) || (got == nil) != (want == nil) {
			r.t.Fatalf("%s: the engine says %v, memory %v", what, got, want)
		}
	}
}

func (r *randomRun) pick() *session {
	if len(r.all) == 0 || r.rand.IntN(8) == 0 {
		return r.begin()
	}
	return r.all[r.rand.IntN(len(r.all))]
}

func (r *randomRun) begin() *session {
	one := begun(r.t, r.engine)
	if n, _ := r.oracle.Begin(context.Background()); n != one.entry.N {
		r.t.Fatalf("begin: the engine gave %d, memory %d", one.entry.N, n)
	}
	r.all = append(r.all, one)
	return one
}

func (r *randomRun) step() {
	ctx := context.Background()
	switch one := r.pick(); r.rand.IntN(12) {
	default:
		r.last = r.batch()
		r.both("append", func(s record.Store) error { return s.Append(ctx, r.last) })
	case 0:
		r.both("append again", func(s record.Store) error { return s.Append(ctx, r.last) })
	case 1:
		r.both("label", func(s record.Store) error {
			return s.SetLabel(ctx, one.entry.N, record.Label{Tags: map[string]string{"k": one.entry.URL}})
		})
	case 2:
		r.both("delete", func(s record.Store) error { return s.Delete(ctx, one.entry.N) })
		r.last = record.Batch{} // which might bring it back
		if one.entry.State != tape.Open {
			r.forget(one)
		}
	case 3:
		r.compare()
	}
}

func (r *randomRun) forget(one *session) {
	for i, s := range r.all {
		if s == one {
			r.all = append(r.all[:i], r.all[i+1:]...)
			return
		}
	}
}

// batch makes something happen to a few sessions.
func (r *randomRun) batch() (b record.Batch) {
	for range 1 + r.rand.IntN(3) {
		one := r.pick()
		if one.entry.State != tape.Open {
			continue
		}
		if r.rand.IntN(4) == 0 {
			one.entry.Tags = maps.Clone(one.entry.Tags)
			if one.entry.Tags == nil {
				one.entry.Tags = map[string]string{}
			}
			one.entry.Tags["k"+string('0'+rune(r.rand.IntN(3)))] = string('a' + rune(r.rand.IntN(3)))
		}
		c := one.more(r.size())
		if r.rand.IntN(5) == 0 {
			c.entry = one.end().entry
		}
		more := join(c)
		b.Entries, b.Segments = append(b.Entries, more.Entries...), append(b.Segments, more.Segments...)
		if r.rand.IntN(4) == 0 {
			w := record.Window{Session: one.entry.N, From: tape.Side(r.rand.IntN(2)), Offset: c.segment.End(), Bytes: c.segment.Raw[:1]}
			b.Windows = append(b.Windows, w)
		}
	}
	return b
}

// size is mostly small, as batches are.
func (r *randomRun) size() int { return 1 + r.rand.IntN([]int{20, 500, 5000, 300_000}[r.rand.IntN(4)]) }

func (r *randomRun) compare() {
	ctx := context.Background()
	got, want := sessions(r.t, r.engine), sessions(r.t, r.oracle)
	if len(got) != len(want) {
		r.t.Fatalf("the engine has sessions %v, memory %v", numbers(got), numbers(want))
	}
	for i := range want {
		n := want[i].N
		equalEntries(r.t, &got[i], &want[i])
		offset := r.rand.Uint64N(want[i].Size + 1)
		if g, w := joined(r.t, r.engine, n, offset), joined(r.t, r.oracle, n, offset); !bytes.Equal(g, w) {
			r.t.Fatalf("session %d from %d on: the engine has %d bytes, memory %d, or they differ", n, offset, len(g), len(w))
		}
		from := tape.Side(r.rand.IntN(2))
		g, err := r.engine.Window(ctx, n, from, offset)
		must(r.t, err)
		w, err := r.oracle.Window(ctx, n, from, offset)
		must(r.t, err)
		if g.Offset != w.Offset || !bytes.Equal(g.Bytes, w.Bytes) {
			r.t.Fatalf("session %d, window at %d: the engine has %d, memory %d", n, offset, g.Offset, w.Offset)
		}
	}
}

// joined is a session's stream from an offset on.
func joined(t T, s record.Store, n, offset uint64) (out []byte) {
	t.Helper()
	for _, seg := range stream(t, s, n, offset) {
		out = append(out, seg.Raw[max(offset, seg.Offset)-seg.Offset:]...)
	}
	return out
}
