package replay

import (
	"time"

	"github.com/wstape/wstape/tape"
)

// Kind says in what way a live session differed from its recording.
type Kind string

// The kinds of mismatch.
const (
	Missing   Kind = "missing message"
	Extra     Kind = "extra message"
	Order     Kind = "wrong order"
	Changed   Kind = "changed message"
	WrongType Kind = "wrong type"  // text for binary or the other way round
	WrongEnd  Kind = "wrong close" // another close code, reason or way to end
	EarlyEnd  Kind = "early end"
	Handshake Kind = "handshake"
	Timeout   Kind = "timeout"
	Secret    Kind = "secret"   // the recording has only a pseudonym of what is to be sent
	TapeGap   Kind = "gap"      // the recording has a hole here, so the rest cannot be played
	Unplayed  Kind = "unplayed" // nobody came for this session
)

// Mismatch is one way in which a live session differed from its recording.
type Mismatch struct {
	Kind     Kind
	Step     int           // of the plan, from 1; 0 for the handshake
	Seq      uint64        // the step's number on the tape; 0 if it has none
	From     tape.Side     // who should have sent it
	Text     string        // one sentence for people
	Expected *tape.Content // nil if nothing was expected
	Received *tape.Content // nil if nothing came
	Diff     []Difference  // of Expected and Received, where both are there
	Nearest  *Candidate    // the recorded message that what came is most like, if it is another one
	T        time.Duration // since the live session began
}

// Difference is one place where what came is not what was expected.
type Difference struct {
	Path string // of a JSON value ($.a[0].b), or "byte 17"
	Want string // as it is written in the message; "" if nothing should be there
	Got  string // "" if nothing is there
}

// Candidate is a recorded message that was not due.
type Candidate struct {
	Step int
	Seq  uint64
	Same bool // it matches; else it only comes near
	Diff []Difference
}

// Outcome is how one recorded session went.
type Outcome struct {
	Session    string // as people name it: "session 3" or the cassette's file
	N          uint64
	Target     string // path and query of the handshake
	Peer       string // the live peer's address; "" if there was none
	Steps      int    // of the plan
	Played     int
	Started    time.Time
	Duration   time.Duration
	Mismatches []Mismatch
	Skipped    []Mismatch // with on-mismatch skip: went on in spite of them
	Notes      []string   // what else a reader of the report should know
}

// Held reports whether the session went as recorded.
func (o *Outcome) Held() bool { return len(o.Mismatches) == 0 }

// Report is how a whole replay went.
type Report struct {
	Role      tape.Side // whom the player stood for
	Recording string
	Started   time.Time
	Duration  time.Duration
	Outcomes  []*Outcome
}

// Held reports whether every session went as recorded.
func (r *Report) Held() bool {
	for _, o := range r.Outcomes {
		if !o.Held() {
			return false
		}
	}
	return true
}
