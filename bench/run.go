//go:build unix

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// bench is one run of the runner.
type bench struct {
	dir       string // everything that is written
	self      string // this program
	wstape    string // the program that is measured
	cert, key string
	upstream  string
	window    time.Duration // how long each measurement takes
	rounds    int
	idleConns int
	results   map[string]map[string][]sample // by scenario and proxy, a sample a round
}

// sample is what one round of one scenario gave: numbers by column.
type sample map[string]float64

// scenario is a load and the columns that it fills.
type scenario struct {
	name    string
	columns []string
	tls     bool
	run     func(b *bench, t target, p *process) (sample, error)
}

func scenarios(idleConns int) []scenario {
	rate := []string{"msg/s", "MB/s", "CPU µs/msg"}
	return []scenario{
		{"128 B × 64 × 16, json", rate, false, closed{64, 16, 128, jsonBody}.measure},
		{"4 KiB × 64 × 8, json", rate, false, closed{64, 8, 4096, jsonBody}.measure},
		{"4 KiB × 64 × 8, noise", rate, false, closed{64, 8, 4096, noiseBody}.measure},
		{"1 MiB × 4 × 2, noise", rate, false, closed{4, 2, 1 << 20, noiseBody}.measure},
		{"one in flight, 128 B", []string{"p50 µs", "p99 µs"}, false, latency},
		{"open loop: 5,000/s of 256 B, 50 conns", []string{"p50 µs", "p99 µs"}, false, openLoopLatency},
		{fmt.Sprintf("idle, %d conns", idleConns), []string{"KiB/conn"}, false, idleMemory},
		{"new connections, 32 at a time", []string{"conns/s", "CPU µs/conn"}, false, churnRate},
		{"wss: 128 B × 64 × 16, json", rate, true, closed{64, 16, 128, jsonBody}.measure},
		{"wss: 4 KiB × 64 × 8, json", rate, true, closed{64, 8, 4096, jsonBody}.measure},
	}
}

// warmUp is how long a load runs before it is measured.
const warmUp = 400 * time.Millisecond

func (l closed) measure(b *bench, t target, p *process) (sample, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var counter atomic.Uint64
	wait, err := l.start(ctx, t, &counter, nil)
	if err != nil {
		return nil, err
	}
	time.Sleep(warmUp)
	messages, cpu, began := counter.Load(), p.cpu(), time.Now()
	time.Sleep(b.window)
	messages, cpu = 2*(counter.Load()-messages), p.cpu()-cpu
	seconds := time.Since(began).Seconds()
	cancel()
	if err := wait(); err != nil {
		return nil, err
	}
	if messages == 0 {
		return nil, errors.New("nothing came back")
	}
	n := float64(messages)
	return sample{"msg/s": n / seconds, "MB/s": n * float64(l.size) / seconds / 1e6, "CPU µs/msg": float64(cpu.Microseconds()) / n}, nil
}

func latency(b *bench, t target, _ *process) (sample, error) {
	ctx, cancel := context.WithTimeout(context.Background(), b.window)
	defer cancel()
	var counter atomic.Uint64
	var times []time.Duration
	wait, err := closed{1, 1, 128, jsonBody}.start(ctx, t, &counter, &times)
	if err != nil {
		return nil, err
	}
	if err := wait(); err != nil {
		return nil, err
	}
	return quantiles(times), nil
}

func quantiles(times []time.Duration) sample {
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
	return sample{"p50 µs": us(quantile(times, 0.5)), "p99 µs": us(quantile(times, 0.99))}
}

func openLoopLatency(b *bench, t target, _ *process) (sample, error) {
	ctx, cancel := context.WithTimeout(context.Background(), b.window+time.Second)
	defer cancel()
	times, err := openLoop(ctx, t, 50, 256, 5000, time.Second)
	if err != nil {
		return nil, err
	}
	return quantiles(times), nil
}

func idleMemory(b *bench, t target, p *process) (sample, error) {
	if p == nil {
		return sample{}, nil
	}
	// A few sessions first, so that what is allocated once is not counted.
	first, err := idle(t, 50)
	before := p.rss()
	var more int
	if err == nil {
		conns, idleErr := idle(t, b.idleConns)
		first, more, err = append(first, conns...), len(conns), idleErr
	}
	time.Sleep(b.window) // until the tape is written and the heap collected as far as it will be
	after := p.rss()
	for _, conn := range first {
		_ = conn.Close()
	}
	if more == 0 {
		return nil, err
	}
	return sample{"KiB/conn": float64(after-before) / 1024 / float64(more)}, err
}

func churnRate(b *bench, t target, p *process) (sample, error) {
	ctx, cancel := context.WithTimeout(context.Background(), b.window)
	defer cancel()
	var counter atomic.Uint64
	cpu, began := p.cpu(), time.Now()
	if err := churn(ctx, t, 32, &counter); err != nil {
		return nil, err
	}
	n := float64(counter.Load())
	return sample{"conns/s": n / time.Since(began).Seconds(), "CPU µs/conn": float64((p.cpu() - cpu).Microseconds()) / n}, nil
}

func run(args []string) error {
	b := &bench{results: map[string]map[string][]sample{}}
	flags := flag.NewFlagSet("bench run", flag.ContinueOnError)
	quick := flags.Bool("quick", false, "one short round of each")
	only := flags.String("only", "", "only scenarios whose name contains this")
	who := flags.String("proxies", "", "only these proxies, separated by commas (direct and relay always)")
	out := flags.String("out", "bench/RESULTS.md", "write the results to this file")
	flags.StringVar(&b.wstape, "wstape", "", "measure this program instead of building one")
	flags.IntVar(&b.rounds, "rounds", 5, "rounds")
	flags.DurationVar(&b.window, "window", 2*time.Second, "how long each measurement takes")
	flags.IntVar(&b.idleConns, "idle", 9000, "idle connections")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *quick {
		b.rounds, b.window, b.idleConns = 1, 500*time.Millisecond, 500
	}
	stop, err := b.prepare()
	if err != nil {
		return err
	}
	defer stop()
	list := slices.DeleteFunc(proxies(), func(p proxy) bool {
		wanted := *who == "" || p.name == "direct" || p.name == "relay" || slices.Contains(strings.Split(*who, ","), p.name)
		return !wanted || !p.installed()
	})
	for round := range b.rounds {
		for _, s := range scenarios(b.idleConns) {
			if !strings.Contains(s.name, *only) {
				continue
			}
			for i := range list {
				if p := &list[i]; p.tls == s.tls || p.name == "direct" && !s.tls {
					b.measure(round, &s, p)
				}
			}
		}
	}
	text := b.report(list, args)
	fmt.Print(text)
	return os.WriteFile(*out, []byte(text), 0o644)
}

// prepare builds what is measured and starts the echo.
func (b *bench) prepare() (stop func(), err error) {
	if b.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if b.dir, err = os.MkdirTemp("", "wstape-bench-"); err != nil {
		return nil, err
	}
	if b.wstape == "" {
		b.wstape = filepath.Join(b.dir, "wstape")
		if out, err := exec.Command("go", "build", "-o", b.wstape, ".").CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build wstape: %w\n%s", err, out)
		}
	}
	if err := b.certify(); err != nil {
		return nil, err
	}
	if b.upstream, err = freeAddr(); err != nil {
		return nil, err
	}
	echo, err := startProcess(b.upstream, b.dir, b.self, "echo", b.upstream)
	if err != nil {
		return nil, err
	}
	return func() { echo.stop(); _ = os.RemoveAll(b.dir) }, nil
}

// measure runs one scenario through one freshly started proxy.
func (b *bench) measure(round int, s *scenario, p *proxy) {
	got, err := b.once(s, p)
	if err != nil {
		fmt.Fprintf(os.Stderr, "round %d, %s, %s: %v\n", round+1, s.name, p.name, err)
		return
	}
	fmt.Fprintf(os.Stderr, "round %d, %s, %s: %v\n", round+1, s.name, p.name, got)
	if b.results[s.name] == nil {
		b.results[s.name] = map[string][]sample{}
	}
	b.results[s.name][p.name] = append(b.results[s.name][p.name], got)
}

func (b *bench) once(s *scenario, p *proxy) (sample, error) {
	if p.command == nil {
		return s.run(b, target{addr: b.upstream}, nil)
	}
	dir, err := os.MkdirTemp(b.dir, "proxy-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	command, err := p.command(b, dir, addr, b.upstream)
	if err != nil {
		return nil, err
	}
	running, err := startProcess(addr, dir, command...)
	if err != nil {
		return nil, err
	}
	defer running.stop()
	return s.run(b, target{addr: addr, tls: p.tls}, running)
}

// certify makes a certificate for the wss scenarios.
func (b *bench) certify() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, about, about, &key.PublicKey, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	b.cert, b.key = filepath.Join(b.dir, "cert.pem"), filepath.Join(b.dir, "key.pem")
	return errors.Join(
		os.WriteFile(b.cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600),
		os.WriteFile(b.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600),
	)
}
