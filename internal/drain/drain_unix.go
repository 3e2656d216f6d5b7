//go:build linux || darwin

// Package drain waits for what a socket has sent to arrive: a reset throws away
// what has not.
package drain

import (
	"net"
	"time"
)

// drainPoll is how often the kernel is asked; it has no event for this.
const drainPoll = 2 * time.Millisecond

func drainWith(conn *net.TCPConn, patience time.Duration, unsent func(fd uintptr) (int, error)) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		left := 0
		if err := raw.Control(func(fd uintptr) { left, err = unsent(fd) }); err != nil || left == 0 {
			return
		}
	}
}
