package wire_test

import (
	"bytes"
	"compress/flate"
	"testing"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/internal/wstest"
)

// both is an inflater that keeps its decoder beside one that does not.
type both struct{ kept, plain *wire.Inflater }

func newBoth(limit uint64, window []byte) both {
	b := both{wire.NewInflater(true, limit), wire.NewInflater(true, limit)}
	b.kept.KeepDecoder()
	b.kept.SetWindow(window)
	b.plain.SetWindow(window)
	return b
}

// message wants the same of both.
func (b both) message(t *testing.T, message []byte, keep uint64) {
	t.Helper()
	got, total, err := b.kept.Message([]byte("before"), message, keep)
	want, wantTotal, wantErr := b.plain.Message([]byte("before"), message, keep)
	if !bytes.Equal(got, want) || total != wantTotal || (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
		t.Fatalf("%d bytes gave %d of %d, %v; without a kept decoder %d of %d, %v", len(message), len(got), total, err, len(want), wantTotal, wantErr)
	}
	if err == nil && !bytes.Equal(b.kept.Window(), b.plain.Window()) { // after an error it is lost
		t.Fatalf("after %d bytes the windows differ: %d and %d bytes", len(message), len(b.kept.Window()), len(b.plain.Window()))
	}
}

func TestAKeptDecoderInflatesTheSame(t *testing.T) {
	rng := wstest.Rand(t)
	sizes := []int{0, 1, 5, 100, 4 << 10, 32<<10 - 1, 32 << 10, 32<<10 + 1, 40 << 10, 150 << 10}
	for _, level := range []int{flate.NoCompression, flate.HuffmanOnly, flate.BestSpeed, flate.BestCompression} {
		d, b := newDeflater(true, level), newBoth(everything, nil)
		sum := 0
		for range 100 {
			size := rng.IntN(300)
			switch rng.IntN(12) {
			case 0:
				size = sizes[rng.IntN(len(sizes))]
			case 1:
				size = wire.WindowSize - sum%wire.WindowSize // ends where the decoder's buffer does
			}
			plain := prose(rng, size)
			if rng.IntN(5) == 0 {
				plain = wstest.Payload(rng, size)
			}
			sum += size
			message := d.message(plain)
			if rng.IntN(30) == 0 {
				message = append(message, "\x00\x00\xff\xff\x00"...) // flushed once more
			}
			if rng.IntN(30) == 0 {
				b.plain.SetWindow(bytes.Clone(b.plain.Window()))
				b.kept.SetWindow(bytes.Clone(b.kept.Window()))
			}
			b.message(t, message, []uint64{everything, 0, 10}[rng.IntN(3)])
		}
		b.message(t, wstest.Payload(rng, 50), everything) // most of such are an error
		b.message(t, d.message([]byte("after")), everything)
	}
}

func TestAKeptDecoderKeepsToTheLimit(t *testing.T) {
	d := newDeflater(true, flate.BestCompression)
	b := newBoth(100<<10, nil)
	b.message(t, d.message(make([]byte, 100<<10)), everything)
	b.message(t, d.message(make([]byte, 100<<10+1)), everything)
	b.message(t, d.message([]byte("after")), everything)
}

// FuzzKeptDecoder wants an inflater that keeps its decoder to say what one
// without says, whatever the messages.
func FuzzKeptDecoder(f *testing.F) {
	d := newDeflater(true, flate.BestCompression)
	f.Add(d.message([]byte("Hello, Hello")), d.message([]byte("Hello")), []byte{})
	f.Add([]byte("\xf2\x48\xcd\xc9\xc9\x07\x00"), []byte("\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), []byte("Hello")) // the second final
	f.Add([]byte("\x00\x05\x00\xfa\xffHello\x00"), []byte("\x00\x09\x00\xf6\xff"), []byte("x"))                // stored; the second takes the tail for data
	f.Fuzz(func(t *testing.T, first, second, window []byte) {
		b := newBoth(1<<20, window)
		for _, message := range [][]byte{first, second, first} {
			b.message(t, message, everything)
		}
		// Where the decoder's buffer ends inside of a message.
		for _, short := range []int{0, 1, 2, len(first) % 64} {
			b := newBoth(1<<20, bytes.Repeat([]byte("wstape! "), wire.WindowSize/8)[short:])
			b.message(t, first, everything)
			b.message(t, second, everything)
		}
	})
}
