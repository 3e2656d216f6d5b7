package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// screen is a terminal behind a pager: what is written goes to the pager.
type screen struct {
	io.Writer
	terminal *os.File
}

// terminalOf returns a person's terminal that w leads to, or nil.
func terminalOf(w io.Writer) *os.File {
	switch f := w.(type) {
	case *screen:
		return f.terminal
	case *os.File:
		if term.IsTerminal(int(f.Fd())) {
			return f
		}
	}
	return nil
}

// isTerminal reports whether a person sees what is written to w.
func isTerminal(w io.Writer) bool { return terminalOf(w) != nil }

// width returns how many columns a line may take; wide for a pipe.
func width(w io.Writer) int {
	if f := terminalOf(w); f != nil {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 20 {
			return columns
		}
	}
	return 400
}

// colourMode is the value of --color.
type colourMode string

func (m *colourMode) String() string { return string(*m) }
func (m *colourMode) Type() string   { return "auto|always|never" }

func (m *colourMode) Set(s string) error {
	if s != "auto" && s != "always" && s != "never" {
		return errors.New("is neither auto, always nor never")
	}
	*m = colourMode(s)
	return nil
}

// painter returns the colours for w: --color says so, or else it is a terminal
// that can, and NO_COLOR is not set.
func (e *Env) painter(w io.Writer) painter {
	switch e.colour {
	case "always":
		return true
	case "never":
		return false
	}
	return painter(isTerminal(w) && e.Getenv("NO_COLOR") == "" && e.Getenv("TERM") != "dumb")
}

// paged has a command's results shown by a pager when they go to a terminal,
// unless the function says that they come as they happen. It is called when
// cmd.RunE is set.
func (a *app) paged(cmd *cobra.Command, live func() bool) *cobra.Command {
	var off bool
	cmd.Flags().BoolVar(&off, "no-pager", false, "do not show the results in $WSTAPE_PAGER or $PAGER (default less -FRX), as is done on a terminal")
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		terminal := terminalOf(a.Stdout)
		if off || live() || terminal == nil {
			return run(cmd, args)
		}
		p := a.startPager(cmd.Context(), terminal)
		if p == nil {
			return run(cmd, args)
		}
		a.Stdout = &screen{p.pipe, terminal}
		cmd.SetContext(p.ctx)
		err := run(cmd, args)
		a.Stdout = terminal
		return p.wait(err)
	}
	return cmd
}

// pager is a program that shows text a page at a time.
type pager struct {
	pipe *os.File
	ctx  context.Context // of who writes; done when nobody reads any more
	gone chan struct{}   // closed when the program has ended
}

// startPager starts the user's pager on a terminal; nil if there is none.
func (a *app) startPager(ctx context.Context, terminal *os.File) *pager {
	command, chosen := a.Getenv("WSTAPE_PAGER"), true
	if command == "" {
		command = a.Getenv("PAGER")
	}
	if command == "" {
		command, chosen = "less -FRX", false
	}
	words := strings.Fields(command)
	if len(words) == 0 || words[0] == "cat" {
		return nil
	}
	c := exec.Command(words[0], words[1:]...) // not with ctx: people go on reading after Ctrl-C
	c.Stdout, c.Stderr, c.Env = terminal, a.Stderr, os.Environ()
	if a.Getenv("LESS") == "" {
		c.Env = append(c.Env, "LESS=FRX")
	}
	r, w, err := os.Pipe()
	if err == nil {
		c.Stdin = r
		err = c.Start()
		r.Close()
	}
	if err != nil {
		if w != nil {
			w.Close()
		}
		if chosen {
			fmt.Fprintf(a.Stderr, "wstape: start the pager %s: %v; going on without\n", safe(command, 200), err)
		}
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &pager{pipe: w, ctx: ctx, gone: make(chan struct{})}
	go func() {
		_ = c.Wait() // how it ends is its own business
		close(p.gone)
		cancel()
	}()
	return p
}

// wait waits until the user has read enough, after a command that ended with err.
// Who stops reading early needs no error.
func (p *pager) wait(err error) error {
	early := false
	select {
	case <-p.gone:
		early = true
	default:
	}
	p.pipe.Close()
	<-p.gone
	if early || errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}
