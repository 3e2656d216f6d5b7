package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/record/boltstore"
	"github.com/wstape/wstape/record/remote"
)

func (a *app) compactCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "compact",
		Short: "give the room that removed sessions took back to the disk",
		Long: `Write a tape into a new file without the room that is free in it, and put that in
its place. Needs room on the disk for both. Not while a proxy records to the tape.
If it is interrupted, the tape is as it was.`,
		Example: "  wstape compact\n  wstape compact --tape t.db",
		Args:    noArguments,
	}
	a.tapeFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, t := cmd.Context(), a.openTape()
		if client, err := remote.Dial(ctx, a.tape); err == nil {
			_ = client.Close()
			return fail(exitReach, "compact tape %s: a running proxy records to it; end that first, or remove sessions and let it use the room again", a.tape)
		}
		key, err := readKey(a.keyFile)
		if err != nil {
			return err
		}
		before, after, err := boltstore.Compact(ctx, a.tape, a.progress("compact"), boltstore.WithKey(key))
		switch {
		case errors.Is(err, context.Canceled):
			return fail(exitNo, "interrupted; the tape %s is as it was", a.tape)
		case errors.Is(err, record.ErrBusy):
			return fail(exitReach, "%w; try again when that has ended", err)
		case err != nil:
			return t.explain(err)
		}
		fmt.Fprintf(a.Stdout, "%s: %s, was %s\n", a.tape, size(uint64(after)), size(uint64(before)))
		return nil
	}
	return cmd
}
