package tape

import "time"

// Content is what a message says: its opcode and its plain payload.
type Content struct {
	Op      Opcode
	Payload []byte // unmasked and inflated; shorter than Len if a reader asked for less
	Len     uint64 // bytes of the plain payload
}

// Message is the data frames of one message joined, unmasked and inflated, or
// one control frame: what scripts and people see.
type Message struct {
	Content
	Seq       uint64        // of its first wire frame
	T         time.Duration // of its first wire frame
	From      Side
	Frames    []uint64 // wire payload bytes of each frame
	RSV1      bool     // compressed on the wire (RFC 7692)
	WireLen   uint64   // wire payload bytes of all frames
	Fate      Fate
	By        []string // who decided its fate, in order; empty when it passed
	Received  *Content // what came in, of an edited message
	Violation string
	Partial   bool   // the message never ended
	Redacted  bool   // secrets in it were replaced before it was recorded
	Error     string // why the payload could not be inflated; Payload then holds the wire bytes

	ReceivedError string // the same of what came in
}

// Line is one thing that a reader of a session sees. Exactly one of Message,
// Gap and Note is set.
type Line struct {
	T       time.Duration
	Message *Message
	Gap     *Gap
	Note    *Note
}
