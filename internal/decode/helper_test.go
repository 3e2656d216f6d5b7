package decode

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

func says(from tape.Side, op tape.Opcode, payload string) *tape.Message {
	return &tape.Message{From: from, Content: tape.Content{Op: op, Payload: []byte(payload), Len: uint64(len(payload))}}
}

func client(payload string) *tape.Message { return says(tape.Client, tape.Text, payload) }
func server(payload string) *tape.Message { return says(tape.Server, tape.Text, payload) }

// recorded is a session of a cassette.
type recorded struct {
	hint     Hint
	messages []*tape.Message // text and binary
}

// captured reads a cassette.
func captured(t testing.TB, file string) []recorded {
	t.Helper()
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	ctx, store := context.Background(), record.NewMemory()
	numbers, err := record.ReadCassette(ctx, in, store)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	var all []recorded
	for _, n := range numbers {
		entry, err := store.Session(ctx, n)
		if err != nil {
			t.Fatal(err)
		}
		r := recorded{hint: Hint{Subprotocol: entry.Subprotocol, Target: entry.URL}}
		for line, err := range record.Lines(ctx, store, n, record.ReadOptions{}) {
			if err != nil {
				t.Fatal(err)
			}
			if m := line.Message; m != nil && !m.Op.Control() {
				r.messages = append(r.messages, m)
			}
		}
		all = append(all, r)
	}
	return all
}

// cassettes names the captured cassettes, without their ending.
func cassettes(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.cassette.jsonl")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cassettes: %v", err)
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(f, ".cassette.jsonl")
	}
	return files
}

func open(t testing.TB, name string, h Hint) Decoder {
	t.Helper()
	d, err := Open(name, h)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Sniff sniffs with the table.
func Sniff(h Hint, first []*tape.Message) Protocol {
	p, _ := sniff(Protocols(), h, first)
	return p
}
