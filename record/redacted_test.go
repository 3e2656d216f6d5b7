package record

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/wstape/wstape/tape"
)

// TestCopiesWithoutSecrets: what is read through Redacted, and what is written
// through Redacting, is what a recorder with the same rules had written.
func TestCopiesWithoutSecrets(t *testing.T) {
	r := random(t)
	for range 20 {
		seed := r.Uint64()
		redact := payloads(t, secretRules(t))
		plain, clean := NewMemory(), NewMemory()
		for m, o := range map[*Memory]Options{plain: {now: ticking()}, clean: {now: ticking(), Redactor: redact}} {
			rec := NewRecorder(m, o)
			tap := begin(t, rec, deflateTakeover)
			converse(t, tap, rand.New(rand.NewPCG(seed, 2)), deflateTakeover)
			tap.End(tape.Ending{Kind: tape.EndClose, Reason: "sk_r"})
			must(t, rec.Close())
		}
		copied := Redacted(plain, redact)
		want := lines(t, clean, ReadOptions{})
		for range 2 { // a copy may be read again
			equal(t, lines(t, copied, ReadOptions{}), want)
		}
		var frames [2][]string
		for i, from := range []Reader{clean, copied} {
			for f, err := range Frames(t.Context(), from, 1, ReadOptions{}) {
				must(t, err)
				frames[i] = append(frames[i], asJSON(t, f))
			}
		}
		equal(t, frames[1], frames[0])
		text := cassette(t, copied, 1)
		if strings.Contains(text, "sk_") || !strings.Contains(text, `"redacted":true`) {
			t.Errorf("seed %d: a secret is in the cassette", seed)
		}

		into := NewMemory()
		_, err := ReadCassette(t.Context(), strings.NewReader(cassette(t, plain, 1)), Redacting(into, redact))
		must(t, err)
		if bytes.Contains(stored(t, into), []byte("sk_")) {
			t.Errorf("seed %d: a secret was imported", seed)
		}
		var got []string
		want = nil
		for line, err := range Lines(t.Context(), into, 1, ReadOptions{}) {
			must(t, err)
			got = append(got, spoken(line))
		}
		for line, err := range Lines(t.Context(), plain, 1, ReadOptions{}) {
			must(t, err)
			want = append(want, spoken(redact.Line(line)))
		}
		slices.Sort(got)
		slices.Sort(want)
		equal(t, got, want)
		if t.Failed() {
			t.Fatalf("session of seed %d", seed)
		}
	}
}

// spoken is what a line says, without what a cassette has no word for.
func spoken(l *tape.Line) string {
	if l.Message == nil {
		return brief(l)
	}
	m := tape.Message{Content: l.Message.Content, From: l.Message.From, Fate: l.Message.Fate, By: l.Message.By, Received: l.Message.Received}
	return brief(&tape.Line{Message: &m})
}

// TestCopyOfADamagedTape: the hole is in the copy, too.
func TestCopyOfADamagedTape(t *testing.T) {
	w := newWriter(t)
	w.send(client, whole(text, "one sk_a"))
	w.cut()
	w.send(client, whole(text, "two sk_b"))
	w.cut()
	w.send(client, whole(text, "three sk_c"))
	w.cut()
	m := w.store("", tape.Closed, w.done[0], w.done[2])
	copied := Redacted(m, payloads(t, secretRules(t)))
	got := lines(t, copied, ReadOptions{})
	if len(got) != 3 || !strings.Contains(got[1], "damaged") || !strings.HasPrefix(stars(got[2]), `3 client text "three *"`) {
		t.Errorf("%q", got)
	}
	// Without rules for messages, messages stay as they are.
	plain, err := NewRedactor([]byte("key"), Rules{Headers: []string{"cookie"}})
	must(t, err)
	equal(t, lines(t, Redacted(m, plain), ReadOptions{}), lines(t, m, ReadOptions{}))
}
