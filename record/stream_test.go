package record

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/tape"
)

func TestRandomRecordsComeBackAsTheyWereWritten(t *testing.T) {
	r := random(t)
	var e encoder
	e.seq = 1
	seg := e.segment(7)
	var want []Record
	for range 3000 {
		rec := Record{Offset: e.offset, From: tape.Side(r.IntN(2)), T: e.t + time.Duration(r.IntN(5e6)-1e6)*time.Microsecond}
		payload := []byte(chatter(r, r.IntN(200)))
		p := tape.Part{Payload: payload, Mask: r.Uint32(), MaskOffset: uint8(r.IntN(4))}
		switch rec.Kind = byte(r.IntN(6)); rec.Kind {
		case kindFrame:
			p.Begin, p.Head, p.Masked, p.MaskOffset = true, byte(r.IntN(256)), r.IntN(2) == 0, 0
			if !p.Masked {
				p.Mask = 0
			}
			p.Len = uint64(len(payload)) + uint64(r.IntN(2))*r.Uint64N(1<<40)
			if r.IntN(3) == 0 {
				p.Violation = "forbidden"
			}
			rec.Leg = tape.Leg(r.IntN(3))
			rec.Instead = rec.Leg == out && r.IntN(2) == 0
			rec.Head, rec.Masked, rec.Mask, rec.Len, rec.Violation, rec.Seq = p.Head, p.Masked, p.Mask, p.Len, p.Violation, e.seq
			rec.Payload = wire.AppendMasked(nil, payload, p.Mask, 0)
			seg.Raw = e.part(seg.Raw, rec.From, rec.leg(), &p, rec.T)
		case kindPiece:
			rec.T, rec.Leg = 0, tape.Leg(2*r.IntN(2)) // a piece of what comes in says no more than that
			rec.Instead = rec.Leg == out && r.IntN(2) == 0
			rec.Payload = wire.AppendMasked(nil, payload, p.Mask, p.MaskOffset)
			seg.Raw = e.part(seg.Raw, rec.From, rec.leg(), &p, 0)
		case kindRaw:
			p.Raw = true
			rec.Leg = tape.Leg(r.IntN(3))
			rec.Instead = rec.Leg == out && r.IntN(2) == 0
			rec.Payload, rec.Len, rec.Seq = payload, uint64(len(payload)), e.seq
			seg.Raw = e.part(seg.Raw, rec.From, rec.leg(), &p, rec.T)
		case kindGap:
			rec.Gap = tape.Gap{Frames: r.Uint64N(9), Bytes: r.Uint64N(999), Why: "full"}
			seg.Raw = e.gap(seg.Raw, rec.From, rec.Gap, rec.T)
		case kindNote:
			rec.From, rec.Note = tape.Client, tape.Note{Text: string(payload), By: "operator"}
			seg.Raw = e.note(seg.Raw, rec.Note, rec.T)
		case kindDecision:
			rec.Decision = tape.Decision{
				From: rec.From, Fate: fates[r.IntN(4)], By: [][]string{nil, {"a"}, {"a", "b"}}[r.IntN(3)],
				Control: r.IntN(2) == 0, Resent: r.IntN(2) == 0,
			}
			rec.About = []uint64{firstWaiting, notHere, r.Uint64N(e.seq)}[r.IntN(3)]
			seg.Raw = e.decision(seg.Raw, &rec.Decision, rec.About, rec.T)
		}
		rec.End = e.offset
		want = append(want, rec)
	}
	d := newDecoder(&seg)
	var got Record
	for i := range want {
		if !d.next(&got) {
			t.Fatalf("record %d: %v", i, d.err)
		}
		if len(got.Payload) == 0 && len(want[i].Payload) == 0 {
			got.Payload, want[i].Payload = nil, nil
		}
		if !reflect.DeepEqual(got, want[i]) {
			t.Fatalf("record %d:\n got %+v\nwant %+v", i, got, want[i])
		}
	}
	if d.next(&got) || d.err != nil {
		t.Errorf("there is more: %+v, %v", got, d.err)
	}
	if d.encoder != e {
		t.Errorf("the decoder stands at %+v, the encoder at %+v", d.encoder, e)
	}
}

// leg is what the encoder was given for a record.
func (r *Record) leg() tape.Leg {
	if r.Instead {
		return outInstead
	}
	return r.Leg
}

func TestDecisionsThatNoWriterWritesAreRefused(t *testing.T) {
	for what, c := range map[string]struct {
		raw  string
		says string
	}{
		"a fate that is not known":            {"\x05\x00\x04\x00", "unknown fate 0x4"},
		"a bit that is not known":             {"\x05\x00\x80\x00", "unknown fate 0x80"},
		"about a frame before the first":      {"\x05\x00\x10\x03\x00", "about the frame 3 before frame 3"},
		"about a frame that is not said":      {"\x05\x00\x10", "cut short"},
		"as the first tapes have it":          {"\x05\x00\x02\x00", ""},
		"about the first frame there is":      {"\x05\x00\x12\x02\x00", ""},
		"about nothing, resent, of a control": {"\x05\x00\x70\x00\x00", ""},
	} {
		seg := Segment{Session: 1, Seq: 3, Raw: []byte(c.raw)}
		d := newDecoder(&seg)
		var rec Record
		if ok := d.next(&rec); ok != (c.says == "") || !ok && (!errors.Is(d.err, ErrCorrupt) || !strings.Contains(d.err.Error(), c.says)) {
			t.Errorf("%s: read %v, %v", what, ok, d.err)
		}
	}
}

func TestBlocksAndTailsComeBack(t *testing.T) {
	a := Segment{Session: 3, Offset: 700, Seq: 9, T: 1500 * time.Microsecond, Raw: []byte("stream")}
	b := Segment{Session: 1 << 40, Offset: 1 << 50, Seq: 1, Raw: []byte("x")}
	got, err := ParseTail(AppendTail(AppendTail(nil, &a), &b))
	if err != nil || !reflect.DeepEqual(got, []Segment{a, b}) {
		t.Errorf("tail: %+v, %v", got, err)
	}
}

func TestSealedValuesComeBackFromTheirPlaceOnly(t *testing.T) {
	s := NewSealer()
	r := random(t)
	for _, codec := range []Codec{Plain, Zstd, S2} {
		for _, n := range []int{0, 1, 100, 5000, 300_000} {
			body := []byte(chatter(r, n))
			sealed := s.Seal([]byte("key"), body, codec)
			if len(sealed) > sealHeader+len(body) {
				t.Errorf("codec %d makes %d bytes %d long", codec, n, len(sealed))
			}
			got, err := s.Open([]byte("key"), sealed)
			if err != nil || !bytes.Equal(got, body) {
				t.Errorf("codec %d, %d bytes: %d come back, %v", codec, n, len(got), err)
			}
			if _, err := s.Open([]byte("kez"), sealed); err == nil {
				t.Errorf("codec %d: a value that stands elsewhere is taken", codec)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	w := newWriter(f)
	w.send(client, masked(text, "hello", 0x01020304), beginning(bin, 100, "begun"), piece("more"), raw("raw"))
	w.gap(server, 3, 400)
	w.note("a note")
	w.decide(client, tape.Edited, "script:a.js", "operator")
	w.part(client, out, whole(text, "HELLO"))
	came(w, server, whole(textOpen, "a"), whole(ping, "p"), raw("~"))
	controlFate(w, server, tape.Edited, whole(ping, "P"))
	w.decideAbout(tape.Decision{From: server, Fate: tape.Passed, Resent: true}, w.enc.seq-4)
	w.part(server, instead, beginning(text, 9, "a"))
	w.part(server, instead, piece("b"))
	w.decideAbout(tape.Decision{From: server, Fate: tape.Dropped}, notHere)
	f.Add(w.segment.Raw)
	f.Add([]byte{0x40, 0x81, 0x07})
	f.Add([]byte{0x02, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, data []byte) {
		seg := Segment{Session: 1, Seq: 1, Raw: data}
		d := newDecoder(&seg)
		var rec Record
		var lastEnd uint64
		for d.next(&rec) {
			if rec.Offset != lastEnd || rec.End <= rec.Offset || rec.End > uint64(len(data)) || len(rec.Payload) > len(data) {
				t.Fatalf("record from %d to %d behind %d of %d", rec.Offset, rec.End, lastEnd, len(data))
			}
			lastEnd = rec.End
		}
		e := Entry{Session: tape.Session{N: 1, State: tape.Closed, Extensions: "permessage-deflate"}}
		_ = e.Extend(&seg)
		m := NewMemory()
		must(t, m.Append(context.Background(), Batch{Entries: []Entry{e}, Segments: []Segment{seg}}))
		for line, err := range Lines(context.Background(), m, 1, ReadOptions{Inflate: 1 << 20}) {
			must(t, err)
			asJSON(t, line)
		}
		for frame, err := range Frames(context.Background(), m, 1, ReadOptions{}) {
			must(t, err)
			asJSON(t, frame)
		}
	})
}

func FuzzOpen(f *testing.F) {
	s := NewSealer()
	for _, codec := range []Codec{Plain, Zstd, S2} {
		f.Add(s.Seal(nil, bytes.Repeat([]byte("value"), 20), codec))
	}
	seg := Segment{Session: 1, Seq: 1, Raw: []byte("stream")}
	f.Add(s.Seal(nil, AppendTail(nil, &seg), Plain))
	f.Fuzz(func(t *testing.T, sealed []byte) {
		if len(sealed) >= sealHeader { // else no input would get past the checksum
			sum := checksum(nil, sealed[:2], sealed[sealHeader:])
			sealed[2], sealed[3], sealed[4], sealed[5] = byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum)
		}
		body, err := s.Open(nil, sealed)
		if err == nil && len(body) > MaxBlock {
			t.Fatalf("%d bytes unpack to %d", len(sealed), len(body))
		}
		_, _ = ParseTail(body)
		_, _ = ParseTail(sealed)
	})
}

func BenchmarkSealBlock(b *testing.B) {
	s := NewSealer()
	body := []byte(chatter(random(b), 128<<10))
	seg := Segment{Session: 1, Seq: 1, Raw: body}
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		s.Seal([]byte("key"), AppendTail(nil, &seg), Zstd)
	}
}
