package proxy

import (
	"context"

	"github.com/wstape/wstape/tape"
)

// Stage sees a session's handshake and messages and decides what becomes of
// them. Its methods may be called from several goroutines at once, unless said
// otherwise.
type Stage interface {
	// Request may change the handshake that goes to the upstream. If it returns a
	// refusal, that is the client's answer, and the upstream is not dialled.
	Request(ctx context.Context, r *tape.Request) (refusal *tape.Response)
	// Response may change the upstream's answer, or put a refusal in its place.
	Response(ctx context.Context, r *tape.Response) (refusal *tape.Response)
	// Opened is called once, after the client has its 101 and before any message.
	Opened(subprotocol string)
	// Wants reports whether the stage is to decide about messages, and about
	// pings and pongs, that one side sends. It is asked before each.
	Wants(from tape.Side) (messages, control bool)
	// Message decides about one message, ping or pong. It calls done exactly once,
	// on any goroutine, before or after it returns; m is not changed before that.
	// For one direction it is called again only after done. Of a message that
	// cannot be read (m.Error says why) there is no payload.
	Message(m *tape.Message, done func(tape.Verdict))
	// Closed is called once, after everything else.
	Closed(e tape.Ending)
}

// Handle is what a stage may do to its session, from any goroutine.
type Handle interface {
	// Send puts a message or a ping of wstape's own behind what is being sent to a
	// side. It takes payload over, and fails when too much waits to be sent.
	Send(to tape.Side, op tape.Opcode, payload []byte, by string) error
	// Close sends a close frame to both sides, behind what Send was given.
	Close(code int, reason, by string)
	// Note puts a remark on the tape.
	Note(text, by string)
	// Tag puts a tag on the session.
	Tag(key, value string)
}

var _ Handle = (*session)(nil)

// Send implements [Handle].
func (s *session) Send(to tape.Side, op tape.Opcode, payload []byte, by string) error {
	return s.ways[to.Other()].inject(&injection{op, payload, by})
}

// Close implements [Handle].
func (s *session) Close(code int, reason, by string) {
	s.hangUp(&hangup{code: code, reason: reason, by: by})
}

// Note implements [Handle].
func (s *session) Note(text, by string) { s.remark(func() { s.tap.Note(text, by) }) }

// Tag implements [Handle].
func (s *session) Tag(key, value string) { s.remark(func() { s.tap.Tag(key, value) }) }

// remark writes to the tape unless the session's record is closed.
func (s *session) remark(write func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.taped {
		write()
	}
}
