package cli

import (
	"errors"
	"io"
	"os"
	"runtime"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/record/boltstore"
)

// maxKeyFile bounds what is read of a key file: age allows several keys and
// comments in one.
const maxKeyFile = 64 << 10

// readKey reads the operator's key from a file, which nobody else may read. No
// file is no key.
func readKey(path string) (*record.Key, error) {
	if path == "" {
		return nil, nil
	}
	// Looked at before it is opened, because a pipe would be waited for, and read once only.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fail(exitUsage, "the tape's key %s is not a file: it is read anew for each look at the tape, so put it into one (mode 600)", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fail(exitReach, "read the tape's key: %v", err) // as text, lest it be the tape that is missed
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fail(exitReach, "read the tape's key %s: %w", path, err)
	}
	if mode := info.Mode(); mode.Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fail(exitUsage, "the tape's key %s may be read by others (mode %v): chmod 600 %s", path, mode.Perm(), path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err == nil && len(text) > maxKeyFile {
		err = errors.New("it is too long to be one")
	}
	if err != nil {
		return nil, fail(exitReach, "read the tape's key %s: %w", path, err)
	}
	key, err := record.ParseKey(text)
	if err != nil {
		return nil, fail(exitUsage, "the tape's key %s: %w", path, err)
	}
	return key, nil
}

// explainKey adds the next step to an error about a tape's key.
func explainKey(err error, keyFile string) error {
	switch {
	case errors.Is(err, record.ErrLocked):
		return fail(exitReach, "%w; give its key with --key-file FILE or WSTAPE_RECORD_KEY_FILE", err)
	case errors.Is(err, record.ErrWrongKey):
		return fail(exitReach, "%w; is %s the key that it was recorded with?", err, keyFile)
	case errors.Is(err, boltstore.ErrNotLocked):
		return fail(exitReach, "%w, so what is written to it could be read by anybody; record to a new tape with --tape, or leave out the key", err)
	}
	return err
}
