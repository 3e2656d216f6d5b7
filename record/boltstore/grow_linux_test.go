package boltstore

import (
	"bytes"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// TestWritingWaitsForNoReader has a tape grow while somebody reads it for long, as
// check does.
func TestWritingWaitsForNoReader(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "t.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	tx, err := s.begin()
	if err != nil {
		t.Fatal(err)
	}
	n, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	noise := bytes.Repeat([]byte{0}, 1<<20)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	written := make(chan error)
	go func() {
		var err error
		e := record.Entry{Session: tape.Session{N: n, State: tape.Open}}
		for i := uint64(0); i < 64 && err == nil; i++ {
			seg := record.Segment{Session: n, Offset: i << 20, Seq: i + 1, Raw: noise}
			e.Size = seg.End()
			err = s.Append(t.Context(), record.Batch{Entries: []record.Entry{e}, Segments: []record.Segment{seg}})
		}
		written <- err
	}()
	if err := <-written; err != nil { // while tx is open
		t.Error(err)
	}
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}
}
