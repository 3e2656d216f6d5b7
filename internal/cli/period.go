package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/wstape/wstape/tape"
)

// timeline says how times are shown: as people's clocks show them, here or in
// UTC, or since the session began.
type timeline struct{ clock, utc bool }

func (l *timeline) addFlags(fs *pflag.FlagSet, clock bool) {
	if clock {
		fs.BoolVar(&l.clock, "clock", false, "show the time of day instead of the seconds since the session began")
	}
	fs.BoolVar(&l.utc, "utc", false, "show and read the time of day in UTC")
}

func (l *timeline) zone() *time.Location {
	if l.utc {
		return time.UTC
	}
	return time.Local
}

// stamp writes when something was, in a session that began at start.
func (l *timeline) stamp(start time.Time, t time.Duration) string {
	if l.clock || l.utc {
		return start.Add(t).In(l.zone()).Format("15:04:05.000000")
	}
	return clock(t)
}

// clock writes a time since the session began.
func clock(d time.Duration) string { return fmt.Sprintf("%12.6f", d.Seconds()) }

const periodHelp = `
--since and --until take a time of day (10:30, 10:30:05.5: the last time it was so), a
date with or without one (2026-11-22 10:30), RFC 3339 (2026-11-22T10:30:00Z), or how
long ago (5m, 1h30m)`

// period is what --since and --until leave of time: from the one, up to and
// without the other.
type period struct {
	sinceText, untilText string
	since, until         moment
	coming               bool // of a time of day, --until means the next
}

// moment is a time, or one since each session's beginning. The zero value is none.
type moment struct {
	at    time.Time
	daily bool // it is given as a time of day
	begun bool // after counts from the session's beginning
	after time.Duration
}

func (m moment) in(start time.Time) time.Time {
	if m.begun {
		return start.Add(m.after)
	}
	return m.at
}

func (m moment) none() bool { return m == moment{} }

// addFlags declares --since and --until of what: "sessions that were open".
func (p *period) addFlags(fs *pflag.FlagSet, what string) {
	fs.StringVar(&p.sinceText, "since", "", "only "+what+" from this `TIME` on: 10:30, 2026-11-22 10:30, 5m (ago)")
	fs.StringVar(&p.untilText, "until", "", "only "+what+" before this `TIME`")
}

// read reads the flags. Whoever looks at single sessions may be given +5s, which
// counts from a session's beginning.
func (p *period) read(now time.Time, zone *time.Location, inSession bool) (err error) {
	for _, one := range []struct {
		flag, text string
		to         *moment
	}{{"--since", p.sinceText, &p.since}, {"--until", p.untilText, &p.until}} {
		if one.text == "" {
			continue
		}
		if *one.to, err = readMoment(one.text, now.In(zone)); err != nil {
			return fail(exitUsage, "%s: %w", one.flag, err)
		}
		if one.to.begun && !inSession {
			return fail(exitUsage, "%s %s counts from a session's beginning, and this command has no session", one.flag, one.text)
		}
	}
	if p.coming && p.until.daily && p.until.at.Before(now) {
		p.until.at = p.until.at.AddDate(0, 0, 1)
	}
	if p.since.begun == p.until.begun && !p.since.none() && !p.until.none() && !p.since.in(now).Before(p.until.in(now)) {
		return fail(exitUsage, "--since %s is not before --until %s", p.sinceText, p.untilText)
	}
	return nil
}

// bound returns a context that is done when the period is over.
func (p *period) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if p.until.none() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, p.until.at)
}

// dates are the forms of times that have a day.
func dates() []string {
	return []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"}
}

func readMoment(text string, now time.Time) (moment, error) {
	if rest, ok := strings.CutPrefix(text, "+"); ok {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 {
			return moment{}, fmt.Errorf("%q is not a time since a session's beginning, like +5s", text)
		}
		return moment{begun: true, after: d}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return moment{at: now.Add(-d)}, nil
	}
	for _, form := range dates() {
		if t, err := time.ParseInLocation(form, text, now.Location()); err == nil {
			return moment{at: t}, nil
		}
	}
	for _, form := range []string{"15:04:05", "15:04"} {
		if t, err := time.ParseInLocation(form, text, now.Location()); err == nil {
			at := time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), now.Location())
			if at.After(now) {
				at = at.AddDate(0, 0, -1)
			}
			return moment{at: at, daily: true}, nil
		}
	}
	return moment{}, errors.New("\"" + text + "\" is not a time: write 10:30, 2026-11-22 10:30, 2026-11-22T10:30:00Z, or 5m for five minutes ago")
}

// has reports whether something happened in the period, t after its session began.
func (p *period) has(start time.Time, t time.Duration) bool {
	at := start.Add(t)
	return (p.since.none() || !at.Before(p.since.in(start))) && (p.until.none() || at.Before(p.until.in(start)))
}

// mayHave reports whether anything of a session can be in the period.
func (p *period) mayHave(s *tape.Session) bool {
	if !p.until.none() && !s.Started.Before(p.until.in(s.Started)) {
		return false
	}
	return p.since.none() || s.State == tape.Open || !s.Started.Add(s.Duration).Before(p.since.in(s.Started))
}

// slack is how far the times of neighbouring lines may be out of order.
const slack = time.Second

// over reports whether nothing that comes t after a session's beginning, or
// later, can be in the period.
func (p *period) over(start time.Time, t time.Duration) bool {
	return !p.until.none() && start.Add(t-slack).After(p.until.in(start))
}
