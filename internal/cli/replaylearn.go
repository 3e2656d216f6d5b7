package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/replay"
	"github.com/wstape/wstape/tape"
)

func (a *app) replayLearnCommand() *cobra.Command {
	var out string
	var printOnly bool
	cmd := &cobra.Command{
		Use:   "learn RECORDING RECORDING",
		Short: "learn from two recordings of a scenario what differs from run to run",
		Long: `Compare two recordings of the same scenario and find the rules that a replay of
one needs to accept the other: values that may differ (ignore), and values that
one side chooses and the other repeats (bind). What a replay knows without rules,
like ids and times, needs none.

The rules are put into the first recording, if it is a cassette: into the lines of
its sessions, all else in the file stays as it is. With --out, into a copy.`,
		Example: `  wstape replay learn ticker.cassette.jsonl second-run.cassette.jsonl
  wstape replay learn 3 4 --tape t.db --out ticker.cassette.jsonl
  wstape replay learn ticker.cassette.jsonl -1 --print`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return errors.New("learn: name two recordings of the same scenario")
			}
			return nil
		},
	}
	a.tapeFlag(cmd)
	cmd.Flags().StringVar(&out, "out", "", "write the first recording with the rules to `FILE`, as a cassette")
	cmd.Flags().BoolVar(&printOnly, "print", false, "only print the rules, write nothing")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if printOnly && out != "" {
			return fail(exitUsage, "--print writes nothing, --out FILE writes the rules; use one of them")
		}
		ctx := cmd.Context()
		t := a.openTape()
		defer t.Close()
		targets, err := a.resolve(ctx, t, args[:1])
		if err != nil {
			return err
		}
		var recordings [2]*replay.Recording
		for i := range recordings {
			if recordings[i], err = a.recording(ctx, t, tape.Server, args[i:i+1], replay.Matching{}); err != nil {
				return err
			}
		}
		learned, err := replay.Learn(recordings[0], recordings[1])
		switch {
		case errors.Is(err, replay.ErrScenario):
			return fail(exitNo, "learn from %s and %s: %w", args[0], args[1], err)
		case err != nil:
			return fail(exitUsage, "learn from %s and %s: %w", args[0], args[1], err)
		}
		found := a.sayLearned(learned)
		onTape := targets[0].file == ""
		switch {
		case printOnly:
			return nil
		case out != "" && onTape:
			return writeWhole(ctx, out, 0o644, func(w io.Writer) error { return writeRuled(ctx, w, targets, learned) })
		case out != "":
			return ruleCassette(ctx, args[0], out, learned)
		case onTape && found > 0:
			fmt.Fprintln(a.Stderr, "wstape: name a cassette with --out FILE to keep the rules: a tape cannot carry them")
			return nil
		case found > 0:
			return ruleCassette(ctx, args[0], args[0], learned)
		}
		return nil
	}
	return cmd
}

// sayLearned prints what was learned, and on stderr what could not be.
func (a *app) sayLearned(l *replay.Learned) (found int) {
	open := 0
	for i := range l.Sessions {
		s := &l.Sessions[i]
		if len(l.Sessions) > 1 && len(s.Found) > 0 {
			fmt.Fprintf(a.Stdout, "%s:\n", safe(s.Session, 400))
		}
		for k := range s.Found {
			fmt.Fprintln(a.Stdout, safe(s.Found[k].String(), 4000))
		}
		for _, note := range s.Notes {
			fmt.Fprintf(a.Stderr, "wstape: not learned: %s\n", safe(note, 4000))
		}
		found += len(s.Found)
		open += len(s.Notes)
	}
	switch {
	case found == 0 && open > 0:
		fmt.Fprintln(a.Stdout, "nothing to learn: no rule makes the two recordings alike")
	case found == 0:
		fmt.Fprintln(a.Stdout, "nothing to learn: what differs between the two recordings, a replay knows without rules")
	}
	return found
}

// writeRuled writes sessions of a tape as a cassette with rules.
func writeRuled(ctx context.Context, w io.Writer, targets []target, l *replay.Learned) error {
	for i, at := range targets {
		var text bytes.Buffer
		if err := record.WriteCassette(ctx, &text, at.store, at.n); err != nil {
			return fmt.Errorf("export %s: %w", at.name, err)
		}
		ruled, err := ruleLines(text.Bytes(), l.Sessions[i:i+1])
		if err != nil {
			return fmt.Errorf("export %s: %w", at.name, err)
		}
		if _, err := w.Write(ruled); err != nil {
			return err
		}
	}
	return nil
}

// ruleCassette writes a cassette file with rules in its sessions' lines.
func ruleCassette(ctx context.Context, from, to string, l *replay.Learned) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return fail(exitReach, "%w", err)
	}
	ruled, err := ruleLines(text, l.Sessions)
	if err != nil {
		return fail(exitReach, "put the rules into %s: %w", from, err)
	}
	return writeWhole(ctx, to, 0o644, func(w io.Writer) error {
		_, err := w.Write(ruled)
		return err
	})
}

// ruleLines puts rules into the sessions' lines of a cassette; all other lines
// stay as they are.
func ruleLines(text []byte, sessions []replay.LearnedSession) ([]byte, error) {
	var out []byte
	for line := range bytes.Lines(text) {
		var head struct {
			Version *int `json:"wstape"`
		}
		trimmed := bytes.TrimSpace(line)
		if len(trimmed) == 0 || bytes.HasPrefix(trimmed, []byte("//")) || json.Unmarshal(trimmed, &head) != nil || head.Version == nil {
			out = append(out, line...)
			continue
		}
		if len(sessions) == 0 {
			return nil, errors.New("it has more sessions than before: it was changed in the meantime")
		}
		rules := sessions[0].Rules
		sessions = sessions[1:]
		if rules != nil {
			var err error
			if line, err = replay.SetRules(line, rules); err != nil {
				return nil, err
			}
		}
		out = append(out, line...)
	}
	if len(sessions) > 0 {
		return nil, errors.New("it has fewer sessions than before: it was changed in the meantime")
	}
	return out, nil
}
