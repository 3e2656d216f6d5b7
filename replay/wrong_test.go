package replay

import (
	"strings"
	"testing"

	"github.com/wstape/wstape/tape"
)

// shop is what the tables of wrongness are about. Steps 1, 3 and 5 are the
// client's messages, step 6 its close frame.
func shop() string {
	return session() +
		at(1, "C", `{"op":"hi","n":1}`) +
		at(1.1, "S", `{"ok":1}`) +
		at(2, "C", `{"op":"buy","n":2,"x":true}`) +
		at(2.1, "S", `{"ok":2}`) +
		at(3, "C", `{"op":"sell","n":3}`) +
		closing(4, "C", 1000, "bye")
}

func TestWrong(t *testing.T) {
	hi, buy, sell := text(`{"op":"hi","n":1}`), text(`{"op":"buy","n":2,"x":true}`), text(`{"op":"sell","n":3}`)
	const ok1, ok2, bye = `0 {"ok":1}`, `2 {"ok":2}`, "close 4000 "
	for _, c := range []struct {
		name, cassette string
		live           func(*scene)
		want           string   // of the report
		failed         []string // what the player did, if it fails
		skipped        []string // what it did, if it skips; the rest went as recorded
	}{
		{
			"missing", shop(),
			func(s *scene) { s.hears(0, hi).hears(1, sell).ends(3, closes(1000, "bye")) },
			`missing message at step 3 of client: expected {"op":"buy","n":2,"x":true}, received {"op":"sell","n":3}; $.op "buy" -> "sell"; $.n 2 -> 3; $.x true -> ; near step 5, same`,
			[]string{ok1, `1.2 close 4000 "missing message at step 3"`},
			[]string{ok1, `1.2 {"ok":2}`},
		},
		{
			"missing, and then the end", shop(),
			func(s *scene) { s.hears(0, hi).hears(2, buy).ends(2.5, closes(1000, "bye")) },
			`early end at step 5 of client: expected {"op":"sell","n":3}, received close "\x03\xe8bye"`,
			[]string{ok1, ok2, `2.5 close 4000 "early end at step 5"`},
			[]string{ok1, ok2},
		},
		{
			"extra", shop(),
			func(s *scene) {
				s.hears(0, hi).hears(2, text(`{"op":"what"}`), buy).hears(3, sell).ends(4, closes(1000, "bye"))
			},
			`extra message at step 3 of client: expected {"op":"buy","n":2,"x":true}, received {"op":"what"}; $.op "buy" -> "what"; $.n 2 -> ; $.x true -> ; near step 1`,
			[]string{ok1, `2 close 4000 "extra message at step 3"`},
			[]string{ok1, ok2},
		},
		{
			"extra, said before", shop(),
			func(s *scene) { s.hears(0, hi).hears(1, hi).hears(2, buy).hears(3, sell).ends(4, closes(1000, "bye")) },
			`extra message at step 3 of client: expected {"op":"buy","n":2,"x":true}, received {"op":"hi","n":1}; $.op "buy" -> "hi"; $.n 2 -> 1; $.x true -> ; near step 1, same`,
			[]string{ok1, `1.2 close 4000 "extra message at step 3"`},
			[]string{ok1, ok2},
		},
		{
			"extra, in place of the end", shop(),
			func(s *scene) { s.hears(0, hi).hears(2, buy).hears(3, sell, hi).ends(4, closes(1000, "bye")) },
			`extra message at step 6 of client: expected nothing, received {"op":"hi","n":1}; near step 1, same`,
			[]string{ok1, ok2, `3 close 4000 "extra message at step 6"`},
			[]string{ok1, ok2},
		},
		{
			"wrong order", shop(),
			func(s *scene) { s.hears(0, hi).hears(2, sell, buy).ends(4, closes(1000, "bye")) },
			`wrong order at step 3 of client: expected {"op":"buy","n":2,"x":true}, received {"op":"sell","n":3}; $.op "buy" -> "sell"; $.n 2 -> 3; $.x true -> ; near step 5, same`,
			[]string{ok1, `2 close 4000 "wrong order at step 3"`},
			[]string{ok1, ok2},
		},
		{
			"changed", shop(),
			func(s *scene) {
				s.hears(0, hi).hears(2, text(`{"op":"sell","n":2}`)).hears(3, sell).ends(4, closes(1000, "bye"))
			},
			`changed message at step 3 of client: expected {"op":"buy","n":2,"x":true}, received {"op":"sell","n":2}; $.op "buy" -> "sell"; $.x true -> ; near step 5`,
			[]string{ok1, `2.2 close 4000 "changed message at step 3"`},
			[]string{ok1, `2.2 {"ok":2}`},
		},
		{
			"wrong type", shop(),
			func(s *scene) {
				s.hears(0, hi).hears(2, binary(string(buy.Payload))).hears(3, sell).ends(4, closes(1000, "bye"))
			},
			`wrong type at step 3 of client: expected {"op":"buy","n":2,"x":true}, received binary "{\"op\":\"buy\",\"n\":2,\"x\":true}"; type text -> binary`,
			[]string{ok1, `2.2 close 4000 "wrong type at step 3"`},
			[]string{ok1, `2.2 {"ok":2}`},
		},
		{
			"wrong close code", shop(),
			func(s *scene) { s.hears(0, hi).hears(2, buy).hears(3, sell).ends(4, closes(1001, "bye")) },
			`wrong close at step 6 of client: expected close "\x03\xe8bye", received close "\x03\xe9bye"`,
			[]string{ok1, ok2, `4 close 4000 "wrong close at step 6"`},
			[]string{ok1, ok2},
		},
		{
			"wrong close reason", shop(),
			func(s *scene) { s.hears(0, hi).hears(2, buy).hears(3, sell).ends(4, closes(1000, "")) },
			`wrong close at step 6 of client: expected close "\x03\xe8bye", received close "\x03\xe8"`,
			[]string{ok1, ok2, `4 close 4000 "wrong close at step 6"`},
			[]string{ok1, ok2},
		},
		{
			"no close frame", shop(),
			func(s *scene) { s.hears(0, hi).hears(2, buy).hears(3, sell).ends(4, tape.Ending{Kind: tape.EndReset}) },
			`wrong close at step 6 of client: expected close "\x03\xe8bye", received nothing`,
			[]string{ok1, ok2, `4 close 4000 "wrong close at step 6"`},
			[]string{ok1, ok2},
		},
		{
			"early end", shop(),
			func(s *scene) { s.hears(0, hi).ends(1, closes(1000, "bye")) },
			`early end at step 3 of client: expected {"op":"buy","n":2,"x":true}, received close "\x03\xe8bye"`,
			[]string{ok1, `1 close 4000 "early end at step 3"`},
			[]string{ok1},
		},
		{
			"timeout of a message", shop(), // 0.9 s after the answer on the tape
			func(s *scene) { s.hears(0, hi).until(11).hears(12, sell).ends(13, closes(1000, "bye")) },
			`timeout at step 3 of client: expected {"op":"buy","n":2,"x":true}, received nothing`,
			[]string{ok1, `11 close 4000 "timeout at step 3"`},
			[]string{ok1, `11 {"ok":2}`},
		},
		{
			"timeout of the end", shop(),
			func(s *scene) { s.hears(0, hi).hears(2, buy).hears(3, sell).until(14) },
			`timeout at step 6 of client: expected close "\x03\xe8bye", received nothing`,
			[]string{ok1, ok2, `14 close 4000 "timeout at step 6"`},
			[]string{ok1, ok2, `24 close 1000`},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			for policy, did := range map[Policy][]string{Fail: c.failed, Skip: c.skipped} {
				s := open(t, loadText(t, tape.Server, c.cassette, Matching{}), Playing{OnMismatch: policy})
				c.live(s)
				s.rest().did(did...)
				o := s.play.Outcome
				list := o.Mismatches
				if policy == Skip {
					list = o.Skipped
					if !o.Held() {
						t.Errorf("%s: did not hold", policy)
					}
				}
				if len(list) != 1 {
					t.Fatalf("%s: %d mismatches\n%s", policy, len(list), mismatches(o))
				}
				if got := mismatch(&list[0]); got != c.want {
					t.Errorf("%s:\n got %s\nwant %s", policy, got, c.want)
				}
				if m := &list[0]; m.Seq != uint64(m.Step) || m.From != tape.Client || m.Text == "" {
					t.Errorf("%s: number %d, from %v, %q", policy, m.Seq, m.From, m.Text)
				}
			}
		})
	}
}

// What comes after a gap cannot be played, whatever the policy.
func TestGap(t *testing.T) {
	cassette := session() + at(1, "C", "hello") + at(1.1, "S", "HELLO") + `{"t":2,"gap":{"frames":12,"bytes":3400,"why":"tape buffer full"}}` + "\n" + at(3, "S", "more")
	for _, policy := range []Policy{Fail, Skip} {
		s := open(t, loadText(t, tape.Server, cassette, Matching{}), Playing{OnMismatch: policy})
		s.hears(1, text("hello")).rest().did("1 HELLO", `1 close 4000 "gap at step 3"`)
		o := s.play.Outcome
		if len(o.Mismatches) != 1 || o.Mismatches[0].Kind != TapeGap || o.Mismatches[0].Step != 3 || !strings.Contains(o.Mismatches[0].Text, "tape buffer full") {
			t.Errorf("%s: %s", policy, mismatches(o))
		}
	}
}

// A close frame's reason has room for 123 bytes.
func TestReasonOfMismatchFits(t *testing.T) {
	for _, kind := range []Kind{Missing, Extra, Order, Changed, WrongType, WrongEnd, EarlyEnd, Handshake, Timeout, TapeGap, Unplayed} {
		if reason := closeReason(&Mismatch{Kind: kind, Step: 1 << 62}); len(reason) > 123 || !strings.HasPrefix(reason, string(kind)) {
			t.Errorf("%q", reason)
		}
	}
}
