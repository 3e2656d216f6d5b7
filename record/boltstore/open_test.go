package boltstore_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/record/boltstore"
	"github.com/wstape/wstape/tape"
)

// database writes a bbolt file.
func database(t *testing.T, path string, fill func(*bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	must(t, err)
	defer db.Close()
	must(t, db.Update(fill))
}

func TestOpenSaysWhatTheFileIsInstead(t *testing.T) {
	version := func(v uint16) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			must(t, open(t, path).Close())
			database(t, path, func(tx *bbolt.Tx) error {
				return tx.Bucket([]byte("wstape")).Put([]byte("version"), binary.BigEndian.AppendUint16(nil, v))
			})
		}
	}
	write := func(text string) func(*testing.T, string) {
		return func(t *testing.T, path string) { must(t, os.WriteFile(path, []byte(text), 0o600)) }
	}
	for _, c := range []struct {
		name string
		make func(*testing.T, string)
		want error
		says string
	}{
		{"text", write(strings.Repeat("not a tape\n", 1000)), record.ErrNotATape, ""},
		{"one byte", write("x"), record.ErrNotATape, ""},
		{"a directory", func(t *testing.T, path string) { must(t, os.Mkdir(path, 0o700)) }, record.ErrNotATape, "directory"},
		{"another bbolt database", func(t *testing.T, path string) {
			database(t, path, func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("users")); return err })
		}, record.ErrNotATape, "something else"},
		{"a newer version", version(boltstore.Version + 1), record.ErrVersion, "format version 3"},
		{"version 0", version(0), record.ErrCorrupt, ""},
		{"a bucket missing", func(t *testing.T, path string) {
			must(t, open(t, path).Close())
			database(t, path, func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte("blocks")) })
		}, record.ErrCorrupt, "blocks"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "t.db")
			c.make(t, path)
			before, _ := os.ReadFile(path)
			_, writeErr := boltstore.Open(path)
			_, readErr := boltstore.OpenReader(path, time.Second)
			for _, err := range []error{writeErr, readErr} {
				if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), path) {
					t.Errorf("got %v, want %v that names the file and says %q", err, c.want, c.says)
				}
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Error("the file was changed")
			}
		})
	}
}

func TestEmptyFileIsANewTapeForWritersOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.db")
	must(t, os.WriteFile(path, nil, 0o600))
	if _, err := boltstore.OpenReader(path, time.Second); !errors.Is(err, record.ErrNotATape) {
		t.Errorf("a reader got %v, want ErrNotATape", err)
	}
	must(t, open(t, path).Close())
	clean(t, path)
}

func TestReaderDoesNotCreateATape(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.db")
	if _, err := boltstore.OpenReader(path, time.Second); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the file is there now")
	}
}

func TestTapeIsItsOwnersAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.db")
	must(t, open(t, path).Close())
	info, err := os.Stat(path)
	must(t, err)
	if info.Mode().Perm() != 0o600 && runtime.GOOS != "windows" {
		t.Errorf("mode %v, want 0600", info.Mode())
	}
}

func TestUnwritablePlaceIsAPlainError(t *testing.T) {
	if _, err := boltstore.Open(filepath.Join(t.TempDir(), "no", "t.db")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing folder: %v", err)
	}
	if os.Geteuid() <= 0 {
		t.Skip("this user may write anywhere")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "t.db")
	must(t, open(t, path).Close())
	must(t, os.Chmod(path, 0o400))
	if _, err := boltstore.Open(path); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a file that is read only: %v", err)
	}
	clean(t, path)
	must(t, os.Chmod(dir, 0o500))
	if _, err := boltstore.Open(filepath.Join(dir, "other.db")); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a folder that is read only: %v", err)
	}
}

func TestSecondWriterIsToldThatTheTapeIsBusy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.db")
	s := open(t, path)
	_, writeErr := boltstore.OpenPatient(path)
	_, readErr := boltstore.OpenReader(path, boltstore.Patience)
	for _, err := range []error{writeErr, readErr} {
		if !errors.Is(err, record.ErrBusy) {
			t.Errorf("got %v, want ErrBusy", err)
		}
	}
	must(t, s.Close())
	one, err := boltstore.OpenReader(path, boltstore.Patience)
	must(t, err)
	defer one.Close()
	two, err := boltstore.OpenReader(path, boltstore.Patience)
	must(t, err)
	must(t, two.Close())
}

func TestReaderCannotWrite(t *testing.T) {
	r := newRecording(t, 1000, 1000)
	say(r.begin(), 0, "hello")
	r.flush()
	path := r.copyTo(filepath.Join(t.TempDir(), "copy.db"))
	reader, err := boltstore.OpenReader(path, time.Second)
	must(t, err)
	defer reader.Close()
	ctx := context.Background()
	for what, err := range map[string]error{
		"Append":   reader.Append(ctx, record.Batch{Entries: []record.Entry{{}}}),
		"SetLabel": reader.SetLabel(ctx, 1, record.Label{}),
		"Delete":   reader.Delete(ctx, 1),
	} {
		if err == nil {
			t.Errorf("%s through a reader works", what)
		}
	}
}

func TestKeyStaysWithTheTape(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.db")
	s := open(t, path)
	key := s.Key()
	must(t, s.Close())
	if again := open(t, path).Key(); !bytes.Equal(again, key) || len(key) != 32 {
		t.Errorf("key %x, then %x", key, again)
	}
	if other := open(t, filepath.Join(t.TempDir(), "t.db")).Key(); bytes.Equal(other, key) {
		t.Error("two tapes have the same key")
	}
}

// A tape of before there was the bucket is read, and written on.
func TestATapeWithoutRecentIsATape(t *testing.T) {
	r := newRecording(t, 300, 64<<10)
	tap := r.begin()
	say(tap, tape.Client, "hello")
	tap.End(tape.Ending{Kind: tape.EndEOF})
	r.flush()
	must(t, r.recorder.Close())
	must(t, r.tee.Store.Close())
	database(t, r.path, func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte("recent")) })

	clean(t, r.path)
	reader, err := boltstore.OpenReader(r.path, time.Second)
	must(t, err)
	sameSessions(t, reader, r.memory)
	must(t, reader.Close())
	again := open(t, r.path)
	sameSessions(t, again, r.memory)
	must(t, again.Append(t.Context(), record.Batch{Entries: []record.Entry{{Session: tape.Session{N: 2, State: tape.Open}}}}))
	must(t, again.Close())
	clean(t, r.path)
}
