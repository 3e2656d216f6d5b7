package remote

import (
	"encoding/json"
	"errors"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// request is one call: Op names the method, the other fields are its arguments.
type request struct {
	Op       string
	N        uint64
	Offset   uint64
	Since    uint64
	From     tape.Side
	Fresh    bool // write what is waiting before reading
	Entries  []entry
	Segments []record.Segment
	Windows  []record.Window
	Label    record.Label
}

// reply is what a call returns.
type reply struct {
	N        uint64
	Version  uint64
	Entries  []entry
	Segments []record.Segment
	Window   record.Window
	Report   []byte
	Err      string
	Kind     int // which of kinds the error is, from 1; 0 for another
}

// entry is a record.Entry in a form that gob keeps whole.
type entry struct {
	Size    uint64
	Session []byte // JSON
}

func pack(in []record.Entry) ([]entry, error) {
	out := make([]entry, len(in))
	for i := range in {
		text, err := in[i].MarshalFull()
		if err != nil {
			return nil, err
		}
		out[i] = entry{in[i].Size, text}
	}
	return out, nil
}

func unpack(in []entry) ([]record.Entry, error) {
	var out []record.Entry
	for _, e := range in {
		r := record.Entry{Size: e.Size}
		if err := json.Unmarshal(e.Session, &r.Session); err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// kinds are the errors that keep their identity across the socket.
func kinds() []error {
	return []error{record.ErrNotFound, record.ErrOpen, record.ErrCorrupt, record.ErrVersion}
}

// remoteError has the text of the proxy's error and is what it was.
type remoteError struct {
	text string
	kind error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.kind }

func (r *reply) setErr(err error) {
	if err == nil {
		return
	}
	r.Err = err.Error()
	for i, kind := range kinds() {
		if errors.Is(err, kind) {
			r.Kind = i + 1
		}
	}
}

func (r *reply) err() error {
	switch {
	case r.Err == "":
		return nil
	case r.Kind == 0 || r.Kind > len(kinds()):
		return errors.New(r.Err)
	}
	return &remoteError{r.Err, kinds()[r.Kind-1]}
}
