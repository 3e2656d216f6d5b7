package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/wstape/wstape/internal/har"
	"github.com/wstape/wstape/record"
)

func (a *app) exportCommand() *cobra.Command {
	var format, file, dialect string
	var redact bool
	o := har.ExportOptions{Version: version}
	cmd := &cobra.Command{
		Use:   "export SESSION…",
		Short: "write sessions as a cassette, or as a HAR file for other programs",
		Example: `  wstape export 3 --out chat.cassette.jsonl
  wstape export 1 2 | jq .
  wstape export 3 --format har --out chat.har
  wstape export 3 --redact-json '$..password' --out shared.cassette.jsonl`,
		Args: atLeastOne(aSession),
	}
	a.tapeFlag(cmd)
	cmd.Flags().StringVar(&format, "format", "jsonl", "`jsonl|har`: a cassette (JSON lines to read, edit and commit), or what Chrome DevTools, HTTP Toolkit and others open")
	cmd.Flags().StringVar(&dialect, "har-dialect", string(har.Chrome), "times in the HAR file in seconds (chrome) or milliseconds (playwright): `chrome|playwright`")
	cmd.Flags().BoolVar(&o.Control, "har-control-frames", false, "list pings, pongs and close frames among the HAR file's messages, as browsers do not")
	cmd.Flags().StringVar(&file, "out", "", "write to `FILE` instead of stdout")
	cmd.Flags().BoolVar(&redact, "redact", false, "replace secrets by pseudonyms, as record.redact of --config and the flags below say")
	redactFlags(cmd.Flags())
	cmd.Flags().String("config", "", "take record.redact from this YAML `FILE` (see config.example.yaml)")
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		switch {
		case format != "jsonl" && format != "har":
			return fail(exitUsage, "--format %q is neither jsonl nor har", format)
		case format != "har" && (cmd.Flags().Changed("har-dialect") || o.Control):
			return fail(exitUsage, "--har-dialect and --har-control-frames are for --format har")
		}
		if o.Dialect, err = har.ParseDialect(dialect); err != nil {
			return fail(exitUsage, "--har-dialect: %w", err)
		}
		t := openTape(a.tape)
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
		write := func(w io.Writer) error {
			if format == "har" {
				return exportHAR(cmd.Context(), w, targets, o)
			}
			for _, at := range targets {
				if err := record.WriteCassette(cmd.Context(), w, at.store, at.n); err != nil {
					return fmt.Errorf("export %s: %w", at.name, err)
				}
			}
			return nil
		}
		if file == "" {
			return write(a.Stdout)
		}
		return writeWhole(file, 0o644, write)
	}
	return cmd
}

// reason is what an error says without the path of a temporary file.
func reason(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// writeWhole writes a file so that nobody ever sees half of it.
func writeWhole(path string, mode os.FileMode, write func(io.Writer) error) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return fail(exitReach, "write %s: it is a directory; name a file in it", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".wstape-*")
	if err != nil {
		return fail(exitReach, "write %s: %w; is its directory there, and may you write to it?", path, reason(err))
	}
	defer os.Remove(f.Name())
	if err := write(f); err != nil {
		f.Close()
		return err
	}
	if err := f.Chmod(mode); err != nil {
		f.Close()
		return fail(exitReach, "write %s: %w", path, err)
	}
	if err := f.Close(); err != nil {
		return fail(exitReach, "write %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fail(exitReach, "write %s: %w", path, err)
	}
	return nil
}

func exportHAR(ctx context.Context, w io.Writer, targets []target, o har.ExportOptions) error {
	var sessions []har.Session
	for _, at := range targets {
		sessions = append(sessions, har.Session{From: at.store, N: at.n})
	}
	if err := har.Export(ctx, w, sessions, o); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

func (a *app) importCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import FILE…",
		Short: "add the sessions of cassettes and HAR files to a tape",
		Long: `Add the sessions of files to a tape and print their numbers. A file is a cassette,
a HAR file as Chrome DevTools, Playwright, mitmproxy, HTTP Toolkit or gori write it, or
a .zip of Playwright. Of a HAR file the WebSockets are read. Secrets are redacted as
record.redact says.`,
		Example: `  wstape import chat.cassette.jsonl --tape t.db
  wstape import chat.har
  wstape export 3 | wstape import - --tape other.db`,
		Args: atLeastOne("a cassette or HAR file, or - for standard input"),
	}
	a.tapeFlag(cmd)
	cmd.Flags().String("config", "", "take record.redact from this YAML `FILE` (see config.example.yaml)")
	redactFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, _, err := a.load(cmd.Flags(), nil)
		if err != nil {
			return err
		}
		t := openTape(a.tape)
		defer t.Close()
		for _, path := range args {
			in, err := a.openRecording(path)
			if err != nil {
				return err
			}
			err = t.whole(cmd.Context(), func(s record.Store) error {
				key, err := keyOf(cmd.Context(), s)
				if err != nil {
					return err
				}
				redact, err := redactor(&c.Record.Redact, key)
				if err != nil {
					return err
				}
				numbers, err := a.readRecording(cmd.Context(), in, record.Redacting(s, redact), nil)
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

// recordingFile is a cassette or a HAR file.
type recordingFile struct {
	io.Reader
	name  string
	har   *har.Source // nil of a cassette
	close []func() error
}

func (f *recordingFile) Close() {
	for _, close := range f.close {
		_ = close() // it was only read
	}
}

// openRecording opens a cassette or HAR file, "-" being standard input, and
// looks which it is.
func (a *app) openRecording(path string) (*recordingFile, error) {
	if path == "-" {
		in := bufio.NewReader(a.Stdin)
		if head, _ := in.Peek(sniffed); har.Is(head) {
			return spooled(in)
		}
		return &recordingFile{Reader: in, name: path}, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fail(exitReach, "%w", err)
	}
	r := &recordingFile{Reader: f, name: path, close: []func() error{f.Close}}
	head := make([]byte, sniffed)
	n, _ := f.ReadAt(head, 0) // of what cannot be read here, reading says why
	if ext := filepath.Ext(path); ext != ".har" && ext != ".zip" && !har.Is(head[:n]) {
		return r, nil
	}
	info, err := f.Stat()
	if err != nil {
		r.Close()
		return nil, fail(exitReach, "%w", err)
	}
	r.har = &har.Source{ReaderAt: f, Size: info.Size()}
	if root, err := os.OpenRoot(filepath.Dir(path)); err == nil { // a root: no name and no link leads out of it
		r.har.Beside = root.FS()
		r.close = append(r.close, root.Close)
	}
	return r, nil
}

// sniffed is how much of a file is looked at to see what it is.
const sniffed = 64

// spooled puts a HAR file that comes from a pipe into a file: it is read twice.
func spooled(in io.Reader) (*recordingFile, error) {
	f, err := os.CreateTemp("", "wstape-*.har")
	if err != nil {
		return nil, fail(exitReach, "%w", err)
	}
	r := &recordingFile{Reader: f, name: "-", close: []func() error{f.Close, func() error { return os.Remove(f.Name()) }}}
	size, err := io.Copy(f, in)
	if err != nil {
		r.Close()
		return nil, fail(exitReach, "read standard input: %w", err)
	}
	r.har = &har.Source{ReaderAt: f, Size: size}
	return r, nil
}

// readRecording adds a file's sessions to a tape, with redact for the handshakes
// in a HAR file. What is not believed of one is said.
func (a *app) readRecording(ctx context.Context, in *recordingFile, w record.Writer, redact *record.Redactor) ([]uint64, error) {
	if in.har == nil {
		return record.ReadCassette(ctx, in, w)
	}
	numbers, warnings, err := har.Import(ctx, *in.har, w, redact)
	for _, text := range warnings {
		fmt.Fprintf(a.Stderr, "wstape: %s: %s\n", in.name, safe(text, 1000))
	}
	return numbers, err
}
