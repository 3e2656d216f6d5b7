//go:build unix

package main

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/json"
	"math/rand/v2"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/record/boltstore"
	"github.com/wstape/wstape/tape"
)

// tapeShape is how the messages of a long tape lie on it.
type tapeShape struct {
	name     string
	sessions int
	messages int    // in all
	takeover bool   // permessage-deflate with context takeover, one stream for each direction
	large    int    // every so many messages one is largeText long; 0: none
	packed   string // how it lies in the file
}

// largeText is the payload of a large message, about.
const largeText = 1 << 20

func tapeShapes(messages int) []tapeShape {
	return []tapeShape{
		{name: "1 session", sessions: 1, messages: messages, packed: "with zstd"},
		{name: "1 session, permessage-deflate with context takeover", sessions: 1, messages: messages, takeover: true, packed: "as on the wire"},
		{name: "1,000 sessions", sessions: 1000, messages: messages, packed: "with zstd"},
		{name: "10 sessions, every 10,000th message of 1 MiB", sessions: 10, messages: messages, large: 10_000, packed: "with zstd"},
	}
}

// madeTape is a tape as it was made.
type madeTape struct {
	path    string
	payload int64 // plain bytes of all messages
}

// paceBytes are written at once: so little that the recorder takes the time to
// pack with zstd, as it does with what one session says in a minute.
const paceBytes = 1 << 20

// makeTape records a shape the way the proxy does: through the recorder, into a
// file of the default engine.
func makeTape(path string, s *tapeShape) (made *madeTape, err error) {
	made = &madeTape{path: path}
	store, err := boltstore.Open(made.path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if closing := store.Close(); err == nil {
			err = closing
		}
	}()
	rec := record.NewRecorder(store, record.Options{})
	defer func() {
		if closing := rec.Close(); err == nil {
			err = closing
		}
	}()
	w := &tapeMaker{shape: s, made: made, rec: rec, random: rand.New(rand.NewPCG(1, 2))}
	w.talk = newTalk(w.random)
	for range s.sessions {
		if err := w.session(s.messages / s.sessions); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// tapeMaker records the messages of one tape.
type tapeMaker struct {
	shape  *tapeShape
	made   *madeTape
	rec    *record.Recorder
	random *rand.Rand
	talk   *talk
	count  int // messages so far
	paced  int // bytes since the recorder was waited for
}

func (w *tapeMaker) session(messages int) error {
	tap, err := w.rec.Begin(tape.Session{URL: "/feed", Upstream: "ws://127.0.0.1:9000/feed", Client: "127.0.0.1:50000"})
	if err != nil {
		return err
	}
	var extensions []string
	if w.shape.takeover {
		extensions = []string{"permessage-deflate"}
	}
	tap.Answered("", 101, "", extensions, tape.Response{Status: 101})
	var streams [2]*deflater
	for i := range messages {
		from := tape.Sides()[i%2]
		payload := w.payload()
		w.made.payload += int64(len(payload))
		head := wire.Head(true, 0, tape.Text)
		if w.shape.takeover {
			if streams[from] == nil {
				if streams[from], err = newDeflater(); err != nil {
					return err
				}
			}
			if payload, err = streams[from].message(payload); err != nil {
				return err
			}
			head = wire.Head(true, 4, tape.Text)
		}
		part := tape.Part{Begin: true, Head: head, Len: uint64(len(payload)), Payload: payload}
		if from == tape.Client {
			part.Masked, part.Mask = true, w.random.Uint32()
			part.Payload = wire.AppendMasked(nil, payload, part.Mask, 0)
		}
		tap.Parts(from, tape.LegBoth, []tape.Part{part})
		if w.paced += len(payload); w.paced >= paceBytes {
			w.paced = 0
			if err := w.rec.Flush(context.Background()); err != nil {
				return err
			}
		}
	}
	tap.End(tape.Ending{Kind: tape.EndEOF})
	return nil
}

// payload is the next message: JSON of about 128 bytes, or a large one.
func (w *tapeMaker) payload() []byte {
	w.count++
	if w.shape.large == 0 || w.count%w.shape.large != 0 {
		return w.talk.message()
	}
	var lines []json.RawMessage
	for size := 0; size < largeText; {
		line := w.talk.message()
		lines = append(lines, line)
		size += len(line) + 1
	}
	text, err := json.Marshal(map[string]any{"type": "snapshot", "events": lines})
	if err != nil {
		panic(err) // they are JSON
	}
	return text
}

// deflater compresses the messages of one direction as RFC 7692 says, each
// referring to those before it.
type deflater struct {
	out bytes.Buffer
	w   *flate.Writer
}

func newDeflater() (*deflater, error) {
	d := &deflater{}
	var err error
	d.w, err = flate.NewWriter(&d.out, flate.DefaultCompression)
	return d, err
}

// message returns what goes into the frame; valid until the next call.
func (d *deflater) message(plain []byte) ([]byte, error) {
	d.out.Reset()
	if _, err := d.w.Write(plain); err != nil {
		return nil, err
	}
	if err := d.w.Flush(); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(d.out.Bytes(), []byte("\x00\x00\xff\xff")), nil
}
