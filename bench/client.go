//go:build unix

package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/tape"
)

// target is what a load is sent to.
type target struct {
	addr string
	tls  bool
}

// clientTLS keeps no sessions, so that every connection pays its whole handshake.
var clientTLS = &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: []string{"http/1.1"}, SessionTicketsDisabled: true}

const request = "GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

// patience bounds all that is done with one connection, so that a proxy that
// hangs is an error and not the end of the run.
const patience = time.Minute

// dial connects and shakes hands.
func (t target) dial(path string) (net.Conn, error) {
	conn, err := net.Dial("tcp", t.addr)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	if t.tls {
		conn = tls.Client(conn, clientTLS)
	}
	if err := handshake(conn, path); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("handshake: %w", err)
	}
	return conn, nil
}

func handshake(conn net.Conn, path string) error {
	if _, err := fmt.Fprintf(conn, request, path); err != nil {
		return err
	}
	// One byte at a time: nothing behind the head may be swallowed.
	res, err := http.ReadResponse(bufio.NewReaderSize(oneByOne{conn}, 16), nil)
	if err == nil && res.StatusCode != http.StatusSwitchingProtocols {
		err = errors.New(res.Status)
	}
	return err
}

type oneByOne struct{ r io.Reader }

func (o oneByOne) Read(p []byte) (int, error) { return o.r.Read(p[:1]) }

// client is one connection of a load. It sends messages one after another and
// checks that each comes back as the echo answers it.
type client struct {
	conn   net.Conn
	wait   *waiter
	walker wire.Walker
	parts  []tape.Part
	*messages
	next      int // message to send
	want, at  int // message to come back, and how much of it has
	head      byte
	left      uint64 // bytes of the current frame
	sent, got uint64 // messages; got counts those that have come back whole
	payload   uint64 // bytes of those
	ended     bool   // the other side has said goodbye
	onEcho    func(n uint64)
}

// newClient is connection i of so many.
func newClient(t target, m *messages, i, of int) (*client, error) {
	conn, err := t.dial(m.path)
	if err != nil {
		return nil, err
	}
	first := m.count() * i / of
	return &client{conn: conn, wait: newWaiter(conn), walker: wire.NewWalker(tape.Server, false), messages: m, next: first, want: first}, nil
}

// newClients opens all the connections of a load, or none.
func newClients(t target, m *messages, n int) ([]*client, error) {
	clients := make([]*client, n)
	for i := range clients {
		var err error
		if clients[i], err = newClient(t, m, i, n); err != nil {
			hangUp(clients[:i])
			return nil, err
		}
	}
	return clients, nil
}

func hangUp(clients []*client) {
	for _, c := range clients {
		_ = c.conn.Close()
	}
}

// send writes k more messages, in one write unless the pool's end is between.
func (c *client) send(k int) error {
	for k > 0 {
		n := min(k, c.count()-c.next)
		if _, err := c.conn.Write(c.frames[c.frameAt[c.next]:c.frameAt[c.next+n]]); err != nil {
			return err
		}
		c.next, c.sent, k = (c.next+n)%c.count(), c.sent+uint64(n), k-n
	}
	return nil
}

// bye sends a close frame, as a real client ends.
func (c *client) bye() error {
	_, err := c.conn.Write(wire.AppendFrame(nil, wire.Head(true, 0, tape.Close), tape.AppendClose(nil, 1000, ""), &[4]byte{1, 2, 3, 4}))
	return err
}

// leave says goodbye and waits for the answer.
func (c *client) leave() error {
	if err := c.bye(); err != nil {
		return err
	}
	for !c.ended {
		if _, err := c.receive(); err != nil {
			return err
		}
	}
	return nil
}

// receive reads once and checks what came; it returns how many messages that completed.
func (c *client) receive() (whole int, err error) {
	before := c.got
	err = c.wait.read(func(in []byte) error {
		c.parts = c.walker.Walk(c.parts[:0], in)
		for i := range c.parts {
			if err := c.check(&c.parts[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return int(c.got - before), err
}

// check takes a message in as many frames as the proxy makes of it.
func (c *client) check(p *tape.Part) error {
	if p.Begin {
		c.head, c.left = p.Head, p.Len
	}
	if p.Violation != "" {
		return fmt.Errorf("message %d: %s", c.got, p.Violation)
	}
	fin, _, op := wire.Split(c.head)
	c.left -= uint64(len(p.Payload))
	if op.Control() {
		c.ended = c.ended || op == tape.Close && c.left == 0
		return nil
	}
	want := c.answers[c.answerAt[c.want]+c.at : c.answerAt[c.want+1]]
	if len(p.Payload) > len(want) || !bytes.Equal(p.Payload, want[:len(p.Payload)]) {
		return fmt.Errorf("message %d came back changed", c.got)
	}
	c.at += len(p.Payload)
	if c.left > 0 || !fin {
		return nil
	}
	if len(p.Payload) < len(want) {
		return fmt.Errorf("message %d came back shorter", c.got)
	}
	if c.onEcho != nil {
		c.onEcho(c.got)
	}
	c.payload += uint64(c.at)
	c.want, c.at = (c.want+1)%c.count(), 0
	c.got++
	return nil
}
