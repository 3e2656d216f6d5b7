package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ParseDuration reads what [time.ParseDuration] does, and days before it: 50ms,
// 7d, 1d12h.
func ParseDuration(text string) (time.Duration, error) {
	var days int64
	rest := text
	if number, after, ok := strings.Cut(text, "d"); ok {
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return 0, notADuration(text)
		}
		if days, rest = int64(n), after; rest == "" {
			rest = "0"
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil || days > 0 && d < 0 {
		return 0, notADuration(text)
	}
	return d + time.Duration(days)*24*time.Hour, nil
}

func notADuration(text string) error {
	return fmt.Errorf("%q is not a duration like 50ms, 2s or 7d", text)
}
