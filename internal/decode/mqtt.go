package decode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/wstape/wstape/tape"
)

// MQTT 3.1, 3.1.1 and 5.0. Its packets are a stream: a message may hold several,
// and a packet may go on in the next message.

func sniffMQTT(h Hint, first []*tape.Message) int {
	if h.Subprotocol == "mqtt" || h.Subprotocol == "mqttv3.1" {
		return named
	}
	m := opening(first, tape.Client)
	if m == nil {
		return 0
	}
	var q mqtt
	if _, err := q.read(m); err == nil && q.version != 0 {
		return opened
	}
	return 0
}

func openMQTT(Hint) reader { return new(mqtt).read }

// mqtt is a session of MQTT.
type mqtt struct {
	version byte // 3 is 3.1, 4 is 3.1.1, 5 is 5.0; 0 if no CONNECT was seen
	sides   [2]mqttStream
}

// mqttStream is a packet that a side has begun.
type mqttStream struct {
	kept []byte
	skip int  // bytes to come of a packet too long to be kept
	lost bool // where packets begin is not known, until a message holds whole ones only
}

func (q *mqtt) read(m *tape.Message) (View, error) {
	s := &q.sides[m.From&1]
	before := *s
	*s = mqttStream{lost: true}
	if err := unreadable(m); err != nil {
		return View{}, err
	}
	if m.Op != tape.Binary {
		return View{}, errors.New("MQTT in a text message")
	}
	all, after, err := q.packets(before, m.Payload)
	if before.lost && (err != nil || len(m.Payload) == 0 || len(after.kept) > 0 || after.skip > 0) {
		return View{}, errors.New("a packet before could not be read, so it is not known where the next one begins")
	}
	if err != nil {
		return View{}, err
	}
	*s = after
	return together(all), nil
}

// packets reads what packets a side ends, and begins one.
func (q *mqtt) packets(s mqttStream, p []byte) (all []View, after mqttStream, err error) {
	if n := min(s.skip, len(p)); s.skip > 0 || len(p) == 0 { // some clients do write nothing
		after.kept, after.skip, p = s.kept, s.skip-n, p[n:]
		all = append(all, View{Type: "part", Summary: "part of a packet: " + size(n)})
	} else if len(s.kept) > 0 {
		p = append(s.kept, p...)
	}
	whole := len(p)
	for len(p) > 0 {
		n, head, err := mqttSize(p)
		if err != nil {
			return nil, s, err
		}
		if n == 0 || n > len(p) {
			if len(all) < maxParts {
				all = append(all, mqttPart(p, n))
			}
			if n > maxValue {
				after.skip = n - len(p)
			} else if after.kept = p; len(s.kept) == 0 || len(p) < whole {
				after.kept = bytes.Clone(p)
			}
			break
		}
		if len(all) < maxParts {
			v, err := q.packet(p[0], p[head:n])
			if err != nil {
				return nil, s, err
			}
			all = append(all, v)
		}
		p = p[n:]
	}
	return all, after, nil
}

// mqttSize reads a packet's fixed header: its length in all, and the header's
// own; 0 if there is more of the header to come.
func mqttSize(p []byte) (n, head int, err error) {
	name, ok := mqttName(p[0])
	if !ok {
		return 0, 0, fmt.Errorf("no packet of MQTT begins with 0x%02x", p[0])
	}
	rest, used := binary.Uvarint(p[1:min(len(p), 5)])
	if used <= 0 && len(p) >= 5 {
		return 0, 0, fmt.Errorf("the length of %s does not end", name)
	}
	if used <= 0 {
		return 0, 0, nil
	}
	return 1 + used + int(rest), 1 + used, nil
}

// mqttName looks at the first byte of a packet: its type, and flags, which only
// PUBLISH is free to choose.
func mqttName(b byte) (name string, ok bool) {
	name = [16]string{
		"", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "SUBACK",
		"UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
	}[b>>4]
	switch flags := b & 15; name {
	case "PUBLISH":
		return name, flags&6 != 6
	case "PUBREL", "SUBSCRIBE", "UNSUBSCRIBE":
		return name, flags == 2
	default:
		return name, flags == 0 && name != ""
	}
}

func mqttPart(p []byte, n int) View {
	name, _ := mqttName(p[0])
	of := ""
	if n > 0 {
		of = fmt.Sprintf("%d of ", len(p))
	}
	return View{Type: "part", Summary: fmt.Sprintf("part of %s: %s%s", name, of, size(max(n, len(p))))}
}

// packet reads one packet, without its fixed header.
func (q *mqtt) packet(first byte, body []byte) (View, error) {
	name, _ := mqttName(first)
	if name != "PUBLISH" && len(body) > maxKept {
		return View{}, fmt.Errorf("%s of %s is too long to be read", name, size(len(body)))
	}
	if q.version == 0 && name != "CONNECT" && !strings.HasPrefix(name, "PING") {
		return View{}, fmt.Errorf("%s without a CONNECT, which says the version", name)
	}
	b := &mqttBody{p: body, five: q.version == 5, value: map[string]any{"packet": name}}
	v := View{Type: name, Value: b.value}
	b.out.add(name)
	switch name {
	case "CONNECT":
		if version := b.connect(); !b.bad {
			q.version = version
		}
	case "CONNACK":
		if b.set("sessionPresent", b.byte()&1 == 1) == true {
			b.say("session present")
		}
		b.reason()
	case "PUBLISH":
		v.Key = b.publish(first & 15)
	case "PUBACK", "PUBREC", "PUBREL", "PUBCOMP":
		v.Key, v.Answer = b.id(), name != "PUBREL" // which goes the way of PUBLISH
		if b.five && len(b.p) > 0 {
			b.reason()
		}
	case "SUBSCRIBE", "UNSUBSCRIBE":
		v.Key = b.id()
		b.properties("properties")
		b.filters(name == "SUBSCRIBE")
	case "SUBACK", "UNSUBACK":
		v.Key, v.Answer = b.id(), true
		b.properties("properties")
		if b.five || name == "SUBACK" {
			b.reasons()
		}
	case "PINGREQ", "PINGRESP":
		v.Heartbeat = true
	case "DISCONNECT", "AUTH":
		if b.five && len(b.p) > 0 {
			b.reason()
		}
	}
	if b.bad || len(b.p) > 0 {
		return View{}, fmt.Errorf("the fields of %s are not what MQTT says, or not as long as it is", name)
	}
	v.Summary = b.out.String()
	return v, nil
}

// mqttBody is what is left to read of a packet, and what was read of it.
type mqttBody struct {
	p     []byte
	five  bool
	bad   bool // it has ended too early, or holds what it must not
	value map[string]any
	out   brief
}

func (b *mqttBody) set(name string, v any) any {
	b.value[name] = v
	return v
}

func (b *mqttBody) say(text string) {
	if text != "" {
		b.out.add(" " + text)
	}
}

func (b *mqttBody) take(n int) []byte {
	if n > len(b.p) {
		b.bad, b.p = true, nil
		return make([]byte, min(n, 4)) // the numbers below then are 0
	}
	taken := b.p[:n]
	b.p = b.p[n:]
	return taken
}

func (b *mqttBody) byte() byte       { return b.take(1)[0] }
func (b *mqttBody) uint16() uint16   { return binary.BigEndian.Uint16(b.take(2)) }
func (b *mqttBody) uint32() uint32   { return binary.BigEndian.Uint32(b.take(4)) }
func (b *mqttBody) number(n int) any { return unsigned(uint64(n)) }

func (b *mqttBody) varint() int {
	n, used := binary.Uvarint(b.p[:min(len(b.p), 4)])
	b.take(max(used, 0))
	b.bad = b.bad || used <= 0
	return int(n)
}

func (b *mqttBody) bytes() []byte { return bytes.Clone(b.take(int(b.uint16()))) }

func (b *mqttBody) text() string {
	s := string(b.take(int(b.uint16())))
	b.bad = b.bad || !utf8.ValidString(s)
	return s
}

// id reads the packet identifier, which is not 0.
func (b *mqttBody) id() string {
	n := b.uint16()
	b.bad = b.bad || n == 0
	s := fmt.Sprint(n)
	b.set("id", b.number(int(n)))
	b.say(s)
	return s
}

// connect reads a CONNECT, which says the version.
func (b *mqttBody) connect() byte {
	protocol, version := b.text(), b.byte()&0x7f // the top bit is a bridge's
	b.five = version == 5
	b.bad = b.bad || !(protocol == "MQTT" && (version == 4 || b.five) || protocol == "MQIsdp" && version == 3)
	flags, keepAlive := b.byte(), int(b.uint16())
	b.bad = b.bad || flags&1 != 0
	b.set("version", b.number(int(version)))
	b.set("clean", flags&2 != 0)
	b.set("keepAlive", b.number(keepAlive))
	b.properties("properties")
	b.say(map[byte]string{3: "3.1", 4: "3.1.1", 5: "5.0"}[version])
	b.say(b.set("clientId", b.text()).(string))
	if flags&4 != 0 {
		b.properties("willProperties")
		b.say("will " + b.set("willTopic", b.text()).(string))
		b.set("willPayload", b.bytes())
	}
	if flags&0x80 != 0 {
		b.say("user " + b.set("username", b.text()).(string))
	}
	if flags&0x40 != 0 {
		b.set("password", b.bytes())
	}
	b.say(fmt.Sprintf("keep-alive %ds", keepAlive))
	return version
}

func (b *mqttBody) publish(flags byte) (key string) {
	qos := flags >> 1 & 3
	topic := b.text()
	b.set("topic", topic)
	b.set("qos", b.number(int(qos)))
	b.set("retain", flags&1 != 0)
	b.set("dup", flags&8 != 0)
	b.say(topic)
	if qos > 0 {
		b.say(fmt.Sprintf("qos%d", qos))
		key = b.id()
	}
	if flags&1 != 0 {
		b.say("retain")
	}
	if flags&8 != 0 {
		b.say("again")
	}
	b.properties("properties")
	payload, said := content(b.take(len(b.p)))
	b.set("payload", payload)
	b.say(said)
	return key
}

// content decodes an application's payload, and shows it.
func content(p []byte) (decoded any, said string) {
	if raw, err := parse(p); err == nil {
		return value(raw), compact(raw)
	}
	if len(p) > 0 && !utf8.Valid(p) {
		return bytes.Clone(p), hexView(p)
	}
	return string(p), fold(string(head(p)), maxSummary)
}

// reason reads a reason code and, in MQTT 5, properties, which may be left out.
func (b *mqttBody) reason() {
	code := b.byte()
	b.set("reason", b.number(int(code)))
	b.say(fmt.Sprintf("0x%02x", code))
	if len(b.p) > 0 {
		b.properties("properties")
	}
}

// reasons reads a code for each filter.
func (b *mqttBody) reasons() {
	codes := []any{}
	for _, code := range b.take(len(b.p)) {
		codes = append(codes, b.number(int(code)))
		b.say(fmt.Sprintf("0x%02x", code))
	}
	b.set("reasons", codes)
}

func (b *mqttBody) filters(options bool) {
	all := []any{}
	for len(b.p) > 0 {
		filter := b.text()
		b.say(filter)
		one := map[string]any{"filter": filter}
		if options {
			o := b.byte()
			b.bad = b.bad || o&3 == 3
			one["options"] = b.number(int(o))
			b.say(fmt.Sprintf("qos%d", o&3))
		}
		all = append(all, one)
	}
	b.bad = b.bad || len(all) == 0
	b.set("filters", all)
}

// properties reads the properties of MQTT 5.
func (b *mqttBody) properties(name string) {
	if !b.five {
		return
	}
	n := b.varint()
	if n > maxKept {
		b.bad, n = true, 0
	}
	in := &mqttBody{p: b.take(n)}
	all := map[string]any{}
	for len(in.p) > 0 && !in.bad {
		name, v := in.property()
		if before, twice := all[name]; !twice {
			all[name] = v
		} else if name == "userProperties" || name == "subscriptionIdentifier" {
			list, _ := before.([]any)
			if list == nil {
				list = []any{before}
			}
			all[name] = append(list, v)
		} else {
			in.bad = true
		}
	}
	b.bad = b.bad || in.bad
	if len(all) > 0 {
		b.set(name, all)
	}
	if alias, ok := all["topicAlias"]; ok {
		b.say(fmt.Sprintf("alias %s", alias))
	}
	if why, ok := all["reasonString"].(string); ok {
		b.say(why)
	}
}

// mqttProperties are the numbers, forms and names of the properties.
const mqttProperties = `
01 byte payloadFormatIndicator
02 uint32 messageExpiryInterval
03 text contentType
08 text responseTopic
09 bytes correlationData
0b varint subscriptionIdentifier
11 uint32 sessionExpiryInterval
12 text assignedClientIdentifier
13 uint16 serverKeepAlive
15 text authenticationMethod
16 bytes authenticationData
17 byte requestProblemInformation
18 uint32 willDelayInterval
19 byte requestResponseInformation
1a text responseInformation
1c text serverReference
1f text reasonString
21 uint16 receiveMaximum
22 uint16 topicAliasMaximum
23 uint16 topicAlias
24 byte maximumQoS
25 byte retainAvailable
26 pair userProperties
27 uint32 maximumPacketSize
28 byte wildcardSubscriptionAvailable
29 byte subscriptionIdentifiersAvailable
2a byte sharedSubscriptionAvailable
`

func (b *mqttBody) property() (name string, v any) {
	_, line, found := strings.Cut(mqttProperties, fmt.Sprintf("\n%02x ", b.varint()))
	if !found {
		b.bad = true
		return "", nil
	}
	line, _, _ = strings.Cut(line, "\n")
	form, name, _ := strings.Cut(line, " ")
	switch form {
	case "byte":
		v = b.number(int(b.byte()))
	case "uint16":
		v = b.number(int(b.uint16()))
	case "uint32":
		v = unsigned(uint64(b.uint32()))
	case "varint":
		v = b.number(b.varint())
	case "text":
		v = b.text()
	case "bytes":
		v = b.bytes()
	case "pair":
		v = map[string]any{"name": b.text(), "value": b.text()}
	}
	return name, v
}
