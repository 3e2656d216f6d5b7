package proxy_test

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/tape"
)

const going = "wstape is shutting down"

// shutdown begins one and returns how to wait for it and how to lose patience.
func (r *rig) shutdown() (wait func() error, cut context.CancelFunc) {
	ctx, cut := context.WithCancel(context.Background())
	r.t.Cleanup(cut)
	done := make(chan error, 1)
	go func() { done <- r.proxy.Shutdown(ctx) }()
	return func() error { return <-done }, cut
}

func TestShutdownSaysGoodbyeToBothSides(t *testing.T) {
	for _, c := range carriages() {
		for name, change := range map[string]func(*setup){"": func(*setup) {}, ", strict": strict} {
			t.Run(c.name+name, func(t *testing.T) {
				r, client, server := pair(t, tape.Client, c.apply, change)
				wait, _ := r.shutdown()
				client.ExpectClose(1001, going)
				server.ExpectClose(1001, going)
				client.Send(wstest.CloseFrame(1001, "").From(tape.Client))
				client.CloseWrite()
				server.ExpectEOF()
				server.CloseWrite()
				client.ExpectEOF()
				if err := wait(); err != nil {
					t.Errorf("shutdown: %v", err)
				}
				r.ending(1, tape.Ending{Kind: tape.EndClose, Code: 1001, Reason: going})
				frames := r.frames(1, tape.Client)
				if len(frames) != 2 || frames[0].Leg != tape.LegOut || frames[1].Leg != tape.LegIn {
					t.Errorf("of the client on the tape: %+v", frames)
				}
			})
		}
	}
}

func TestShutdownWaitsForTheEndOfAFrame(t *testing.T) {
	for name, change := range map[string]func(*setup){"": func(*setup) {}, "strict": strict} {
		t.Run(name, func(t *testing.T) {
			r, client, server := pair(t, tape.Client, change)
			frame := wstest.New(tape.Text, "one frame in two pieces")
			b := wstest.Bytes(frame.From(tape.Client))
			client.Write(b[:10])
			if _, err := readFull(server, make([]byte, 10)); err != nil {
				t.Fatal(err)
			}
			wait, _ := r.shutdown()
			client.ExpectClose(1001, going) // nothing is half way in this direction
			client.Write(append(b[10:], wstest.Bytes(wstest.New(tape.Text, "too late").From(tape.Client))...))
			rest := make([]byte, len(b)-10)
			if _, err := readFull(server, rest); err != nil || string(rest) != string(b[10:]) {
				t.Fatalf("the rest of the frame is %x, %v", rest, err)
			}
			server.ExpectClose(1001, going)
			client.CloseWrite()
			server.ExpectEOF()
			server.CloseWrite()
			client.ExpectEOF()
			if err := wait(); err != nil {
				t.Errorf("shutdown: %v", err)
			}
			r.ended(1)
			frames := r.frames(1, tape.Client)
			if len(frames) != 3 || frames[0].Leg != tape.LegBoth || frames[1].Leg != tape.LegOut || frames[2].Leg != tape.LegIn {
				t.Errorf("of the client on the tape: %+v", frames)
			}
		})
	}
}

// TestShutdownDoesNotWaitForAHeaderThatStrictHoldsBack: nothing of it has gone out.
func TestShutdownDoesNotWaitForAHeaderThatStrictHoldsBack(t *testing.T) {
	r, client, server := pair(t, tape.Client, strict)
	hello := wstest.New(tape.Text, "hello").From(tape.Client)
	client.Write(append(wstest.Bytes(hello), 0x81))
	server.Expect(hello)
	wait, _ := r.shutdown()
	server.ExpectClose(1001, going)
	client.ExpectClose(1001, going)
	client.CloseWrite()
	server.ExpectEOF()
	server.CloseWrite()
	client.ExpectEOF()
	if err := wait(); err != nil {
		t.Errorf("shutdown: %v", err)
	}
}

// TestABusySenderIsInterrupted never lets a write end where a frame does.
func TestABusySenderIsInterrupted(t *testing.T) {
	r, client, server := pair(t, tape.Client)
	frame := wstest.Bytes(wstest.New(tape.Text, "busy"))
	server.Write(frame[:1])
	var sending sync.WaitGroup
	sending.Go(func() {
		for {
			if _, err := server.Conn.Write(append(frame[1:], frame[0])); err != nil {
				return
			}
		}
	})
	client.Expect(wstest.New(tape.Text, "busy"))
	wait, cut := r.shutdown()
	for {
		f := client.Receive()
		if f.Op == tape.Close {
			break
		}
		if string(f.Payload) != "busy" {
			t.Fatalf("got %v", f)
		}
	}
	cut()
	_ = wait()
	sending.Wait()
}

func TestShutdownCutsWhoNeverAnswers(t *testing.T) {
	r, client, server := pair(t, tape.Client, patient)
	wait, cut := r.shutdown()
	client.ExpectClose(1001, going)
	server.ExpectClose(1001, going)
	cut()
	if err := wait(); err != nil && err != context.Canceled {
		t.Errorf("shutdown: %v", err)
	}
	_, _ = client.ReadAll()
	r.ending(1, tape.Ending{Kind: tape.EndClose, Code: 1001, Reason: going})
}

func TestShutdownCutsWhoTakesNothing(t *testing.T) {
	for _, c := range carriages() {
		t.Run(c.name, func(t *testing.T) {
			r, _, server := pair(t, tape.Client, patient, c.apply)
			fill(server, flood)
			wait, cut := r.shutdown()
			cut()
			_ = wait()
			r.ended(1)
		})
	}
}

// fill writes until nobody takes any more, and returns how much was taken.
func fill(p *wstest.Peer, most int) (taken int) {
	frame := wstest.Bytes(wstest.New(tape.Binary, string(make([]byte, 60_000))))
	for taken < most {
		_ = p.Conn.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)) // whoever is slower than this is taken to be stuck
		n, err := p.Conn.Write(frame)
		taken += n
		if err != nil {
			break
		}
	}
	return taken
}

// flood is far more than all buffers on the way hold.
const flood = 256 << 20

func TestShutdownAbortsHandshakes(t *testing.T) {
	r := start(t)
	client := r.dial()
	client.WriteString(wstest.Request("/"))
	r.upstream.Accept().ReadHead() // and never answers
	wait, _ := r.shutdown()
	if res, body := answer(t, client); res.StatusCode != http.StatusBadGateway {
		t.Errorf("got %s, %q", res.Status, body)
	}
	if err := wait(); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	r.ending(1, tape.Ending{Kind: tape.EndError, Why: going})
}

// TestShutdownCutsARefusalThatNobodyReads stops in the middle of its body.
func TestShutdownCutsARefusalThatNobodyReads(t *testing.T) {
	r := start(t)
	client := r.dial()
	client.WriteString(wstest.Request("/"))
	server := r.upstream.Accept()
	server.ReadHead()
	server.WriteString("HTTP/1.1 403 Forbidden\r\n\r\n")
	fill(server, flood)
	client.ReadHead()
	wait, cut := r.shutdown()
	cut()
	_ = wait()
	r.ended(1)
}

func TestShutdownCutsPlainHTTP(t *testing.T) {
	for _, request := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n",
	} {
		r := start(t)
		client := r.dial()
		client.WriteString(request)
		server := r.upstream.Accept()
		if server.ReadHead(); len(request) > 40 {
			server.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\nhello")
			client.ReadHead()
		}
		wait, cut := r.shutdown()
		cut()
		_ = wait()
		if _, err := client.ReadAll(); err != nil {
			t.Logf("the client's end: %v", err)
		}
	}
}

func TestAProxyThatShutsDownTakesNobodyIn(t *testing.T) {
	r := start(t, patient)
	late := r.dial()
	late.WriteString("GET / HTTP/1.1\r\nHost: a\r\n\r\n") // a connection that is in use
	page := r.upstream.Accept()
	page.ReadHead()
	client, _ := r.open()
	wait, cut := r.shutdown()
	client.ExpectClose(1001, going) // so it has begun
	page.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	if _, body := answer(t, late); body != "ok" {
		t.Errorf("page %q", body)
	}
	late.ExpectEOF()
	cut()
	_ = wait()
}

// TestBackPressureHoldsTheSender lets nobody read, and wants the sender to be
// stopped long before it has sent all it would.
func TestBackPressureHoldsTheSender(t *testing.T) {
	r, client, server := pair(t, tape.Client, func(c *setup) { c.buffers = 64 << 10 })
	shrink(client.TCP(), 64<<10)
	shrink(server.TCP(), 64<<10)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	sent := fill(server, flood)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if sent > flood/8 {
		t.Errorf("the server could send %d bytes that nobody read", sent)
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 2*int64(sent)+8<<20 { // the tape is in memory
		t.Errorf("%d bytes of heap for %d bytes of traffic", grown, sent)
	}
	r.cut()
	_, _ = io.Copy(io.Discard, client.In)
}

func TestManySessionsEndInEveryWayAtOnce(t *testing.T) {
	rng := wstest.Rand(t)
	const sessions = 50
	r := start(t, func(c *setup) { c.upstream = wstest.Echo(t) })
	var running sync.WaitGroup
	half := make(chan struct{}, sessions)
	for range sessions {
		dice := rand.New(rand.NewPCG(rng.Uint64(), 0))
		client := r.dial()
		running.Go(func() {
			defer func() { half <- struct{}{} }()
			live(client, dice, half)
		})
	}
	for range sessions / 2 {
		<-half
	}
	wait, cut := r.shutdown()
	for range sessions {
		<-half
	}
	cut()
	_ = wait()
	running.Wait()
	for n := range uint64(sessions) {
		if _, err := r.tape.Session(context.Background(), n+1); err == nil { // else it came too late to begin
			r.ended(n + 1)
		}
	}
}

// live is one client's life: a handshake, some echoes, and an end of some kind.
// Errors are what it is made for.
func live(p *wstest.Peer, dice *rand.Rand, half chan<- struct{}) {
	_, _ = io.WriteString(p.Conn, wstest.Request("/"))
	_, _ = http.ReadResponse(p.In, nil)
	for range dice.IntN(20) {
		f := wstest.Frame{Fin: true, Op: tape.Binary, Payload: wstest.Payload(dice, dice.IntN(5000))}.From(tape.Client)
		if _, err := p.Conn.Write(wstest.Bytes(f)); err != nil {
			break
		}
		if _, err := wstest.Read(p.In); err != nil {
			break
		}
	}
	half <- struct{}{}
	switch dice.IntN(5) {
	case 0:
		p.Reset()
	case 1:
		_ = p.Conn.Close()
	case 2:
		_ = p.TCP().CloseWrite()
		_, _ = io.Copy(io.Discard, p.In)
	case 3:
		_, _ = p.Conn.Write([]byte("\x82\xff\xff\xff\xff\xff\xff\xff\xff\xffxxxx garbage"))
		_, _ = io.Copy(io.Discard, p.In)
	case 4:
		_, _ = p.Conn.Write(wstest.Bytes(wstest.CloseFrame(1000, "").From(tape.Client)))
		_, _ = io.Copy(io.Discard, p.In)
	}
	_ = p.Conn.Close()
}
