package record

import (
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/crypto/chacha20poly1305"
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

// A sealed value: codec, flags, CRC-32C of key, codec, flags and body, body. See
// docs/format.md, "Values".
const (
	sealHeader    = 6
	flagEncrypted = 1 // the body is a nonce and what an AEAD made of it
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(key, head, body []byte) uint32 {
	sum := crc32.Update(0, castagnoli, key)
	sum = crc32.Update(sum, castagnoli, head)
	return crc32.Update(sum, castagnoli, body)
}

// Sealer packs values for an engine and unpacks them. Safe for concurrent use.
type Sealer struct {
	enc  *zstd.Encoder
	dec  *zstd.Decoder
	aead cipher.AEAD // XChaCha20-Poly1305; nil for a tape that is not encrypted
}

// NewSealer makes the compressors, which are worth keeping.
func NewSealer() *Sealer {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(4),
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

// Encrypt makes the sealer encrypt with a tape's own key of KeyBytes, and accept
// nothing that is not. To be called before the sealer is used.
func (s *Sealer) Encrypt(own []byte) (err error) {
	s.aead, err = chacha20poly1305.NewX(own)
	return err
}

// lead is what comes before the body of a sealed value.
func (s *Sealer) lead() int {
	if s.aead == nil {
		return sealHeader
	}
	return sealHeader + s.aead.NonceSize()
}

// Seal compresses body and binds it to its key, so that a value found under
// another key is known to be misplaced.
func (s *Sealer) Seal(key, body []byte, codec Codec) []byte {
	return s.AppendSealed(nil, key, body, codec)
}

// MaxSealed is how much room sealing a body or a segment of n bytes may take.
func MaxSealed(n int) int {
	return headroom + s2.MaxEncodedLen(n+headroom) + chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead
}

// AppendSealed is Seal into a buffer that the caller keeps.
func (s *Sealer) AppendSealed(dst, key, body []byte, codec Codec) []byte {
	start := len(dst)
	dst, shrunk := s.appendPacked(dst, body, codec)
	if !shrunk {
		codec, dst = Plain, append(dst[:start+s.lead()], body...)
	}
	return s.finish(dst, start, key, codec)
}

// finish encrypts the packed body behind start where it lies, if it is to be, and
// fills in the header.
func (s *Sealer) finish(dst []byte, start int, key []byte, codec Codec) []byte {
	if s.aead == nil {
		signSealed(dst[start:], key, codec, 0)
		return dst
	}
	body := start + s.lead()
	dst = slices.Grow(dst, s.aead.Overhead())
	place := append(slices.Clone(key), byte(codec), flagEncrypted)
	sealed := encrypt(s.aead, dst[start+sealHeader:start+sealHeader], place, dst[body:])
	dst = dst[:start+sealHeader+len(sealed)]
	signSealed(dst[start:], key, codec, flagEncrypted)
	return dst
}

// appendPacked appends room for the header and the compressed body; false if
// that is no shorter than the body itself.
func (s *Sealer) appendPacked(dst, body []byte, codec Codec) ([]byte, bool) {
	start := len(dst) + s.lead()
	dst = slices.Grow(dst, MaxSealed(len(body)))[:start]
	out := dst[start:]
	switch codec {
	case Zstd:
		out = s.enc.EncodeAll(body, out)
	case S2:
		out = s2.Encode(out[:cap(out)], body)
	default:
		return dst, false
	}
	return append(dst, out...), len(out) < len(body) // in place, unless the encoder needed more room than there was
}

// signSealed fills in a sealed value's header.
func signSealed(sealed, key []byte, codec Codec, flags byte) {
	sealed[0], sealed[1] = byte(codec), flags
	binary.BigEndian.PutUint32(sealed[2:], checksum(key, sealed[:2], sealed[sealHeader:]))
}

// SealSegment packs a segment as the body of a block, at the end of dst. One
// that does not shrink, or is to stay plain, is sealed where it lies instead, in
// the recorder's memory: inPlace says so, and dst is not used then.
func (s *Sealer) SealSegment(dst, key []byte, seg *Segment, codec Codec) (sealed []byte, inPlace bool) {
	body, room := seg.framed()
	start := len(dst)
	switch {
	case room == nil:
		return s.AppendSealed(dst, key, AppendTail(nil, seg), codec)[start:], false
	case s.aead != nil: // the recorder's memory stays readable: a write that fails is tried again
		return s.AppendSealed(dst, key, body, codec)[start:], false
	}
	if codec != Plain {
		if dst, shrunk := s.appendPacked(dst, body, codec); shrunk {
			signSealed(dst[start:], key, codec, 0)
			return dst[start:], false
		}
	}
	signSealed(room, key, Plain, 0)
	return room, true
}

// Shrinks guesses from a sample whether a segment is worth compressing.
func (seg *Segment) Shrinks() bool {
	const sample = 8 << 10
	raw := seg.Raw
	if len(raw) > sample {
		raw = raw[(len(raw)-sample)/2:][:sample]
	}
	return s2.EstimateBlockSize(raw) >= 0
}

// headroom is what sealing puts before a segment's bytes at most: the header
// and five varints.
const headroom = sealHeader + 5*binary.MaxVarintLen64

// framed writes before the segment's bytes what AppendTail does, if they lie in
// the recorder's memory: the body of a block, and the same with room for the
// header of a sealed value before it.
func (seg *Segment) framed() (body, sealed []byte) {
	if len(seg.buf) == 0 || len(seg.Raw) == 0 || &seg.buf[:headroom+1][headroom] != &seg.Raw[0] {
		return nil, nil
	}
	var front [headroom]byte
	n := len(appendFrame(front[:0], seg, len(seg.Raw)))
	copy(seg.buf[headroom-n:], front[:n])
	whole := seg.buf[:headroom+len(seg.Raw)]
	return whole[headroom-n:], whole[headroom-n-sealHeader:]
}

// Verify checks a sealed value's checksum, which takes no key of the operator's.
func Verify(key, sealed []byte) error {
	if len(sealed) < sealHeader {
		return fmt.Errorf("%w: value of %d bytes is too short", ErrCorrupt, len(sealed))
	}
	if got, want := checksum(key, sealed[:2], sealed[sealHeader:]), binary.BigEndian.Uint32(sealed[2:]); got != want {
		return fmt.Errorf("%w: checksum is %08x, should be %08x", ErrCorrupt, got, want)
	}
	return nil
}

// Open checks a sealed value and unpacks it. The result never points into sealed.
func (s *Sealer) Open(key, sealed []byte) ([]byte, error) {
	if err := Verify(key, sealed); err != nil {
		return nil, err
	}
	head, body := sealed[:2], sealed[sealHeader:]
	switch {
	case head[1] != 0 && head[1] != flagEncrypted:
		return nil, fmt.Errorf("%w: block flags %#x are not known here", ErrVersion, head[1])
	case head[1] == 0 && s.aead != nil: // anybody could have put it there
		return nil, fmt.Errorf("%w: the value is not encrypted, as the tape is", ErrCorrupt)
	case head[1] == flagEncrypted && s.aead == nil:
		return nil, ErrLocked
	case head[1] == flagEncrypted:
		var err error
		if body, err = decrypt(s.aead, append(slices.Clone(key), head...), body); err != nil {
			return nil, fmt.Errorf("%w: decrypt: %w", ErrCorrupt, err)
		}
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
	b = appendFrame(b, s, length)
	b = append(b, s.Raw...)
	for _, raw := range more {
		b = append(b, raw...)
	}
	return b
}

func appendFrame(b []byte, s *Segment, length int) []byte {
	for _, v := range [...]uint64{s.Session, s.Offset, s.Seq, uint64(s.T / time.Microsecond), uint64(length)} {
		b = binary.AppendUvarint(b, v)
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
