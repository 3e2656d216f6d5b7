package boltstore_test

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// BenchmarkFlush appends what a busy proxy says in 50 ms: 100 sessions with a
// few kilobytes each.
func BenchmarkFlush(b *testing.B) {
	const sessions, size = 100, 4 << 10
	ctx := context.Background()
	s := open(b, filepath.Join(b.TempDir(), "t.db"))
	r := rand.New(rand.NewPCG(1, 2))
	var batch record.Batch
	for range sessions {
		n, err := s.Begin(ctx)
		must(b, err)
		batch.Entries = append(batch.Entries, record.Entry{Session: tape.Session{N: n, State: tape.Open}})
		batch.Segments = append(batch.Segments, record.Segment{Session: n, Seq: 1, Raw: []byte(chatter(r, size))})
	}
	b.ReportAllocs()
	b.SetBytes(sessions * size)
	for b.Loop() {
		must(b, s.Append(ctx, batch))
		for i := range batch.Segments {
			batch.Segments[i].Offset += size
			batch.Entries[i].Size += size
		}
	}
}
