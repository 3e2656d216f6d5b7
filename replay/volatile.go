package replay

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// scalar is a decoded JSON value that has no values in it.
type scalar struct {
	kind byte   // 's' string, 'n' number, 't' true, 'f' false, 'z' null
	text string // of a string, decoded; of a number, as it is written
}

const (
	minRandom = 16      // characters from which on a value counts as random
	maxRandom = 512     // a longer one is content, not an id
	maxText   = 8 << 10 // a longer string is not searched for ids

	// minSurprise is how many bits must speak for chance and against words. Of
	// the 4,765 identifiers of 16 characters and more in Go's and npm's libraries
	// 12 reach it, strings of abbreviations and numbers; of random base64url of 22
	// characters 998 in 1,000.
	minSurprise = 6

	// minHexDigits is how many different digits random hexadecimal has at least:
	// 0x0000000000000a10 and 11111111-2222-3333-4444-555555555555 are chosen.
	minHexDigits = 6

	timeWindow = 24 * time.Hour // how near a time must be to the clock
)

// volatile reports whether two values provably differ from run to run: both are
// ids or tokens of one class with the same text around them, or both are times
// near their message's own time. key is the nearest object key on the way to
// them; recorded and now are when their messages were sent.
func volatile(key string, want, got scalar, recorded, now time.Time) bool {
	if want.kind != got.kind || want.kind != 's' && want.kind != 'n' {
		return false
	}
	if timeLike(key) {
		if unit := epochUnit(want.text, recorded); unit != 0 && unit == epochUnit(got.text, now) {
			return true
		}
		if sameDistance(want.text, got.text, recorded, now) {
			return true
		}
	}
	if want.kind == 'n' {
		return false
	}
	if form := timeForm(want.text, recorded); form != 0 && form == timeForm(got.text, now) {
		return true
	}
	a, ok := skeleton(want.text)
	if !ok {
		return false
	}
	b, ok := skeleton(got.text)
	return ok && a == b
}

// distinctive reports whether a value is so unlikely to come up twice by chance
// that seeing it on both sides proves that one side has it from the other.
func distinctive(s scalar) bool {
	switch {
	case s.kind == 'n' || s.kind == 's' && isDigits(s.text):
		digits, _, _ := strings.Cut(strings.ToLower(s.text), "e")
		digits = strings.TrimLeft(strings.Replace(strings.TrimPrefix(digits, "-"), ".", "", 1), "0")
		if round := strings.TrimRight(digits, "0"); len(digits)-len(round) > 2 { // 1000000 is a round number, not an id; 482910 is none
			digits = round
		}
		return len(digits) >= 6
	case s.kind != 's':
		return false
	}
	if _, ok := skeleton(s.text); ok {
		return true
	}
	if len(s.text) < 8 || len(s.text) > maxRandom || strings.ContainsFunc(s.text, func(r rune) bool { return r >= utf8.RuneSelf || !isID(byte(r)) }) {
		return false
	}
	return isHex(strings.TrimPrefix(s.text, "0x"), 8, 3) ||
		strings.ContainsFunc(s.text, unicode.IsDigit) && strings.ContainsFunc(s.text, unicode.IsLetter) && surprise(s.text) >= minSurprise
}

// epochUnit returns how many units of a number there are in a second (1, 1e3,
// 1e6, 1e9), if the number is a time near the given one since 1970; else 0.
func epochUnit(text string, near time.Time) float64 {
	whole, fraction, hasFraction := strings.Cut(text, ".")
	if len(whole) > 20 || !isDigits(whole) || hasFraction && !isDigits(fraction) {
		return 0
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	for _, unit := range [...]float64{1, 1e3, 1e6, 1e9} {
		if hasFraction && unit > 1e3 {
			break // nobody writes parts of a microsecond
		}
		if math.Abs(v/unit-float64(near.Unix())) <= timeWindow.Seconds() {
			return unit
		}
	}
	return 0
}

// sameDistance reports whether two numbers are times as far from when they were
// said as each other: a token that runs out in thirty days does so in every run.
func sameDistance(want, got string, recorded, now time.Time) bool {
	const about, farthest = 5 * time.Minute, 10 * 365 * 24 * time.Hour
	a, err := strconv.ParseInt(want, 10, 64)
	if err != nil {
		return false
	}
	b, err := strconv.ParseInt(got, 10, 64)
	if err != nil {
		return false
	}
	for _, unit := range [...]int64{1, 1e3, 1e6, 1e9} {
		x, y := time.Unix(a/unit, 0).Sub(recorded), time.Unix(b/unit, 0).Sub(now)
		if x.Abs() < farthest && y.Abs() < farthest && (x-y).Abs() <= about {
			return true
		}
	}
	return false
}

// timeForm says in which form, from 1, a string is a time near the given one; 0
// if it is none. The form alone proves that it is a time.
func timeForm(text string, near time.Time) int {
	text, _, _ = strings.Cut(text, " (") // the zone's long name, as Date's toString in JavaScript writes it
	if len(text) < len("20060102T150405") || len(text) > 48 || !strings.ContainsAny(text, "0123456789") {
		return 0
	}
	for i, layout := range [...]string{ // seconds may have a fraction in all of them
		"2006-01-02T15:04:05Z07:00", // RFC 3339
		"2006-01-02 15:04:05Z07:00",
		"2006-01-02 15:04:05 Z07:00",
		"2006-01-02T15:04:05Z0700",
		"2006-01-02T15:04:05", // local time
		"2006-01-02 15:04:05",
		"2006-01-02T15:04Z07:00",
		"20060102T150405Z07:00", // compact ISO 8601
		"20060102T150405Z0700",
		"20060102T150405",
		"20060102-15:04:05", // FIX
		time.RFC1123,        // and HTTP
		time.RFC1123Z,
		"Mon, _2 Jan 2006 15:04:05 -0700", // mail
		time.ANSIC,
		time.UnixDate,
		"Mon Jan 02 2006 15:04:05 GMT-0700",       // JavaScript
		"2006-01-02 15:04:05.999999999 -0700 MST", // Go
	} {
		if t, err := time.Parse(layout, text); err == nil {
			if t.Sub(near).Abs() > timeWindow {
				return 0
			}
			return i + 1
		}
	}
	return 0
}
