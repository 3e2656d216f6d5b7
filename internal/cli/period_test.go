package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/wstape/wstape/tape"
)

func TestReadMoment(t *testing.T) {
	zone := time.FixedZone("", 3600)
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, zone)
	for text, want := range map[string]string{
		"10:30":                     "2026-11-22T10:30:00+01:00",
		"10:30:05.5":                "2026-11-22T10:30:05.5+01:00",
		"12:00":                     "2026-11-22T12:00:00+01:00",
		"23:15":                     "2026-11-21T23:15:00+01:00", // not yet today
		"2026-11-22":                "2026-11-22T00:00:00+01:00",
		"2026-11-22 10:30":          "2026-11-22T10:30:00+01:00",
		"2026-11-22 10:30:01.25":    "2026-11-22T10:30:01.25+01:00",
		"2026-11-22T10:30":          "2026-11-22T10:30:00+01:00",
		"2026-11-22T10:30:00Z":      "2026-11-22T10:30:00Z",
		"2026-11-22T10:30:00.5Z":    "2026-11-22T10:30:00.5Z",
		"2026-11-22T10:30:00+05:00": "2026-11-22T10:30:00+05:00",
		"5m":                        "2026-11-22T11:55:00+01:00",
		"1h30m":                     "2026-11-22T10:30:00+01:00",
	} {
		m, err := readMoment(text, now)
		if got := m.at.Format(time.RFC3339Nano); err != nil || got != want || m.begun {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	if m, err := readMoment("+1.5s", now); err != nil || !m.begun || m.after != 1500*time.Millisecond {
		t.Errorf("+1.5s: %+v, %v", m, err)
	}
	for _, text := range []string{"", "yesterday", "25:00", "-5m", "+", "+-5s", "2026-13-01", "10:30pm"} {
		if m, err := readMoment(text, now); err == nil {
			t.Errorf("%q: %+v", text, m)
		}
	}
}

func TestPeriod(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	start := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		since, until string
		session      bool
		in, out      []time.Duration // since the session began
	}{
		{"", "", true, []time.Duration{0, time.Hour}, nil},
		{"10:00", "", true, []time.Duration{0, time.Hour}, nil},
		{"10:01", "10:02", true, []time.Duration{time.Minute, 119 * time.Second}, []time.Duration{0, 59 * time.Second, 2 * time.Minute}},
		{"+1m", "+2m", true, []time.Duration{time.Minute, 119 * time.Second}, []time.Duration{59 * time.Second, 2 * time.Minute}},
		{"+1m", "10:02", true, []time.Duration{time.Minute}, []time.Duration{59 * time.Second, 2 * time.Minute}},
		{"10:10", "", false, nil, []time.Duration{9 * time.Minute}},
		{"", "10:00", false, nil, []time.Duration{0}},
	} {
		p := period{sinceText: c.since, untilText: c.until}
		if err := p.read(now, time.UTC, true); err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		if p.mayHave(&tape.Session{Started: start, Duration: 5 * time.Minute, State: tape.Closed}) != c.session {
			t.Errorf("%+v: the session", c)
		}
		for _, at := range c.in {
			if !p.has(start, at) || p.over(start, at) {
				t.Errorf("%+v: not in it: %v", c, at)
			}
		}
		for _, at := range c.out {
			if p.has(start, at) {
				t.Errorf("%+v: in it: %v", c, at)
			}
		}
	}
	for _, c := range [][2]string{{"10:30", "10:30"}, {"5m", "6m"}, {"+2s", "+1s"}, {"x", ""}} {
		p := period{sinceText: c[0], untilText: c[1]}
		if err := p.read(now, time.UTC, true); err == nil || exitCode(err) != exitUsage {
			t.Errorf("%v: %v", c, err)
		}
	}
	p := period{sinceText: "+5s"}
	if err := p.read(now, time.UTC, false); err == nil || !strings.Contains(err.Error(), "has no session") {
		t.Errorf("%v", err)
	}
}
