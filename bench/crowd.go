//go:build unix

package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/tape"
)

// crowd measures what many idle sessions cost while some are busy, and sees that
// every one of them still works at the end.
func crowd(args []string) error {
	b := &bench{}
	flags := flag.NewFlagSet("bench crowd", flag.ContinueOnError)
	out := flags.String("out", "bench/CROWD.md", "write the results to this file")
	busy := paced{rate: 5000, size: 256, kind: jsonKind}
	flags.StringVar(&b.wstape, "wstape", "", "measure this program instead of building one")
	flags.IntVar(&b.idle, "idle", 9000, "idle sessions")
	flags.IntVar(&busy.conns, "busy", 100, "busy sessions")
	flags.DurationVar(&b.window, "duration", 30*time.Second, "how long they are busy")
	if err := flags.Parse(args); err != nil {
		return err
	}
	stop, err := b.prepare()
	if err != nil {
		return err
	}
	defer stop()
	text, err := b.crowd(busy)
	if err != nil {
		return err
	}
	fmt.Print(text)
	return os.WriteFile(*out, []byte(text), 0o644)
}

// tally is what a process holds at one moment.
type tally struct {
	what                       string
	memory                     int // bytes
	goroutines, files, threads int
}

func (o *observed) tally(what string) (tally, error) {
	n, err := o.goroutines()
	return tally{what, o.rss(), int(n), o.files(), o.threads()}, err
}

func (b *bench) crowd(busy paced) (string, error) {
	o, err := b.observe()
	if err != nil {
		return "", err
	}
	defer o.stop()
	var rows []tally
	look := func(what string) (err error) {
		row, err := o.tally(what)
		rows = append(rows, row)
		return err
	}
	if err := look("no session"); err != nil {
		return "", err
	}
	before, err := busy.run(o.target, openWarmUp, openWarmUp+b.window/3, true)
	if err != nil {
		return "", fmt.Errorf("busy sessions alone: %w", err)
	}
	opening := time.Now()
	conns, err := idle(o.target, b.idle, 5*time.Minute)
	defer func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}()
	if err != nil || len(conns) < b.idle {
		return "", fmt.Errorf("%d of %d idle sessions: %w", len(conns), b.idle, err)
	}
	opened := time.Since(opening)
	if err := look(fmt.Sprintf("%d idle sessions", b.idle)); err != nil {
		return "", err
	}
	cpu := o.cpu()
	var between error
	middle := time.AfterFunc(openWarmUp+b.window/2, func() { between = look(fmt.Sprintf("and %d busy ones", busy.conns)) })
	got, err := busy.run(o.target, openWarmUp, openWarmUp+b.window, true)
	middle.Stop()
	cpu = o.cpu() - cpu
	if err := errors.Join(err, between); err != nil {
		return "", fmt.Errorf("busy sessions: %w", err)
	}
	if err := look("the busy ones gone"); err != nil {
		return "", err
	}
	if err := rouse(conns); err != nil {
		return "", err
	}
	for _, conn := range conns {
		_ = conn.Close()
	}
	conns = nil
	list, err := b.command(o, "ls", "--json")
	if err != nil {
		return "", err
	}
	o.stop()
	if _, err := b.command(o, "check"); err != nil {
		return "", err
	}
	if n, want := bytes.Count(list, []byte("\n")), b.idle+2*busy.conns; n < want {
		return "", fmt.Errorf("%d sessions on the tape, want %d", n, want)
	}
	alone, err := quantiles(before.latencies)
	if err != nil {
		return "", err
	}
	crowded, err := quantiles(got.latencies)
	if err != nil {
		return "", err
	}
	var s strings.Builder
	fmt.Fprintf(&s, "# A crowd of idle sessions\n\nMade by `go run ./bench crowd`: %d sessions that say nothing, and %d busy ones that together send %d messages of %d bytes a second for %v,\n"+
		"through one recording wstape. Load, echo and proxy are a process each on %d processors that they share, %s.\n\n", b.idle, busy.conns, busy.rate, busy.size, b.window, runtime.NumCPU(), runtime.Version())
	s.WriteString("| | memory MiB | goroutines | file descriptors | threads |\n|---|---|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&s, "| %s | %.1f | %s | %d | %d |\n", r.what, float64(r.memory)/(1<<20), known(r.goroutines), r.files, r.threads)
	}
	fmt.Fprintf(&s, "\nAn idle session takes %.1f KiB. All of them were opened in %.1f s. Memory is what is resident and no file's.\n"+
		"How long a round trip takes depends on what else the machine does.\n\n",
		float64(rows[1].memory-rows[0].memory)/1024/float64(b.idle), opened.Seconds())
	fmt.Fprintf(&s, "| busy sessions | p50 µs | p99 µs |\n|---|---|---|\n| alone | %.0f | %.0f |\n| beside the idle ones | %.0f | %.0f |\n\n",
		alone[p50], alone[p99], crowded[p50], crowded[p99])
	fmt.Fprintf(&s, "%d messages came back unchanged and none was missing; the proxy used %.2f of a processor. Then each idle session echoed a message: no error.\n"+
		"`wstape check` found the tape sound.\n", got.messages, cpu.Seconds()/got.took.Seconds())
	return s.String(), nil
}

func known(n int) string {
	if n == 0 {
		return "not known"
	}
	return fmt.Sprint(n)
}

// rouse has each connection echo a message.
func rouse(conns []net.Conn) error {
	frame := wire.AppendFrame(nil, wire.Head(true, 0, tape.Text), []byte("still there?"), &[4]byte{1, 2, 3, 4})
	answer := wire.AppendFrame(nil, wire.Head(true, 0, tape.Text), []byte("still there?"), nil)
	const workers = 50
	errs := make([]error, workers)
	var running sync.WaitGroup
	for i := range workers {
		running.Go(func() {
			for n := i; n < len(conns) && errs[i] == nil; n += workers {
				errs[i] = sayOnce(conns[n], frame, answer)
			}
		})
	}
	running.Wait()
	return first(errs)
}

func sayOnce(conn net.Conn, frame, answer []byte) error {
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write(frame); err != nil {
		return fmt.Errorf("an idle session: %w", err)
	}
	got := make([]byte, len(answer))
	for n := 0; n < len(got); {
		more, err := conn.Read(got[n:])
		if err != nil {
			return fmt.Errorf("an idle session: %w", err)
		}
		n += more
	}
	if !bytes.Equal(got, answer) {
		return fmt.Errorf("an idle session said %x", got)
	}
	return nil
}

// tapeCommand is a command of wstape on a tape.
func (b *bench) tapeCommand(tape string, args ...string) *exec.Cmd {
	return exec.Command(b.wstape, append(args, "--tape", tape)...)
}
