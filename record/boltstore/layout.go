package boltstore

import (
	"encoding/binary"
	"encoding/json"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// Magic and Version stand in the bucket "wstape" of every tape. A tape of a
// higher version is refused; docs/format.md says what each version means.
const (
	Magic     = "wstape tape\n"
	Version   = 2
	readable  = 1 // the version of a tape that is not encrypted
	encrypted = 2
)

// A bucket and its keys; numbers are big endian, so that keys sort by them.
type bucket string

const (
	meta     bucket = "wstape"   // "magic", "version" (uint16), "lock" (of an encrypted tape), "key" (32 bytes), "last" (uint64)
	sessions bucket = "sessions" // session → size of its stream, session as JSON
	open     bucket = "open"     // session → nothing: those that were open when last written
	labels   bucket = "labels"   // session → JSON
	index    bucket = "index"    // session, offset → number of the block that begins there
	recent   bucket = "recent"   // running number → what one write adds to the index, until it is in there
	blocks   bucket = "blocks"   // running number → one segment
	tails    bucket = "tails"    // running number → segments of many sessions
	windows  bucket = "windows"  // session, side, offset → at most 32 KiB of plain bytes
)

func buckets() []bucket {
	return []bucket{meta, sessions, open, labels, index, recent, blocks, tails, windows}
}

func (b bucket) in(tx *bbolt.Tx) *bbolt.Bucket { return tx.Bucket([]byte(b)) }

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func blockKey(n, offset uint64) []byte { return binary.BigEndian.AppendUint64(number(n), offset) }

func windowKey(n uint64, from tape.Side, offset uint64) []byte {
	return binary.BigEndian.AppendUint64(append(number(n), byte(from)), offset)
}

// maxKey is more than any key has.
const maxKey = 32

// value is something on its way into a bucket.
type value struct {
	in         bucket
	key, bytes []byte
}

// place is what a value is bound to.
func place(in bucket, key []byte) []byte { return append([]byte(in), key...) }

// seal packs a body for its place; it is bound to bucket and key.
func (s *Store) seal(in bucket, key, body []byte, codec record.Codec) value {
	return value{in, key, s.sealer.Seal(place(in, key), body, codec)}
}

// open checks and unpacks what seal packed.
func (s *Store) open(in bucket, key, sealed []byte) ([]byte, error) {
	if len(key) > maxKey { // where a page is damaged, bbolt hands out what lies there
		return nil, fmt.Errorf("%s %x…: %w: a key of %d bytes", in, key[:maxKey], record.ErrCorrupt, len(key))
	}
	body, err := s.sealer.Open(append([]byte(in), key...), sealed)
	if err != nil {
		return nil, fmt.Errorf("%s %x: %w", in, key, err)
	}
	return body, nil
}

func (s *Store) sealEntry(e *record.Entry) (value, error) {
	bare := e.Session
	bare.Notes = nil // kept in labels
	text, err := bare.MarshalFull()
	if err != nil {
		return value{}, err
	}
	body := append(binary.AppendUvarint(nil, e.Size), text...)
	return s.seal(sessions, number(e.N), body, record.S2), nil
}

func (s *Store) openEntry(key, sealed []byte) (e record.Entry, err error) {
	body, err := s.open(sessions, key, sealed)
	if err != nil {
		return e, err
	}
	size, n := binary.Uvarint(body)
	if n <= 0 {
		return e, fmt.Errorf("sessions %x: %w", key, record.ErrCorrupt)
	}
	e.Size = size
	if err := json.Unmarshal(body[n:], &e.Session); err != nil {
		return e, fmt.Errorf("sessions %x: %w: %w", key, record.ErrCorrupt, err)
	}
	return e, nil
}
