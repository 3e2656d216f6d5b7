package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/record/boltstore"
	"github.com/wstape/wstape/record/remote"
	"github.com/wstape/wstape/tape"
)

// tapeFile is a tape that a proxy may or may not be recording to: each call
// goes to the running proxy if there is one, and else to the file, which is
// held for that call only.
type tapeFile struct {
	path    string
	keyFile string // the operator's key, for a tape that is encrypted; "" for none

	mu     sync.Mutex
	client *remote.Client // nil while no proxy is known
	epoch  uint64         // counts how often the proxy came and went; see Wait
}

var _ record.Reader = (*tapeFile)(nil)

func openTape(path, keyFile string) *tapeFile { return &tapeFile{path: path, keyFile: keyFile} }

// openTape opens the tape that the flags name.
func (a *app) openTape() *tapeFile { return openTape(a.tape, a.keyFile) }

// lockRetries is how often file and socket are tried when the file is locked
// and nobody answers: a proxy may be starting or ending.
const lockRetries = 20

// do runs f on whatever holds the tape now.
func (t *tapeFile) do(ctx context.Context, write bool, f func(record.Store) error) error {
	for try := 0; ; try++ {
		if client := t.running(ctx); client != nil {
			err := f(client)
			if !errors.Is(err, remote.ErrGone) || try == lockRetries {
				return err
			}
			t.forget(client)
			continue
		}
		err := t.direct(write, f)
		if !errors.Is(err, record.ErrBusy) || try == lockRetries {
			return t.explain(err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(boltstore.Patience):
		}
	}
}

// direct opens the file, runs f and gives it back.
func (t *tapeFile) direct(write bool, f func(record.Store) error) (err error) {
	key, err := readKey(t.keyFile)
	if err != nil {
		return err
	}
	var s *boltstore.Store
	if write {
		s, err = boltstore.Open(t.path, boltstore.WithKey(key))
	} else {
		s, err = boltstore.OpenReader(t.path, boltstore.Patience, boltstore.WithKey(key))
	}
	if err != nil {
		return err
	}
	t.removeStaleSocket()
	if err := f(s); err != nil {
		return errors.Join(err, s.Abandon())
	}
	return s.Close()
}

// removeStaleSocket removes a socket that nobody answers on, beside a file that
// nobody else holds.
func (t *tapeFile) removeStaleSocket() {
	path, err := remote.SocketPath(t.path)
	if err != nil {
		return
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		_ = os.Remove(path)
	}
}

// explain adds the next step to an error.
func (t *tapeFile) explain(err error) error {
	switch dir := filepath.Dir(t.path); {
	case errors.Is(err, fs.ErrNotExist) && !isDir(dir):
		return fail(exitReach, "%w; there is no directory %s: make it, or name another tape with --tape", err, dir)
	case errors.Is(err, syscall.ENOSPC):
		return fail(exitReach, "%w; make room there, or name another tape with --tape", err)
	case errors.Is(err, fs.ErrPermission):
		return fail(exitReach, "%w; may you read it, and write to it? A tape is its owner's (mode 0600)", err)
	case errors.Is(err, record.ErrNotATape) && isRecording(beginningOf(t.path)):
		return fail(exitReach, "%w; it is a recording: name it as a session is named, like wstape show %s", err, t.path)
	case errors.Is(err, fs.ErrNotExist):
		return fail(exitReach, "%w; record one with wstape proxy ws://HOST:PORT --tape %s, or name another with --tape", err, t.path)
	case errors.Is(err, record.ErrBusy):
		return fail(exitReach, "%w, which does not answer on the tape's socket", err)
	case errors.Is(err, record.ErrNotATape):
		return fail(exitReach, "%w; name a tape with --tape", err)
	case errors.Is(err, record.ErrCorrupt):
		return fail(exitReach, "%w; go back to a copy of it, or name another tape with --tape", err)
	case errors.Is(err, record.ErrVersion):
		return fail(exitReach, "%w; use the wstape that wrote it or a newer one", err)
	}
	return explainKey(err, t.keyFile)
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// running returns the proxy that holds the tape, nil if there is none.
func (t *tapeFile) running(ctx context.Context) *remote.Client {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.client == nil {
		if client, err := remote.Dial(ctx, t.path); err == nil {
			t.client = client
			t.epoch++
		}
	}
	return t.client
}

func (t *tapeFile) forget(client *remote.Client) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.client == client {
		_ = client.Close()
		t.client = nil
		t.epoch++
	}
}

func (t *tapeFile) Sessions(ctx context.Context, after uint64) (out []record.Entry, err error) {
	err = t.do(ctx, false, func(s record.Store) error { out, err = s.Sessions(ctx, after); return err })
	return out, err
}

func (t *tapeFile) Session(ctx context.Context, n uint64) (out record.Entry, err error) {
	err = t.do(ctx, false, func(s record.Store) error { out, err = s.Session(ctx, n); return err })
	return out, err
}

func (t *tapeFile) Segments(ctx context.Context, n, offset uint64) (out []record.Segment, err error) {
	err = t.do(ctx, false, func(s record.Store) error { out, err = s.Segments(ctx, n, offset); return err })
	return out, err
}

func (t *tapeFile) Window(ctx context.Context, n uint64, from tape.Side, offset uint64) (out record.Window, err error) {
	err = t.do(ctx, false, func(s record.Store) error { out, err = s.Window(ctx, n, from, offset); return err })
	return out, err
}

// epochShift keeps a running proxy's versions apart from those of the next one.
const epochShift = 40

// pollPause is how often a tape that no proxy holds is looked at for changes.
const pollPause = 250 * time.Millisecond

// Wait asks the running proxy; without one it looks now and then whether one
// has come or the file has changed.
func (t *tapeFile) Wait(ctx context.Context, since uint64) (uint64, error) {
	before := t.modified()
	for {
		if client := t.running(ctx); client != nil {
			base := t.base()
			version, err := client.Wait(ctx, since-min(since, base))
			if err == nil {
				return base + version, nil
			}
			if ctx.Err() != nil {
				return since, ctx.Err()
			}
			if !errors.Is(err, remote.ErrGone) {
				return since, err
			}
			t.forget(client)
		}
		if base := t.base(); base >= since || t.modified() != before {
			return max(base, since) + 1, nil
		}
		select {
		case <-ctx.Done():
			return since, ctx.Err()
		case <-time.After(pollPause):
		}
	}
}

func (t *tapeFile) base() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.epoch << epochShift
}

func (t *tapeFile) modified() time.Time {
	info, err := os.Stat(t.path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

func (t *tapeFile) SetLabel(ctx context.Context, n uint64, l record.Label) error {
	return t.do(ctx, true, func(s record.Store) error { return s.SetLabel(ctx, n, l) })
}

func (t *tapeFile) Delete(ctx context.Context, numbers ...uint64) error {
	return t.do(ctx, true, func(s record.Store) error { return s.Delete(ctx, numbers...) })
}

// whole runs f while the tape is held throughout, for what must not be
// interleaved with another process. If f fails, the session that it had begun and
// not ended goes again.
func (t *tapeFile) whole(ctx context.Context, f func(record.Store) error) error {
	return t.do(ctx, true, func(s record.Store) error {
		d := &draft{s, map[uint64]record.Entry{}}
		err := f(d)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			err = errInterrupted
		}
		return errors.Join(err, d.undo(context.WithoutCancel(ctx)))
	})
}

// keyOf returns the key of a tape's pseudonyms, nil if it has none of its own.
func keyOf(ctx context.Context, s any) (key []byte, err error) {
	switch s := s.(type) {
	case *tapeFile:
		err = s.do(ctx, false, func(s record.Store) error { key, err = keyOf(ctx, s); return err })
	case *draft:
		return keyOf(ctx, s.Store)
	case *remote.Client:
		return s.Key(ctx)
	case *boltstore.Store:
		return s.Key(), nil
	}
	return key, err
}

// check checks the tape where it is held.
func (t *tapeFile) check(ctx context.Context, progress func(float64)) (report *boltstore.Report, err error) {
	if t.keyFile == "" && t.running(ctx) == nil {
		if report, err = boltstore.Check(ctx, t.path, progress); !errors.Is(err, record.ErrBusy) { // an encrypted tape as well
			return report, t.explain(err)
		}
	}
	err = t.do(ctx, false, func(s record.Store) error {
		switch s := s.(type) {
		case *remote.Client:
			text, err := s.Check(ctx)
			if err != nil {
				return err
			}
			return json.Unmarshal(text, &report)
		case *boltstore.Store:
			report, err = s.Check(ctx, progress)
			return err
		}
		return fmt.Errorf("a tape of type %T cannot be checked", s)
	})
	return report, err
}

// Close lets go of the connection to the proxy.
func (t *tapeFile) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.client != nil {
		return t.client.Close()
	}
	return nil
}
