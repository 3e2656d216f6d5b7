package boltstore

import (
	"encoding/binary"
	"fmt"
	"os"

	"github.com/wstape/wstape/record"
)

// Where bbolt's two meta pages say how long the file must be. bbolt maps the
// file and follows page numbers without looking, so a file that was cut short
// has to be found out before. Offsets are of bbolt's format version 2: a page
// header of 16 bytes, then magic, version, page size, flags (4 bytes each),
// root (16), freelist, high-water mark, transaction (8 each), checksum.
const (
	boltMagic      = 0xED0CDAED
	pageHeader     = 16
	metaPageSize   = pageHeader + 8
	metaHighWater  = pageHeader + 40
	metaTx         = pageHeader + 48
	metaLen        = pageHeader + 64
	smallestFile   = 4096
	largestPageLog = 16
)

// checkHeader refuses what is not a bbolt file and what is shorter than its
// newest meta page says.
func checkHeader(path string, size int64) error {
	f, err := os.Open(path)
	if err != nil {
		return unwrapPath(err)
	}
	defer f.Close()
	first := make([]byte, metaLen)
	if n, _ := f.ReadAt(first, 0); n < metaLen {
		return fmt.Errorf("%w: %d bytes are too few", record.ErrNotATape, size)
	}
	order, ok := metaOrder(first)
	if !ok {
		// The first page may be the damaged one: the second follows a page later.
		for log := 9; log <= largestPageLog && !ok; log++ {
			if n, _ := f.ReadAt(first, 1<<log); n < metaLen {
				break
			}
			order, ok = metaOrder(first)
		}
		if !ok {
			return record.ErrNotATape
		}
	}
	pageSize := int64(order.Uint32(first[metaPageSize:]))
	second := make([]byte, metaLen)
	newest := first
	if n, _ := f.ReadAt(second, pageSize); n == metaLen {
		if _, ok := metaOrder(second); ok && order.Uint64(second[metaTx:]) > order.Uint64(first[metaTx:]) {
			newest = second
		}
	}
	if need := int64(order.Uint64(newest[metaHighWater:])) * pageSize; need > size {
		return fmt.Errorf("%w: the file was cut short: %d of %d bytes are there", record.ErrCorrupt, size, need)
	}
	return nil
}

// metaOrder tells in which byte order a meta page was written, if it is one.
func metaOrder(page []byte) (binary.ByteOrder, bool) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		if order.Uint32(page[pageHeader:]) == boltMagic {
			return order, true
		}
	}
	return nil, false
}
