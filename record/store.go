package record

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/wstape/wstape/tape"
)

// Errors that callers branch on; every engine returns them wrapped.
var (
	ErrNotFound = errors.New("no such session")           // the tape has no session of that number
	ErrOpen     = errors.New("the session is still open") // it cannot be removed while it is being recorded
	ErrNotATape = errors.New("not a wstape tape")
	ErrVersion  = errors.New("written by a newer wstape")
	ErrCorrupt  = errors.New("damaged")
	ErrBusy     = errors.New("held by another process")
	ErrAstray   = errors.New("what is recorded will not be found") // it was stored all the same
)

// Segment is a run of a session's stream, cut at record boundaries. With Seq
// and T it can be decoded without what came before it.
type Segment struct {
	Session uint64
	Offset  uint64        // of its first byte in the session's stream
	Seq     uint64        // number of the next frame that begins in it
	T       time.Duration // time of the record before it
	Raw     []byte
	Lost    string // why what stood here cannot be read; Raw is then empty

	buf []byte // the recorder's memory that Raw lies in, with headroom before it
}

// End returns the offset behind the segment; of a lost one it is only known that
// it had at least a byte.
func (s *Segment) End() uint64 {
	if s.Lost != "" {
		return s.Offset + 1
	}
	return s.Offset + uint64(len(s.Raw))
}

// Window is what one side's inflater knew at a point of the stream, so that
// reading compressed messages can begin there.
type Window struct {
	Session uint64
	From    tape.Side
	Offset  uint64 // of the first record that it applies to
	Bytes   []byte // at most 32 KiB
}

// Entry is a session as a tape keeps it.
type Entry struct {
	tape.Session
	Size uint64 // bytes of its stream
}

// Supersedes reports whether e is newer than what a tape knows of the session: a
// session never gets shorter, loses no tag and never opens again. What does not
// supersede is from a batch that is appended a second time.
func (e *Entry) Supersedes(known *Entry) bool {
	longer := e.Size > known.Size || e.Size == known.Size && len(e.Tags) >= len(known.Tags)
	return longer && (e.State != tape.Open || known.State == tape.Open)
}

// Extend counts what a segment adds to the entry's stream: how an engine brings
// an entry up to date with segments that were stored after it. What the entry
// knows already is not counted again.
func (e *Entry) Extend(s *Segment) error {
	d := newDecoder(s)
	var r Record
	for d.next(&r) {
		if r.Offset < e.Size {
			continue
		}
		switch {
		case r.Instead: // the counts are what was sent, and that was what came in
		case r.Kind == kindFrame:
			e.Frames.Add(r.From, 1)
			e.Bytes.Add(r.From, r.onWire())
			e.Duration = max(e.Duration, r.T)
		case r.Plain: // counted with its frame
		case r.Kind == kindPiece, r.Kind == kindRaw:
			e.Bytes.Add(r.From, uint64(len(r.Payload)))
		case r.Kind == kindGap:
			e.Frames.Add(r.From, r.Gap.Frames)
			e.Bytes.Add(r.From, r.Gap.Bytes)
		}
		e.Size = r.End
	}
	return d.err
}

// Batch is what one Append writes, all of it or nothing.
type Batch struct {
	Entries  []Entry // begun, changed and ended sessions
	Segments []Segment
	Windows  []Window
}

// Label is what the operator attaches to a session; it may change at any time.
type Label struct {
	Tags  map[string]string // "" as value deletes nothing: a tag may be a bare key
	Notes []string
}

// Attached is a label as engines keep it.
type Attached struct {
	Label
	Before map[string]string `json:",omitempty"` // what the recorder had tagged when it was attached
}

// Attach returns what an engine keeps of a label that replaces what e shows,
// which is the session as the recorder wrote it.
func Attach(l Label, e *Entry) Attached { return Attached{l, e.Tags} }

// Apply shows a session with its label: the label's tags and notes, and what
// the recorder has tagged since it was attached.
func (a *Attached) Apply(e *Entry) {
	tags, shared := a.Tags, true
	for key, value := range e.Tags {
		if before, ok := a.Before[key]; ok && before == value {
			continue
		}
		if shared {
			tags, shared = maps.Clone(tags), false
		}
		if tags == nil {
			tags = map[string]string{}
		}
		tags[key] = value
	}
	e.Tags, e.Notes = tags, a.Notes
}

// Reader reads a tape a page at a time: no call holds anything of the engine
// when it returns, so a reader may take as long as it likes between calls.
// Implementations are safe for concurrent use.
type Reader interface {
	// Sessions returns the sessions numbered above after, in order, at most a
	// page of them; none when there are no more.
	Sessions(ctx context.Context, after uint64) ([]Entry, error)
	// Session returns one session, or an error that wraps ErrNotFound.
	Session(ctx context.Context, n uint64) (Entry, error)
	// Segments returns a page of a session's stream, beginning with the segment
	// that holds offset; none when the stream is not that long (yet).
	Segments(ctx context.Context, n, offset uint64) ([]Segment, error)
	// Window returns the last window of one side at or before offset; its Bytes
	// are nil and its Offset 0 if there is none.
	Window(ctx context.Context, n uint64, from tape.Side, offset uint64) (Window, error)
	// Wait returns the tape's version, which grows with every change, as soon as
	// it is above since.
	Wait(ctx context.Context, since uint64) (uint64, error)
}

// Writer adds sessions to a tape.
type Writer interface {
	// Begin reserves a session number. Nothing is stored until Append.
	Begin(ctx context.Context) (uint64, error)
	// Append stores the batch. Appending what is there already changes nothing,
	// so that a batch whose fate is unknown can be appended again; a segment of a
	// session that is neither there nor in the batch is ErrNotFound. An error that
	// wraps ErrAstray says that the batch was stored where nobody will find it.
	// The batch's bytes are the caller's again when Append returns.
	Append(ctx context.Context, b Batch) error
}

// Store is a tape: what every engine implements and [storetest] checks.
//
// [storetest]: https://pkg.go.dev/github.com/wstape/wstape/record/storetest
type Store interface {
	Reader
	Writer
	// SetLabel replaces a session's tags and notes. What the recorder tags
	// afterwards is added to them.
	SetLabel(ctx context.Context, n uint64, l Label) error
	// Delete removes sessions, one after the other; at one that is open it ends with
	// ErrOpen, at one that is not there with ErrNotFound. The engine gives what else
	// uses the tape its turn in between.
	Delete(ctx context.Context, numbers ...uint64) error
	// Usage says how much is on the tape.
	Usage(ctx context.Context) (Usage, error)
	Close() error
}

// Usage is how much is on a tape.
type Usage struct {
	Sessions uint64
	Bytes    int64 // that the engine uses for it, whatever room it has beside
}
