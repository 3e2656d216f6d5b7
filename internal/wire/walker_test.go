package wire_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/tape"
)

// walked is a frame, or raw bytes, put together again from parts.
type walked struct {
	Raw       bool
	Head      byte
	Masked    bool
	Mask      uint32
	Len       uint64
	Payload   []byte // plain, never nil
	Violation string
}

// walk sends pieces of a stream through a walker and joins the parts. Raw bytes
// are joined as far as they follow one another.
func walk(t testing.TB, w wire.Walker, pieces ...[]byte) []walked {
	t.Helper()
	var out []walked
	var parts []tape.Part
	for _, piece := range pieces {
		parts = w.Walk(parts[:0], piece)
		for _, p := range parts {
			out = join(t, out, p)
		}
	}
	for _, p := range w.End(nil) {
		out = join(t, out, p)
	}
	return out
}

func join(t testing.TB, out []walked, p tape.Part) []walked {
	t.Helper()
	switch {
	case p.Begin:
		out = append(out, walked{Head: p.Head, Masked: p.Masked, Mask: p.Mask, Len: p.Len, Payload: []byte{}, Violation: p.Violation})
	case p.Raw && (len(out) == 0 || !out[len(out)-1].Raw):
		out = append(out, walked{Raw: true, Payload: []byte{}, Violation: p.Violation})
	case len(out) == 0:
		t.Fatalf("a part continues nothing: %+v", p)
	}
	last := &out[len(out)-1]
	last.Payload = wire.AppendMasked(last.Payload, p.Payload, p.Mask, p.MaskOffset)
	return out
}

// unwalk writes what was walked back to bytes; long lengths come out short.
func unwalk(all []walked) []byte {
	var b []byte
	for _, w := range all {
		if w.Raw {
			b = append(b, w.Payload...)
			continue
		}
		var mask *[4]byte
		if w.Masked {
			mask = new([4]byte)
			binary.LittleEndian.PutUint32(mask[:], w.Mask)
		}
		b = wire.AppendHeader(b, w.Head, w.Len, mask)
		b = wire.AppendMasked(b, w.Payload, w.Mask, 0)
	}
	return b
}

func each(b []byte) [][]byte {
	pieces := make([][]byte, len(b))
	for i := range b {
		pieces[i] = b[i : i+1]
	}
	return pieces
}

// TestWalkerSeesTheFramesThatWereSent compares with the frames that a codec of
// another hand wrote.
func TestWalkerSeesTheFramesThatWereSent(t *testing.T) {
	rng := wstest.Rand(t)
	for _, from := range tape.Sides() {
		frames := wstest.Frames(rng, from, 500)
		got := walk(t, wire.NewWalker(from, false), wstest.Bytes(frames...))
		if len(got) != len(frames) {
			t.Fatalf("%d frames, want %d", len(got), len(frames))
		}
		for i, f := range frames {
			fin, rsv, op := wire.Split(got[i].Head)
			back := wstest.Frame{Fin: fin, RSV: rsv, Op: op, Payload: got[i].Payload, LenSize: f.LenSize}
			if got[i].Masked {
				back.Mask = new([4]byte)
				binary.LittleEndian.PutUint32(back.Mask[:], got[i].Mask)
			}
			if !bytes.Equal(wstest.Bytes(back), wstest.Bytes(f)) {
				t.Fatalf("frame %d: got %v, want %v", i, back, f)
			}
		}
	}
}

func TestAnyCutOfAStreamGivesTheSameFrames(t *testing.T) {
	rng := wstest.Rand(t)
	for round := range 20 {
		from := tape.Sides()[round%2]
		stream := wstest.Bytes(wstest.Frames(rng, from, 40)...)
		stream = stream[:len(stream)-rng.IntN(min(len(stream), 300))]
		if round%5 == 0 { // what cannot be parsed, in the middle
			stream = append(stream, wstest.Payload(rng, 100)...)
		}
		start := wire.NewWalker(from, round%3 == 0)
		want := walk(t, start, stream)
		for _, size := range []int{1, 2, 7, 100, 70_000} {
			got := walk(t, start, wstest.Cut(rng, stream, size)...)
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("round %d, pieces of up to %d bytes: other frames", round, size)
			}
		}
	}
}

func TestPartsHoldEveryByte(t *testing.T) {
	rng := wstest.Rand(t)
	for range 50 {
		frames := wstest.Frames(rng, tape.Client, 20)
		for i := range frames {
			frames[i].LenSize = 0
		}
		stream := append(wstest.Bytes(frames...), "\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xffrest"...)
		stream = append(stream, wstest.Payload(rng, rng.IntN(50))...)
		if got := unwalk(walk(t, wire.NewWalker(tape.Client, false), wstest.Cut(rng, stream, 50)...)); !bytes.Equal(got, stream) {
			t.Fatalf("%d bytes went in, %d other ones came out", len(stream), len(got))
		}
	}
}

// TestNextAgreesWithWalk walks step by step, and wants every step to hold one
// thing and all of them together to hold what walking at once holds.
func TestNextAgreesWithWalk(t *testing.T) {
	rng := wstest.Rand(t)
	for round := range 40 {
		from := tape.Sides()[round%2]
		stream := wstest.Bytes(wstest.Frames(rng, from, 30)...)
		if round%4 == 0 {
			stream = append(stream, "\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff1234 no frames"...)
		}
		checkNext(t, wire.NewWalker(from, false), wstest.Cut(rng, stream, 200))
	}
}

func checkNext(t testing.TB, w wire.Walker, pieces [][]byte) {
	t.Helper()
	start, stepped := w, [][]byte(nil)
	for _, piece := range pieces {
		for len(piece) > 0 {
			n, whole := w.Next(piece)
			if n < 1 || n > len(piece) || !whole && n != len(piece) {
				t.Fatalf("Next says %d, %v of %d bytes", n, whole, len(piece))
			}
			parts := w.Walk(nil, piece[:n])
			if things := count(parts); whole && things != 1 || !whole && things != 0 {
				t.Fatalf("Next says %d, %v, and those bytes hold %d things", n, whole, things)
			}
			stepped = append(stepped, piece[:n])
			piece = piece[n:]
		}
	}
	if !reflect.DeepEqual(walk(t, start, stepped...), walk(t, start, pieces...)) {
		t.Fatal("walking step by step gives other frames")
	}
}

// count counts parts, raw ones that follow one another as one.
func count(parts []tape.Part) (n int) {
	for i, p := range parts {
		if i == 0 || !p.Raw || !parts[i-1].Raw {
			n++
		}
	}
	return n
}

func TestViolations(t *testing.T) {
	client := func(f wstest.Frame) wstest.Frame { return f.From(tape.Client) }
	open := client(wstest.New(tape.Text, "a")).Part(false)
	rsv := func(n uint8, f wstest.Frame) wstest.Frame { f.RSV = n; return f }
	long := func(size int, f wstest.Frame) wstest.Frame { f.LenSize = size; return f }
	text := client(wstest.New(tape.Text, "hi"))
	tests := []struct {
		name    string
		from    tape.Side
		deflate bool
		frames  []wstest.Frame
		want    string // of the last frame; "" for a legal one
	}{
		{"text", tape.Client, false, []wstest.Frame{text}, ""},
		{"text from the server", tape.Server, false, []wstest.Frame{wstest.New(tape.Text, "hi")}, ""},
		{"fragments", tape.Client, false, []wstest.Frame{open, client(wstest.New(tape.Continuation, "b"))}, ""},
		{"ping between fragments", tape.Client, false, []wstest.Frame{open, client(wstest.New(tape.Ping, ""))}, ""},
		{"fragment after a ping between", tape.Client, false, []wstest.Frame{open, client(wstest.New(tape.Ping, "")), client(wstest.New(tape.Continuation, "b"))}, ""},
		{"RSV1 without deflate", tape.Client, false, []wstest.Frame{rsv(4, text)}, "reserved bit"},
		{"RSV1 with deflate", tape.Client, true, []wstest.Frame{rsv(4, text)}, ""},
		{"RSV2 with deflate", tape.Client, true, []wstest.Frame{rsv(2, text)}, "reserved bit"},
		{"RSV1 on a ping", tape.Client, true, []wstest.Frame{rsv(4, client(wstest.New(tape.Ping, "")))}, "reserved bit"},
		{"RSV1 on a continuation", tape.Client, true, []wstest.Frame{open, rsv(4, client(wstest.New(tape.Continuation, "")))}, "reserved bit"},
		{"data opcode 3", tape.Client, false, []wstest.Frame{client(wstest.New(3, ""))}, "reserved opcode"},
		{"control opcode 11", tape.Client, false, []wstest.Frame{client(wstest.New(11, ""))}, "reserved opcode"},
		{"unmasked client", tape.Client, false, []wstest.Frame{wstest.New(tape.Text, "hi")}, "unmasked"},
		{"masked server", tape.Server, false, []wstest.Frame{text}, "masked frame from the server"},
		{"ping of 125", tape.Client, false, []wstest.Frame{client(wstest.New(tape.Ping, strings.Repeat("x", 125)))}, ""},
		{"ping of 126", tape.Client, false, []wstest.Frame{client(wstest.New(tape.Ping, strings.Repeat("x", 126)))}, "longer than 125"},
		{"fragmented ping", tape.Client, false, []wstest.Frame{client(wstest.New(tape.Ping, "")).Part(false)}, "fragmented control"},
		{"stray continuation", tape.Client, false, []wstest.Frame{client(wstest.New(tape.Continuation, ""))}, "continuation of no message"},
		{"continuation behind the end", tape.Client, false, []wstest.Frame{text, client(wstest.New(tape.Continuation, ""))}, "continuation of no message"},
		{"message inside a message", tape.Client, false, []wstest.Frame{open, text}, "inside a fragmented one"},
		{"length 125 in 16 bits", tape.Client, false, []wstest.Frame{long(2, client(wstest.New(tape.Text, strings.Repeat("x", 125))))}, "fewest bytes"},
		{"length 65535 in 64 bits", tape.Client, false, []wstest.Frame{long(8, client(wstest.New(tape.Text, strings.Repeat("x", 65535))))}, "fewest bytes"},
		{"length 126", tape.Client, false, []wstest.Frame{client(wstest.New(tape.Text, strings.Repeat("x", 126)))}, ""},
		{"length 65536", tape.Client, false, []wstest.Frame{client(wstest.New(tape.Text, strings.Repeat("x", 65536)))}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := walk(t, wire.NewWalker(test.from, test.deflate), wstest.Bytes(test.frames...))
			for i, w := range got {
				want := ""
				if i == len(got)-1 {
					want = test.want
				}
				if w.Violation != want && (want == "" || !strings.Contains(w.Violation, want)) {
					t.Errorf("frame %d: violation %q, want %q", i, w.Violation, want)
				}
			}
		})
	}
}

func TestALengthWithTheTopBitSetIsRelayedBlind(t *testing.T) {
	good := wstest.Bytes(wstest.New(tape.Text, "fine"))
	bad := "\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x01 and whatever follows \x81\x02hi"
	stream := append(good, bad...)
	for _, pieces := range [][][]byte{{stream}, each(stream)} {
		w := wire.NewWalker(tape.Server, false)
		got := walk(t, w, pieces...)
		if len(got) != 2 || !got[1].Raw || string(got[1].Payload) != bad || !strings.Contains(got[1].Violation, "top bit") {
			t.Fatalf("got %+v", got)
		}
		for _, piece := range pieces {
			w.Walk(nil, piece)
		}
		if w.Boundary() {
			t.Error("a frame may not be put behind bytes that are not frames")
		}
		if n, whole := w.Next([]byte("more")); n != 4 || !whole {
			t.Errorf("Next says %d, %v of 4 raw bytes", n, whole)
		}
	}
}

func TestBoundaryIsWhereAFrameEnds(t *testing.T) {
	w := wire.NewWalker(tape.Client, false)
	stream := wstest.Bytes(wstest.New(tape.Text, "hi").From(tape.Client))
	for i, piece := range each(stream) {
		if at := w.Boundary(); at != (i == 0) {
			t.Errorf("boundary behind %d bytes of %d: %v", i, len(stream), at)
		}
		w.Walk(nil, piece)
	}
	if !w.Boundary() {
		t.Error("no boundary behind the frame")
	}
}

func TestAHeaderCutByTheEndIsRaw(t *testing.T) {
	header := []byte("\x81\xfe\x01\x00\x01\x02\x03")
	for n := 1; n <= len(header); n++ {
		got := walk(t, wire.NewWalker(tape.Client, false), each(header[:n])...)
		if len(got) != 1 || !got[0].Raw || !bytes.Equal(got[0].Payload, header[:n]) || got[0].Violation == "" {
			t.Errorf("%d bytes of a header: got %+v", n, got)
		}
	}
}

func TestWalkingDoesNotAllocate(t *testing.T) {
	chunk := chunkOfFrames(64<<10, 128)
	w := wire.NewWalker(tape.Client, false)
	parts := w.Walk(nil, chunk)
	if n := testing.AllocsPerRun(10, func() { parts = w.Walk(parts[:0], chunk) }); n != 0 {
		t.Errorf("%v allocations a chunk", n)
	}
}

func FuzzWalker(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, from := range tape.Sides() {
		f.Add(wstest.Bytes(wstest.Frames(rng, from, 4)...), uint64(7), from == tape.Client, true)
	}
	f.Add([]byte("\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff"), uint64(1), false, false)
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64, client, deflate bool) {
		from := tape.Server
		if client {
			from = tape.Client
		}
		rng := rand.New(rand.NewPCG(seed, 0))
		start := wire.NewWalker(from, deflate)
		want := walk(t, start, stream)
		pieces := wstest.Cut(rng, stream, 1+int(seed%50))
		if !reflect.DeepEqual(walk(t, start, pieces...), want) {
			t.Error("another cut gives other frames")
		}
		checkNext(t, start, pieces)
	})
}

// chunkOfFrames fills a chunk with masked frames, the last one cut off.
func chunkOfFrames(size, payload int) []byte {
	frame := wstest.Bytes(wstest.New(tape.Text, strings.Repeat("x", payload)).From(tape.Client))
	return bytes.Repeat(frame, size/len(frame))
}

func BenchmarkWalk(b *testing.B) {
	chunk := chunkOfFrames(64<<10, 128)
	w := wire.NewWalker(tape.Client, false)
	var parts []tape.Part
	b.SetBytes(int64(len(chunk)))
	b.ReportAllocs()
	for b.Loop() {
		parts = w.Walk(parts[:0], chunk)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(parts)), "ns/frame")
}

func BenchmarkAppendMasked(b *testing.B) {
	for _, size := range []int{128, 4 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			src, dst := make([]byte, size), make([]byte, 0, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				dst = wire.AppendMasked(dst[:0], src, 0x3d21fa37, 1)
			}
		})
	}
}
