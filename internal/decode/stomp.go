package decode

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/wstape/wstape/tape"
)

// STOMP 1.0, 1.1 and 1.2: a command, headers, an empty line, a body up to NUL or of
// the length that a header says. A line end alone is a heartbeat.

func stompCommands() []string {
	return []string{
		"CONNECT", "STOMP", "CONNECTED", "SEND", "SUBSCRIBE", "UNSUBSCRIBE", "ACK", "NACK", "BEGIN", "COMMIT", "ABORT",
		"DISCONNECT", "MESSAGE", "RECEIPT", "ERROR",
	}
}

func sniffSTOMP(h Hint, first []*tape.Message) int {
	switch h.Subprotocol {
	case "v10.stomp", "v11.stomp", "v12.stomp":
		return named
	}
	m := opening(first, tape.Client)
	if m == nil {
		return 0
	}
	if f, _, err := parseFrame(m.Payload); err == nil && (f.command == "CONNECT" || f.command == "STOMP") {
		return opened
	}
	return 0
}

func openSTOMP(Hint) reader { return readSTOMP }

func readSTOMP(m *tape.Message) (View, error) {
	p := afterLines(m.Payload)
	if len(p) == 0 && len(m.Payload) > 0 {
		return View{Type: "heartbeat", Heartbeat: true, Summary: "heartbeat"}, nil
	}
	var all []View
	for {
		f, rest, err := parseFrame(p)
		if err != nil {
			return View{}, err
		}
		all = append(all, f.view())
		if p = afterLines(rest); len(p) == 0 || len(all) == maxParts {
			return together(all), nil
		}
	}
}

// afterLines returns p without the line ends that it begins with.
func afterLines(p []byte) []byte { return bytes.TrimLeft(p, "\r\n") }

// stompFrame is one frame of STOMP.
type stompFrame struct {
	command string
	headers map[string]string
	body    []byte
}

func (f *stompFrame) view() View {
	v := View{Type: f.command, Key: f.headers["receipt"]}
	switch f.command {
	case "RECEIPT", "ERROR":
		v.Key, v.Answer = f.headers["receipt-id"], true
	case "MESSAGE":
		v.Key = f.either("ack", "message-id")
	case "ACK", "NACK": // these answer a MESSAGE
		v.Key, v.Answer = f.either("id", "message-id"), true
	}
	body, shown := f.content()
	v.Value = map[string]any{"command": f.command, "headers": f.anyHeaders(), "body": body}
	about := f.either("destination", "id", "message-id")
	switch f.command {
	case "CONNECT", "STOMP":
		about = words(f.headers["login"], f.headers["host"], f.headers["accept-version"])
	case "CONNECTED":
		about = words(f.headers["version"], f.headers["server"])
	case "ERROR":
		about = f.headers["message"]
	case "RECEIPT":
		about = v.Key
	case "BEGIN", "COMMIT", "ABORT":
		about = f.headers["transaction"]
	}
	v.Summary = words(f.command, fold(about, maxSummary), shown)
	return v
}

// either returns the first of some headers that is there.
func (f *stompFrame) either(names ...string) string {
	for _, name := range names {
		if f.headers[name] != "" {
			return f.headers[name]
		}
	}
	return ""
}

func (f *stompFrame) anyHeaders() map[string]any {
	all := make(map[string]any, len(f.headers))
	for name, value := range f.headers {
		all[name] = value
	}
	return all
}

// content decodes the body, and shows it.
func (f *stompFrame) content() (decoded any, shown string) {
	if strings.Contains(f.headers["content-type"], "json") {
		if raw, err := parse(f.body); err == nil {
			return value(raw), compact(raw)
		}
	}
	if len(f.body) == 0 {
		return "", ""
	}
	if !utf8.Valid(f.body) {
		return bytes.Clone(f.body), hexView(f.body)
	}
	return string(f.body), fold(string(head(f.body)), maxSummary)
}

// parseFrame reads the frame that p begins with.
func parseFrame(p []byte) (*stompFrame, []byte, error) {
	line, rest, ok := stompLine(p)
	if !ok {
		return nil, nil, errors.New("not a STOMP frame: no line")
	}
	f := &stompFrame{headers: map[string]string{}}
	for _, c := range stompCommands() {
		if string(line) == c {
			f.command = c
		}
	}
	if f.command == "" {
		return nil, nil, fmt.Errorf("no command of STOMP is called %q", fold(string(head(line)), maxType))
	}
	for {
		if line, rest, ok = stompLine(rest); !ok {
			return nil, nil, fmt.Errorf("the headers of %s do not end", f.command)
		}
		if len(line) == 0 {
			break
		}
		name, value, found := strings.Cut(string(line), ":")
		if !found {
			return nil, nil, fmt.Errorf("a header of %s has no colon: %q", f.command, fold(name, maxType))
		}
		if f.command != "CONNECT" && f.command != "CONNECTED" { // they are older than the escapes
			name, value = unescape(name), unescape(value)
		}
		if _, twice := f.headers[name]; !twice { // the first counts
			f.headers[name] = value
		}
	}
	rest, err := f.takeBody(rest)
	return f, rest, err
}

// takeBody reads the body and its NUL.
func (f *stompFrame) takeBody(p []byte) (rest []byte, err error) {
	n := bytes.IndexByte(p, 0)
	if said, ok := f.headers["content-length"]; ok {
		if n, err = strconv.Atoi(said); err != nil || n < 0 {
			return nil, fmt.Errorf("%s says content-length: %q", f.command, fold(said, maxType))
		}
		if n >= len(p) || p[n] != 0 {
			return nil, fmt.Errorf("the body of %s is not the %s that it says, or its NUL is missing", f.command, size(n))
		}
	}
	if n < 0 {
		return nil, fmt.Errorf("the body of %s does not end with NUL", f.command)
	}
	f.body = p[:n]
	return p[n+1:], nil
}

func stompLine(p []byte) (line, rest []byte, ok bool) {
	line, rest, ok = bytes.Cut(p, []byte{'\n'})
	return bytes.TrimSuffix(line, []byte{'\r'}), rest, ok
}

func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\r`, "\r", `\c`, ":").Replace(s)
}
