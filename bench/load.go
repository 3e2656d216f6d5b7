//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/tape"
)

// target is what a load is sent to.
type target struct {
	addr string
	tls  bool
}

// dial connects and shakes hands.
func (t target) dial() (net.Conn, error) {
	conn, err := net.Dial("tcp", t.addr)
	if err != nil {
		return nil, err
	}
	if t.tls {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	}
	if _, err := io.WriteString(conn, request); err != nil {
		return nil, err
	}
	// One byte at a time: nothing behind the head may be swallowed.
	res, err := http.ReadResponse(bufio.NewReaderSize(oneByOne{conn}, 16), nil)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("handshake: %s", res.Status)
	}
	return conn, nil
}

type oneByOne struct{ r io.Reader }

func (o oneByOne) Read(p []byte) (int, error) { return o.r.Read(p[:1]) }

// client is one connection of a load. Message n of it carries n and a payload
// that the echo must bring back.
type client struct {
	conn    net.Conn
	wait    *waiter
	walker  wire.Walker
	parts   []tape.Part
	payload []byte // of every message; the first 8 bytes are its number
	frame   []byte // masked, with number 0
	header  int    // bytes of frame before the payload
	key     [4]byte
	out     []byte
	sent    uint64
	got     uint64 // messages that have come back whole
	at      int    // bytes of the current one
	onEcho  func(n uint64)
}

// bodies of the load.
type body string

const (
	jsonBody  body = "json"  // like a ticker's: the fields vary
	noiseBody body = "noise" // does not compress
)

func newClient(t target, size int, kind body, seed uint64) (*client, error) {
	conn, err := t.dial()
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, wait: newWaiter(conn), walker: wire.NewWalker(tape.Server, false), payload: fill(kind, size, seed)}
	binary.LittleEndian.PutUint32(c.key[:], uint32(seed)*2654435761|1)
	c.frame = wire.AppendFrame(nil, wire.Head(true, 0, tape.Binary), c.payload, &c.key)
	c.header = len(c.frame) - size
	return c, nil
}

func fill(kind body, size int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	var b bytes.Buffer
	b.Write(make([]byte, 8))
	for b.Len() < size {
		if kind == noiseBody {
			_ = binary.Write(&b, binary.LittleEndian, r.Uint64())
			continue
		}
		fmt.Fprintf(&b, `{"type":"price","symbol":"%c%c%c","price":%.2f,"volume":%d,"id":"%08x"}`,
			'A'+r.IntN(26), 'A'+r.IntN(26), 'A'+r.IntN(26), r.Float64()*1000, r.IntN(100000), r.Uint32())
	}
	return b.Bytes()[:size]
}

// send writes k more messages in one write.
func (c *client) send(k int) error {
	c.out = c.out[:0]
	for range k {
		start := len(c.out)
		c.out = append(c.out, c.frame...)
		number := c.out[start+c.header:]
		binary.LittleEndian.PutUint64(number, c.sent)
		for i := range 8 {
			number[i] ^= c.key[i&3]
		}
		c.sent++
	}
	_, err := c.conn.Write(c.out)
	return err
}

// receive reads once and checks what came; it returns how many messages that completed.
func (c *client) receive() (whole int, err error) {
	err = c.wait.read(func(in []byte) error {
		c.parts = c.walker.Walk(c.parts[:0], in)
		for i := range c.parts {
			done, err := c.check(&c.parts[i])
			if err != nil {
				return err
			}
			if done {
				whole++
			}
		}
		return nil
	})
	return whole, err
}

func (c *client) check(p *tape.Part) (whole bool, err error) {
	if p.Begin && (p.Len != uint64(len(c.payload)) || p.Violation != "") {
		return false, fmt.Errorf("frame of %d bytes (%s), want %d", p.Len, p.Violation, len(c.payload))
	}
	want := c.payload[c.at:]
	if c.at < 8 { // the number differs from message to message
		var number [8]byte
		binary.LittleEndian.PutUint64(number[:], c.got)
		n := min(8-c.at, len(p.Payload))
		if !bytes.Equal(p.Payload[:n], number[c.at:c.at+n]) {
			return false, fmt.Errorf("message %d came back with another number", c.got)
		}
		if !bytes.Equal(p.Payload[n:], want[n:len(p.Payload)]) {
			return false, fmt.Errorf("message %d came back changed", c.got)
		}
	} else if !bytes.Equal(p.Payload, want[:len(p.Payload)]) {
		return false, fmt.Errorf("message %d came back changed", c.got)
	}
	if c.at += len(p.Payload); c.at < len(c.payload) {
		return false, nil
	}
	if c.onEcho != nil {
		c.onEcho(c.got)
	}
	c.at = 0
	c.got++
	return true, nil
}

// closed is a closed-loop load: every connection keeps so many messages in flight.
type closed struct {
	conns, inFlight, size int
	body                  body
}

// start opens the connections and runs them until ctx is done. Counter counts
// messages that came back; times, if not nil, takes round-trip times.
func (l closed) start(ctx context.Context, t target, counter *atomic.Uint64, times *[]time.Duration) (wait func() error, err error) {
	clients := make([]*client, l.conns)
	for i := range clients {
		if clients[i], err = newClient(t, l.size, l.body, uint64(i)+1); err != nil {
			return nil, err
		}
	}
	errs := make([]error, l.conns)
	var running sync.WaitGroup
	stop := context.AfterFunc(ctx, func() {
		for _, c := range clients {
			_ = c.conn.Close()
		}
	})
	for i, c := range clients {
		running.Add(1)
		go func() {
			defer running.Done()
			if err := l.run(c, counter, times); err != nil && ctx.Err() == nil {
				errs[i] = err
			}
		}()
	}
	return func() error {
		running.Wait()
		stop()
		for _, err := range errs {
			if err != nil {
				return err
			}
		}
		return nil
	}, nil
}

func (l closed) run(c *client, counter *atomic.Uint64, times *[]time.Duration) error {
	more := func(k int) error { return c.send(k) }
	if l.size*l.inFlight > 64<<10 {
		// More in flight than socket buffers hold: writing must not keep us from reading.
		tokens := make(chan int, l.inFlight+1)
		defer close(tokens)
		go func() {
			for k := range tokens {
				if c.send(k) != nil {
					return
				}
			}
		}()
		more = func(k int) error {
			for range k {
				tokens <- 1
			}
			return nil
		}
	}
	began := time.Now()
	if err := more(l.inFlight); err != nil {
		return err
	}
	for {
		whole, err := c.receive()
		if err != nil {
			return err
		}
		if whole == 0 {
			continue
		}
		counter.Add(uint64(whole))
		if times != nil {
			*times = append(*times, time.Since(began))
			began = time.Now()
		}
		if err := more(whole); err != nil {
			return err
		}
	}
}

// quantile of durations, which it sorts.
func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[min(len(d)-1, int(float64(len(d))*q))]
}

// openLoop sends at a fixed rate whatever comes back. A message's latency counts
// from when it should have been sent, so a stall is not hidden by sending less.
func openLoop(ctx context.Context, t target, conns, size, rate int, from time.Duration) ([]time.Duration, error) {
	interval := time.Second * time.Duration(conns) / time.Duration(rate)
	began := time.Now().Add(100 * time.Millisecond)
	latencies := make([][]time.Duration, conns)
	errs := make([]error, conns)
	var running sync.WaitGroup
	for i := range conns {
		c, err := newClient(t, size, jsonBody, uint64(i)+1)
		if err != nil {
			return nil, err
		}
		first := began.Add(interval * time.Duration(i) / time.Duration(conns))
		due := func(n uint64) time.Time { return first.Add(interval * time.Duration(n)) }
		c.onEcho = func(n uint64) {
			if at := due(n); at.Sub(began) >= from {
				latencies[i] = append(latencies[i], time.Since(at))
			}
		}
		running.Add(2)
		stop := context.AfterFunc(ctx, func() { _ = c.conn.Close() })
		go func() {
			defer running.Done()
			for n := uint64(0); ctx.Err() == nil; n++ {
				time.Sleep(time.Until(due(n)))
				if c.send(1) != nil {
					return
				}
			}
		}()
		go func() {
			defer running.Done()
			defer stop()
			for {
				if _, err := c.receive(); err != nil {
					if ctx.Err() == nil {
						errs[i] = err
					}
					return
				}
			}
		}()
	}
	running.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return slices.Concat(latencies...), nil
}

// idle opens connections that say nothing; the caller closes them.
func idle(t target, n int) (conns []net.Conn, err error) {
	for range n {
		conn, err := t.dial()
		if err != nil {
			return conns, fmt.Errorf("connection %d: %w", len(conns)+1, err)
		}
		conns = append(conns, conn)
	}
	return conns, nil
}

// churn opens, says one thing, and closes, so many at a time, until ctx is done.
func churn(ctx context.Context, t target, workers int, counter *atomic.Uint64) error {
	errs := make([]error, workers)
	var running sync.WaitGroup
	for i := range workers {
		running.Add(1)
		go func() {
			defer running.Done()
			for ctx.Err() == nil {
				if errs[i] = one(t, uint64(i)); errs[i] != nil {
					return
				}
				counter.Add(1)
			}
		}()
	}
	running.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func one(t target, seed uint64) error {
	c, err := newClient(t, 64, jsonBody, seed)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	if err := c.send(1); err != nil {
		return err
	}
	for c.got == 0 {
		if _, err := c.receive(); err != nil {
			return err
		}
	}
	// A close frame and its answer (the echo sends it back), as a real client ends.
	bye := wire.AppendFrame(nil, wire.Head(true, 0, tape.Close), tape.AppendClose(nil, 1000, ""), &c.key)
	if _, err := c.conn.Write(bye); err != nil {
		return err
	}
	var answer [4]byte
	_, err = io.ReadFull(c.conn, answer[:])
	return err
}
