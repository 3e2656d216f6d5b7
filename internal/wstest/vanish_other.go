//go:build !linux

package wstest

// Vanish is known on Linux only.
func (p *Peer) Vanish() bool { return false }
