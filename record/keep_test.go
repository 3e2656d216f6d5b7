package record

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wstape/wstape/tape"
)

// aged puts sessions on a tape, each a letter: c closed, r refused, o open, k
// closed and kept. The n-th ended n hours before the last, and is n KiB long.
func aged(t *testing.T, now time.Time, kinds string) *Memory {
	t.Helper()
	m := NewMemory()
	for i, kind := range kinds {
		n, err := m.Begin(t.Context())
		must(t, err)
		hours := time.Duration(len(kinds)-i) * time.Hour
		e := Entry{Session: tape.Session{N: n, State: tape.Closed, Started: now.Add(-hours - time.Minute), Duration: time.Minute}, Size: n << 10}
		switch kind {
		case 'o':
			e.State = tape.Open
		case 'r':
			e.State = tape.Refused
		}
		must(t, m.Append(t.Context(), Batch{Entries: []Entry{e}, Segments: []Segment{{Session: n, Seq: 1, Raw: make([]byte, n<<10)}}}))
		if kind == 'k' {
			must(t, m.SetLabel(t.Context(), n, Label{Tags: map[string]string{Pinned: ""}}))
		}
	}
	return m
}

// left lists what is on a tape.
func left(t *testing.T, s Store) (out string) {
	t.Helper()
	for e, err := range Sessions(t.Context(), s) {
		must(t, err)
		out += fmt.Sprint(" ", e.N)
	}
	return strings.TrimSpace(out)
}

func TestPruneRemovesTheOldestThatMayGo(t *testing.T) {
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name, kinds string
		keep        Keep
		left        string
		unmet       string
	}{
		{"no bounds", "ccc", Keep{}, "1 2 3", ""},
		{"age", "cccccc", Keep{Age: 3*time.Hour + time.Minute}, "4 5 6", ""},
		{"age of nothing", "ccc", Keep{Age: 100 * time.Hour}, "1 2 3", ""},
		{"age passes by", "kocrc", Keep{Age: time.Minute}, "1 2", ""},
		{"count", "ccccc", Keep{Sessions: 2}, "4 5", ""},
		{"count of more than there are", "ccc", Keep{Sessions: 7}, "1 2 3", ""},
		{"count passes by", "kcoccr", Keep{Sessions: 3}, "1 3 6", ""},
		{"count that cannot be", "kocko", Keep{Sessions: 2}, "1 2 4 5", "4 sessions are on the tape, which should be 2: what is left is open or kept (2 open, 2 with the tag keep)"},
		{"size", "cccccc", Keep{Bytes: 12 << 10}, "5 6", ""},
		{"size to the byte", "ccc", Keep{Bytes: 6 << 10}, "1 2 3", ""},
		{"size passes by", "ckccoc", Keep{Bytes: 14 << 10}, "2 5 6", ""},
		{"size that cannot be", "coc", Keep{Bytes: 1 << 10}, "2", "2048 bytes of the tape are in use, which should be 1024: what is left is open or kept (1 open, 0 with the tag keep)"},
		{"all together", "cccccccc", Keep{Age: 6*time.Hour + time.Minute, Sessions: 4, Bytes: 16 << 10}, "7 8", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := aged(t, now, c.kinds)
			before, gone := left(t, m), ""
			rehearsal, err := Rehearse(t.Context(), m)
			must(t, err)
			rehearsed := ""
			_ = Prune(t.Context(), rehearsal, c.keep, now, func(e *Entry) { rehearsed += fmt.Sprint(e.N, " ") })
			if got := left(t, m); got != before {
				t.Fatalf("a rehearsal left %s of %s", got, before)
			}
			err = Prune(t.Context(), m, c.keep, now, func(e *Entry) { gone += fmt.Sprint(e.N, " ") })
			if c.unmet == "" {
				must(t, err)
			} else if !errors.Is(err, ErrUnmet) || err.Error() != c.unmet {
				t.Errorf("got %v, want %s", err, c.unmet)
			}
			if got := left(t, m); got != c.left {
				t.Errorf("%s are left, want %s", got, c.left)
			}
			if c.keep.Bytes == 0 && rehearsed != gone {
				t.Errorf("%s were said to go, and %s went", rehearsed, gone)
			}
		})
	}
}

// busy is a tape from which somebody else removes sessions too.
type busy struct {
	*Memory
	other uint64
}

func (b *busy) Delete(ctx context.Context, numbers ...uint64) error {
	if b.other > 0 {
		n := b.other
		b.other = 0
		if err := b.Memory.Delete(ctx, n); err != nil {
			return err
		}
	}
	return b.Memory.Delete(ctx, numbers...)
}

func TestPruneBesideAnother(t *testing.T) {
	now := time.Now()
	b := &busy{aged(t, now, "cccccc"), 2}
	must(t, Prune(t.Context(), b, Keep{Sessions: 3}, now, func(*Entry) {}))
	if got := left(t, b); got != "4 5 6" {
		t.Errorf("%s are left", got)
	}
}

func TestPruneOfMoreThanAPage(t *testing.T) {
	now := time.Now()
	m := aged(t, now, strings.Repeat("ck", 400))
	err := Prune(t.Context(), m, Keep{Age: time.Minute, Sessions: 10}, now, func(*Entry) {})
	if !errors.Is(err, ErrUnmet) || strings.Count(left(t, m), " ") != 399 {
		t.Errorf("%d are left, %v", strings.Count(left(t, m), " ")+1, err)
	}
}

// A tape that is being recorded to is kept within bounds, and what cannot be is
// said once.
func TestEnforce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := aged(t, time.Now(), "kccccc")
		ctx, cancel := context.WithCancel(t.Context())
		var reports []string
		done := make(chan struct{})
		go func() {
			defer close(done)
			Keep{Sessions: 3, Age: 2 * time.Hour}.Enforce(ctx, m, func(removed int, err error) {
				reports = append(reports, fmt.Sprint(removed, " ", err))
			})
		}()
		synctest.Wait()
		if got := left(t, m); got != "1 5 6" {
			t.Errorf("at first %s are left", got)
		}
		<-time.After(15 * time.Minute)
		synctest.Wait()
		if got := left(t, m); got != "1 6" {
			t.Errorf("later %s are left", got)
		}
		for _, n := range []uint64{6, 7, 8, 9} {
			if n > 6 {
				must(t, m.Append(ctx, Batch{Entries: []Entry{{Session: tape.Session{N: n, State: tape.Open}}}}))
			}
			must(t, m.SetLabel(ctx, n, Label{Tags: map[string]string{Pinned: ""}}))
		}
		<-time.After(time.Hour)
		synctest.Wait()
		if got := left(t, m); got != "1 6 7 8 9" {
			t.Errorf("at the end %s are left", got)
		}
		cancel()
		<-done
		equal(t, reports, []string{
			"3 <nil>", "1 <nil>",
			"0 5 sessions are on the tape, which should be 3: what is left is open or kept (3 open, 2 with the tag keep)",
		})
	})
}
