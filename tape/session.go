package tape

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// ID is a session's UUIDv7 (RFC 9562): unique across tapes, sortable by time.
type ID [16]byte

func (id ID) String() string {
	var b [36]byte
	hex.Encode(b[0:8], id[0:4])
	hex.Encode(b[9:13], id[4:6])
	hex.Encode(b[14:18], id[6:8])
	hex.Encode(b[19:23], id[8:10])
	hex.Encode(b[24:36], id[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// MarshalText writes the UUID in its usual form.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the UUID's usual form.
func (id *ID) UnmarshalText(b []byte) error {
	if len(b) != 36 || b[8] != '-' || b[13] != '-' || b[18] != '-' || b[23] != '-' {
		return fmt.Errorf("session id %q is not a UUID", b)
	}
	plain := append(append(append(append(append([]byte(nil), b[:8]...), b[9:13]...), b[14:18]...), b[19:23]...), b[24:]...)
	if _, err := hex.Decode(id[:], plain); err != nil {
		return fmt.Errorf("session id %q is not a UUID: %w", b, err)
	}
	return nil
}

// State is where a session stands.
type State string

// The states.
const (
	Open        State = "open"
	Closed      State = "closed"
	Interrupted State = "interrupted" // the recorder died while it was open
	Refused     State = "refused"     // no 101: the upstream refused, or could not be reached (status 502)
)

// Counts is one number for each side.
type Counts struct {
	Client uint64 `json:"client"`
	Server uint64 `json:"server"`
}

// Add adds n to one side.
func (c *Counts) Add(from Side, n uint64) {
	if from == Client {
		c.Client += n
	} else {
		c.Server += n
	}
}

// Session is one WebSocket connection on a tape, without its frames.
type Session struct {
	N           uint64 // number within its tape, from 1
	ID          ID
	Started     time.Time
	Duration    time.Duration // so far while open; up to the last frame when interrupted
	URL         string        // what the client asked for: path and query
	Upstream    string        // where it was dialled
	Client      string        // the client's address
	Status      int           // of the handshake's answer
	Subprotocol string
	Extensions  string // as the upstream granted them
	State       State
	Frames      Counts  // wire frames, control and close frames included
	Bytes       Counts  // wire payload bytes
	Ending      *Ending // nil while open or interrupted
	Tags        map[string]string
	Notes       []string // the operator's remarks on the session as a whole
	Redacted    bool     // payloads were searched for secrets before they were recorded, and are stored plain
	Handshake   Handshake
	Rules       []byte // JSON that a cassette carries for replay; nil if none
}

// Handshake is the opening request and its answer (RFC 6455 section 4), as recorded:
// secrets are pseudonyms.
type Handshake struct {
	Request  Request
	Response Response
}

// Request is the head of the client's handshake.
type Request struct {
	Method  string   `json:"method,omitempty"`
	Target  string   `json:"target,omitempty"`
	Headers []Header `json:"headers,omitempty"`
}

// Response is the upstream's answer to the handshake; Body only of a refusal.
type Response struct {
	Status  int      `json:"status,omitempty"`
	Headers []Header `json:"headers,omitempty"`
	Body    []byte   `json:"body_b64,omitempty"`
}

// Header is one field line, written as [name, value].
type Header [2]string

// Field is the value of the first header field of a name, whose case does not
// matter; "" if there is none.
func Field(headers []Header, name string) string {
	for _, h := range headers {
		if strings.EqualFold(h[0], name) {
			return h[1]
		}
	}
	return ""
}
