package cli

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) checkCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "verify every byte of a tape",
		Long: `Verify a tape: the structure of the file, the checksum of every block, every
record in it, and that no session has a hole. Exit code 1 if anything is damaged;
what is not damaged can still be read. Of an encrypted tape without its key only
structure and checksums are verified.`,
		Example: "  wstape check\n  wstape check --tape t.db --json",
		Args:    noArguments,
	}
	a.tapeFlag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "the report as JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		t := a.openTape()
		defer t.Close()
		report, err := t.check(cmd.Context(), a.progress("check"))
		if err != nil {
			return err
		}
		if asJSON {
			return json.NewEncoder(&cleaner{out: a.Stdout, json: true}).Encode(report)
		}
		if report.Locked {
			fmt.Fprintf(a.Stdout, "%s: %s, %s, encrypted: without --key-file only structure and checksums are verified\n",
				t.path, count(report.Sessions, "session"), count(report.Blocks, "block"))
		} else {
			fmt.Fprintf(a.Stdout, "%s: %s, %s, %s, %s\n", t.path, count(report.Sessions, "session"), count(report.Blocks, "block"),
				count(report.Frames, "frame"), size(report.Bytes))
		}
		for _, problem := range report.Problems {
			fmt.Fprintln(a.Stdout, "damaged:", safe(fmt.Sprint(problem), 1000))
		}
		if n := len(report.Problems); n > 0 {
			return fail(exitNo, "%s has %s; what is not named above can still be read: wstape ls, wstape export", t.path, count(n, "problem"))
		}
		fmt.Fprintln(a.Stdout, "no damage found")
		return nil
	}
	return cmd
}
