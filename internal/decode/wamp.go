package decode

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/wstape/wstape/tape"
)

// WAMP 2 in JSON: [code, …]. With the batched subprotocol each of several is ended
// by 0x18.

// wampMessage says where in the array of a message things stand; 0 is nowhere.
type wampMessage struct {
	name    string
	least   int // elements
	request int
	answer  bool
	subject int // a URI: of a topic, a procedure, a realm, a reason
	args    int // the first that is the application's
}

func wampMessages() map[string]wampMessage {
	return map[string]wampMessage{
		"1": {"HELLO", 3, 0, false, 1, 0}, "2": {"WELCOME", 3, 0, false, 1, 0}, "3": {"ABORT", 3, 0, false, 2, 0},
		"4": {"CHALLENGE", 3, 0, false, 1, 0}, "5": {"AUTHENTICATE", 3, 0, false, 0, 0}, "6": {"GOODBYE", 3, 0, false, 2, 0},
		"8":  {"ERROR", 5, 2, true, 4, 5},
		"16": {"PUBLISH", 4, 1, false, 3, 4}, "17": {"PUBLISHED", 3, 1, true, 0, 0},
		"32": {"SUBSCRIBE", 4, 1, false, 3, 0}, "33": {"SUBSCRIBED", 3, 1, true, 0, 0},
		"34": {"UNSUBSCRIBE", 3, 1, false, 2, 0}, "35": {"UNSUBSCRIBED", 2, 1, true, 0, 0},
		"36": {"EVENT", 4, 0, false, 1, 4},
		"48": {"CALL", 4, 1, false, 3, 4}, "49": {"CANCEL", 3, 1, false, 0, 0}, "50": {"RESULT", 3, 1, true, 0, 3},
		"64": {"REGISTER", 4, 1, false, 3, 0}, "65": {"REGISTERED", 3, 1, true, 0, 0},
		"66": {"UNREGISTER", 3, 1, false, 2, 0}, "67": {"UNREGISTERED", 2, 1, true, 0, 0},
		"68": {"INVOCATION", 4, 1, false, 2, 4}, "69": {"INTERRUPT", 3, 1, false, 0, 0}, "70": {"YIELD", 3, 1, true, 0, 3},
	}
}

func sniffWAMP(h Hint, first []*tape.Message) int {
	switch h.Subprotocol {
	case "wamp.2.json", "wamp.2.json.batched":
		return named
	}
	m := opening(first, tape.Client)
	if m == nil || m.Op != tape.Text {
		return 0
	}
	raw, err := parseArray(m.Payload)
	if err != nil {
		return 0
	}
	// [1, realm, {"roles": …}]
	hello := array(raw, 4)
	if len(hello) == 3 && string(hello[0]) == "1" && hello[1][0] == '"' && pick(hello[2], "roles")["roles"] != nil {
		return opened
	}
	return 0
}

func openWAMP(Hint) reader {
	known := wampMessages()
	return func(m *tape.Message) (View, error) { return readWAMP(known, m.Payload) }
}

func readWAMP(known map[string]wampMessage, p []byte) (View, error) {
	var all []View
	for one := range bytes.SplitSeq(bytes.TrimSuffix(p, []byte{0x18}), []byte{0x18}) {
		raw, err := parseArray(one)
		if err != nil {
			return View{}, err
		}
		v, err := wampView(known, raw)
		if err != nil {
			return View{}, err
		}
		if all = append(all, v); len(all) == maxParts {
			break
		}
	}
	return together(all), nil
}

func wampView(known map[string]wampMessage, raw json.RawMessage) (View, error) {
	parts := array(raw, 8)
	if len(parts) == 0 {
		return View{}, errors.New("an empty array")
	}
	is, ok := known[string(parts[0])]
	if !ok {
		return View{}, fmt.Errorf("no message of WAMP has the code %s", fold(string(head(parts[0])), maxType))
	}
	if len(parts) < is.least {
		return View{}, fmt.Errorf("%s has %d elements, it takes %d", is.name, len(parts), is.least)
	}
	v := View{Type: is.name, Value: value(raw)}
	if is.request > 0 {
		number := string(parts[is.request])
		if _, err := strconv.ParseUint(number, 10, 64); err != nil {
			return View{}, fmt.Errorf("%s has %s in place of a request's number", is.name, compact(parts[is.request]))
		}
		// A PUBLISH is answered only if it asks for that.
		if is.name != "PUBLISH" || string(pick(parts[2], "acknowledge")["acknowledge"]) == "true" {
			v.Key, v.Answer = number, is.answer
		}
	}
	subject := ""
	if is.subject > 0 {
		subject = id(parts[is.subject])
	}
	v.Summary = words(is.name, subject)
	for _, arg := range parts[min(max(is.args, 1), len(parts)):] {
		if is.args > 0 {
			v.Summary = words(v.Summary, compact(arg))
		}
	}
	return v, nil
}
