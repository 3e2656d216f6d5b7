package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/wstape/wstape/internal/config"
	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/replay"
	"github.com/wstape/wstape/script"
	"github.com/wstape/wstape/tape"
)

func (a *app) replayCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "replay",
		Short: "play recorded sessions back: as a fake server, or as a fake client",
		Args:  noSuchCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.replayServerCommand(), a.replayClientCommand(), a.replayExplainCommand(), a.replayLearnCommand())
	return cmd
}

const aRecording = "a recording: sessions of the tape (3, -1, a UUID's beginning), or cassettes, HAR files and mitmproxy dumps"

// replayFlags are what replay server and replay client have in common.
type replayFlags struct {
	match, pace, onMismatch, then string
	ignore, headers, secrets      []string
	scripts                       []string
	timeout                       time.Duration
	wire                          bool
	until                         int
	report, reportFile            string
}

func (f *replayFlags) add(fs *pflag.FlagSet) {
	configFlag(fs)
	f.addMatching(fs)
	fs.StringVar(&f.pace, "pace", "recorded", "when to send: `recorded|instant|step|2x` (any factor; step waits for Enter)")
	fs.StringVar(&f.onMismatch, "on-mismatch", "fail", "what to do when the live peer does something else: `fail|skip|passthrough`")
	fs.DurationVar(&f.timeout, "timeout", replay.DefaultTimeout, "how much longer than on the tape the peer may take; 0 waits for ever")
	fs.IntVar(&f.until, "until", 0, "play up to this `STEP` (see replay explain), then hand the connection over")
	fs.StringVar(&f.then, "then", "", "to whom: `upstream|stdin|FILE.js`")
	fs.StringArrayVar(&f.scripts, "script", nil, "run this JavaScript or TypeScript `FILE` between the player and the peer (may be given several times)")
	fs.StringArrayVar(&f.headers, "header", nil, "send `'Name: value'` in the handshake instead of the recorded header; without a value, leave it out")
	fs.StringArrayVar(&f.secrets, "secret", nil, "the value that a recorded pseudonym stands for: `NAME=env:VARIABLE` or NAME=file:PATH; NAME is a header, a cookie, a query key or a key of JSON")
	fs.BoolVar(&f.wire, "wire", false, "play frames as they were on the wire: fragments, compression with context takeover, violations")
	fs.StringVar(&f.report, "report", "text", "how it went, as `text|json|junit`")
	fs.StringVar(&f.reportFile, "report-file", "", "write the report to `FILE` instead of stdout")
}

func (f *replayFlags) addMatching(fs *pflag.FlagSet) {
	fs.StringVar(&f.match, "match", "shape", "how closely messages must be as recorded: `bytes|json|shape|script`")
	fs.StringArrayVar(&f.ignore, "ignore", nil, "values at this `PATH` may differ: '$.price' (may be given several times)")
}

func (f *replayFlags) matching() replay.Matching {
	return replay.Matching{Level: replay.Level(f.match), Ignore: f.ignore, Wire: f.wire}
}

// options makes the player's options of the flags that both players have.
func (f *replayFlags) options(a *app, c *config.Config) (o replay.Options, err error) {
	o.Matching = f.matching()
	if err := o.Matching.Validate(); err != nil {
		return o, fail(exitUsage, "--%w", err)
	}
	o.MessageBytes = int64(c.Limits.Message)
	o.Timeout, o.Until = f.timeout, f.until
	if o.Pace, err = replay.ParsePace(f.pace); err != nil {
		return o, fail(exitUsage, "--%w", err)
	}
	switch o.OnMismatch = replay.Policy(f.onMismatch); o.OnMismatch {
	case replay.Fail, replay.Skip, replay.Passthrough:
	default:
		return o, fail(exitUsage, "--on-mismatch %q is not fail, skip or passthrough", f.onMismatch)
	}
	switch f.report {
	case "text", "json", "junit":
	default:
		return o, fail(exitUsage, "--report %q is not text, json or junit", f.report)
	}
	if f.reportFile != "" {
		if info, err := os.Stat(filepath.Dir(f.reportFile)); err != nil || !info.IsDir() {
			return o, fail(exitUsage, "--report-file %s: there is no directory %s to write it to", f.reportFile, filepath.Dir(f.reportFile))
		}
	}
	switch {
	case f.timeout < 0:
		return o, fail(exitUsage, "--timeout %s is below 0; 0 waits for ever", f.timeout)
	case f.until < 0:
		return o, fail(exitUsage, "--until %d is not a step: steps count from 1, see wstape replay explain", f.until)
	case (f.until > 0) != (f.then != ""):
		return o, fail(exitUsage, "--until STEP and --then WHOM belong together: who goes on after which step")
	case o.Pace.Step && f.then == "stdin":
		return o, fail(exitUsage, "--pace step and --then stdin both want to read standard input; use one of them")
	}
	if f.timeout == 0 {
		o.Timeout = -1
	}
	if o.Headers, o.Secrets, err = f.live(a); err != nil {
		return o, err
	}
	if o.Pace.Step {
		words := make(chan struct{})
		o.Words = words
		fmt.Fprintln(a.Stderr, "wstape: press Enter for each step")
		go func() { // ends with the process: a read of standard input cannot be taken back
			for range stdinLines(a.Stdin) {
				words <- struct{}{}
			}
		}()
	}
	return o, nil
}

func (f *replayFlags) live(a *app) (headers []tape.Header, secrets map[string]string, err error) {
	for _, text := range f.headers {
		h, err := config.ParseHeader(text)
		if err != nil {
			return nil, nil, fail(exitUsage, "--%w", err)
		}
		headers = append(headers, h)
	}
	secrets = map[string]string{}
	for _, text := range f.secrets {
		name, from, _ := strings.Cut(text, "=")
		kind, where, ok := strings.Cut(from, ":")
		value := ""
		switch {
		case ok && name != "" && kind == "env":
			if value = a.Getenv(where); value == "" {
				return nil, nil, fail(exitUsage, "--secret %s: the environment variable %s is not set", name, where)
			}
		case ok && name != "" && kind == "file":
			b, err := os.ReadFile(where)
			if err != nil {
				return nil, nil, fail(exitUsage, "--secret %s: %w", name, err)
			}
			value = strings.TrimRight(string(b), "\r\n")
		default:
			return nil, nil, fail(exitUsage, "--secret %q is not NAME=env:VARIABLE or NAME=file:PATH (a secret itself does not belong on a command line)", text)
		}
		secrets[name] = value
	}
	return headers, secrets, nil
}

// stdinLines reads lines until the end.
func stdinLines(r io.Reader) <-chan string {
	lines := make(chan string)
	go func() { // ends with the process: a read of standard input cannot be taken back
		defer close(lines)
		in := bufio.NewScanner(r)
		in.Buffer(nil, 16<<20)
		for in.Scan() {
			lines <- in.Text()
		}
	}()
	return lines
}

// scripts puts the scripts of --script between the player and the peer, and one
// of --then behind the player. The returned function ends them.
func (f *replayFlags) stages(a *app, c *config.Config, o *replay.Options) (end func(), err error) {
	o.Open, err = nil, nil
	var sets []*script.Set
	end = func() {
		for _, s := range sets {
			s.Close()
		}
	}
	open := func(files []string) (func(tape.Session, replay.Handle) replay.Stage, *script.Chain, error) {
		so := scriptOptions(c, a.Getenv)
		so.Log = func(e script.Entry) { fmt.Fprintln(a.Stderr, scriptLine(&e, false)) }
		set, err := script.NewSet(files, so)
		if err != nil {
			return nil, nil, fail(exitUsage, "%s", script.Explain(err))
		}
		sets = append(sets, set)
		chain, err := set.Chain(files)
		if err != nil {
			return nil, nil, fail(exitUsage, "%w", err)
		}
		return func(about tape.Session, h replay.Handle) replay.Stage { return chain.Open(about, h) }, chain, nil
	}
	if len(f.scripts) > 0 {
		var chain *script.Chain
		if o.Open, chain, err = open(f.scripts); err != nil {
			return end, err
		}
		if f.match == string(replay.Script) && !chain.Matches() {
			return end, fail(exitUsage, "--match script: %s exports no onMatch(expected, received)", strings.Join(f.scripts, ", "))
		}
	} else if f.match == string(replay.Script) {
		return end, fail(exitUsage, "--match script needs a script that exports onMatch: name it with --script")
	}
	switch {
	case f.then == "" || f.then == "upstream":
	case f.then == "stdin":
		lines := stdinLines(a.Stdin)
		o.Takeover = replay.Terminal(lines, func(c tape.Content) { fmt.Fprintln(a.Stdout, safe(string(c.Payload), 1<<20)) })
	default:
		then, _, err := open([]string{f.then})
		if err != nil {
			return end, err
		}
		o.Takeover = replay.Scripted(then)
	}
	return end, nil
}

// recording loads what the arguments name.
func (a *app) recording(ctx context.Context, t *tapeFile, role tape.Side, args []string, m replay.Matching) (*replay.Recording, error) {
	targets, err := a.resolve(ctx, t, args)
	if err == nil {
		err = a.warnOfParts(ctx, targets)
	}
	if err != nil {
		return nil, err
	}
	r, err := replay.Load(ctx, role, sources(targets), m)
	switch {
	case errors.Is(err, replay.ErrNothing):
		return nil, fail(exitNo, "replay %s: %w", strings.Join(args, " "), err)
	case err != nil && errors.Is(err, record.ErrCorrupt):
		return nil, fail(exitReach, "%w", err)
	case err != nil:
		return nil, fail(exitUsage, "%w", err)
	}
	return r, nil
}

// sources names sessions so that several of one cassette can be told apart.
func sources(targets []target) (out []replay.Source) {
	several := map[record.Reader]int{}
	for _, at := range targets {
		several[at.store]++
	}
	for _, at := range targets {
		name := at.name
		if at.file != "" && several[at.store] > 1 {
			name = fmt.Sprintf("%s, session %d", at.name, at.n)
		}
		out = append(out, replay.Source{Reader: at.store, N: at.n, Name: name})
	}
	return out
}

// writeReport writes how it went and makes the exit code of it.
func (f *replayFlags) writeReport(a *app, r *replay.Report) error {
	if err := f.printReport(a, r); err != nil {
		return err
	}
	if !r.Held() {
		return fail(exitNo, "the replay did not go as recorded")
	}
	return nil
}

// report is how something went.
type report interface {
	WriteText(io.Writer) error
	WriteJSON(io.Writer) error
	WriteJUnit(io.Writer) error
}

// printReport writes a report to where it was asked for.
func (f *replayFlags) printReport(a *app, r report) error {
	write := map[string]func(io.Writer) error{"text": r.WriteText, "json": r.WriteJSON, "junit": r.WriteJUnit}[f.report]
	if f.reportFile != "" {
		return writeWhole(a.hard, f.reportFile, 0o644, write)
	}
	var out bytes.Buffer
	err := write(&out)
	if f.report != "junit" && err == nil {
		return clean(a.Stdout, f.report == "json", func(w io.Writer) error { _, err := w.Write(out.Bytes()); return err })
	}
	if err == nil {
		_, err = a.Stdout.Write(out.Bytes())
	}
	return err
}

// sayOutcome tells on stderr how a session went, as soon as it is over.
func (a *app) sayOutcome(o *replay.Outcome) {
	where := fmt.Sprintf("%s (%s)", o.Session, safe(o.Target, 100))
	if o.Peer != "" {
		where += " with " + o.Peer
	}
	switch {
	case o.Held() && len(o.Skipped) > 0:
		fmt.Fprintf(a.Stderr, "wstape: %s: %s of %d, with %s\n", where, count(o.Played, "step"), o.Steps, count(len(o.Skipped), "difference"))
	case o.Held() && o.Played < o.Steps:
		fmt.Fprintf(a.Stderr, "wstape: %s: went as recorded for %s of %d\n", where, count(o.Played, "step"), o.Steps)
	case o.Held():
		fmt.Fprintf(a.Stderr, "wstape: %s: went as recorded, %s\n", where, count(o.Played, "step"))
	case o.Mismatches[0].Step == 0:
		fmt.Fprintf(a.Stderr, "wstape: %s: %s: %s\n", where, o.Mismatches[0].Kind, safe(o.Mismatches[0].Text, 300))
	default:
		m := &o.Mismatches[0]
		fmt.Fprintf(a.Stderr, "wstape: %s: step %d, %s: %s\n", where, m.Step, m.Kind, safe(m.Text, 300))
	}
}

// checkUntil refuses a step that no session has.
func (f *replayFlags) checkUntil(r *replay.Recording) error {
	most := 0
	for _, p := range r.Plans {
		most = max(most, len(p.Steps))
	}
	if f.until > most {
		return fail(exitUsage, "--until %d: the recording has only %s; see wstape replay explain", f.until, count(most, "step"))
	}
	return nil
}
