package drain

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// soNwrite is SO_NWRITE: bytes in the send buffer.
const soNwrite = 0x1024

func unsent(fd uintptr) (int, error) {
	return unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, soNwrite)
}

// TCP waits until everything written has been sent, at most for patience: a
// reset throws away what has not.
func TCP(conn *net.TCPConn, patience time.Duration) { drainWith(conn, patience, unsent) }
