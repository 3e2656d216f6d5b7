package wstest

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/wstape/wstape/tape"
)

// Frame is one frame to be written, or one that was read. Nothing about it
// needs to be legal.
type Frame struct {
	Fin     bool
	RSV     uint8 // the three reserved bits, RSV1 as 4
	Op      tape.Opcode
	Mask    *[4]byte // nil for an unmasked frame
	Payload []byte   // plain
	LenSize int      // bytes of the extended length: 0 for the fewest, else 2 or 8
}

// New returns an unmasked frame with FIN.
func New(op tape.Opcode, payload string) Frame {
	return Frame{Fin: true, Op: op, Payload: []byte(payload)}
}

// CloseFrame returns a close frame; code 0 makes one without a payload.
func CloseFrame(code int, reason string) Frame {
	return Frame{Fin: true, Op: tape.Close, Payload: tape.AppendClose(nil, code, reason)}
}

// From returns the frame as a side sends it: masked by the client, and only by it.
func (f Frame) From(side tape.Side) Frame {
	f.Mask = nil
	if side == tape.Client {
		f.Mask = &[4]byte{0x37, 0xfa, 0x21, 0x3d} // the key of RFC 6455 section 5.7
	}
	return f
}

// Part returns the frame as a fragment: FIN only if it is the last.
func (f Frame) Part(last bool) Frame {
	f.Fin = last
	return f
}

// Append appends the frame's wire form.
func (f Frame) Append(b []byte) []byte {
	head := f.RSV&7<<4 | byte(f.Op)&15
	if f.Fin {
		head |= 0x80
	}
	var bit byte
	if f.Mask != nil {
		bit = 0x80
	}
	n, size := len(f.Payload), f.LenSize
	if size == 0 && n > 125 {
		size = 2
	}
	if n > 65535 {
		size = 8
	}
	switch size {
	case 0:
		b = append(b, head, bit|byte(n))
	case 2:
		b = binary.BigEndian.AppendUint16(append(b, head, bit|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, head, bit|127), uint64(n))
	}
	if f.Mask == nil {
		return append(b, f.Payload...)
	}
	b = append(b, f.Mask[:]...)
	for i, c := range f.Payload {
		b = append(b, c^f.Mask[i%4])
	}
	return b
}

// Bytes returns the wire form of frames, one behind the other.
func Bytes(frames ...Frame) []byte {
	var b []byte
	for _, f := range frames {
		b = f.Append(b)
	}
	return b
}

// maxRead keeps a broken length from taking all memory.
const maxRead = 64 << 20

// Read reads one frame.
func Read(r io.Reader) (f Frame, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return f, err
	}
	f = Frame{Fin: head[0]&0x80 != 0, RSV: head[0] >> 4 & 7, Op: tape.Opcode(head[0] & 15)}
	n := uint64(head[1] & 0x7f)
	if n >= 126 {
		f.LenSize = map[uint64]int{126: 2, 127: 8}[n]
		var ext [8]byte
		if _, err := io.ReadFull(r, ext[8-f.LenSize:]); err != nil {
			return f, err
		}
		n = binary.BigEndian.Uint64(ext[:])
	}
	if head[1]&0x80 != 0 {
		f.Mask = new([4]byte)
		if _, err := io.ReadFull(r, f.Mask[:]); err != nil {
			return f, err
		}
	}
	if n > maxRead {
		return f, fmt.Errorf("a frame of %d bytes is more than a test sends", n)
	}
	f.Payload = make([]byte, n)
	_, err = io.ReadFull(r, f.Payload)
	for i := range f.Payload {
		if f.Mask != nil {
			f.Payload[i] ^= f.Mask[i%4]
		}
	}
	return f, err
}

func (f Frame) String() string {
	payload := fmt.Sprintf("%q", f.Payload)
	if len(f.Payload) > 40 {
		payload = fmt.Sprintf("%q… (%d bytes)", f.Payload[:40], len(f.Payload))
	}
	return fmt.Sprintf("{%v fin=%v rsv=%d masked=%v %s}", f.Op, f.Fin, f.RSV, f.Mask != nil, payload)
}
