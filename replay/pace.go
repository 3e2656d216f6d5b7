package replay

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Pace says when the player sends what it may send.
type Pace struct {
	// Factor is how much faster than recorded: 1 as recorded, 2 twice as fast; 0
	// as soon as the causes are there.
	Factor float64
	// Step waits for a word before each step: see [Options.Words].
	Step bool
}

// ParsePace reads recorded, instant, step, or a factor: 2x, 0.5x.
func ParsePace(text string) (Pace, error) {
	switch text {
	case "recorded", "":
		return Pace{Factor: 1}, nil
	case "instant":
		return Pace{}, nil
	case "step":
		return Pace{Step: true}, nil
	}
	digits, ok := strings.CutSuffix(text, "x")
	f, err := strconv.ParseFloat(digits, 64)
	if !ok || err != nil || !(f >= 0.001 && f <= 1000) {
		return Pace{}, fmt.Errorf("pace %q is not recorded, instant, step or a factor from 0.001x to 1000x", text)
	}
	return Pace{Factor: f}, nil
}

// after is how long after its anchor something is due that came d after it on
// the tape.
func (p Pace) after(d time.Duration) time.Duration {
	if p.Factor == 0 || d <= 0 {
		return 0
	}
	return time.Duration(float64(d) / p.Factor)
}
