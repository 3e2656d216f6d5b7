package cli

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/script"
	"github.com/wstape/wstape/tape"
)

type scriptRunOptions struct {
	all, json, write bool
}

func (a *app) scriptRunCommand() *cobra.Command {
	var o scriptRunOptions
	var sessions []string
	cmd := &cobra.Command{
		Use:   "run FILE… [SESSION…]",
		Short: "show what scripts would have changed in a recorded session",
		Long: `Run scripts on what a recorded session's two sides sent, without a connection and
without waiting, and show what would have become of it: lines with - came in,
lines with + would have gone out. What passes unchanged is shown with --all.

Several scripts are a chain, in order. Without any, those of the configuration run.
Exit code 1 if a hook failed.`,
		Example: "  wstape script run shock.ts --session -1\n  wstape script run shock.ts chat.cassette.jsonl --json\n  wstape script run a.js b.js --session 3 --write",
	}
	a.tapeFlag(cmd)
	configFlag(cmd.Flags())
	cmd.Flags().StringArrayVar(&sessions, "session", nil, "run on this `SESSION`: "+strings.TrimPrefix(aSession, "a session: ")+" (may be given several times)")
	cmd.Flags().BoolVar(&o.all, "all", false, "show what passed unchanged too")
	cmd.Flags().BoolVar(&o.json, "json", false, "one JSON object a line, as show --json writes them")
	cmd.Flags().BoolVar(&o.write, "write", false, "put the result on the tape as a new session, and print its number")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, _, err := a.load(cmd.Flags(), nil)
		if err != nil {
			return err
		}
		files, named := splitScripts(args)
		for i, s := range sessions {
			if lastOnes.MatchString(s) {
				sessions[i] = "@" + s
			}
		}
		sessions = append(sessions, named...)
		if len(files) == 0 {
			files = c.Script.Files
		}
		switch {
		case len(files) == 0:
			return fail(exitUsage, "run: name a script\nsee: %s --help", cmd.CommandPath())
		case len(sessions) == 0:
			return fail(exitUsage, "run: name a session with --session: its number (3), -1 for the last, or a cassette file\nsee: %s --help", cmd.CommandPath())
		}
		chain, err := openChain(files, scriptOptions(c, a.Getenv))
		if err != nil {
			return err
		}
		t := openTape(c.Tape, c.Record.KeyFile)
		defer t.Close()
		targets, err := a.resolve(cmd.Context(), t, sessions)
		if err != nil {
			return err
		}
		return a.dryRuns(cmd.Context(), t, targets, chain, files, &o)
	}
	return cmd
}

// splitScripts tells scripts from sessions among arguments.
func splitScripts(args []string) (scripts, sessions []string) {
	for _, arg := range args {
		_, err := os.Stat(arg)
		there := !errors.Is(err, fs.ErrNotExist)
		switch {
		case strings.HasPrefix(arg, "@-"), strings.HasSuffix(arg, ".jsonl"), !there && isPrefix(arg), strings.Trim(arg, "0123456789") == "":
			sessions = append(sessions, arg)
		default:
			scripts = append(scripts, arg)
		}
	}
	return scripts, sessions
}

// openChain loads scripts that are to run one behind the other.
func openChain(files []string, o script.Options) (*script.Chain, error) {
	set, err := script.NewSet(files, o)
	if err != nil {
		return nil, fail(exitUsage, "%s", script.Explain(err))
	}
	chain, err := set.Chain(files)
	if err != nil {
		return nil, fail(exitUsage, "%w", err)
	}
	return chain, nil
}

func (a *app) dryRuns(ctx context.Context, t *tapeFile, targets []target, chain *script.Chain, files []string, o *scriptRunOptions) error {
	out := bufio.NewWriterSize(a.Stdout, 64<<10)
	defer out.Flush()
	failed := false
	for _, at := range targets {
		d := &dryRun{options: o, out: out, paint: a.painter(a.Stdout), room: width(a.Stdout) - len("    0.000000  → - text   12345  ")}
		if !o.json && (len(targets) > 1 || isTerminal(a.Stdout)) {
			fmt.Fprintln(out, d.paint.paint(dim, at.name))
		}
		if err := d.run(ctx, at, chain); err != nil {
			return err
		}
		failed = failed || d.failed
		if err := out.Flush(); err != nil {
			return err
		}
		summary := a.Stdout
		if o.json {
			summary = a.Stderr
		}
		fmt.Fprintln(summary, d.summary())
		if o.write {
			n, err := d.keep(ctx, t, at, files)
			if err != nil {
				return fmt.Errorf("write the result of %s to %s: %w", at.name, t.path, err)
			}
			if o.json {
				fmt.Fprintf(out, "{\"written\":%d}\n", n)
			} else {
				fmt.Fprintf(out, "written to %s as session %d\n", t.path, n)
			}
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
	if failed {
		return fail(exitNo, "a hook failed: the notes above say where")
	}
	return nil
}

// dryRun is the run of a chain over one recorded session.
type dryRun struct {
	options *scriptRunOptions
	out     *bufio.Writer
	paint   painter
	room    int // columns for payloads

	session   tape.Session // as it would be
	rehearsal *script.Rehearsal
	waiting   []dryLine     // to be shown when time has got there
	awaited   [4]*undecided // by side, messages and then control frames
	kept      []*tape.Line
	tags      map[string]string
	closed    *tape.Ending // by a script
	rest      int          // messages behind that
	err       error        // of the output

	came, passed, edited, dropped, injected int
	failed                                  bool // a hook did
}

// undecided is a message whose hook may still await.
type undecided struct {
	message tape.Message
	verdict <-chan tape.Verdict
	lines   []*tape.Line // what became of it, once that is known
}

// dryLine is one line of the result. It has a line of a session, or the place of
// those of a message, or else text and json.
type dryLine struct {
	t       time.Duration
	line    *tape.Line
	place   *undecided
	failure bool
	text    []string
	json    any
}

func (d *dryRun) run(ctx context.Context, at target, chain *script.Chain) error {
	e, err := at.store.Session(ctx, at.n)
	if err != nil {
		return err
	}
	d.session = e.Session
	d.rehearsal = chain.Rehearse(e.Session)
	if d.handshake() {
		for line, err := range record.Lines(ctx, at.store, at.n, record.ReadOptions{}) {
			if err != nil {
				return err
			}
			d.take(line)
		}
		d.end()
	}
	d.happened()
	d.flush(1 << 62)
	return d.err
}

// handshake runs its hooks and reports whether the session would have been opened.
func (d *dryRun) handshake() bool {
	h := &d.session.Handshake
	request := tape.Request{Method: h.Request.Method, Target: h.Request.Target, Headers: slices.Clone(h.Request.Headers)}
	refusal := d.rehearsal.Request(&request)
	d.happened()
	changes := changedHeaders("request", h.Request.Headers, request.Headers)
	if request.Target != h.Request.Target {
		changes = append([]string{"request - " + h.Request.Target, "request + " + request.Target}, changes...)
	}
	if changes != nil && refusal == nil {
		d.put(dryLine{text: changes, json: map[string]any{"request": request, "t": 0}})
	}
	if refusal == nil && h.Response.Status != 0 {
		response := tape.Response{Status: h.Response.Status, Headers: slices.Clone(h.Response.Headers), Body: h.Response.Body}
		refusal = d.rehearsal.Response(&response)
		d.happened()
		changes := changedHeaders("response", h.Response.Headers, response.Headers)
		if changes != nil && refusal == nil {
			d.put(dryLine{text: changes, json: map[string]any{"response": response, "t": 0}})
		}
	}
	if refusal != nil {
		text := fmt.Sprintf("refused with %d: %s", refusal.Status, strings.TrimSpace(string(refusal.Body)))
		d.put(dryLine{text: []string{text}, json: map[string]any{"refusal": refusal, "t": 0}})
		d.session.Status, d.session.State, d.session.Ending, h.Response = refusal.Status, tape.Refused, nil, *refusal
		return false
	}
	if d.session.Status == 101 {
		d.rehearsal.Opened(d.session.Subprotocol)
		d.happened()
	}
	return true
}

// changedHeaders lists the fields that differ: those that went with -, those
// that came with +.
func changedHeaders(of string, before, after []tape.Header) (lines []string) {
	only := func(sign string, list, other []tape.Header) {
		for _, h := range list {
			if !slices.Contains(other, h) {
				lines = append(lines, fmt.Sprintf("%s %s %s: %s", of, sign, h[0], h[1]))
			}
		}
	}
	only("-", before, after)
	only("+", after, before)
	return lines
}

// take goes on to the next line of the recording.
func (d *dryRun) take(line *tape.Line) {
	if d.closed == nil {
		d.rehearsal.Advance(line.T)
		d.happened()
	}
	if m := line.Message; m != nil && m.Fate != tape.Injected && d.closed != nil {
		d.late(m)
	}
	if d.closed != nil {
		return
	}
	d.flush(line.T)
	switch m := line.Message; {
	case line.Note != nil && strings.HasPrefix(line.Note.By, "script:"):
	case m == nil:
		d.put(dryLine{t: line.T, line: line})
	case m.Fate != tape.Injected:
		d.message(m)
	}
}

// message has the scripts decide about what came in. What the other side sends
// does not wait for that, if a hook awaits.
func (d *dryRun) message(m *tape.Message) {
	in := *m
	if m.Fate == tape.Edited && m.Received != nil {
		in = tape.Message{Content: *m.Received, Seq: m.Seq, T: m.T, From: m.From, Error: m.ReceivedError, Redacted: m.Redacted}
	}
	in.Fate, in.By, in.Received = tape.Passed, nil, nil
	lane := int(in.From)
	if in.Op.Control() {
		lane += 2
	}
	d.settle(lane)
	if d.closed != nil {
		d.late(&in)
		return
	}
	if !d.asks(&in) {
		if !in.Op.Control() {
			d.came++
			d.passed++
		}
		d.show(&in)
		return
	}
	d.came++
	u := &undecided{message: in}
	d.awaited[lane] = u
	u.verdict = d.rehearsal.Start(&u.message)
	d.put(dryLine{t: in.T, place: u})
	d.happened()
}

// late counts what came behind the end that a script made.
func (d *dryRun) late(m *tape.Message) {
	if !m.Op.Control() {
		d.rest++
	}
}

// settle lets time pass until a lane's message is decided.
func (d *dryRun) settle(lane int) {
	u := d.awaited[lane]
	if u == nil {
		return
	}
	d.awaited[lane] = nil
	d.decide(u, d.rehearsal.Settle(u.verdict))
	d.happened()
}

// decide notes what became of a message.
func (d *dryRun) decide(u *undecided, v tape.Verdict) {
	in := &u.message
	becomes := func(m *tape.Message) { u.lines = append(u.lines, &tape.Line{T: m.T, Message: m}) }
	switch v.Fate {
	case tape.Edited:
		d.edited++
		d.injected += len(v.Out) - 1
		becomes(&tape.Message{Content: v.Out[0], Seq: in.Seq, T: in.T, From: in.From, Fate: tape.Edited, By: v.By, Received: &in.Content, ReceivedError: in.Error})
		for _, c := range v.Out[1:] {
			becomes(&tape.Message{Content: c, T: in.T, From: in.From, Fate: tape.Injected, By: v.By})
		}
	case tape.Dropped:
		d.dropped++
		in.Fate, in.By = tape.Dropped, v.By
		becomes(in)
	default:
		d.passed++
		becomes(in)
	}
}

// asks reports whether the relay would ask scripts about a message.
func (d *dryRun) asks(m *tape.Message) bool {
	messages, control := d.rehearsal.Wants(m.From)
	switch {
	case m.Violation != "" || m.Partial:
		return false
	case m.Op == tape.Text || m.Op == tape.Binary:
		return messages
	}
	return control && (m.Op == tape.Ping || m.Op == tape.Pong)
}

// end ends the session as it ended, or as a script ended it.
func (d *dryRun) end() {
	ending := d.session.Ending
	for lane := range d.awaited {
		d.settle(lane)
	}
	if d.closed == nil {
		d.rehearsal.Advance(d.session.Duration)
		d.happened()
	}
	if d.closed != nil {
		ending = d.closed
		d.session.Ending, d.session.State, d.session.Duration = ending, tape.Closed, d.rehearsal.Now()
	}
	if ending != nil {
		d.rehearsal.Closed(*ending)
	}
}

// happened takes over what scripts did beside deciding.
func (d *dryRun) happened() {
	for _, h := range d.rehearsal.Happened() {
		switch {
		case d.closed != nil && (h.Sent != nil || h.Close != nil): // too late
		case h.Sent != nil:
			d.injected++
			d.show(&tape.Message{Content: h.Sent.Content, T: h.T, From: h.Sent.To.Other(), Fate: tape.Injected, By: []string{h.By}})
		case h.Close != nil:
			d.close(&h)
		case h.Note != nil:
			failed := h.Log != nil && h.Log.Failed
			d.failed = d.failed || failed
			d.put(dryLine{t: h.T, line: &tape.Line{T: h.T, Note: &tape.Note{Text: *h.Note, By: h.By}}, failure: failed})
		case h.Tag != nil:
			if d.tags == nil {
				d.tags = map[string]string{}
			}
			d.tags[h.Tag[0]] = h.Tag[1]
			d.put(dryLine{t: h.T, text: []string{fmt.Sprintf("tag %s=%s", h.Tag[0], h.Tag[1])},
				json: map[string]any{"tag": map[string]string{"key": h.Tag[0], "value": h.Tag[1]}, "t": h.T.Seconds()}})
		}
	}
}

// close puts the close frames that both sides would have got.
func (d *dryRun) close(h *script.Happening) {
	d.closed = h.Close
	payload := tape.AppendClose(nil, h.Close.Code, h.Close.Reason)
	for _, from := range []tape.Side{tape.Server, tape.Client} {
		d.show(&tape.Message{
			Content: tape.Content{Op: tape.Close, Payload: payload, Len: uint64(len(payload))},
			T:       h.T, From: from, Fate: tape.Injected, By: []string{h.By},
		})
	}
}

func (d *dryRun) show(m *tape.Message) {
	d.put(dryLine{t: m.T, line: &tape.Line{T: m.T, Message: m}})
}

func (d *dryRun) put(l dryLine) { d.waiting = append(d.waiting, l) }

// flush writes the lines up to a time, in the order of their times, and none
// behind a message that is undecided.
func (d *dryRun) flush(until time.Duration) {
	for lane, u := range d.awaited {
		if u != nil && len(u.verdict) > 0 {
			d.settle(lane)
		}
	}
	slices.SortStableFunc(d.waiting, func(a, b dryLine) int { return cmp.Compare(a.t, b.t) })
	n := 0
	for ; n < len(d.waiting) && d.waiting[n].t <= until; n++ {
		l := &d.waiting[n]
		if l.place == nil {
			d.write(l)
			continue
		}
		if slices.Contains(d.awaited[:], l.place) {
			break
		}
		for _, line := range l.place.lines {
			d.write(&dryLine{t: l.t, line: line})
		}
	}
	d.waiting = slices.Delete(d.waiting, 0, n)
}

func (d *dryRun) write(l *dryLine) {
	if d.options.write && l.line != nil {
		d.kept = append(d.kept, l.line)
	}
	if d.err == nil && (d.options.all || !l.unchanged()) {
		d.err = d.print(l)
	}
}

// unchanged reports whether the line stands in the recording as it is.
func (l *dryLine) unchanged() bool {
	switch {
	case l.line == nil:
		return false
	case l.line.Message != nil:
		return l.line.Message.Fate == tape.Passed
	}
	return l.line.Note != nil && !strings.HasPrefix(l.line.Note.By, "script:")
}

func (d *dryRun) print(l *dryLine) error {
	switch {
	case d.options.json && l.line != nil:
		return l.line.WriteJSON(d.out)
	case d.options.json:
		enc := json.NewEncoder(&cleaner{out: d.out, json: true})
		enc.SetEscapeHTML(false)
		return enc.Encode(l.json)
	}
	lines := l.text
	if l.line != nil {
		lines = d.lineText(l)
	}
	at := d.paint.paint(dim, clock(l.t))
	for _, line := range lines {
		if l.line == nil {
			line = safe(line, 4000)
		}
		if _, err := fmt.Fprintf(d.out, "%s  %s\n", at, line); err != nil {
			return err
		}
		at = strings.Repeat(" ", len(clock(l.t)))
	}
	return nil
}

func (d *dryRun) lineText(l *dryLine) []string {
	m := l.line.Message
	switch {
	case l.failure:
		var lines []string
		for i, line := range strings.Split(l.line.Note.Text, "\n") {
			if i == 0 {
				line += " (" + l.line.Note.By + ")"
			}
			lines = append(lines, d.paint.paint(red, safe(line, 400)))
		}
		return lines
	case m == nil || m.Fate == tape.Passed:
		return []string{d.paint.lineText(l.line, d.room)}
	case m.Fate == tape.Dropped:
		return []string{d.half("-", m.From, m.Content, 0) + "  " + d.paint.paint(yellow, fateText(m))}
	case m.Fate == tape.Injected:
		return []string{d.half("+", m.From, m.Content, 0) + "  " + d.paint.paint(yellow, fateText(m))}
	}
	from := firstDifference(m.Received.Payload, m.Payload, d.room)
	return []string{
		d.half("-", m.From, *m.Received, from),
		d.half("+", m.From, m.Content, from) + "  " + d.paint.paint(yellow, fateText(m)),
	}
}

// half writes a message that came in (-) or would go out (+), from an offset on.
func (d *dryRun) half(sign string, from tape.Side, c tape.Content, offset int) string {
	way, colour := cyan, red
	if from == tape.Server {
		way = green
	}
	if sign == "+" {
		colour = green
	}
	shown := tape.Message{Content: c}
	dots := ""
	if offset > 0 {
		shown.Payload, dots = c.Payload[offset:], "…"
		shown.Len = c.Len - uint64(offset)
	}
	return fmt.Sprintf("%s %s", d.paint.paint(way, arrow(from)),
		d.paint.paint(colour, strings.TrimRight(fmt.Sprintf("%s %s %d  %s%s", sign, opText(c.Op), c.Len, dots, preview(&shown, d.room)), " ")))
}

// firstDifference returns where to begin to show two payloads, so that their
// first difference fits into the columns.
func firstDifference(a, b []byte, room int) int {
	at := 0
	for at < len(a) && at < len(b) && a[at] == b[at] {
		at++
	}
	if max(len(a), len(b)) <= room || at <= room/2 {
		return 0
	}
	at -= room / 4
	for at > 0 && !utf8.RuneStart(a[at]) {
		at--
	}
	return at
}

func (d *dryRun) summary() string {
	text := fmt.Sprintf("%s: %d passed, %d edited, %d dropped, %d injected", count(d.came, "message"), d.passed, d.edited, d.dropped, d.injected)
	if d.failed {
		text += "; a hook failed"
	}
	if d.closed != nil {
		text += "; closed by a script"
		if d.rest > 0 {
			text += fmt.Sprintf(", so %s behind that did not count", count(d.rest, "recorded message"))
		}
	}
	return text
}

// keep puts the result on the tape as a session of its own.
func (d *dryRun) keep(ctx context.Context, t *tapeFile, at target, files []string) (uint64, error) {
	var names []string
	for _, file := range files {
		names = append(names, filepath.Base(file))
	}
	s := d.session
	source := at.name
	if at.file == "" {
		source += " of " + t.path
	}
	tags := map[string]string{}
	maps.Copy(tags, s.Tags)
	maps.Copy(tags, d.tags)
	tags["script-run"] = strings.Join(names, ",")
	s.N, s.ID, s.Tags = 0, tape.ID{}, tags
	s.Notes = append(slices.Clone(s.Notes), fmt.Sprintf("made from %s by wstape script run %s", source, strings.Join(names, " ")))
	f, err := os.CreateTemp("", "wstape-*.jsonl")
	if err != nil {
		return 0, err
	}
	_ = os.Remove(f.Name())   // at once, so that kill -9 leaves nothing of an encrypted tape in the clear
	defer os.Remove(f.Name()) // on Windows, where an open file keeps its name
	defer f.Close()
	if err := d.cassette(f, &s); err != nil {
		return 0, err
	}
	var numbers []uint64
	err = t.whole(ctx, func(store record.Store) error {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		numbers, err = record.ReadCassette(ctx, f, store)
		return err
	})
	if err != nil {
		return 0, err
	}
	return numbers[0], nil
}

// cassette writes the result in the form that import reads.
func (d *dryRun) cassette(w io.Writer, s *tape.Session) error {
	head, err := s.MarshalFull()
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "{\"wstape\":1,\"session\":%s}\n", head)
	for _, line := range d.kept {
		if err := line.WriteJSON(out); err != nil {
			return err
		}
	}
	return out.Flush()
}
