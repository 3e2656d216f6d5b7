package cli

import (
	"context"
	"errors"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// draft is a tape to which sessions are added that were recorded elsewhere: of one
// that cannot be read to its end nothing stays. Not safe for concurrent use.
type draft struct {
	record.Store
	begun map[uint64]record.Entry // sessions of which only a part is on the tape
}

// Append implements [record.Writer].
func (d *draft) Append(ctx context.Context, b record.Batch) error {
	err := d.Store.Append(ctx, b)
	for _, e := range b.Entries {
		if delete(d.begun, e.N); e.State == tape.Open {
			d.begun[e.N] = e
		}
	}
	return err
}

// undo removes the sessions of which only a part is there.
func (d *draft) undo(ctx context.Context) (err error) {
	for n, e := range d.begun {
		e.State = tape.Interrupted // an open one cannot be removed
		err = errors.Join(err, d.Store.Append(ctx, record.Batch{Entries: []record.Entry{e}}), d.Store.Delete(ctx, n))
	}
	return err
}
