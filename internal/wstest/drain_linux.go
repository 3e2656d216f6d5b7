package wstest

import (
	"time"

	"golang.org/x/sys/unix"
)

// Drain waits until the other side's kernel has everything that was written, so
// that a reset takes none of it back.
func (p *Peer) Drain() {
	p.tb.Helper()
	raw, err := p.TCP().SyscallConn()
	if err != nil {
		p.tb.Fatalf("drain: %v", err)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	left := 1
	for end := time.Now().Add(Patience); left > 0 && err == nil; <-tick.C {
		if time.Now().After(end) {
			p.tb.Fatalf("drain: %d bytes are not taken", left)
		}
		if cerr := raw.Control(func(fd uintptr) { left, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }); cerr != nil {
			err = cerr
		}
	}
	if err != nil {
		p.tb.Fatalf("drain: %v", err)
	}
}
