package record

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/wstape/wstape/tape"
)

const (
	takeover   = "permessage-deflate"
	noTakeover = "permessage-deflate; client_no_context_takeover; server_no_context_takeover"
)

func TestLinesOfASession(t *testing.T) {
	for _, c := range []struct {
		name  string
		write func(*writer)
		want  []string
	}{
		{"both directions interleaved", func(w *writer) {
			w.send(client, masked(textOpen, "he", 7))
			w.send(server, whole(textOpen, "wo"))
			w.send(client, masked(last, "llo", 9))
			w.send(server, whole(more, "r"), whole(last, "ld"))
		}, []string{`1 client text "hello" [2 3]`, `2 server text "world" [2 1 2]`}},
		{"a control frame between fragments follows its message", func(w *writer) {
			w.send(server, whole(textOpen, "a"), whole(ping, "p"), whole(last, "b"), whole(text, "c"))
		}, []string{`1 server text "ab" [1 1]`, `2 server ping "p"`, `4 server text "c"`}},
		{"a large frame in pieces", func(w *writer) {
			w.send(client, beginning(bin, 9, "one"), piece("two"), piece("six"), whole(text, "end"))
		}, []string{`1 client binary "onetwosix"`, `2 client text "end"`}},
		{"the other side between pieces", func(w *writer) {
			w.send(client, beginning(text, 4, "ab"))
			w.send(server, whole(text, "x"))
			w.send(client, piece("cd"))
		}, []string{`1 client text "abcd"`, `2 server text "x"`}},
		{"a frame cut short by the end", func(w *writer) {
			w.send(client, beginning(text, 9, "one"))
			w.send(server, whole(text, "x"))
		}, []string{`1 client text "one" partial`, `2 server text "x"`}},
		{"a message cut short by the end", func(w *writer) {
			w.send(client, whole(textOpen, "one"))
		}, []string{`1 client text "one" partial`}},
		{"a new message inside a fragmented one", func(w *writer) {
			p := whole(text, "b")
			p.Violation = "interleaved"
			w.send(client, whole(textOpen, "a"), p)
		}, []string{`1 client text "a" partial`, `2 client text "b" violation`}},
		{"stray continuations", func(w *writer) {
			w.send(client, whole(more, "a"), whole(last, "b"))
		}, []string{`1 client continuation "a"`, `2 client continuation "b"`}},
		{"raw bytes", func(w *writer) {
			w.send(client, whole(text, "a"), raw("\xff\xff"), raw("zz"))
		}, []string{`1 client text "a"`, `2 client raw "\xff\xff" violation`, `3 client raw "zz" violation`}},
		{"notes and gaps stand where they happened", func(w *writer) {
			w.note("reloaded")
			w.send(client, whole(text, "a"))
			w.gap(client, 3, 30)
			w.send(client, whole(text, "b"))
		}, []string{"note wstape: reloaded", `1 client text "a"`, "gap 3 frames 30 bytes: full", `5 client text "b"`}},
		{"a gap ends what its side had begun, not the other's", func(w *writer) {
			w.send(client, beginning(text, 9, "one"))
			w.send(server, whole(textOpen, "a"))
			w.gap(client, 1, 6)
			w.send(client, piece("two"), whole(text, "b"))
			w.send(server, whole(last, "c"))
		}, []string{
			`1 client text "one" partial`, `2 server text "ac" [1 1]`, "gap 1 frames 6 bytes: full", `4 client text "b"`,
		}},
		{"reserved opcodes and empty messages", func(w *writer) {
			w.send(client, whole(0x83, "r"), whole(0x8b, "c"), whole(text, ""), whole(textOpen, ""), whole(last, ""))
		}, []string{`1 client reserved(3) "r"`, `2 client reserved(11) "c"`, `3 client text ""`, `4 client text "" [0 0]`}},
		{"a control frame that is fragmented", func(w *writer) {
			w.send(client, whole(0x09, "p"), whole(text, "a"))
		}, []string{`1 client ping "p"`, `2 client text "a"`}},
		{"payloads that RFC 6455 forbids", func(w *writer) {
			w.send(client, whole(text, "\xff"), whole(closing, "x"))
			w.send(server, whole(textOpen, "\xc3"), whole(last, "\xa9"), whole(closing, "\x03\xed"))
		}, []string{
			`1 client text "\xff" violation`, `2 client close "x" violation`,
			`3 server text "é" [1 1]`, `5 server close "\x03\xed" violation`,
		}},
		{"compressed without having been negotiated", func(w *writer) {
			w.send(client, whole(compressed, "abc"))
		}, []string{`1 client text "abc"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWriter(t)
			c.write(w)
			equal(t, lines(t, w.store("", tape.Closed), ReadOptions{}), c.want)
		})
	}
}

// What wstape did to messages, as the message way writes it: what came in, the
// decision, what went out.
func TestLinesOfDecisions(t *testing.T) {
	for _, c := range []struct {
		name  string
		write func(*writer)
		want  []string
	}{
		{"edited", func(w *writer) {
			w.part(server, in, whole(text, "hello"))
			w.send(client, whole(ping, ""))
			w.decide(server, tape.Edited, "script:a.js")
			w.part(server, out, whole(text, "HELLO"))
			w.send(server, whole(text, "next"))
		}, []string{
			`1 server text "HELLO" edited [script:a.js] received text "hello"`, `2 client ping ""`, `4 server text "next"`,
		}},
		{"dropped by the last of several", func(w *writer) {
			w.part(client, in, whole(text, "x"))
			w.decide(client, tape.Dropped, "script:a.js", "operator")
		}, []string{`1 client text "x" dropped [script:a.js operator]`}},
		{"injected between others", func(w *writer) {
			w.send(server, whole(text, "a"))
			w.decide(server, tape.Injected, "script:a.js")
			w.part(server, out, whole(text, "made"))
			w.send(server, whole(text, "b"))
		}, []string{`1 server text "a"`, `2 server text "made" injected [script:a.js]`, `3 server text "b"`}},
		{"passed after a wait", func(w *writer) {
			w.part(client, in, whole(textOpen, "a"))
			w.part(client, in, whole(last, "b"))
			w.decide(client, tape.Passed)
		}, []string{`1 client text "ab" [1 1]`}},
		{"several for one, in fragments", func(w *writer) {
			w.part(client, in, whole(text, "one"))
			w.part(client, in, whole(text, "two"))
			w.decide(client, tape.Edited, "s")
			w.part(client, out, whole(textOpen, "ONE"))
			w.part(client, out, whole(last, "!"))
			w.decide(client, tape.Injected, "s")
			w.part(client, out, whole(text, "extra"))
			w.decide(client, tape.Dropped, "s")
		}, []string{
			`1 client text "ONE!" [3 1] edited [s] received text "one"`,
			`2 client text "two" dropped [s]`, `5 client text "extra" injected [s]`,
		}},
		{"came in and never went on", func(w *writer) {
			w.part(client, in, whole(text, "x"))
		}, []string{`1 client text "x" dropped [wstape]`}},
		{"while a frame of the same side streams through", func(w *writer) {
			w.send(client, beginning(text, 4, "ab"))
			w.decide(client, tape.Injected, "s")
			w.part(client, out, whole(ping, "p"))
			w.send(client, piece("cd"))
		}, []string{`1 client text "abcd"`, `2 client ping "p" injected [s]`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWriter(t)
			c.write(w)
			equal(t, lines(t, w.store("", tape.Closed), ReadOptions{}), c.want)
		})
	}
}

func TestOpenSessionLeavesOutWhatMayYetCome(t *testing.T) {
	w := newWriter(t)
	w.send(client, whole(textOpen, "a"))
	w.send(server, whole(text, "b"))
	w.part(server, in, whole(text, "undecided"))
	equal(t, lines(t, w.store("", tape.Open), ReadOptions{}), []string{`2 server text "b"`})
	equal(t, lines(t, w.store("", tape.Interrupted), ReadOptions{}), []string{
		`1 client text "a" partial`, `2 server text "b"`, `3 server text "undecided" dropped [wstape]`,
	})
}

func TestCompressedMessages(t *testing.T) {
	r := random(t)
	for _, extensions := range []string{takeover, noTakeover} {
		t.Run(extensions, func(t *testing.T) {
			w := newWriter(t)
			sides := [2]*deflater{newDeflater(t, extensions == takeover), newDeflater(t, extensions == takeover)}
			var want []string
			for i := range 60 {
				from := tape.Side(r.IntN(2))
				plain := chatter(r, 1+r.IntN([]int{30, 4000, 60_000}[r.IntN(3)]))
				z := sides[from].message
				if i%7 == 3 {
					z = sides[from].final
				}
				wire := z(plain)
				seq, frames := w.enc.seq, ""
				switch cut := r.IntN(len(wire)); r.IntN(4) {
				case 0: // in two frames
					w.send(from, whole(compressed&^0x80, wire[:cut]), whole(last, wire[cut:]))
					frames = fmt.Sprintf(" [%d %d]", cut, len(wire)-cut)
				case 1: // in two reads
					w.send(from, beginning(compressed, uint64(len(wire)), wire[:cut]))
					if cut < len(wire) {
						w.send(from, piece(wire[cut:]))
					}
				case 2: // beside one that is not compressed
					w.send(from, whole(text, "plain"), whole(compressed, wire))
					want = append(want, fmt.Sprintf(`%d %v text "plain"`, seq, from))
					seq++
				default:
					w.send(from, whole(compressed, wire))
				}
				want = append(want, fmt.Sprintf("%d %v text %s%s", seq, from, short([]byte(plain)), frames))
			}
			equal(t, lines(t, w.store(extensions, tape.Closed), ReadOptions{}), want)
		})
	}
}

func TestGapInACompressedStreamIsNotGuessedOver(t *testing.T) {
	w := newWriter(t)
	z, other := newDeflater(t, true), newDeflater(t, true)
	w.send(client, whole(compressed, z.message("before")))
	z.message("lost")
	w.gap(client, 1, 4)
	w.send(client, whole(compressed, z.message("before lost")), whole(text, "plain"))
	w.send(server, whole(compressed, other.message("unharmed")))
	got := lines(t, w.store(takeover, tape.Closed), ReadOptions{})
	if len(got) != 5 || got[0] != `1 client text "before"` || got[3] != `4 client text "plain"` || got[4] != `5 server text "unharmed"` {
		t.Errorf("got %s", strings.Join(got, "\n"))
	}
	if !strings.HasPrefix(got[2], "3 client text") || !strings.Contains(got[2], "error: an earlier message") {
		t.Errorf("the message behind the gap: %s", got[2])
	}
}

func TestUninflatableMessageKeepsItsWireBytes(t *testing.T) {
	for name, c := range map[string]struct {
		extensions, bad string
		inflate         uint64
		after           string
	}{
		"garbage with takeover":    {takeover, "\xff\xff\xff", 0, "error: an earlier"},
		"garbage without takeover": {noTakeover, "\xff\xff\xff", 0, `"after"`},
		"too large":                {noTakeover, newDeflater(t, false).message(strings.Repeat("a", 5000)), 1000, `"after"`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWriter(t)
			w.send(client, whole(compressed, c.bad), whole(compressed, newDeflater(t, false).message("after")))
			got := lines(t, w.store(c.extensions, tape.Closed), ReadOptions{Inflate: c.inflate})
			if !strings.HasPrefix(got[0], fmt.Sprintf("1 client text %s error: ", short([]byte(c.bad)))) || !strings.Contains(got[1], c.after) {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestKeepCutsTextsAtARune(t *testing.T) {
	const words = "aé€😀"
	for keep := uint64(1); keep <= uint64(len(words)); keep++ {
		w := newWriter(t)
		w.send(client, whole(textOpen, words[:3]), whole(last, words[3:]))
		w.send(client, whole(compressed, newDeflater(t, false).message(words)), whole(bin, words))
		n := 0
		for line, err := range Lines(t.Context(), w.store(takeover, tape.Closed), 1, ReadOptions{Keep: keep}) {
			must(t, err)
			m := line.Message
			full := uint64(len(m.Payload)) == min(keep, uint64(len(words)))
			cut := m.Op == tape.Text && utf8.Valid(m.Payload) && keep-uint64(len(m.Payload)) < 4
			if !strings.HasPrefix(words, string(m.Payload)) || m.Len != uint64(len(words)) || m.Violation != "" || !full && !cut {
				t.Errorf("keep %d: %s", keep, brief(line))
			}
			n++
		}
		if n != 3 {
			t.Errorf("keep %d: %d lines", keep, n)
		}
	}
}

func TestManyLinesDoNotWaitForOneForEver(t *testing.T) {
	w := newWriter(t)
	w.send(client, whole(textOpen, "never ends"))
	for range queueLimit + 10 {
		w.send(server, whole(text, "x"))
	}
	seen := 0
	f, err := NewFollower(t.Context(), w.store("", tape.Open), 1, ReadOptions{})
	must(t, err)
	for _, err := range f.Poll(t.Context()) {
		must(t, err)
		seen++
	}
	if seen != 11 { // the open one is waiting too
		t.Errorf("%d lines were shown, want those past the limit", seen)
	}
}

func BenchmarkInflateSmallMessages(b *testing.B) {
	r := random(b)
	w := newWriter(b)
	z := newDeflater(b, true)
	var plain int64
	for range 1000 {
		m := chatter(r, 128)
		plain += int64(len(m))
		w.send(server, whole(compressed, z.message(m)))
	}
	w.cut()
	s := &tape.Session{Extensions: takeover}
	b.ReportAllocs()
	b.SetBytes(plain)
	for b.Loop() {
		a := newAssembler(s, DefaultInflate, previewKeep, true)
		d := newDecoder(&w.done[0])
		var rec Record
		for d.next(&rec) {
			a.record(&rec)
			for _, ok := a.next(); ok; _, ok = a.next() {
			}
		}
	}
}
