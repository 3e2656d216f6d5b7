package cli

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/wstape/wstape/script"
)

const scriptHelp = `Check, try and test the scripts that wstape runs on messages.

  wstape script new chat                        a script to start from, with a test
  wstape script check chat.ts                   does it load, and which hooks has it?
  wstape script test                            run the tests beside the scripts here
  wstape script run chat.ts --session -1        what would it have changed?
  wstape proxy ws://localhost:8765 --script chat.ts`

func (a *app) scriptCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "script",
		Short: "check, try and test scripts",
		Long:  scriptHelp,
		Args:  noSuchCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		a.scriptNewCommand(), a.scriptCheckCommand(), a.scriptTestCommand(), a.scriptRunCommand(), a.scriptTypesCommand(),
	)
	return cmd
}

// scriptSettings gathers what the configuration says about scripts.
func (a *app) scriptSettings(fs *pflag.FlagSet) (script.Options, error) {
	c, _, err := a.load(fs, nil)
	if err != nil {
		return script.Options{}, err
	}
	return scriptOptions(c, a.Getenv), nil
}

// configFlag declares --config.
func configFlag(fs *pflag.FlagSet) {
	fs.String("config", "", "take script.timeout and the like from this YAML `FILE` (see config.example.yaml)")
}
