package proxy_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/tape"
)

// carriage is how the two legs are carried.
type carriage struct {
	name                       string
	clientSecure, serverSecure bool
}

func carriages() []carriage {
	return []carriage{{"ws to ws", false, false}, {"wss to ws", true, false}, {"ws to wss", false, true}, {"wss to wss", true, true}}
}

func (c carriage) apply(s *setup) { s.clientSecure, s.serverSecure = c.clientSecure, c.serverSecure }

// exchange is what both sides send in one session, and how.
type exchange struct {
	frames [2][]wstest.Frame
	early  [2]int // bytes sent in one piece with the request, and with the 101
	piece  int    // bytes of a write at most
	sip    int    // bytes of a read at most
}

// random makes an exchange of n frames a side, with big ones among them.
func random(rng *rand.Rand, n int, big ...int) exchange {
	x := exchange{piece: 1 + rng.IntN(20_000), sip: 64 << 10}
	for _, from := range tape.Sides() {
		x.frames[from] = wstest.Frames(rng, from, n)
		for _, size := range big {
			f := wstest.Frame{Fin: true, Op: tape.Binary, Payload: wstest.Payload(rng, size)}.From(from)
			at := rng.IntN(n)
			x.frames[from][at] = f
		}
		x.early[from] = rng.IntN(len(wstest.Bytes(x.frames[from]...)) / 2)
	}
	return x
}

// run plays an exchange as session n of a rig, both directions at once, and
// wants every byte at the other end, and every frame on the tape.
func (x exchange) run(t *testing.T, r *rig, n uint64, rng *rand.Rand) {
	t.Helper()
	var sent [2][]byte
	for _, from := range tape.Sides() {
		sent[from] = wstest.Bytes(x.frames[from]...)
	}
	got := x.send(t, r, sent, rng)
	for _, from := range tape.Sides() {
		sameBytes(t, from, got[from], sent[from])
	}
	r.ended(n)
	for _, from := range tape.Sides() {
		sameFrames(t, from, r.frames(n, from), x.frames[from])
	}
}

// send returns what arrived of what each side sent.
func (x exchange) send(t *testing.T, r *rig, sent [2][]byte, rng *rand.Rand) (got [2][]byte) {
	t.Helper()
	client := r.dial()
	client.WriteString(wstest.Request("/") + string(sent[tape.Client][:x.early[tape.Client]]))
	server := r.upstream.Accept()
	server.ReadHead()
	server.WriteString(wstest.Switching() + string(sent[tape.Server][:x.early[tape.Server]]))

	peers := [2]*wstest.Peer{client, server}
	var running sync.WaitGroup
	for _, from := range tape.Sides() {
		dice := rand.New(rand.NewPCG(rng.Uint64(), 0))
		running.Go(func() {
			if err := wstest.WriteCut(peers[from].Conn, dice, sent[from][x.early[from]:], x.piece); err != nil {
				t.Errorf("the %v writes: %v", from, err)
			}
			peers[from].CloseWrite()
		})
	}
	running.Go(func() { got[tape.Client] = x.drink(t, server) })
	if head := client.ReadHead(); !strings.HasPrefix(head, "HTTP/1.1 101 Switching Protocols\r\n") {
		t.Errorf("answered %q", head)
	}
	got[tape.Server] = x.drink(t, client)
	running.Wait()
	return got
}

// drink reads to the end, in sips.
func (x exchange) drink(t *testing.T, p *wstest.Peer) []byte {
	var all bytes.Buffer
	sip := make([]byte, x.sip)
	for {
		n, err := p.In.Read(sip)
		all.Write(sip[:n])
		if err == io.EOF {
			return all.Bytes()
		}
		if err != nil {
			t.Errorf("read: %v", err)
			return all.Bytes()
		}
	}
}

func sameBytes(t *testing.T, from tape.Side, got, want []byte) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("byte %d from the %v is %#x, was %#x", i, from, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d bytes from the %v arrived of %d", len(got), from, len(want))
	}
}

// sameFrames wants exactly those frames on the tape. How a length was encoded is
// not on it.
func sameFrames(t *testing.T, from tape.Side, got []*tape.Frame, want []wstest.Frame) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		f, w := got[i], want[i]
		back := wstest.Frame{Fin: f.Fin, RSV: f.RSV, Op: f.Opcode, Payload: f.Payload, LenSize: w.LenSize}
		if f.Masked {
			back.Mask = &f.Mask
		}
		if !bytes.Equal(wstest.Bytes(back), wstest.Bytes(w)) || f.Len != uint64(len(w.Payload)) || f.Leg != tape.LegBoth {
			t.Fatalf("frame %d of the %v is on the tape as %v (leg %v), was %v", i, from, back, f.Leg, w)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d frames of the %v are on the tape of %d", len(got), from, len(want))
	}
}

func TestEveryByteArrivesAndEveryFrameIsOnTheTape(t *testing.T) {
	for _, carriage := range carriages() {
		t.Run(carriage.name, func(t *testing.T) {
			rng := wstest.Rand(t)
			r := start(t, patient, carriage.apply)
			for n := range uint64(2) {
				random(rng, 120, 65535, 65536, 65537, 1<<20).run(t, r, n+1, rng)
			}
		})
	}
}

func TestEveryByteArrivesOneByOne(t *testing.T) {
	rng := wstest.Rand(t)
	r := start(t, patient)
	x := random(rng, 30)
	x.piece, x.early = 1, [2]int{}
	x.run(t, r, 1, rng)
}

func TestEveryByteArrivesAtSlowReaders(t *testing.T) {
	for _, carriage := range carriages() {
		t.Run(carriage.name, func(t *testing.T) {
			rng := wstest.Rand(t)
			r := start(t, patient, carriage.apply, func(c *setup) { c.buffers = 16 << 10 })
			x := random(rng, 40, 100_000)
			x.sip = 100
			x.run(t, r, 1, rng)
		})
	}
}

// TestWhatIsSentEarlyIsNotLost sends everything in one piece with the request,
// and with the 101.
func TestWhatIsSentEarlyIsNotLost(t *testing.T) {
	for _, carriage := range carriages() {
		t.Run(carriage.name, func(t *testing.T) {
			rng := wstest.Rand(t)
			r := start(t, patient, carriage.apply)
			for n, size := range []int{1, 100, 5000, 20_000} { // within and beyond the readers' buffers
				var x exchange
				x.piece, x.sip = 1, 1000
				for _, from := range tape.Sides() {
					f := wstest.Frame{Fin: true, Op: tape.Binary, Payload: wstest.Payload(rng, size)}.From(from)
					x.frames[from] = []wstest.Frame{f}
					x.early[from] = len(wstest.Bytes(f))
				}
				x.run(t, r, uint64(n)+1, rng)
			}
		})
	}
}

func TestWhatIsNotFramesPassesAndIsRecordedRaw(t *testing.T) {
	rng := wstest.Rand(t)
	r := start(t, patient)
	hello := wstest.New(tape.Text, "hello")
	var sent [2][]byte
	for _, from := range tape.Sides() {
		sent[from] = append(wstest.Bytes(hello.From(from)), "\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00"...)
		sent[from] = append(sent[from], wstest.Payload(rng, 300_000)...)
	}
	got := exchange{piece: 7000, sip: 5000}.send(t, r, sent, rng)
	r.ended(1)
	for _, from := range tape.Sides() {
		sameBytes(t, from, got[from], sent[from])
		frames := r.frames(1, from)
		sameFrames(t, from, frames[:1], []wstest.Frame{hello.From(from)})
		var raw []byte
		for i, f := range frames[1:] {
			if f.Opcode != tape.OpRaw || (f.Violation != "") != (i == 0) {
				t.Fatalf("frame %d is %v with violation %q", i+1, f.Opcode, f.Violation)
			}
			raw = append(raw, f.Payload...)
		}
		sameBytes(t, from, raw, sent[from][len(wstest.Bytes(hello.From(from))):])
	}
}

func TestAFrameCutByTheEndIsRecordedAsFarAsItCame(t *testing.T) {
	r := start(t)
	client, server := r.open()
	whole := wstest.Bytes(wstest.New(tape.Text, "hello, world").From(tape.Client))
	client.Write(whole[:10])
	client.CloseWrite()
	server.Write([]byte{0x81}) // half a header
	server.CloseWrite()
	if got, err := server.ReadAll(); err != nil || !bytes.Equal(got, whole[:10]) {
		t.Errorf("the server got %x, %v", got, err)
	}
	if got, err := client.ReadAll(); err != nil || !bytes.Equal(got, []byte{0x81}) {
		t.Errorf("the client got %x, %v", got, err)
	}
	r.ended(1)
	if f := r.frames(1, tape.Client); len(f) != 1 || !f[0].Partial() || string(f[0].Payload) != "hell" {
		t.Errorf("of the client: %+v", f)
	}
	if f := r.frames(1, tape.Server); len(f) != 1 || f[0].Opcode != tape.OpRaw || len(f[0].Payload) != 1 {
		t.Errorf("of the server: %+v", f)
	}
}
