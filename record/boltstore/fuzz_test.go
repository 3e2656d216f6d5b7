package boltstore_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/record/boltstore"
	"github.com/wstape/wstape/tape"
)

// tapePage is the size of the pages of the tape that is fuzzed.
const tapePage = 4096

// FuzzTape changes bytes of a tape, by a list of edits: position (4 bytes, from
// the end of the file on it wraps), bytes, whose number is in the edit's first
// byte. Even edits leave the checksums wrong; odd ones put those of the two header pages and
// of the value around the position right again, so that what is behind them is
// reached. Whatever comes of it: an error, no panic, no loop, no memory without
// bound.
func FuzzTape(f *testing.F) {
	whole := smallTape(f)
	const page = uint32(tapePage)
	edit := func(at uint32, bytes ...byte) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{byte(len(bytes))<<1 | 1}, at), bytes...)
	}
	f.Add([]byte{})
	for _, field := range []uint32{16, 24, 32, 40, 48, 56, 64} { // of both header pages
		f.Add(append(edit(field, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), edit(page+field, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)...))
		f.Add(append(edit(field, 0, 0, 0, 0, 0, 0, 0, 0), edit(page+field, 0, 0, 0, 0, 0, 0, 0, 0)...))
		f.Add(append(edit(field, 2, 0, 0, 0, 0, 0, 0, 0x10), edit(page+field, 2, 0, 0, 0, 0, 0, 0, 0x10)...))
	}
	for at := 2 * page; at < uint32(len(whole)); at += page {
		f.Add(edit(at+8, 1))
		f.Add(edit(at+10, 0xff, 0xff, 0xff, 0xff, 0x7f))
		f.Add(edit(at+16, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f))
	}
	random := random(f)
	for range 50 {
		f.Add(edit(random.Uint32N(uint32(len(whole))), byte(random.Uint32()), byte(random.Uint32())))
	}
	dir := quickDir(f)
	f.Fuzz(func(t *testing.T, edits []byte) {
		file := filepath.Join(dir, "fuzz.db")
		must(t, os.WriteFile(file, edited(whole, edits), 0o600))
		defer os.Remove(file)
		ended := make(chan struct{})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		go func() {
			defer close(ended)
			use(t, file)
		}()
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			panic("it never ends")
		}
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 512<<20 {
			t.Errorf("%d bytes were allocated for a tape of %d", used, len(whole))
		}
	})
}

// smallTape is always the same tape; WSTAPE_UPDATE=1 makes another, for when the
// layout has changed.
func smallTape(f *testing.F) []byte {
	const packed = "testdata/tape.db.gz"
	if os.Getenv("WSTAPE_UPDATE") != "" {
		path, _ := damaged(f)
		data, err := os.ReadFile(path)
		must(f, err)
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, err = z.Write(data)
		must(f, errors.Join(err, z.Close(), os.MkdirAll("testdata", 0o755), os.WriteFile(packed, b.Bytes(), 0o644)))
	}
	file, err := os.Open(packed)
	must(f, err)
	defer file.Close()
	z, err := gzip.NewReader(file)
	must(f, err)
	data, err := io.ReadAll(z)
	must(f, err)
	return data
}

// use does everything with a tape that can be done.
func use(t *testing.T, path string) {
	ctx := context.Background()
	look := func(s *boltstore.Store) {
		all, _ := s.Sessions(ctx, 0)
		for _, e := range append(all, record.Entry{Session: tape.Session{N: 2}}) {
			for _, err := range record.Lines(ctx, s, e.N, record.ReadOptions{}) {
				if err != nil {
					break
				}
			}
			_, _ = s.Window(ctx, e.N, tape.Client, 1<<20)
		}
		_, _ = s.Usage(ctx)
	}
	if s, err := boltstore.OpenReader(path, boltstore.Patience); err == nil {
		look(s)
		_, _ = s.Check(ctx, nil)
		_ = s.Close()
	}
	if s, err := boltstore.OpenPatient(path); err == nil {
		look(s)
		if n, err := s.Begin(ctx); err == nil {
			_ = fat(s, n, "one more")
			_ = s.SetLabel(ctx, n, record.Label{Notes: []string{"a note"}})
		}
		_ = s.Delete(ctx, 1)
		_ = s.Delete(ctx, 2, 3)
		look(s)
		_ = s.Close()
	}
	_, _, _ = boltstore.Compact(ctx, path, nil)
	if report, err := boltstore.Check(ctx, path, nil); err == nil && report == nil {
		t.Error("no error and no report")
	}
}

// edited applies a list of edits to a tape.
func edited(whole, edits []byte) []byte {
	data := append([]byte(nil), whole...)
	repair := false
	for len(edits) >= 5 {
		n := min(int(edits[0]>>1), len(edits)-5)
		at := int(binary.BigEndian.Uint32(edits[1:]) % uint32(len(data)))
		copy(data[at:], edits[5:5+n])
		if edits[0]&1 == 1 {
			repair = true
			resign(data, whole, at)
		}
		edits = edits[5+n:]
	}
	if !repair {
		return data
	}
	for _, page := range []int{0, tapePage} {
		sum := fnv.New64a()
		sum.Write(data[page+16 : page+72])
		binary.LittleEndian.PutUint64(data[page+72:], sum.Sum64())
	}
	return data
}

// resign puts the checksum of the value right that a position in a leaf of the
// tape lies in.
func resign(data, whole []byte, at int) {
	size := tapePage
	page := at / size
	for ; page >= 2 && binary.LittleEndian.Uint64(whole[page*size:]) != uint64(page); page-- {
	}
	head := whole[page*size:]
	if page < 2 || binary.LittleEndian.Uint16(head[8:]) != 2 {
		return
	}
	for i := range int(binary.LittleEndian.Uint16(head[10:])) {
		element := head[16+i*16:]
		from := page*size + 16 + i*16 + int(binary.LittleEndian.Uint32(element[4:]))
		value := from + int(binary.LittleEndian.Uint32(element[8:]))
		end := value + int(binary.LittleEndian.Uint32(element[12:]))
		if at < value || at >= end || end-value < 6 {
			continue
		}
		for _, bucket := range []string{"wstape", "sessions", "index", "recent", "blocks", "tails", "labels", "windows"} {
			sum := func(data []byte) uint32 {
				body := slices.Concat([]byte(bucket), data[from:value], data[value:value+2], data[value+6:end])
				return crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))
			}
			if binary.BigEndian.Uint32(whole[value+2:]) == sum(whole) {
				binary.BigEndian.PutUint32(data[value+2:], sum(data))
			}
		}
	}
}
