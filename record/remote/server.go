package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/wstape/wstape/record"
)

// Tape is what a server needs: the store that the recorder writes, and what
// brings it up to date.
type Tape struct {
	Store record.Store
	Key   []byte                                         // of its pseudonyms
	Flush func(context.Context) error                    // writes what is waiting
	Check func(context.Context) (report []byte, _ error) // checks the tape; JSON
}

// flushPatience is how long a reader waits for what is waiting to be written;
// a disk that takes longer must not keep people from looking.
const flushPatience = 2 * time.Second

// Serve answers calls until ctx is done. It returns nil then.
func Serve(ctx context.Context, ln net.Listener, t Tape) error {
	server := &http.Server{
		Handler:           http.HandlerFunc(t.handle),
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve readers of the tape: %w", err)
	}
	return nil
}

func (t Tape) handle(w http.ResponseWriter, r *http.Request) {
	var req request
	if err := req.decode(r.Body, &req); err != nil {
		http.Error(w, "unreadable request: "+err.Error(), http.StatusBadRequest)
		return
	}
	var rep reply
	err := t.call(r.Context(), &req, &rep)
	if err != nil && r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // we are going, which is not an answer: the client asks who holds the tape then
	}
	rep.setErr(err)
	b, err := rep.encode(&rep)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(b)
}

func (t Tape) call(ctx context.Context, req *request, rep *reply) (err error) {
	if req.Fresh {
		flushCtx, cancel := context.WithTimeout(ctx, flushPatience)
		_ = t.Flush(flushCtx) // the recorder reports its own errors; what is stored can be read all the same
		cancel()
	}
	var entries []record.Entry
	switch req.Op {
	case "sessions":
		entries, err = t.Store.Sessions(ctx, req.N)
	case "session":
		entries = make([]record.Entry, 1)
		entries[0], err = t.Store.Session(ctx, req.N)
	case "segments":
		rep.Segments, err = t.Store.Segments(ctx, req.N, req.Offset)
	case "window":
		rep.Window, err = t.Store.Window(ctx, req.N, req.From, req.Offset)
	case "wait":
		rep.Version, err = t.Store.Wait(ctx, req.Since)
	case "begin":
		rep.N, err = t.Store.Begin(ctx)
	case "append":
		b := record.Batch{Segments: req.Segments, Windows: req.Windows}
		if b.Entries, err = unpack(req.Entries); err == nil {
			err = t.Store.Append(ctx, b)
		}
	case "label":
		err = t.Store.SetLabel(ctx, req.N, req.Label)
	case "delete":
		err = t.Store.Delete(ctx, req.Numbers...)
	case "usage":
		rep.Usage, err = t.Store.Usage(ctx)
	case "check":
		rep.Report, err = t.Check(ctx)
	case "key":
		rep.Key = t.Key
	default:
		err = fmt.Errorf("the running proxy does not know the call %q: it is of another version", req.Op)
	}
	if err != nil {
		return err
	}
	rep.Entries, err = pack(entries)
	return err
}
