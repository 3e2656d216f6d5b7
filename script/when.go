package script

import (
	"sync"

	"github.com/wstape/wstape/internal/filter"
	"github.com/wstape/wstape/tape"
)

// when is what a session knows for [Options.When].
type when struct {
	mu    sync.Mutex // both directions look
	sight *filter.Sight
}

// concerns reports whether a message is one that the scripts are for.
func (s *Session) concerns(m *tape.Message) bool {
	f := s.set.opts.When
	if f == nil {
		return true
	}
	w := &s.when
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sight == nil { // not before the handshake is over
		w.sight = f.Sight(s.about.Load())
	}
	return w.sight.See(m).Passes
}
