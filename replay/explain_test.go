package replay

import (
	"bufio"
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/wstape/wstape/tape"
)

const (
	aUUID  = "5b991fa2-b254-4bbd-87dd-4903df17f154"
	aToken = "2466fe5b7497fb9ba7507924bbc147ed"
)

func explained(t *testing.T, r *Recording) string {
	t.Helper()
	var out strings.Builder
	if err := r.Explain(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// scenario has every way in which a value is not compared exactly.
func scenario() string {
	return session(`"url":"/chat?key=`+aToken+`"`, `"rules":{"ignore":["$.load"],"bind":[{"path":"$.n","to":"$.re","from":"client"}]}`) +
		at(0.01, "C", `{"type":"hello","nonce":"88ab9b1b48342f78","n":4}`) +
		at(0.02, "S", `{"nonce":"88ab9b1b48342f78","key":"`+aToken+`","re":4,"id":"`+aUUID+`"}`) +
		at(1.5, "C", `{"id":"`+aUUID+`","trace":"0b991fa2-b254-4bbd-87dd-4903df17f155","at":1774733401,"load":0.25,"to":"/r/`+aUUID+`/x"}`) +
		`{"t":1.6,"from":"server","b64":"AAH/"}` + "\n" +
		`{"t":1.7,"from":"client","op":"reserved(3)","b64":""}` + "\n" +
		closing(2, "C", 1000, "bye")
}

func TestExplain(t *testing.T) {
	for _, c := range []struct {
		name string
		role tape.Side
		m    Matching
		want string
	}{
		{"as the server", tape.Server, Matching{}, `
session 1 (/chat?key=2466fe5b7497fb9ba7507924bbc147ed)
  wstape stands for the server; messages of the client are matched by shape
  5 steps; the client ends it with close 1000 "bye"
  1 message not played: of a reserved opcode, or not WebSocket at all
  ?key 2466fe5b7497fb9ba750792…  chosen by the client, repeated at step 2 $.key

 step   seq   player       wait  after    message
    1     1 → expect      10ms  opening  {"type":"hello","nonce":"88ab9b1b48342f78","n":4}
               $.nonce "88ab9b1b48342f78"  chosen by the client, repeated at step 2 $.nonce
               $.n 4  chosen by the client, repeated at step 2 $.re
    2     2 ← send        10ms  1        {"nonce":"88ab9b1b48342f78","key":"2466fe5b7497fb9ba750792…
               $.nonce "88ab9b1b48342f78"  from step 1 $.nonce
               $.key "2466fe5b7497fb9ba75079…  from the handshake ?key
               $.re 4  from step 1 $.n
    3     3 → expect     1.48s  2        {"id":"5b991fa2-b254-4bbd-87dd-4903df17f154","trace":"0b99…
               $.id "5b991fa2-b254-4bbd-87d…  must come back as sent
               $.trace "0b991fa2-b254-4bbd-87d…  may be another uuid
               $.at 1774733401  may be another time
               $.load 0.25  may differ, by the rule $.load
               $.to …5b991fa2-b254-4bbd-87dd…  must come back as sent
    4     4 ← send       100ms  3        binary, 3 bytes: 0001ff
    5     6 → expect     400ms  4        close 1000 "bye"
`},
		{"as the client", tape.Client, Matching{}, `
session 1 (/chat?key=2466fe5b7497fb9ba7507924bbc147ed)
  wstape stands for the client; messages of the server are matched by shape
  5 steps; the client ends it with close 1000 "bye"
  1 message not played: of a reserved opcode, or not WebSocket at all

 step   seq   player       wait  after    message
    1     1 → send        10ms  opening  {"type":"hello","nonce":"88ab9b1b48342f78","n":4}
    2     2 ← expect      10ms  1        {"nonce":"88ab9b1b48342f78","key":"2466fe5b7497fb9ba750792…
               $.nonce "88ab9b1b48342f78"  must come back as sent
               $.key "2466fe5b7497fb9ba75079…  must come back as sent
               $.id "5b991fa2-b254-4bbd-87d…  chosen by the server, repeated at step 3 $.id and 1 more
    3     3 → send       1.48s  2        {"id":"5b991fa2-b254-4bbd-87dd-4903df17f154","trace":"0b99…
               $.id "5b991fa2-b254-4bbd-87d…  from step 2 $.id
               $.to …5b991fa2-b254-4bbd-87dd…  from step 2 $.id
    4     4 ← expect     100ms  3        binary, 3 bytes: 0001ff
    5     6 → end        400ms  4        close 1000 "bye"
`},
		{"as JSON", tape.Server, Matching{Level: JSON, Ignore: []string{"$.type"}}, `
session 1 (/chat?key=2466fe5b7497fb9ba7507924bbc147ed)
  wstape stands for the server; messages of the client are matched by json
  5 steps; the client ends it with close 1000 "bye"
  1 message not played: of a reserved opcode, or not WebSocket at all
  ?key 2466fe5b7497fb9ba750792…  chosen by the client, repeated at step 2 $.key

 step   seq   player       wait  after    message
    1     1 → expect      10ms  opening  {"type":"hello","nonce":"88ab9b1b48342f78","n":4}
               $.type "hello"  may differ, by the rule $.type
    2     2 ← send        10ms  1        {"nonce":"88ab9b1b48342f78","key":"2466fe5b7497fb9ba750792…
               $.key "2466fe5b7497fb9ba75079…  from the handshake ?key
    3     3 → expect     1.48s  2        {"id":"5b991fa2-b254-4bbd-87dd-4903df17f154","trace":"0b99…
               $.load 0.25  may differ, by the rule $.load
    4     4 ← send       100ms  3        binary, 3 bytes: 0001ff
    5     6 → expect     400ms  4        close 1000 "bye"
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := explained(t, loadText(t, c.role, scenario(), c.m)); got != c.want[1:] {
				t.Errorf("explained\n%s\nwant%s", got, c.want)
			}
		})
	}
}

// Sessions are told by their numbers, so that lines stay short.
func TestExplainSessions(t *testing.T) {
	r := loadText(t, tape.Server, session(`"url":"/a"`)+at(1, "C", `{"type":"say","text":"to all"}`)+
		session(`"url":"/b"`)+at(2, "S", `{"type":"said","text":"to all"}`)+`{"gap":{"frames":2,"bytes":10,"why":"buffer full"},"t":3}`+"\n", Matching{})
	const want = `[1] session 1 (/a)
  wstape stands for the server; messages of the client are matched by shape
  1 step; the recording does not say how: whoever ends it is right

 step   seq   player       wait  after    message
    1     1 → expect        1s  opening  {"type":"say","text":"to all"}

[2] session 2 (/b)
  wstape stands for the server; messages of the client are matched by shape
  2 steps; it can be played up to the gap

 step   seq   player       wait  after    message
    1     1 ← send          2s  opening  {"type":"said","text":"to all"}
               and after step 1 of [1]
    2       → gap           1s  1        2 frames, 10 bytes not recorded: buffer full
`
	if got := explained(t, r); got != want {
		t.Errorf("explained\n%s\nwant\n%s", got, want)
	}
}

// What peers sent must not move the cursor, nor make lines long.
func TestExplainHostileMessages(t *testing.T) {
	long := strings.Repeat("€", 200)
	r := loadText(t, tape.Server, session(`"url":"/\u001b[31m"`)+at(1, "C", "\x1b[2J\n"+long)+
		at(2, "C", `{"\u001b[1m`+long+`":"`+aUUID+`"}`)+closing(3, "C", 1000, "\x1b]"), Matching{Ignore: []string{"$"}})
	text := explained(t, r)
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\n' }) {
		t.Errorf("control characters in\n%q", text)
	}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		if line := lines.Text(); strings.Contains(line, "expect") && utf8.RuneCountInString(line) > explainWidth {
			t.Errorf("too long: %s", line)
		}
	}
}

func TestExplainJSON(t *testing.T) {
	var out bytes.Buffer
	if err := loadText(t, tape.Server, scenario(), Matching{}).ExplainJSON(&out); err != nil {
		t.Fatal(err)
	}
	const want = `{"session":"session 1","target":"/chat?key=` + aToken + `","as":"server","match":"shape","status":101,"steps":5,"values":[{"path":"?key","value":"` + aToken + `","how":"chosen","at":{"step":2,"path":"$.key"}}],"notes":["1 message not played: of a reserved opcode, or not WebSocket at all"]}
{"session":"session 1","step":1,"seq":1,"t":0.010000,"from":"client","does":"expect","after":0,"delay":0.010000,"op":"text","len":49,"text":"{\"type\":\"hello\",\"nonce\":\"88ab9b1b48342f78\",\"n\":4}","values":[{"path":"$.nonce","value":"\"88ab9b1b48342f78\"","how":"chosen","at":{"step":2,"path":"$.nonce"}},{"path":"$.n","value":"4","how":"chosen","at":{"step":2,"path":"$.re"}}]}
`
	if got := out.String(); !strings.HasPrefix(got, want) {
		t.Errorf("explained\n%s\nwant\n%s", got, want)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i, part := range map[int]string{
		3: `{"path":"$.trace","value":"\"0b991fa2-b254-4bbd-87dd-4903df17f155\"","how":"volatile","as":"uuid"},{"path":"$.at","value":"1774733401","how":"volatile","as":"time"},{"path":"$.load","value":"0.25","how":"ignored","rule":"$.load"},{"path":"$.to","value":"` + aUUID + `","part":true,"how":"echo"}`,
		4: `"does":"send","after":3,"delay":0.100000,"op":"binary","len":3,"b64":"AAH/"}`,
		5: `"does":"expect","after":4,"delay":0.400000,"ending":{"kind":"close","code":1000,"reason":"bye","from":"client"}}`,
	} {
		if !strings.Contains(lines[i], part) {
			t.Errorf("line %d is %s\nwant in it %s", i+1, lines[i], part)
		}
	}
	for _, line := range lines {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
}
