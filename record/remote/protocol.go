package remote

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// message is one way of a call: a line of JSON, and behind it the segments as a
// tape keeps them. What a reader that follows many sessions mostly asks for so
// costs little to pack and to read.
type message struct {
	Segments []record.Segment `json:"-"`
	Lost     map[int]string   `json:",omitempty"` // by index: why a segment cannot be read
}

// encode writes whole, which holds m.
func (m *message) encode(whole any) ([]byte, error) {
	m.Lost = nil
	for i := range m.Segments {
		if lost := m.Segments[i].Lost; lost != "" {
			if m.Lost == nil {
				m.Lost = map[int]string{}
			}
			m.Lost[i] = lost
		}
	}
	b, err := json.Marshal(whole)
	b = append(b, '\n')
	for i := range m.Segments {
		b = record.AppendTail(b, &m.Segments[i])
	}
	return b, err
}

// decode reads into whole, which holds m.
func (m *message) decode(r io.Reader, whole any) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	text, rest, _ := bytes.Cut(b, []byte("\n"))
	if err := json.Unmarshal(text, whole); err != nil {
		return err
	}
	if m.Segments, err = record.ParseTail(rest); err != nil {
		return err
	}
	for i, lost := range m.Lost {
		if i < 0 || i >= len(m.Segments) {
			return fmt.Errorf("segment %d is not there", i)
		}
		m.Segments[i].Lost = lost
	}
	return nil
}

// request is one call: Op names the method, the other fields are its arguments.
type request struct {
	message
	Op      string
	N       uint64
	Offset  uint64
	Since   uint64
	From    tape.Side
	Fresh   bool            // write what is waiting before reading
	Entries []entry         `json:",omitempty"`
	Windows []record.Window `json:",omitempty"`
	Label   record.Label
	Numbers []uint64 `json:",omitempty"`
}

// reply is what a call returns.
type reply struct {
	message
	N       uint64
	Version uint64
	Entries []entry `json:",omitempty"`
	Window  record.Window
	Usage   record.Usage
	Report  []byte
	Key     []byte `json:",omitempty"`
	Err     string
	Kind    int // which of kinds the error is, from 1; 0 for another
}

// entry is a record.Entry with everything that a tape keeps of it.
type entry struct {
	Size    uint64
	Session json.RawMessage
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
