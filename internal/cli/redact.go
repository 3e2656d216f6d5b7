package cli

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/wstape/wstape/internal/config"
	"github.com/wstape/wstape/record"
)

// redactFlags declares the flags that say what a secret is in messages.
func redactFlags(fs *pflag.FlagSet) {
	fs.StringArray("redact-json", nil, "replace what stands at this `PATH` in JSON messages by pseudonyms, like $..password (may be given several times)")
	fs.StringArray("redact-text", nil, "replace what this `REGEXP` matches, or its first group, by pseudonyms (may be given several times)")
}

// redacted shows sessions without what record.redact and the flags call a secret.
func (a *app) redacted(ctx context.Context, targets []target, fs *pflag.FlagSet) error {
	c, _, err := a.load(fs, nil)
	if err != nil {
		return err
	}
	if len(c.Record.Redact.JSON)+len(c.Record.Redact.Text) == 0 {
		fmt.Fprintln(a.Stderr, "wstape: there are no rules for messages, so only handshakes are redacted: add --redact-json, --redact-text, or a --config with record.redact")
	}
	readers := map[record.Reader]record.Reader{}
	for i := range targets {
		at := &targets[i]
		r := readers[at.store]
		if r == nil {
			key, err := keyOf(ctx, at.store)
			if err != nil {
				return err
			}
			redact, err := redactor(&c.Record.Redact, key)
			if err != nil {
				return err
			}
			r = record.Redacted(at.store, redact)
			readers[at.store] = r
		}
		at.store = r
	}
	return nil
}

// redactor is what record.redact asks for, with the tape's own key; without one,
// pseudonyms are equal within a run.
func redactor(c *config.Redact, key []byte) (*record.Redactor, error) {
	rules := record.Rules{Headers: c.Headers, Query: c.Query, MaxMessage: int64(c.MaxMessage), MaxHeld: int64(c.MaxHeld)}
	var err error
	if rules.JSON, err = c.Paths(); err != nil {
		return nil, fail(exitUsage, "record.redact.json: %w", err)
	}
	if rules.Text, err = c.Text.Compile(); err != nil {
		return nil, fail(exitUsage, "record.redact.text: %w", err)
	}
	if key == nil {
		key = make([]byte, 32)
		_, _ = rand.Read(key) // never fails
	}
	r, err := record.NewRedactor(key, rules)
	if err != nil {
		return nil, fail(exitUsage, "record.redact: %w", err)
	}
	return r, nil
}
