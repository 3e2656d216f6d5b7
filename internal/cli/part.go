package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// part is what --filter, --since and --until leave of sessions that are exported.
type part struct {
	lens   lens
	times  timeline
	period period
	keep   uint64 // bytes that are read of a message; one that is longer cannot be exported
}

func (p *part) addFlags(cmd *cobra.Command) {
	p.lens.addFlags(cmd.Flags())
	p.period.addFlags(cmd.Flags(), "messages")
	cmd.Flags().BoolVar(&p.times.utc, "utc", false, "read times of day in UTC")
}

func (p *part) check(ctx context.Context) error {
	if err := p.lens.compile(ctx); err != nil {
		return err
	}
	return p.period.read(time.Now(), p.times.zone(), true)
}

// whole reports whether nothing is left out.
func (p *part) whole() bool {
	return p.lens.filter == nil && p.period.since.none() && p.period.until.none()
}

// partTag is the tag of a session of which messages were left out, with what chose.
const partTag = "filtered"

// of returns the sessions without the messages that are not wanted. Each says in
// a tag and a note that they are missing.
func (p *part) of(ctx context.Context, targets []target) ([]target, error) {
	if p.whole() {
		return targets, nil
	}
	out := make([]target, 0, len(targets))
	for _, at := range targets {
		memory := record.NewMemory()
		numbers, err := p.copy(ctx, at, memory)
		if err != nil {
			return nil, fmt.Errorf("take a part of %s: %w", at.name, err)
		}
		out = append(out, target{memory, numbers[0], at.name, at.file})
	}
	return out, nil
}

// copy puts a part of a session on another tape, by way of a cassette, which is
// the form in which messages can be left out.
func (p *part) copy(ctx context.Context, at target, to record.Writer) ([]uint64, error) {
	kept, left, err := p.count(ctx, at)
	if err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	written := make(chan struct{})
	go func() {
		defer close(written)
		w.CloseWithError(p.write(ctx, w, at, kept, left))
	}()
	numbers, err := record.ReadCassette(ctx, r, to)
	r.CloseWithError(err)
	<-written
	return numbers, err
}

// lines calls f with each line of a session and whether it is wanted.
func (p *part) lines(ctx context.Context, at target, f func(l *tape.Line, wanted bool) error) error {
	e, err := at.store.Session(ctx, at.n)
	if err != nil {
		return err
	}
	sight, err := p.lens.on(&e.Session)
	if err != nil {
		return err
	}
	for l, err := range record.Lines(ctx, at.store, at.n, record.ReadOptions{Keep: p.keep}) {
		if err != nil {
			return err
		}
		wanted := p.period.has(e.Started, l.T)
		if l.Message != nil {
			wanted = sight.see(l.Message).passes && wanted
		}
		if err := f(l, wanted); err != nil {
			return err
		}
	}
	return nil
}

func (p *part) count(ctx context.Context, at target) (kept, left int, err error) {
	err = p.lines(ctx, at, func(l *tape.Line, wanted bool) error {
		switch {
		case l.Message == nil:
		case wanted:
			kept++
		default:
			left++
		}
		return nil
	})
	return kept, left, err
}

func (p *part) write(ctx context.Context, w io.Writer, at target, kept, left int) error {
	e, err := at.store.Session(ctx, at.n)
	if err != nil {
		return err
	}
	s := e.Session
	s.N = 0
	if left > 0 {
		tags := map[string]string{partTag: p.text()}
		for key, value := range s.Tags {
			if key != partTag {
				tags[key] = value
			}
		}
		s.Tags = tags
		s.Notes = append(s.Notes[:len(s.Notes):len(s.Notes)], fmt.Sprintf("%d of %s left out by export %s", left, count(kept+left, "message"), p.text()))
	}
	head, err := s.MarshalFull()
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 64<<10)
	fmt.Fprintf(out, "{\"wstape\":1,\"session\":%s}\n", head)
	err = p.lines(ctx, at, func(l *tape.Line, wanted bool) error {
		if !wanted {
			return nil
		}
		return l.WriteJSON(out)
	})
	if err != nil {
		return err
	}
	return out.Flush()
}

// text is what the user gave.
func (p *part) text() string {
	var words []string
	for _, flag := range [][2]string{{"--filter", p.lens.filterText}, {"--since", p.period.sinceText}, {"--until", p.period.untilText}} {
		if flag[1] != "" {
			words = append(words, flag[0]+" '"+flag[1]+"'")
		}
	}
	return strings.Join(words, " ")
}

// warnOfParts says which sessions that are to be played had messages left out.
func (a *app) warnOfParts(ctx context.Context, targets []target) error {
	for _, at := range targets {
		e, err := at.store.Session(ctx, at.n)
		if err != nil {
			return err
		}
		if how, ok := e.Tags[partTag]; ok {
			fmt.Fprintf(a.Stderr, "wstape: %s was exported with %s: what was left out is not played, and not missed\n", safe(at.name, 200), safe(how, 400))
		}
	}
	return nil
}
