package record

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/wstape/wstape/tape"
)

// everything writes a session in which all that a cassette keeps happens.
func everything(w *writer) {
	w.note("begins")
	w.send(client, masked(text, `{"a":1}`, 9))
	w.send(server, whole(textOpen, "frag"), whole(last, "ments"))
	w.send(server, whole(bin, "\x00\xff"), whole(text, ""), whole(text, "\xff"))
	w.part(client, in, whole(text, "dropped"))
	w.decide(client, tape.Dropped, "script:a.js", "operator")
	w.part(server, in, whole(text, "hello"))
	w.decide(server, tape.Edited, "script:a.js")
	w.part(server, instead, whole(text, "HELLO"))
	w.decide(server, tape.Injected, "script:a.js")
	w.part(server, out, whole(bin, "made"))
	w.gap(client, 3, 300)
	w.send(client, whole(ping, "p"), whole(more, "stray"), raw("\xde\xad"))
	w.send(client, whole(closing, "\x03\xe8bye"))
	w.send(server, whole(closing, ""))
	w.send(server, whole(textOpen, "never ends"))
}

func TestCassetteGivesTheSameLinesAgain(t *testing.T) {
	w := newWriter(t)
	everything(w)
	store := w.store("", tape.Closed)
	first := cassette(t, store, 1)
	second := imported(t, first)
	equal(t, lines(t, second, ReadOptions{}), lines(t, store, ReadOptions{}))
	again := cassette(t, second, 1)
	if head, _, _ := strings.Cut(first, "\n"); !strings.HasPrefix(head, `{"wstape":1,"session":{"id":`) {
		t.Errorf("first line %s", head)
	}
	if again != first {
		t.Errorf("exported again:\n got %s\nwant %s", again, first)
	}
}

// Whatever scripts did to messages comes back from a cassette, and with it the
// counts and the wire frames, of which only fragments are joined.
func TestCassetteKeepsWhatWasDecided(t *testing.T) {
	w := newWriter(t)
	by := func(d tape.Decision, by ...string) tape.Decision { d.By = by; return d }
	came(w, client, whole(text, "one"), whole(bin, "\x00\xff"), whole(text, "\xff"), whole(ping, "p"), whole(ping, "q"))
	w.Decided(by(tape.Decision{From: client, Fate: tape.Edited, Control: true}, "fault:f", "script:a.js"), []tape.Part{whole(ping, "P")})
	w.Decided(by(tape.Decision{From: client, Fate: tape.Dropped, Control: true}, "script:a.js"), nil)
	w.Decided(by(tape.Decision{From: client, Fate: tape.Edited}, "script:a.js", "script:b.js", "operator"), []tape.Part{whole(text, "ONE")})
	w.Decided(by(tape.Decision{From: client, Fate: tape.Injected}, "script:a.js", "script:b.js"), []tape.Part{whole(bin, "made")})
	fate(w, client, tape.Edited, whole(text, "text instead"))
	fate(w, client, tape.Edited, whole(bin, "\xfe"))
	came(w, server, whole(text, "held"), whole(text, "resent"), whole(closing, "\x03\xe8bye"))
	fate(w, server, tape.Dropped)
	resent(w, server, whole(text, "resent"))
	fate(w, server, tape.Dropped)
	came(w, client, whole(closing, ""))
	fate(w, client, tape.Edited, whole(closing, "\x03\xe9instead"))
	came(w, client, raw("\xff"))
	fate(w, client, tape.Edited, raw("~~~"))
	store := w.store("", tape.Closed)
	want := []string{
		`1 client text "ONE" edited [script:a.js script:b.js operator] received text "one"`,
		`2 client text "text instead" edited [s] received binary "\x00\xff"`,
		`3 client binary "\xfe" edited [s] received text "\xff"`,
		`4 client ping "P" edited [fault:f script:a.js] received ping "p"`,
		`5 client ping "q" dropped [script:a.js]`,
		`8 client binary "made" injected [script:a.js script:b.js]`,
		`11 server text "held" dropped [s]`, `12 server text "resent"`, `13 server close "\x03\xe8bye" dropped [s]`,
		`15 client close "\x03\xe9instead" edited [s] received close ""`,
		`17 client raw "~~~" edited [s] received raw "\xff" violation`,
	}
	equal(t, lines(t, store, ReadOptions{}), want)
	text := cassette(t, store, 1)
	for _, part := range []string{
		`"by":"operator","by_all":["script:a.js","script:b.js","operator"],"received":{"op":"text","len":3,"text":"one"}`,
		`"text":"text instead","fate":"edited","by":"s","received":{"op":"binary","len":2,"b64":"AP8="}`,
		`"b64":"/g==","fate":"edited","by":"s","received":{"op":"text","len":1,"b64":"/w==","utf8":false}`,
		`"received":{"op":"close","len":0,"reason":""}`,
	} {
		if !strings.Contains(text, part) {
			t.Errorf("%s is not in\n%s", part, text)
		}
	}
	number := regexp.MustCompile(`^\d+ `)
	plain := func(lines []string) (out []string) {
		for _, line := range lines {
			out = append(out, number.ReplaceAllString(line, ""))
		}
		return out
	}
	second := imported(t, text)
	equal(t, plain(lines(t, second, ReadOptions{})), plain(want))
	third := imported(t, cassette(t, second, 1))
	equal(t, lines(t, third, ReadOptions{}), lines(t, second, ReadOptions{}))
	equal(t, frames(t, third, ReadOptions{}), frames(t, second, ReadOptions{}))
	for _, r := range []*Memory{store, second} {
		if e, err := r.Session(t.Context(), 1); err != nil || e.Frames != (tape.Counts{Client: 7, Server: 3}) {
			t.Errorf("%v frames, %v", e.Frames, err)
		}
	}
	legs := map[tape.Leg]int{}
	for f, err := range Frames(t.Context(), second, 1, ReadOptions{}) {
		must(t, err)
		legs[f.Leg]++
	}
	if legs[in] != 9 || legs[out] != 7 || legs[both] != 1 {
		t.Errorf("legs %v", legs)
	}
}

func TestCassetteKeepsWhatCouldNotBeInflated(t *testing.T) {
	w := newWriter(t)
	came(w, client, whole(compressed, "\xff\xff"))
	fate(w, client, tape.Edited, whole(text, "clear"))
	text := cassette(t, w.store(noTakeover, tape.Closed), 1)
	if !strings.Contains(text, `"received":{"op":"text","len":2,"b64":"//8=","error":"`) {
		t.Errorf("got %s", text)
	}
	if again := cassette(t, imported(t, text), 1); again != text {
		t.Errorf("imported and exported:\n%s\nwant\n%s", again, text)
	}
}

// What was compressed or interleaved is written down plain, so the numbers of
// frames change once, and never again.
func TestCassetteSettlesAfterOneImport(t *testing.T) {
	w := newWriter(t)
	z := newDeflater(t, true)
	w.send(client, whole(compressed, z.message("compressed")), whole(compressed&^0x80, z.message("in two")), whole(last, ""))
	w.send(server, whole(textOpen, "a"), whole(ping, ""), whole(last, "b"))
	w.part(server, in, whole(textOpen, "he"))
	w.part(server, in, whole(last, "llo"))
	w.decide(server, tape.Edited, "script:a.js")
	w.part(server, out, whole(text, "HELLO"))
	w.send(client, whole(text, "end"))
	store := w.store(takeover, tape.Closed)
	second := imported(t, cassette(t, store, 1))
	third := imported(t, cassette(t, second, 1))
	equal(t, lines(t, third, ReadOptions{}), lines(t, second, ReadOptions{}))
	shape := regexp.MustCompile(`^\d+ | \[\d[\d ]*\]`) // numbers and fragments
	plain := func(r Reader) (out []string) {
		for _, line := range lines(t, r, ReadOptions{}) {
			out = append(out, shape.ReplaceAllString(line, ""))
		}
		return out
	}
	equal(t, plain(second), plain(store))
}

func TestCassetteOfSeveralSessions(t *testing.T) {
	one, two := newWriter(t), newWriter(t)
	one.send(client, whole(text, "one"))
	two.send(client, whole(text, "two"))
	first, second := cassette(t, one.store("", tape.Closed), 1), cassette(t, two.store("", tape.Interrupted), 1)
	second = strings.Replace(second, `000001"`, `000002"`, 1) // an ID of its own
	m := NewMemory()
	numbers, err := ReadCassette(t.Context(), strings.NewReader("// two sessions\n"+first+"\n\t// the second\n"+second), m)
	if err != nil || fmt.Sprint(numbers) != "[1 2]" {
		t.Fatalf("sessions %v, %v", numbers, err)
	}
	e, err := m.Session(t.Context(), 2)
	must(t, err)
	if e.State != tape.Interrupted || e.Frames.Client != 1 || e.Bytes.Client != 3 || e.Size == 0 {
		t.Errorf("second session: %+v", e)
	}
	equal(t, strings.Split(cassette(t, m, 1, 2), "\n"), strings.Split(first+second, "\n"))
}

func TestCassetteWrittenByHand(t *testing.T) {
	m := imported(t, `
// the shortest that there is
{"wstape":1,"session":{"tags":{"case":"7"},"notes":["by hand"]}}
{"from":"client","text":"hi"}
  {"from":"server","json":{"a": [1, 2]},"t":1.5}
{"from":"server","op":"close","code":1001,"reason":"away"}
{"from":"client","op":"close","code":1001}
`)
	equal(t, lines(t, m, ReadOptions{}), []string{`1 client text "hi"`, `2 server text "{\"a\":[1,2]}"`, `3 server close "\x03\xe9away"`, `4 client close "\x03\xe9"`})
	e, err := m.Session(t.Context(), 1)
	must(t, err)
	if e.State != tape.Closed || e.Status != 101 || e.URL != "/" || e.ID == (tape.ID{}) || e.Duration.Seconds() != 1.5 {
		t.Errorf("session %+v", e)
	}
	if got := asJSON(t, e.Ending); got != `{"kind":"close","code":1001,"reason":"away","from":"server"}` {
		t.Errorf("ending %s", got)
	}
	if e.Tags["case"] != "7" || len(e.Notes) != 1 {
		t.Errorf("tags %v, notes %v", e.Tags, e.Notes)
	}
}

func TestMistakeInACassetteIsLocated(t *testing.T) {
	const head = `{"wstape":1,"session":{}}` + "\n"
	for _, c := range []struct {
		name, text   string
		line, column int
		says         string
	}{
		{"not JSON", head + `{"from":"client",}`, 2, 18, "invalid character"},
		{"indented", head + `    {"from":"client",}`, 2, 22, "invalid character"},
		{"unknown key", head + "\n" + `{"from":"client","txt":"a"}`, 3, 18, `unknown field "txt"`},
		{"unknown key of the session", `{"wstape":1,"session":{"uri":"/"}}`, 1, 24, `unknown field "uri"`},
		{"wrong type", head + `{"from":"client","text":7}`, 2, 25, "number"},
		{"wrong type in the session", `{"wstape":1,"session":{"url":7}}`, 1, 30, "number"},
		{"unknown value", head + `{"from":"client","op":"txet","text":"a"}`, 2, 23, `op "txet"`},
		{"no sender", head + `{"text":"a"}`, 2, 0, `"from"`},
		{"no session", `{"from":"client","text":"a"}`, 1, 0, "not a cassette"},
		{"a comma behind it", head + `{"from":"client","text":"a"},`, 2, 29, "invalid character ','"},
		{"not JSON at all", "To whom it may concern", 1, 0, "not a cassette"},
		{"no version", `{"wstape":null}`, 1, 2, "not a cassette"},
		{"not JSON, but meant to be", `{"wstape":1,"session":{]}`, 1, 24, "invalid character"},
		{"newer", `{"wstape":2,"session":{}}`, 1, 0, "cassette version 2"},
		{"cut short", head + `{"from":"client","te`, 2, 20, "the line is cut off: unexpected end"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ReadCassette(t.Context(), strings.NewReader(c.text), NewMemory())
			var mistake *CassetteError
			if !errors.As(err, &mistake) {
				t.Fatalf("got %v", err)
			}
			if mistake.Line != c.line || mistake.Column != c.column || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want line %d, column %d, %s", err, c.line, c.column, c.says)
			}
		})
	}
	if _, err := ReadCassette(t.Context(), strings.NewReader("\n// nothing\n"), NewMemory()); err == nil {
		t.Error("a cassette of nothing is read")
	}
	if _, err := ReadCassette(t.Context(), strings.NewReader(`{"wstape":2}`), NewMemory()); !errors.Is(err, ErrVersion) {
		t.Errorf("a newer one: %v", err)
	}
}

// endless is a file that never ends, nor has a line.
type endless struct{}

func (endless) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestEndlessLine(t *testing.T) {
	numbers, err := ReadCassette(t.Context(), endless{}, NewMemory())
	if err == nil || len(numbers) > 0 || !strings.Contains(err.Error(), "line 1: the line is too long") {
		t.Errorf("%d, %v", numbers, err)
	}
}

func TestSessionsBeforeAMistakeAreWhole(t *testing.T) {
	const one = `{"wstape":1,"session":{}}` + "\n" + `{"from":"client","text":"a"}` + "\n"
	m := NewMemory()
	numbers, err := ReadCassette(t.Context(), strings.NewReader(one+one+"{"), m)
	if err == nil || fmt.Sprint(numbers) != "[1]" {
		t.Errorf("sessions %v, %v", numbers, err)
	}
	equal(t, lines(t, m, ReadOptions{}), []string{`1 client text "a"`})
}

func TestTapeThatCannotBeWrittenIsNotTheCassettesMistake(t *testing.T) {
	store, full := newGate(), errors.New("disk full")
	store.setFail(full)
	_, err := ReadCassette(t.Context(), strings.NewReader(`{"wstape":1,"session":{}}`), store)
	var mistake *CassetteError
	if !errors.Is(err, full) || errors.As(err, &mistake) {
		t.Errorf("got %v", err)
	}
}

func TestLargeMessageOfACassetteIsStoredInSmallSegments(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 3<<20/16)
	received := strings.Repeat("x", 2<<20)
	m := imported(t, `{"wstape":1,"session":{}}
{"from":"client","text":"`+big+`"}
{"from":"server","text":"`+big+`","fate":"edited","by":"s","received":{"text":"`+received+`"}}
{"from":"server","text":"`+big+`","fate":"injected","by":"s"}
{"from":"server","text":"end"}`)
	segments, err := m.Segments(t.Context(), 1, 0)
	must(t, err)
	for len(segments) > 0 {
		for _, seg := range segments {
			if len(seg.Raw) > 2<<20 {
				t.Errorf("a segment of %d bytes", len(seg.Raw))
			}
		}
		segments, err = m.Segments(t.Context(), 1, segments[len(segments)-1].End())
		must(t, err)
	}
	equal(t, lines(t, m, ReadOptions{}), []string{
		`1 client text "01234567"…3145728`,
		`2 server text "01234567"…3145728 edited [s] received text "xxxxxxxx"…2097152`,
		`4 server text "01234567"…3145728 injected [s]`, `5 server text "end"`,
	})
}

func FuzzReadCassette(f *testing.F) {
	w := newWriter(f)
	everything(w)
	f.Add(cassette(f, w.store("", tape.Closed), 1))
	f.Add(`{"wstape":1,"session":{}}` + "\n" + `{"from":"client","json":{"a":1},"t":1e3}`)
	f.Add(`{"wstape":1,"session":{"ending":{"kind":"close"},"duration":3}}` + "\n" + `{"gap":{"frames":18446744073709551615,"bytes":1,"why":""}}`)
	f.Fuzz(func(t *testing.T, text string) {
		m := NewMemory()
		numbers, err := ReadCassette(context.Background(), strings.NewReader(text), m)
		if err == nil && len(numbers) == 0 {
			t.Fatal("no sessions and no error")
		}
		for _, n := range numbers {
			// What was read can be written and read again, to the same lines.
			first := cassette(t, m, n)
			if second := cassette(t, imported(t, first), 1); second != first {
				t.Errorf("first\n%s\nthen\n%s", first, second)
			}
		}
	})
}
