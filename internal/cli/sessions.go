package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/wstape/wstape/record"
)

// target is a session that an argument names, and the tape it is on.
type target struct {
	store record.Reader
	n     uint64
	name  string // as people should see it
	file  string // that it was read from, "" on a tape
}

// sessionName is what people call a session of the tape.
func sessionName(n uint64) string { return fmt.Sprintf("session %d", n) }

// resolve finds the sessions that arguments name: by number (3), from the end
// (-1), by the beginning of their UUID, or as a cassette, HAR file or mitmproxy dump.
func (a *app) resolve(ctx context.Context, t *tapeFile, args []string) ([]target, error) {
	var out []target
	for _, arg := range args {
		found, err := a.resolveOne(ctx, t, arg)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

func (a *app) resolveOne(ctx context.Context, t *tapeFile, arg string) ([]target, error) {
	if back, ok := strings.CutPrefix(arg, "@-"); ok {
		return fromLast(ctx, t, back)
	}
	if n, err := strconv.ParseUint(arg, 10, 64); err == nil {
		_, err := t.Session(ctx, n)
		if err == nil {
			return []target{{store: t, n: n, name: sessionName(n)}}, nil
		}
		if !errors.Is(err, record.ErrNotFound) || len(arg) < minPrefix {
			return nil, notFound(t, arg, err)
		}
	}
	if _, err := os.Stat(arg); err == nil {
		return a.cassette(ctx, arg)
	}
	if isPrefix(arg) {
		return byID(ctx, t, strings.ToLower(arg))
	}
	if strings.ContainsAny(arg, "./\\") {
		return nil, fail(exitReach, "open %s: %w; sessions on a tape are named by number: wstape ls --tape %s lists them", arg, fs.ErrNotExist, t.path)
	}
	hint := ""
	if several.MatchString(arg) {
		hint = "; several are named one after the other: 3 4 5"
	}
	return nil, fail(exitUsage, "%q names no session: give a number (3), -1 for the last, the beginning of a UUID, or a cassette, HAR file or mitmproxy dump%s", arg, hint)
}

// several matches how people write more than one session where one is named.
var several = regexp.MustCompile(`^[0-9]+([-,][0-9]+)+$`)

func notFound(t *tapeFile, arg string, err error) error {
	if errors.Is(err, record.ErrNotFound) {
		return fail(exitNo, "session %s is not on the tape %s; wstape ls --tape %s lists what is", arg, t.path, t.path)
	}
	return err
}

func fromLast(ctx context.Context, t *tapeFile, back string) ([]target, error) {
	k, err := strconv.Atoi(back)
	if err != nil {
		return nil, fail(exitUsage, "%q is not a count from the end", "-"+back)
	}
	var numbers []uint64
	for e, err := range record.Sessions(ctx, t) {
		if err != nil {
			return nil, err
		}
		numbers = append(numbers, e.N)
	}
	if k > len(numbers) {
		return nil, fail(exitNo, "session -%d is not on the tape %s: it has %s", k, t.path, count(len(numbers), "session"))
	}
	n := numbers[len(numbers)-k]
	return []target{{store: t, n: n, name: sessionName(n)}}, nil
}

// minPrefix is how much of a UUID must be given.
const minPrefix = 4

func isPrefix(arg string) bool {
	return len(arg) >= minPrefix && strings.Trim(strings.ToLower(arg), "0123456789abcdef-") == ""
}

func byID(ctx context.Context, t *tapeFile, prefix string) ([]target, error) {
	var found []*record.Entry
	for e, err := range record.Sessions(ctx, t) {
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(e.ID.String(), prefix) {
			found = append(found, e)
		}
	}
	switch {
	case len(found) == 0:
		return nil, fail(exitNo, "no session on the tape %s has a UUID that begins with %s", t.path, prefix)
	case len(found) > 1:
		return nil, fail(exitNo, "%s: %d sessions on the tape %s have UUIDs that begin so, the first two %s and %s: give more of it",
			prefix, len(found), t.path, found[0].ID, found[1].ID)
	}
	return []target{{store: t, n: found[0].N, name: sessionName(found[0].N)}}, nil
}

// cassette loads a file with sessions; they are numbered from 1.
func (a *app) cassette(ctx context.Context, path string) ([]target, error) {
	return a.loaded(ctx, path, "", pflag.NewFlagSet("", pflag.ContinueOnError))
}

// loaded loads a file with sessions into memory; a kind of "" is looked up.
func (a *app) loaded(ctx context.Context, path string, kind recordingKind, flags *pflag.FlagSet) ([]target, error) {
	in, err := a.openRecording(ctx, path, kind)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	var redact *record.Redactor
	if in.kind != aCassette { // which was redacted when it was recorded
		c, _, err := a.load(flags, nil)
		if err != nil {
			return nil, err
		}
		if redact, err = redactor(&c.Record.Redact, nil); err != nil {
			return nil, err
		}
	}
	memory := record.NewMemory()
	numbers, err := a.readRecording(ctx, in, memory, redact)
	if err != nil {
		return nil, fail(exitReach, "read %s %s: %w", in.kind, path, err)
	}
	var out []target
	for _, n := range numbers {
		out = append(out, target{memory, n, path, path})
	}
	return slices.Clip(out), nil
}
