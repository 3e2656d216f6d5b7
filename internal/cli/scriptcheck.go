package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/wstape/wstape/script"
)

func (a *app) scriptCheckCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check FILE…",
		Short: "say whether scripts load, and which hooks they have",
		Long: `Load scripts as the proxy does, run their own code once, and list the hooks that
they export and the files that were bundled. Warns about what looks like a
mistake: exports that are nearly hooks, globals of browsers or Node that do not
exist here. Exit code 2 if a script cannot run; warnings leave it at 0.`,
		Example: "  wstape script check chat.ts\n  wstape script check scripts/*.js --json",
		Args:    atLeastOne("a script"),
	}
	configFlag(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object per script")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o, err := a.scriptSettings(cmd.Flags())
		if err != nil {
			return err
		}
		var found []*script.Inspection
		broken := 0
		for _, path := range args {
			i, err := script.Inspect(path, o)
			if err != nil {
				fmt.Fprintf(a.Stderr, "wstape: %s\n", safeLines(script.Explain(err)))
				broken++
				continue
			}
			found = append(found, i)
		}
		if asJSON {
			err = a.checkedJSON(found)
		} else {
			err = a.checkedText(found)
		}
		if err == nil && broken > 0 {
			err = fail(exitUsage, "%s of %d cannot run", count(broken, "script"), len(args))
		}
		return err
	}
	return cmd
}

// checkedText writes a table of scripts, and then what looks wrong in them.
func (a *app) checkedText(found []*script.Inspection) error {
	w := tabwriter.NewWriter(a.Stdout, 0, 4, 2, ' ', 0)
	for _, i := range found {
		only := ""
		if i.From != "" {
			only = "\tof the " + i.From + " only"
		}
		fmt.Fprintf(w, "%s\t%s%s\n", i.Name, strings.Join(i.Hooks, " "), only)
		for _, file := range i.Files {
			if file != i.Path {
				fmt.Fprintf(w, "\treads %s\n", shownPath(file))
			}
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	paint := a.painter(a.Stdout)
	for _, i := range found {
		for _, warning := range i.Warnings {
			if _, err := fmt.Fprintf(a.Stdout, "%s %s\n", paint.paint(yellow, "warning:"), safeLines(warning.Describe())); err != nil {
				return err
			}
		}
	}
	return nil
}

// shownPath is a path as people would write it here.
func shownPath(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	if short, err := filepath.Rel(here, path); err == nil && !strings.HasPrefix(short, "..") {
		return short
	}
	return path
}

type checkedJSON struct {
	Script   string          `json:"script"`
	Path     string          `json:"path"`
	Hooks    []string        `json:"hooks"`
	From     string          `json:"from,omitempty"`
	Files    []string        `json:"files"`
	Warnings []checkedRemark `json:"warnings,omitempty"`
}

type checkedRemark struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Text   string `json:"text"`
	Hint   string `json:"hint,omitempty"`
}

func (a *app) checkedJSON(found []*script.Inspection) error {
	enc := json.NewEncoder(&cleaner{out: a.Stdout, json: true})
	enc.SetEscapeHTML(false)
	for _, i := range found {
		line := checkedJSON{Script: i.Name, Path: i.Path, Hooks: i.Hooks, From: i.From, Files: i.Files}
		for _, w := range i.Warnings {
			line.Warnings = append(line.Warnings, checkedRemark{w.File, w.Line, w.Column, w.Text, w.Hint})
		}
		if err := enc.Encode(line); err != nil {
			return err
		}
	}
	return nil
}
