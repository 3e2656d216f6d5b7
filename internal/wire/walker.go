package wire

import (
	"encoding/binary"

	"github.com/wstape/wstape/tape"
)

// What RFC 6455 forbids about a frame, as it stands on the tape.
const (
	violationRSV          = "reserved bit set that no extension gave a meaning (RFC 6455 5.2)"
	violationOpcode       = "reserved opcode (RFC 6455 5.2)"
	violationUnmasked     = "unmasked frame from the client (RFC 6455 5.1)"
	violationMasked       = "masked frame from the server (RFC 6455 5.1)"
	violationControlLen   = "control frame longer than 125 bytes (RFC 6455 5.5)"
	violationControlFin   = "fragmented control frame (RFC 6455 5.5)"
	ViolationStray        = "continuation of no message (RFC 6455 5.4)"
	violationInterleaved  = "new message inside a fragmented one (RFC 6455 5.4)"
	violationLong         = "length not encoded in the fewest bytes (RFC 6455 5.2)"
	violationNotFrames    = "not WebSocket frames: a 64-bit length with the top bit set (RFC 6455 5.2); unread from here on"
	violationHeaderCut    = "the connection ended inside a frame header"
	ViolationCloseLen     = "close frame with one byte of payload (RFC 6455 5.5.1)"
	ViolationCloseCode    = "close code that must not be sent (RFC 6455 7.4)"
	ViolationCloseReason  = "close reason is not UTF-8 (RFC 6455 5.5.1)"
	ViolationTextEncoding = "text is not UTF-8 (RFC 6455 8.1)"
)

// Walker follows the frames of one direction through the chunks in which they
// arrive. It never copies or assembles a payload and never fails: what cannot
// be read as frames is passed on as raw parts.
type Walker struct {
	from    tape.Side
	deflate bool // permessage-deflate was negotiated, so RSV1 has a meaning

	left     uint64 // payload bytes of the current frame still to come
	mask     uint32
	offset   uint8 // which byte of mask comes next
	head     [MaxHeader]byte
	headLen  uint8 // bytes of a header that began in an earlier chunk
	fragment bool  // a fragmented message is open
	blind    bool  // unparseable: everything is raw from here on
}

// NewWalker returns a walker for what one side sends, beginning behind its
// handshake.
func NewWalker(from tape.Side, deflate bool) Walker {
	return Walker{from: from, deflate: deflate}
}

// Boundary reports whether the bytes so far end where a frame ends, so that
// another frame may be put behind them.
func (w *Walker) Boundary() bool { return w.left == 0 && w.headLen == 0 && !w.blind }

// Fragmented reports whether the last data frame that began was not the last of
// its message, so that no other message may be put behind it.
func (w *Walker) Fragmented() bool { return w.fragment }

// Walk appends to parts what the chunk holds. The parts' payloads point into
// the chunk.
func (w *Walker) Walk(parts []tape.Part, chunk []byte) []tape.Part {
	for len(chunk) > 0 {
		switch {
		case w.blind:
			return append(parts, tape.Part{Raw: true, Payload: chunk, Len: uint64(len(chunk))})
		case w.left > 0:
			n := int(min(w.left, uint64(len(chunk))))
			parts = append(parts, tape.Part{Mask: w.mask, MaskOffset: w.offset, Payload: chunk[:n]})
			w.advance(n)
			chunk = chunk[n:]
			continue
		}
		header, rest, whole := w.header(chunk)
		if !whole {
			return parts
		}
		chunk = rest
		part, ok := w.begin(header)
		if !ok {
			// The header itself is part of what cannot be read.
			w.blind = true
			raw := append([]byte(nil), header...)
			parts = append(parts, tape.Part{Raw: true, Payload: raw, Len: uint64(len(raw)), Violation: violationNotFrames})
			continue
		}
		n := int(min(w.left, uint64(len(chunk))))
		part.Payload = chunk[:n]
		w.advance(n)
		chunk = chunk[n:]
		parts = append(parts, part)
	}
	return parts
}

// Next returns how many bytes of a non-empty chunk belong to what comes next:
// the rest of a frame, a whole header with as much of its payload as is there,
// raw bytes, or, if not whole, a header that the chunk does not complete.
func (w *Walker) Next(chunk []byte) (n int, whole bool) {
	if w.blind {
		return len(chunk), true
	}
	if w.left > 0 {
		return int(min(w.left, uint64(len(chunk)))), true
	}
	ahead := *w
	h, rest, whole := ahead.header(chunk)
	if !whole {
		return len(chunk), false
	}
	if _, ok := ahead.begin(h); !ok {
		return len(chunk), true
	}
	return len(chunk) - len(rest) + int(min(ahead.left, uint64(len(rest)))), true
}

// End returns what is left over when the direction ends: the bytes of a header
// that never came to its end.
func (w *Walker) End(parts []tape.Part) []tape.Part {
	if w.headLen > 0 {
		raw := append([]byte(nil), w.head[:w.headLen]...)
		parts = append(parts, tape.Part{Raw: true, Payload: raw, Len: uint64(len(raw)), Violation: violationHeaderCut})
		w.headLen = 0
	}
	return parts
}

func (w *Walker) advance(n int) {
	w.left -= uint64(n)
	w.offset = uint8((int(w.offset) + n) & 3)
}

// header finds the next whole header, joining it with what an earlier chunk
// held of it. The rest of the chunk follows it.
func (w *Walker) header(chunk []byte) (header, rest []byte, whole bool) {
	if w.headLen == 0 {
		if n := headerLen(chunk); n > 0 && n <= len(chunk) {
			return chunk[:n], chunk[n:], true
		}
	}
	for len(chunk) > 0 {
		w.head[w.headLen] = chunk[0]
		w.headLen++
		chunk = chunk[1:]
		if n := headerLen(w.head[:w.headLen]); n > 0 && n == int(w.headLen) {
			w.headLen = 0
			return w.head[:n], chunk, true
		}
	}
	return nil, nil, false
}

// begin reads a whole header; not ok means that no frame can begin like this.
func (w *Walker) begin(h []byte) (part tape.Part, ok bool) {
	part = tape.Part{Begin: true, Head: h[0], Masked: h[1]&maskBit != 0, Len: uint64(h[1] &^ maskBit)}
	tail := h[2:]
	shortest := true
	switch part.Len {
	case 126:
		part.Len = uint64(binary.BigEndian.Uint16(tail))
		shortest, tail = part.Len >= 126, tail[2:]
	case 127:
		part.Len = binary.BigEndian.Uint64(tail)
		shortest, tail = part.Len >= 1<<16, tail[8:]
		if part.Len>>63 != 0 {
			return part, false
		}
	}
	if part.Masked {
		part.Mask = binary.LittleEndian.Uint32(tail)
	}
	w.left, w.mask, w.offset = part.Len, part.Mask, 0
	part.Violation = w.violation(&part)
	if part.Violation == "" && !shortest {
		part.Violation = violationLong
	}
	return part, true
}

// violation says what RFC 6455 forbids about the frame and keeps track of
// fragmentation.
func (w *Walker) violation(p *tape.Part) string {
	fin, rsv, op := Split(p.Head)
	opened := w.fragment
	if !op.Control() {
		w.fragment = !fin
	}
	allowed := uint8(0)
	if w.deflate && (op == tape.Text || op == tape.Binary) {
		allowed = 4
	}
	switch {
	case rsv&^allowed != 0:
		return violationRSV
	case op.Reserved():
		return violationOpcode
	case w.from == tape.Client && !p.Masked:
		return violationUnmasked
	case w.from == tape.Server && p.Masked:
		return violationMasked
	case op.Control() && p.Len > 125:
		return violationControlLen
	case op.Control() && !fin:
		return violationControlFin
	case op == tape.Continuation && !opened:
		return ViolationStray
	case !op.Control() && op != tape.Continuation && opened:
		return violationInterleaved
	}
	return ""
}

// CloseViolation says what is forbidden about a close frame's payload, "" if
// nothing is.
func CloseViolation(payload []byte) string {
	code, _, ok := tape.ParseClose(payload)
	switch {
	case len(payload) == 1:
		return ViolationCloseLen
	case !ok:
		return ViolationCloseReason
	case len(payload) == 0, code >= 1000 && code <= 1003, code >= 1007 && code <= 1014, code >= 3000 && code <= 4999:
		return ""
	}
	return ViolationCloseCode
}
