package proxy

import (
	"net"
	"sync"
	"time"
)

// chunkBytes is how much one read takes at most.
const chunkBytes = 64 << 10

var chunks = sync.Pool{New: func() any { return new([chunkBytes]byte) }}

// source reads one leg into pooled buffers.
type source interface {
	// read waits for bytes; they are valid until release.
	read() ([]byte, error)
	release()
	setDeadline(t time.Time)
	deadline() time.Time // zero unless one was set
}

// newSource returns the source for a connection: one that holds no buffer while
// it waits, where the connection allows it.
func newSource(conn net.Conn) source {
	if s := newPollSource(conn); s != nil {
		return s
	}
	return &connSource{deadliner{conn: conn}, make([]byte, tlsChunkBytes)}
}

// deadliner remembers the deadline that it set.
type deadliner struct {
	conn net.Conn
	at   time.Time
}

func (d *deadliner) setDeadline(t time.Time) {
	d.at = t
	_ = d.conn.SetReadDeadline(t)
}

func (d *deadliner) deadline() time.Time { return d.at }

// connSource reads any connection, TLS above all, whose records are at most
// 16 KiB; it holds a buffer all the time.
type connSource struct {
	deadliner
	buf []byte
}

const tlsChunkBytes = 16 << 10

func (s *connSource) read() ([]byte, error) {
	n, err := s.conn.Read(s.buf)
	return s.buf[:n], err
}

func (s *connSource) release() {}
