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

// tidy keeps memory near what the open sessions need. Beginning a session
// leaves several times as much garbage as a session is: while many begin, it is
// collected sooner, because what is freed later leaves holes between what stays;
// when the rush is over it is given back, because a process that is idle
// afterwards would not collect it for minutes.
type tidy struct {
	free    func()
	percent func(int) int // as debug.SetGCPercent
	tidied  int           // sessions when memory was last given back
	before  int           // and when last looked
	normal  int           // the percentage to go back to, while it is another
}

// rushPercent is how much garbage may gather while sessions rush in.
const rushPercent = 30

func newTidy() *tidy { return &tidy{free: debug.FreeOSMemory, percent: debug.SetGCPercent} }

// look is told how many sessions are open now.
func (t *tidy) look(sessions int) {
	rush := sessions-t.before >= tidyChange/10
	quiet := abs(sessions-t.before) <= sessions/100
	t.before = sessions
	switch {
	case rush && t.normal == 0:
		t.normal = t.percent(rushPercent)
	case !rush && t.normal != 0:
		t.percent(t.normal)
		t.normal = 0
	}
	if quiet && abs(sessions-t.tidied) >= tidyChange {
		t.tidied = sessions
		t.free()
	}
}

func abs(n int) int { return max(n, -n) }
