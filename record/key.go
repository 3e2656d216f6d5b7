package record

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"golang.org/x/crypto/chacha20poly1305"
)

// ErrLocked means that a tape is encrypted and its key is not known.
var ErrLocked = errors.New("the tape is encrypted")

// ErrWrongKey means that a key is not the one that a tape was made with.
var ErrWrongKey = errors.New("the key is not this tape's")

// KeyBytes is the length of a key that is just bytes.
const KeyBytes = 32

// Key is the operator's key. It does not encrypt the tape itself but the tape's
// own key, which is made of random bytes when the tape is. Safe for concurrent use.
type Key struct {
	identities []age.Identity // X25519; none for a key of plain bytes
	recipients []age.Recipient
	plain      cipher.AEAD
}

// ParseKey reads the text of a key file: what age-keygen writes (X25519), 64
// hexadecimal digits, or 32 bytes as they are.
func ParseKey(text []byte) (*Key, error) {
	if len(text) == KeyBytes {
		return plainKey(text)
	}
	trimmed := strings.TrimSpace(string(text))
	if key, err := hex.DecodeString(trimmed); err == nil && len(key) == KeyBytes {
		return plainKey(key)
	}
	if !strings.Contains(trimmed, "AGE-SECRET-KEY-1") {
		if strings.Contains(trimmed, "age1") {
			return nil, errors.New("it holds age's public key; the tape is read as well as written, which takes the secret one (AGE-SECRET-KEY-1…)")
		}
		return nil, errors.New("it holds neither a secret key of age (AGE-SECRET-KEY-1…, as age-keygen writes it) nor 64 hexadecimal digits nor 32 bytes")
	}
	identities, err := age.ParseIdentities(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("read age's secret key: %w", err)
	}
	k := &Key{identities: identities}
	for _, id := range identities {
		x, ok := id.(*age.X25519Identity)
		if !ok {
			return nil, errors.New("it holds a secret key of age that is not X25519")
		}
		k.recipients = append(k.recipients, x.Recipient())
	}
	return k, nil
}

func plainKey(key []byte) (*Key, error) {
	aead, err := chacha20poly1305.NewX(key)
	return &Key{plain: aead}, err
}

// How a tape's own key is wrapped.
const (
	wrappedByAge   = 1
	wrappedByBytes = 2
)

// wrapPlace binds a wrapped key to what it is.
const wrapPlace = "wstape tape key"

// Wrap encrypts a tape's own key for the tape to hold.
func (k *Key) Wrap(own []byte) ([]byte, error) {
	if k.plain != nil {
		return append([]byte{wrappedByBytes}, encrypt(k.plain, nil, []byte(wrapPlace), own)...), nil
	}
	out := bytes.NewBuffer([]byte{wrappedByAge})
	w, err := age.Encrypt(out, k.recipients...)
	if err != nil {
		return nil, err
	}
	_, err = w.Write(own)
	err = errors.Join(err, w.Close())
	return out.Bytes(), err
}

// Unwrap is the inverse of Wrap; ErrWrongKey if this is not the key.
func (k *Key) Unwrap(wrapped []byte) ([]byte, error) {
	switch {
	case len(wrapped) == 0:
		return nil, fmt.Errorf("%w: the tape's key is empty", ErrCorrupt)
	case wrapped[0] == wrappedByAge && k.plain == nil:
		r, err := age.Decrypt(bytes.NewReader(wrapped[1:]), k.identities...)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrWrongKey, err)
		}
		own, err := io.ReadAll(io.LimitReader(r, KeyBytes+1))
		if err != nil || len(own) != KeyBytes {
			return nil, fmt.Errorf("%w: the tape's key has %d bytes: %v", ErrCorrupt, len(own), err)
		}
		return own, nil
	case wrapped[0] == wrappedByAge:
		return nil, fmt.Errorf("%w: it was made with a key of age", ErrWrongKey)
	case wrapped[0] == wrappedByBytes && k.plain != nil:
		own, err := decrypt(k.plain, []byte(wrapPlace), wrapped[1:])
		if err != nil || len(own) != KeyBytes {
			return nil, ErrWrongKey
		}
		return own, nil
	case wrapped[0] == wrappedByBytes:
		return nil, fmt.Errorf("%w: it was made with a key of %d bytes", ErrWrongKey, KeyBytes)
	}
	return nil, fmt.Errorf("%w: a key wrapped in way %d is not known here", ErrVersion, wrapped[0])
}

// encrypt appends a fresh nonce and the encrypted text to dst, which may be
// where the text lies but for the nonce before it.
func encrypt(a cipher.AEAD, dst, place, text []byte) []byte {
	nonce := make([]byte, a.NonceSize())
	_, _ = rand.Read(nonce) // never fails
	return a.Seal(append(dst, nonce...), nonce, text, place)
}

func decrypt(a cipher.AEAD, place, b []byte) ([]byte, error) {
	if len(b) < a.NonceSize()+a.Overhead() {
		return nil, fmt.Errorf("%d bytes are too short to be encrypted", len(b))
	}
	n := a.NonceSize()
	return a.Open(nil, b[:n], b[n:], place)
}
