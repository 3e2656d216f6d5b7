package proxy

import (
	"context"
	"time"
)

// Settle waits until no session is registered.
func Settle(ctx context.Context, p *Proxy) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		p.mu.Lock()
		n := len(p.sessions)
		p.mu.Unlock()
		if n == 0 {
			return nil
		}
		<-tick.C
	}
	return ctx.Err()
}

// Clients returns how many connections from clients are counted.
func Clients(p *Proxy) int64 { return p.clients.Load() }
