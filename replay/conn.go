package replay

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstape/wstape/internal/drain"
	"github.com/wstape/wstape/tape"
)

// closeWait is how long the other end of a connection may take to answer a close
// frame, or to take what was sent.
const closeWait = 5 * time.Second

// event is what comes from a live peer: a message, or the end.
type event struct {
	content tape.Content
	ending  *tape.Ending
	at      time.Time // when it came, which may be long before its turn
}

// conn is a live connection. One goroutine reads it; Close waits for that.
type conn struct {
	ws      socket
	leg     *leg      // nil if there is no stage
	from    tape.Side // who sits at the other end
	meter   *meter    // nil if nothing is measured
	writing sync.Mutex
	events  chan event
	over    chan struct{} // closed when no more events will come
	quit    chan struct{}
	stopped sync.Once
	reading sync.WaitGroup
}

// newConn takes over a connection to a peer, whose messages may have limit bytes.
func newConn(ws socket, from tape.Side, limit int64, l *leg) *conn {
	return newMeteredConn(ws, from, limit, l, nil)
}

// newMeteredConn is newConn with a meter that counts the messages.
func newMeteredConn(ws socket, from tape.Side, limit int64, l *leg, m *meter) *conn {
	c := &conn{ws: ws, leg: l, from: from, meter: m, events: make(chan event), over: make(chan struct{}), quit: make(chan struct{})}
	ws.SetReadLimit(limit)
	ws.SetPingHandler(func(payload string) error {
		_ = ws.WriteControl(websocket.PongMessage, []byte(payload), time.Now().Add(closeWait)) // what has come already can still be read
		return nil
	})
	ws.SetCloseHandler(func(int, string) error { return nil }) // answered when the player knows how
	c.reading.Add(1)
	go func() {
		defer c.reading.Done()
		defer close(c.over)
		c.read()
	}()
	return c
}

func (c *conn) read() {
	for {
		kind, payload, err := c.ws.ReadMessage()
		at := time.Now()
		if err != nil {
			_ = c.push(event{ending: endingOf(err), at: at})
			return
		}
		c.meter.received(len(payload))
		for _, content := range c.leg.pass(c.from, tape.Content{Op: tape.Opcode(kind), Payload: payload, Len: uint64(len(payload))}, c.quit) {
			if c.push(event{content: content, at: at}) != nil {
				return
			}
		}
	}
}

// push hands something to who waits for events.
func (c *conn) push(e event) error {
	select {
	case c.events <- e:
		return nil
	case <-c.quit:
		return net.ErrClosed
	}
}

// endingOf says what an error of reading means.
func endingOf(err error) *tape.Ending {
	var closed *websocket.CloseError
	switch {
	case errors.As(err, &closed) && closed.Code != websocket.CloseAbnormalClosure:
		return &tape.Ending{Kind: tape.EndClose, Code: closed.Code, Reason: closed.Text}
	case closed != nil, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe):
		return &tape.Ending{Kind: tape.EndEOF}
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return &tape.Ending{Kind: tape.EndReset}
	}
	return &tape.Ending{Kind: tape.EndError, Why: err.Error()}
}

// play sends a step: as its frames were on the wire where that is possible.
func (c *conn) play(s *Step, payload []byte, p *Plan) error {
	if w, ok := c.ws.(*wireSocket); ok && c.leg == nil {
		if written, err := w.writeStep(s, payload, p.deflate); written {
			c.meter.sent(len(payload))
			return err
		}
	}
	if s.Op.Reserved() || s.Op == tape.OpRaw {
		return nil // only frames as they were could say this
	}
	return c.send(s.Op, payload)
}

// send sends what the player has to say, by way of the stage.
func (c *conn) send(op tape.Opcode, payload []byte) error {
	for _, out := range c.leg.pass(c.from.Other(), tape.Content{Op: op, Payload: payload, Len: uint64(len(payload))}, c.quit) {
		if err := c.write(out.Op, out.Payload); err != nil {
			return err
		}
	}
	return nil
}

// write writes one message or control frame.
func (c *conn) write(op tape.Opcode, payload []byte) error {
	if op.Control() {
		return c.ws.WriteControl(int(op), payload, time.Now().Add(closeWait))
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	err := c.ws.WriteMessage(int(op), payload)
	if err == nil {
		c.meter.sent(len(payload))
	}
	return err
}

// closeFrame sends a close frame.
func (c *conn) closeFrame(code int, reason string) {
	payload := tape.AppendClose(nil, code, reason)
	_ = c.ws.WriteControl(websocket.CloseMessage, payload[:min(len(payload), 125)], time.Now().Add(closeWait)) // else it is gone already
}

// end ends the connection in the given way, and waits a while for the peer's part.
func (c *conn) end(ctx context.Context, e *tape.Ending) {
	under := c.ws.NetConn()
	switch e.Kind {
	case tape.EndClose:
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			c.closeFrame(e.Code, e.Reason)
		}()
		c.drain(ctx) // meanwhile: the peer may not read before it is read
		<-sent
	case tape.EndReset:
		if t, ok := raw(under).(*net.TCPConn); ok {
			drain.TCP(t, time.Second)
			_ = t.SetLinger(0)
			_ = t.Close()
		}
	default:
		if half, ok := under.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
			c.drain(ctx)
		}
	}
}

// leave ends the connection as a step says: with its close frame as it was on
// the wire where that is possible.
func (c *conn) leave(ctx context.Context, e *tape.Ending, s *Step) {
	if w, ok := c.ws.(*wireSocket); ok && s != nil && e.Kind == tape.EndClose {
		if written, _ := w.writeStep(s, s.Payload, w.deflate); written {
			c.drain(ctx)
			return
		}
	}
	c.end(ctx, e)
}

// drain reads on until the peer has ended the connection, for a while.
func (c *conn) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, closeWait)
	defer cancel()
	for {
		select {
		case e := <-c.events:
			if e.ending != nil {
				return
			}
		case <-c.over: // the peer had ended it already
			return
		case <-ctx.Done():
			return
		}
	}
}

// raw is the connection under TLS.
func raw(c net.Conn) net.Conn {
	if t, ok := c.(*tls.Conn); ok {
		return t.NetConn()
	}
	return c
}

// stop lets nobody wait for the connection any more.
func (c *conn) stop() { c.stopped.Do(func() { close(c.quit) }) }

// Close closes the connection and waits for its goroutine.
func (c *conn) Close() {
	c.stop()
	_ = c.ws.Close()
	c.reading.Wait()
}
