package cli

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wstape/wstape/internal/filter"
	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/record/boltstore"
	"github.com/wstape/wstape/tape"
)

// babel records sessions in which one word is said in every way in which it can be.
func babel(t *testing.T, path string, rng *rand.Rand, sessions int) {
	t.Helper()
	store, err := boltstore.Open(path)
	must(t, err)
	rec := record.NewRecorder(store, record.Options{})
	for range sessions {
		tap, err := rec.Begin(tape.Session{URL: "/chat"})
		must(t, err)
		var packed bytes.Buffer
		z, _ := flate.NewWriter(&packed, 6)
		tap.Answered("", 101, "", []string{"permessage-deflate; client_no_context_takeover"}[:rng.IntN(2)], tape.Response{Status: 101})
		for range rng.IntN(60) {
			utter(rng, tap, z, &packed)
		}
		if rng.IntN(9) > 0 {
			tap.End(tape.Ending{Kind: tape.EndEOF})
		}
	}
	must(t, rec.Close())
	must(t, store.Close())
}

func utter(rng *rand.Rand, tap *record.Tap, z *flate.Writer, packed *bytes.Buffer) {
	from := tape.Side(rng.IntN(2))
	say := func() []byte {
		text := []string{`{"type":"x","n":1}`, `{"type":"y","n":2}`, `{"type":"\u0078"}`, `{"kind":"x"}`, "nothing", "the word", `["x","word"]`, ""}[rng.IntN(8)]
		return []byte(text + strings.Repeat(" ", rng.IntN(300)))
	}
	whole := func(head byte, payload []byte) []tape.Part {
		return []tape.Part{{Begin: true, Head: head, Len: uint64(len(payload)), Payload: payload}}
	}
	switch plain := say(); rng.IntN(7) {
	case 0:
		tap.Parts(from, tape.LegBoth, whole(wire.Head(true, 0, tape.Binary), append(plain, 0xff)))
	case 1: // the word falls into two frames
		cut := rng.IntN(len(plain) + 1)
		tap.Parts(from, tape.LegBoth, whole(wire.Head(false, 0, tape.Text), plain[:cut]))
		tap.Parts(from, tape.LegBoth, whole(wire.Head(true, 0, tape.Ping), []byte("word")))
		tap.Parts(from, tape.LegBoth, whole(wire.Head(true, 0, tape.Continuation), plain[cut:]))
	case 2:
		tap.Parts(from, tape.LegIn, whole(wire.Head(true, 0, tape.Text), plain))
		tap.Decided(tape.Decision{From: from, Fate: tape.Edited, By: []string{"script:a.js"}}, whole(wire.Head(true, 0, tape.Text), say()))
	case 3:
		tap.Parts(from, tape.LegBoth, whole(wire.Head(true, 0, tape.Close), append([]byte{3, 232}, plain[:min(len(plain), 100)]...)))
	case 4:
		tap.Parts(tape.Server, tape.LegBoth, whole(wire.Head(true, 4, tape.Text), deflated(z, packed, plain)))
	default:
		tap.Parts(from, tape.LegBoth, whole(wire.Head(true, 0, tape.Text), plain))
	}
}

func deflated(z *flate.Writer, packed *bytes.Buffer, plain []byte) []byte {
	packed.Reset()
	_, _ = z.Write(plain)
	_ = z.Flush()
	return bytes.Clone(bytes.TrimSuffix(packed.Bytes(), []byte("\x00\x00\xff\xff")))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// looked lists the messages of a tape for which holds says yes, one by one.
func looked(t *testing.T, path string, holds func(*tape.Session, *tape.Message) bool) (out []string) {
	t.Helper()
	store, err := boltstore.OpenReader(path, boltstore.Patience)
	must(t, err)
	defer store.Close()
	for e, err := range record.Sessions(t.Context(), store) {
		must(t, err)
		for line, err := range record.Lines(t.Context(), store, e.N, record.ReadOptions{}) {
			must(t, err)
			if m := line.Message; m != nil && holds(&e.Session, m) {
				out = append(out, fmt.Sprint(e.N, " ", m.Seq))
			}
		}
	}
	return out
}

// What search finds is what looking at each message finds.
func TestSearchFindsWhatIsThere(t *testing.T) {
	rng := wstest.Rand(t)
	path := filepath.Join(t.TempDir(), "t.db")
	babel(t, path, rng, 100)
	has := func(p []byte) bool { return bytes.Contains(p, []byte("word")) }
	wants := map[string][]string{
		"word": looked(t, path, func(_ *tape.Session, m *tape.Message) bool {
			return has(m.Payload) || m.Received != nil && has(m.Received.Payload)
		}),
	}
	for _, text := range []string{
		`json.type == "x"`, `json.type in ["x", "y"] && from == "client"`, `json.n > 1`, `text contains "word"`, `text startsWith "nothing"`,
		`op == "ping"`, `not (json.type == "x")`, `json.type == "x" || reason contains "word"`, `received contains "word"`, `view.type == "x"`,
	} {
		f, err := filter.Compile(text)
		must(t, err)
		sights := map[uint64]*filter.Sight{}
		wants[text] = looked(t, path, func(s *tape.Session, m *tape.Message) bool {
			if sights[s.N] == nil {
				sights[s.N] = f.Sight(s)
			}
			return sights[s.N].See(m).Passes
		})
	}
	for what, want := range wants {
		out, _, code := run("search", what, "--tape", path, "--json")
		var got []string
		for line := range strings.Lines(out) {
			var found struct{ N, Seq uint64 }
			must(t, json.Unmarshal([]byte(line), &found))
			got = append(got, fmt.Sprint(found.N, " ", found.Seq))
		}
		if code != exitFine || len(want) == 0 || !slices.Equal(got, want) {
			t.Errorf("%s: exit code %d, found %d, should be %d", what, code, len(got), len(want))
		}
		if out, _, _ := run("search", what, "--tape", path, "--count"); out != fmt.Sprintln(len(want)) {
			t.Errorf("%s: counted %s, should be %d", what, out, len(want))
		}
	}
}

func TestInterruptedSearchKeepsWhatItFound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.db")
	babel(t, path, wstest.Rand(t), 40)
	ctx, cancel := context.WithCancel(t.Context())
	var out, talk bytes.Buffer
	a := &app{Env: Env{Stdout: &out, Stderr: &talk, Getenv: func(string) string { return "" }, whole: testWhole}}
	s := &searcher{whole: testWhole, text: []byte("word"), layout: a.layoutFor(&out, 0)}
	file := openTape(path, "")
	defer file.Close()
	at := record.Reader(endsAfter{file, 20, cancel})
	if err := a.search(ctx, s, file, []target{{store: at, n: 1}, {store: at, n: 2}, {store: at, n: 20}, {store: at, n: 21}}); err != nil {
		t.Errorf("ended with %v", err)
	}
	if s.found == 0 || strings.Count(out.String(), "\n") != s.found || !strings.Contains(talk.String(), "interrupted in session 2") {
		t.Errorf("found %d, showed\n%s\nand said %q", s.found, &out, &talk)
	}
}

// endsAfter cancels when a session is read.
type endsAfter struct {
	record.Reader
	n      uint64
	cancel func()
}

func (e endsAfter) Segments(ctx context.Context, n, offset uint64) ([]record.Segment, error) {
	if n == e.n {
		e.cancel()
		return nil, ctx.Err()
	}
	return e.Reader.Segments(ctx, n, offset)
}

func TestInterruptedBeforeAnythingIsFound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.db")
	babel(t, path, wstest.Rand(t), 5)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a := &app{Env: Env{Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}, Getenv: func(string) string { return "" }, whole: testWhole}}
	file := openTape(path, "")
	defer file.Close()
	err := a.search(ctx, &searcher{whole: testWhole, text: []byte("word")}, file, []target{{store: endsAfter{file, 1, cancel}, n: 1}})
	if err == nil || exitCode(err) != exitNo || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("ended with %v", err)
	}
}
