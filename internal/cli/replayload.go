package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/pflag"

	"github.com/wstape/wstape/replay"
)

// loadFlags make a load test of replay client.
type loadFlags struct {
	test   replay.LoadTest
	failIf []string
}

func (l *loadFlags) add(fs *pflag.FlagSet) {
	fs.IntVar(&l.test.Clients, "clients", 1, "load test: play the recording as `N` clients at once")
	fs.IntVar(&l.test.Repeat, "repeat", 1, "load test: each client plays it `K` times, one after the other")
	fs.Float64Var(&l.test.Rate, "rate", 0, "load test: begin at most `R` runs a second, over all clients (default: as they come)")
	fs.DurationVar(&l.test.Ramp, "ramp", 0, "load test: the clients start spread over this `TIME`")
	fs.StringArrayVar(&l.failIf, "fail-if", nil, "load test: exit with 1 if this `'p99>200ms'` is so; also mean, max, errors>0, errors>1%, rate<100 (may be given several times)")
}

const loadHelp = `

With --clients, --repeat, --rate, --ramp or --fail-if it is a load test: many
clients at once, a progress bar, and a table of latencies and errors instead of
each session. Clients keep the pace of the recording, as people would; --pace
instant sends as soon as the answers are there, which measures the server. An
answer's latency is the time from a client's message to the message that came
next on the tape. Exit code 1 if a run did not go as recorded, unless a
--fail-if 'errors…' says how many may, or if a --fail-if is so.`

// wanted reports whether it is to be a load test.
func (l *loadFlags) wanted(fs *pflag.FlagSet) bool {
	return l.test.Clients > 1 || l.test.Repeat > 1 || fs.Changed("rate") || fs.Changed("ramp") || len(l.failIf) > 0
}

// thresholds checks the flags and reads what is to fail.
func (l *loadFlags) thresholds(f *replayFlags, fs *pflag.FlagSet) (list []replay.Threshold, err error) {
	switch {
	case l.test.Clients < 1:
		return nil, fail(exitUsage, "--clients %d is not above 0", l.test.Clients)
	case l.test.Repeat < 1:
		return nil, fail(exitUsage, "--repeat %d is not above 0", l.test.Repeat)
	case l.test.Clients > math.MaxInt32/l.test.Repeat:
		return nil, fail(exitUsage, "--clients %d with --repeat %d are more runs than can be counted (%d)", l.test.Clients, l.test.Repeat, math.MaxInt32)
	case fs.Changed("rate") && !(l.test.Rate > 0):
		return nil, fail(exitUsage, "--rate %g is not above 0 runs a second", l.test.Rate)
	case l.test.Ramp < 0:
		return nil, fail(exitUsage, "--ramp %s is not above 0", l.test.Ramp)
	case !l.wanted(fs):
		return nil, nil
	case f.pace == "step":
		return nil, fail(exitUsage, "--pace step waits for a person, of whom there is one for many clients: use recorded, instant or a factor for a load test")
	case f.then != "":
		return nil, fail(exitUsage, "--then %s goes on with one connection; a load test plays to the end: leave out --until and --then", f.then)
	}
	for _, text := range l.failIf {
		t, err := replay.ParseThreshold(text)
		if err != nil {
			return nil, fail(exitUsage, "--fail-if: %w", err)
		}
		list = append(list, t)
	}
	return list, nil
}

// run does the load test and tells how it went.
func (l *loadFlags) run(ctx context.Context, a *app, f *replayFlags, r *replay.Recording, name string, to replay.Dialing, o replay.Options, thresholds []replay.Threshold) error {
	bar := newLoadBar(&a.Env)
	l.test.Progress = bar.show
	report, err := r.Load(ctx, to, o, l.test)
	bar.clear()
	if report == nil {
		return fail(exitUsage, "%w", err)
	}
	report.Recording = name
	report.Judge(thresholds)
	switch printed := f.printReport(a, report); {
	case err != nil && errors.Is(err, replay.ErrReach):
		return fail(exitReach, "%w", err)
	case err != nil:
		return fail(exitUsage, "%w", err)
	case printed != nil:
		return printed
	case !report.Held():
		return fail(exitNo, "%s", safe(report.Verdict(), 1000))
	}
	return nil
}

// loadBar shows how far a load test is: on a terminal in one line that is
// written anew, elsewhere in a line now and then.
type loadBar struct {
	out      io.Writer
	columns  func() int
	terminal bool
	next     time.Duration // when the next line is due
}

// lineEvery is how often a line is written where there is no terminal.
const lineEvery = 5 * time.Second

func newLoadBar(env *Env) *loadBar {
	return &loadBar{
		out: env.Stderr, columns: func() int { return width(env.Stderr) }, next: lineEvery,
		terminal: isTerminal(env.Stderr) && env.Getenv("TERM") != "dumb",
	}
}

func (b *loadBar) show(s replay.LoadSnapshot) {
	switch {
	case b.terminal:
		fmt.Fprintf(b.out, "\r%s\x1b[K", loadLine(&s, b.columns()-1))
	case s.Elapsed >= b.next:
		b.next = s.Elapsed + lineEvery
		fmt.Fprintf(b.out, "wstape: %s: %s\n", shortDuration(s.Elapsed), loadLine(&s, 0))
	}
}

// clear takes the bar away.
func (b *loadBar) clear() {
	if b.terminal {
		fmt.Fprint(b.out, "\r\x1b[K")
	}
}

// loadLine is the progress in one line, with a bar if there is room for one.
func loadLine(s *replay.LoadSnapshot, columns int) string {
	text := fmt.Sprintf("%d/%d runs, %d failed, %.0f messages/s", s.Done, s.Runs, s.Failed, s.Rate)
	if s.Answer.Count() > 0 {
		text += fmt.Sprintf(", answers p50 %s p99 %s", shortDuration(s.Answer.At(50)), shortDuration(s.Answer.At(99)))
	}
	if columns == 0 {
		return text
	}
	const least, most = 10, 30
	if room := min(columns-utf8.RuneCountInString(text)-3, most); room >= least {
		done := int(float64(room) * s.Share)
		text = "[" + strings.Repeat("=", done) + strings.Repeat(" ", room-done) + "] " + text
	}
	if runes := []rune(text); len(runes) > columns {
		return string(runes[:columns])
	}
	return text
}
