package cli

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wstape/wstape/script"
)

// templates is written once, when the program is linked.
//
//go:embed templates
var templates embed.FS

func (a *app) scriptNewCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "new NAME",
		Short: "write a script to start from, and its test",
		Long: `Write NAME.ts, a script to start from that works, and NAME.test.ts, its test.
NAME.js makes both JavaScript. wstape.d.ts, which tells editors what scripts can
use, is put beside them if it is not there. Nothing is overwritten.`,
		Example: "  wstape script new chat\n  wstape script new scripts/shock.js",
		Args:    exactly(1, "the script"),
		RunE:    func(_ *cobra.Command, args []string) error { return a.newScript(args[0]) },
	}
}

func (a *app) newScript(path string) error {
	ending := filepath.Ext(path)
	switch ending {
	case ".js", ".ts":
	case "":
		ending = ".ts"
	default:
		return fail(exitUsage, "new: %s: a script ends in .ts or .js", path)
	}
	stem := strings.TrimSuffix(path, filepath.Ext(path))
	name := filepath.Base(stem)
	files := []struct{ path, template string }{{stem + ending, "script" + ending}, {stem + ".test" + ending, "script.test" + ending}}
	for _, f := range files {
		if _, err := os.Lstat(f.path); err == nil {
			return fail(exitUsage, "new: %s is there already; choose another name", f.path)
		}
	}
	for _, f := range files {
		text, err := templates.ReadFile("templates/" + f.template)
		if err != nil {
			return err
		}
		if err := a.writeNew(f.path, strings.ReplaceAll(string(text), "NAME", name)); err != nil {
			return err
		}
	}
	err := a.writeNew(filepath.Join(filepath.Dir(stem), "wstape.d.ts"), script.Types())
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	if err == nil {
		fmt.Fprintf(a.Stderr, "try it: wstape script test %s\n", stem+ending)
	}
	return err
}

// writeNew writes a file that is not there yet, and says so.
func (a *app) writeNew(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fail(exitReach, "write %s: %w; is its directory there, and may you write to it?", path, reason(err))
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return fail(exitReach, "write %s: %w", path, reason(err))
	}
	fmt.Fprintln(a.Stdout, path)
	return nil
}
