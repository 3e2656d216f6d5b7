package decode

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/wstape/wstape/tape"
)

// Phoenix channels. Serializer 1 writes an object, serializer 2 an array
// [join_ref, ref, topic, event, payload], and binary messages where the payload is
// binary.

func sniffPhoenix(h Hint, first []*tape.Message) int {
	if h.Subprotocol == "phoenix" {
		return named
	}
	if u, err := url.Parse(h.Target); err == nil && path.Base(u.Path) == "websocket" && u.Query().Has("vsn") {
		return addressed
	}
	m := opening(first, tape.Client)
	if m == nil || m.Op != tape.Text {
		return 0
	}
	if p, err := parsePush(m.Payload); err == nil && (p.event == "phx_join" || p.topic == "phoenix" && p.event == "heartbeat") {
		return opened
	}
	return 0
}

func openPhoenix(Hint) reader { return readPhoenix }

// push is one message of a channel.
type push struct {
	ref, topic, event string
	payload           json.RawMessage
	value             any
}

func readPhoenix(m *tape.Message) (View, error) {
	if m.Op == tape.Binary {
		return readBinaryPush(m)
	}
	p, err := parsePush(m.Payload)
	if err != nil {
		return View{}, err
	}
	v := p.view(m.From)
	v.Summary = words(v.Summary, compact(p.payload))
	return v, nil
}

func (p *push) view(from tape.Side) View {
	v := View{Type: p.event, Answer: p.event == "phx_reply", Value: p.value}
	if from == tape.Client || v.Answer { // what a server pushes is not answered
		v.Key = p.ref
	}
	v.Heartbeat = p.topic == "phoenix" && (p.event == "heartbeat" || v.Answer)
	v.Summary = words(p.topic, p.event)
	return v
}

func parsePush(payload []byte) (*push, error) {
	raw, err := parse(payload)
	if err != nil {
		return nil, err
	}
	var parts []json.RawMessage
	switch raw[0] {
	case '[':
		if parts = array(raw, 6); len(parts) != 5 {
			return nil, errors.New("not [join_ref, ref, topic, event, payload]")
		}
	case '{':
		o := pick(raw, "join_ref", "ref", "topic", "event", "payload")
		if o["payload"] == nil {
			return nil, errors.New("the message has no payload")
		}
		parts = []json.RawMessage{o["join_ref"], o["ref"], o["topic"], o["event"], o["payload"]}
	default:
		return nil, errors.New("neither an array nor an object")
	}
	p := &push{ref: id(parts[1]), payload: parts[4]}
	var hasTopic, hasEvent bool
	p.topic, hasTopic = Text(parts[2])
	p.event, hasEvent = Text(parts[3])
	if !hasTopic || !hasEvent {
		return nil, errors.New("the message has no topic or no event")
	}
	p.value = value(raw)
	return p, nil
}

// binaryKinds are the texts that the kinds of serializer 2's binary messages hold:
// a push by the client, one by the server, a reply, a broadcast.
func binaryKinds() [4]string {
	return [4]string{"join_ref ref topic event", "join_ref topic event", "join_ref ref topic status", "topic event"}
}

// readBinaryPush reads a kind, the length of each text in a byte, the texts, the
// payload.
func readBinaryPush(m *tape.Message) (View, error) {
	if len(m.Payload) == 0 || m.Payload[0] > 2 {
		return View{}, errors.New("no kind of Phoenix's binary messages")
	}
	kind := int(m.Payload[0])
	if kind > 0 || m.From == tape.Server {
		kind++
	}
	names := strings.Fields(binaryKinds()[kind])
	lengths := m.Payload[1:]
	if len(lengths) < len(names) {
		return View{}, errors.New("a binary message that is too short")
	}
	rest := lengths[len(names):]
	said := map[string]string{}
	for i, name := range names {
		n := int(lengths[i])
		if n > len(rest) {
			return View{}, fmt.Errorf("a binary message that ends in its %s", name)
		}
		said[name], rest = string(rest[:n]), rest[n:]
	}
	p := push{ref: said["ref"], topic: said["topic"], event: said["event"]}
	if kind == 2 {
		p.event = "phx_reply"
	}
	v := p.view(m.From)
	v.Summary = words(v.Summary, said["status"], hexView(rest))
	return v, nil
}
