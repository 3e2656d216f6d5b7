package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/wstape/wstape/record"
)

func (a *app) exportCommand() *cobra.Command {
	var format, file string
	cmd := &cobra.Command{
		Use:   "export SESSION…",
		Short: "write sessions as a cassette: JSON lines to read, edit and commit",
		Example: `  wstape export 3 --out chat.cassette.jsonl
  wstape export 1 2 | jq .`,
		Args: atLeastOne(aSession),
	}
	a.tapeFlag(cmd)
	cmd.Flags().StringVar(&format, "format", "jsonl", "jsonl: a cassette")
	cmd.Flags().StringVar(&file, "out", "", "write to `FILE` instead of stdout")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if format != "jsonl" {
			return fail(exitUsage, "--format %q is not known: this version writes jsonl", format)
		}
		t := openTape(a.tape)
		defer t.Close()
		targets, err := a.resolve(cmd.Context(), t, args)
		if err != nil {
			return err
		}
		write := func(w io.Writer) error {
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

func (a *app) importCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "import FILE…",
		Short:   "add the sessions of cassettes to a tape",
		Example: "  wstape import chat.cassette.jsonl --tape t.db\n  wstape export 3 | wstape import - --tape other.db",
		Args:    atLeastOne("a cassette file, or - for standard input"),
	}
	a.tapeFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		t := openTape(a.tape)
		defer t.Close()
		for _, path := range args {
			in := io.NopCloser(a.Stdin)
			if path != "-" {
				f, err := os.Open(path)
				if err != nil {
					return fail(exitReach, "%w", err)
				}
				in = f
			}
			err := t.whole(cmd.Context(), func(s record.Store) error {
				numbers, err := record.ReadCassette(cmd.Context(), in, s)
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
