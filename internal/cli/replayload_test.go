package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/wstape/wstape/replay"
)

func TestLoadLineFitsIntoTheTerminal(t *testing.T) {
	s := replay.LoadSnapshot{Elapsed: time.Second, Runs: 1000, Done: 500, Failed: 3, Share: 0.5, Rate: 24310.4}
	const text = "500/1000 runs, 3 failed, 24310 messages/s"
	for columns, want := range map[int]string{
		0:              text,
		20:             text[:20],
		len(text):      text,
		len(text) + 12: text,
		len(text) + 13: "[=====     ] " + text,
		200:            "[" + strings.Repeat("=", 15) + strings.Repeat(" ", 15) + "] " + text,
	} {
		if got := loadLine(&s, columns); got != want {
			t.Errorf("with %d columns: %q, want %q", columns, got, want)
		}
	}
}

// Elsewhere than on a terminal there is a line now and then.
func TestLoadBarWithoutATerminal(t *testing.T) {
	var out strings.Builder
	bar := newLoadBar(&Env{Stderr: &out, Getenv: func(string) string { return "" }})
	for i := range 60 { // a snapshot every 250 ms
		bar.show(replay.LoadSnapshot{Elapsed: time.Duration(i) * 250 * time.Millisecond, Runs: 60, Done: i})
	}
	bar.clear()
	want := "wstape: 5s: 20/60 runs, 0 failed, 0 messages/s\nwstape: 10s: 40/60 runs, 0 failed, 0 messages/s\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
