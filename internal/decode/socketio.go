package decode

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/wstape/wstape/tape"
)

// Socket.IO protocol 5 on Engine.IO protocol 4 (and 3): a message is one Engine.IO
// packet; binary attachments follow the packet that announces them as binary
// messages of their own.

// The names of Engine.IO's packets in the order of their digits; a message is
// one of Socket.IO's packets.
const enginePackets = "open close ping pong message upgrade noop"

const socketPackets = "CONNECT DISCONNECT EVENT ACK CONNECT_ERROR BINARY_EVENT BINARY_ACK"

// socketIO is a session of Socket.IO.
type socketIO struct {
	engine  bool // Engine.IO without Socket.IO: its messages are the application's
	waiting [2]attachments
}

// attachments are the binary messages that a side has announced.
type attachments struct {
	got, of int
	packet  View
}

func sniffSocketIO(h Hint, first []*tape.Message) int {
	if eio, dir := engineIO(h); eio != "" || dir == "socket.io" {
		return addressed
	}
	m := opening(first, tape.Server)
	if m == nil || m.Op != tape.Text || !strings.HasPrefix(string(m.Payload[:min(2, len(m.Payload))]), "0{") {
		return 0
	}
	if o := pick(engineOpen(m.Payload[1:]), "sid", "pingInterval"); len(o) == 2 {
		return opened
	}
	return 0
}

func engineOpen(p []byte) json.RawMessage {
	raw, _ := parse(p)
	return raw
}

// engineIO reads the protocol version and the last folder from the target.
func engineIO(h Hint) (version, dir string) {
	u, err := url.Parse(h.Target)
	if err != nil {
		return "", ""
	}
	q := u.Query()
	if q.Get("transport") == "websocket" {
		version = q.Get("EIO")
	}
	return version, path.Base(u.Path)
}

func openSocketIO(h Hint) reader {
	_, dir := engineIO(h)
	return (&socketIO{engine: dir == "engine.io"}).read
}

func (s *socketIO) read(m *tape.Message) (View, error) {
	if m.Op == tape.Binary {
		return s.attachment(m)
	}
	p := string(m.Payload[:min(1, len(m.Payload))])
	packet, ok := digit(enginePackets, p)
	if !ok {
		return View{}, fmt.Errorf("not an Engine.IO packet: it begins with %q, not with a digit from 0 to 6", p)
	}
	rest := m.Payload[1:]
	v := View{Type: packet, Summary: words(packet, fold(string(head(rest)), maxSummary))}
	switch packet {
	case "message":
		if s.engine {
			return v, nil
		}
		return s.packet(m.From, rest)
	case "ping", "pong":
		v.Heartbeat = len(rest) == 0 // a probe opens a connection
	case "open":
		raw, err := parseObject(rest)
		if err != nil {
			return View{}, err
		}
		v.Value, v.Summary = value(raw), words(packet, compact(raw))
	}
	return v, nil
}

// packet reads <type>[<attachments>-][<namespace>,][<ack id>][JSON].
func (s *socketIO) packet(from tape.Side, p []byte) (View, error) {
	packet, ok := digit(socketPackets, string(p[:min(1, len(p))]))
	if !ok {
		return View{}, errors.New("not a Socket.IO packet: its type is not a digit from 0 to 6")
	}
	v := View{Type: packet, Answer: strings.HasSuffix(packet, "ACK")}
	p = p[1:]
	count := 0
	if strings.HasPrefix(packet, "BINARY") {
		digits := number(p)
		p = p[len(digits):]
		n, err := strconv.Atoi(digits)
		if err != nil || len(p) == 0 || p[0] != '-' {
			return View{}, errors.New("the number of attachments is missing")
		}
		count, p = n, p[1:]
	}
	namespace := ""
	if len(p) > 0 && p[0] == '/' {
		name, rest, _ := strings.Cut(string(p), ",")
		namespace, p = name, []byte(rest)
	}
	v.Key = number(p)
	data := p[len(v.Key):]
	if v.Key != "" && namespace != "" {
		v.Key = namespace + "," + v.Key // each namespace counts for itself
	}
	if err := socketData(&v, namespace, data); err != nil {
		return View{}, err
	}
	s.waiting[from&1] = attachments{of: count, packet: View{Type: v.Type, Key: v.Key, Answer: v.Answer}}
	return v, nil
}

// socketData reads the JSON of a packet into its view.
func socketData(v *View, namespace string, data []byte) error {
	if len(data) == 0 {
		if v.Type != "CONNECT" && v.Type != "DISCONNECT" {
			return fmt.Errorf("%s has no data", v.Type)
		}
		v.Summary = words(v.Type, namespace)
		return nil
	}
	raw, err := parse(data)
	if err != nil {
		return err
	}
	v.Value, v.Summary = value(raw), words(v.Type, namespace, compact(raw))
	list := raw[0] == '['
	switch v.Type {
	case "EVENT", "BINARY_EVENT", "ACK", "BINARY_ACK":
		if !list {
			return fmt.Errorf("the data of %s is not an array, but a JSON %s", v.Type, kind(raw))
		}
	default:
		return nil
	}
	if !v.Answer {
		first := array(raw, 1)
		if len(first) == 0 || kind(first[0]) != "string" && kind(first[0]) != "number" {
			return errors.New("an event without a name")
		}
		name, ok := Text(first[0])
		if !ok {
			name = string(first[0])
		}
		v.Summary = words(v.Type, namespace, name, arguments(raw))
	}
	return nil
}

// arguments shows an event's data without its name.
func arguments(raw json.RawMessage) string {
	shown := ""
	i := 0
	for arg := range elements(raw) {
		if len(shown) > utf8.UTFMax*maxSummary {
			break
		}
		if i++; i > 1 {
			shown = words(shown, compact(arg))
		}
	}
	return shown
}

// attachment reads a binary message, which belongs to the packet before it.
func (s *socketIO) attachment(m *tape.Message) (View, error) {
	if w := &s.waiting[m.From&1]; w.got < w.of {
		w.got++
		v := w.packet
		v.Type = "attachment"
		v.Summary = fmt.Sprintf("attachment %d of %d of %s: %s", w.got, w.of, w.packet.Type, size(int(m.Len)))
		return v, nil
	}
	if s.engine {
		return View{Type: "message", Summary: "message " + hexView(m.Payload)}, nil
	}
	return View{}, errors.New("a binary message that no packet has announced")
}

// digit looks a digit up in a list of names.
func digit(names, d string) (string, bool) {
	list := strings.Fields(names)
	if len(d) != 1 || d[0] < '0' || int(d[0]-'0') >= len(list) {
		return "", false
	}
	return list[d[0]-'0'], true
}

// number returns the digits that p begins with.
func number(p []byte) string {
	n := 0
	for n < len(p) && p[n] >= '0' && p[n] <= '9' {
		n++
	}
	return string(p[:n])
}
