package cli

import (
	"context"
	"errors"
	"io"
)

var errInterrupted = errors.New("interrupted")

// within calls f, which may wait for ever for a person or another program, and
// gives that up when ctx is done: f goes on by itself until the process ends.
func within[T any](ctx context.Context, f func() (T, error)) (v T, err error) {
	done := make(chan struct{})
	var got T
	var failure error
	go func() {
		defer close(done)
		got, failure = f()
	}()
	select {
	case <-done:
		return got, failure
	case <-ctx.Done():
		return v, errInterrupted
	}
}

// patientReader reads from what may have something to read late or never.
type patientReader struct {
	ctx  context.Context
	from io.Reader
	buf  []byte
}

// patient returns a reader of a pipe or a terminal that ends with ctx.
func patient(ctx context.Context, from io.Reader) *patientReader {
	return &patientReader{ctx, from, make([]byte, 64<<10)}
}

// Read implements [io.Reader].
func (r *patientReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, errInterrupted // and buf may be in use still
	}
	n, err := within(r.ctx, func() (int, error) { return r.from.Read(r.buf[:min(len(p), len(r.buf))]) })
	return copy(p, r.buf[:n]), err
}
