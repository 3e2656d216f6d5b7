package boltstore_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/record/boltstore"
	"github.com/wstape/wstape/tape"
)

// stored is one value of a tape.
type stored struct {
	bucket     string
	key, value []byte
}

// values lists every value of a tape.
func values(t testing.TB, path string) (out []stored) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	must(t, err)
	defer db.Close()
	must(t, db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			return b.ForEach(func(k, v []byte) error {
				out = append(out, stored{string(name), bytes.Clone(k), bytes.Clone(v)})
				return nil
			})
		})
	}))
	return out
}

// flipped is the value with one bit changed.
func (v *stored) flipped(i int, bit byte) []byte {
	out := bytes.Clone(v.value)
	out[i] ^= bit
	return out
}

// put changes a value and nothing else.
func (v *stored) put(t testing.TB, path string, value []byte) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true})
	must(t, err)
	defer db.Close()
	must(t, db.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte(v.bucket)).Put(v.key, value) }))
}

// spoil flips a bit of the n-th value of a bucket.
func spoil(t testing.TB, path, bucket string, n int) {
	t.Helper()
	for _, v := range values(t, path) {
		if v.bucket != bucket {
			continue
		}
		if n--; n < 0 {
			v.put(t, path, v.flipped(len(v.value)/2, 1))
			return
		}
	}
	t.Fatalf("bucket %s has no such value", bucket)
}

// flip flips a bit of the file.
func flip(t testing.TB, path string, at int64, bit byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	must(t, err)
	_, err = f.WriteAt([]byte{b[0] ^ bit}, at)
	must(t, err)
}

// damaged is a tape to be damaged: three sessions that have ended, in several
// blocks each, and one that a crash interrupted, in tails.
func damaged(t testing.TB) (path string, r *recording) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	r = newRecording(t, 300, 64<<10)
	for range 3 {
		tap := r.begin()
		for range 4 {
			say(tap, tape.Client, chatter(random, 120))
			say(tap, tape.Server, chatter(random, 50))
			r.flush()
		}
		tap.End(tape.Ending{Kind: tape.EndEOF})
	}
	last := r.begin()
	r.flush()
	for range 3 {
		say(last, tape.Client, chatter(random, 60))
		r.flush()
	}
	must(t, r.SetLabel(context.Background(), 2, record.Label{Notes: []string{"a note"}}))
	must(t, r.Store.Append(context.Background(), record.Batch{Windows: []record.Window{
		{Session: 4, Offset: 10, Bytes: []byte("what was said")},
	}}))
	return r.copyTo(filepath.Join(t.TempDir(), "damaged.db")), r
}

func TestCheckReportsEveryFlippedBitOfEveryValue(t *testing.T) {
	path, _ := damaged(t)
	clean(t, path)
	random := random(t)
	seen := map[string]bool{}
	step := 1
	if testing.Short() {
		step = 7
	}
	for _, v := range values(t, path) {
		seen[v.bucket] = true
		for i := 0; i < len(v.value); i += step {
			bit := byte(1) << random.IntN(8)
			v.put(t, path, v.flipped(i, bit))
			report, err := boltstore.Check(context.Background(), path, nil)
			if err == nil && len(report.Problems) == 0 {
				t.Errorf("%s %x: bit %#x of byte %d of %d is not missed", v.bucket, v.key, bit, i, len(v.value))
			}
		}
		v.put(t, path, v.value)
	}
	for _, bucket := range []string{"wstape", "sessions", "index", "recent", "blocks", "tails", "labels", "windows"} {
		if !seen[bucket] {
			t.Errorf("the tape has nothing in %s", bucket)
		}
	}
	clean(t, path)
}

func TestDamageStaysWithItsSession(t *testing.T) {
	path, r := damaged(t)
	owner := owners(t, path)
	for _, v := range values(t, path) {
		if v.bucket == "wstape" || v.bucket == "tails" || v.bucket == "recent" || len(v.value) == 0 {
			continue
		}
		v.put(t, path, v.flipped(len(v.value)-1, 0x10))
		reader, err := boltstore.OpenReader(path, time.Second)
		must(t, err)
		for n := uint64(1); n <= 4; n++ {
			switch {
			case n != owner(v) || v.bucket == "labels" || v.bucket == "windows":
				if got, want := lines(t, reader, n), lines(t, r.memory, n); !slices.Equal(got, want) {
					t.Errorf("%s %x is damaged, and session %d has the lines %s", v.bucket, v.key, n, got)
				}
			case v.bucket == "sessions":
				if _, err := reader.Session(context.Background(), n); !errors.Is(err, record.ErrCorrupt) {
					t.Errorf("session %d is damaged: %v", n, err)
				}
			default:
				oneGap(t, lines(t, reader, n), lines(t, r.memory, n))
			}
		}
		must(t, reader.Close())
		v.put(t, path, v.value)
	}
}

// A damaged list of recent blocks harms nobody: the blocks say whose they are.
func TestDamagedRecentIsReadFromTheBlocks(t *testing.T) {
	path, r := damaged(t)
	for _, v := range values(t, path) {
		if v.bucket != "recent" {
			continue
		}
		v.put(t, path, v.flipped(len(v.value)-1, 0x10))
		reader, err := boltstore.OpenReader(path, time.Second)
		must(t, err)
		sameSessions(t, reader, r.memory)
		must(t, reader.Close())
		v.put(t, path, v.value)
	}
}

// owners tells which session a value belongs to.
func owners(t *testing.T, path string) func(stored) uint64 {
	blocks := map[string]uint64{}
	for _, v := range values(t, path) {
		if v.bucket == "blocks" {
			body, err := record.NewSealer().Open(append([]byte("blocks"), v.key...), v.value)
			must(t, err)
			segments, err := record.ParseTail(body)
			must(t, err)
			blocks[string(v.key)] = segments[0].Session
		}
	}
	return func(v stored) uint64 {
		if v.bucket == "blocks" {
			return blocks[string(v.key)]
		}
		return binary.BigEndian.Uint64(v.key)
	}
}

// oneGap checks that a gap stands where lines are missing, and no others are.
func oneGap(t *testing.T, got, want []string) {
	t.Helper()
	at := slices.IndexFunc(got, func(line string) bool { return strings.HasPrefix(line, `{"gap":`) })
	if at < 0 {
		t.Fatalf("no gap in %s", got)
	}
	before, after := got[:at], got[at+1:]
	if len(before)+len(after) == 0 || len(before)+len(after) >= len(want) {
		t.Fatalf("%d lines and a gap, of %d lines", len(got)-1, len(want))
	}
	if !slices.Equal(before, want[:at]) || !slices.Equal(after, want[len(want)-len(after):]) {
		t.Errorf("around the gap:\n got %s\nwant %s", got, want)
	}
	frames := fmt.Sprintf(`{"frames":%d,`, len(want)-len(before)-len(after))
	if !strings.Contains(got[at], frames) {
		t.Errorf("gap %s, want %s", got[at], frames)
	}
}

// A flip anywhere in the file, free pages included, is reported or does not
// matter; it never brings the program down.
func TestFlippedBitsAnywhereAreReportedOrHarmless(t *testing.T) {
	path, r := damaged(t)
	random := random(t)
	info, err := os.Stat(path)
	must(t, err)
	flips := 800
	if testing.Short() {
		flips = 200
	}
	for range flips {
		at, bit := random.Int64N(info.Size()), byte(1)<<random.IntN(8)
		flip(t, path, at, bit)
		report, err := boltstore.Check(context.Background(), path, nil)
		if err == nil && len(report.Problems) == 0 {
			reader, err := boltstore.OpenReader(path, time.Second)
			must(t, err)
			sameSessions(t, reader, r.memory)
			must(t, reader.Close())
			if t.Failed() {
				t.Fatalf("bit %#x of byte %d", bit, at)
			}
		}
		flip(t, path, at, bit)
	}
}

func TestWriterSurvivesFlippedBits(t *testing.T) {
	path, _ := damaged(t)
	whole, err := os.ReadFile(path)
	must(t, err)
	random := random(t)
	for range 100 {
		must(t, os.WriteFile(path, whole, 0o600))
		flip(t, path, random.Int64N(int64(len(whole))), byte(1)<<random.IntN(8))
		s, err := boltstore.OpenPatient(path)
		if err != nil {
			continue
		}
		if n, err := s.Begin(context.Background()); err == nil && n < 5 {
			t.Errorf("the next session is %d: numbers are not used again", n)
		}
		_, _ = s.Check(context.Background(), nil)
		_ = s.Close()
	}
}

func TestTruncatedFileIsRefusedOrWhole(t *testing.T) {
	path, r := damaged(t)
	whole, err := os.ReadFile(path)
	must(t, err)
	for size := 0; size < len(whole); size += 512 {
		must(t, os.WriteFile(path, whole[:size], 0o600))
		reader, err := boltstore.OpenReader(path, time.Second)
		if err == nil {
			sameSessions(t, reader, r.memory)
			must(t, reader.Close())
			clean(t, path)
			continue
		}
		if !errors.Is(err, record.ErrCorrupt) && !errors.Is(err, record.ErrNotATape) {
			t.Errorf("%d of %d bytes: %v", size, len(whole), err)
		}
	}
}
