package proxy

import (
	"context"
	"time"
)

// drainLook is how often a proxy that drains looks whether it is done.
const drainLook = 20 * time.Millisecond

// Drain accepts no more connections, and waits until those that were accepted
// have ended by themselves, or ctx is done. What is left, Shutdown ends; nothing
// that was accepted is turned away before that.
func (p *Proxy) Drain(ctx context.Context) {
	p.mu.Lock()
	p.draining = true
	for _, rest := range p.served {
		_ = rest.Listener.Close()
	}
	p.mu.Unlock()
	p.server.SetKeepAlivesEnabled(false)
	tick := time.NewTicker(drainLook)
	defer tick.Stop()
	for !p.drained() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// drained reports whether no connection is left of those that were accepted.
func (p *Proxy) drained() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.sessions) == 0 && p.clients.Load() == 0 && p.accepting.Load() == 0
}
