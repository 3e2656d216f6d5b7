package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// ErrGone means that the proxy went away before it answered; the call may be
// made again, of whoever holds the tape then.
var ErrGone = errors.New("the proxy that held the tape is gone")

func gone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", ErrGone, err)
}

// Client is a tape that a running proxy holds. Safe for concurrent use.
type Client struct {
	http      *http.Client
	following atomic.Bool // a reader that waits for changes need not force them
}

var _ record.Store = (*Client)(nil)

// Dial connects to the proxy that holds the tape; the error says if there is none.
func Dial(ctx context.Context, tapePath string) (*Client, error) {
	path, err := SocketPath(tapePath)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	probe, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	_ = probe.Close()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", path) }
	return &Client{http: &http.Client{Transport: &http.Transport{DialContext: dial}}}, nil
}

// Close lets go of the connections.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

func (c *Client) call(ctx context.Context, req request) (*reply, error) {
	body, err := req.encode(&req)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://tape/", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	res, err := c.http.Do(r)
	if err != nil {
		return nil, gone(ctx, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 512))
		return nil, fmt.Errorf("ask the running proxy: %s: %s", res.Status, strings.TrimSpace(string(text)))
	}
	var rep reply
	if err := rep.decode(res.Body, &rep); err != nil {
		return nil, gone(ctx, err)
	}
	return &rep, rep.err()
}

// read is call for what should include everything recorded so far.
func (c *Client) read(ctx context.Context, req request) (*reply, error) {
	req.Fresh = !c.following.Load()
	return c.call(ctx, req)
}

// Sessions implements [record.Reader].
func (c *Client) Sessions(ctx context.Context, after uint64) ([]record.Entry, error) {
	rep, err := c.read(ctx, request{Op: "sessions", N: after})
	if err != nil {
		return nil, err
	}
	return unpack(rep.Entries)
}

// Session implements [record.Reader].
func (c *Client) Session(ctx context.Context, n uint64) (record.Entry, error) {
	rep, err := c.read(ctx, request{Op: "session", N: n})
	if err != nil {
		return record.Entry{}, err
	}
	entries, err := unpack(rep.Entries)
	if err != nil || len(entries) != 1 {
		return record.Entry{}, fmt.Errorf("ask the running proxy: %d sessions: %w", len(entries), err)
	}
	return entries[0], nil
}

// Segments implements [record.Reader].
func (c *Client) Segments(ctx context.Context, n, offset uint64) ([]record.Segment, error) {
	rep, err := c.read(ctx, request{Op: "segments", N: n, Offset: offset})
	if err != nil {
		return nil, err
	}
	return rep.Segments, nil
}

// Window implements [record.Reader].
func (c *Client) Window(ctx context.Context, n uint64, from tape.Side, offset uint64) (record.Window, error) {
	rep, err := c.read(ctx, request{Op: "window", N: n, From: from, Offset: offset})
	if err != nil {
		return record.Window{}, err
	}
	return rep.Window, nil
}

// Wait implements [record.Reader].
func (c *Client) Wait(ctx context.Context, since uint64) (uint64, error) {
	rep, err := c.call(ctx, request{Op: "wait", Since: since, Fresh: !c.following.Swap(true)})
	if err != nil {
		return since, err
	}
	return rep.Version, nil
}

// Begin implements [record.Writer].
func (c *Client) Begin(ctx context.Context) (uint64, error) {
	rep, err := c.call(ctx, request{Op: "begin"})
	if err != nil {
		return 0, err
	}
	return rep.N, nil
}

// Append implements [record.Writer].
func (c *Client) Append(ctx context.Context, b record.Batch) error {
	entries, err := pack(b.Entries)
	if err != nil {
		return err
	}
	_, err = c.call(ctx, request{Op: "append", message: message{Segments: b.Segments}, Entries: entries, Windows: b.Windows})
	return err
}

// SetLabel implements [record.Store].
func (c *Client) SetLabel(ctx context.Context, n uint64, l record.Label) error {
	_, err := c.call(ctx, request{Op: "label", N: n, Label: l, Fresh: true})
	return err
}

// Delete implements [record.Store].
func (c *Client) Delete(ctx context.Context, numbers ...uint64) error {
	_, err := c.call(ctx, request{Op: "delete", Numbers: numbers, Fresh: true})
	return err
}

// Usage implements [record.Store].
func (c *Client) Usage(ctx context.Context) (record.Usage, error) {
	rep, err := c.read(ctx, request{Op: "usage"})
	if err != nil {
		return record.Usage{}, err
	}
	return rep.Usage, nil
}

// Key is the key of the tape's pseudonyms. Who may ask may read it in the file.
func (c *Client) Key(ctx context.Context) ([]byte, error) {
	rep, err := c.call(ctx, request{Op: "key"})
	if err != nil {
		return nil, err
	}
	return rep.Key, nil
}

// Check has the proxy check its tape; the report is JSON.
func (c *Client) Check(ctx context.Context) ([]byte, error) {
	rep, err := c.call(ctx, request{Op: "check", Fresh: true})
	if err != nil {
		return nil, err
	}
	return rep.Report, nil
}
