package proxy_test

import (
	"math/rand/v2"
	"testing"

	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/proxy"
	"github.com/wstape/wstape/tape"
)

// passing is a play that passes everything in some manner.
func passing(m manner, wants func(tape.Side) (bool, bool)) *play {
	return &play{wants: wants, message: func(_ proxy.Handle, _ *tape.Message, done func(tape.Verdict)) {
		m.answer(func() { done(pass) })
	}}
}

// runStaged plays an exchange as session n past a stage, which control frames
// may pass while it holds messages.
func (x exchange) runStaged(t *testing.T, r *rig, n uint64, rng *rand.Rand) {
	t.Helper()
	var sent [2][]byte
	for _, from := range tape.Sides() {
		sent[from] = wstest.Bytes(x.frames[from]...)
	}
	got := x.send(t, r, sent, rng)
	for _, from := range tape.Sides() {
		arrived := wstest.Bytes(sorted(parseFrames(t, got[from]))...)
		sameBytes(t, from, arrived, wstest.Bytes(sorted(x.frames[from])...))
	}
	r.ended(n)
	for _, from := range tape.Sides() {
		sameFrames(t, from, r.frames(n, from), x.frames[from])
	}
}

func TestEveryByteArrivesPastAStageThatPassesEverything(t *testing.T) {
	rng := wstest.Rand(t)
	for _, c := range carriages() {
		for _, m := range manners(t, rng) {
			t.Run(c.name+", "+m.name, func(t *testing.T) {
				r := start(t, patient, c.apply, passing(m, wantAll).on(t))
				random(rng, 120, 65536, 200_000).runStaged(t, r, 1, rng)
			})
		}
	}
}

func TestEveryByteArrivesPastAStageOneByOne(t *testing.T) {
	rng := wstest.Rand(t)
	for _, m := range manners(t, rng) {
		t.Run(m.name, func(t *testing.T) {
			r := start(t, patient, passing(m, wantAll).on(t))
			x := random(rng, 30)
			x.piece, x.early = 1, [2]int{}
			x.runStaged(t, r, 1, rng)
		})
	}
}

func TestEveryByteArrivesPastAStageAtSlowReaders(t *testing.T) {
	for _, c := range carriages() {
		t.Run(c.name, func(t *testing.T) {
			rng := wstest.Rand(t)
			mixed := manners(t, rng)[2]
			r := start(t, patient, c.apply, passing(mixed, wantAll).on(t), func(c *setup) { c.buffers, c.HeldBytes = 16<<10, 5000 })
			x := random(rng, 40, 100_000)
			x.sip = 100
			x.runStaged(t, r, 1, rng)
		})
	}
}

// TestAStageThatWantsNoMessagesChangesNothing keeps even pings where they were.
func TestAStageThatWantsNoMessagesChangesNothing(t *testing.T) {
	rng := wstest.Rand(t)
	for name, wants := range map[string]func(tape.Side) (bool, bool){"nothing": wantNone, "control frames": wantControl} {
		t.Run(name, func(t *testing.T) {
			r := start(t, patient, passing(manners(t, rng)[0], wants).on(t))
			random(rng, 120, 65536, 1<<20).run(t, r, 1, rng)
			x := random(rng, 30)
			x.piece, x.early = 1, [2]int{}
			x.run(t, r, 2, rng)
		})
	}
}

// TestEveryByteArrivesWhileAStageChangesItsMind asks for another way with each
// frame and chunk.
func TestEveryByteArrivesWhileAStageChangesItsMind(t *testing.T) {
	rng := wstest.Rand(t)
	for _, m := range manners(t, rng) {
		for _, piece := range []int{3, 200, 20_000} {
			mind := dice{rng: rand.New(rand.NewPCG(rng.Uint64(), 0))}
			wants := func(tape.Side) (messages, control bool) { return mind.IntN(3) == 0, mind.IntN(3) == 0 }
			t.Run(m.name, func(t *testing.T) {
				r := start(t, patient, passing(m, wants).on(t))
				x := random(rng, 60, 65536)
				x.piece = piece
				x.runStaged(t, r, 1, rng)
			})
		}
	}
}
