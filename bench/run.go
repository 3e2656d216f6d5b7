//go:build unix

package main

import (
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
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// bench is one run of the runner.
type bench struct {
	dir       string // everything that is written
	self      string // this program
	wstape    string // the program that is measured
	cert, key string
	upstream  string
	found     found
	window    time.Duration // how long each measurement takes
	warmUp    time.Duration // how long a closed loop runs before it is measured
	disk      time.Duration // how long the longest disk scenario takes
	rounds    int
	idle      int
	results   map[string]map[string][]sample // by scenario and proxy, a sample a round
	failures  int                            // measurements of wstape that failed
}

func run(args []string) error {
	b := &bench{results: map[string]map[string][]sample{}, warmUp: 300 * time.Millisecond}
	flags := flag.NewFlagSet("bench run", flag.ContinueOnError)
	quick := flags.Bool("quick", false, "one short round of each")
	only := flags.String("only", "", "only scenarios whose name contains this")
	who := flags.String("proxies", "", "only these proxies, separated by commas (direct and relay always)")
	out := flags.String("out", "bench/RESULTS.md", "write the results to this file")
	flags.StringVar(&b.wstape, "wstape", "", "measure this program instead of building one")
	flags.IntVar(&b.rounds, "rounds", 5, "rounds")
	flags.DurationVar(&b.window, "window", time.Second, "how long each measurement takes")
	flags.DurationVar(&b.disk, "disk", 20*time.Second, "how long the longest disk scenario takes")
	flags.IntVar(&b.idle, "idle", 9000, "idle connections; a ninth as many over wss")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *quick {
		b.rounds, b.window, b.warmUp, b.disk, b.idle = 1, 200*time.Millisecond, 100*time.Millisecond, 2*time.Second, 450
	}
	stop, err := b.prepare()
	if err != nil {
		return err
	}
	defer stop()
	list := slices.DeleteFunc(proxies(), func(p proxy) bool {
		wanted := *who == "" || p.name == "direct" || p.name == "relay" || slices.Contains(strings.Split(*who, ","), p.name)
		return !wanted || !b.found.has(&p)
	})
	for round := range b.rounds {
		for _, s := range scenarios() {
			if !strings.Contains(s.name, *only) || s.once && round > 0 {
				continue
			}
			for i := range list {
				if p := &list[i]; s.takes(p) && !p.failed && (round == 0 || !p.far) {
					got, err := b.once(&s, p)
					b.keep(round, s.name, p.name, got, err)
				}
			}
			if s.file {
				got, err := b.writeFile()
				b.keep(round, s.name, fileRow, got, err)
			}
		}
	}
	text := b.report(list, args)
	fmt.Print(text)
	if b.failures > 0 {
		err = fmt.Errorf("%d measurements of wstape failed", b.failures)
	}
	return errors.Join(err, os.WriteFile(*out, []byte(text), 0o644))
}

// prepare builds what is measured and starts the echo.
func (b *bench) prepare() (stop func(), err error) {
	if b.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if b.dir, err = os.MkdirTemp("", "wstape-bench-"); err != nil {
		return nil, err
	}
	stop = func() { endChildren(); _ = os.RemoveAll(b.dir) }
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		stop()
		os.Exit(130)
	}()
	if err := b.build(); err != nil {
		stop()
		return nil, err
	}
	b.found = look()
	return stop, nil
}

func (b *bench) build() error {
	if b.wstape == "" {
		b.wstape = filepath.Join(b.dir, "wstape")
		if out, err := exec.Command("go", "build", "-o", b.wstape, ".").CombinedOutput(); err != nil {
			return fmt.Errorf("build wstape: %w\n%s", err, out)
		}
	}
	if err := b.certify(); err != nil {
		return err
	}
	var err error
	if b.upstream, err = freeAddr(); err != nil {
		return err
	}
	_, err = startProcess(b.upstream, b.dir, b.self, "echo", b.upstream)
	return err
}

// once runs one scenario through one freshly started proxy.
func (b *bench) once(s *scenario, p *proxy) (sample, error) {
	if p.command == nil {
		return s.run(b, subject{proxy: p, target: target{addr: b.upstream}})
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
		p.failed = true
		return nil, err
	}
	defer running.stop()
	got, err := s.run(b, subject{proxy: p, target: target{addr: addr, tls: p.tls}, process: running})
	if err != nil {
		return nil, errors.Join(err, running.alive())
	}
	return got, nil
}

// keep takes what a measurement gave; one that failed is told and has no row.
func (b *bench) keep(round int, scenario, row string, got sample, err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "round %d, %s, %s: %v\n", round+1, scenario, row, err)
		if strings.HasPrefix(row, "wstape") {
			b.failures++
		}
		return
	}
	if got == nil {
		return
	}
	fmt.Fprintf(os.Stderr, "round %d, %s, %s: %v\n", round+1, scenario, row, got)
	if b.results[scenario] == nil {
		b.results[scenario] = map[string][]sample{}
	}
	b.results[scenario][row] = append(b.results[scenario][row], got)
}

// freeAddr is an address where nothing listens now.
func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
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
