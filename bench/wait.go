//go:build unix

package main

import (
	"io"
	"net"
	"sync"
	"syscall"
)

// waiter reads a connection without holding a buffer while there is nothing to
// read, so that the load's own memory does not drown what is measured.
type waiter struct {
	conn net.Conn
	raw  syscall.RawConn
}

var chunks = sync.Pool{New: func() any { return new([chunk]byte) }}

func newWaiter(conn net.Conn) *waiter {
	w := &waiter{conn: conn}
	if sc, ok := conn.(syscall.Conn); ok {
		w.raw, _ = sc.SyscallConn()
	}
	return w
}

// read hands the next bytes to f.
func (w *waiter) read(f func([]byte) error) error {
	buf := chunks.Get().(*[chunk]byte)
	if w.raw == nil {
		defer chunks.Put(buf)
		n, err := w.conn.Read(buf[:])
		if n > 0 {
			return f(buf[:n])
		}
		return err
	}
	var n int
	var errn error
	err := w.raw.Read(func(fd uintptr) bool {
		if buf == nil {
			buf = chunks.Get().(*[chunk]byte)
		}
		n, errn = syscall.Read(int(fd), buf[:])
		if errn == syscall.EAGAIN {
			chunks.Put(buf)
			buf = nil
			return false
		}
		return true
	})
	if buf != nil {
		defer chunks.Put(buf)
	}
	switch {
	case err != nil:
		return err
	case errn != nil:
		return errn
	case n <= 0:
		return io.EOF
	}
	return f(buf[:n])
}
