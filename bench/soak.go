//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A soak lets sessions come and go through one proxy for long, while scripts are
// reloaded and commands read the tape and remove old sessions from it. What the
// proxy holds must not grow.
type soaking struct {
	*bench
	*observed
	length   time.Duration
	every    time.Duration // between samples
	warmUp   time.Duration
	script   string
	sessions atomic.Int64
	messages atomic.Uint64
	commands atomic.Int64

	mu    sync.Mutex
	times [2][]time.Duration // round trips since the last sample: through the proxy, and without it
	err   error              // what went wrong first
}

const (
	visitors = 24  // sessions at a time
	kept     = 100 // ended sessions that stay on the tape
	scripted = "/scripted"
)

func soak(args []string) error {
	k := &soaking{bench: &bench{}}
	flags := flag.NewFlagSet("bench soak", flag.ContinueOnError)
	out := flags.String("out", "bench/SOAK.md", "write the report to this file, and its plot beside it")
	flags.StringVar(&k.wstape, "wstape", "", "soak this program instead of building one")
	flags.DurationVar(&k.length, "duration", 30*time.Minute, "how long")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if k.length < 3*time.Minute {
		return fmt.Errorf("-duration %v is all warm-up: soak for 3m at least", k.length)
	}
	k.every, k.warmUp = max(time.Second, k.length/180), max(time.Minute, k.length/4)
	stop, err := k.prepare()
	if err != nil {
		return err
	}
	defer stop()
	list, err := k.run()
	if err != nil {
		return err
	}
	svg := strings.TrimSuffix(*out, filepath.Ext(*out)) + ".svg"
	text, grown := k.tell(list, filepath.Base(svg))
	fmt.Print(text)
	err = errors.Join(os.WriteFile(*out, []byte(text), 0o644), os.WriteFile(svg, []byte(plot(list, k.warmUp, k.length)), 0o644))
	if len(grown) > 0 {
		err = errors.Join(err, fmt.Errorf("grows: %s", strings.Join(grown, ", ")))
	}
	return err
}

// run soaks, and returns what was measured.
func (k *soaking) run() (list []*series, err error) {
	k.script = filepath.Join(k.dir, "soak.js")
	config, err := writeConfig(k.dir, "soak.yaml", fmt.Sprintf("script: {timeout: 10s}\nroutes:\n  - {path: %s, upstream: \"ws://%s\", script: [%s]}\n", scripted, k.upstream, k.script))
	if err != nil {
		return nil, err
	}
	if err := k.saveScript(0); err != nil {
		return nil, err
	}
	if k.observed, err = k.observe("--config", config); err != nil {
		return nil, err
	}
	defer k.stop()
	ctx, cancel := context.WithTimeout(context.Background(), k.length)
	defer cancel()
	var running sync.WaitGroup
	task := func(f func(context.Context) error) {
		running.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				k.mu.Lock()
				k.err = errors.Join(k.err, err)
				k.mu.Unlock()
				cancel()
			}
		})
	}
	for n := range visitors {
		task(func(ctx context.Context) error { return k.visit(ctx, rand.New(rand.NewPCG(1, uint64(n)))) })
	}
	task(func(ctx context.Context) error { return k.probe(ctx, k.target, &k.times[0]) })
	task(func(ctx context.Context) error { return k.probe(ctx, target{addr: k.upstream}, &k.times[1]) })
	task(k.read)
	task(k.clean)
	task(k.reload)
	list, err = k.sample(ctx)
	cancel()
	running.Wait()
	if err = errors.Join(err, k.err); err != nil {
		return nil, err
	}
	k.stop()
	_, err = k.command(k.observed, "check")
	return list, err
}

// pause waits; false when the soak is over.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// visit opens one session after another, talks in it for a while, and leaves.
func (k *soaking) visit(ctx context.Context, rng *rand.Rand) error {
	plain, bulky, huge, edited := messagesOf(jsonKind, 128), messagesOf(noiseKind, 4096), messagesOf(noiseKind, 64<<10), *messagesOf(jsonKind, 0) // a copy, for its path
	edited.path = scripted
	kinds := []*messages{plain, plain, plain, plain, plain, bulky, bulky, huge, &edited, &edited, &edited, &edited}
	for ctx.Err() == nil {
		c, err := newClient(k.target, kinds[rng.IntN(len(kinds))], rng.IntN(1000), 1000)
		if err != nil {
			return err
		}
		k.sessions.Add(1)
		err = k.talk(ctx, c, rng, time.Now().Add(time.Duration(500+rng.IntN(8000))*time.Millisecond))
		if err == nil && rng.IntN(2) == 0 {
			err = c.leave()
		} else if rng.IntN(2) == 0 {
			_ = c.conn.(*net.TCPConn).SetLinger(0) // else it is just gone
		}
		_ = c.conn.Close()
		if err != nil {
			return fmt.Errorf("a session of %s: %w", c.path, err)
		}
	}
	return nil
}

// talk exchanges messages until then.
func (k *soaking) talk(ctx context.Context, c *client, rng *rand.Rand, then time.Time) error {
	for time.Now().Before(then) && ctx.Err() == nil {
		if err := exchange(c, 1+rng.IntN(3)); err != nil {
			return err
		}
		k.messages.Add(1)
		pause(ctx, time.Duration(rng.IntN(60))*time.Millisecond)
	}
	return nil
}

// exchange sends so many messages and waits for them to come back.
func exchange(c *client, n int) error {
	_ = c.conn.SetDeadline(time.Now().Add(patience))
	if err := c.send(n); err != nil {
		return err
	}
	for c.got < c.sent {
		if _, err := c.receive(); err != nil {
			return err
		}
	}
	return nil
}

// probe measures round trips on a session that stays open all the time.
func (k *soaking) probe(ctx context.Context, to target, times *[]time.Duration) error {
	c, err := newClient(to, messagesOf(jsonKind, 128), 0, 1)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	for pause(ctx, 10*time.Millisecond) {
		began := time.Now()
		if err := exchange(c, 1); err != nil {
			return err
		}
		k.mu.Lock()
		*times = append(*times, time.Since(began))
		k.mu.Unlock()
	}
	return nil
}

// read has the tape read while it is written.
func (k *soaking) read(ctx context.Context) error {
	for n := 0; pause(ctx, 2*time.Second); n++ {
		if k.sessions.Load() == 0 {
			continue // there is nothing to read yet
		}
		args := [][]string{{"ls"}, {"show", "-1"}, {"search", "--limit", "3", `len > 4000`}, {"show", "-1", "--frames"}}[n%4]
		k.commands.Add(1)
		out, err := k.command(k.observed, args...)
		if err != nil && len(out) == 0 && args[0] != "search" { // which finds nothing now and then
			return err
		}
		tail, err := spawn(k.process.dir, k.wstape, "tail", "--tape", k.tape)
		if err != nil {
			return err
		}
		pause(ctx, time.Second)
		err = tail.alive()
		tail.stop()
		if err != nil {
			return err
		}
	}
	return nil
}

// clean removes the oldest sessions.
func (k *soaking) clean(ctx context.Context) error {
	for pause(ctx, 2*time.Second) {
		k.commands.Add(2)
		out, err := k.command(k.observed, "ls", "--json")
		if err != nil {
			return err
		}
		var ended []string
		for line := range bytes.Lines(out) {
			var e struct {
				N     int
				State string
			}
			if err := json.Unmarshal(line, &e); err != nil {
				return err
			}
			if e.State != "open" {
				ended = append(ended, strconv.Itoa(e.N))
			}
		}
		if len(ended) <= kept {
			continue
		}
		if _, err := k.command(k.observed, append([]string{"rm"}, ended[:len(ended)-kept]...)...); err != nil {
			return err
		}
	}
	return nil
}

// reload saves another version of the script.
func (k *soaking) reload(ctx context.Context) error {
	for n := 1; pause(ctx, 5*time.Second); n++ {
		if err := k.saveScript(n); err != nil {
			return err
		}
	}
	return nil
}

// saveScript writes a script that changes each message twice, so that it comes
// back as it was.
func (k *soaking) saveScript(n int) error {
	text := fmt.Sprintf("// version %d\nexport function onMessage(msg) { if (msg.from === \"client\") msg.json.soak = 1; else delete msg.json.soak }\n", n)
	if err := os.WriteFile(k.script+"~", []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(k.script+"~", k.script)
}

// sample measures until the soak is over.
func (k *soaking) sample(ctx context.Context) ([]*series, error) {
	memory := &series{name: "memory", unit: "MiB", share: 0.1, extra: 8}
	goroutines := &series{name: "goroutines", share: 0.05, extra: 10}
	files := &series{name: "file descriptors", share: 0.05, extra: 10}
	threads := &series{name: "threads", extra: 4}
	half := &series{name: "round trip, p50 added", unit: "µs", share: 0.2, extra: 100}
	slow := &series{name: "round trip, p99 added", unit: "µs", share: 0.5, extra: 2000}
	size := &series{name: "tape", unit: "MiB", share: 0.2, extra: 32}
	list := []*series{memory, goroutines, files, threads, half, slow, size}
	for began := time.Now(); pause(ctx, k.every); {
		if err := k.alive(); err != nil {
			return nil, err
		}
		at := time.Since(began)
		n, err := k.goroutines()
		if err != nil {
			return nil, err
		}
		k.mu.Lock()
		times := k.times
		k.times = [2][]time.Duration{}
		k.mu.Unlock()
		info, err := os.Stat(k.tape)
		if err != nil {
			return nil, err
		}
		memory.add(at, float64(k.rss())/(1<<20))
		if k.admin != "" {
			goroutines.add(at, n)
		}
		files.add(at, float64(k.files()))
		threads.add(at, float64(k.threads()))
		if len(times[0]) > 0 && len(times[1]) > 0 {
			added := func(q float64) float64 {
				return float64((quantile(times[0], q) - quantile(times[1], q)).Nanoseconds()) / 1e3
			}
			half.add(at, added(0.5))
			slow.add(at, added(0.99))
		}
		size.add(at, float64(info.Size())/(1<<20))
	}
	return slices.DeleteFunc(list, func(s *series) bool { return len(s.values) == 0 }), nil
}

// tell writes the report, and names what grew too much.
func (k *soaking) tell(list []*series, svg string) (text string, grown []string) {
	var s strings.Builder
	fmt.Fprintf(&s, "# Soak\n\nMade by `make soak DURATION=%v`, on %d processors that proxy, echo and load share, %s. %d sessions came and went, %d at a time, and exchanged messages, up to three at once, %d times, JSON and noise of\n"+
		"128 B to 64 KiB, a third of them through a script that edits every message; half of them ended with a close frame, the others just went away or were reset. The script was reloaded\n"+
		"every 5 s, %d commands read the tape meanwhile, and all but the last %d sessions were removed from it. Every answer was what it should be, and `wstape check` found the tape sound.\n\n",
		k.length, runtime.NumCPU(), runtime.Version(), k.sessions.Load(), visitors+1, k.messages.Load(), k.commands.Load(), kept)
	fmt.Fprintf(&s, "A line is fitted to what was measured behind the warm-up of %v. It may not grow by more than the bound, unless that is within three standard errors of none.\n"+
		"What is added to a round trip is the difference to one without the proxy, at the same time.\n\n", k.warmUp)
	s.WriteString("| | mean | growth | standard error | bound | |\n|---|---|---|---|---|---|\n")
	for _, one := range list {
		t, verdict := one.trend(k.warmUp), "flat"
		if t.grows() {
			verdict = "grows"
			grown = append(grown, one.name)
		}
		fmt.Fprintf(&s, "| %s | %.1f %s | %+.1f | %.1f | %.1f | %s |\n", one.name, t.mean, one.unit, t.growth, t.err, t.bound, verdict)
	}
	fmt.Fprintf(&s, "\n![what was measured, over time](%s)\n", svg)
	return s.String(), grown
}
