package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// onTape resolves sessions that must be on the tape itself, not in a cassette.
func (a *app) onTape(ctx context.Context, t *tapeFile, args []string) ([]target, error) {
	targets, err := a.resolve(ctx, t, args)
	if err != nil {
		return nil, err
	}
	for _, at := range targets {
		if at.file != "" {
			return nil, fail(exitUsage, "%s is a cassette: edit it with a text editor, or import it first", at.name)
		}
	}
	return targets, nil
}

func (a *app) rmCommand() *cobra.Command {
	var l lens
	var dry bool
	cmd := &cobra.Command{
		Use:   "rm SESSION… | --filter EXPR",
		Short: "remove sessions from a tape",
		Long: `Remove sessions: those that are named, or those with a message for which a filter
holds (see wstape help filter). Where a session has no messages, the filter is
asked about the session alone. It leaves alone what is open, and what has the tag
keep; such a session goes when it is named.`,
		Example: `  wstape rm 3 4
  wstape rm -1
  wstape rm --filter 'session.url startsWith "/health"' --dry-run
  wstape rm --filter 'session.state == "refused"'`,
		Args: func(_ *cobra.Command, args []string) error {
			if (len(args) == 0) == (l.filterText == "") {
				return fmt.Errorf("rm: name %s; or give --filter EXPR", aSessionOfTape)
			}
			return nil
		},
	}
	a.tapeFlag(cmd)
	cmd.Flags().StringVar(&l.filterText, "filter", "", "the sessions with a message for which this `EXPR` holds: 'session.url == \"/health\"' (see wstape help filter)")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would go")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		if err := l.compile(ctx); err != nil {
			return err
		}
		t := a.openTape()
		defer t.Close()
		if l.filter != nil {
			return a.removeFiltered(ctx, t, &l, dry)
		}
		targets, err := a.onTape(ctx, t, args)
		if err != nil {
			return err
		}
		for _, at := range targets {
			if dry {
				fmt.Fprintf(a.Stderr, "would remove %s\n", at.name)
				continue
			}
			if err := t.Delete(ctx, at.n); err != nil {
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

// removeFiltered removes the sessions that a filter holds for.
func (a *app) removeFiltered(ctx context.Context, t *tapeFile, l *lens, dry bool) error {
	found := 0
	for e, err := range record.Sessions(ctx, t) {
		if err != nil {
			return err
		}
		holds, err := l.holds(ctx, t, e)
		if err != nil {
			return fmt.Errorf("read session %d: %w", e.N, err)
		}
		switch {
		case !holds:
			continue
		case e.State == tape.Open:
			fmt.Fprintf(a.Stderr, "session %d is open: not removed\n", e.N)
		case e.IsPinned():
			fmt.Fprintf(a.Stderr, "session %d has the tag %s: not removed; wstape rm %d does\n", e.N, record.Pinned, e.N)
		case dry:
			a.sayRemoved("would remove", e)
		default:
			if err := t.Delete(ctx, e.N); err != nil && !errors.Is(err, record.ErrNotFound) { // somebody may be faster
				return fmt.Errorf("remove session %d from %s: %w", e.N, t.path, err)
			}
			a.sayRemoved("removed", e)
		}
		found++
	}
	if found == 0 {
		return fail(exitNo, "the filter holds for no session on %s", t.path)
	}
	return nil
}

// holds reports whether the filter holds for a message of the session, or for the
// session if it has none.
func (l *lens) holds(ctx context.Context, r record.Reader, e *record.Entry) (bool, error) {
	sight, err := l.on(&e.Session)
	if err != nil {
		return false, err
	}
	alone := &tape.Message{Fate: tape.Passed}
	if l.filter.Only("session") {
		return sight.see(alone).passes, nil
	}
	none := true
	for line, err := range record.Lines(ctx, r, e.N, record.ReadOptions{}) {
		if err != nil {
			return false, err
		}
		if line.Message == nil {
			continue
		}
		if none = false; sight.see(line.Message).passes {
			return true, nil
		}
	}
	return none && sight.see(alone).passes, nil
}

func (a *app) tagCommand() *cobra.Command {
	var notes, remove []string
	cmd := &cobra.Command{
		Use:     "tag SESSION [KEY[=VALUE]…]",
		Short:   "attach tags and notes to a session",
		Example: "  wstape tag 3 bug=1234 keep\n  wstape tag -1 --note 'price jumps at the end'\n  wstape tag 3 --remove keep",
		Args:    atLeastOne(aSessionOfTape),
	}
	a.tapeFlag(cmd)
	cmd.Flags().StringArrayVar(&notes, "note", nil, "add a remark, `TEXT`, on the session (may be given several times)")
	cmd.Flags().StringArrayVar(&remove, "remove", nil, "remove the tag of this `KEY` (may be given several times)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 && notes == nil && remove == nil {
			return fail(exitUsage, "nothing to attach: give KEY, KEY=VALUE, --note TEXT or --remove KEY")
		}
		t := a.openTape()
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
			if _, ok := label.Tags[key]; !ok {
				return fail(exitNo, "%s has no tag %q to remove; wstape ls shows its tags", at.name, key)
			}
			delete(label.Tags, key)
		}
		if err := t.SetLabel(cmd.Context(), at.n, label); err != nil {
			return fmt.Errorf("tag %s on %s: %w", at.name, t.path, err)
		}
		return nil
	}
	return cmd
}
