package bridge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// The versions of mitmproxy's dumps that are read: 15 is the first that says what
// was injected. What the others changed of a WebSocket flow is where the client's
// address stands (19) and that the time of its making is there (16).
const (
	oldestDump = 15
	newestDump = 21
)

// flowLimit is how many bytes of one flow are held.
const flowLimit = 1 << 30

// bodyLimit is how much is kept of the page that came with a refusal.
const bodyLimit = 1 << 20

var dumpBegins = regexp.MustCompile(`^[0-9]{1,12}:[0-9]{1,3}:[a-z_]+[;,]`)

// IsMitmproxy reports whether a file that begins so is a dump of mitmproxy's.
func IsMitmproxy(head []byte) bool { return dumpBegins.Match(head) }

// ImportMitmproxy adds the WebSockets of a dump (mitmdump -w) to a tape and returns
// their numbers, and in words what was left out. Handshakes that were refused are
// sessions, too. Secrets in handshakes are redacted before anything is written. It
// holds one flow at a time; after an error the flows before the mistaken one are on
// the tape, whole.
func ImportMitmproxy(ctx context.Context, in io.Reader, w record.Writer, redact *record.Redactor) (numbers []uint64, remarks []string, err error) {
	return importMitmproxy(ctx, in, w, redact, flowLimit)
}

func importMitmproxy(ctx context.Context, in io.Reader, w record.Writer, redact *record.Redactor, limit int64) ([]uint64, []string, error) {
	d := &dump{ctx: ctx, values: newTnetstrings(in, limit), redact: redact, others: map[string]int{}}
	numbers, err := record.ReadCassette(ctx, d, w)
	var mistake *record.CassetteError
	switch {
	case d.err != nil:
		err = d.err
	case err != nil && d.flows == 0:
		err = errors.New("it is empty: a dump of mitmproxy's has flows in it")
	case err != nil && d.sessions == 0:
		err = fmt.Errorf("there is no WebSocket in it: %s", d.passedOver())
	case errors.As(err, &mistake):
		err = fmt.Errorf("flow %d: %w", d.flows, mistake.Err)
	}
	if len(d.others) > 0 && d.sessions > 0 {
		d.remarks = append(d.remarks, "left out "+d.passedOver())
	}
	return numbers, d.remarks, err
}

// dump turns a dump into the lines of a cassette, which [record.ReadCassette] asks
// for when it needs them.
type dump struct {
	ctx    context.Context
	values *tnetstrings
	redact *record.Redactor

	flows    int
	sessions int
	others   map[string]int // flows that are no WebSockets, by type
	remarks  []string
	current  *flow
	message  int // of current, the next to write
	line     bytes.Buffer
	err      error
}

func (d *dump) passedOver() string {
	var words []string
	for _, kind := range []string{"http", "tcp", "udp", "dns"} {
		if n := d.others[kind]; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, kind))
		}
	}
	if n := d.others[""]; n > 0 {
		words = append(words, fmt.Sprintf("%d of other types", n))
	}
	return "flows that are no WebSockets: " + strings.Join(words, ", ")
}

func (d *dump) Read(p []byte) (int, error) {
	for d.line.Len() == 0 {
		if err := d.next(); err != nil {
			if err != io.EOF {
				d.err = err
			}
			return 0, err
		}
	}
	return d.line.Read(p)
}

// next writes the next line.
func (d *dump) next() error {
	if err := d.ctx.Err(); err != nil {
		return err
	}
	d.line.Reset()
	if f := d.current; f != nil && d.message < len(f.messages) {
		m := &f.messages[d.message]
		d.message++
		err := f.line(m).WriteJSON(&d.line)
		m.content = nil // the line has it
		return err
	}
	if f := d.current; f != nil && f.closing != nil {
		line := tape.Line{T: f.closing.T, Message: f.closing}
		f.closing = nil
		return line.WriteJSON(&d.line)
	}
	d.current, d.message = nil, 0
	f, err := d.flow()
	switch {
	case err == io.EOF:
		return err
	case err != nil && d.flows == 0 && f.version == 0 && d.values.at < sniffedBytes:
		return fmt.Errorf("it is not a mitmproxy dump: %w", err)
	}
	d.flows++
	if err == nil && !f.webSocket() {
		d.others[known(f.kind)]++
		return nil
	}
	var s *tape.Session
	if err == nil {
		s, err = f.session()
	}
	if err != nil {
		return fmt.Errorf("flow %d: %w", d.flows, err)
	}
	if a := f.response; a != nil && a.cut && !f.socket {
		d.remarks = append(d.remarks, fmt.Sprintf("flow %d: left out the page that came with the refusal: it has more than %d bytes", d.flows, bodyLimit))
	}
	d.redact.Session(s)
	text, err := s.MarshalFull()
	if err != nil {
		return err
	}
	d.sessions++
	d.current = f
	return json.NewEncoder(&d.line).Encode(map[string]any{"wstape": 1, "session": json.RawMessage(text)})
}

// flow reads the next flow. Of one of another version it is said that it is, not
// what else is odd about it.
func (d *dump) flow() (*flow, error) {
	f := &flow{}
	d.values.taken = 0
	var odd error
	_, err := d.values.dict("a flow", func(key string) error {
		err := d.values.guarded(func() error { return f.key(d.values, key) })
		if m := (mistake{}); errors.As(err, &m) {
			if odd == nil {
				odd = fmt.Errorf("%s: %w", key, m.error)
			}
			return nil
		}
		return err
	})
	switch {
	case err == nil && f.old != nil:
		err = f.old
	case err == nil && odd != nil:
		err = odd
	case err == nil && f.version == 0:
		err = errors.New("it has no version: it is not a mitmproxy dump")
	}
	return f, err
}

// sniffedBytes is about how far into a file one reads to see that it is something else.
const sniffedBytes = 64

// known is the type of a flow, "" if it is none that there is.
func known(kind string) string {
	switch kind {
	case "http", "tcp", "udp", "dns":
		return kind
	}
	return ""
}

// flow is what a dump says of one flow, as far as a tape wants to know.
type flow struct {
	version  int
	old      error // it is of a version that is not read
	id       string
	kind     string
	start    time.Time     // set by session
	closing  *tape.Message // the close frame that the dump tells of; set by session
	comment  string
	marked   string
	failure  string
	client   string
	created  *float64
	request  request
	response *response
	socket   bool
	messages []message
	closed   struct {
		byClient *bool
		code     *float64
		reason   string
		at       *float64
	}
}

type request struct {
	method, scheme, host, path string
	port                       *float64
	headers                    []tape.Header
	at                         *float64
}

type response struct {
	status  *float64
	headers []tape.Header
	body    []byte
	cut     bool // the body was longer than is kept
	at      *float64
}

// message is one of websocket.messages.
type message struct {
	op         float64
	fromClient bool
	content    []byte
	at         float64
	dropped    bool
	injected   bool
}

// key reads one of a flow's values.
func (f *flow) key(t *tnetstrings, key string) (err error) {
	switch key {
	case "version":
		return f.readVersion(t)
	case "type":
		f.kind, err = t.text(key)
	case "id":
		f.id, err = t.text(key)
	case "comment":
		f.comment, err = t.text(key)
	case "marked":
		f.marked, err = f.mark(t)
	case "timestamp_created":
		f.created, err = t.number(key)
	case "client_conn":
		_, err = t.dict(key, func(key string) (err error) {
			if key != "peername" && key != "address" { // the latter before version 19
				return t.skip()
			}
			address, err := readAddress(t, key)
			if address != "" {
				f.client = address
			}
			return err
		})
	case "error":
		_, err = t.dict(key, func(key string) (err error) {
			if key != "msg" {
				return t.skip()
			}
			f.failure, err = t.text(key)
			return err
		})
	case "request":
		_, err = t.dict(key, func(key string) error { return f.request.key(t, key) })
	case "response":
		a := &response{}
		var null bool
		if null, err = t.dict(key, func(key string) error { return a.key(t, key) }); !null {
			f.response = a
		}
	case "websocket":
		var null bool
		null, err = t.dict(key, func(key string) error { return f.socketKey(t, key) })
		f.socket = !null
	default:
		err = t.skip()
	}
	return err
}

// mark reads what the user marked the flow with.
func (f *flow) mark(t *tnetstrings) (string, error) {
	tag, value, err := t.scalar(maxText)
	if tag != tagBytes && tag != tagString {
		return "", err // a boolean, before there were marks to choose from
	}
	return string(value), err
}

func (f *flow) readVersion(t *tnetstrings) error {
	tag, value, err := t.scalar(maxNumber)
	if err != nil {
		return err
	}
	n, err := parseInt(value)
	switch {
	case tag == tagList || tag == tagInt && err == nil && n < oldestDump:
		name := "one of before version 4"
		if tag == tagInt {
			name = fmt.Sprintf("version %d", n)
		}
		f.old = fmt.Errorf("the dump is %s, and versions %d to %d are read: have a current mitmproxy write it again with mitmdump -nr OLD -w NEW", name, oldestDump, newestDump)
	case tag == tagInt && err == nil && n > newestDump:
		f.old = fmt.Errorf("the dump is version %d, and versions %d to %d are read: use a newer wstape, or have mitmproxy write a HAR file with mitmdump -nr FILE --set hardump=OUT.har", n, oldestDump, newestDump)
	case tag != tagInt || err != nil:
		return t.wrong("version is %q, not a number", value)
	}
	f.version = n
	return nil
}

func parseInt(value []byte) (n int, err error) {
	_, err = fmt.Sscanf(string(value), "%d", &n)
	return n, err
}

// readAddress reads [host, port, …].
func readAddress(t *tnetstrings, what string) (string, error) {
	var host string
	var port *float64
	_, err := t.list(what, func(i int) (err error) {
		switch i {
		case 0:
			host, err = t.text(what)
		case 1:
			port, err = t.number(what)
		default:
			err = t.skip()
		}
		return err
	})
	if err != nil || host == "" || port == nil {
		return "", err
	}
	return net.JoinHostPort(readable(host), fmt.Sprintf("%.0f", *port)), nil
}

// readable is text of a header or the like; what is no UTF-8 is Latin-1.
func readable(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}

func readHeaders(t *tnetstrings) (out []tape.Header, err error) {
	_, err = t.list("headers", func(int) error {
		var h tape.Header
		_, err := t.list("a header", func(i int) error {
			text, err := t.text("a header")
			if i < len(h) {
				h[i] = readable(text)
			}
			return err
		})
		if !strings.HasPrefix(h[0], ":") { // what HTTP/2 makes of the request line
			out = append(out, h)
		}
		return err
	})
	return out, err
}

func (q *request) key(t *tnetstrings, key string) (err error) {
	switch key {
	case "method":
		q.method, err = t.text(key)
	case "scheme":
		q.scheme, err = t.text(key)
	case "host":
		q.host, err = t.text(key)
	case "port":
		q.port, err = t.number(key)
	case "path":
		q.path, err = t.text(key)
	case "headers":
		q.headers, err = readHeaders(t)
	case "timestamp_start":
		q.at, err = t.number(key)
	default:
		err = t.skip()
	}
	return err
}

func (a *response) key(t *tnetstrings, key string) (err error) {
	switch key {
	case "status_code":
		a.status, err = t.number(key)
	case "headers":
		a.headers, err = readHeaders(t)
	case "timestamp_end":
		a.at, err = t.number(key)
	case "content":
		a.body, a.cut, err = t.atMost(key, bodyLimit)
	default:
		err = t.skip()
	}
	return err
}

func (f *flow) socketKey(t *tnetstrings, key string) (err error) {
	switch key {
	case "messages":
		_, err = t.list(key, func(i int) error {
			m, err := readMessage(t)
			if err != nil {
				return fmt.Errorf("message %d: %w", i+1, err)
			}
			f.messages = append(f.messages, m)
			return nil
		})
	case "closed_by_client":
		f.closed.byClient, err = t.truth(key)
	case "close_code":
		f.closed.code, err = t.number(key)
	case "close_reason":
		f.closed.reason, err = t.text(key)
	case "timestamp_end":
		f.closed.at, err = t.number(key)
	default:
		err = t.skip()
	}
	return err
}

// readMessage reads [type, from_client, content, timestamp, dropped, injected].
func readMessage(t *tnetstrings) (m message, err error) {
	fields := 0
	_, err = t.list("it", func(i int) (err error) {
		fields++
		var n *float64
		var is *bool
		switch i {
		case 0:
			if n, err = t.number("type"); n != nil {
				m.op = *n
			}
		case 2:
			m.content, err = t.bytes("content", t.limit)
		case 3:
			if n, err = t.number("timestamp"); n != nil {
				m.at = *n
			}
		case 1, 4, 5:
			if is, err = t.truth([]string{1: "from_client", 4: "dropped", 5: "injected"}[i]); is != nil {
				*[]*bool{1: &m.fromClient, 4: &m.dropped, 5: &m.injected}[i] = *is
			}
		default:
			err = t.skip()
		}
		return err
	})
	switch {
	case err != nil:
	case fields < 5:
		err = fmt.Errorf("it has %d fields, not 6", fields)
	case m.op != float64(tape.Text) && m.op != float64(tape.Binary):
		err = fmt.Errorf("its type %g is neither text (1) nor binary (2)", m.op)
	}
	return m, err
}

// webSocket reports whether a flow is a WebSocket or one that was refused.
func (f *flow) webSocket() bool {
	return f.socket || f.kind == "http" && strings.EqualFold(tape.Field(f.request.headers, "Upgrade"), "websocket")
}

// epoch is a time of Python's: seconds since 1970.
func epoch(seconds float64) time.Time {
	if math.IsNaN(seconds) || seconds < 0 || seconds > 1<<33 {
		return time.Time{}
	}
	whole, part := math.Modf(seconds)
	return time.Unix(int64(whole), int64(math.Round(part*1e6))*1000).UTC()
}

// started is when the handshake began, and no later than the first message.
func (f *flow) started() time.Time {
	var at time.Time
	for _, t := range []*float64{f.request.at, f.created} {
		if t != nil && *t > 0 && at.IsZero() {
			at = epoch(*t)
		}
	}
	for i := range f.messages {
		if t := epoch(f.messages[i].at); !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	return at
}

// session is what a tape says of the flow.
func (f *flow) session() (*tape.Session, error) {
	q := &f.request
	target := q.path
	if _, rest, ok := strings.Cut(target, "://"); ok && !strings.HasPrefix(target, "/") { // absolute form
		_, target, _ = strings.Cut(rest, "/")
	}
	target = "/" + strings.TrimPrefix(readable(target), "/")
	f.start = f.started()
	s := &tape.Session{
		State: tape.Closed, Status: http.StatusSwitchingProtocols, Started: f.start, URL: target, Upstream: q.upstream(target), Client: f.client,
	}
	if f.start.IsZero() {
		return nil, errors.New("it does not say when it began")
	}
	s.Handshake.Request = tape.Request{Method: q.method, Target: target, Headers: q.headers}
	var last time.Time
	if a := f.response; a != nil {
		s.Handshake.Response.Headers = a.headers
		if a.status != nil && *a.status >= 100 && *a.status <= 599 {
			s.Handshake.Response.Status = int(*a.status)
		}
		if a.at != nil {
			last = epoch(*a.at)
		}
		s.Subprotocol, s.Extensions = tape.Field(a.headers, "Sec-WebSocket-Protocol"), tape.Field(a.headers, "Sec-WebSocket-Extensions")
	}
	if f.closed.at != nil {
		last = epoch(*f.closed.at)
	}
	s.Duration = max(0, last.Sub(s.Started))
	s.Tags = map[string]string{"mitmproxy": readable(f.id)}
	if f.marked != "" {
		s.Tags["marked"] = readable(f.marked)
	}
	if f.comment != "" {
		s.Notes = []string{f.comment}
	}
	f.outcome(s)
	return s, nil
}

// upstream is where the request went. mitmproxy writes http for ws.
func (q *request) upstream(target string) string {
	scheme, usual := "ws", 80.0
	if q.scheme == "https" || q.scheme == "wss" {
		scheme, usual = "wss", 443
	}
	host := readable(q.host)
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if q.port != nil && *q.port != usual {
		host += fmt.Sprintf(":%.0f", *q.port)
	}
	return scheme + "://" + host + target
}

// outcome finds how the handshake was answered and how the session ended. What the
// dump does not say, the tape says that it does not.
func (f *flow) outcome(s *tape.Session) {
	status := s.Handshake.Response.Status
	if !f.socket {
		s.State, s.Status = tape.Refused, status
		switch {
		case status == 0:
			s.Status = http.StatusBadGateway
		case status == http.StatusSwitchingProtocols:
			s.State = tape.Closed // it was saved without its messages
		}
		s.Handshake.Response.Body = f.response.content()
	}
	c := &f.closed
	switch {
	case f.failure != "":
		s.Ending = &tape.Ending{Kind: tape.EndError, Why: readable(f.failure)}
	case f.socket && c.byClient == nil:
		s.State = tape.Interrupted // it was saved while it was open
	case f.socket:
		s.Ending = &tape.Ending{Kind: tape.EndClose, Code: tape.NoStatus, Reason: c.reason}
		if c.code != nil && *c.code >= 0 && *c.code <= math.MaxUint16 {
			s.Ending.Code = int(*c.code)
		}
		from := tape.Server
		if *c.byClient {
			from = tape.Client
		}
		if s.Ending.Code == abnormal {
			s.Ending = &tape.Ending{Kind: tape.EndEOF}
		} else {
			payload := tape.AppendClose(nil, s.Ending.Code, c.reason)
			f.closing = &tape.Message{Content: tape.Content{Op: tape.Close, Payload: payload, Len: uint64(len(payload))}, T: s.Duration, From: from, Fate: tape.Passed}
		}
		s.Ending.From = &from
	case s.State == tape.Closed:
		s.Ending = &tape.Ending{Kind: tape.EndError, Why: "the dump holds none of its messages"}
	}
}

// abnormal is the code for an end without a close frame (RFC 6455 section 7.1.5).
const abnormal = 1006

func (a *response) content() []byte {
	if a == nil {
		return nil
	}
	return a.body
}

// line is a message as the tape has it. mitmproxy does not keep what a message was
// before somebody changed it.
func (f *flow) line(m *message) *tape.Line {
	t := max(0, epoch(m.at).Sub(f.start))
	out := &tape.Message{Content: tape.Content{Op: tape.Opcode(m.op), Payload: m.content, Len: uint64(len(m.content))}, T: t, From: tape.Server, Fate: tape.Passed}
	if m.fromClient {
		out.From = tape.Client
	}
	switch {
	case m.dropped:
		out.Fate, out.By = tape.Dropped, []string{"mitmproxy"}
	case m.injected:
		out.Fate, out.By = tape.Injected, []string{"mitmproxy"}
	}
	return &tape.Line{T: t, Message: out}
}
