package boltstore

// arena is memory for what a write packs, used again by the next one. Growing
// it moves nothing.
type arena struct {
	chunks [][]byte
	at     int // the chunk that is being filled
}

const (
	arenaChunk = 1 << 20
	arenaKeep  = 8 // chunks that are kept between writes
)

// room returns an empty slice with room for n bytes.
func (a *arena) room(n int) []byte {
	for ; a.at < len(a.chunks); a.at++ {
		if c := a.chunks[a.at]; cap(c)-len(c) >= n {
			return c[len(c):]
		}
	}
	a.chunks = append(a.chunks, make([]byte, 0, max(n, arenaChunk)))
	return a.chunks[a.at]
}

// take keeps the first n bytes of the room last given.
func (a *arena) take(n int) {
	c := a.chunks[a.at]
	a.chunks[a.at] = c[:len(c)+n]
}

func (a *arena) reset() {
	a.chunks = a.chunks[:min(len(a.chunks), arenaKeep)]
	for i := range a.chunks {
		a.chunks[i] = a.chunks[i][:0]
	}
	a.at = 0
}
