package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/wstape/wstape/internal/config"
	"github.com/wstape/wstape/record"
)

func (a *app) pruneCommand() *cobra.Command {
	var age, size string
	var sessions uint64
	var dry bool
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "remove the oldest sessions from a tape, down to a bound",
		Long: `Remove sessions that have ended, the oldest first: those that ended longer ago
than --age, and as many as it takes to get down to --size and --sessions. Sessions
that are open, and those with the tag keep (wstape tag 3 keep), stay. Works beside
a running proxy too; one does the same all the time with record.keep in its
configuration. The room that becomes free is used again; wstape compact gives it
back to the disk. Exit code 1 if a bound cannot be met.`,
		Example: "  wstape prune --age 7d --size 1GiB\n  wstape prune --sessions 100 --dry-run",
		Args:    noArguments,
	}
	a.tapeFlag(cmd)
	cmd.Flags().StringVar(&age, "age", "", "remove what ended longer ago than this `DURATION`: 7d, 12h")
	cmd.Flags().StringVar(&size, "size", "", "remove the oldest until the tape uses no more `BYTES` than this: 1GiB")
	cmd.Flags().Uint64Var(&sessions, "sessions", 0, "keep this `NUMBER` of sessions at most")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would go; with --size about")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		k, err := keepOf(age, size, sessions)
		if err != nil {
			return err
		}
		t := a.openTape()
		defer t.Close()
		ctx, n := cmd.Context(), 0
		if _, err := t.Sessions(ctx, 0); err != nil { // nothing is made where no tape is
			return err
		}
		err = t.whole(ctx, func(s record.Store) error {
			did := "removed"
			if dry {
				did = "would remove"
				if s, err = record.Rehearse(ctx, s); err != nil {
					return err
				}
			}
			return record.Prune(ctx, s, k, time.Now(), func(e *record.Entry) {
				n++
				a.sayRemoved(did, e)
			})
		})
		if errors.Is(err, record.ErrUnmet) {
			return fail(exitNo, "%w", err)
		}
		if err == nil && n == 0 {
			fmt.Fprintln(a.Stderr, "nothing to remove")
		}
		return err
	}
	return cmd
}

// sayRemoved tells of one session.
func (a *app) sayRemoved(did string, e *record.Entry) {
	fmt.Fprintf(a.Stdout, "%s session %d of %s, %s, %s\n", did, e.N, e.Started.Local().Format("2006-01-02 15:04:05"), safe(e.URL, 60), size(e.Bytes.Client+e.Bytes.Server))
}

// keepOf reads bounds as they are given on the command line.
func keepOf(age, size string, sessions uint64) (k record.Keep, err error) {
	k.Sessions = sessions
	if age != "" {
		if k.Age, err = config.ParseDuration(age); err != nil || k.Age <= 0 {
			return k, fail(exitUsage, "--age: %q is not a duration like 7d or 12h", age)
		}
	}
	if size != "" {
		bytes, err := config.ParseBytes(size)
		if err != nil || bytes == 0 {
			return k, fail(exitUsage, "--size: %q is not an amount of bytes like 1GiB or 500MiB", size)
		}
		k.Bytes = int64(bytes)
	}
	if k == (record.Keep{}) {
		return k, fail(exitUsage, "say what to keep: --age, --size or --sessions, more than none; wstape rm --filter true removes all")
	}
	return k, nil
}

// keepLog tells what retention does, not more than once a minute.
type keepLog struct {
	log  *slog.Logger
	last time.Time
	gone int
}

func (l *keepLog) report(removed int, err error) {
	l.gone += removed
	if time.Since(l.last) >= time.Minute {
		l.flush()
	}
	if err != nil {
		l.log.Warn("record.keep", "err", err)
	}
}

func (l *keepLog) flush() {
	if l.gone > 0 {
		l.log.Info("sessions removed from the tape", "sessions", l.gone, "key", "record.keep")
	}
	l.gone, l.last = 0, time.Now()
}
