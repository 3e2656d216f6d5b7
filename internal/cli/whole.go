package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// writeWhole writes a file so that nobody ever sees half of it, not even after a
// power failure. A new one has the mode, as far as the umask allows, and one that
// is replaced keeps its own. Pipes, devices and what this process has open, such as
// /dev/stdout, are written to, which may have to wait for who reads; ctx ends that.
func writeWhole(ctx context.Context, path string, mode os.FileMode, write func(io.Writer) error) error {
	there, err := os.Stat(path)
	switch {
	case err != nil: // it is new
	case there.IsDir():
		return fail(exitReach, "write %s: it is a directory; name a file in it", path)
	case !there.Mode().IsRegular() || isOpen(path):
		_, err := within(ctx, func() (int, error) { return 0, writeInto(path, write) })
		if errors.Is(err, errInterrupted) {
			err = fail(exitReach, "write %s: %w: nobody reads it", path, err)
		}
		return err
	}
	target := path
	if there != nil {
		mode = there.Mode().Perm()
		if target, err = filepath.EvalSymlinks(path); err != nil {
			return fail(exitReach, "write %s: %w", path, reason(err))
		}
	}
	temporary := filepath.Join(filepath.Dir(target), ".wstape-"+rand.Text())
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fail(exitReach, "write %s: %w; is its directory there, and may you write to it?", path, reason(err))
	}
	defer os.Remove(temporary)
	if err := write(namedWriter{f, path}); err != nil {
		f.Close()
		return err
	}
	if there != nil {
		err = f.Chmod(mode) // without the umask
	}
	// Without Sync a power failure can leave an empty file in the place of the old one.
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fail(exitReach, "write %s: %w", path, reason(err))
	}
	if err := os.Rename(temporary, target); err != nil {
		return fail(exitReach, "write %s: %w", path, reason(err))
	}
	return nil
}

// namedWriter writes to a temporary file, and calls it by the name that people know.
type namedWriter struct {
	file *os.File
	path string
}

func (w namedWriter) Write(p []byte) (int, error) {
	n, err := w.file.Write(p)
	if err != nil {
		err = &fs.PathError{Op: "write", Path: w.path, Err: reason(err)}
	}
	return n, err
}

// isOpen reports whether a path is one of this process's own files.
func isOpen(path string) bool {
	return path == "/dev/stdout" || path == "/dev/stderr" || strings.HasPrefix(path, "/dev/fd/") || strings.HasPrefix(path, "/proc/self/fd/")
}

// writeInto writes to what is there and stays, behind what is in it.
func writeInto(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return fail(exitReach, "write %s: %w", path, reason(err))
	}
	if err := write(f); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return fail(exitReach, "write %s: %w", path, reason(err))
	}
	return nil
}

// reason is what an error says without the path of a temporary file.
func reason(err error) error {
	var p *fs.PathError
	var l *os.LinkError
	switch {
	case errors.As(err, &p):
		return p.Err
	case errors.As(err, &l):
		return l.Err
	}
	return err
}
