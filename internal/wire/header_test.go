package wire_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/gobwas/ws"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/tape"
)

// lengths are those around which the encoding changes, and some far away.
func lengths() []uint64 {
	return []uint64{0, 1, 125, 126, 127, 65535, 65536, 65537, 1 << 62, 1<<63 - 1}
}

func side(masked bool) tape.Side {
	if masked {
		return tape.Client
	}
	return tape.Server
}

func TestHeadersComeBackAsTheyWereWritten(t *testing.T) {
	rng := wstest.Rand(t)
	for _, length := range lengths() {
		for head := range 256 {
			var mask *[4]byte
			if head%2 == 0 {
				mask = wstest.Mask(rng)
			}
			b := wire.AppendHeader(nil, byte(head), length, mask)
			if len(b) > wire.MaxHeader {
				t.Fatalf("a header of %d bytes", len(b))
			}
			w := wire.NewWalker(side(mask != nil), false)
			parts := w.Walk(nil, b)
			if len(parts) != 1 {
				t.Fatalf("length %d: %d parts", length, len(parts))
			}
			p := parts[0]
			if !p.Begin || p.Raw || p.Head != byte(head) || p.Len != length || p.Masked != (mask != nil) {
				t.Fatalf("length %d, head %#x: got %+v", length, head, p)
			}
			if mask != nil && p.Mask != binary.LittleEndian.Uint32(mask[:]) {
				t.Fatalf("mask %#x came back as %#x", mask, p.Mask)
			}
			if fin, rsv, op := wire.Split(p.Head); wire.Head(fin, rsv, op) != p.Head {
				t.Fatalf("head %#x comes apart and together as another", head)
			}
		}
	}
}

// TestHeadersAreThoseOfGobwas compares both directions with another library.
func TestHeadersAreThoseOfGobwas(t *testing.T) {
	rng := wstest.Rand(t)
	for range 5000 {
		h := ws.Header{
			Fin: rng.IntN(2) == 0, Rsv: byte(rng.IntN(8)), OpCode: ws.OpCode(rng.IntN(16)),
			Masked: rng.IntN(2) == 0, Length: rng.Int64() >> rng.IntN(63),
		}
		var mask *[4]byte
		if h.Masked {
			h.Mask = *wstest.Mask(rng)
			mask = &h.Mask
		}
		var theirs bytes.Buffer
		if err := ws.WriteHeader(&theirs, h); err != nil {
			t.Fatal(err)
		}
		head := wire.Head(h.Fin, h.Rsv, tape.Opcode(h.OpCode))
		if ours := wire.AppendHeader(nil, head, uint64(h.Length), mask); !bytes.Equal(ours, theirs.Bytes()) {
			t.Fatalf("%+v: wrote %x, gobwas %x", h, ours, theirs.Bytes())
		}
	}
}

// TestAnyHeaderReadsAsGobwasReadsIt takes random bytes.
func TestAnyHeaderReadsAsGobwasReadsIt(t *testing.T) {
	rng := wstest.Rand(t)
	for range 20000 {
		b := wstest.Payload(rng, wire.MaxHeader)
		h, err := ws.ReadHeader(bytes.NewReader(b))
		w := wire.NewWalker(tape.Client, false)
		p := w.Walk(nil, b)[0]
		if err != nil {
			if !p.Raw {
				t.Fatalf("%x: gobwas says %v, got %+v", b, err, p)
			}
			continue
		}
		want := tape.Part{Head: wire.Head(h.Fin, h.Rsv, tape.Opcode(h.OpCode)), Masked: h.Masked, Len: uint64(h.Length)}
		if h.Masked {
			want.Mask = binary.LittleEndian.Uint32(h.Mask[:])
		}
		if p.Head != want.Head || p.Masked != want.Masked || p.Len != want.Len || p.Mask != want.Mask {
			t.Fatalf("%x: got %+v, gobwas reads %+v", b, p, h)
		}
	}
}

func TestMaskingIsTheNaiveLoop(t *testing.T) {
	rng := wstest.Rand(t)
	for n := range 101 {
		for offset := range uint8(8) {
			for _, mask := range []uint32{0, rng.Uint32(), 0xff} {
				src := wstest.Payload(rng, n)
				want := append([]byte("before"), src...)
				for i := range src {
					want[6+i] ^= byte(mask >> (8 * ((uint(offset) + uint(i)) % 4)))
				}
				if got := wire.AppendMasked([]byte("before"), src, mask, offset); !bytes.Equal(got, want) {
					t.Fatalf("%d bytes, offset %d, mask %#x: got %x, want %x", n, offset, mask, got, want)
				}
			}
		}
	}
}

func TestFramesAreThoseOfAnotherHand(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, n := range wstest.Edges() {
		for _, from := range tape.Sides() {
			f := wstest.Frame{Fin: true, Op: tape.Binary, Payload: wstest.Payload(rng, n)}.From(from)
			if got := wire.AppendFrame([]byte("x"), wire.Head(true, 0, tape.Binary), f.Payload, f.Mask); !bytes.Equal(got[1:], wstest.Bytes(f)) {
				t.Errorf("%d bytes from the %v differ", n, from)
			}
		}
	}
}

func TestCloseViolations(t *testing.T) {
	tests := []struct {
		payload string
		want    string
	}{
		{"", ""},
		{"\x03", wire.ViolationCloseLen},
		{"\x03\xe8", ""},
		{"\x03\xe8bye é", ""},
		{"\x03\xe8\xff", wire.ViolationCloseReason},
	}
	codes := map[int]bool{999: false, 1000: true, 1003: true, 1004: false, 1005: false, 1006: false, 1007: true, 1014: true, 1015: false,
		1016: false, 2999: false, 3000: true, 4999: true, 5000: false, 0: false, 65535: false}
	for code, legal := range codes {
		want := ""
		if !legal {
			want = wire.ViolationCloseCode
		}
		tests = append(tests, struct{ payload, want string }{string(binary.BigEndian.AppendUint16(nil, uint16(code))), want})
	}
	for _, test := range tests {
		if got := wire.CloseViolation([]byte(test.payload)); got != test.want {
			t.Errorf("payload %q: %q, want %q", test.payload, got, test.want)
		}
	}
}

// FuzzCloseViolation wants what gobwas accepts to be legal, where the two mean
// the same rules.
func FuzzCloseViolation(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte("\x03\xe8bye"))
	f.Add([]byte("\x03\xed"))
	f.Add([]byte("\x03\xe8\xe2\x82"))
	f.Fuzz(func(t *testing.T, payload []byte) {
		violation := wire.CloseViolation(payload)
		if len(payload) < 2 {
			if (violation == "") != (len(payload) == 0) {
				t.Errorf("%d bytes: %q", len(payload), violation)
			}
			return
		}
		code, reason := ws.ParseCloseFrameData(payload)
		err := ws.CheckCloseFrameData(code, reason)
		other := code >= 1012 && code <= 1014 || code >= 5000 // registered later; beyond RFC 6455 section 7.4.2
		if (violation == "") != (err == nil) && !other {
			t.Errorf("%x: %q, gobwas says %v", payload, violation, err)
		}
	})
}
