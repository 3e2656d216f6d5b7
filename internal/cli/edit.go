package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wstape/wstape/record"
)

// onTape resolves sessions that must be on the tape itself, not in a cassette.
func (a *app) onTape(ctx context.Context, t *tapeFile, args []string) ([]target, error) {
	targets, err := a.resolve(ctx, t, args)
	if err != nil {
		return nil, err
	}
	for _, at := range targets {
		if at.store != record.Reader(t) {
			return nil, fail(exitUsage, "%s is a cassette: edit it with a text editor, or import it first", at.name)
		}
	}
	return targets, nil
}

func (a *app) rmCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "rm SESSION…",
		Short:   "remove sessions from a tape",
		Example: "  wstape rm 3 4\n  wstape rm -1",
		Args:    atLeastOne(aSession),
	}
	a.tapeFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		t := openTape(a.tape)
		defer t.Close()
		targets, err := a.onTape(cmd.Context(), t, args)
		if err != nil {
			return err
		}
		for _, at := range targets {
			if err := t.Delete(cmd.Context(), at.n); err != nil {
				if errors.Is(err, record.ErrOpen) {
					err = fmt.Errorf("%w: end it first, or the proxy that records it", err)
				}
				return fmt.Errorf("remove %s from %s: %w", at.name, t.path, err)
			}
			fmt.Fprintf(a.Stderr, "removed %s\n", at.name)
		}
		return nil
	}
	return cmd
}

func (a *app) tagCommand() *cobra.Command {
	var notes, remove []string
	cmd := &cobra.Command{
		Use:     "tag SESSION [KEY[=VALUE]…]",
		Short:   "attach tags and notes to a session",
		Example: "  wstape tag 3 bug=1234 keep\n  wstape tag -1 --note 'price jumps at the end'\n  wstape tag 3 --remove keep",
		Args:    atLeastOne(aSession),
	}
	a.tapeFlag(cmd)
	cmd.Flags().StringArrayVar(&notes, "note", nil, "add a remark on the session (may be given several times)")
	cmd.Flags().StringArrayVar(&remove, "remove", nil, "remove the tag of this `KEY` (may be given several times)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 && notes == nil && remove == nil {
			return fail(exitUsage, "nothing to attach: give KEY, KEY=VALUE, --note TEXT or --remove KEY")
		}
		t := openTape(a.tape)
		defer t.Close()
		targets, err := a.onTape(cmd.Context(), t, args[:1])
		if err != nil {
			return err
		}
		at := targets[0]
		e, err := t.Session(cmd.Context(), at.n)
		if err != nil {
			return err
		}
		label := record.Label{Tags: map[string]string{}, Notes: append(e.Notes, notes...)}
		for key, value := range e.Tags {
			label.Tags[key] = value
		}
		for _, pair := range args[1:] {
			key, value, _ := strings.Cut(pair, "=")
			if key == "" {
				return fail(exitUsage, "tag %q has no key: write KEY or KEY=VALUE", pair)
			}
			label.Tags[key] = value
		}
		for _, key := range remove {
			delete(label.Tags, key)
		}
		if err := t.SetLabel(cmd.Context(), at.n, label); err != nil {
			return fmt.Errorf("tag %s on %s: %w", at.name, t.path, err)
		}
		return nil
	}
	return cmd
}
