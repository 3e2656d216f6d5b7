package record

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// MaxBlock bounds what one stored value may unpack to, so that a damaged length
// cannot make a reader allocate without bound.
const MaxBlock = 64 << 20

// Codec is how a block's body is compressed.
type Codec byte

// The codecs. What does not shrink is stored Plain whatever was asked for.
const (
	Plain Codec = 0
	Zstd  Codec = 1
	S2    Codec = 2
)

// A sealed value: codec, flags (0; encryption and plain-payload marks will go
// here), CRC-32C of key, codec, flags and body, body. See docs/format.md, "Values".
const sealHeader = 6

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(key, head, body []byte) uint32 {
	sum := crc32.Update(0, castagnoli, key)
	sum = crc32.Update(sum, castagnoli, head)
	return crc32.Update(sum, castagnoli, body)
}

// Sealer packs values for an engine and unpacks them. Safe for concurrent use.
type Sealer struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

// NewSealer makes the compressors, which are worth keeping.
func NewSealer() *Sealer {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<18))
	if err != nil {
		panic(err) // only for options that contradict each other
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxBlock), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic(err)
	}
	return &Sealer{enc: enc, dec: dec}
}

// Seal compresses body and binds it to its key, so that a value found under
// another key is known to be misplaced.
func (s *Sealer) Seal(key, body []byte, codec Codec) []byte {
	return s.AppendSealed(nil, key, body, codec)
}

// MaxSealed is how much room sealing n bytes may take.
func MaxSealed(n int) int { return sealHeader + max(n, s2.MaxEncodedLen(n)) }

// AppendSealed is Seal into a buffer that the caller keeps.
func (s *Sealer) AppendSealed(dst, key, body []byte, codec Codec) []byte {
	start := len(dst)
	dst = slices.Grow(dst, MaxSealed(len(body)))[:start+sealHeader]
	out := dst[start+sealHeader:]
	switch codec {
	case Zstd:
		out = s.enc.EncodeAll(body, out)
	case S2:
		out = s2.Encode(out[:cap(out)], body)
	}
	if codec == Plain || len(out) >= len(body) {
		codec, out = Plain, append(dst[start+sealHeader:], body...)
	}
	dst = append(dst, out...) // in place, unless the encoder needed more room than there was
	sealed := dst[start:]
	sealed[0], sealed[1] = byte(codec), 0
	binary.BigEndian.PutUint32(sealed[2:], checksum(key, sealed[:2], sealed[sealHeader:]))
	return dst
}

// Open checks a sealed value and unpacks it. The result never points into sealed.
func (s *Sealer) Open(key, sealed []byte) ([]byte, error) {
	if len(sealed) < sealHeader {
		return nil, fmt.Errorf("%w: value of %d bytes is too short", ErrCorrupt, len(sealed))
	}
	head, body := sealed[:2], sealed[sealHeader:]
	if got, want := checksum(key, head, body), binary.BigEndian.Uint32(sealed[2:]); got != want {
		return nil, fmt.Errorf("%w: checksum is %08x, should be %08x", ErrCorrupt, got, want)
	}
	if head[1] != 0 {
		return nil, fmt.Errorf("%w: block flags %#x are not known here", ErrVersion, head[1])
	}
	switch Codec(head[0]) {
	case Plain:
		return append([]byte{}, body...), nil
	case Zstd:
		out, err := s.dec.DecodeAll(body, nil)
		if err != nil {
			return nil, fmt.Errorf("%w: zstd: %w", ErrCorrupt, err)
		}
		return out, nil
	case S2:
		if n, err := s2.DecodedLen(body); err != nil || n > MaxBlock {
			return nil, fmt.Errorf("%w: s2: length %d", ErrCorrupt, n)
		}
		out, err := s2.Decode(nil, body)
		if err != nil {
			return nil, fmt.Errorf("%w: s2: %w", ErrCorrupt, err)
		}
		return out, nil
	}
	return nil, fmt.Errorf("%w: codec %d is not known here", ErrVersion, head[0])
}

// AppendTail appends a segment, and what follows it directly, to the body of a
// block or of a tail, which holds segments of many sessions.
func AppendTail(b []byte, s *Segment, more ...[]byte) []byte {
	length := len(s.Raw)
	for _, raw := range more {
		length += len(raw)
	}
	for _, v := range [...]uint64{s.Session, s.Offset, s.Seq, uint64(s.T / time.Microsecond), uint64(length)} {
		b = binary.AppendUvarint(b, v)
	}
	b = append(b, s.Raw...)
	for _, raw := range more {
		b = append(b, raw...)
	}
	return b
}

// ParseTail reads what AppendTail wrote.
func ParseTail(b []byte) ([]Segment, error) {
	var out []Segment
	d := decoder{rest: b}
	for len(d.rest) > 0 {
		s := Segment{Session: d.uvarint(), Offset: d.uvarint(), Seq: d.uvarint(), T: time.Duration(d.uvarint()) * time.Microsecond}
		s.Raw = d.bytes(d.uvarint())
		if d.err != nil {
			return out, d.err
		}
		out = append(out, s)
	}
	return out, nil
}

// Buffers for raw segments. Most sessions say little between two flushes, so
// they begin with a small one.
const (
	smallBuffer  = 2 << 10
	segmentBytes = 256 << 10 // a segment that has grown this long is closed
	largeBuffer  = segmentBytes + 72<<10
)

type buffers struct{ small, large sync.Pool }

func (p *buffers) get(n int) []byte {
	pool, size := &p.small, smallBuffer
	if n > smallBuffer {
		pool, size = &p.large, largeBuffer
	}
	if b, ok := pool.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, max(n, size))
}

func (p *buffers) put(b []byte) {
	switch {
	case cap(b) >= largeBuffer:
		p.large.Put(&b)
	case cap(b) >= smallBuffer:
		p.small.Put(&b)
	}
}
