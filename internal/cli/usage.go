package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/wstape/wstape/internal/levenshtein"
)

// wrapUsage gives wrong arguments the exit code of wrong usage.
func wrapUsage(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError(cmd, err)
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		wrapUsage(sub)
	}
}

func usageError(cmd *cobra.Command, err error) error {
	return fail(exitUsage, "%w\nsee: %s --help", err, cmd.CommandPath())
}

// atLeastOne is the Args of commands that need to be told what.
func atLeastOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return fmt.Errorf("%s: name %s", cmd.Name(), what)
		}
		return nil
	}
}

// exactly is the Args of commands that need to be told so many things.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return fmt.Errorf("%s: name %s", cmd.Name(), what)
		}
		return nil
	}
}

// atMost is the Args of commands that may be told so many things.
func atMost(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > n {
			return fmt.Errorf("%s takes %s; %q is one too many", cmd.Name(), what, args[n])
		}
		return nil
	}
}

// noArguments is the Args of commands that have flags only.
func noArguments(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case cmd.Flag("tape") != nil:
		return fmt.Errorf("%s takes no arguments, like %q; a tape is named with --tape FILE", cmd.Name(), args[0])
	}
	return fmt.Errorf("%s takes no arguments, like %q", cmd.Name(), args[0])
}

// noSuchCommand is the Args of a command that only has others below it.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	next := ""
	if near := levenshtein.Nearest(args[0], names); near != "" {
		next = fmt.Sprintf("; did you mean %s?", near)
	} else if cmd.HasParent() {
		next = "; there are " + strings.Join(names, ", ")
	}
	return fmt.Errorf("unknown command %q for %q%s", args[0], cmd.CommandPath(), next)
}

// noSuchTopic is the Args of help.
func noSuchTopic(cmd *cobra.Command, args []string) error {
	topic, rest, err := cmd.Root().Find(args)
	if err == nil && topic.HasAvailableSubCommands() {
		err = noSuchCommand(topic, rest)
	}
	return err
}

// flagMistake says what is wrong with a flag.
func flagMistake(cmd *cobra.Command, err error) error {
	var value *pflag.InvalidValueError
	var unknown *pflag.NotExistError
	switch {
	case errors.As(err, &value):
		kind := map[string]string{"int": "a whole number", "uint64": "a whole number from 0 on", "float64": "a number"}[value.GetFlag().Value.Type()]
		if kind != "" {
			err = fmt.Errorf("--%s: %q is not %s", value.GetFlag().Name, value.GetValue(), kind)
		}
	case errors.As(err, &unknown):
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		if near := levenshtein.Nearest(unknown.GetSpecifiedName(), names); near != "" {
			err = fmt.Errorf("%w; did you mean --%s?", err, near)
		}
	}
	return usageError(cmd, err)
}
