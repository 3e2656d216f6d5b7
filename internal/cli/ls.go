package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

func (a *app) lsCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "ls [SESSION…]",
		Short:   "list the sessions on a tape",
		Example: "  wstape ls\n  wstape ls -1 --json\n  wstape ls chat.cassette.jsonl",
		Args:    cobra.ArbitraryArgs,
	}
	a.tapeFlag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		t := openTape(a.tape)
		defer t.Close()
		ctx := cmd.Context()
		list := newSessionList(a.Stdout, a.painter(a.Stdout), asJSON)
		if len(args) == 0 {
			for e, err := range record.Sessions(ctx, t) {
				if err != nil {
					return err
				}
				if err := list.add(e); err != nil {
					return err
				}
			}
			return list.flush()
		}
		targets, err := a.resolve(ctx, t, args)
		if err != nil {
			return err
		}
		for _, at := range targets {
			e, err := at.store.Session(ctx, at.n)
			if err != nil {
				return err
			}
			if err := list.add(&e); err != nil {
				return err
			}
		}
		return list.flush()
	}
	return cmd
}

// sessionList prints sessions as a table or as JSON lines.
type sessionList struct {
	out   io.Writer
	table *tabwriter.Writer
	paint painter
	json  *json.Encoder
	rows  int
}

func newSessionList(out io.Writer, paint painter, asJSON bool) *sessionList {
	l := &sessionList{out: out, paint: paint, table: tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)}
	if asJSON {
		l.json = json.NewEncoder(out)
		l.json.SetEscapeHTML(false)
	}
	return l
}

func (l *sessionList) add(e *record.Entry) error {
	if e.State == tape.Open {
		e.Duration = time.Since(e.Started) // so far; the tape knows when it was last written
	}
	if l.json != nil {
		return l.json.Encode(&e.Session)
	}
	if l.rows == 0 {
		fmt.Fprintln(l.table, "N\tSTARTED\tDURATION\tSTATE\t→ CLIENT\t← SERVER\tURL\tENDING\tMARKS")
	}
	l.rows++
	s := &e.Session
	state := string(s.State)
	if s.State == tape.Refused {
		state = fmt.Sprintf("refused %d", s.Status)
	}
	_, err := fmt.Fprintf(l.table, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.N, s.Started.Local().Format("2006-01-02 15:04:05"),
		shortDuration(s.Duration), state, amount(s.Frames.Client, s.Bytes.Client), amount(s.Frames.Server, s.Bytes.Server),
		safe(s.URL, 60), endingText(s), marks(s))
	return err
}

// amount writes frames and bytes of one side.
func amount(frames, bytes uint64) string { return fmt.Sprintf("%d / %s", frames, size(bytes)) }

// size writes an amount of bytes in a few characters.
func size(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	f, prefix := float64(n)/unit, 0
	for ; f >= unit && prefix < 4; prefix++ {
		f /= unit
	}
	return fmt.Sprintf("%.1f %ciB", f, "KMGTP"[prefix])
}

// marks writes a session's tags and notes.
func marks(s *tape.Session) string {
	var out []string
	for key, value := range s.Tags {
		if value != "" {
			key += "=" + value
		}
		out = append(out, safe(key, 40))
	}
	sort.Strings(out)
	for _, note := range s.Notes {
		out = append(out, fmt.Sprintf("“%s”", safe(note, 60)))
	}
	return strings.Join(out, " ")
}

func (l *sessionList) flush() error {
	if l.json == nil && l.rows == 0 {
		_, err := fmt.Fprintln(l.out, "no sessions")
		return err
	}
	return l.table.Flush()
}
