package boltstore_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/record/boltstore"
	"github.com/wstape/wstape/record/storetest"
	"github.com/wstape/wstape/tape"
)

// operatorKey is the same for the same letter.
func operatorKey(t testing.TB, letter string) *record.Key {
	t.Helper()
	k, err := record.ParseKey([]byte(strings.Repeat(letter, record.KeyBytes)))
	must(t, err)
	return k
}

func openLocked(t testing.TB, path string) *boltstore.Store {
	t.Helper()
	s, err := boltstore.Open(path, boltstore.WithKey(operatorKey(t, "k")))
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestBoltIsAStoreWhenItIsEncrypted(t *testing.T) {
	storetest.Run(t, func(t *testing.T) record.Store { return openLocked(t, filepath.Join(t.TempDir(), "t.db")) })
}

// secrets are in everything that a tape keeps.
const secret = "hunter2-is-the-secret"

// lockedTape records on an encrypted tape, and crashes on the way.
func lockedTape(t *testing.T) *recording {
	t.Helper()
	path := filepath.Join(t.TempDir(), "t.db")
	w := tee{openLocked(t, path), record.NewMemory()}
	w.SetSizes(4<<10, 12<<10)
	r := &recording{t: t, path: path, tee: w, recorder: record.NewRecorder(w, record.Options{})}
	t.Cleanup(func() { _ = r.recorder.Close() })
	random := random(t)
	for i := range 5 {
		tap, err := r.recorder.Begin(tape.Session{URL: "/" + secret, Client: secret, Handshake: tape.Handshake{Request: tape.Request{
			Method: "GET", Target: "/" + secret, Headers: []tape.Header{{"X-Plain", secret}},
		}}})
		must(t, err)
		tap.Answered("ws://"+secret+"/", 101, secret, []string{"permessage-deflate"}, tape.Response{Status: 101})
		for range 20 {
			say(tap, tape.Client, secret+chatter(random, random.IntN(2000)))
			tap.Note(secret, secret)
		}
		deflated := wire.AppendMasked(nil, []byte(secret), 0, 0)
		tap.Parts(tape.Server, tape.LegBoth, []tape.Part{{Begin: true, Head: 0x82, Len: uint64(len(deflated)), Payload: deflated}})
		if i < 3 {
			tap.End(tape.Ending{Kind: tape.EndClose, Code: 1000, Reason: secret})
		}
		r.flush()
	}
	for n := range uint64(3) {
		must(t, r.SetLabel(context.Background(), n+1, record.Label{Tags: map[string]string{secret: secret}, Notes: []string{secret}}))
	}
	must(t, w.Store.Append(context.Background(), record.Batch{Windows: []record.Window{{Session: 4, From: tape.Client, Offset: 1, Bytes: []byte(secret)}}}))
	return r
}

// TestAnEncryptedTapeShowsNothing but magic, version and numbers, crashed or closed.
func TestAnEncryptedTapeShowsNothing(t *testing.T) {
	r := lockedTape(t)
	crashed := r.copyTo(filepath.Join(t.TempDir(), "crashed.db"))
	must(t, r.Store.Close())
	for _, path := range []string{crashed, r.path} {
		data, err := os.ReadFile(path)
		must(t, err)
		for _, word := range []string{secret, "permessage", "text", "GET", "closed", "interrupted", "url"} {
			if bytes.Contains(data, []byte(word)) {
				t.Errorf("%s is in the file %s", word, filepath.Base(path))
			}
		}
		// What is packed shows nothing either.
		plain := record.NewSealer()
		for _, v := range values(t, path) {
			body, err := plain.Open(append([]byte(v.bucket), v.key...), v.value)
			if err == nil && string(v.key) != "lock" {
				t.Errorf("%s %x is not encrypted: %.60q", v.bucket, v.key, body)
			}
		}
		if _, err := boltstore.OpenReader(path, time.Second); !errors.Is(err, record.ErrLocked) {
			t.Errorf("without a key: %v", err)
		}
		if _, err := boltstore.Open(path); !errors.Is(err, record.ErrLocked) {
			t.Errorf("without a key: %v", err)
		}
		if _, err := boltstore.OpenReader(path, time.Second, boltstore.WithKey(operatorKey(t, "x"))); !errors.Is(err, record.ErrWrongKey) {
			t.Errorf("with another key: %v", err)
		}
		after, err := os.ReadFile(path)
		must(t, err)
		if !bytes.Equal(after, data) {
			t.Error("being refused has changed the file")
		}
		for _, again := range []bool{false, true} {
			reader, err := boltstore.OpenReader(path, time.Second, boltstore.WithKey(operatorKey(t, "k")))
			must(t, err)
			sameSessions(t, reader, r.memory)
			must(t, reader.Close())
			if !again {
				must(t, openLocked(t, path).Close()) // recovers it
			}
		}
	}
}

// TestAnEncryptedTapeIsCheckedWithoutItsKey as far as its checksums go.
func TestAnEncryptedTapeIsCheckedWithoutItsKey(t *testing.T) {
	r := lockedTape(t)
	must(t, r.Store.Close())
	key := boltstore.WithKey(operatorKey(t, "k"))
	whole, err := boltstore.Check(context.Background(), r.path, nil, key)
	must(t, err)
	blind, err := boltstore.Check(context.Background(), r.path, nil)
	must(t, err)
	if len(whole.Problems)+len(blind.Problems) > 0 || whole.Locked || !blind.Locked || whole.Frames == 0 ||
		blind.Sessions != whole.Sessions || blind.Blocks != whole.Blocks {
		t.Errorf("with the key %+v, without %+v", whole, blind)
	}
	for _, v := range values(t, r.path) {
		if v.bucket == "open" || v.bucket == "wstape" && (string(v.key) == "magic" || string(v.key) == "version") {
			continue
		}
		v.put(t, r.path, v.flipped(len(v.value)-1, 1))
		report, err := boltstore.Check(context.Background(), r.path, nil)
		if err != nil || len(report.Problems) != 1 || !strings.Contains(report.Problems[0], fmt.Sprintf("%s %x", v.bucket, v.key)) {
			t.Errorf("%s %x is damaged, check says %v %+v", v.bucket, v.key, err, report)
		}
		v.put(t, r.path, v.value)
	}
}

// TestAnEncryptedTapeCannotBeForged by somebody who can write to the file and
// computes checksums.
func TestAnEncryptedTapeCannotBeForged(t *testing.T) {
	r := lockedTape(t)
	must(t, r.Store.Close())
	all := values(t, r.path)
	of := func(bucket string) (out []stored) {
		for _, v := range all {
			if v.bucket == bucket {
				out = append(out, v)
			}
		}
		return out
	}
	found := func() []string {
		report, err := boltstore.Check(context.Background(), r.path, nil, boltstore.WithKey(operatorKey(t, "k")))
		must(t, err)
		return report.Problems
	}
	sign := func(v *stored, b []byte) []byte {
		b = slices.Clone(b)
		table := crc32.MakeTable(crc32.Castagnoli)
		sum := crc32.Checksum(append([]byte(v.bucket), v.key...), table)
		sum = crc32.Update(crc32.Update(sum, table, b[:2]), table, b[6:])
		binary.BigEndian.PutUint32(b[2:], sum)
		return b
	}
	for _, bucket := range []string{"blocks", "index", "sessions", "labels", "windows"} {
		vs := of(bucket)
		v := &vs[0]
		lies := map[string][]byte{
			"not encrypted": record.NewSealer().Seal(append([]byte(bucket), v.key...), []byte("{}"), record.Plain),
			"changed":       sign(v, v.flipped(len(v.value)-1, 1)),
		}
		if len(vs) > 1 {
			lies["another's"] = sign(v, vs[1].value)
		}
		for name, lie := range lies {
			if sums, err := boltstore.Check(context.Background(), r.path, nil); err != nil || len(sums.Problems) > 0 {
				t.Fatalf("before: %v %v", err, sums.Problems)
			}
			v.put(t, r.path, lie)
			if problems := found(); len(problems) == 0 {
				t.Errorf("%s: a value that is %s is believed", bucket, name)
			}
			v.put(t, r.path, v.value)
		}
	}
}

func TestAKeyForATapeThatIsNotEncrypted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.db")
	must(t, open(t, path).Close())
	key := boltstore.WithKey(operatorKey(t, "k"))
	if _, err := boltstore.Open(path, key); !errors.Is(err, boltstore.ErrNotLocked) {
		t.Errorf("to write: %v", err)
	}
	s, err := boltstore.OpenReader(path, time.Second, key) // it is read as it is
	must(t, err)
	must(t, s.Close())
	data, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Contains(data, []byte("version\x00\x01")) {
		t.Error("a tape that is not encrypted is one that older programs cannot read")
	}
}
