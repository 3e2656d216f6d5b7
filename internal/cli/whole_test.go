//go:build unix

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func says(text string) func(io.Writer) error {
	return func(w io.Writer) error { _, err := io.WriteString(w, text); return err }
}

func TestWriteWhole(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	old := syscall.Umask(0o027)
	defer syscall.Umask(old)
	must(t, os.WriteFile(path("old"), []byte("a longer text than the new one"), 0o600))
	must(t, os.Chmod(path("old"), 0o606))
	must(t, os.WriteFile(path("far"), nil, 0o600))
	must(t, os.Symlink("far", path("link")))
	must(t, os.Symlink("gone", path("dangling")))
	for _, tc := range []struct {
		name, file string
		mode       os.FileMode
	}{
		{"new", "new", 0o640},
		{"old", "old", 0o606},
		{"link", "far", 0o600},
		{"dangling", "dangling", 0o640},
	} {
		must(t, writeWhole(t.Context(), path(tc.name), 0o644, says("new")))
		got, err := os.ReadFile(path(tc.file))
		info, _ := os.Lstat(path(tc.file))
		if err != nil || string(got) != "new" || info.Mode() != tc.mode {
			t.Errorf("%s: %q with mode %v, %v", tc.name, got, info.Mode(), err)
		}
		failure := errors.New("enough")
		if err := writeWhole(t.Context(), path(tc.name), 0o644, func(w io.Writer) error { fmt.Fprint(w, "half"); return failure }); err != failure {
			t.Errorf("%s: %v", tc.name, err)
		}
		if again, _ := os.ReadFile(path(tc.file)); string(again) != "new" {
			t.Errorf("%s: a failure leaves %q", tc.name, again)
		}
	}
	if info, err := os.Lstat(path("link")); err != nil || info.Mode().Type() != os.ModeSymlink {
		t.Errorf("the link is %v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(path(".wstape-*")); left != nil {
		t.Errorf("there stay %v", left)
	}
}

// TestWriteIntoPipe writes to what must not be replaced.
func TestWriteIntoPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	must(t, syscall.Mkfifo(path, 0o600))
	got := make(chan string)
	go func() {
		text, _ := os.ReadFile(path)
		got <- string(text)
	}()
	must(t, writeWhole(t.Context(), path, 0o644, says("new")))
	if text := <-got; text != "new" {
		t.Errorf("through the pipe came %q", text)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode().Type() != os.ModeNamedPipe {
		t.Errorf("the pipe is %v, %v", info.Mode(), err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := writeWhole(cancelled, path, 0o644, says("new")); !errors.Is(err, errInterrupted) {
		t.Errorf("a pipe that nobody reads: %v", err)
	}
	late, err := os.OpenFile(path, os.O_RDWR, 0) // lets the writer go, which may come to it only now
	must(t, err)
	defer late.Close()
	_, err = io.ReadFull(late, make([]byte, len("new")))
	must(t, err)
	before, err := os.Lstat(os.DevNull)
	must(t, err)
	must(t, writeWhole(t.Context(), os.DevNull, 0o644, says("new")))
	if after, err := os.Lstat(os.DevNull); err != nil || after.Mode() != before.Mode() {
		t.Errorf("%s is %v, %v", os.DevNull, after.Mode(), err)
	}
}

// TestWriteIntoWhatIsOpen puts a text behind what a redirection has left there.
func TestWriteIntoWhatIsOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	must(t, os.WriteFile(path, []byte("old text, "), 0o600))
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	must(t, writeWhole(t.Context(), fmt.Sprintf("/dev/fd/%d", f.Fd()), 0o644, says("new")))
	if got, err := os.ReadFile(path); err != nil || string(got) != "old text, new" {
		t.Errorf("%q, %v", got, err)
	}
}
