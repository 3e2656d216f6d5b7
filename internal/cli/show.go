package cli

import (
	"bufio"
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

type showOptions struct {
	follow, frames, json bool
	from                 string
	maxBytes             int64
	lens                 lens
}

func (a *app) showCommand() *cobra.Command {
	var o showOptions
	cmd := &cobra.Command{
		Use:   "show SESSION…",
		Short: "show the messages of a session",
		Long: `Show the messages of a session, one a line: joined, unmasked and inflated, in
the order in which they began. With --frames, the frames as they were on the wire.`,
		Example: "  wstape show 3\n  wstape show -1 --follow\n  wstape show 3 --json --from server\n  wstape show chat.cassette.jsonl",
		Args:    atLeastOne(aSession),
	}
	a.tapeFlag(cmd)
	cmd.Flags().BoolVarP(&o.follow, "follow", "f", false, "go on with what is being recorded, until the session ends")
	cmd.Flags().BoolVar(&o.frames, "frames", false, "show wire frames instead of messages")
	cmd.Flags().BoolVar(&o.json, "json", false, "one JSON object a line")
	cmd.Flags().StringVar(&o.from, "from", "", "only what this side sent: `client|server`")
	cmd.Flags().Int64Var(&o.maxBytes, "max-bytes", -1, "show at most this much of each payload; 0 shows all (default all in JSON, what fits else)")
	o.lens.addFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := o.lens.compile(cmd.Context()); err != nil {
			return err
		}
		if o.frames && o.lens.whole() {
			return fail(exitUsage, "--filter and --view look at messages; --frames shows frames")
		}
		if o.from != "" {
			if _, err := tape.ParseSide(o.from); err != nil {
				return fail(exitUsage, "--from: %w", err)
			}
		}
		if o.frames && o.maxBytes >= 0 {
			return fail(exitUsage, "--max-bytes folds messages; --frames shows frames whole")
		}
		t := openTape(a.tape)
		defer t.Close()
		targets, err := a.resolve(cmd.Context(), t, args)
		if err != nil {
			return err
		}
		out := bufio.NewWriterSize(a.Stdout, 64<<10)
		defer out.Flush()
		for _, at := range targets {
			if err := a.show(cmd.Context(), out, at, &o, len(targets) > 1); err != nil {
				return err
			}
		}
		return out.Flush()
	}
	return cmd
}

func (o *showOptions) wants(from tape.Side) bool { return o.from == "" || o.from == from.String() }

func (a *app) show(ctx context.Context, out *bufio.Writer, at target, o *showOptions, headed bool) error {
	e, err := at.store.Session(ctx, at.n)
	if err != nil {
		return err
	}
	paint := a.painter(a.Stdout)
	if !o.json && (headed || isTerminal(a.Stdout)) {
		fmt.Fprintf(out, "%s  %s\n", paint.paint(dim, at.name), paint.openText(&e.Session))
	}
	read := record.ReadOptions{Follow: o.follow}
	if o.frames {
		err = a.showFrames(ctx, out, at, o, read)
	} else {
		err = a.showLines(ctx, out, at, o, read)
	}
	if err != nil {
		return err
	}
	if e, err = at.store.Session(ctx, at.n); err == nil && !o.json && e.State != tape.Open {
		fmt.Fprintf(out, "%s  %s\n", paint.paint(dim, clock(e.Duration)), paint.closeText(&e.Session))
	}
	return err
}

// clock writes a time since the session began.
func clock(d time.Duration) string { return fmt.Sprintf("%12.6f", d.Seconds()) }

func (a *app) showLines(ctx context.Context, out *bufio.Writer, at target, o *showOptions, read record.ReadOptions) error {
	paint, columns := a.painter(a.Stdout), width(a.Stdout)
	room := columns - len("    0.000000  ")
	switch {
	case o.maxBytes > 0:
		read.Keep = uint64(o.maxBytes)
		room = 1 << 30
	case o.maxBytes == 0:
		room = 1 << 30
	case !o.json && !o.lens.whole():
		read.Keep = uint64(max(columns, 64)) * 4
	}
	e, err := at.store.Session(ctx, at.n)
	if err != nil {
		return err
	}
	sight, err := o.lens.on(&e.Session)
	if err != nil {
		return err
	}
	if o.lens.whole() {
		read.Keep = 0 // what is looked at must be there
	}
	for line, err := range record.Lines(ctx, at.store, at.n, read) {
		if err != nil {
			return err
		}
		x := seen{passes: o.lens.filter == nil}
		if line.Message != nil {
			x = sight.see(line.Message)
		}
		switch {
		case !x.passes, line.Message != nil && !o.wants(line.Message.From):
			continue
		case o.lens.view != "" && o.json && line.Message != nil:
			text, err := viewJSON(line, &x)
			if err != nil {
				return err
			}
			if _, err := out.Write(text); err != nil {
				return err
			}
		case o.lens.view != "" && x.view != nil:
			if _, err := fmt.Fprintf(out, "%s  %s\n", paint.paint(dim, clock(line.T)), paint.viewText(line.Message, &x, room)); err != nil {
				return err
			}
		case o.json:
			if err := line.WriteJSON(out); err != nil {
				return err
			}
		default:
			if _, err := fmt.Fprintf(out, "%s  %s\n", paint.paint(dim, clock(line.T)), paint.lineText(line, room)); err != nil {
				return err
			}
		}
		if o.follow {
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *app) showFrames(ctx context.Context, out *bufio.Writer, at target, o *showOptions, read record.ReadOptions) error {
	paint := a.painter(a.Stdout)
	for f, err := range record.Frames(ctx, at.store, at.n, read) {
		if err != nil {
			return err
		}
		switch {
		case !o.wants(f.From):
			continue
		case o.json:
			if err := f.WriteJSON(out); err != nil {
				return err
			}
		default:
			if _, err := fmt.Fprintf(out, "%s  %s\n", paint.paint(dim, clock(f.T)), paint.frameText(f)); err != nil {
				return err
			}
		}
		if o.follow {
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// frameText writes one frame's header and the start of its payload.
func (p painter) frameText(f *tape.Frame) string {
	way := cyan
	if f.From == tape.Server {
		way = green
	}
	text := fmt.Sprintf("%5d %s %s", f.Seq, p.paint(way, arrow(f.From)), opText(f.Opcode))
	if f.Opcode != tape.OpRaw {
		text += fmt.Sprintf(" fin=%d rsv=%03b", map[bool]int{true: 1}[f.Fin], f.RSV)
	}
	if f.Masked {
		text += fmt.Sprintf(" mask=%x", f.Mask)
	}
	if f.Leg != tape.LegBoth {
		text += " leg=" + f.Leg.String()
	}
	text += fmt.Sprintf(" len=%d", f.Len)
	if f.Partial() {
		text += p.paint(red, fmt.Sprintf(" (%d came)", len(f.Payload)))
	}
	keep := min(len(f.Payload), 24)
	text += fmt.Sprintf("  %x", f.Payload[:keep])
	if keep < len(f.Payload) {
		text += "…"
	}
	if f.Redacted {
		text += p.paint(dim, "  redacted")
	}
	if f.Violation != "" {
		text += "  " + p.paint(red, f.Violation)
	}
	return text
}
