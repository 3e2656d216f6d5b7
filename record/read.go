package record

import (
	"context"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/tape"
)

// ReadOptions say how to read a session. The zero value reads what is there,
// from the beginning, whole.
type ReadOptions struct {
	Offset  uint64 // begin with the records at this offset of the stream
	Follow  bool   // go on with what is being recorded, until the session ends
	Keep    uint64 // bytes of each payload that are kept; 0 keeps all
	Inflate uint64 // what one message may inflate to; 0 means no limit
}

// Segments yields a session's stream from an offset on. Following it, there is
// no seam between what was stored and what comes live: both are read from the
// tape. It ends with an error at most once.
func Segments(ctx context.Context, r Reader, n, offset uint64, follow bool) iter.Seq2[*Segment, error] {
	return func(yield func(*Segment, error) bool) {
		version := uint64(0)
		for {
			var err error
			if follow {
				if version, err = r.Wait(ctx, version); err != nil {
					yield(nil, err)
					return
				}
			}
			entry, err := r.Session(ctx, n)
			if err != nil {
				yield(nil, err)
				return
			}
			for {
				page, err := r.Segments(ctx, n, offset)
				if err != nil {
					yield(nil, err)
					return
				}
				for i := range page {
					offset = page[i].End()
					if !yield(&page[i], nil) {
						return
					}
				}
				if len(page) == 0 {
					break
				}
			}
			if !follow || entry.State != tape.Open && offset >= entry.Size {
				return
			}
		}
	}
}

// Records yields the records of a session from an offset on. What cannot be
// read of the stream comes as gaps. A record is valid until the next one is
// asked for.
func Records(ctx context.Context, r Reader, n, offset uint64, follow bool) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		at, seq, t := offset, uint64(0), time.Duration(0) // behind the record before
		var rec Record
		for seg, err := range Segments(ctx, r, n, offset, follow) {
			if err != nil {
				yield(nil, err)
				return
			}
			if seg.Lost > 0 {
				continue // the gap is marked when it is known where it ends
			}
			if seg.Offset > at && !yieldLost(yield, seg.Offset-at, seg.Seq-min(seg.Seq, seq), t) {
				return
			}
			d := newDecoder(seg)
			for d.next(&rec) {
				if rec.Offset >= at && !yield(&rec, nil) {
					return
				}
			}
			if d.err != nil {
				yield(nil, fmt.Errorf("session %d: %w", n, d.err))
				return
			}
			at, seq, t = max(at, seg.End()), d.seq, d.t
		}
		entry, err := r.Session(ctx, n)
		if err != nil {
			yield(nil, err)
			return
		}
		if entry.State != tape.Open && entry.Size > at {
			frames := entry.Frames.Client + entry.Frames.Server + 1
			yieldLost(yield, entry.Size-at, frames-min(frames, max(seq, 1)), t)
		}
	}
}

// yieldLost yields the gap that stands for a damaged part of the stream. It
// concerns both sides; the frames are counted once.
func yieldLost(yield func(*Record, error) bool, bytes, frames uint64, t time.Duration) bool {
	gap := tape.Gap{Frames: frames, Bytes: bytes, Why: "this part of the tape is damaged: see wstape check"}
	rec := Record{Kind: kindGap, T: t, Gap: gap}
	other := Record{Kind: kindTorn, From: tape.Server}
	return yield(&rec, nil) && yield(&other, nil)
}

// Lines yields what people look at: messages, gaps and notes, in the order of
// the messages' first frames.
func Lines(ctx context.Context, r Reader, n uint64, opts ReadOptions) iter.Seq2[*tape.Line, error] {
	return func(yield func(*tape.Line, error) bool) {
		entry, err := r.Session(ctx, n)
		if err != nil {
			yield(nil, err)
			return
		}
		start, windows, err := checkpoint(ctx, r, &entry, opts.Offset)
		if err != nil {
			yield(nil, err)
			return
		}
		a := newAssembler(&entry.Session, orMax(opts.Inflate), orMax(opts.Keep), start == 0)
		if opts.Follow {
			a.out.limit = followLimit
		}
		var skip uint64 // first frame that was asked for
		begun := opts.Offset == start
		for rec, err := range Records(ctx, r, n, start, opts.Follow) {
			if err != nil {
				yield(nil, err)
				return
			}
			if !begun && rec.Offset >= opts.Offset && rec.Kind == kindFrame {
				begun, skip = true, rec.Seq
			}
			for i := range windows {
				if w := &windows[i]; w.Bytes != nil && rec.Offset >= w.Offset {
					a.window(w)
					w.Bytes = nil
				}
			}
			a.record(rec)
			for line, ok := a.out.next(); ok; line, ok = a.out.next() {
				if begun && (line.Message == nil || line.Message.Seq >= skip) && !yield(line, nil) {
					return
				}
			}
		}
		if entry, err = r.Session(ctx, n); err != nil {
			yield(nil, err)
			return
		}
		a.finish(entry.State == tape.Open)
		for line, ok := a.out.next(); ok; line, ok = a.out.next() {
			if !yield(line, nil) {
				return
			}
		}
	}
}

// followLimit is how many lines a live view holds back for a message that has
// begun and not ended; then it shows them out of order rather than stall.
const followLimit = 64

// checkpoint finds where reading must begin so that every compressed message
// from offset on can be inflated.
func checkpoint(ctx context.Context, r Reader, e *Entry, offset uint64) (start uint64, windows []Window, err error) {
	c := Compression(&e.Session)
	start = offset
	for _, from := range tape.Sides() {
		if offset == 0 || !c.On || c.NoTakeover[from] {
			continue
		}
		w, err := r.Window(ctx, e.N, from, offset)
		if err != nil {
			return 0, nil, err
		}
		start = min(start, w.Offset)
		windows = append(windows, w)
	}
	if start == 0 {
		windows = nil
	}
	return start, windows, nil
}

func orMax(n uint64) uint64 {
	if n == 0 {
		return math.MaxUint64
	}
	return n
}

// Frames yields the frames of a session as they were on the wire, in the order
// of their headers; what is not frames comes with the opcode [tape.OpRaw].
func Frames(ctx context.Context, r Reader, n uint64, opts ReadOptions) iter.Seq2[*tape.Frame, error] {
	return func(yield func(*tape.Frame, error) bool) {
		out := ordered[*tape.Frame]{limit: queueLimit}
		if opts.Follow {
			out.limit = followLimit
		}
		var current [2]*slot[*tape.Frame]
		for rec, err := range Records(ctx, r, n, opts.Offset, opts.Follow) {
			if err != nil {
				yield(nil, err)
				return
			}
			switch rec.Kind {
			case kindFrame, kindRaw:
				if s := current[rec.From]; s != nil && rec.Leg != tape.LegOut {
					s.done = true // cut off by a gap
					current[rec.From] = nil
				}
				f := frameOf(rec)
				if s := out.add(f, !f.Partial()); !s.done {
					current[rec.From] = s
				}
			case kindPiece:
				if s := current[rec.From]; s != nil {
					s.value.Payload = append(s.value.Payload, rec.Payload...)
					if s.done = !s.value.Partial(); s.done {
						current[rec.From] = nil
					}
				}
			}
			for f, ok := out.next(); ok; f, ok = out.next() {
				if !yield(f, nil) {
					return
				}
			}
		}
		for _, s := range out.slots {
			if !yield(s.value, nil) {
				return
			}
		}
	}
}

func frameOf(r *Record) *tape.Frame {
	f := &tape.Frame{
		Seq: r.Seq, T: r.T, From: r.From, Leg: r.Leg, Masked: r.Masked, Len: r.Len, Violation: r.Violation,
		Payload: append([]byte(nil), r.Payload...), Opcode: tape.OpRaw,
	}
	if r.Masked {
		f.Mask = maskKey(r.Mask)
	}
	if r.Kind == kindFrame {
		f.Fin, f.RSV, f.Opcode = wire.Split(r.Head)
	}
	return f
}
