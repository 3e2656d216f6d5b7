package cli

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/wstape/wstape/script"
)

func (a *app) scriptTypesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "types",
		Short: "print wstape.d.ts: everything that scripts can use, for editors and people",
		Long: `Print wstape.d.ts: TypeScript's declarations of all hooks, objects and globals
that scripts and their tests can use, each explained.`,
		Example: "  wstape script types > wstape.d.ts",
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			_, err := io.WriteString(a.Stdout, script.Types())
			return err
		},
	}
}
