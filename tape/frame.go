package tape

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Opcode is the four-bit frame type of RFC 6455 section 5.2.
type Opcode uint8

// The opcodes that RFC 6455 defines.
const (
	Continuation Opcode = 0
	Text         Opcode = 1
	Binary       Opcode = 2
	Close        Opcode = 8
	Ping         Opcode = 9
	Pong         Opcode = 10
)

// OpRaw marks bytes that could not be read as frames at all. It is not an
// opcode of the wire.
const OpRaw Opcode = 0xff

// Control reports whether the opcode is of a control frame, reserved ones included.
func (o Opcode) Control() bool { return o&8 != 0 && o != OpRaw }

// Reserved reports whether RFC 6455 leaves the opcode undefined.
func (o Opcode) Reserved() bool { return o >= 3 && o <= 7 || o >= 11 && o <= 15 }

// opcodeNames stand in the order of the opcodes; "" is a reserved one.
func opcodeNames() [11]string {
	return [11]string{"continuation", "text", "binary", "", "", "", "", "", "close", "ping", "pong"}
}

func (o Opcode) String() string {
	if o == OpRaw {
		return "raw"
	}
	if names := opcodeNames(); int(o) < len(names) && names[o] != "" {
		return names[o]
	}
	return fmt.Sprintf("reserved(%d)", uint8(o))
}

// ParseOpcode reads what String writes.
func ParseOpcode(s string) (Opcode, error) {
	if s == "raw" {
		return OpRaw, nil
	}
	for i, name := range opcodeNames() {
		if s == name && name != "" {
			return Opcode(i), nil
		}
	}
	if digits, ok := strings.CutPrefix(s, "reserved("); ok {
		digits, ok = strings.CutSuffix(digits, ")")
		n, err := strconv.ParseUint(digits, 10, 8)
		if ok && err == nil && Opcode(n).Reserved() {
			return Opcode(n), nil
		}
	}
	return 0, fmt.Errorf("op %q is not one of text, binary, close, ping, pong, continuation, reserved(3) …, raw", s)
}

// MarshalText writes the opcode's name.
func (o Opcode) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText reads the opcode's name.
func (o *Opcode) UnmarshalText(b []byte) error {
	op, err := ParseOpcode(string(b))
	*o = op
	return err
}

// Leg says on which of a session's two TCP connections a frame was seen.
type Leg uint8

// A frame that nobody touched was on both legs; one that came in and was
// replaced or dropped only came in; one that wstape made only went out.
const (
	LegBoth Leg = iota
	LegIn
	LegOut
)

func (l Leg) String() string { return [...]string{"both", "in", "out"}[l%3] }

// Frame is one frame as it was on the wire (RFC 6455 section 5.2), or, with
// opcode [OpRaw], bytes that could not be read as frames.
type Frame struct {
	Seq       uint64        // number within the session, one counter for both sides, from 1
	T         time.Duration // since the session began, when the header was read
	From      Side
	Leg       Leg
	Opcode    Opcode
	Fin       bool
	RSV       uint8 // the three reserved bits, RSV1 as 4
	Masked    bool
	Mask      [4]byte
	Len       uint64 // payload length that the header announces
	Payload   []byte // unmasked; shorter than Len when the frame was cut short
	Violation string // what RFC 6455 forbids about it, "" if nothing
	Redacted  bool   // Payload is not the wire's: the message's first frame has all of it, plain and without its secrets
}

// Partial reports whether the connection ended inside the frame.
func (f *Frame) Partial() bool { return !f.Redacted && uint64(len(f.Payload)) < f.Len }

// Part is a run of bytes of one frame inside one read: the whole frame, its
// beginning, or more of a payload that began in an earlier read. A link hands
// these to the recorder without assembling anything.
type Part struct {
	Begin      bool // the header ended here, so the fields below it hold; else Payload continues the frame before
	Raw        bool // not a frame: Payload is recorded as it is
	Masked     bool
	Head       byte   // first byte of the header: FIN, RSV1-3, opcode
	MaskOffset uint8  // which byte of Mask meets the first byte of Payload
	Mask       uint32 // as read, little endian: its lowest byte meets the payload's first
	Len        uint64 // payload length that the header announces
	Payload    []byte // as on the wire, still masked
	Violation  string
}
