package cli

import "testing"

func TestTidyWaitsUntilTheRushIsOver(t *testing.T) {
	freed := 0
	tidy := &tidy{free: func() { freed++ }}
	for _, step := range []struct{ sessions, freed int }{
		{0, 0}, {100, 0}, {100, 0}, // few
		{2000, 0}, {4000, 0}, {4010, 1}, {4010, 1}, // many, then quiet
		{4300, 1}, {4300, 1}, // no great change
		{100, 1}, {0, 1}, {0, 2}, {0, 2}, // all gone
	} {
		tidy.look(step.sessions)
		if freed != step.freed {
			t.Fatalf("%d sessions: freed %d times, want %d", step.sessions, freed, step.freed)
		}
	}
}
