package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/wstape/wstape/internal/bridge"
	"github.com/wstape/wstape/internal/har"
	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/record/boltstore"
	"github.com/wstape/wstape/tape"
)

// format is a form that sessions can be written in.
type format string

const (
	formatCassette   format = "jsonl"
	formatHAR        format = "har"
	formatText       format = "text"
	formatPcapng     format = "pcapng"
	formatPlaywright format = "playwright"
	formatK6         format = "k6"
	formatArtillery  format = "artillery"
)

// fileFormats are those that export writes.
func fileFormats() []format {
	return []format{formatCassette, formatHAR, formatText, formatPcapng, formatPlaywright, formatK6, formatArtillery}
}

// exporting says how sessions are written, and carries the flags for that.
type exporting struct {
	har     har.ExportOptions
	dialect string
	leg     string
}

func (o *exporting) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.dialect, "har-dialect", string(har.Chrome), "times in a HAR file in seconds (chrome) or milliseconds (playwright): `chrome|playwright`")
	cmd.Flags().BoolVar(&o.har.Control, "har-control-frames", false, "list pings, pongs and close frames among a HAR file's messages, as browsers do not")
	cmd.Flags().StringVar(&o.leg, "leg", tape.Client.String(), "of a session that was changed on its way: write the packets of this side, for pcapng: `client|server`")
}

// check reads the flags for a format.
func (o *exporting) check(cmd *cobra.Command, f format) (err error) {
	switch {
	case f != formatHAR && (cmd.Flags().Changed("har-dialect") || o.har.Control):
		return fail(exitUsage, "--har-dialect and --har-control-frames are for --format har")
	case f != formatPcapng && cmd.Flags().Changed("leg"):
		return fail(exitUsage, "--leg is for --format pcapng")
	}
	if o.har.Dialect, err = har.ParseDialect(o.dialect); err != nil {
		return fail(exitUsage, "--har-dialect: %w", err)
	}
	if _, err := tape.ParseSide(o.leg); err != nil {
		return fail(exitUsage, "--leg: %w", err)
	}
	o.har.Version = version
	return nil
}

func (a *app) exportCommand() *cobra.Command {
	var name, file string
	var redact bool
	var o exporting
	some := part{keep: a.whole}
	cmd := &cobra.Command{
		Use:   "export SESSION…",
		Short: "write sessions as a cassette, or for other programs",
		Long: `Write sessions in one of these formats:

  jsonl       a cassette: JSON lines to read, edit and commit
  har         for Chrome DevTools, HTTP Toolkit and others
  text        a transcript to read
  pcapng      the connection as packets, for Wireshark
  playwright  a module that plays the recorded server to a page (routeWebSocket)
  k6          a load test that plays the recorded client to a real server
  artillery   the same for Artillery

What a format cannot say is refused by its place, or left out and told.
docs/exchange.md says what is kept.`,
		Example: `  wstape export 3 --out chat.cassette.jsonl
  wstape export 1 2 | jq .
  wstape export 3 --format har --out chat.har
  wstape export 3 --format k6 --out chat.js
  wstape export 3 --redact-json '$..password' --out shared.cassette.jsonl
  wstape export 3 --filter 'json.type != "price"' --until +1m`,
		Args: atLeastOne(aSession),
	}
	a.tapeFlag(cmd)
	cmd.Flags().StringVar(&name, "format", string(formatCassette), "`FORMAT`: jsonl, har, text, pcapng, playwright, k6, artillery")
	o.flags(cmd)
	cmd.Flags().StringVar(&file, "out", "", "write to `FILE` instead of stdout")
	cmd.Flags().BoolVar(&redact, "redact", false, "replace secrets by pseudonyms, as record.redact of --config and the flags below say")
	redactFlags(cmd.Flags())
	cmd.Flags().String("config", "", "take record.redact from this YAML `FILE` (see config.example.yaml)")
	some.addFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		f := format(name)
		if !slices.Contains(fileFormats(), f) {
			return fail(exitUsage, "--format %q is none of %s", name, listed(fileFormats()))
		}
		if err := o.check(cmd, f); err != nil {
			return err
		}
		if err := some.check(cmd.Context()); err != nil {
			return err
		}
		t := a.openTape()
		defer t.Close()
		targets, err := a.resolve(cmd.Context(), t, args)
		if err != nil {
			return err
		}
		if redact || cmd.Flags().Changed("redact-json") || cmd.Flags().Changed("redact-text") {
			if err := a.redacted(cmd.Context(), targets, cmd.Flags()); err != nil {
				return err
			}
		}
		if targets, err = some.of(cmd.Context(), targets); err != nil {
			return err
		}
		return a.export(cmd.Context(), f, targets, &o, file)
	}
	return cmd
}

// listed writes formats as people do.
func listed(formats []format) string {
	words := make([]string, len(formats))
	for i, f := range formats {
		words[i] = string(f)
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// export writes sessions to a file, or to stdout if it has no name.
func (a *app) export(ctx context.Context, f format, targets []target, o *exporting, file string) error {
	write := func(w io.Writer) error { return a.write(ctx, w, f, targets, o) }
	switch {
	case file != "":
		return writeWhole(ctx, file, 0o644, write)
	case f == formatPcapng && isTerminal(a.Stdout):
		return fail(exitUsage, "pcapng is not for terminals: name a file with --out, or pipe it")
	}
	return write(a.Stdout)
}

// write writes sessions in a format, and says what that left out.
func (a *app) write(ctx context.Context, w io.Writer, f format, targets []target, o *exporting) (err error) {
	var sessions []bridge.Session
	for _, at := range targets {
		sessions = append(sessions, bridge.Session{From: at.store, N: at.n})
	}
	var remarks []string
	options := bridge.Options{Version: version}
	switch f {
	case formatCassette:
		for _, at := range targets {
			if err := record.WriteCassette(ctx, w, at.store, at.n); err != nil {
				return fmt.Errorf("export %s: %w", at.name, err)
			}
		}
	case formatHAR:
		err = exportHAR(ctx, w, targets, o.har)
	case formatText:
		err = bridge.Text(ctx, w, sessions, func(s string) string { return safe(s, len(s)*len(`\u0000`)) })
	case formatPcapng:
		leg, _ := tape.ParseSide(o.leg) // it has been checked
		err = bridge.Pcapng(ctx, w, sessions, leg, options)
	case formatPlaywright:
		err = bridge.Playwright(ctx, w, sessions, options)
	case formatK6:
		remarks, err = bridge.K6(ctx, w, sessions, options)
	case formatArtillery:
		remarks, err = bridge.Artillery(ctx, w, sessions, options)
	}
	for _, text := range remarks {
		fmt.Fprintf(a.Stderr, "wstape: export --format %s: %s\n", f, text)
	}
	if errors.Is(err, bridge.ErrCannot) {
		return fail(exitNo, "export --format %s: %w", f, err)
	} else if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

func exportHAR(ctx context.Context, w io.Writer, targets []target, o har.ExportOptions) error {
	var sessions []har.Session
	for _, at := range targets {
		sessions = append(sessions, har.Session{From: at.store, N: at.n})
	}
	return har.Export(ctx, w, sessions, o)
}

func (a *app) importCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import FILE…",
		Short: "add the sessions of cassettes, HAR files and mitmproxy dumps to a tape",
		Long: `Add the sessions of files to a tape and print their numbers. A file is a cassette,
a HAR file as Chrome DevTools, Playwright, mitmproxy, HTTP Toolkit or gori write it, a
.zip of Playwright, or a dump of mitmproxy (mitmdump -w, dump versions 15 to 21). Of
what other programs wrote the WebSockets are read. Secrets are redacted as
record.redact says; of a cassette, whose handshakes have been, where it has rules for
messages.`,
		Example: `  wstape import chat.cassette.jsonl --tape t.db
  wstape import chat.har
  wstape import flows.mitm
  wstape export 3 | wstape import - --tape other.db`,
		Args: atLeastOne("a cassette, a HAR file or a mitmproxy dump, or - for standard input"),
	}
	a.tapeFlag(cmd)
	cmd.Flags().String("config", "", "take record.redact from this YAML `FILE` (see config.example.yaml)")
	redactFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		t := a.openTape()
		defer t.Close()
		for _, path := range args {
			in, err := a.openRecording(cmd.Context(), path, "")
			if err != nil {
				return err
			}
			err = t.whole(cmd.Context(), func(s record.Store) error {
				numbers, err := a.addRecording(cmd.Context(), in, s, cmd.Flags())
				for _, n := range numbers {
					fmt.Fprintf(a.Stdout, "%d\n", n)
				}
				return err
			})
			in.Close()
			if err != nil {
				return fmt.Errorf("import %s into %s: %w", path, t.path, err)
			}
		}
		return nil
	}
	return cmd
}

// recordingFile is a file with sessions.
type recordingFile struct {
	io.Reader
	name  string
	kind  recordingKind
	har   har.Source // of a HAR file
	close []func() error
}

// recordingKind is what a file with sessions is, as people say it.
type recordingKind string

const (
	aCassette recordingKind = "cassette"
	aHAR      recordingKind = "HAR file"
	aDump     recordingKind = "mitmproxy dump"
)

// kindOf looks what a file is: its name says it, or its beginning.
func kindOf(path string, head []byte) recordingKind {
	switch filepath.Ext(path) {
	case ".har", ".zip":
		return aHAR
	case ".mitm", ".flow", ".flows":
		return aDump
	}
	switch {
	case har.Is(head):
		return aHAR
	case bridge.IsMitmproxy(head):
		return aDump
	}
	return aCassette
}

// isRecording reports whether a file that begins so is certainly one.
func isRecording(head []byte) bool {
	return har.Is(head) || bridge.IsMitmproxy(head) || bytes.HasPrefix(head, []byte(`{"wstape":`))
}

func (f *recordingFile) Close() {
	for _, close := range f.close {
		_ = close() // it was only read
	}
}

// openRecording opens a file with sessions, "-" being standard input; a kind of ""
// is looked up.
func (a *app) openRecording(ctx context.Context, path string, kind recordingKind) (*recordingFile, error) {
	if path == "-" {
		return streamed(patient(ctx, a.Stdin), path, kind)
	}
	f, err := within(ctx, func() (*os.File, error) { return os.Open(path) })
	if errors.Is(err, errInterrupted) {
		return nil, fail(exitReach, "open %s: %w: nobody writes to it", path, err)
	}
	if err != nil {
		return nil, fail(exitReach, "%w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fail(exitReach, "%w", err)
	}
	switch {
	case info.IsDir():
		f.Close()
		return nil, fail(exitReach, "read %s: it is a directory; name a file in it", path)
	case !info.Mode().IsRegular():
		r, err := streamed(patient(ctx, f), path, kind)
		if err != nil {
			f.Close()
			return nil, err
		}
		r.close = append(r.close, f.Close)
		return r, nil
	}
	if kind == "" {
		head := beginning(f)
		if boltstore.Is(head) {
			f.Close()
			return nil, fail(exitUsage, "%s is a tape: name it with --tape %[1]s; wstape convert %[1]s OUT copies its sessions", path)
		}
		kind = kindOf(path, head)
	}
	r := &recordingFile{Reader: f, name: path, kind: kind, close: []func() error{f.Close}}
	if kind != aHAR {
		return r, nil
	}
	r.har = har.Source{ReaderAt: f, Size: info.Size()}
	if root, err := os.OpenRoot(filepath.Dir(path)); err == nil { // a root: no name and no link leads out of it
		r.har.Beside = root.FS()
		r.close = append(r.close, root.Close)
	}
	return r, nil
}

// sniffed is how much of a file is looked at to see what it is.
const sniffed = 64

// streamed reads a file with sessions that cannot be read twice.
func streamed(from io.Reader, name string, kind recordingKind) (*recordingFile, error) {
	in := bufio.NewReader(from)
	head, _ := in.Peek(sniffed)
	if kind == "" {
		kind = kindOf(name, head)
	}
	if kind == aHAR {
		return spooled(in, name)
	}
	return &recordingFile{Reader: in, name: name, kind: kind}, nil
}

// beginning is what a file is recognised by; of what cannot be read, reading says why.
func beginning(f io.ReaderAt) []byte {
	head := make([]byte, sniffed)
	n, _ := f.ReadAt(head, 0)
	return head[:n]
}

// beginningOf is that of a file by its name, none of what can be read but once.
func beginningOf(path string) []byte {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	return beginning(f)
}

// spooled puts a HAR file that comes from a pipe into a file: it is read twice.
func spooled(in io.Reader, name string) (*recordingFile, error) {
	f, err := os.CreateTemp("", "wstape-*.har")
	if err != nil {
		return nil, fail(exitReach, "%w", err)
	}
	unnamed := os.Remove(f.Name()) == nil // at once, so that kill -9 leaves nothing in the clear; not on Windows
	r := &recordingFile{Reader: f, name: name, kind: aHAR, close: []func() error{f.Close}}
	if !unnamed {
		r.close = append(r.close, func() error { return os.Remove(f.Name()) })
	}
	size, err := io.Copy(f, in)
	if err != nil {
		r.Close()
		return nil, fail(exitReach, "read %s: %w", name, err)
	}
	r.har = har.Source{ReaderAt: f, Size: size}
	return r, nil
}

// addRecording adds a file's sessions to a tape, without what record.redact and
// the flags call a secret.
func (a *app) addRecording(ctx context.Context, in *recordingFile, s record.Store, flags *pflag.FlagSet) ([]uint64, error) {
	c, _, err := a.load(flags, nil)
	if err != nil {
		return nil, err
	}
	key, err := keyOf(ctx, s)
	if err != nil {
		return nil, err
	}
	redact, err := redactor(&c.Record.Redact, key)
	if err != nil {
		return nil, err
	}
	w := record.Writer(s)
	if in.kind != aCassette || redact.Payloads() { // a cassette's handshakes were redacted when it was recorded
		w = record.Redacting(s, redact)
	}
	return a.readRecording(ctx, in, w, nil)
}

// readRecording adds a file's sessions to a tape, with redact for the handshakes
// in what other programs wrote. What is not believed of that is said.
func (a *app) readRecording(ctx context.Context, in *recordingFile, w record.Writer, redact *record.Redactor) (numbers []uint64, err error) {
	var warnings []string
	switch in.kind {
	case aCassette:
		numbers, err = record.ReadCassette(ctx, in, w)
		if errors.Is(err, record.ErrNotACassette) {
			err = fmt.Errorf("%w; HAR files and mitmproxy dumps are read, too", err)
		}
	case aHAR:
		numbers, warnings, err = har.Import(ctx, in.har, w, redact)
	default:
		numbers, warnings, err = bridge.ImportMitmproxy(ctx, in, w, redact)
	}
	for _, text := range warnings {
		fmt.Fprintf(a.Stderr, "wstape: %s: %s\n", in.name, safe(text, 1000))
	}
	return numbers, err
}
