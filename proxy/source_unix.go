//go:build unix

package proxy

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// pollSource waits for a TCP or unix connection to become readable before it
// takes a buffer, so that an idle session holds none.
type pollSource struct {
	raw  syscall.RawConn
	try  func(fd uintptr) bool // made once: a closure a read would be an allocation a read
	pool *sync.Pool            // where the next buffer comes from
	buf  *[]byte
	n    int
	errn error
}

func newPollSource(conn net.Conn) source {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	s := &pollSource{raw: raw, pool: &smalls}
	s.try = s.tryRead
	return s
}

// tryRead reads once; false if there is nothing to read yet.
func (s *pollSource) tryRead(fd uintptr) bool {
	s.buf = s.pool.Get().(*[]byte)
	for {
		s.n, s.errn = syscall.Read(int(fd), *s.buf)
		if s.errn != syscall.EINTR {
			break
		}
	}
	if s.errn == syscall.EAGAIN {
		s.release()
		return false
	}
	return true
}

func (s *pollSource) read() ([]byte, error) {
	s.n, s.errn = 0, nil
	if err := s.raw.Read(s.try); err != nil {
		return nil, err
	}
	switch {
	case s.errn != nil:
		s.release()
		return nil, os.NewSyscallError("read", s.errn)
	case s.n == 0:
		s.release()
		return nil, io.EOF
	}
	return (*s.buf)[:s.n], nil
}

// release gives the buffer back, and picks the kind of the next one by how full
// it was.
func (s *pollSource) release() {
	if s.buf == nil {
		return
	}
	s.pool.Put(s.buf)
	switch {
	case s.n == len(*s.buf):
		s.pool = &chunks
	case s.n >= 0 && s.n < smallBytes/4:
		s.pool = &smalls
	}
	s.buf = nil
}
