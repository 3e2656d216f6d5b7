package tape

// EndingKind says how a session ended.
type EndingKind string

// The kinds of ending.
const (
	EndClose   EndingKind = "close"   // a close frame was sent
	EndEOF     EndingKind = "eof"     // the connection ended without one
	EndReset   EndingKind = "reset"   // TCP reset
	EndTimeout EndingKind = "timeout" // a limit of time ran out
	EndError   EndingKind = "error"   // anything else; Why says what
)

// Ending is how a session ended: a close frame (code, reason, from), EOF,
// reset, timeout or error.
type Ending struct {
	Kind   EndingKind
	Code   int    // of a close frame; NoStatus when the frame had none
	Reason string // of a close frame
	From   *Side  // who ended it; nil when neither side did
	Why    string // for timeout and error
}

// NoStatus stands for a close frame without a status code (RFC 6455 section
// 7.1.5); it is never on the wire.
const NoStatus = 1005

// Fate is what became of a message on its way through the proxy.
type Fate string

// The fates.
const (
	Passed   Fate = "passed"   // went on as it came
	Edited   Fate = "edited"   // something else went on in its place
	Dropped  Fate = "dropped"  // nothing went on
	Injected Fate = "injected" // nothing came in; wstape made it
)

// Decision ties what came in to what went out: the frames after it, with
// [LegOut], are what replaced the message that came in from the same side.
type Decision struct {
	From    Side
	Fate    Fate
	By      []string // who decided, in order: "script:<file>", "fault:<name>", "operator", "replay"
	Control bool     // about a ping or pong; those do not wait for the messages before them
	Resent  bool     // of a message that passed: it went on in other frames than it came in
}

// Verdict is what is decided about a message or control frame.
type Verdict struct {
	Fate Fate      // Passed, Edited or Dropped
	By   []string  // who decided, in order
	Out  []Content // of Edited: what goes on in its place; what follows the first counts as injected
}

// Gap is a mark on the tape: frames that passed and were not recorded.
type Gap struct {
	Frames uint64
	Bytes  uint64
	Why    string
}

// Note is a remark on the tape, by a script, by wstape ("wstape") or by the operator.
type Note struct {
	Text string
	By   string
}
