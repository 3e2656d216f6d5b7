package cli

import "testing"

func TestTidyWaitsUntilTheRushIsOver(t *testing.T) {
	freed, percent := 0, 100
	tidy := &tidy{free: func() { freed++ }, percent: func(n int) int { old := percent; percent = n; return old }}
	for _, step := range []struct {
		sessions, freed int
		rush            bool
	}{
		{0, 0, false}, {40, 0, false}, {40, 0, false}, // few
		{2000, 0, true}, {4000, 0, true}, {4010, 1, false}, {4010, 1, false}, // many, then quiet
		{4300, 1, true}, {4300, 1, false}, // no great change
		{100, 1, false}, {0, 1, false}, {0, 2, false}, {0, 2, false}, // all gone
	} {
		tidy.look(step.sessions)
		if freed != step.freed {
			t.Fatalf("%d sessions: freed %d times, want %d", step.sessions, freed, step.freed)
		}
		if step.rush != (percent == rushPercent) {
			t.Errorf("%d sessions: collecting at %d %%", step.sessions, percent)
		}
	}
}
