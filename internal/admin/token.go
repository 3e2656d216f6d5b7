package admin

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"
)

// The bounds of a token, in bytes.
const (
	minToken = 16
	maxToken = 1 << 10
)

// ReadToken reads the token that those who use the admin side must know. A file
// that others may read is refused.
func ReadToken(path string) (string, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() { // before it is opened: a pipe would be waited for
		return "", fmt.Errorf("read the token: %s is not a file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", fmt.Errorf("read the token: %w", err)
	case info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows":
		return "", fmt.Errorf("read the token: others may read %s too (mode %04o): chmod 600 %[1]s", path, info.Mode().Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	token := strings.TrimSpace(string(text))
	switch {
	case len(token) < minToken || len(token) > maxToken:
		return "", fmt.Errorf("read the token: %s holds %d bytes, and %d to %d are wanted", path, len(token), minToken, maxToken)
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", fmt.Errorf("read the token: %s holds more than one word of ASCII letters, digits and signs", path)
	}
	return token, nil
}

// KeepToken reads the token from a file, which it makes, with a new token and for
// the owner's eyes only, if it is not there.
func KeepToken(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist):
		return ReadToken(path)
	case err != nil:
		return "", fmt.Errorf("make the token: %w", err)
	}
	_, err = fmt.Fprintln(f, rand.Text())
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(path) // half a token would be refused for ever
		return "", fmt.Errorf("make the token: %w", err)
	}
	return ReadToken(path)
}
