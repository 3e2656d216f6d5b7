package script

import "testing"

// What a script sends of msg.json keeps its bytes, as what it returns does.
func TestSendKeepsTheBytesOfTheMessage(t *testing.T) {
	r := rehearse(t, Options{}, `export function onMessage(msg, session) {
		session.send("client", msg.json);
		session.send("client", {wrapped: msg.json.list});
		return false;
	}`)
	r.Message(text(`{"big": 9007199254740993, "list": [1.0, 1e400]}`, 0))
	var sent []string
	for _, h := range r.Happened() {
		if h.Sent != nil {
			sent = append(sent, string(h.Sent.Payload))
		}
	}
	want := []string{`{"big": 9007199254740993, "list": [1.0, 1e400]}`, `{"wrapped":[1.0, 1e400]}`}
	if len(sent) != 2 || sent[0] != want[0] || sent[1] != want[1] {
		t.Errorf("sent %q, want %q", sent, want)
	}
}
