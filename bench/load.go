//go:build unix

package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// closed is a closed-loop load: every connection keeps so many messages in flight.
type closed struct {
	conns, inFlight, size int
	kind                  kind
}

// start opens the connections and runs them until ctx is done. Counter counts
// messages that came back; times, if not nil, takes round-trip times.
func (l closed) start(ctx context.Context, t target, counter *atomic.Uint64, times *[]time.Duration) (wait func() error, err error) {
	clients, err := newClients(t, messagesOf(l.kind, l.size), l.conns)
	if err != nil {
		return nil, err
	}
	errs := make([]error, l.conns)
	var running sync.WaitGroup
	stop := context.AfterFunc(ctx, func() { hangUp(clients) })
	for i, c := range clients {
		running.Go(func() {
			if err := l.run(c, counter, times); ctx.Err() == nil {
				errs[i] = err
			}
		})
	}
	return func() error {
		running.Wait()
		stop()
		return first(errs)
	}, nil
}

func (l closed) run(c *client, counter *atomic.Uint64, times *[]time.Duration) error {
	more := c.send
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

// first is the first error: what fails on one connection mostly fails on all.
func first(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// quantile of durations, which it sorts.
func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[min(len(d)-1, int(float64(len(d))*q))]
}

// paced is an open-loop load: it sends at a fixed rate, whatever comes back.
type paced struct {
	conns, rate int // rate is of all connections together, a second
	size        int
	kind        kind
}

// echoed is what a paced load got back.
type echoed struct {
	latencies []time.Duration
	messages  uint64
	payload   uint64 // bytes, of one direction
	took      time.Duration
}

// run sends for a time. A message's latency counts from when it should have been
// sent, so a stall is not hidden by sending less; what is due in the first `skip`
// does not count. With goodbye the sessions are then brought to their end, which
// needs all messages to have come back; without, they are cut, and what has not
// come back counts with the time that it has been waited for.
func (l paced) run(t target, skip, length time.Duration, goodbye bool) (echoed, error) {
	clients, err := newClients(t, messagesOf(l.kind, l.size), l.conns)
	if err != nil {
		return echoed{}, err
	}
	defer hangUp(clients)
	interval := time.Second / time.Duration(l.rate)
	began := time.Now()
	latencies := make([][]time.Duration, l.conns)
	count := func(i int, n uint64, now time.Duration) {
		if due := interval * time.Duration(int(n)*l.conns+i); due >= skip {
			latencies[i] = append(latencies[i], now-due)
		}
	}
	errs := make([]error, l.conns)
	var over atomic.Bool
	var running sync.WaitGroup
	for i, c := range clients {
		_ = c.conn.SetDeadline(began.Add(length + patience))
		c.onEcho = func(n uint64) { count(i, n, time.Since(began)) }
		running.Go(func() {
			for !c.ended {
				if _, err := c.receive(); err != nil {
					if goodbye || !over.Load() {
						errs[i] = fmt.Errorf("after %d messages: %w", c.got, err)
					}
					return
				}
			}
		})
	}
	// One sender for all: each message has its moment, whose connection is next in turn.
	for n := 0; ; n++ {
		due, elapsed := interval*time.Duration(n), time.Since(began)
		if max(due, elapsed) >= length {
			break
		}
		sleep(due - elapsed)
		if err := clients[n%l.conns].send(1); err != nil {
			break // its receiver says why
		}
	}
	out := echoed{took: time.Since(began)}
	over.Store(true)
	if goodbye {
		for _, c := range clients {
			_ = c.bye()
		}
	} else {
		hangUp(clients)
	}
	running.Wait()
	for i, c := range clients {
		if goodbye && c.got < c.sent && errs[i] == nil {
			errs[i] = fmt.Errorf("%d of %d messages did not come back", c.sent-c.got, c.sent)
		}
		for n := c.got; n < c.sent; n++ {
			count(i, n, out.took)
		}
		out.messages += c.got
		out.payload += c.payload
	}
	out.latencies = slices.Concat(latencies...)
	return out, first(errs)
}

// idle opens connections that say nothing, up to n and for so long; the caller
// closes them.
func idle(t target, n int, limit time.Duration) (conns []net.Conn, err error) {
	for end := time.Now().Add(limit); len(conns) < n && time.Now().Before(end); {
		conn, err := t.dial("/idle")
		if err != nil {
			return conns, fmt.Errorf("connection %d: %w", len(conns)+1, err)
		}
		conns = append(conns, conn)
	}
	return conns, nil
}

// churn opens, says one thing, and closes, so many at a time, until ctx is done.
func churn(ctx context.Context, t target, m *messages, workers int, counter *atomic.Uint64) error {
	errs := make([]error, workers)
	var running sync.WaitGroup
	for i := range workers {
		running.Go(func() {
			for ctx.Err() == nil && errs[i] == nil {
				if errs[i] = one(t, m, i, workers); errs[i] == nil {
					counter.Add(1)
				}
			}
		})
	}
	running.Wait()
	return first(errs)
}

func one(t target, m *messages, i, of int) error {
	c, err := newClient(t, m, i, of)
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
	return c.leave()
}
