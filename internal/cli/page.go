package cli

import (
	"context"

	"github.com/spf13/pflag"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// page is the part of a session that --last or --after leaves.
type page struct {
	last  int    // lines; 0 for all
	after uint64 // number of the frame that they are behind
	skip  int    // lines behind it that are before the first
	whole bool   // reading begins at the beginning all the same
	begun bool   // the frame has come by
}

func (p *page) addFlags(fs *pflag.FlagSet) {
	fs.IntVar(&p.last, "last", 0, "only the last `COUNT` lines; of a long session little more is read")
	fs.Uint64Var(&p.after, "after", 0, "only what began behind the message with this `SEQ`, which --json shows")
}

func (p *page) check(frames bool) error {
	switch {
	case p.last < 0:
		return fail(exitUsage, "--last %d: how many lines?", p.last)
	case p.last > 0 && p.after > 0:
		return fail(exitUsage, "--last counts from the end, --after goes on from a message: give one of them")
	case frames && (p.last > 0 || p.after > 0):
		return fail(exitUsage, "--last and --after look at messages; --frames shows frames")
	}
	return nil
}

// What views are shown beside the page: the first messages, by which protocols
// agree on how they talk, and so many frames before the page that most answers
// in it find their requests.
const (
	pageHello = 16
	pageRunUp = 500
)

// begin finds where the page begins, for which s is made, and has read begin
// there. Where a filter asks what messages mean, all before must be looked at.
func (p page) begin(ctx context.Context, at target, s *shower, read *record.ReadOptions) (page, error) {
	if p.last == 0 && p.after == 0 {
		return p, nil
	}
	o := s.options
	p.whole = o.lens.filter != nil && o.lens.filter.NeedsView()
	if p.last > 0 {
		place, err := p.find(ctx, at, s)
		if err != nil {
			return p, err
		}
		p.after, p.skip, read.Offset = place.After, place.Skip, place.Offset
	}
	if p.whole {
		read.Offset, p.begun = 0, p.after == 0
		return p, nil
	}
	read.After = p.after
	if s.layout.views || o.hide || o.lens.chosen() {
		return p, p.prime(ctx, at, s)
	}
	return p, nil
}

// find finds the last lines.
func (p *page) find(ctx context.Context, at target, s *shower) (record.Place, error) {
	o := s.options
	e, err := at.store.Session(ctx, at.n)
	if err != nil {
		return record.Place{}, err
	}
	sight, err := o.lens.sight(&e.Session, false) // the shower's own is to see no message twice
	if err != nil {
		return record.Place{}, err
	}
	read := record.ReadOptions{Keep: 1}
	if o.lens.filter != nil {
		read.Keep = s.whole
	}
	return record.Last(ctx, at.store, at.n, p.last, read, p.whole, func(l *tape.Line) bool {
		x := seen{passes: o.lens.filter == nil}
		if l.Message != nil {
			x = sight.see(l.Message)
		}
		return s.wants(l, &x)
	})
}

// prime has the sight see what it needs of what is before the page.
func (p *page) prime(ctx context.Context, at target, s *shower) error {
	read := record.ReadOptions{Keep: s.whole}
	hello, err := p.see(ctx, at, s, read, pageHello)
	if err != nil {
		return err
	}
	if read.After = max(hello, p.after-min(p.after, pageRunUp)); read.After < p.after {
		_, err = p.see(ctx, at, s, read, pageRunUp)
	}
	return err
}

// see has the sight see messages before the page, most at most, and returns the
// number of the last.
func (p *page) see(ctx context.Context, at target, s *shower, read record.ReadOptions, most int) (last uint64, err error) {
	for line, err := range record.Lines(ctx, at.store, at.n, read) {
		if err != nil {
			return last, err
		}
		m := line.Message
		switch {
		case m == nil:
			continue
		case m.Seq > p.after || most == 0:
			return last, nil
		}
		s.sight.see(m)
		last = m.Seq
		most--
	}
	return last, nil
}

// before reports whether a line comes before the page. It is asked about each that is read.
func (p *page) before(l *tape.Line) bool {
	if !p.whole || p.begun {
		return false
	}
	if l.Message == nil || l.Message.Seq < p.after {
		return true
	}
	p.begun = true
	return l.Message.Seq == p.after
}

// skips reports whether a line that is wanted is one before the first.
func (p *page) skips() bool {
	if p.skip == 0 {
		return false
	}
	p.skip--
	return true
}
