package cli

import (
	"github.com/spf13/cobra"

	"github.com/wstape/wstape/tape"
)

func (a *app) replayExplainCommand() *cobra.Command {
	var f replayFlags
	var as string
	var inJSON bool
	cmd := &cobra.Command{
		Use:   "explain RECORDING…",
		Short: "show what a replay would do, step by step",
		Long: `Show the steps of a replay: what the player sends, what it waits for and after
what, and below each message the values that need not be as on the tape: ids that
the peer chooses and the player repeats, times, and what rules let differ.
Everything else must be the same. Each session begins with a line of its own.`,
		Example: `  wstape replay explain chat.cassette.jsonl
  wstape replay explain 3 --tape t.db --as client
  wstape replay explain 3 --json | jq -c 'select(.values)'`,
		Args: atLeastOne(aRecording),
	}
	a.tapeFlag(cmd)
	fs := cmd.Flags()
	fs.StringVar(&as, "as", "server", "whom wstape would stand for: `server|client`")
	fs.BoolVar(&inJSON, "json", false, "one JSON object a line")
	f.addMatching(fs)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		role, err := tape.ParseSide(as)
		if err != nil {
			return fail(exitUsage, "--as: %w", err)
		}
		t := a.openTape()
		defer t.Close()
		r, err := a.recording(cmd.Context(), t, role, args, f.matching())
		if err != nil {
			return err
		}
		if inJSON {
			return clean(a.Stdout, true, r.ExplainJSON)
		}
		return clean(a.Stdout, false, r.Explain)
	}
	return cmd
}
