package record

import (
	"context"
	"sync"
)

// Changes counts the changes of a tape and wakes those who wait for the next
// one. An engine that is written in this process keeps one to implement
// [Reader].Wait. The zero value is ready; safe for concurrent use.
type Changes struct {
	mu      sync.Mutex
	version uint64
	next    chan struct{}
}

// Bump counts a change.
func (c *Changes) Bump() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version++
	if c.next != nil {
		close(c.next)
		c.next = nil
	}
}

// Wait returns the version as soon as it is above since. Versions begin at 1.
func (c *Changes) Wait(ctx context.Context, since uint64) (uint64, error) {
	for {
		c.mu.Lock()
		version := c.version + 1
		if c.next == nil {
			c.next = make(chan struct{})
		}
		next := c.next
		c.mu.Unlock()
		if version > since {
			return version, nil
		}
		select {
		case <-ctx.Done():
			return since, ctx.Err()
		case <-next:
		}
	}
}
