//go:build unix

package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Bars of `replay client` as a load test.
const (
	replayClients = 1000
	replayTalk    = 100 // questions, each with its answer
	maxReplayRSS  = 300 << 20
)

// replayLoad is a way to run `replay client` against the echo.
type replayLoad struct {
	name    string
	clients int
	every   time.Duration // between two questions on the tape
	args    []string
}

func replayLoads() []replayLoad {
	return []replayLoad{
		{"1 client, 20 runs, --pace instant", 1, time.Millisecond, []string{"--repeat", "20", "--pace", "instant"}},
		{"1,000 clients, --pace instant", replayClients, time.Millisecond, []string{"--pace", "instant"}},
		{"1,000 clients, 3 runs each, --pace instant", replayClients, time.Millisecond, []string{"--repeat", "3", "--pace", "instant"}},
		{"1,000 clients, recorded pace: 10 questions a second each, --ramp 1s", replayClients, 100 * time.Millisecond, []string{"--ramp", "1s"}},
	}
}

// replayReport is what of the report is wanted.
type replayReport struct {
	Held     bool
	Duration float64
	Runs     struct{ Total, Done, Failed int }
	Messages struct{ Sent, Received float64 }
	Rate     float64 `json:"messages_per_second"`
	Connect  replayTimes
	Answer   replayTimes
}

type replayTimes struct{ P50, P99, Max float64 }

// replayed is one run of a load.
type replayed struct {
	replayReport
	cpu time.Duration
	rss int // the most, in bytes
}

// replay measures `replay client` as a load test and writes REPLAY.md.
func replay(args []string) error {
	b := &bench{}
	flags := flag.NewFlagSet("bench replay", flag.ContinueOnError)
	out := flags.String("out", "bench/REPLAY.md", "write the results to this file")
	flags.StringVar(&b.wstape, "wstape", "", "measure this program instead of building one")
	flags.IntVar(&b.rounds, "rounds", 5, "rounds")
	if err := flags.Parse(args); err != nil {
		return err
	}
	stop, err := b.prepare()
	if err != nil {
		return err
	}
	defer stop()
	loads := replayLoads()
	results := make([][]replayed, len(loads))
	for round := range b.rounds {
		for i := range loads {
			got, err := b.replayOnce(&loads[i])
			if err != nil {
				return fmt.Errorf("%s: %w", loads[i].name, err)
			}
			fmt.Fprintf(os.Stderr, "round %d, %s: %.0f msg/s, %d MiB\n", round+1, loads[i].name, got.Rate, got.rss>>20)
			results[i] = append(results[i], *got)
		}
	}
	text, err := replayText(loads, results, append([]string{"go run ./bench replay"}, args...))
	fmt.Print(text)
	return errors.Join(err, os.WriteFile(*out, []byte(text), 0o644))
}

func (b *bench) replayOnce(l *replayLoad) (*replayed, error) {
	dir, err := os.MkdirTemp(b.dir, "replay-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	cassette, report := filepath.Join(dir, "talk.cassette.jsonl"), filepath.Join(dir, "report.json")
	if err := writeTalk(cassette, l.every); err != nil {
		return nil, err
	}
	command := append([]string{b.wstape, "replay", "client", cassette, "ws://" + b.upstream,
		"--clients", fmt.Sprint(l.clients), "--report", "json", "--report-file", report}, l.args...)
	p, err := spawn(dir, command...)
	if err != nil {
		return nil, err
	}
	<-p.done
	text, err := os.ReadFile(report)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, p.said())
	}
	state := p.cmd.ProcessState
	got := &replayed{cpu: state.UserTime() + state.SystemTime()}
	if usage, ok := state.SysUsage().(*syscall.Rusage); ok {
		got.rss = int(usage.Maxrss) << 10 // with pages of files, so more than process.rss counts
	}
	return got, json.Unmarshal(text, &got.replayReport)
}

// writeTalk writes a cassette whose questions are echoed.
func writeTalk(path string, every time.Duration) error {
	type line struct {
		From string  `json:"from"`
		T    float64 `json:"t"`
		Op   string  `json:"op"`
		Text string  `json:"text,omitempty"`
		Code int     `json:"code,omitempty"`
	}
	next := newTalk(rand.New(rand.NewPCG(1, 2))).message
	var text strings.Builder
	text.WriteString(`{"wstape":1,"session":{"url":"/echo"}}` + "\n")
	enc := json.NewEncoder(&text)
	var at time.Duration
	for range replayTalk {
		message := string(next())
		for _, from := range []string{"client", "server"} {
			if err := enc.Encode(line{from, at.Seconds(), "text", message, 0}); err != nil {
				return err
			}
		}
		at += every
	}
	if err := enc.Encode(line{"client", at.Seconds(), "close", "", 1000}); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text.String()), 0o644)
}

// replayText writes the medians; the error says which bar was missed.
func replayText(loads []replayLoad, results [][]replayed, command []string) (string, error) {
	var t strings.Builder
	fmt.Fprintf(&t, "# `replay client` as a load test\n\nMade by `%s`.\n\n", strings.Join(command, " "))
	fmt.Fprintf(&t, `%s; the clients and the echo, a process of its own, share it.

Each run of a client plays a cassette of %d JSON messages of about 128 B, whose echoes it compares with the recording (`+"`--match shape`"+`),
on a connection of its own. A message is one direction. The memory is the most that was resident at a time, the highest of all rounds; all other
figures are medians of %d rounds. The CPU time is the clients'. Latencies are measured where the clients are: where both cores are busy they
are mostly the time that a message waits for its turn.

`, machine(), replayTalk, len(results[0]))
	columns := []struct {
		name  string
		value func(*replayed) float64
	}{
		{"messages", func(r *replayed) float64 { return r.Messages.Sent + r.Messages.Received }},
		{"seconds", func(r *replayed) float64 { return r.Duration }},
		{perSecond, func(r *replayed) float64 { return r.Rate }},
		{cpuMessage, func(r *replayed) float64 {
			return float64(r.cpu.Microseconds()) / max(1, r.Messages.Sent+r.Messages.Received)
		}},
		{"connect p50 ms", func(r *replayed) float64 { return r.Connect.P50 * 1e3 }},
		{"answer p50 ms", func(r *replayed) float64 { return r.Answer.P50 * 1e3 }},
		{"p99 ms", func(r *replayed) float64 { return r.Answer.P99 * 1e3 }},
		{"max ms", func(r *replayed) float64 { return r.Answer.Max * 1e3 }},
	}
	head, rule := "| load | runs | failed |", "|---|---|---|"
	for _, c := range columns {
		head, rule = head+" "+c.name+" |", rule+"---|"
	}
	fmt.Fprintf(&t, "%s memory MiB |\n%s---|\n", head, rule)
	highest, failed := 0, 0
	for i := range loads {
		done, bad, rss := 0, 0, 0
		for _, r := range results[i] {
			done, bad, rss = done+r.Runs.Done, bad+r.Runs.Total-r.Runs.Done+r.Runs.Failed, max(rss, r.rss)
		}
		highest, failed = max(highest, rss), failed+bad
		fmt.Fprintf(&t, "| %s | %d | %d |", loads[i].name, done, bad)
		for _, c := range columns {
			var values []float64
			for k := range results[i] {
				values = append(values, c.value(&results[i][k]))
			}
			slices.Sort(values)
			fmt.Fprintf(&t, " %s |", number(values[len(values)/2]))
		}
		fmt.Fprintf(&t, " %d |\n", rss>>20)
	}
	fmt.Fprintf(&t, "\nBars: no error (%d), less than %d MiB of memory (%d).\n", failed, maxReplayRSS>>20, highest>>20)
	if failed > 0 || highest >= maxReplayRSS {
		return t.String(), fmt.Errorf("a bar was missed: %d runs failed, %d MiB of memory", failed, highest>>20)
	}
	return t.String(), nil
}
