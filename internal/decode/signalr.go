package decode

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/wstape/wstape/tape"
)

// SignalR hubs. Both sides begin with a handshake in JSON, which names the protocol
// of what follows: records of JSON, each ended by 0x1e, or of MessagePack, each
// after its length. A message may hold several.

const recordEnd = 0x1e

// hubTypes are the names of the types of hub messages, which count from 1.
const hubTypes = "Invocation StreamItem Completion StreamInvocation CancelInvocation Ping Close Ack Sequence"

// hubMessage is what the two protocols say alike.
type hubMessage struct {
	kind       int // in hubTypes
	invocation string
	target     string
	failed     bool
	said       string // arguments, item, result or error
	value      any
}

func (h *hubMessage) view(from tape.Side) (View, error) {
	names := strings.Fields(hubTypes)
	if h.kind < 1 || h.kind > len(names) {
		return View{}, fmt.Errorf("no hub message has the type %d", h.kind)
	}
	v := View{Type: names[h.kind-1], Key: h.invocation, Value: h.value}
	switch v.Type {
	case "Completion":
		// Without a result it may as well be the end of what a client uploads.
		v.Answer = from == tape.Server || h.failed || h.said != ""
	case "StreamItem":
		v.Answer = from == tape.Server // the client's items are what it uploads
	case "Ping":
		v.Heartbeat = true
	case "Invocation", "StreamInvocation":
		if h.target == "" {
			return View{}, fmt.Errorf("%s without a target", v.Type)
		}
	}
	failed := ""
	if h.failed {
		failed = "error"
	}
	v.Summary = words(v.Type, h.target, failed, h.said)
	return v, nil
}

func sniffSignalR(_ Hint, first []*tape.Message) int {
	m := opening(first, tape.Client)
	if m == nil {
		return 0
	}
	record, _, ended := bytes.Cut(m.Payload, []byte{recordEnd})
	if raw, err := parse(record); ended && err == nil && len(pick(raw, "protocol", "version")) == 2 {
		return opened
	}
	return 0
}

func openSignalR(Hint) reader { return new(signalR).read }

// signalR is a session of a hub.
type signalR struct {
	greeted [2]bool
}

func (s *signalR) read(m *tape.Message) (View, error) {
	var all []View
	p := m.Payload
	if !s.greeted[m.From&1] {
		s.greeted[m.From&1] = true
		if v, rest, ok := hubHandshake(p); ok {
			all, p = append(all, v), rest
		}
	}
	read := readHubJSON
	if m.Op == tape.Binary {
		read = readHubBinary
	}
	for len(p) > 0 && len(all) < maxParts {
		h, rest, err := read(p)
		if err != nil {
			return View{}, err
		}
		v, err := h.view(m.From)
		if err != nil {
			return View{}, err
		}
		all, p = append(all, v), rest
	}
	if len(all) == 0 {
		return View{}, errors.New("an empty message")
	}
	return together(all), nil
}

// hubHandshake reads the first record of a side: a JSON object without a type.
func hubHandshake(p []byte) (v View, rest []byte, ok bool) {
	record, rest, ok := bytes.Cut(p, []byte{recordEnd})
	if !ok {
		return View{}, p, false
	}
	raw, err := parseObject(record)
	if err != nil || pick(raw, "type")["type"] != nil {
		return View{}, p, false
	}
	return View{Type: "Handshake", Summary: words("Handshake", compact(raw)), Value: value(raw)}, rest, true
}

// readHubJSON reads the first record of p.
func readHubJSON(p []byte) (*hubMessage, []byte, error) {
	record, rest, ended := bytes.Cut(p, []byte{recordEnd})
	if !ended {
		return nil, nil, errors.New("the last record is not ended by 0x1e")
	}
	raw, err := parseObject(record)
	if err != nil {
		return nil, nil, err
	}
	o := pick(raw, "type", "invocationId", "target", "arguments", "item", "result", "error", "sequenceId")
	h := &hubMessage{invocation: id(o["invocationId"]), value: value(raw), failed: o["error"] != nil}
	if json.Unmarshal(o["type"], &h.kind) != nil {
		return nil, nil, errors.New("the record has no type")
	}
	h.target, _ = Text(o["target"])
	for _, name := range []string{"arguments", "item", "result", "error", "sequenceId"} {
		if o[name] != nil {
			h.said = words(h.said, compact(o[name]))
		}
	}
	return h, rest, nil
}

// readHubBinary reads the first record of p: its length, seven bits a byte, the
// lowest first, and an array.
func readHubBinary(p []byte) (*hubMessage, []byte, error) {
	n, used := binary.Uvarint(p)
	if used <= 0 || used > 5 || n > uint64(len(p)-used) {
		return nil, nil, errors.New("the message ends within a record")
	}
	end := used + int(n)
	parts, err := readHubMessagePack(p[used:end])
	if err != nil {
		return nil, nil, err
	}
	h, err := hubArray(parts)
	return h, p[end:], err
}

// hubFields says what stands in the array of each type of hub message behind its
// type, in the order of hubTypes; "-" is not shown.
func hubFields() []string {
	return []string{
		"- invocation target said -", "- invocation said", "- invocation kind said", "- invocation target said -",
		"- invocation", "", "said -", "said", "said",
	}
}

func hubArray(parts []any) (*hubMessage, error) {
	if len(parts) == 0 {
		return nil, errors.New("an empty record")
	}
	h := &hubMessage{value: parts}
	kind, err := strconv.Atoi(fmt.Sprint(parts[0]))
	if err != nil || kind < 1 || kind > len(hubFields()) {
		return nil, errors.New("the record has no type")
	}
	h.kind = kind
	for i, field := range strings.Fields(hubFields()[kind-1]) {
		if i+1 >= len(parts) {
			break
		}
		part := parts[i+1]
		switch s, _ := part.(string); field {
		case "invocation":
			h.invocation = s
		case "target":
			h.target = s
		case "kind": // of a Completion's result: 1 is an error
			h.failed = fmt.Sprint(part) == "1"
		case "said":
			h.said = shown(part)
		}
	}
	return h, nil
}

// shown writes a decoded value as JSON.
func shown(v any) string {
	if v == nil {
		return ""
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(v) != nil {
		return ""
	}
	return compact(bytes.TrimSpace(b.Bytes()))
}
