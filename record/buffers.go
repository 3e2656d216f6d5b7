package record

import "sync"

// segmentBytes is how long a segment grows before it is closed: then it makes a
// block of its own.
const segmentBytes = 128 << 10

// bufferSizes are the sizes of the memory that segments grow in. Most sessions
// say little between two flushes, and however many they are, what they hold
// must stay near what they said; the largest has room for one read more than
// makes a segment long enough.
var bufferSizes = [...]int{1 << 10, 8 << 10, 48 << 10, segmentBytes + 72<<10}

// buffers is memory for raw segments, used again.
type buffers [len(bufferSizes)]sync.Pool

// get gives a segment empty memory with room for n bytes.
func (p *buffers) get(seg *Segment, n int) {
	for i, size := range bufferSizes {
		if n > size {
			continue
		}
		if b, ok := p[i].Get().(*[]byte); ok {
			seg.buf = *b
		} else {
			seg.buf = make([]byte, headroom, headroom+size)
		}
		seg.Raw = seg.buf[headroom:]
		return
	}
	seg.buf = make([]byte, headroom, headroom+n)
	seg.Raw = seg.buf[headroom:]
}

// grow moves a segment to memory with room for n bytes.
func (p *buffers) grow(seg *Segment, n int) {
	old := *seg
	p.get(seg, n)
	seg.Raw = append(seg.Raw, old.Raw...)
	p.put(&old)
}

// put takes a segment's memory back.
func (p *buffers) put(seg *Segment) {
	for i, size := range bufferSizes {
		if cap(seg.buf) == headroom+size {
			b := seg.buf
			p[i].Put(&b)
		}
	}
	seg.buf, seg.Raw = nil, nil
}
