package bridge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// flows is what testdata/mitmproxy/make.py made: mitmdump 8.1.1, dump version 17.
func flows(t testing.TB) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/mitmproxy/flows.mitm")
	must(t, err)
	return text
}

// value is a tnetstring as the tests' own reader knows it: one of string (bytes
// and strings, with their tag), []value, dict, and what stands for itself.
type value any

type tagged struct {
	tag  byte
	text string
}

// dict keeps its order.
type dict []pair

type pair struct {
	key   tagged
	value value
}

// parse is another reader of tnetstrings than the one that is tested.
func parse(t testing.TB, in string) (v value, rest string) {
	t.Helper()
	digits, rest, ok := strings.Cut(in, ":")
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || n >= len(rest) {
		t.Fatalf("no tnetstring: %.40q", in)
	}
	body, tag, rest := rest[:n], rest[n], rest[n+1:]
	switch tag {
	case '}':
		d := dict{}
		for body != "" {
			var key, val value
			key, body = parse(t, body)
			val, body = parse(t, body)
			d = append(d, pair{key.(tagged), val})
		}
		return d, rest
	case ']':
		l := []value{}
		for body != "" {
			var val value
			val, body = parse(t, body)
			l = append(l, val)
		}
		return l, rest
	}
	return tagged{tag, body}, rest
}

func format(v value) string {
	body, tag := "", byte(0)
	switch v := v.(type) {
	case tagged:
		body, tag = v.text, v.tag
	case dict:
		tag = '}'
		for _, p := range v {
			body += format(p.key) + format(p.value)
		}
	case []value:
		tag = ']'
		for _, e := range v {
			body += format(e)
		}
	}
	return fmt.Sprintf("%d:%s%c", len(body), body, tag)
}

func text(s string) tagged { return tagged{';', s} }

func (d dict) at(key string) int {
	return slices.IndexFunc(d, func(p pair) bool { return p.key.text == key })
}

func (d dict) get(key string) value { return d[d.at(key)].value }

func (d *dict) set(key string, v value) {
	if i := d.at(key); i >= 0 {
		(*d)[i].value = v
	} else {
		*d = append(*d, pair{text(key), v})
	}
}

// pop takes out a key; absent is null.
func (d *dict) pop(key string) value {
	i := d.at(key)
	if i < 0 {
		return tagged{'~', ""}
	}
	v := (*d)[i].value
	*d = slices.Delete(*d, i, i+1)
	return v
}

// rewritten is the dump with each flow changed.
func rewritten(t testing.TB, in []byte, change func(flow *dict)) []byte {
	t.Helper()
	var out strings.Builder
	for rest := string(in); rest != ""; {
		var v value
		v, rest = parse(t, rest)
		flow := v.(dict)
		change(&flow)
		out.WriteString(format(flow))
	}
	return []byte(out.String())
}

// inVersion is a flow of version 17 as another version would have it, by what
// mitmproxy/io/compat.py says of each step. What is left alone here concerns
// certificates and ciphers, which nobody reads.
func inVersion(flow *dict, version int) {
	flow.set("version", tagged{'#', strconv.Itoa(version)})
	client, server := flow.get("client_conn").(dict), flow.get("server_conn").(dict)
	if version < 17 {
		flow.set("mode", text("regular"))
	}
	if version < 16 {
		flow.pop("timestamp_created")
	}
	if version >= 18 {
		client.set("proxy_mode", text("regular"))
	}
	if version >= 19 {
		client.set("peername", client.pop("address"))
		server.set("peername", server.pop("ip_address"))
		server.set("sockname", server.pop("source_address"))
		server.set("via", server.pop("via2"))
		for _, conn := range []*dict{&client, &server} {
			conn.set("cipher", conn.pop("cipher_name"))
			conn.set("transport_protocol", text("tcp"))
			conn.pop("tls_established")
		}
		client.pop("tls_extensions")
	}
	if version >= 20 {
		client.pop("state")
		server.pop("state")
	}
	flow.set("client_conn", client)
	flow.set("server_conn", server)
}

func imported(t testing.TB, in []byte) (*record.Memory, []string) {
	t.Helper()
	m := record.NewMemory()
	_, remarks, err := ImportMitmproxy(context.Background(), bytes.NewReader(in), m, nil)
	must(t, err)
	return m, remarks
}

// told is what the fixture says, in a few words.
func told(t testing.TB, m *record.Memory) (out []string) {
	for e, err := range record.Sessions(t.Context(), m) {
		must(t, err)
		ending := "none"
		if e.Ending != nil {
			text, err := json.Marshal(e.Ending)
			must(t, err)
			ending = string(text)
		}
		host, _, _ := strings.Cut(e.Client, ":")
		_, path, _ := strings.Cut(strings.TrimPrefix(e.Upstream, "ws://127.0.0.1:"), "/")
		out = append(out, fmt.Sprintf("%s %s /%s %d %s %q %s %q", host, e.URL, path, e.Status, e.State, e.Subprotocol, ending, e.Handshake.Response.Body))
		for line, err := range record.Lines(t.Context(), m, e.N, record.ReadOptions{}) {
			must(t, err)
			m := line.Message
			out = append(out, fmt.Sprintf(" %s %s %.20q %s %v", m.From, m.Op, m.Payload, m.Fate, m.By))
		}
	}
	return out
}

// conversation is what make.py does.
var conversation = []string{
	`127.0.0.1 /chat?token=verysecret&room=1 /chat?token=verysecret&room=1 101 closed "chat.v1" {"kind":"close","code":1000,"reason":"bye","from":"client"} ""`,
	` client text "{\"type\":\"hello\"}" passed []`,
	` server text "{\"type\":\"hello\"}" passed []`,
	` client binary "\x00\x01\x02\xff" passed []`,
	` server binary "\x00\x01\x02\xff" passed []`,
	` client text "drop me" dropped [mitmproxy]`,
	` client text "edited" passed []`,
	` server text "edited" passed []`,
	` client text "inject" passed []`,
	` server text "from nowhere" injected [mitmproxy]`,
	` server text "inject" passed []`,
	` client text "xxxxxxxxxxxxxxxxxxxx" passed []`,
	` server text "xxxxxxxxxxxxxxxxxxxx" passed []`,
	` client close "\x03\xe8bye" passed []`,
	`127.0.0.1 /chat /chat 101 closed "" {"kind":"close","code":4000,"reason":"grüße","from":"server"} ""`,
	` client text "close" passed []`,
	` server close "\x0f\xa0grüße" passed []`,
	`127.0.0.1 /gone /gone 101 closed "" {"kind":"eof","from":"server"} ""`,
	` client text "now" passed []`,
	`127.0.0.1 /no /no 403 refused "" none "members only\n"`,
}

func TestDumpsOfAllVersions(t *testing.T) {
	for version := oldestDump; version <= newestDump; version++ {
		t.Run(strconv.Itoa(version), func(t *testing.T) {
			dump := rewritten(t, flows(t), func(flow *dict) { inVersion(flow, version) })
			if version == 17 && !bytes.Equal(dump, flows(t)) {
				t.Error("the tests' reader and writer do not give the fixture back")
			}
			if !IsMitmproxy(dump[:64]) {
				t.Errorf("a dump that begins %.64q is not known", dump)
			}
			m, remarks := imported(t, dump)
			if diff := cmp.Diff(conversation, told(t, m)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]string{"left out flows that are no WebSockets: 1 http"}, remarks); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTimesOfADump(t *testing.T) {
	m, _ := imported(t, flows(t))
	e, err := m.Session(t.Context(), 1)
	must(t, err)
	if year := e.Started.Year(); year < 2026 || e.Duration <= 0 || e.Duration > time.Minute {
		t.Errorf("began %v, took %v", e.Started, e.Duration)
	}
	last := time.Duration(0)
	for line, err := range record.Lines(t.Context(), m, 1, record.ReadOptions{}) {
		must(t, err)
		if line.T <= last || line.T > e.Duration {
			t.Errorf("message %d at %v, after %v and of %v", line.Message.Seq, line.T, last, e.Duration)
		}
		last = line.T
	}
}

func TestSecretsOfADump(t *testing.T) {
	redactor, err := record.NewRedactor([]byte("key"), record.Rules{Headers: []string{"authorization", "cookie"}, Query: []string{"token"}})
	must(t, err)
	m := record.NewMemory()
	_, _, err = ImportMitmproxy(t.Context(), bytes.NewReader(flows(t)), m, redactor)
	must(t, err)
	var out bytes.Buffer
	must(t, record.WriteCassette(t.Context(), &out, m, 1))
	if strings.Contains(out.String(), "verysecret") || strings.Count(out.String(), "redacted:") != 5 {
		t.Error(out.String())
	}
}

// first is the fixture's first WebSocket alone, changed.
func first(t testing.TB, change func(flow *dict)) []byte {
	t.Helper()
	rest := string(flows(t))
	for {
		var v value
		v, rest = parse(t, rest)
		if flow := v.(dict); flow.get("websocket") != (tagged{'~', ""}) {
			change(&flow)
			return []byte(format(flow))
		}
	}
}

func messagesOf(flow *dict) []value { return flow.get("websocket").(dict).get("messages").([]value) }

func TestDumpsThatAreRefused(t *testing.T) {
	version := func(v value) func(*dict) { return func(flow *dict) { flow.set("version", v) } }
	for _, c := range []struct {
		name string
		dump []byte
		want string
	}{
		{"older", first(t, version(tagged{'#', "14"})), "flow 1: the dump is version 14, and versions 15 to 21 are read: have a current mitmproxy write it again with mitmdump -nr OLD -w NEW"},
		{"much older", first(t, func(flow *dict) {
			flow.set("version", []value{tagged{'#', "0"}, tagged{'#', "18"}})
			client := flow.get("client_conn").(dict)
			client.set("address", dict{{text("address"), []value{text("h"), tagged{'#', "1"}}}})
		}), "flow 1: the dump is one of before version 4"},
		{"newer", first(t, version(tagged{'#', "22"})), "flow 1: the dump is version 22, and versions 15 to 21 are read: use a newer wstape, or have mitmproxy write a HAR file"},
		{"no version", first(t, func(flow *dict) { flow.pop("version") }), "flow 1: it has no version"},
		{"only pages", first(t, func(flow *dict) {
			flow.pop("websocket")
			request := flow.get("request").(dict)
			request.set("headers", []value{})
			flow.set("request", request)
		}), "there is no WebSocket in it: flows that are no WebSockets: 1 http"},
		{"a ping", first(t, func(flow *dict) { messagesOf(flow)[1].([]value)[0] = tagged{'#', "9"} }),
			"flow 1: websocket: message 2: its type 9 is neither text (1) nor binary (2)"},
		{"a short message", first(t, func(flow *dict) { messagesOf(flow)[0] = []value{tagged{'#', "1"}} }), "flow 1: websocket: message 1: it has 1 fields, not 6"},
		{"a message of another type", first(t, func(flow *dict) { messagesOf(flow)[0] = text("hello") }), "flow 1: websocket: message 1: "},
		{"no time", first(t, func(flow *dict) {
			flow.pop("timestamp_created")
			request := flow.get("request").(dict)
			request.pop("timestamp_start")
			flow.set("request", request)
			for _, m := range messagesOf(flow) {
				m.([]value)[3] = tagged{'^', "nan"}
			}
		}), "flow 1: it does not say when it began"},
		{"cut short", flows(t)[:len(flows(t))-10], "flow 5: byte 18075: the file is cut short"},
		{"no dump", []byte("hello"), `it is not a mitmproxy dump: byte 1: 'h' stands where a length must`},
		{"a lie", []byte("999999999999:4:type;4:http;"), "the file is cut short"},
		{"a longer lie", []byte("9999999999999:4:type;"), "'9' stands where a length must"},
		{"an inner lie", []byte("20:4:type;99999:http;}"), "a value is said to have 99999 bytes, and "},
		{"nothing", nil, "it is empty"},
		{"not a flow", []byte("5:hello;"), "it is not a mitmproxy dump"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := ImportMitmproxy(t.Context(), bytes.NewReader(c.dump), record.NewMemory(), nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestWhatADumpMaySay(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(flow *dict)
		check  func(e *record.Entry) bool
	}{
		{"saved while open", func(flow *dict) {
			socket := flow.get("websocket").(dict)
			socket.set("closed_by_client", tagged{'~', ""})
			flow.set("websocket", socket)
		}, func(e *record.Entry) bool { return e.State == tape.Interrupted && e.Ending == nil }},
		{"an error", func(flow *dict) { flow.set("error", dict{{text("msg"), text("killed")}}) },
			func(e *record.Entry) bool { return e.Ending.Kind == tape.EndError && e.Ending.Why == "killed" }},
		{"no code", func(flow *dict) {
			socket := flow.get("websocket").(dict)
			socket.set("close_code", tagged{'#', "1005"})
			flow.set("websocket", socket)
		}, func(e *record.Entry) bool { return e.Ending.Code == tape.NoStatus }},
		{"marks", func(flow *dict) {
			flow.set("marked", text(":grapes:"))
			flow.set("comment", text("look"))
		}, func(e *record.Entry) bool { return e.Tags["marked"] == ":grapes:" && e.Notes[0] == "look" }},
		{"TLS", func(flow *dict) {
			request := flow.get("request").(dict)
			request.set("scheme", tagged{',', "https"})
			request.set("port", tagged{'#', "443"})
			request.set("host", text("::1"))
			flow.set("request", request)
		}, func(e *record.Entry) bool { return strings.HasPrefix(e.Upstream, "wss://[::1]/chat?") }},
		{"a header that is not UTF-8", func(flow *dict) {
			request := flow.get("request").(dict)
			request.set("headers", []value{[]value{tagged{',', "X"}, tagged{',', "gr\xfc\xdfe"}}})
			flow.set("request", request)
		}, func(e *record.Entry) bool { return e.Handshake.Request.Headers[0] == tape.Header{"X", "grüße"} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, _ := imported(t, first(t, c.change))
			e, err := m.Session(t.Context(), 1)
			must(t, err)
			if !c.check(&e) {
				t.Errorf("%+v, ending %+v", e, e.Ending)
			}
		})
	}
}

func TestAFlowIsBounded(t *testing.T) {
	_, _, err := importMitmproxy(t.Context(), bytes.NewReader(flows(t)), record.NewMemory(), nil, 4000)
	if !errors.Is(err, errTooMuch) {
		t.Errorf("got %v", err)
	}
	// What is not wanted is not held, however much it is.
	huge := first(t, func(flow *dict) { flow.set("metadata", tagged{',', strings.Repeat("x", 10_000)}) })
	_, _, err = importMitmproxy(t.Context(), bytes.NewReader(huge), record.NewMemory(), nil, 8000)
	must(t, err)
}

// FuzzImportMitmproxy: whatever a file says, reading it ends with sessions or an
// error that says something, and what was read can be written in every format or
// is refused by name.
func FuzzImportMitmproxy(f *testing.F) {
	f.Add(first(f, func(flow *dict) { // as short as it can be: the fuzzer takes its time with long ones
		for _, key := range []string{"server_conn", "metadata", "id"} {
			flow.pop(key)
		}
		request := flow.get("request").(dict)
		request.set("headers", request.get("headers").([]value)[:2])
		flow.set("request", request)
		flow.set("response", tagged{'~', ""})
		flow.set("client_conn", dict{{text("address"), []value{text("127.0.0.1"), tagged{'#', "1"}}}})
		socket := flow.get("websocket").(dict)
		socket.set("messages", messagesOf(flow)[:5])
		flow.set("websocket", socket)
	}))
	f.Add([]byte("13:7:version;2:14#}"))
	f.Add([]byte("20:4:type;99999:http;}"))
	f.Fuzz(func(t *testing.T, in []byte) {
		m := record.NewMemory()
		numbers, _, err := importMitmproxy(t.Context(), bytes.NewReader(in), m, nil, 1<<20)
		switch {
		case err != nil && strings.TrimSpace(err.Error()) == "":
			t.Fatal("an error that says nothing")
		case err == nil && len(numbers) == 0:
			t.Fatal("no sessions and no error")
		}
		sessions := all(t, m)
		for _, write := range []func(w io.Writer) error{
			func(w io.Writer) error { _, err := K6(t.Context(), w, sessions, Options{}); return err },
			func(w io.Writer) error { _, err := Artillery(t.Context(), w, sessions, Options{}); return err },
			func(w io.Writer) error { return Playwright(t.Context(), w, sessions, Options{}) },
			func(w io.Writer) error { return Text(t.Context(), w, sessions, strconv.Quote) },
			func(w io.Writer) error { return Pcapng(t.Context(), w, sessions, tape.Client, Options{}) },
		} {
			if err := write(io.Discard); err != nil && !errors.Is(err, ErrCannot) {
				t.Fatal(err)
			}
		}
	})
}
