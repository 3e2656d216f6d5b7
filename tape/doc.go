// Package tape is the vocabulary of wstape: what a recorded WebSocket session
// consists of, and how each thing is written as JSON.
//
// A [Session] is one connection: a [Handshake], frames, an [Ending]. A [Frame]
// is one RFC 6455 frame as it was on the wire; a [Message] is the frames of one
// message joined, unmasked and inflated. A [Line] is one thing that a reader of
// a session sees: a message, a [Gap] or a [Note].
//
// The package does no I/O and imports the standard library only, so that every
// other room can name these things. Its values are plain data: safe to share
// between goroutines as long as nobody writes to them.
package tape
