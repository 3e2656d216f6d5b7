package replay

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/tape"
)

// socket is what a player needs of a WebSocket connection; gorilla's is one.
type socket interface {
	ReadMessage() (kind int, payload []byte, err error)
	WriteMessage(kind int, payload []byte) error
	WriteControl(kind int, payload []byte, deadline time.Time) error
	NetConn() net.Conn
	Subprotocol() string
	SetReadLimit(int64)
	SetCloseHandler(func(code int, text string) error)
	SetPingHandler(func(payload string) error)
	Close() error
}

// wireSocket is a connection whose frames are ours, so that recorded ones can be
// sent as they were on the wire: fragments, compression with context takeover,
// violations. It takes what the peer sends without insisting on RFC 6455.
type wireSocket struct {
	nc          net.Conn
	role        tape.Side // whom the player stands for
	subprotocol string
	deflate     wire.Compression // as agreed with this peer
	limit       int64

	// Read state.
	br       io.Reader
	walker   wire.Walker
	inflater *wire.Inflater
	chunk    []byte
	parts    []tape.Part
	frame    wireFrame // the one that is being read
	message  wireFrame // the data frames of a message, joined

	writing  sync.Mutex
	out      []byte
	diverged bool // the peer's window is not what it was on the tape
}

// wireFrame is a frame, or a message, that is put together.
type wireFrame struct {
	op      tape.Opcode
	rsv1    bool
	fin     bool
	length  uint64
	payload []byte
}

var _, _ socket = (*websocket.Conn)(nil), (*wireSocket)(nil)

func newWireSocket(nc net.Conn, br io.Reader, role tape.Side, head http.Header) *wireSocket {
	deflate, _, _ := wire.Granted(head.Values("Sec-WebSocket-Extensions")) // one that cannot be read is none
	s := &wireSocket{
		nc: nc, br: br, role: role, subprotocol: head.Get("Sec-WebSocket-Protocol"), deflate: deflate,
		limit: DefaultMessageBytes, walker: wire.NewWalker(role.Other(), deflate.On), chunk: make([]byte, 16<<10),
	}
	return s
}

func (s *wireSocket) NetConn() net.Conn                       { return s.nc }
func (s *wireSocket) Subprotocol() string                     { return s.subprotocol }
func (s *wireSocket) SetReadLimit(n int64)                    { s.limit = n }
func (s *wireSocket) SetCloseHandler(func(int, string) error) {}
func (s *wireSocket) SetPingHandler(func(string) error)       {}
func (s *wireSocket) Close() error                            { return s.nc.Close() }

var errTooLong = errors.New("the peer sent a message longer than limits.message")

// ReadMessage returns the next text or binary message; the end as gorilla does.
func (s *wireSocket) ReadMessage() (int, []byte, error) {
	for {
		for len(s.parts) > 0 {
			p := s.parts[0]
			s.parts = s.parts[1:]
			done, err := s.part(&p)
			if err != nil || done {
				m := s.message
				s.message = wireFrame{}
				return int(m.op), m.payload, err
			}
		}
		n, err := s.br.Read(s.chunk)
		if n > 0 {
			s.parts = s.walk(s.chunk[:n])
			continue
		}
		if err != nil {
			return 0, nil, err
		}
	}
}

// walk cuts a chunk into parts; those of the last one are done with.
func (s *wireSocket) walk(chunk []byte) []tape.Part { return s.walker.Walk(nil, chunk) }

// part takes one part of a frame; done when it completes a message.
func (s *wireSocket) part(p *tape.Part) (done bool, err error) {
	if p.Raw {
		return false, nil // no frames any more: nothing that could be matched
	}
	f := &s.frame
	if p.Begin {
		fin, rsv, op := wire.Split(p.Head)
		*f = wireFrame{op: op, fin: fin, rsv1: rsv&4 != 0, length: p.Len}
		if p.Len > uint64(s.limit) || uint64(len(s.message.payload))+p.Len > uint64(s.limit) {
			return false, errTooLong
		}
	}
	f.payload = wire.AppendMasked(f.payload, p.Payload, p.Mask, p.MaskOffset)
	if uint64(len(f.payload)) < f.length {
		return false, nil
	}
	switch {
	case f.op == tape.Close:
		code, reason, _ := tape.ParseClose(f.payload)
		return false, &websocket.CloseError{Code: code, Text: reason}
	case f.op == tape.Ping:
		_ = s.WriteControl(int(tape.Pong), f.payload, time.Time{}) // a connection that is gone is found out by reading
		return false, nil
	case f.op.Control(), f.op.Reserved():
		return false, nil
	}
	if f.op != tape.Continuation {
		s.message = wireFrame{op: f.op, rsv1: f.rsv1}
	}
	s.message.payload = append(s.message.payload, f.payload...)
	if !f.fin {
		return false, nil
	}
	if s.message.rsv1 && s.deflate.On {
		if s.inflater == nil {
			s.inflater = wire.NewInflater(!s.deflate.NoTakeover[s.role.Other()], uint64(s.limit))
		}
		s.message.payload, _, err = s.inflater.Message(nil, s.message.payload, uint64(s.limit))
	}
	return true, err
}

// WriteMessage sends a message as one frame, uncompressed.
func (s *wireSocket) WriteMessage(kind int, payload []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.out = wire.AppendFrame(s.out[:0], wire.Head(true, 0, tape.Opcode(kind)), payload, s.mask())
	_, err := s.nc.Write(s.out)
	return err
}

// WriteControl sends a control frame.
func (s *wireSocket) WriteControl(kind int, payload []byte, deadline time.Time) error {
	if !deadline.IsZero() {
		_ = s.nc.SetWriteDeadline(deadline)
		defer func() { _ = s.nc.SetWriteDeadline(time.Time{}) }()
	}
	return s.WriteMessage(kind, payload)
}

// mask is a new one, for a client (RFC 6455 section 5.3).
func (s *wireSocket) mask() *[4]byte {
	if s.role == tape.Server {
		return nil
	}
	var m [4]byte
	_, _ = rand.Read(m[:]) // never fails
	return &m
}

// writeStep sends a step's frames as they were on the tape, if it still says the
// same and the peer can read them so.
func (s *wireSocket) writeStep(step *Step, payload []byte, recorded wire.Compression) (written bool, err error) {
	same := step.frames != nil && bytes.Equal(step.Payload, payload)
	if step.compressed {
		agreed := s.deflate.On && s.deflate.NoTakeover == recorded.NoTakeover
		same = same && agreed && !s.diverged
		if !same && !recorded.NoTakeover[s.role] {
			s.diverged = true // what comes later refers to what the peer has not seen
		}
	}
	if !same {
		return false, nil
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	s.out = s.out[:0]
	for i := range step.frames {
		f := &step.frames[i]
		if f.Opcode == tape.OpRaw {
			s.out = append(s.out, f.Payload...)
			continue
		}
		var mask *[4]byte
		var key uint32
		if f.Masked {
			mask = &f.Mask
			key = uint32(f.Mask[0]) | uint32(f.Mask[1])<<8 | uint32(f.Mask[2])<<16 | uint32(f.Mask[3])<<24
		}
		s.out = wire.AppendHeader(s.out, wire.Head(f.Fin, f.RSV, f.Opcode), f.Len, mask)
		s.out = wire.AppendMasked(s.out, f.Payload, key, 0)
	}
	if len(s.out) == 0 {
		return true, nil // it went out inside of another message
	}
	_, err = s.nc.Write(s.out)
	return true, err
}

const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // RFC 6455 section 1.3

func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + acceptGUID))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// upgradeWire answers a client's handshake and takes its connection over. The
// extension is the recorded one if the client offers it.
func upgradeWire(w http.ResponseWriter, req *http.Request, recorded *tape.Session, headers http.Header) (*wireSocket, error) {
	key := req.Header.Get("Sec-WebSocket-Key")
	if key == "" || req.Header.Get("Sec-WebSocket-Version") != "13" {
		http.Error(w, "wstape: not a WebSocket handshake of version 13", http.StatusBadRequest)
		return nil, errors.New("no Sec-WebSocket-Key, or another version than 13")
	}
	head := headers.Clone()
	if head == nil {
		head = http.Header{}
	}
	head.Set("Upgrade", "websocket")
	head.Set("Connection", "Upgrade")
	head.Set("Sec-WebSocket-Accept", acceptKey(key))
	if recorded.Subprotocol != "" {
		head.Set("Sec-WebSocket-Protocol", recorded.Subprotocol)
	}
	if compressed(recorded) && strings.Contains(strings.Join(req.Header.Values("Sec-WebSocket-Extensions"), ","), wire.Deflate) {
		head.Set("Sec-WebSocket-Extensions", recorded.Extensions)
	}
	nc, brw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, err
	}
	out := bytes.NewBufferString("HTTP/1.1 101 Switching Protocols\r\n")
	_ = head.Write(out) // a buffer takes everything
	out.WriteString("\r\n")
	if _, err := nc.Write(out.Bytes()); err != nil {
		nc.Close()
		return nil, err
	}
	return newWireSocket(nc, brw.Reader, tape.Server, head), nil
}

// dialWire connects to a server and offers what was offered on the tape. Of a
// refusal there is a response and no socket.
func dialWire(ctx context.Context, to *Dialing, u *url.URL, recorded *tape.Session, protocols []string, headers http.Header, timeout time.Duration) (*wireSocket, *http.Response, error) {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	nc, err := dialTCP(ctx, to, u)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	nonce := make([]byte, 16)
	_, _ = rand.Read(nonce) // never fails
	key := base64.StdEncoding.EncodeToString(nonce)
	head := headers.Clone()
	head.Set("Upgrade", "websocket")
	head.Set("Connection", "Upgrade")
	head.Set("Sec-WebSocket-Version", "13")
	head.Set("Sec-WebSocket-Key", key)
	if len(protocols) > 0 {
		head.Set("Sec-WebSocket-Protocol", strings.Join(protocols, ", "))
	}
	if compressed(recorded) {
		head.Set("Sec-WebSocket-Extensions", recordedOffer(recorded))
	}
	req := &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: head, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	if err := req.Write(nc); err != nil {
		nc.Close()
		return nil, nil, err
	}
	br := bufio.NewReader(nc)
	response, err := http.ReadResponse(br, req)
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	if response.StatusCode != http.StatusSwitchingProtocols || response.Header.Get("Sec-WebSocket-Accept") != acceptKey(key) {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 1024))
		response.Body = io.NopCloser(bytes.NewReader(body))
		nc.Close()
		return nil, response, nil
	}
	if !stop() {
		nc.Close()
		return nil, nil, ctx.Err()
	}
	return newWireSocket(nc, br, tape.Client, response.Header), response, nil
}

// recordedOffer is what the client offered of extensions on the tape.
func recordedOffer(s *tape.Session) string {
	var values []string
	for _, h := range s.Handshake.Request.Headers {
		if strings.EqualFold(h[0], "Sec-WebSocket-Extensions") {
			values = append(values, h[1])
		}
	}
	if len(values) == 0 {
		return s.Extensions
	}
	return strings.Join(values, ", ")
}

func dialTCP(ctx context.Context, to *Dialing, u *url.URL) (net.Conn, error) {
	dial := to.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	address := u.Host
	if u.Port() == "" {
		port := map[string]string{"ws": "80", "wss": "443"}[u.Scheme]
		if port == "" {
			return nil, fmt.Errorf("the scheme %q is not ws or wss", u.Scheme)
		}
		address = net.JoinHostPort(u.Hostname(), port)
	}
	nc, err := dial(ctx, "tcp", address)
	if err != nil || u.Scheme != "wss" {
		return nc, err
	}
	config := &tls.Config{}
	if to.TLS != nil {
		config = to.TLS.Clone()
	}
	if config.ServerName == "" {
		config.ServerName = u.Hostname()
	}
	secure := tls.Client(nc, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, err
	}
	return secure, nil
}
