package wire

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// AppendMasked appends src to dst with the mask of RFC 6455 section 5.3 applied,
// which masks and unmasks alike. The mask is the key as read little endian;
// offset says which of its bytes meets the first byte of src.
func AppendMasked(dst, src []byte, mask uint32, offset uint8) []byte {
	if mask == 0 {
		return append(dst, src...)
	}
	start := len(dst)
	dst = slices.Grow(dst, len(src))[:start+len(src)]
	out := dst[start:]
	mask = bits.RotateLeft32(mask, -8*int(offset&3))
	wide := uint64(mask)<<32 | uint64(mask)
	for len(src) >= 32 && len(out) >= 32 {
		binary.LittleEndian.PutUint64(out, binary.LittleEndian.Uint64(src)^wide)
		binary.LittleEndian.PutUint64(out[8:], binary.LittleEndian.Uint64(src[8:])^wide)
		binary.LittleEndian.PutUint64(out[16:], binary.LittleEndian.Uint64(src[16:])^wide)
		binary.LittleEndian.PutUint64(out[24:], binary.LittleEndian.Uint64(src[24:])^wide)
		src, out = src[32:], out[32:]
	}
	for len(src) >= 8 && len(out) >= 8 {
		binary.LittleEndian.PutUint64(out, binary.LittleEndian.Uint64(src)^wide)
		src, out = src[8:], out[8:]
	}
	for i, b := range src {
		out[i] = b ^ byte(mask)
		mask = bits.RotateLeft32(mask, -8)
	}
	return dst
}
