package drain

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// unsent returns how many bytes the kernel has not got acknowledged yet.
func unsent(fd uintptr) (int, error) { return unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }

// TCP waits until everything written has arrived, at most for patience: a
// reset throws away what has not.
func TCP(conn *net.TCPConn, patience time.Duration) { drainWith(conn, patience, unsent) }
