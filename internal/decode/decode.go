// Package decode says what messages mean in the protocols that people speak over
// WebSocket: a one-line summary, the kind of message, the key that ties an
// answer to its request, whether it is a heartbeat.
//
// A protocol is one file and one entry in the table of [Protocols]. It is sniffed
// from the handshake and the first messages, or chosen by name. A message that a
// protocol cannot read is shown raw and says why: wrong sniffing is worse than none.
package decode

import "github.com/wstape/wstape/tape"

// View is what one message says.
type View struct {
	Protocol  string // name in the table: "socket.io"
	Type      string // the kind of message in the protocol's own words: "next", "subscribe", "EVENT"
	Key       string // ties an answer to its request; "" if the protocol or the message has none
	Answer    bool   // it answers the request with that key, which the other side sent
	More      []Ref  // of the others, where one WebSocket message holds several of the protocol's
	Heartbeat bool   // only keeps the connection alive
	Summary   string // one line for people; may hold any characters, so escape it for a terminal
	Value     any    // decoded as encoding/json would into any, numbers as json.Number, bytes as []byte; nil if there is none
	Err       error  // why the message could not be read as Protocol; what else is set then comes from the raw view
}

// Ref is a request, or an answer to one.
type Ref struct {
	Key    string
	Answer bool
}

// Hint is what is known of a session before its first message.
type Hint struct {
	Subprotocol string
	Target      string // path and query that the client asked for
}

// Decoder reads the messages of one session, in order: some protocols spread one
// message over several, or agree on a format first. Not safe for concurrent use.
type Decoder interface {
	// View reads one text or binary message. It must not keep m's payload, nor
	// change it; its time and memory are bounded by a constant times the payload.
	View(m *tape.Message) View
}

// Protocol is one entry of the table.
type Protocol struct {
	Name  string
	About string // a few words, for --help
	// Sniff says how sure it is that a session speaks the protocol, from 0 (no) to
	// 100 (certainly), after looking at the hint and some first messages.
	Sniff func(h Hint, first []*tape.Message) int
	Open  func(h Hint) Decoder
}
