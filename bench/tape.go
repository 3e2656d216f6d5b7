//go:build unix

package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Bars of reading long tapes.
const (
	maxLs     = 200 * time.Millisecond
	maxPage   = 300 * time.Millisecond
	minSearch = 100e6 // bytes of payload for each second of CPU time
)

// reading is a command that reads a long tape.
type reading struct {
	name   string
	args   []string
	least  float64       // bytes of payload a second of CPU time that are the bar
	most   time.Duration // the bar of what waits for nothing else
	memory bool          // measured on a tape of a tenth, too
}

// times is how often it runs in a round: what takes no time, often.
func (r *reading) times() int {
	if r.most > 0 {
		return 10
	}
	return 1
}

func readings() []reading {
	search := func(what string, more ...string) reading {
		return reading{name: "search '" + what + "'", args: append([]string{"search", what}, more...), least: minSearch}
	}
	nowhere, typed := search("nothing like it"), search(`json.type == "x"`)
	nowhere.memory, typed.memory = true, true
	decoded := search(`json.text contains json.id`)
	decoded.least = 0
	return []reading{
		{name: "ls", args: []string{"ls"}, most: maxLs},
		{name: "show -1 --last 50", args: []string{"show", "-1", "--last", "50"}, most: maxPage},
		{name: "show -1 --last 50 --view auto", args: []string{"show", "-1", "--last", "50", "--view", "auto"}, most: maxPage},
		nowhere, typed, search(`text contains "BTCX"`), search(`len > 4096 && from == "client"`), search(`json.sent == 5`), decoded,
	}
}

// readOnce is one run of a command.
type readOnce struct {
	wall, cpu time.Duration
	own, rss  int // the most that was resident, in bytes: of its own, and with pages of files
}

// readTape runs a command on a tape and watches its memory.
func (b *bench) readTape(made *madeTape, r *reading) (*readOnce, error) {
	begin := time.Now()
	p, err := spawn(filepath.Dir(made.path), append(append([]string{b.wstape}, r.args...), "--tape", made.path)...)
	if err != nil {
		return nil, err
	}
	got := &readOnce{}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for running := true; running; {
		select {
		case <-tick.C:
			got.look(p.cmd.Process.Pid)
		case <-p.done:
			running = false
		}
	}
	got.wall = time.Since(begin)
	state := p.cmd.ProcessState
	if code := state.ExitCode(); code > 1 { // 1 is: nothing found
		return nil, fmt.Errorf("%s: exit code %d: %s", r.name, code, p.said())
	}
	got.cpu = state.UserTime() + state.SystemTime()
	return got, nil
}

// look notes how much memory a process has. The kernel's count of what was
// resident at most begins anew with a program, unlike the one that wait returns.
func (o *readOnce) look(pid int) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		var kib int
		if _, err := fmt.Sscanf(line, "RssAnon: %d kB", &kib); err == nil {
			o.own = max(o.own, kib<<10)
		}
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			o.rss = max(o.rss, kib<<10)
		}
	}
}

// tapeRow is what was measured of one command on one tape.
type tapeRow struct {
	*reading
	of    int64 // bytes of payload
	runs  []readOnce
	tenth int // the memory on a tape of a tenth; 0 if that was not measured
}

// tapes measures reading tapes of a million messages and writes TAPE.md.
func tapes(args []string) error {
	b := &bench{}
	flags := flag.NewFlagSet("bench tape", flag.ContinueOnError)
	out := flags.String("out", "bench/TAPE.md", "write the results to this file")
	messages := flags.Int("messages", 1_000_000, "messages on each tape")
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
	t := &tapeText{messages: *messages, rounds: b.rounds}
	t.head(append([]string{"go run ./bench tape"}, args...))
	for _, s := range tapeShapes(*messages) {
		if err := b.tapeOf(&s, t); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	err = t.bars()
	fmt.Print(t.String())
	return errors.Join(err, os.WriteFile(*out, []byte(t.String()), 0o644))
}

// tapeOf makes the tapes of a shape, measures, and removes them.
func (b *bench) tapeOf(s *tapeShape, t *tapeText) error {
	dir, err := os.MkdirTemp(b.dir, "tape-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	made, err := makeTape(filepath.Join(dir, "whole.db"), s)
	if err != nil {
		return err
	}
	small := *s
	small.messages /= 10
	tenth, err := makeTape(filepath.Join(dir, "tenth.db"), &small)
	if err != nil {
		return err
	}
	list := readings()
	rows := make([]tapeRow, len(list))
	for round := range b.rounds {
		for i := range list {
			r := &list[i]
			rows[i].reading, rows[i].of = r, made.payload
			for range r.times() {
				got, err := b.readTape(made, r)
				if err != nil {
					return err
				}
				fmt.Fprintf(os.Stderr, "round %d, %s, %s: %v, CPU %v\n", round+1, s.name, r.name, got.wall, got.cpu)
				rows[i].runs = append(rows[i].runs, *got)
			}
			if r.memory {
				few, err := b.readTape(tenth, r)
				if err != nil {
					return err
				}
				rows[i].tenth = max(rows[i].tenth, few.own)
			}
		}
	}
	info, err := os.Stat(made.path)
	if err != nil {
		return err
	}
	t.shape(s, made, info.Size(), rows)
	return nil
}

// tapeText is TAPE.md.
type tapeText struct {
	strings.Builder
	messages, rounds int
	missed           []string
	slowest          [3]float64 // ls and show in seconds, search in bytes a second
}

func (t *tapeText) head(command []string) {
	t.slowest[2] = 1e12
	fmt.Fprintf(t, "# Reading long tapes\n\nMade by `%s`.\n\n", strings.Join(command, " "))
	fmt.Fprintf(t, `%s. The machine may have other work to do meanwhile, and then wall times are mostly waiting: of %d rounds, in each of
which `+"`ls` and `show`"+` run ten times, the least and the median are given. CPU time, user and system, is the median. The file is in the system's cache.

Each tape has %d messages, recorded through the recorder: JSON of about 128 bytes, no two alike, by both sides in turn. MB/s is payload, as it
was said (not as it was compressed), for each second of CPU time: 1 MB is 10^6 bytes. The memory is the most that was resident, the highest of all rounds: with
the pages of the file and of the program, and what of it was the program's own, looked at every 5 ms (0 if it was too quick). "Of a tenth" is what
was its own with a tape of a tenth of the messages.

No message matches, but for %s, whose results go to /dev/null: what a search costs is looking. `+"`sent`"+` is in half of the messages,
with a number that is compared before the message is decoded. What `+"`json.text contains json.id`"+` compares cannot be told from the bytes: that half is decoded for it. It
has no bar.

`, machine(), t.rounds, t.messages, "`show` and `ls`")
}

func (t *tapeText) shape(s *tapeShape, made *madeTape, size int64, rows []tapeRow) {
	fmt.Fprintf(t, "## %s\n\n%.0f MB of payload, a file of %.0f MB; packed %s.\n\n", s.name, float64(made.payload)/1e6, float64(size)/1e6, s.packed)
	fmt.Fprintf(t, "| command | wall s, least | median | CPU s | MB/s | memory MiB | own | of a tenth |\n|---|---|---|---|---|---|---|---|\n")
	for i := range rows {
		t.row(s, &rows[i])
	}
	fmt.Fprintln(t)
}

func (t *tapeText) row(s *tapeShape, r *tapeRow) {
	middle := func(of func(*readOnce) time.Duration) (least, median time.Duration) {
		var all []time.Duration
		for i := range r.runs {
			all = append(all, of(&r.runs[i]))
		}
		slices.Sort(all)
		return all[0], all[len(all)/2]
	}
	least, wall := middle(func(o *readOnce) time.Duration { return o.wall })
	_, cpu := middle(func(o *readOnce) time.Duration { return o.cpu })
	rate := float64(r.of) / cpu.Seconds()
	rss, own := 0, 0
	for _, o := range r.runs {
		rss, own = max(rss, o.rss), max(own, o.own)
	}
	speed, tenth := "", ""
	if r.most == 0 {
		speed = fmt.Sprintf("%.0f", rate/1e6)
	}
	if r.tenth > 0 {
		tenth = fmt.Sprint(r.tenth >> 20)
	}
	fmt.Fprintf(t, "| `%s` | %.3f | %.3f | %.3f | %s | %d | %d | %s |\n", r.name, least.Seconds(), wall.Seconds(), cpu.Seconds(), speed, rss>>20, own>>20, tenth)
	switch {
	case r.most == maxLs:
		t.slowest[0] = max(t.slowest[0], least.Seconds())
	case r.most == maxPage:
		t.slowest[1] = max(t.slowest[1], least.Seconds())
	case r.least > 0:
		t.slowest[2] = min(t.slowest[2], rate)
	}
	if r.most > 0 && least > r.most || r.least > 0 && rate < r.least {
		t.missed = append(t.missed, s.name+": "+r.name)
	}
}

// bars says which bars were missed.
func (t *tapeText) bars() error {
	fmt.Fprintf(t, "Bars, each for the slowest: `ls` under %.1f s (%.3f), the last page under %.1f s (%.3f), search at %.0f MB/s and core or better (%.0f).\n",
		maxLs.Seconds(), t.slowest[0], maxPage.Seconds(), t.slowest[1], minSearch/1e6, t.slowest[2]/1e6)
	if len(t.missed) > 0 {
		return fmt.Errorf("a bar was missed: %s", strings.Join(t.missed, "; "))
	}
	return nil
}
