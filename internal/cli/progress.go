package cli

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// meter draws on a terminal how far long work has come, in one line that it
// wipes off again. It belongs to one goroutine. On nil its methods do nothing.
type meter struct {
	out     io.Writer
	columns int
	what    string
	now     func() time.Time
	began   time.Time
	next    time.Time // when to draw again
	drawn   bool
}

const (
	meterAfter = 500 * time.Millisecond // work that takes less shows nothing
	meterEvery = 100 * time.Millisecond
	meterBar   = 20 // columns
)

// meter returns a meter for work that begins now, nil when nobody looks.
func (a *app) meter(what string) *meter {
	if !isTerminal(a.Stderr) {
		return nil
	}
	return newMeter(a.Stderr, width(a.Stderr), what, time.Now)
}

func newMeter(out io.Writer, columns int, what string, now func() time.Time) *meter {
	began := now()
	return &meter{out: out, columns: columns, what: what, now: now, began: began, next: began.Add(meterAfter)}
}

// progress is the meter of work that only says which part of it is done.
func (a *app) progress(what string) func(part float64) {
	m := a.meter(what)
	if m == nil {
		return nil
	}
	return func(part float64) {
		if part >= 1 {
			m.clear()
			return
		}
		m.at(part, "")
	}
}

// at draws that a part of the work is done, from 0 to 1, and what there is to say about it.
func (m *meter) at(part float64, about string) {
	if m == nil {
		return
	}
	now := m.now()
	if now.Before(m.next) {
		return
	}
	m.next, m.drawn = now.Add(meterEvery), true
	part = min(max(part, 0), 1)
	done := int(part * meterBar)
	text := fmt.Sprintf("%s [%s%s] %3d %%", m.what, strings.Repeat("=", done), strings.Repeat(" ", meterBar-done), int(part*100))
	if about != "" {
		text += "  " + about
	}
	if took := now.Sub(m.began); part > 0.01 && part < 1 {
		text += "  " + shortLeft(time.Duration(float64(took)*(1-part)/part)) + " left"
	}
	if len(text) >= m.columns {
		text = text[:m.columns-1]
	}
	fmt.Fprintf(m.out, "\r%s\x1b[K", text)
}

// shortLeft writes a time that is not known exactly.
func shortLeft(d time.Duration) string {
	if d >= 10*time.Minute {
		return d.Round(time.Minute).String()
	}
	return max(d.Round(time.Second), time.Second).String()
}

// clear wipes the line off, for what is to be printed or because the work is done.
func (m *meter) clear() {
	if m == nil || !m.drawn {
		return
	}
	m.drawn = false
	fmt.Fprint(m.out, "\r\x1b[K")
}

// rate writes so many bytes in a time.
func rate(bytes uint64, took time.Duration) string {
	return size(uint64(float64(bytes)/max(took.Seconds(), 1e-3))) + "/s"
}
