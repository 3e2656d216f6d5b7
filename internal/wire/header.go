package wire

import (
	"encoding/binary"

	"github.com/wstape/wstape/tape"
)

// MaxHeader is the longest frame header: two bytes, a 64-bit length, a mask key.
const MaxHeader = 14

// The bits of a header's first byte (RFC 6455 section 5.2).
const (
	FinBit  = 0x80
	RSV1Bit = 0x40
	rsvBits = 0x70
	opBits  = 0x0f
)

const maskBit = 0x80

// headerLen returns how long the header is that begins with b, or 0 while
// fewer than two bytes of it are known.
func headerLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	n := 2
	switch b[1] &^ maskBit {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if b[1]&maskBit != 0 {
		n += 4
	}
	return n
}

// Split takes the first byte of a header apart.
func Split(head byte) (fin bool, rsv uint8, op tape.Opcode) {
	return head&FinBit != 0, head & rsvBits >> 4, tape.Opcode(head & opBits)
}

// Head joins what Split takes apart.
func Head(fin bool, rsv uint8, op tape.Opcode) byte {
	head := rsv&7<<4 | byte(op)&opBits
	if fin {
		head |= FinBit
	}
	return head
}

// AppendHeader appends a frame header with the shortest length encoding. A nil
// mask makes an unmasked frame.
func AppendHeader(b []byte, head byte, length uint64, mask *[4]byte) []byte {
	bit := byte(0)
	if mask != nil {
		bit = maskBit
	}
	b = append(b, head)
	switch {
	case length < 126:
		b = append(b, bit|byte(length))
	case length < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, bit|126), uint16(length))
	default:
		b = binary.BigEndian.AppendUint64(append(b, bit|127), length)
	}
	if mask != nil {
		b = append(b, mask[:]...)
	}
	return b
}

// AppendFrame appends a whole frame.
func AppendFrame(b []byte, head byte, payload []byte, mask *[4]byte) []byte {
	b = AppendHeader(b, head, uint64(len(payload)), mask)
	if mask == nil {
		return append(b, payload...)
	}
	return AppendMasked(b, payload, binary.LittleEndian.Uint32(mask[:]), 0)
}
