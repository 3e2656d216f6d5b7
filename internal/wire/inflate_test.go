package wire_test

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/internal/wstest"
)

const everything = math.MaxUint64

// deflater compresses messages as a peer does (RFC 7692 section 7.2.1), with the
// standard library, which is not what wire inflates with.
type deflater struct {
	takeover bool
	out      bytes.Buffer
	fw       *flate.Writer
}

func newDeflater(takeover bool, level int) *deflater {
	d := &deflater{takeover: takeover}
	d.fw, _ = flate.NewWriter(&d.out, level)
	return d
}

func (d *deflater) message(plain []byte) []byte {
	d.out.Reset()
	if !d.takeover {
		d.fw.Reset(&d.out)
	}
	_, _ = d.fw.Write(plain)
	_ = d.fw.Flush()
	return bytes.Clone(bytes.TrimSuffix(d.out.Bytes(), []byte("\x00\x00\xff\xff")))
}

// prose makes n bytes that compress, and that refer far back.
func prose(rng *rand.Rand, n int) []byte {
	words := []string{"price", `"symbol":"BTC"`, "the quick brown fox ", "é", `{"id":`, "0123456789"}
	var b []byte
	for len(b) < n {
		b = append(b, words[rng.IntN(len(words))]...)
		b = append(b, byte('a'+rng.IntN(26)))
	}
	return b[:n]
}

func TestMessagesInflateToWhatWasDeflated(t *testing.T) {
	rng := wstest.Rand(t)
	sizes := []int{0, 1, 5, 100, 4 << 10, 16 << 10, 32<<10 - 1, 32 << 10, 40 << 10, 41 << 10, 200 << 10}
	for _, takeover := range []bool{false, true} {
		for _, level := range []int{flate.NoCompression, flate.HuffmanOnly, flate.BestSpeed, flate.BestCompression} {
			d, z := newDeflater(takeover, level), wire.NewInflater(takeover, everything)
			for range 15 {
				plain := prose(rng, sizes[rng.IntN(len(sizes))])
				if rng.IntN(5) == 0 {
					plain = wstest.Payload(rng, len(plain))
				}
				got, total, err := z.Message([]byte("before"), d.message(plain), everything)
				if err != nil || string(got) != "before"+string(plain) || total != uint64(len(plain)) {
					t.Fatalf("takeover %v, level %d: %d bytes came back as %d (%d), %v", takeover, level, len(plain), len(got)-6, total, err)
				}
			}
		}
	}
}

func TestTheWindowIsTheLastPlainBytes(t *testing.T) {
	rng := wstest.Rand(t)
	d, z := newDeflater(true, flate.BestSpeed), wire.NewInflater(true, everything)
	var all []byte
	for range 200 {
		plain := prose(rng, rng.IntN(3000))
		all = append(all, plain...)
		if _, _, err := z.Message(nil, d.message(plain), 0); err != nil {
			t.Fatal(err)
		}
		if want := all[max(0, len(all)-wire.WindowSize):]; !bytes.Equal(z.Window(), want) {
			t.Fatalf("behind %d plain bytes, the window of %d is not their end", len(all), len(z.Window()))
		}
	}
}

func TestAnotherInflaterGoesOnFromTheWindow(t *testing.T) {
	rng := wstest.Rand(t)
	d, first := newDeflater(true, flate.BestCompression), wire.NewInflater(true, everything)
	for range 20 {
		if _, _, err := first.Message(nil, d.message(prose(rng, 5000)), 0); err != nil {
			t.Fatal(err)
		}
	}
	second := wire.NewInflater(true, everything)
	if _, _, err := second.Message(nil, []byte("\xff\xff\xff"), 0); err == nil {
		t.Fatal("garbage was inflated")
	}
	second.SetWindow(first.Window()) // which also makes good what was lost
	plain := prose(rng, 5000)
	got, _, err := second.Message(nil, d.message(plain), everything)
	if err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

// TestAReferenceBeyondTheWindowIsAnError uses stored history: a peer may refer
// 32 KiB back and no further.
func TestAReferenceBeyondTheWindowIsAnError(t *testing.T) {
	rng := wstest.Rand(t)
	secret := wstest.Payload(rng, 300)
	var out bytes.Buffer
	fw, err := flate.NewWriterDict(&out, flate.BestCompression, secret)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = fw.Write(secret)
	_ = fw.Flush()
	message := bytes.TrimSuffix(out.Bytes(), []byte("\x00\x00\xff\xff"))

	z := wire.NewInflater(true, everything)
	z.SetWindow(secret)
	if got, _, err := z.Message(nil, message, everything); err != nil || !bytes.Equal(got, secret) {
		t.Fatalf("with the window: %v", err)
	}
	z.SetWindow(nil)
	if _, _, err := z.Message(nil, message, everything); err == nil {
		t.Error("without the window it was inflated")
	}
}

func TestFinalBlocksDoNotEndAMessage(t *testing.T) {
	tests := []struct{ name, message, want string }{
		{"RFC 7692 7.2.3.1", "\xf2\x48\xcd\xc9\xc9\x07\x00", "Hello"},
		{"RFC 7692 7.2.3.3, stored", "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", "Hello"},
		{"RFC 7692 7.2.3.4, final", "\xf3\x48\xcd\xc9\xc9\x07\x00\x00", "Hello"},
		{"RFC 7692 7.2.3.5, two blocks", "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", "Hello"},
		{"final, and nothing behind it", "\xf3\x48\xcd\xc9\xc9\x07\x00", "Hello"},
		{"two final blocks", "\xf3\x48\xcd\xc9\xc9\x07\x00\xf3\x48\xcd\xc9\xc9\x07\x00\x00", "HelloHello"},
		{"an empty message", "\x00", ""},
	}
	for _, test := range tests {
		for _, takeover := range []bool{false, true} {
			z := wire.NewInflater(takeover, everything)
			got, total, err := z.Message(nil, []byte(test.message), everything)
			if err != nil || string(got) != test.want || total != uint64(len(test.want)) {
				t.Errorf("%s: got %q, %d, %v; want %q", test.name, got, total, err, test.want)
			}
		}
	}
}

// TestAFinalBlockKeepsTheWindow marks the first block of real messages final.
func TestAFinalBlockKeepsTheWindow(t *testing.T) {
	rng := wstest.Rand(t)
	for _, level := range []int{flate.HuffmanOnly, flate.BestCompression} {
		d, z := newDeflater(true, level), wire.NewInflater(true, everything)
		for i := range 200 {
			plain := prose(rng, 1+rng.IntN(2000))
			message := d.message(plain)
			if i%2 == 0 {
				message[0] |= 1 // a block of its own may now follow, but need not
			}
			got, _, err := z.Message(nil, message, everything)
			if err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("message %d: %d of %d bytes, %v", i, len(got), len(plain), err)
			}
		}
	}
}

func TestGarbageLosesOnlyWhatDependsOnIt(t *testing.T) {
	plain := []byte("hello")
	for _, takeover := range []bool{false, true} {
		d, z := newDeflater(takeover, flate.BestSpeed), wire.NewInflater(takeover, everything)
		if _, _, err := z.Message(nil, []byte("\xff\xff\xff garbage"), everything); err == nil {
			t.Fatal("garbage was inflated")
		}
		got, _, err := z.Message(nil, d.message(plain), everything)
		switch {
		case takeover && !errors.Is(err, wire.ErrWindowLost):
			t.Errorf("with takeover: %q, %v", got, err)
		case !takeover && (err != nil || !bytes.Equal(got, plain)):
			t.Errorf("without takeover: %q, %v", got, err)
		}
	}
}

func TestWithoutTakeoverAMessageSeesNoEarlierOne(t *testing.T) {
	d := newDeflater(true, flate.BestCompression)
	first, second := d.message([]byte(strings.Repeat("abcdefgh", 20))), d.message([]byte(strings.Repeat("abcdefgh", 20)))
	z := wire.NewInflater(false, everything)
	if _, _, err := z.Message(nil, first, everything); err != nil {
		t.Fatal(err)
	}
	if got, _, err := z.Message(nil, second, everything); err == nil {
		t.Errorf("inflated %q from a window that it must not have", got)
	}
}

func TestAMessageIsCutAtItsLimits(t *testing.T) {
	bomb := newDeflater(true, flate.BestCompression).message(make([]byte, 10<<20))
	tests := []struct {
		name        string
		limit, keep uint64
		total, kept int
		err         error
	}{
		{"just enough", 10 << 20, everything, 10 << 20, 10 << 20, nil},
		{"keep some", everything, 100, 10 << 20, 100, nil},
		{"keep none", everything, 0, 10 << 20, 0, nil},
		{"limit", 1 << 20, everything, -1, -1, wire.ErrInflateLimit},
	}
	for _, test := range tests {
		got, total, err := wire.NewInflater(true, test.limit).Message(nil, bomb, test.keep)
		if !errors.Is(err, test.err) {
			t.Errorf("%s: error %v", test.name, err)
		}
		if test.err == nil && (int(total) != test.total || len(got) != test.kept) {
			t.Errorf("%s: kept %d of %d", test.name, len(got), total)
		}
		if over := uint64(64 << 10); test.err != nil && uint64(len(got)) > test.limit+over {
			t.Errorf("%s: %d bytes were inflated", test.name, len(got))
		}
	}
}

// FuzzInflate wants any bytes to give an answer within the limit, the same as
// the standard library's where that gives one, and the same with less kept.
func FuzzInflate(f *testing.F) {
	f.Add([]byte("\xf2\x48\xcd\xc9\xc9\x07\x00"), []byte(""), true)
	f.Add([]byte("\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), []byte("Hello"), false)
	f.Add(newDeflater(true, flate.BestCompression).message(bytes.Repeat([]byte("wstape "), 50)), []byte("wstape"), true)
	f.Fuzz(func(t *testing.T, message, window []byte, takeover bool) {
		const limit = 1 << 20
		inflate := func(keep uint64) ([]byte, uint64, error) {
			z := wire.NewInflater(takeover, limit)
			if takeover {
				z.SetWindow(window)
			}
			return z.Message(nil, message, keep)
		}
		got, total, err := inflate(everything)
		if err == nil && (total > limit || uint64(len(got)) != total) {
			t.Fatalf("kept %d of %d", len(got), total)
		}
		few, again, fewErr := inflate(10)
		if (err == nil) != (fewErr == nil) || again != total || !bytes.HasPrefix(got, few) || len(few) > 10 {
			t.Fatalf("keeping 10: %d of %d, %v", len(few), again, fewErr)
		}
		if !takeover {
			window = nil
		}
		want, left, wantErr := stdInflate(message, window[max(0, len(window)-wire.WindowSize):])
		if wantErr == nil && left == 0 && len(want) <= limit && (err != nil || !bytes.Equal(got, want)) {
			t.Fatalf("got %d bytes, %v; compress/flate gives %d", len(got), err, len(want))
		}
		if wantErr != nil && err == nil {
			t.Fatalf("got %d bytes; compress/flate says %v", len(got), wantErr)
		}
	})
}

// stdInflate inflates up to the first final block, and says how much of the
// message is left there.
func stdInflate(message, window []byte) (plain []byte, left int, err error) {
	tail := []byte("\x00\x00\xff\xff\x01\x00\x00\xff\xff")
	src := bytes.NewReader(append(bytes.Clone(message), tail...))
	plain, err = io.ReadAll(io.LimitReader(flate.NewReaderDict(src, window), 2<<20))
	return plain, max(0, src.Len()-len(tail)), err
}

func BenchmarkInflate(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, how := range []string{"alone", "takeover", "kept"} {
		b.Run(how, func(b *testing.B) {
			takeover := how != "alone"
			d := newDeflater(takeover, flate.BestSpeed)
			plain := prose(rng, 512)
			d.message(plain)
			message := d.message(plain)
			z := wire.NewInflater(takeover, everything)
			if how == "kept" {
				z.KeepDecoder()
			}
			z.SetWindow(plain)
			var out []byte
			b.SetBytes(512)
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if out, _, err = z.Message(out[:0], message, everything); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestAMessageOfFinalBlocksIsRefused(t *testing.T) {
	z := wire.NewInflater(false, 1<<20)
	message := bytes.Repeat([]byte{0x03, 0x00}, 1<<20) // each an empty final block
	if _, _, err := z.Message(nil, message, 1<<20); err == nil || !strings.Contains(err.Error(), "marked final") {
		t.Errorf("got %v", err)
	}
	if plain, _, err := z.Message(nil, []byte{0xca, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00}, 1<<20); err != nil {
		t.Errorf("the next message: %q, %v", plain, err)
	}
}
