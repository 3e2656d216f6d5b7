package proxy

import (
	"net"
	"sync"
)

// chunkBytes is how much one read takes at most, smallBytes how much it takes
// where the reads before were small: most sessions never need more.
const (
	chunkBytes = 64 << 10
	smallBytes = 4 << 10
)

var (
	chunks = sync.Pool{New: func() any { b := make([]byte, chunkBytes); return &b }}
	smalls = sync.Pool{New: func() any { b := make([]byte, smallBytes); return &b }}
)

// source reads one leg into pooled buffers.
type source interface {
	// read waits for bytes; they are valid until release.
	read() ([]byte, error)
	release()
}

// newSource returns the source for a connection: one that holds no buffer while
// it waits, where the connection allows it.
func newSource(conn net.Conn) source {
	if s := newPollSource(conn); s != nil {
		return s
	}
	return &connSource{conn, make([]byte, tlsChunkBytes)}
}

// connSource reads any connection, TLS above all, whose records are at most
// 16 KiB; it holds a buffer all the time.
type connSource struct {
	conn net.Conn
	buf  []byte
}

const tlsChunkBytes = 16 << 10

func (s *connSource) read() ([]byte, error) {
	n, err := s.conn.Read(s.buf)
	return s.buf[:n], err
}

func (s *connSource) release() {}
