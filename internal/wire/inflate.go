package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/klauspost/compress/flate"
)

// WindowSize is how far back a compressed message may refer (RFC 7692 section
// 7.1.2: at most 15 bits).
const WindowSize = 1 << 15

// windowSlack is how much history may pile up before it is slid back to
// WindowSize, so that small messages do not each move 32 KiB.
const windowSlack = 1 << 13

// ErrInflateLimit means that a message grew past the limit while it was inflated.
var ErrInflateLimit = errors.New("inflates to more than the limit (limits.inflate)")

// ErrWindowLost means that an earlier message of the direction could not be
// inflated, so that its window is not known any more.
var ErrWindowLost = errors.New("an earlier message could not be inflated, and this one may refer to it")

// maxFinalBlocks is how many blocks marked final a message may have. Each costs
// a new start with the whole window, and two bytes are enough to ask for one.
const maxFinalBlocks = 1 << 10

var errFinalBlocks = fmt.Errorf("more than %d blocks are marked final", maxFinalBlocks)

// What a sender strips off each message (RFC 7692 section 7.2.1), and an empty
// final block behind it so that the decoder comes to a clean end.
const deflateTail = "\x00\x00\xff\xff\x01\x00\x00\xff\xff"

// Inflater inflates the messages of one direction, in order. With context
// takeover it keeps the last 32 KiB of plain bytes; memory for decoding is
// shared between all inflaters. It belongs to one goroutine at a time.
type Inflater struct {
	takeover bool
	limit    uint64
	window   []byte
	lost     error
	kept     *kept // nil if decoders come from the pool
}

// NewInflater returns an inflater at the beginning of a direction. A message may
// inflate to at most limit bytes.
func NewInflater(takeover bool, limit uint64) *Inflater {
	return &Inflater{takeover: takeover, limit: limit}
}

// decoder is the memory that inflating one message takes.
type decoder struct {
	fr    io.ReadCloser
	src   io.Reader
	in    bytes.Reader
	tail  strings.Reader
	chunk [16 << 10]byte
	alone []byte // history of a message without context takeover
}

var decoders = sync.Pool{New: func() any { return &decoder{fr: flate.NewReader(bytes.NewReader(nil))} }}

// byteSource reads a message and then the tail byte by byte, which keeps the
// decoder from reading past the end of a final block.
type byteSource struct{ d *decoder }

func (s byteSource) ReadByte() (byte, error) {
	if s.d.in.Len() > 0 {
		return s.d.in.ReadByte()
	}
	return s.d.tail.ReadByte()
}

func (s byteSource) Read(p []byte) (int, error) {
	if s.d.in.Len() > 0 {
		return s.d.in.Read(p)
	}
	return s.d.tail.Read(p)
}

// Message inflates one message (its frames' unmasked payloads joined) and
// appends the plain bytes to dst, at most keep of them; total is how many there
// were. After an error a direction with context takeover cannot go on: every
// later call fails with [ErrWindowLost].
func (z *Inflater) Message(dst, message []byte, keep uint64) (plain []byte, total uint64, err error) {
	if z.lost != nil {
		return dst, 0, ErrWindowLost
	}
	if z.kept != nil {
		if plain, total, ok := z.kept.message(z, dst, message, keep); ok {
			return plain, total, nil
		}
	}
	d := decoders.Get().(*decoder)
	defer decoders.Put(d)
	d.in.Reset(message)
	d.tail.Reset(deflateTail)
	if d.src == nil {
		d.src = byteSource{d}
	}
	history := z.window
	if !z.takeover {
		history = d.alone[:0]
		defer func() { d.alone = history }()
	}
	for blocks := 0; ; blocks++ {
		if blocks > maxFinalBlocks {
			if z.takeover {
				z.lost = errFinalBlocks
			}
			return dst, total, fmt.Errorf("inflate: %w", errFinalBlocks)
		}
		if err := d.fr.(flate.Resetter).Reset(d.src, last(history, WindowSize)); err != nil {
			return dst, total, fmt.Errorf("inflate: %w", err)
		}
		for {
			n, err := d.fr.Read(d.chunk[:])
			if room := keep - min(keep, total); n > 0 && room > 0 {
				dst = append(dst, d.chunk[:min(uint64(n), room)]...)
			}
			total += uint64(n)
			history = slide(history, d.chunk[:n])
			if total > z.limit {
				err = ErrInflateLimit
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				if z.takeover {
					z.lost = err
				}
				return dst, total, fmt.Errorf("inflate: %w", err)
			}
		}
		if d.in.Len() == 0 {
			break // else a block was marked final inside the message (RFC 7692 section 7.2.3.4), and more follows
		}
	}
	if z.takeover {
		z.window = history
	}
	return dst, total, nil
}

// Window returns the plain bytes that the next message may refer to; valid
// until the next call of Message.
func (z *Inflater) Window() []byte { return last(z.window, WindowSize) }

// SetWindow puts the inflater where another one was when Window was taken.
func (z *Inflater) SetWindow(window []byte) {
	z.window = append(z.window[:0], window...)
	z.lost = nil
	if z.kept != nil {
		z.kept.ready = false
	}
}

// slide appends p to the history and drops what is too old to be referred to.
func slide(history, p []byte) []byte {
	if len(history)+len(p) > WindowSize+windowSlack {
		keep := last(history, WindowSize-min(WindowSize, len(p)))
		history = history[:copy(history[:cap(history)], keep)]
	}
	return append(history, last(p, WindowSize)...)
}

func last(b []byte, n int) []byte { return b[len(b)-min(len(b), n):] }
