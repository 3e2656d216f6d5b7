package decode

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/wstape/wstape/tape"
)

// Action Cable: commands to the server, typed messages and those of a channel
// back. A channel is named by its identifier, which is JSON in a string.

func sniffActionCable(h Hint, first []*tape.Message) int {
	if strings.HasPrefix(h.Subprotocol, "actioncable-") && strings.HasSuffix(h.Subprotocol, "json") {
		return named
	}
	server, client := opening(first, tape.Server), opening(first, tape.Client)
	if server == nil || client == nil {
		return 0
	}
	welcome, err := readActionCable(server)
	if err != nil || welcome.Type != "welcome" {
		return 0
	}
	if command, err := readActionCable(client); err != nil || command.Type != "subscribe" {
		return 0
	}
	return opened
}

func openActionCable(Hint) reader { return readActionCable }

func readActionCable(m *tape.Message) (View, error) {
	raw, err := parseObject(m.Payload)
	if err != nil {
		return View{}, err
	}
	o := pick(raw, "command", "type", "identifier", "data", "message", "reason")
	v := View{Value: value(raw)}
	v.Key, _ = Text(o["identifier"])
	said := o["message"]
	if m.From == tape.Client {
		v.Type, _ = Text(o["command"])
		said = o["data"]
	} else if t, ok := Text(o["type"]); ok {
		v.Type = t
	} else if said != nil {
		v.Type = "message"
	}
	if err := knownToCable(m.From, v); err != nil {
		return View{}, err
	}
	if v.Type == "disconnect" {
		said = o["reason"]
	}
	v.Summary = words(v.Type, channel(v.Key), inner(said))
	v.Heartbeat = v.Type == "ping"
	v.Answer = strings.HasSuffix(v.Type, "_subscription")
	if v.Type != "subscribe" && !v.Answer {
		v.Key = "" // nothing else is answered
	}
	return v, nil
}

func knownToCable(from tape.Side, v View) error {
	known := "welcome disconnect ping confirm_subscription reject_subscription message"
	if from == tape.Client {
		known = "subscribe unsubscribe message"
	}
	for _, name := range strings.Fields(known) {
		if v.Type != name {
			continue
		}
		if v.Key == "" && name != "welcome" && name != "disconnect" && name != "ping" {
			return fmt.Errorf("%s has no identifier", name)
		}
		return nil
	}
	if v.Type == "" {
		return errors.New("neither a command nor a message of a channel")
	}
	return fmt.Errorf("a %s of Action Cable says no %q", from, fold(v.Type, maxType))
}

// channel shows an identifier: the channel's name and what else is in it.
func channel(identifier string) string {
	raw, err := parse([]byte(identifier))
	if err != nil || raw[0] != '{' {
		return fold(identifier, maxSummary)
	}
	if name, ok := Text(pick(raw, "channel")["channel"]); ok && !more(raw) {
		return fold(name, maxSummary)
	}
	return compact(raw)
}

// more reports whether an object has more than one member.
func more(raw json.RawMessage) bool {
	n := 0
	for range members(raw) {
		if n++; n > 1 {
			return true
		}
	}
	return false
}

// inner shows JSON that may stand in a string.
func inner(raw json.RawMessage) string {
	if s, ok := Text(raw); ok {
		if in, err := parse([]byte(s)); err == nil {
			return compact(in)
		}
	}
	return compact(raw)
}
