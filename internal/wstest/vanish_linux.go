package wstest

import "golang.org/x/sys/unix"

// Vanish ends the connection on this side only, without a word to the other, as
// a machine does that loses its power. False if the system does not let it.
func (p *Peer) Vanish() bool {
	p.tb.Helper()
	raw, err := p.TCP().SyscallConn()
	if err != nil {
		p.tb.Fatalf("vanish: %v", err)
	}
	var repair error
	if err := raw.Control(func(fd uintptr) {
		repair = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_REPAIR, 1)
	}); err != nil {
		p.tb.Fatalf("vanish: %v", err)
	}
	if repair != nil {
		return false
	}
	_ = p.TCP().Close() // of a connection under repair the kernel tells nobody
	return true
}
