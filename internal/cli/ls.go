package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

func (a *app) lsCommand() *cobra.Command {
	var asJSON bool
	var times timeline
	var within period
	cmd := &cobra.Command{
		Use:     "ls [SESSION…]",
		Short:   "list the sessions on a tape",
		Long:    "List the sessions on a tape.\n" + periodHelp + ".",
		Example: "  wstape ls\n  wstape ls --since 1h\n  wstape ls -1 --json\n  wstape ls chat.cassette.jsonl",
		Args:    cobra.ArbitraryArgs,
	}
	a.tapeFlag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	times.addFlags(cmd.Flags(), false)
	within.addFlags(cmd.Flags(), "sessions that were open")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := within.read(time.Now(), times.zone(), false); err != nil {
			return err
		}
		t := a.openTape()
		defer t.Close()
		ctx := cmd.Context()
		list := newSessionList(a.Stdout, a.painter(a.Stdout), asJSON)
		list.zone = times.zone()
		if len(args) == 0 {
			for e, err := range record.Sessions(ctx, t) {
				if err != nil {
					return err
				}
				if !within.mayHave(&e.Session) {
					continue
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
			if !within.mayHave(&e.Session) {
				continue
			}
			if err := list.add(&e); err != nil {
				return err
			}
		}
		return list.flush()
	}
	return a.paged(cmd, func() bool { return false })
}

// sessionList prints sessions as a table or as JSON lines.
type sessionList struct {
	out  *bufio.Writer
	json *json.Encoder
	grid grid
	form string // of times
	zone *time.Location
}

func newSessionList(out io.Writer, paint painter, asJSON bool) *sessionList {
	l := &sessionList{out: bufio.NewWriterSize(out, 64<<10), zone: time.Local}
	l.grid = grid{
		paint: paint, columns: width(out), table: isTerminal(out),
		head:   []string{"N", "STARTED", "DURATION", "STATE", "→ CLIENT", "← SERVER", "URL", "ENDING", "MARKS"},
		shrink: []int{6, 7, 8}, spare: [][]int{{4, 5}, {2}, {7}, {3}, {8}},
	}
	if l.form = "2006-01-02 15:04:05"; l.grid.columns < 100 {
		l.form = "01-02 15:04:05"
	}
	if asJSON {
		l.json = json.NewEncoder(l.out)
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
	s := &e.Session
	state, c := safe(string(s.State), 20), plain
	switch s.State {
	case tape.Open:
		c = green
	case tape.Interrupted:
		c = yellow
	case tape.Refused:
		state, c = fmt.Sprintf("refused %d", s.Status), red
	}
	l.grid.add(
		cell{text: fmt.Sprint(s.N)}, cell{text: s.Started.In(l.zone).Format(l.form)}, cell{text: shortDuration(s.Duration)}, cell{state, c},
		cell{text: amount(s.Frames.Client, s.Bytes.Client)}, cell{text: amount(s.Frames.Server, s.Bytes.Server)},
		cell{text: safe(s.URL, 60)}, cell{text: endingText(s)}, cell{text: marks(s)},
	)
	return nil
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
	switch {
	case l.json != nil:
	case len(l.grid.rows) == 0:
		fmt.Fprintln(l.out, "no sessions")
	default:
		l.grid.write(l.out)
	}
	return l.out.Flush()
}
