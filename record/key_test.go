package record_test

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/wstape/wstape/record"
)

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func ageKey(t *testing.T) string {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return "# created: today\n# public key: " + id.Recipient().String() + "\n" + id.String() + "\n"
}

func parseKey(t *testing.T, text string) *record.Key {
	t.Helper()
	k, err := record.ParseKey([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeysWrapAndUnwrap(t *testing.T) {
	raw := random(record.KeyBytes)
	raw[0] = '\n' // bytes are taken as they are
	keys := map[string]string{
		"age": ageKey(t), "hexadecimal": strings.Repeat("0123456789abcdef", 4) + "\n", "bytes": string(raw),
		"another age": ageKey(t), "other bytes": string(random(record.KeyBytes)),
	}
	own := random(record.KeyBytes)
	for name, text := range keys {
		wrapped, err := parseKey(t, text).Wrap(own)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(wrapped, own) {
			t.Errorf("%s: the key is there to read", name)
		}
		for other, text := range keys {
			got, err := parseKey(t, text).Unwrap(wrapped)
			switch {
			case name == other && (err != nil || !bytes.Equal(got, own)):
				t.Errorf("%s: got %x, %v", name, got, err)
			case name != other && !errors.Is(err, record.ErrWrongKey):
				t.Errorf("%s opened with %s: %v", name, other, err)
			}
		}
	}
	if _, err := parseKey(t, keys["age"]).Unwrap([]byte{77}); !errors.Is(err, record.ErrVersion) {
		t.Errorf("wrapped in an unknown way: %v", err)
	}
}

// TestAnyOfSeveralKeysOpens what was wrapped with all of them, however their lines end.
func TestAnyOfSeveralKeysOpens(t *testing.T) {
	first, second := ageKey(t), ageKey(t)
	both := parseKey(t, strings.ReplaceAll(first+"\n"+second, "\n", "\r\n"))
	own := random(record.KeyBytes)
	wrapped, err := both.Wrap(own)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{first, second} {
		if got, err := parseKey(t, text).Unwrap(wrapped); err != nil || !bytes.Equal(got, own) {
			t.Errorf("one of them: %x, %v", got, err)
		}
		alone, err := parseKey(t, text).Wrap(own)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := both.Unwrap(alone); err != nil || !bytes.Equal(got, own) {
			t.Errorf("both, what one has wrapped: %x, %v", got, err)
		}
	}
}

func TestWhatIsNoKey(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"":                                 "holds neither",
		"password":                         "holds neither",
		strings.Repeat("ab", 31):           "holds neither",
		id.Recipient().String():            "public key",
		"AGE-SECRET-KEY-1NONSENSE":         "read age's secret key",
		"AGE-SECRET-KEY-1\n" + id.String(): "read age's secret key",
	} {
		if _, err := record.ParseKey([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

// TestSealedValuesAreEncrypted whatever their codec and however they are sealed.
func TestSealedValuesAreEncrypted(t *testing.T) {
	own := random(record.KeyBytes)
	s := sealer(t, own)
	for _, codec := range []record.Codec{record.Plain, record.Zstd, record.S2} {
		for _, body := range [][]byte{nil, []byte("secret"), bytes.Repeat([]byte("secret "), 10_000), random(1000), random(200_000)} {
			place := []byte("blocks1234")
			sealed := s.Seal(place, body, codec)
			again := s.AppendSealed([]byte("before"), place, body, codec)
			if bytes.Equal(sealed, again[6:]) {
				t.Error("the same twice")
			}
			for _, sealed := range [][]byte{sealed, again[6:]} {
				if len(body) > 0 && bytes.Contains(sealed, body[:min(len(body), 6)]) {
					t.Errorf("codec %d: the body is there to read", codec)
				}
				if err := record.Verify(place, sealed); err != nil {
					t.Error(err)
				}
				got, err := s.Open(place, sealed)
				if err != nil || !bytes.Equal(got, body) {
					t.Fatalf("codec %d, %d bytes: got %d, %v", codec, len(body), len(got), err)
				}
				if _, err := record.NewSealer().Open(place, sealed); !errors.Is(err, record.ErrLocked) {
					t.Errorf("without a key: %v", err)
				}
				if _, err := sealer(t, random(record.KeyBytes)).Open(place, sealed); !errors.Is(err, record.ErrCorrupt) {
					t.Errorf("with another key: %v", err)
				}
			}
		}
	}
}

// TestEncryptedValuesCannotBeForged by who can compute checksums.
func TestEncryptedValuesCannotBeForged(t *testing.T) {
	s := sealer(t, random(record.KeyBytes))
	place, other := []byte("blocks1"), []byte("blocks2")
	sealed := s.Seal(place, []byte("the truth"), record.Plain)
	sum := func(place, sealed []byte) []byte {
		table := crc32.MakeTable(crc32.Castagnoli)
		c := crc32.Update(crc32.Update(crc32.Checksum(place, table), table, sealed[:2]), table, sealed[6:])
		binary.BigEndian.PutUint32(sealed[2:], c)
		return sealed
	}
	if err := record.Verify(place, sum(place, bytes.Clone(sealed))); err != nil {
		t.Fatalf("this test computes another checksum: %v", err)
	}
	forged := map[string]func() ([]byte, []byte){
		"moved":         func() ([]byte, []byte) { return other, sum(other, bytes.Clone(sealed)) },
		"other codec":   func() ([]byte, []byte) { b := bytes.Clone(sealed); b[0] = 2; return place, sum(place, b) },
		"not encrypted": func() ([]byte, []byte) { return place, record.NewSealer().Seal(place, []byte("a lie"), record.Plain) },
		"cut":           func() ([]byte, []byte) { return place, sum(place, bytes.Clone(sealed[:20])) },
	}
	for i := range sealed[6:] {
		forged["changed"+string(rune('0'+i))] = func() ([]byte, []byte) { b := bytes.Clone(sealed); b[6+i] ^= 1; return place, sum(place, b) }
	}
	for name, forge := range forged {
		place, b := forge()
		if body, err := s.Open(place, b); !errors.Is(err, record.ErrCorrupt) {
			t.Errorf("%s: got %q, %v", name, body, err)
		}
	}
}

func sealer(t *testing.T, own []byte) *record.Sealer {
	t.Helper()
	s := record.NewSealer()
	if err := s.Encrypt(own); err != nil {
		t.Fatal(err)
	}
	return s
}
