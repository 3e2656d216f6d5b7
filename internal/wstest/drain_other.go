//go:build !linux

package wstest

// Drain cannot tell here what has arrived.
func (p *Peer) Drain() {}
