package record

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/tape"
)

// The kinds of record and the bits of a record's first byte. The layout is in
// docs/format.md, section "Records".
const (
	kindFrame    = 0
	kindPiece    = 1 // more payload of the side's current frame, or of the one that it is made to send
	kindRaw      = 2 // bytes that are not frames
	kindGap      = 3
	kindNote     = 4
	kindDecision = 5
	kindPlain    = 6 // a frame whose payload is not the wire's: see Record.Plain
	kindTorn     = 7 // never on a tape: a reader's word that a side's stream has a hole here

	kindBits   = 0x07
	fromBit    = 0x08
	maskedBit  = 0x10
	cutBit     = 0x20 // the payload goes on in later pieces, or was cut off
	extraBit   = 0x40 // an extra byte follows: leg, violation
	legBits    = 0x03
	violateBit = 0x04
	insteadBit = 0x08 // goes out in place of what came in, which has been counted
	plainBit   = 0x10 // of a piece: it belongs to a plain frame
	redactBit  = 0x20 // of a plain frame: something was replaced

	fateBits   = 0x0f // of a decision's fate byte
	aboutBit   = 0x10 // what it is about follows
	resentBit  = 0x20
	controlBit = 0x40
)

// outInstead is the leg of frames that go out in place of what came in.
const outInstead = tape.LegOut | insteadBit

// What a decision can be about, beside the number of a frame.
const (
	firstWaiting = 0              // the first that came in and was not decided about: what tapes without references mean
	notHere      = math.MaxUint64 // nothing that is on the tape
)

// Record is one decoded record. Its Payload points into the segment.
type Record struct {
	Kind      byte
	From      tape.Side
	Leg       tape.Leg
	Instead   bool // of what goes out: something came in for it
	Masked    bool
	Head      byte // of a frame: FIN, RSV, opcode
	Mask      uint32
	Offset    uint64 // of the record in the stream
	End       uint64 // offset behind it
	Seq       uint64 // of a frame or raw bytes
	T         time.Duration
	Len       uint64 // of a frame: what the header announces
	Payload   []byte // unmasked
	Violation string
	Gap       tape.Gap
	Note      tape.Note
	Decision  tape.Decision
	Plain     bool   // of a frame or piece: the payload is the message's, inflated and redacted; all of it is in the first frame
	Redacted  bool   // of a plain frame: secrets were replaced
	Stored    uint64 // of a plain frame: bytes of the payload, here and in pieces
	About     uint64 // of a decision: the first frame of what it is about, or one of the words above
}

// onWire is how many of the payload bytes that passed the record stands for.
func (r *Record) onWire() uint64 {
	if r.Plain {
		return r.Len
	}
	return uint64(len(r.Payload))
}

// encoder appends records to a session's stream and keeps what the next one is
// relative to.
type encoder struct {
	offset uint64 // of the next record
	seq    uint64 // of the next frame
	t      time.Duration
}

// segment returns an empty segment at the encoder's position.
func (e *encoder) segment(session uint64) Segment {
	return Segment{Session: session, Offset: e.offset, Seq: e.seq, T: e.t}
}

// time appends the distance to the record before, in microseconds.
func (e *encoder) time(b []byte, t time.Duration) []byte {
	t = t.Truncate(time.Microsecond)
	b = binary.AppendVarint(b, int64((t-e.t)/time.Microsecond))
	e.t = t
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func tag(kind byte, from tape.Side) byte {
	if from == tape.Server {
		kind |= fromBit
	}
	return kind
}

// maxPiece is the longest payload of one record; a multiple of the mask's length.
const maxPiece = 1 << 20

// cutPart takes off a part what goes into one record; of the rest nothing is
// left when that was all.
func cutPart(p tape.Part) (first, rest tape.Part) {
	if len(p.Payload) <= maxPiece {
		return p, tape.Part{}
	}
	first, rest = p, tape.Part{Raw: p.Raw, Mask: p.Mask, MaskOffset: p.MaskOffset, Payload: p.Payload[maxPiece:]}
	first.Payload = p.Payload[:maxPiece]
	return first, rest
}

// part appends what one read brought of one frame; the copy that unmasks it is
// the only one that recording makes.
func (e *encoder) part(b []byte, from tape.Side, leg tape.Leg, p *tape.Part, t time.Duration) []byte {
	start := len(b)
	switch {
	case p.Raw:
		b = e.raw(b, from, leg, p, t)
	case p.Begin:
		b = e.frame(b, from, leg, p, t)
	default:
		b = e.piece(b, from, leg)
		b = binary.AppendUvarint(b, uint64(len(p.Payload)))
		b = wire.AppendMasked(b, p.Payload, p.Mask, p.MaskOffset)
	}
	e.offset += uint64(len(b) - start)
	return b
}

func (e *encoder) piece(b []byte, from tape.Side, leg tape.Leg) []byte {
	if leg&legBits == tape.LegOut {
		return append(b, tag(kindPiece, from)|extraBit, byte(leg))
	}
	return append(b, tag(kindPiece, from))
}

func (e *encoder) frame(b []byte, from tape.Side, leg tape.Leg, p *tape.Part, t time.Duration) []byte {
	return wire.AppendMasked(e.begin(b, from, leg, p, t), p.Payload, p.Mask, 0)
}

// begin appends a frame's record up to the payload.
func (e *encoder) begin(b []byte, from tape.Side, leg tape.Leg, p *tape.Part, t time.Duration) []byte {
	first := tag(kindFrame, from)
	cut := uint64(len(p.Payload)) < p.Len
	if cut {
		first |= cutBit
	}
	b = e.header(b, first, byte(leg), p, t)
	if cut {
		b = binary.AppendUvarint(b, uint64(len(p.Payload)))
	}
	return b
}

// header appends what a frame's record has before the payload.
func (e *encoder) header(b []byte, first, extra byte, p *tape.Part, t time.Duration) []byte {
	if p.Masked {
		first |= maskedBit
	}
	if p.Violation != "" {
		extra |= violateBit
	}
	if extra != 0 {
		first |= extraBit
	}
	b = append(b, first, p.Head)
	if extra != 0 {
		b = append(b, extra)
	}
	b = e.time(b, t)
	b = binary.AppendUvarint(b, p.Len)
	if p.Masked {
		b = binary.LittleEndian.AppendUint32(b, p.Mask)
	}
	if p.Violation != "" {
		b = appendString(b, p.Violation)
	}
	e.seq++
	return b
}

// stored appends a frame whose payload is unmasked already. What is longer than a
// piece may be follows in pieces of its own.
func (e *encoder) stored(b []byte, from tape.Side, leg tape.Leg, p *tape.Part, t time.Duration) []byte {
	start := len(b)
	b = append(e.begin(b, from, leg, p, t), p.Payload...)
	e.offset += uint64(len(b) - start)
	return b
}

// plain is stored for a payload that takes the place of the wire's.
func (e *encoder) plain(b []byte, from tape.Side, leg tape.Leg, p *tape.Part, payload []byte, redacted bool, t time.Duration) []byte {
	start := len(b)
	extra := byte(leg)
	if redacted {
		extra |= redactBit
	}
	b = e.header(b, tag(kindPlain, from), extra, p, t)
	b = binary.AppendUvarint(b, uint64(len(payload)))
	b = append(b, payload[:min(len(payload), maxPiece)]...)
	e.offset += uint64(len(b) - start)
	return b
}

// more appends pieces: what a stored or plain frame had no room for.
func (e *encoder) more(b []byte, from tape.Side, leg tape.Leg, rest []byte, plain bool) []byte {
	start := len(b)
	for ; len(rest) > 0; rest = rest[min(len(rest), maxPiece):] {
		if plain {
			b = append(b, tag(kindPiece, from)|extraBit, byte(leg)|plainBit)
		} else {
			b = e.piece(b, from, leg)
		}
		p := rest[:min(len(rest), maxPiece)]
		b = append(binary.AppendUvarint(b, uint64(len(p))), p...)
	}
	e.offset += uint64(len(b) - start)
	return b
}

func (e *encoder) raw(b []byte, from tape.Side, leg tape.Leg, p *tape.Part, t time.Duration) []byte {
	if leg == tape.LegBoth {
		b = append(b, tag(kindRaw, from))
	} else {
		b = append(b, tag(kindRaw, from)|extraBit, byte(leg))
	}
	b = e.time(b, t)
	b = appendString(b, p.Violation)
	b = binary.AppendUvarint(b, uint64(len(p.Payload)))
	e.seq++
	return append(b, p.Payload...)
}

func (e *encoder) gap(b []byte, from tape.Side, g tape.Gap, t time.Duration) []byte {
	start := len(b)
	b = e.time(append(b, tag(kindGap, from)), t)
	b = binary.AppendUvarint(b, g.Frames)
	b = binary.AppendUvarint(b, g.Bytes)
	b = appendString(b, g.Why)
	e.seq += g.Frames
	e.offset += uint64(len(b) - start)
	return b
}

func (e *encoder) note(b []byte, n tape.Note, t time.Duration) []byte {
	start := len(b)
	b = e.time(append(b, tag(kindNote, tape.Client)), t)
	b = appendString(b, n.By)
	b = appendString(b, n.Text)
	e.offset += uint64(len(b) - start)
	return b
}

// fates in the order of their number on the tape.
var fates = [...]tape.Fate{tape.Passed, tape.Edited, tape.Dropped, tape.Injected}

// decision appends what was decided about the message that began with the frame
// numbered about. Frames are named by how far back they are, which is one byte.
func (e *encoder) decision(b []byte, d *tape.Decision, about uint64, t time.Duration) []byte {
	start := len(b)
	b = e.time(append(b, tag(kindDecision, d.From)), t)
	fate := byte(max(0, slices.Index(fates[:], d.Fate)))
	if d.Control {
		fate |= controlBit
	}
	if d.Resent {
		fate |= resentBit
	}
	switch about {
	case firstWaiting:
		b = append(b, fate)
	case notHere:
		b = append(b, fate|aboutBit, 0)
	default:
		b = binary.AppendUvarint(append(b, fate|aboutBit), e.seq-about)
	}
	b = binary.AppendUvarint(b, uint64(len(d.By)))
	for _, by := range d.By {
		b = appendString(b, by)
	}
	e.offset += uint64(len(b) - start)
	return b
}

// decoder reads the records of a segment. Nothing in the bytes is believed:
// every length is checked against what is there.
type decoder struct {
	encoder
	rest []byte
	err  error
}

func newDecoder(s *Segment) decoder {
	return decoder{encoder: encoder{offset: s.Offset, seq: s.Seq, t: s.T}, rest: s.Raw}
}

// next reads one record into r; false at the end and on an error.
func (d *decoder) next(r *Record) bool {
	if d.err != nil || len(d.rest) == 0 {
		return false
	}
	before := len(d.rest)
	first := d.byte()
	*r = Record{Kind: first & kindBits, Offset: d.offset}
	if first&fromBit != 0 {
		r.From = tape.Server
	}
	switch r.Kind {
	case kindFrame:
		d.frame(r, first)
	case kindPlain:
		r.Kind, r.Plain = kindFrame, true
		d.frame(r, first)
	case kindPiece:
		if first&extraBit != 0 {
			extra := d.byte()
			d.leg(r, extra)
			r.Plain = extra&plainBit != 0
		}
		r.Payload = d.bytes(d.uvarint())
	case kindRaw:
		if first&extraBit != 0 {
			d.leg(r, d.byte())
		}
		r.T, r.Violation = d.time(), d.string()
		r.Payload = d.bytes(d.uvarint())
		r.Len, r.Seq = uint64(len(r.Payload)), d.seq
		d.seq++
	case kindGap:
		r.T = d.time()
		r.Gap = tape.Gap{Frames: d.uvarint(), Bytes: d.uvarint(), Why: d.string()}
		d.seq += r.Gap.Frames
	case kindNote:
		r.T = d.time()
		r.Note = tape.Note{By: d.string(), Text: d.string()}
	case kindDecision:
		r.T = d.time()
		d.decision(r)
	default:
		d.fail("unknown record kind %d", r.Kind)
	}
	if d.err != nil {
		return false
	}
	d.offset += uint64(before - len(d.rest))
	r.End = d.offset
	return true
}

func (d *decoder) frame(r *Record, first byte) {
	r.Head, r.Masked = d.byte(), first&maskedBit != 0
	var extra byte
	if first&extraBit != 0 {
		extra = d.byte()
		d.leg(r, extra)
	}
	r.T, r.Len = d.time(), d.uvarint()
	if r.Masked {
		if key := d.bytes(4); key != nil {
			r.Mask = binary.LittleEndian.Uint32(key)
		}
	}
	if extra&violateBit != 0 {
		r.Violation = d.string()
	}
	here := r.Len
	if r.Plain {
		r.Redacted = extra&redactBit != 0
		r.Stored = d.uvarint()
		here = min(r.Stored, maxPiece)
	} else if first&cutBit != 0 {
		if here = d.uvarint(); here >= r.Len {
			d.fail("a cut frame holds %d of %d bytes", here, r.Len)
		}
	}
	r.Payload, r.Seq = d.bytes(here), d.seq
	d.seq++
}

func (d *decoder) leg(r *Record, extra byte) {
	r.Instead = extra&insteadBit != 0
	if r.Leg = tape.Leg(extra & legBits); r.Leg > tape.LegOut {
		d.fail("unknown leg %d", r.Leg)
	}
}

func (d *decoder) decision(r *Record) {
	first := d.byte()
	r.Decision = tape.Decision{From: r.From, Control: first&controlBit != 0, Resent: first&resentBit != 0}
	if fate := first & fateBits; int(fate) < len(fates) && first&^(fateBits|aboutBit|resentBit|controlBit) == 0 {
		r.Decision.Fate = fates[fate]
	} else {
		d.fail("unknown fate %#x", first)
	}
	if first&aboutBit != 0 {
		d.about(r, d.uvarint())
	}
	for range min(d.uvarint(), uint64(len(d.rest))) {
		r.Decision.By = append(r.Decision.By, d.string())
	}
}

// about reads what a decision is about from how many frames back that is.
func (d *decoder) about(r *Record, back uint64) {
	switch {
	case back == 0:
		r.About = notHere
	case back < d.seq:
		r.About = d.seq - back
	default:
		d.fail("a decision about the frame %d before frame %d", back, d.seq)
	}
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("record at offset %d: %w: %s", d.offset, ErrCorrupt, fmt.Sprintf(format, args...))
		d.rest = nil
	}
}

func (d *decoder) byte() byte {
	if len(d.rest) == 0 {
		d.fail("cut short")
		return 0
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return b
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.fail("cut short")
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) time() time.Duration {
	v, n := binary.Varint(d.rest)
	if n <= 0 {
		d.fail("cut short")
		return 0
	}
	d.rest = d.rest[n:]
	d.t += time.Duration(v) * time.Microsecond
	return d.t
}

func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.rest)) {
		d.fail("%d bytes announced, %d there", n, len(d.rest))
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) string() string { return string(d.bytes(d.uvarint())) }
