package boltstore

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/wstape/wstape/record"
)

// packing is a block on its way into a write.
type packing struct {
	live    *live
	key     []byte
	segment record.Segment
	more    []record.Segment // follow it directly
	codec   record.Codec
	noise   bool // it did not shrink
}

// packer is what packing needs to itself: memory that every write uses again.
type packer struct {
	body []byte // of what is packed next
	room arena  // what has been packed
}

// maxPackers bounds how many cores packing takes from the traffic.
const maxPackers = 4

func newPackers() []packer { return make([]packer, min(runtime.GOMAXPROCS(0), maxPackers)) }

// packBlocks packs the blocks of the write under way. That is most of the work: in
// a hurry, when traffic may have to wait for it, several cores do it; else one
// does, politely.
func (s *Store) packBlocks() []value {
	workers := 1
	if s.hurried() {
		workers = len(s.packers)
	}
	values := make([]value, len(s.packing))
	var next atomic.Int64
	work := func(p *packer) {
		for i := int(next.Add(1)) - 1; i < len(values); i = int(next.Add(1)) - 1 {
			b := &s.packing[i]
			values[i] = value{blocks, b.key, p.block(s.sealer, b)}
			s.giveWay()
		}
	}
	var others sync.WaitGroup
	for i := 1; i < min(workers, len(values)); i++ {
		others.Go(func() { work(&s.packers[i]) })
	}
	work(&s.packers[0])
	others.Wait()
	for i := range s.packing {
		s.packing[i].live.noise = s.packing[i].noise
	}
	return values
}

// tinyBody is where zstd's tables cost more than they save. A tail past zstdTail
// would keep a core for too long with it.
const (
	tinyBody = 1 << 10
	zstdTail = 16 << 10
)

// block packs a block. Where zstd would be too slow, a session that does not
// shrink is not tried again and again.
func (p *packer) block(sealer *record.Sealer, b *packing) []byte {
	at := place(blocks, b.key)
	if len(b.more) > 0 || len(b.segment.Raw) < tinyBody {
		raws := make([][]byte, len(b.more))
		for i := range b.more {
			raws[i] = b.more[i].Raw
		}
		p.body = record.AppendTail(p.body[:0], &b.segment, raws...)
		return p.pack(sealer, at, b.codec)
	}
	codec := b.codec
	if codec == record.S2 && b.live.noise && !b.segment.Shrinks() {
		codec = record.Plain
	}
	sealed, inPlace := sealer.SealSegment(p.room.room(record.MaxSealed(len(b.segment.Raw))), at, &b.segment, codec)
	if b.noise = inPlace; !inPlace {
		p.room.take(len(sealed))
	}
	return sealed
}

// pack seals p.body.
func (p *packer) pack(sealer *record.Sealer, at []byte, codec record.Codec) []byte {
	if len(p.body) < tinyBody {
		codec = record.S2
	}
	sealed := sealer.AppendSealed(p.room.room(record.MaxSealed(len(p.body))), at, p.body, codec)
	p.room.take(len(sealed))
	return sealed
}
