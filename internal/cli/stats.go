package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/wstape/wstape/internal/decode"
	"github.com/wstape/wstape/internal/stats"
	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

func (a *app) statsCommand() *cobra.Command {
	var l lens
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "stats [SESSION…]",
		Short: "count and measure the messages of sessions",
		Long: `Count and measure messages, by type and direction: how many, how large, how often,
what compression saved, how long answers took (from a request to its answer, where
the protocol has a key that ties them, and from a ping to its pong, as wstape saw
them), how regular heartbeats are, when nothing was said, what was not recorded.

With sessions: each of them, and all together if there are several. Without: a
line for each session of the tape, and all together.

A type is what the protocol calls it (see --view). Rates are per second in which
a session was open. A silence is a time without messages other than heartbeats.
Jitter is how much successive intervals differ, on average. Of more than 256
values percentiles are within 1 %; least, most and mean are exact.
With --filter only messages for which it holds are counted; an answer counts if
it or its request is.`,
		Example: `  wstape stats
  wstape stats -1
  wstape stats 3 --filter 'json.method == "add"'
  wstape stats --json | jq -c 'select(.n) | {n, messages: .server.messages}'`,
		Args: cobra.ArbitraryArgs,
	}
	a.tapeFlag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line: for each session, and for all together if there are several")
	l.addFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := l.compile(cmd.Context()); err != nil {
			return err
		}
		if l.view == "" {
			l.view = decode.Auto
		}
		t := a.openTape()
		defer t.Close()
		targets, err := a.resolve(cmd.Context(), t, args)
		if err != nil {
			return err
		}
		out := bufio.NewWriterSize(a.Stdout, 64<<10)
		s := &statistics{lens: &l, out: out, paint: a.painter(a.Stdout), columns: width(a.Stdout), json: asJSON, list: len(args) == 0, whole: a.whole}
		if len(args) == 0 {
			for e, err := range record.Sessions(cmd.Context(), t) {
				if err != nil {
					return err
				}
				if err := s.session(cmd.Context(), target{store: t, n: e.N, name: sessionName(e.N)}); err != nil {
					return err
				}
			}
		}
		for i, source := range sources(targets) {
			at := targets[i]
			at.name = source.Name
			if err := s.session(cmd.Context(), at); err != nil {
				return err
			}
		}
		if err := s.finish(); err != nil {
			return err
		}
		a.sayBeyond("stats", s.long)
		return out.Flush()
	}
	return a.paged(cmd, func() bool { return false })
}

// statistics prints what sessions amount to.
type statistics struct {
	lens    *lens
	out     *bufio.Writer
	paint   painter
	columns int
	json    bool
	list    bool // of sessions in a line each
	rows    table
	whole   uint64   // bytes that are read of a message
	long    int      // messages of which only the beginnings were looked at
	names   []string // of the sessions, where people read them: files have sessions of equal numbers
	total   stats.Summary
}

// session measures one session and prints it.
func (s *statistics) session(ctx context.Context, at target) error {
	e, err := at.store.Session(ctx, at.n)
	if err != nil {
		return err
	}
	if e.State == tape.Open {
		e.Duration = time.Since(e.Started) // so far
	}
	sum, err := s.measure(ctx, at, &e.Session)
	if err != nil {
		return err
	}
	if s.json {
		s.total.Add(sum)
		return s.line(&e.Session, at.file, sum)
	}
	s.name(at, sum)
	s.total.Add(sum)
	if s.list {
		s.row(&e.Session, sum)
		return nil
	}
	head := fmt.Sprintf("%s  %s  %s", s.names[len(s.names)-1], safe(e.URL, 200), stateText(&e.Session))
	if err := s.heading(head, sum); err != nil {
		return err
	}
	return s.full(sum)
}

// name has the places in a summary refer to names instead of numbers.
func (s *statistics) name(at target, sum *stats.Summary) {
	for i := range sum.Silences {
		sum.Silences[i].N = uint64(len(s.names))
	}
	for i := range sum.Gaps {
		sum.Gaps[i].N = uint64(len(s.names))
	}
	s.names = append(s.names, safe(at.name, 200))
}

// measure reads a session.
func (s *statistics) measure(ctx context.Context, at target, about *tape.Session) (*stats.Summary, error) {
	sight, err := s.lens.on(about)
	if err != nil {
		return nil, err
	}
	c := stats.Collect(about)
	for line, err := range record.Lines(ctx, at.store, at.n, record.ReadOptions{Keep: s.whole}) {
		switch {
		case err != nil:
			return nil, err
		case line.Gap != nil:
			c.Gap(line.T, *line.Gap)
		case line.Message != nil:
			if beyond(line.Message, s.whole) {
				s.long++
			}
			x := sight.see(line.Message)
			c.Message(line.Message, x.view, x.passes)
		}
	}
	return c.Summary(), nil
}

// line writes a session, of a file or of the tape, as a line of JSON.
func (s *statistics) line(about *tape.Session, file string, sum *stats.Summary) error {
	head, err := json.Marshal(struct {
		File  string     `json:"file,omitempty"`
		N     uint64     `json:"n"`
		ID    tape.ID    `json:"id"`
		URL   string     `json:"url"`
		State tape.State `json:"state"`
	}{file, about.N, about.ID, about.URL, about.State})
	if err != nil {
		return err
	}
	text, err := json.Marshal(sum)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "%s,%s\n", tape.EscapeJSON(head[:len(head)-1]), tape.EscapeJSON(text[1:]))
	return err
}

// finish writes what all sessions amount to.
func (s *statistics) finish() error {
	several := s.total.Sessions > 1
	switch {
	case s.json && several:
		text, err := json.Marshal(&s.total)
		if err == nil {
			_, err = fmt.Fprintf(s.out, "%s\n", tape.EscapeJSON(text))
		}
		return err
	case s.json:
		return nil
	case s.list && s.total.Sessions == 0:
		_, err := fmt.Fprintln(s.out, "no sessions")
		return err
	case s.list:
		if err := s.rows.write(s.out, s.columns); err != nil {
			return err
		}
	case !several:
		return nil
	}
	if err := s.heading(count(s.total.Sessions, "session"), &s.total); err != nil {
		return err
	}
	return s.full(&s.total)
}

// row adds a line of the list of sessions.
func (s *statistics) row(about *tape.Session, sum *stats.Summary) {
	if s.rows.columns == nil {
		s.rows.columns = []column{
			{name: "N"}, {name: "URL", left: true, wide: true}, {name: "PROTOCOL", left: true, drop: 2}, {name: "STATE", left: true, drop: 5}, {name: "OPEN"},
			{name: "→ MESSAGES"}, {name: "→ BYTES", drop: 4}, {name: "← MESSAGES"}, {name: "← BYTES", drop: 4}, {name: "SAVED", drop: 1},
			{name: "SILENCE", drop: 3}, {name: "ANSWER P50"}, {name: "P99"}, {name: "UNANSWERED"}, {name: "GAPS", drop: 6},
		}
	}
	answered, unanswered := sum.Answered()
	silence := "-"
	if len(sum.Silences) > 0 {
		silence = shortDuration(sum.Silences[0].Long)
	}
	both := stats.Traffic{Bytes: sum.Sides[0].Bytes + sum.Sides[1].Bytes, Wire: sum.Sides[0].Wire + sum.Sides[1].Wire}
	client, server := &sum.Sides[tape.Client], &sum.Sides[tape.Server]
	s.rows.add(fmt.Sprint(about.N), safe(about.URL, 80), protocols(sum), string(about.State), shortDuration(sum.Open()),
		fmt.Sprint(client.Messages), size(client.Bytes), fmt.Sprint(server.Messages), size(server.Bytes), saved(&both),
		silence, quantile(&answered, 50), quantile(&answered, 99), dashZero(unanswered), dashZero(uint64(sum.Marks)))
}

func (s *statistics) heading(head string, sum *stats.Summary) error {
	if s.total.Sessions > 1 {
		fmt.Fprintln(s.out)
	}
	text := s.paint.paint(blue, head)
	if d := sum.Open(); d > 0 {
		text += "  open for " + shortDuration(d)
	}
	if p := protocols(sum); p != "-" {
		text += "  read as " + p
	}
	_, err := fmt.Fprintln(s.out, text)
	return err
}

// stateText says where a session stands, or how it ended.
func stateText(s *tape.Session) string {
	switch {
	case s.State == tape.Refused:
		return fmt.Sprintf("refused %d", s.Status)
	case endingText(s) != "":
		return endingText(s)
	}
	return string(s.State)
}

func protocols(sum *stats.Summary) string {
	if len(sum.Protocols) == 0 {
		return "-"
	}
	return strings.Join(sum.Protocols, ", ")
}

// full writes all that a summary has.
func (s *statistics) full(sum *stats.Summary) error {
	for _, t := range []table{traffic(sum), answers(sum), heartbeats(sum)} {
		if len(t.rows) == 0 {
			continue
		}
		fmt.Fprintln(s.out)
		if err := t.write(s.out, s.columns); err != nil {
			return err
		}
	}
	fmt.Fprintln(s.out)
	one := sum.Sessions == 1
	where := func(n uint64, t time.Duration) string {
		if one {
			return fmt.Sprintf("%.6f", t.Seconds())
		}
		return fmt.Sprintf("%.6f of %s", t.Seconds(), s.names[n])
	}
	for i, x := range sum.Silences {
		name := "silence"
		if i > 0 {
			name = ""
		}
		fmt.Fprintf(s.out, "%-9s %s from %s\n", name, shortDuration(x.Long), where(x.N, x.T))
	}
	for _, fate := range []struct {
		n    uint64
		what string
	}{{sum.Edited, "edited"}, {sum.Dropped, "dropped"}, {sum.Injected, "injected"}} {
		if fate.n > 0 {
			fmt.Fprintf(s.out, "%-9s %s\n", fate.what, s.paint.paint(yellow, count(fate.n, "message")))
		}
	}
	if sum.Problems > 0 {
		fmt.Fprintf(s.out, "%-9s %s\n", "problems", s.paint.paint(red, count(sum.Problems, "message")+" that violate the protocol, never ended or could not be inflated"))
	}
	if sum.Marks > 0 {
		fmt.Fprintf(s.out, "%-9s %s\n", "gaps", s.paint.paint(red, fmt.Sprintf("%s, %s not recorded", count(sum.Lost.Frames, "frame"), count(sum.Lost.Bytes, "byte"))))
	}
	for _, g := range sum.Gaps {
		fmt.Fprintf(s.out, "          %s, %s at %s: %s\n", count(g.Frames, "frame"), count(g.Bytes, "byte"), where(g.N, g.T), safe(g.Why, 200))
	}
	if more := sum.Marks - len(sum.Gaps); more > 0 {
		fmt.Fprintf(s.out, "          and %s more\n", count(more, "mark"))
	}
	if sum.Untold > 0 {
		fmt.Fprintf(s.out, "%-9s there are so many types that %s are counted as one, (other)\n", "capped", count(sum.Untold, "message"))
	}
	if sum.Forgotten > 0 {
		fmt.Fprintf(s.out, "%-9s %s counted as unanswered after thousands of others had been made\n", "capped", count(sum.Forgotten, "request"))
	}
	return nil
}

// traffic is the messages of both sides, and of each type.
func traffic(sum *stats.Summary) table {
	t := table{columns: []column{
		{left: true}, {name: "TYPE", left: true, wide: true}, {name: "MESSAGES"}, {name: "/S", drop: 4}, {name: "BYTES"}, {name: "/S", drop: 3},
		{name: "WIRE", drop: 2}, {name: "SAVED", drop: 1}, {name: "SIZE MIN", drop: 5}, {name: "P50"}, {name: "P95", drop: 6}, {name: "MAX"},
	}}
	seconds := sum.Open().Seconds()
	add := func(from tape.Side, name string, x *stats.Traffic) {
		rate, bytes := "-", "-"
		if seconds > 0 {
			rate, bytes = threeFigures(float64(x.Messages)/seconds), size(uint64(float64(x.Bytes)/seconds))
		}
		sizes := []string{"-", "-", "-", "-"}
		if x.Size.Count > 0 {
			for i, v := range []int64{x.Size.Min, x.Size.At(50), x.Size.At(95), x.Size.Max} {
				sizes[i] = size(uint64(v))
			}
		}
		t.add(append([]string{arrow(from), name, fmt.Sprint(x.Messages), rate, size(x.Bytes), bytes, size(x.Wire), saved(x)}, sizes...)...)
	}
	for _, from := range tape.Sides() {
		if sum.Sides[from].Messages == 0 && len(sum.Types) == 0 {
			continue
		}
		add(from, "all messages", &sum.Sides[from])
		for _, x := range sum.Sorted() {
			if x.From == from && x.Messages > 0 {
				add(from, "  "+typeName(x), &x.Traffic)
			}
		}
	}
	return t
}

func typeName(t *stats.Type) string {
	switch {
	case t.Untold:
		return "(other)"
	case t.Control:
		return t.Name + " frame"
	}
	return safe(t.Name, 60)
}

// answers is how long they took, by the type of what was asked.
func answers(sum *stats.Summary) table {
	t := table{columns: []column{
		{left: true}, {name: "ASKED", left: true, wide: true}, {name: "ANSWERED"}, {name: "UNANSWERED"}, {name: "MIN", drop: 1}, {name: "P50"}, {name: "P90", drop: 2}, {name: "P99"}, {name: "MAX"},
	}}
	for _, x := range sum.Sorted() {
		if s := &x.Answered; s.Count+x.Unanswered > 0 {
			t.add(arrow(x.From), typeName(x), fmt.Sprint(s.Count), dashZero(x.Unanswered), quantile(s, 0), quantile(s, 50), quantile(s, 90), quantile(s, 99), quantile(s, 100))
		}
	}
	return t
}

func heartbeats(sum *stats.Summary) table {
	t := table{columns: []column{
		{left: true}, {name: "HEARTBEAT", left: true, wide: true}, {name: "COUNT"}, {name: "EVERY"}, {name: "JITTER"}, {name: "SHORTEST", drop: 1}, {name: "LONGEST", drop: 2},
	}}
	for _, x := range sum.Sorted() {
		if !x.Heartbeat {
			continue
		}
		jitter := "-"
		if x.Interval.Count > 1 {
			jitter = shortDuration(time.Duration(x.Jitter() * 1e3))
		}
		t.add(arrow(x.From), typeName(x), fmt.Sprint(x.Messages), quantile(&x.Interval, 50), jitter, quantile(&x.Interval, 0), quantile(&x.Interval, 100))
	}
	return t
}

// quantile writes a percentile of microseconds.
func quantile(s *stats.Sample, percent float64) string {
	if s.Count == 0 {
		return "-"
	}
	v := s.At(percent)
	switch percent {
	case 0:
		v = s.Min
	case 100:
		v = s.Max
	}
	return shortDuration(time.Duration(v) * time.Microsecond)
}

// saved writes what compression saved.
func saved(t *stats.Traffic) string {
	if t.Wire == t.Bytes {
		return "-"
	}
	return fmt.Sprintf("%.0f%%", 100*t.Saved())
}

func dashZero(n uint64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

// threeFigures writes a number as precisely as anybody wants to know it.
func threeFigures(f float64) string {
	switch {
	case f >= 100:
		return fmt.Sprintf("%.0f", f)
	case f >= 10:
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.2f", f)
}

// column is one of a table.
type column struct {
	name string
	left bool // aligned so; else right, as numbers
	wide bool // gets shorter where there is no room
	drop int  // left out where there is no room, the lowest first; 0 stays
}

// table is text in columns that fits the terminal.
type table struct {
	columns []column
	rows    [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// leastWide is how short a column that gets shorter may get.
const leastWide = 12

// write writes the table in so many columns of the terminal.
func (t *table) write(out io.Writer, room int) error {
	widths := make([]int, len(t.columns))
	for i, c := range t.columns {
		widths[i] = utf8.RuneCountInString(c.name)
		for _, row := range t.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	t.fit(widths, room)
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = c.name
	}
	for _, row := range append([][]string{names}, t.rows...) {
		var line strings.Builder
		for i, c := range t.columns {
			if widths[i] < 0 {
				continue
			}
			cell := row[i]
			if over := utf8.RuneCountInString(cell) - widths[i]; over > 0 {
				cell = string([]rune(cell)[:widths[i]-1]) + "…"
			}
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if c.left {
				cell += pad
			} else {
				cell = pad + cell
			}
			if line.Len() > 0 {
				line.WriteString("  ")
			}
			line.WriteString(cell)
		}
		if _, err := fmt.Fprintln(out, strings.TrimRight(line.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

// fit makes wide columns shorter and gives columns up (-1) until there is room.
func (t *table) fit(widths []int, room int) {
	for {
		total, wide, first := -2, -1, -1
		for i, c := range t.columns {
			if widths[i] < 0 {
				continue
			}
			total += widths[i] + 2
			if c.wide {
				wide = i
			}
			if c.drop > 0 && (first < 0 || c.drop < t.columns[first].drop) {
				first = i
			}
		}
		over := total - room
		switch {
		case over <= 0:
			return
		case wide >= 0 && widths[wide]-over >= leastWide:
			widths[wide] -= over
			return
		case first < 0:
			if wide >= 0 {
				widths[wide] = min(widths[wide], leastWide)
			}
			return
		}
		widths[first] = -1
	}
}
