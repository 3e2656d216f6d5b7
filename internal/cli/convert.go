package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/record/boltstore"
	"github.com/wstape/wstape/tape"
)

// formatTape is a tape, which convert reads and adds to.
const formatTape format = "tape"

// endings are the names' ends that say a format, the longer before the shorter.
func endings() []struct {
	end string
	format
} {
	return []struct {
		end string
		format
	}{
		{".jsonl", formatCassette}, {".har", formatHAR}, {".db", formatTape}, {".txt", formatText}, {".pcapng", formatPcapng},
		{".k6.js", formatK6}, {".k6.ts", formatK6},
		{".playwright.js", formatPlaywright}, {".playwright.mjs", formatPlaywright}, {".playwright.ts", formatPlaywright},
		{".artillery.yml", formatArtillery}, {".artillery.yaml", formatArtillery},
	}
}

// formatOf reads from a file's name what is to be written.
func formatOf(path string) (format, error) {
	name := strings.ToLower(filepath.Base(path))
	for _, e := range endings() {
		if strings.HasSuffix(name, e.end) {
			return e.format, nil
		}
	}
	all := listed(append(fileFormats(), formatTape))
	switch ext := filepath.Ext(name); ext {
	case ".js", ".mjs", ".ts":
		return "", fail(exitUsage, "%s may be for k6 or for Playwright: say --format k6 or --format playwright, or name it NAME.k6.js or NAME.playwright.js", path)
	case ".yml", ".yaml":
		return "", fail(exitUsage, "%s may be many things: say --format artillery, or name it NAME.artillery.yml", path)
	case ".mitm", ".flow", ".flows", ".zip", ".pcap":
		return "", fail(exitUsage, "%s: %s files are not written; --format is %s", path, ext, all)
	}
	return "", fail(exitUsage, "the name %s does not say what to write: say --format %s", path, all)
}

// reading says what a file is read as; "" for what it looks like.
func reading(path, from string) (kind recordingKind, isTape bool, err error) {
	switch from {
	case "":
		return "", strings.EqualFold(filepath.Ext(path), ".db") || boltstore.Is(beginningOf(path)), nil
	case string(formatTape):
		return "", true, nil
	case string(formatCassette):
		return aCassette, false, nil
	case string(formatHAR):
		return aHAR, false, nil
	case "mitmproxy":
		return aDump, false, nil
	}
	return "", false, fail(exitUsage, "--from %q is none of jsonl, har, mitmproxy or tape", from)
}

func (a *app) convertCommand() *cobra.Command {
	var name, from string
	var o exporting
	cmd := &cobra.Command{
		Use:   "convert IN OUT",
		Short: "turn recordings of one kind into another, by the files' names",
		Long: `Read all sessions of IN and write them to OUT. What a file is, its name says:

  in and out  .jsonl (a cassette), .har, .db (a tape; as OUT, the sessions are added to it)
  in          .zip (Playwright's HAR), .mitm or .flow (a dump of mitmproxy)
  out         .txt, .pcapng, .k6.js, .playwright.js, .artillery.yml

A file that is read may have any name if its beginning shows what it is. - is standard
input or output. See wstape export --help for the formats, docs/exchange.md for what
each of them keeps.`,
		Example: `  wstape convert flows.mitm flows.har
  wstape convert wstape.db wstape.pcapng
  wstape convert chat.cassette.jsonl chat.k6.js
  wstape convert chat.har - --format text | less`,
		Args: exactly(2, "what to read and what to write, like chat.har chat.cassette.jsonl"),
	}
	cmd.Flags().StringVar(&name, "format", "", "what OUT is, whatever its name: `FORMAT`: jsonl, har, tape, text, pcapng, playwright, k6, artillery")
	cmd.Flags().StringVar(&from, "from", "", "what IN is, whatever its name: `FORMAT`: jsonl, har, mitmproxy, tape")
	o.flags(cmd)
	a.keyFlag(cmd)
	cmd.Flags().String("config", "", "take record.redact from this YAML `FILE` (see config.example.yaml)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in, out := args[0], args[1]
		f := format(name)
		switch {
		case name == "" && out == "-":
			return fail(exitUsage, "say with --format what to write to standard output: %s", listed(fileFormats()))
		case name == "":
			var err error
			if f, err = formatOf(out); err != nil {
				return err
			}
		case f != formatTape && !slices.Contains(fileFormats(), f):
			return fail(exitUsage, "--format %q is none of %s", name, listed(append(fileFormats(), formatTape)))
		}
		if f == formatTape && out == "-" {
			return fail(exitUsage, "a tape is a file, not standard output")
		}
		if err := o.check(cmd, f); err != nil {
			return err
		}
		kind, isTape, err := reading(in, from)
		if err != nil {
			return err
		}
		return a.convert(cmd.Context(), conversion{in, out, kind, isTape, f, &o, cmd.Flags()})
	}
	return cmd
}

// conversion is what to turn into what.
type conversion struct {
	in, out string
	kind    recordingKind // of in, "" if it is looked up
	isTape  bool          // in is a tape
	format  format        // of out
	o       *exporting
	flags   *pflag.FlagSet
}

func (a *app) convert(ctx context.Context, c conversion) error {
	var sessions []target
	var err error
	switch {
	case sameFile(c.in, c.out):
		return fail(exitUsage, "%s and %s are the same file", c.in, c.out)
	case c.isTape && c.in == "-":
		return fail(exitUsage, "a tape is a file, not standard input")
	case c.isTape:
		from := openTape(c.in, a.keyFile)
		defer from.Close()
		sessions, err = allOf(ctx, from)
	case c.format == formatTape:
		return a.fillTape(ctx, c)
	default:
		sessions, err = a.loaded(ctx, c.in, c.kind, c.flags)
	}
	if err != nil {
		return err
	}
	if c.format == formatTape {
		err = copySessions(ctx, sessions, c.out, a.keyFile)
	} else {
		out := c.out
		if out == "-" {
			out = ""
		}
		err = a.export(ctx, c.format, sessions, c.o, out)
	}
	if err == nil && c.out != "-" {
		a.converted(len(sessions), c.out)
	}
	return err
}

func (a *app) converted(sessions int, out string) {
	fmt.Fprintf(a.Stderr, "wstape: %s in %s\n", count(uint64(sessions), "session"), out)
}

func sameFile(a, b string) bool {
	first, err := os.Stat(a)
	if err != nil {
		return false
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second)
}

// allOf lists the sessions of a tape.
func allOf(ctx context.Context, t *tapeFile) (out []target, err error) {
	for e, err := range record.Sessions(ctx, t) {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fail(exitReach, "open tape %s: %w; is its name right?", t.path, fs.ErrNotExist)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, target{store: t, n: e.N, name: sessionName(e.N)})
	}
	if len(out) == 0 {
		return nil, fail(exitNo, "the tape %s has no sessions", t.path)
	}
	return out, nil
}

// fillTape reads a file straight into a tape.
func (a *app) fillTape(ctx context.Context, c conversion) error {
	in, err := a.openRecording(ctx, c.in, c.kind)
	if err != nil {
		return err
	}
	defer in.Close()
	t := openTape(c.out, a.keyFile)
	defer t.Close()
	return t.whole(ctx, func(s record.Store) error {
		numbers, err := a.addRecording(ctx, in, s, c.flags)
		if err != nil {
			return fmt.Errorf("read %s %s into %s: %w", in.kind, c.in, t.path, err)
		}
		a.converted(len(numbers), c.out)
		return nil
	})
}

// copySessions adds sessions to another tape as they are, frames and all.
func copySessions(ctx context.Context, sessions []target, path, keyFile string) error {
	t := openTape(path, keyFile)
	defer t.Close()
	return t.whole(ctx, func(s record.Store) error {
		for _, at := range sessions {
			if err := copySession(ctx, at, s); err != nil {
				return fmt.Errorf("copy %s to %s: %w", at.name, path, err)
			}
		}
		return nil
	})
}

// copySession copies a session a page at a time. One that is open is copied as far
// as it is recorded, and one that is on the tape already once more.
func copySession(ctx context.Context, at target, to record.Store) error {
	e, err := at.store.Session(ctx, at.n)
	if err != nil {
		return err
	}
	label := record.Label{Tags: e.Tags, Notes: e.Notes}
	if e.N, err = to.Begin(ctx); err != nil {
		return err
	}
	if e.ID, err = freshID(ctx, to, e.ID); err != nil {
		return err
	}
	last := e
	last.State = tape.Open // until all of it is there
	last.Ending, last.Size, last.Frames, last.Bytes = nil, 0, tape.Counts{}, tape.Counts{}
	for {
		page, err := at.store.Segments(ctx, at.n, last.Size)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		batch := record.Batch{Segments: page}
		for i := range page {
			if page[i].Lost != "" || page[i].Offset != last.Size {
				return errors.New("it is damaged: see wstape check; wstape export --format jsonl writes what is left of it")
			}
			page[i].Session = e.N
			if err := last.Extend(&page[i]); err != nil {
				return err
			}
		}
		for _, from := range tape.Sides() {
			w, err := at.store.Window(ctx, at.n, from, last.Size)
			if err != nil {
				return err
			}
			if w.Session = e.N; w.Bytes != nil {
				batch.Windows = append(batch.Windows, w)
			}
		}
		batch.Entries = []record.Entry{last}
		if err := to.Append(ctx, batch); err != nil {
			return err
		}
	}
	if e.State == tape.Open {
		e.State = tape.Interrupted
	}
	e.Size = last.Size
	e.Tags, e.Notes = nil, nil
	if err := to.Append(ctx, record.Batch{Entries: []record.Entry{e}}); err != nil {
		return err
	}
	if len(label.Tags) == 0 && len(label.Notes) == 0 {
		return nil
	}
	return to.SetLabel(ctx, e.N, label)
}

// freshID keeps a session's UUID if the tape has it not yet.
func freshID(ctx context.Context, r record.Reader, id tape.ID) (tape.ID, error) {
	for e, err := range record.Sessions(ctx, r) {
		if err != nil {
			return id, err
		}
		if e.ID == id {
			return record.NewID(), nil
		}
	}
	return id, nil
}
