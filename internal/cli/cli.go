// Package cli is the command line: one file per verb, each a thin shell around
// the rooms below, which it alone wires together. Nothing below it touches
// stdio, arguments, the environment or the exit code.
package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/wstape/wstape/record"
)

// Exit codes.
const (
	exitFine  = 0
	exitNo    = 1 // the thing asked for did not hold: nothing found, check failed
	exitUsage = 2 // usage or config
	exitReach = 3 // could not reach or open
)

// Env is the world outside, so that a test can stand in for it.
type Env struct {
	Args    []string // without the program's name
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Getenv  func(string) string
	Signals <-chan os.Signal // the first ends politely, the second at once

	colour colourMode // --color
	whole  uint64     // bytes that are read of one message; 0 means wholeMessage
}

// System is the world outside of a real process.
func System() Env {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	return Env{Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Signals: signals}
}

// exitError is an error that decides the exit code.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func fail(code int, format string, args ...any) error {
	return &exitError{code, fmt.Errorf(format, args...)}
}

// app is what every command knows.
type app struct {
	Env
	hard context.Context // done at the second signal
	tape string          // --tape

	keyFile string // --key-file
}

// Main runs one command and returns its exit code.
func Main(env Env) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	hard, cut := context.WithCancel(context.Background())
	defer cut()
	if env.Signals != nil {
		go func() {
			for _, end := range []func(){cancel, cut} {
				select {
				case <-env.Signals:
					end()
				case <-hard.Done():
					return
				}
			}
		}()
	}
	env.whole = cmp.Or(env.whole, wholeMessage)
	a := &app{Env: env, hard: hard}
	root := a.root()
	root.SetArgs(fromEnd(root, helpFirst(env.Args)))
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	err := root.ExecuteContext(ctx)
	if err == nil || errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return exitFine
	}
	fmt.Fprintf(env.Stderr, "wstape: %s\n", safeLines(err.Error()))
	return exitCode(err)
}

// exitCode is where an error's kind becomes a number.
func exitCode(err error) int {
	var exit *exitError
	switch {
	case errors.As(err, &exit):
		return exit.code
	case errors.Is(err, record.ErrNotFound), errors.Is(err, record.ErrOpen):
		return exitNo
	}
	return exitReach
}

// helpFirst reads --help TOPIC as help TOPIC.
func helpFirst(args []string) []string {
	if len(args) == 2 && (args[0] == "--help" || args[0] == "-h") && !strings.HasPrefix(args[1], "-") {
		return []string{"help", args[1]}
	}
	return args
}

// lastOnes matches a session counted from the end, which a flag parser would
// take for a flag.
var lastOnes = regexp.MustCompile(`^-[1-9][0-9]*$`)

// fromEnd writes -1 as @-1, which only resolve reads, where a command expects
// sessions: not as a flag's value, not among tags, and not as what to search for.
func fromEnd(root *cobra.Command, args []string) []string {
	cmd, rest, err := root.Find(args)
	if err != nil || !takesSessions(cmd) {
		return args
	}
	out := append(strings.Fields(cmd.CommandPath())[1:], rest...)
	words := 0 // that were neither flags nor values of flags
	for i := len(out) - len(rest); i < len(out); i++ {
		last := lastOnes.MatchString(out[i])
		switch {
		case valueFollows(cmd, out[i]):
			i++
			continue
		case strings.HasPrefix(out[i], "-") && !last:
			continue
		case last && (words > 0 || cmd.Name() != "search") && (words == 0 || cmd.Name() != "tag"):
			out[i] = "@" + out[i]
		}
		words++
	}
	return out
}

// takesSessions reports whether a command's arguments are sessions, or some of them.
func takesSessions(cmd *cobra.Command) bool {
	return slices.Contains([]string{"ls", "show", "search", "rm", "tag", "export", "stats", "diff", "run"}, cmd.Name()) ||
		cmd.HasParent() && cmd.Parent().Name() == "replay"
}

// valueFollows reports whether an argument is a flag whose value is the next one.
func valueFollows(cmd *cobra.Command, arg string) bool {
	var f *pflag.Flag
	if name, long := strings.CutPrefix(arg, "--"); long {
		f = cmd.Flag(name)
	} else if len(arg) == 2 && arg[0] == '-' {
		f = cmd.Flags().ShorthandLookup(arg[1:])
	}
	return f != nil && f.NoOptDefVal == ""
}

const rootHelp = `wstape sits between an app and its WebSocket server, shows every message,
records every frame, and gives the recording back.

  wstape demo                          see it work, with nothing else at hand
  wstape proxy ws://localhost:8765     record what passes; point the app at ws://localhost:8080
  wstape ls                            the sessions on the tape
  wstape show -1                       the messages of the last one`

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "wstape",
		Short:         "the tape recorder between an app and its WebSocket server",
		Long:          rootHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noSuchCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(flagMistake)
	a.colour = "auto"
	root.PersistentFlags().Var(&a.colour, "color", "colours: on a terminal and without NO_COLOR (auto), always or never")
	group := func(title string, commands ...*cobra.Command) {
		root.AddGroup(&cobra.Group{ID: title, Title: title + ":"})
		for _, cmd := range commands {
			cmd.GroupID = title
		}
		root.AddCommand(commands...)
	}
	group("Record", a.proxyCommand(), a.demoCommand())
	group("Look", a.lsCommand(), a.showCommand(), a.tailCommand(), a.searchCommand(), a.statsCommand(), a.diffCommand())
	group("Replay and rewrite", a.replayCommand(), a.scriptCommand())
	group("Exchange", a.exportCommand(), a.importCommand(), a.convertCommand())
	group("Keep", a.tagCommand(), a.rmCommand(), a.pruneCommand(), a.compactCommand(), a.checkCommand())
	root.AddCommand(a.configCommand(), a.versionCommand())
	root.AddCommand(&cobra.Command{Use: "filter", Short: "the language of --filter and search", Long: filterHelp()}) // a help topic
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	if help, _, err := root.Find([]string{"help"}); err == nil {
		help.Args = noSuchTopic
	}
	wrapUsage(root)
	return root
}

const (
	aSession       = "a session: its number (3), -1 for the last, the beginning of its UUID, or a cassette, HAR file or mitmproxy dump"
	aSessionOfTape = "a session: its number (3), -1 for the last, or the beginning of its UUID"
)

// tapeFlag declares --tape.
func (a *app) tapeFlag(cmd *cobra.Command) {
	def := a.Getenv("WSTAPE_TAPE")
	if def == "" {
		def = "wstape.db"
	}
	cmd.Flags().StringVar(&a.tape, "tape", def, "the tape `FILE`")
	a.keyFlag(cmd)
}

// keyFlag declares --key-file.
func (a *app) keyFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.keyFile, "key-file", a.Getenv("WSTAPE_RECORD_KEY_FILE"), "the key of an encrypted tape, in a `FILE`")
}

// count writes "1 session", "2 sessions".
func count[N int | uint64](n N, what string) string {
	if n != 1 && !strings.HasSuffix(what, "s") {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
