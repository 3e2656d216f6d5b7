package boltstore

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"os"

	"github.com/wstape/wstape/record"
)

// A bbolt file, format version 2, looked at from outside: bbolt maps the file
// and follows page numbers and positions without looking, so a file that was
// cut short or damaged has to be found out before. Offsets are within a page: a
// page header of 16 bytes (number 8, flags 2, count 2, overflow 4), in a meta
// page followed by magic, version, page size, flags (4 bytes each), root (16),
// freelist, high-water mark, transaction (8 each), FNV-1a of all that.
const (
	boltMagic      = 0xED0CDAED
	pageHeader     = 16
	metaPageSize   = pageHeader + 8
	metaRoot       = pageHeader + 16
	metaFreelist   = pageHeader + 32
	metaHighWater  = pageHeader + 40
	metaTx         = pageHeader + 48
	metaSum        = pageHeader + 56
	metaLen        = pageHeader + 64
	largestPageLog = 16
)

// header is the newest of a file's two meta pages that is whole.
type header struct {
	order     binary.ByteOrder
	pageSize  int64
	root      uint64
	freelist  uint64
	highWater uint64 // pages that are in use or free: the file must be that long
	tx        uint64
	damaged   bool // the other meta page is not whole
}

// Is reports whether a file that begins so is a tape, or another file of bbolt's.
func Is(head []byte) bool {
	return len(head) >= metaPageSize &&
		(binary.LittleEndian.Uint32(head[pageHeader:]) == boltMagic || binary.BigEndian.Uint32(head[pageHeader:]) == boltMagic)
}

// checkHeader refuses what is not a bbolt file and what is shorter than its
// newest meta page says.
func checkHeader(path string, size int64) error {
	f, err := os.Open(path)
	if err != nil {
		return unwrapPath(err)
	}
	defer f.Close()
	h, err := readHeader(f)
	if err != nil {
		return err
	}
	if h.highWater > uint64(size/h.pageSize) {
		return fmt.Errorf("%w: the file was cut short: %d of its %d pages are there", record.ErrCorrupt, size/h.pageSize, h.highWater)
	}
	return nil
}

// readHeader finds the two meta pages and picks the one that bbolt would.
func readHeader(f *os.File) (*header, error) {
	first, firstErr := readMeta(f, 0)
	if first != nil {
		second, err := readMeta(f, first.pageSize)
		if err != nil {
			first.damaged = true
		} else if second.tx > first.tx {
			first = second
		}
		return first, nil
	}
	// The first page is damaged: the second follows a page later.
	for log := 9; log <= largestPageLog; log++ {
		if second, err := readMeta(f, 1<<log); err == nil && second.pageSize == 1<<log {
			second.damaged = true
			return second, nil
		}
	}
	return nil, firstErr
}

func readMeta(f *os.File, at int64) (*header, error) {
	page := make([]byte, metaLen)
	if n, _ := f.ReadAt(page, at); n < metaLen {
		return nil, fmt.Errorf("%w: too short", record.ErrNotATape)
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		if order.Uint32(page[pageHeader:]) != boltMagic {
			continue
		}
		sum := fnv.New64a()
		sum.Write(page[pageHeader:metaSum])
		if sum.Sum64() != order.Uint64(page[metaSum:]) {
			return nil, fmt.Errorf("%w: header page", record.ErrCorrupt)
		}
		pageSize := order.Uint32(page[metaPageSize:])
		if pageSize < 1<<9 || pageSize > 1<<largestPageLog || pageSize&(pageSize-1) != 0 {
			return nil, fmt.Errorf("%w: header page: pages of %d bytes", record.ErrCorrupt, pageSize)
		}
		return &header{
			order: order, pageSize: int64(pageSize), root: order.Uint64(page[metaRoot:]),
			freelist: order.Uint64(page[metaFreelist:]), highWater: order.Uint64(page[metaHighWater:]), tx: order.Uint64(page[metaTx:]),
		}, nil
	}
	return nil, record.ErrNotATape
}
