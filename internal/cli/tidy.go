package cli

import (
	"runtime/debug"
	"time"
)

// tidyEvery is how often tidy looks.
const tidyEvery = 250 * time.Millisecond

// tidyChange is how many sessions must have begun or ended for tidying to be worth a
// collection.
const tidyChange = 500

// tidy gives memory back when a rush of sessions is over. Beginning a session
// leaves several times as much garbage as a session is, and a process that is
// idle afterwards would not collect it for minutes.
type tidy struct {
	free   func()
	tidied int // sessions when memory was last given back
	before int // and when last looked
}

func newTidy() *tidy { return &tidy{free: debug.FreeOSMemory} }

// look is told how many sessions are open now.
func (t *tidy) look(sessions int) {
	quiet := abs(sessions-t.before) <= sessions/100
	t.before = sessions
	if quiet && abs(sessions-t.tidied) >= tidyChange {
		t.tidied = sessions
		t.free()
	}
}

func abs(n int) int { return max(n, -n) }
