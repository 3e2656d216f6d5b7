//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// sample is what one round of one scenario gave: numbers by column.
type sample map[string]float64

// subject is a proxy that runs; without a process the load goes to the echo itself.
type subject struct {
	*proxy
	target
	*process
}

// scenario is a load and the columns that it fills.
type scenario struct {
	name    string
	columns []column
	tls     bool
	only    []string // the proxies that it is for; nil is all but scripts
	scripts []string // the scripts that it is for
	once    bool     // one round is enough: it does not depend on what else the machine does
	file    bool     // wanted beside it: what writing as many bytes to a file costs
	run     func(b *bench, s subject) (sample, error)
}

// column is a number of each proxy, and with what the report compares it.
type column struct {
	name    string
	compare comparison
}

type comparison int

const (
	shown  comparison = iota
	cost              // how much over the relay's
	ratio             // to the relay's
	faster            // ratio, and how many times wstape's
	extra             // how much over wstape's without a script
)

// Scenarios and columns that the bars name.
const (
	small      = "128 B × 64 × 16, json"
	medium     = "4 KiB × 64 × 8, json"
	incompress = "4 KiB × 64 × 8, noise"
	large      = "1 MiB × 4 × 2, noise"
	open       = "open loop: 5,000/s of 256 B, 50 conns"
	openRead   = "open loop while `tail` and `show --follow` read the tape"
	idleConns  = "idle connections"
	newConns   = "new connections, 32 at a time"
	wssSmall   = "wss: 128 B × 64 × 16, json"
	wssMedium  = "wss: 4 KiB × 64 × 8, json"
	wssIdle    = "wss: idle connections"
	diskSlow   = "disk: 64 sessions at 10 msg/s, json of about 128 B"
	diskFast   = "disk: 64 sessions at 1,000 msg/s, json of about 128 B"
	scripts    = "scripts: json of about 128 B × 64 × 16"
	diskNoise  = "disk: 64 sessions at 100 msg/s, 4 KiB of noise"

	perSecond   = "msg/s"
	megabytes   = "MB/s"
	cpuMessage  = "CPU µs/msg"
	p50, p99    = "p50 µs", "p99 µs"
	perConn     = "KiB/conn"
	connsSecond = "conns/s"
	perFrame    = "B/frame"
	overhead    = "% over payload"
)

// fileRow is the row of scenario.file.
const fileRow = "write + fdatasync"

func scenarios() []scenario {
	rate := []column{{perSecond, faster}, {megabytes, shown}, {cpuMessage, cost}}
	bytes := []column{{megabytes, faster}, {cpuMessage, cost}, {"memory MiB", shown}}
	times := []column{{p50, ratio}, {p99, ratio}}
	conns := []column{{"conns", shown}, {perConn, ratio}}
	disk := []column{{"frames", shown}, {"frames/s", shown}, {"MB of payload", shown}, {"MB of tape", shown}}
	recording := []string{"wstape"}
	return []scenario{
		{name: small, columns: rate, run: closed{64, 16, 128, jsonKind}.measure},
		{name: medium, columns: rate, run: closed{64, 8, 4096, jsonKind}.measure},
		{name: incompress, columns: rate, run: closed{64, 8, 4096, noiseKind}.measure,
			only: []string{"direct", "relay", "wstape", "nginx", "haproxy", "mitmproxy"}},
		{name: large, columns: bytes, run: closed{4, 2, 1 << 20, noiseKind}.measure, file: true},
		{name: "one in flight, 128 B", columns: times, run: latency},
		{name: open, columns: times, run: openLoop},
		{name: openRead, columns: times, run: openLoopRead, only: []string{"direct", "relay", "wstape"}},
		{name: scripts, columns: []column{{perSecond, shown}, {cpuMessage, extra}}, run: closed{64, 16, 0, lowerKind}.measure,
			only: []string{"direct", "relay", "wstape"}, scripts: []string{unhooked, empty, upper, jsonEdit, async}},
		{name: idleConns, columns: conns, once: true, scripts: []string{empty}, run: func(b *bench, s subject) (sample, error) { return b.idleMemory(s, b.idle) }},
		{name: newConns, columns: []column{{connsSecond, faster}, {"CPU µs/conn", cost}}, scripts: []string{empty}, run: churnRate},
		{name: wssSmall, columns: rate, tls: true, run: closed{64, 16, 128, jsonKind}.measure},
		{name: wssMedium, columns: rate, tls: true, run: closed{64, 8, 4096, jsonKind}.measure},
		{name: wssIdle, columns: conns, once: true, tls: true, run: func(b *bench, s subject) (sample, error) { return b.idleMemory(s, b.idle/9) }},
		{name: diskSlow, columns: append(disk, column{perFrame, shown}), once: true, only: recording,
			run: diskUse{paced{64, 64 * 10, 0, jsonTalk}, 1}.measure},
		{name: diskFast, columns: append(disk, column{perFrame, shown}), once: true, only: recording,
			run: diskUse{paced{64, 64 * 1000, 0, jsonTalk}, 0.4}.measure},
		{name: diskNoise, columns: append(disk, column{overhead, shown}), once: true, only: recording,
			run: diskUse{paced{64, 64 * 100, 4096, noiseTalk}, 0.25}.measure},
	}
}

// takes reports whether a scenario is for a proxy.
func (s *scenario) takes(p *proxy) bool {
	if p.script {
		return slices.Contains(s.scripts, p.name)
	}
	return s.tls == p.tls && (s.only == nil || slices.Contains(s.only, p.name))
}

func (l closed) measure(b *bench, s subject) (sample, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var counter atomic.Uint64
	wait, err := l.start(ctx, s.target, &counter, nil)
	if err != nil {
		return nil, err
	}
	time.Sleep(b.warmUp)
	messages, cpu, began := counter.Load(), s.cpu(), time.Now()
	time.Sleep(b.window)
	messages, cpu = 2*(counter.Load()-messages), s.cpu()-cpu
	seconds, memory := time.Since(began).Seconds(), s.rss()
	cancel()
	if err := wait(); err != nil {
		return nil, err
	}
	if messages == 0 {
		return nil, errors.New("nothing came back")
	}
	n := float64(messages)
	return sample{perSecond: n / seconds, megabytes: n * float64(l.size) / seconds / 1e6,
		cpuMessage: float64(cpu.Microseconds()) / n, "memory MiB": float64(memory) / (1 << 20)}, nil
}

func latency(b *bench, s subject) (sample, error) {
	messagesOf(jsonKind, 128) // made before the time runs
	ctx, cancel := context.WithTimeout(context.Background(), b.window)
	defer cancel()
	var counter atomic.Uint64
	var times []time.Duration
	wait, err := closed{1, 1, 128, jsonKind}.start(ctx, s.target, &counter, &times)
	if err != nil {
		return nil, err
	}
	if err := wait(); err != nil {
		return nil, err
	}
	return quantiles(times)
}

func quantiles(times []time.Duration) (sample, error) {
	if len(times) == 0 {
		return nil, errors.New("nothing came back")
	}
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
	return sample{p50: us(quantile(times, 0.5)), p99: us(quantile(times, 0.99))}, nil
}

// openWarmUp is how long an open loop runs before it counts; readers start in it.
const openWarmUp = 700 * time.Millisecond

func openLoop(b *bench, s subject) (sample, error) {
	got, err := paced{50, 5000, 256, jsonKind}.run(s.target, openWarmUp, openWarmUp+b.window, false)
	if err != nil {
		return nil, err
	}
	return quantiles(got.latencies)
}

// openLoopRead is openLoop while commands of wstape read what is recorded. Their
// CPU time is not the proxy's, but the machine's.
func openLoopRead(b *bench, s subject) (sample, error) {
	if !s.records {
		return openLoop(b, s)
	}
	var readers []*process
	var failed error
	started := make(chan struct{})
	begin := time.AfterFunc(openWarmUp/3, func() {
		defer close(started)
		for _, args := range [][]string{{"tail"}, {"show", "1", "--follow"}} {
			reader, err := spawn(s.dir, append(append([]string{b.wstape}, args...), "--tape", tapePath(s.dir))...)
			if err != nil {
				failed = err
				return
			}
			readers = append(readers, reader)
		}
	})
	defer func() {
		if !begin.Stop() {
			<-started
		}
		for _, reader := range readers {
			reader.stop()
		}
	}()
	got, err := paced{50, 5000, 256, jsonKind}.run(s.target, openWarmUp, openWarmUp+b.window, false)
	if err != nil {
		return nil, err
	}
	<-started
	for _, reader := range readers {
		failed = errors.Join(failed, reader.alive())
	}
	if failed != nil {
		return nil, failed
	}
	return quantiles(got.latencies)
}

// idleLimit is how long idle connections are opened; a slow proxy gets fewer.
const idleLimit = 10 * time.Second

func (b *bench) idleMemory(s subject, n int) (sample, error) {
	if s.process == nil {
		return nil, nil // nothing to measure
	}
	if s.maxIdle > 0 {
		n = min(n, s.maxIdle)
	}
	// A few sessions first, so that what is allocated once is not counted.
	conns, err := idle(s.target, 50, idleLimit)
	defer func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	before := s.rss()
	more, err := idle(s.target, n, idleLimit)
	conns = append(conns, more...)
	if err != nil {
		return nil, err
	}
	time.Sleep(b.window) // until the tape is written and the heap collected as far as it will be
	return sample{"conns": float64(len(more)), perConn: float64(s.rss()-before) / 1024 / float64(len(more))}, nil
}

func churnRate(b *bench, s subject) (sample, error) {
	m := messagesOf(jsonKind, 64)
	ctx, cancel := context.WithTimeout(context.Background(), b.window)
	defer cancel()
	var counter atomic.Uint64
	cpu, began := s.cpu(), time.Now()
	if err := churn(ctx, s.target, m, 32, &counter); err != nil {
		return nil, err
	}
	n := float64(counter.Load())
	if n == 0 {
		return nil, fmt.Errorf("no connection in %v", b.window)
	}
	return sample{connsSecond: n / time.Since(began).Seconds(), "CPU µs/conn": float64((s.cpu() - cpu).Microseconds()) / n}, nil
}
