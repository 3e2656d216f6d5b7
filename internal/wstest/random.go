package wstest

import (
	"math/rand/v2"
	"os"
	"strconv"

	"github.com/wstape/wstape/tape"
)

// Rand returns a source of random numbers whose seed is logged; the variable
// WSTAPE_SEED repeats a run.
func Rand(tb TB) *rand.Rand {
	tb.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("WSTAPE_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			tb.Fatalf("WSTAPE_SEED: %v", err)
		}
		seed = n
	}
	tb.Logf("WSTAPE_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// Edges are the payload lengths around which the length encoding changes.
func Edges() []int { return []int{0, 1, 125, 126, 127, 65535, 65536, 65537} }

// Payload returns n random bytes.
func Payload(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// Mask returns a random key, now and then the zero key.
func Mask(rng *rand.Rand) *[4]byte {
	if rng.IntN(20) == 0 {
		return new([4]byte)
	}
	return (*[4]byte)(Payload(rng, 4))
}

// Frames returns n random frames of one side that a parser can follow, legal or
// not: fragments with control frames between them, reserved bits and opcodes,
// wrong mask sides, stray continuations, long and fragmented control frames,
// close frames of every code, lengths not in their shortest form.
func Frames(rng *rand.Rand, from tape.Side, n int) []Frame {
	frames := make([]Frame, n)
	for i := range frames {
		frames[i] = randomFrame(rng, from)
	}
	return frames
}

func randomFrame(rng *rand.Rand, from tape.Side) Frame {
	ops := []tape.Opcode{tape.Continuation, tape.Text, tape.Binary, tape.Ping, tape.Pong}
	f := Frame{Fin: rng.IntN(3) > 0, Op: ops[rng.IntN(len(ops))], Payload: Payload(rng, rng.IntN(200))}
	if from == tape.Client {
		f.Mask = Mask(rng)
	}
	switch rng.IntN(20) {
	case 0:
		f.RSV = uint8(rng.IntN(8))
	case 1:
		f.Op = tape.Opcode(rng.IntN(16))
	case 2: // the wrong side masks
		if f.Mask = nil; from == tape.Server {
			f.Mask = Mask(rng)
		}
	case 3:
		f.LenSize = []int{2, 8}[rng.IntN(2)]
	case 4:
		edges := Edges()
		f.Payload = Payload(rng, edges[rng.IntN(len(edges))])
	case 5:
		f.Op, f.Payload = tape.Close, tape.AppendClose(nil, rng.IntN(1<<16), "bye")
	}
	return f
}

// Cut cuts b at random places, into pieces of at most size bytes.
func Cut(rng *rand.Rand, b []byte, size int) [][]byte {
	var pieces [][]byte
	for len(b) > 0 {
		n := min(1+rng.IntN(size), len(b))
		pieces = append(pieces, b[:n])
		b = b[n:]
	}
	return pieces
}
