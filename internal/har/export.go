package har

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// Session is one session of one tape.
type Session struct {
	From record.Reader
	N    uint64
}

// ExportOptions say how to write. The zero value writes Chrome's dialect.
type ExportOptions struct {
	Dialect Dialect
	Control bool   // write control frames as rows too, which Chrome does not
	Version string // of wstape, for log.creator
}

// Export writes sessions as one HAR file. It holds one message at a time.
func Export(ctx context.Context, w io.Writer, sessions []Session, o ExportOptions) error {
	e := &exporter{ctx: ctx, out: bufio.NewWriterSize(w, 64<<10), o: o}
	creator, err := marshal(map[string]string{"name": "wstape", "version": o.Version})
	if err != nil {
		return err
	}
	e.writes(`{"log":{"version":"1.2","creator":`, string(creator), `,"pages":[],"entries":[`)
	for i, s := range sessions {
		if i > 0 {
			e.writes(",")
		}
		e.writes("\n")
		if err := e.session(s); err != nil {
			return fmt.Errorf("session %d: %w", s.N, err)
		}
	}
	e.writes("\n]}}\n")
	return e.out.Flush()
}

type exporter struct {
	ctx context.Context
	out *bufio.Writer // keeps its first error
	o   ExportOptions
}

func (e *exporter) writes(texts ...string) {
	for _, text := range texts {
		_, _ = e.out.WriteString(text)
	}
}

// The parts of an entry that do not grow with the session.
type entryHead struct {
	ResourceType string       `json:"_resourceType"`
	Started      string       `json:"startedDateTime"`
	Time         float64      `json:"time"`
	Request      requestHead  `json:"request"`
	Response     responseHead `json:"response"`
	Cache        struct{}     `json:"cache"`
	Timings      timings      `json:"timings"`
	ServerIP     string       `json:"serverIPAddress,omitempty"`
}

type requestHead struct {
	Method      string `json:"method"`
	URL         string `json:"url"`
	HTTPVersion string `json:"httpVersion"`
	Cookies     []pair `json:"cookies"` // left empty: they are among the headers, and secrets should stand in one place
	Headers     []pair `json:"headers"`
	QueryString []pair `json:"queryString"`
	HeadersSize int    `json:"headersSize"`
	BodySize    int    `json:"bodySize"`
}

type responseHead struct {
	Status      int         `json:"status"`
	StatusText  string      `json:"statusText"`
	HTTPVersion string      `json:"httpVersion"`
	Cookies     []pair      `json:"cookies"`
	Headers     []pair      `json:"headers"`
	Content     contentHead `json:"content"`
	RedirectURL string      `json:"redirectURL"`
	HeadersSize int         `json:"headersSize"`
	BodySize    int         `json:"bodySize"`
}

type contentHead struct {
	Size     int    `json:"size"`
	MimeType string `json:"mimeType"`
	Text     string `json:"text,omitempty"`
	Encoding string `json:"encoding,omitempty"`
}

// timings are in milliseconds, -1 for what is not known; the others add up to
// the entry's time.
type timings struct {
	Blocked float64 `json:"blocked"`
	DNS     float64 `json:"dns"`
	Connect float64 `json:"connect"`
	SSL     float64 `json:"ssl"`
	Send    float64 `json:"send"`
	Wait    float64 `json:"wait"`
	Receive float64 `json:"receive"`
}

// closing is HTTP Toolkit's `_webSocketClose`, which may also be "aborted".
type closing struct {
	Code      int         `json:"code,omitempty"`
	Reason    string      `json:"reason,omitempty"`
	Timestamp json.Number `json:"timestamp,omitempty"`
}

const aborted = "aborted"

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// stamp writes a time as the dialect does: since 1970, to the microsecond.
func (d Dialect) stamp(t time.Time) string {
	micro := max(t.UnixMicro(), 0)
	if d == Playwright {
		return fmt.Sprintf("%d.%03d", micro/1000, micro%1000)
	}
	return fmt.Sprintf("%d.%06d", micro/1e6, micro%1e6)
}

// session writes one entry, beginning with what an importer must know before
// the rows, so that it need not hold them.
func (e *exporter) session(s Session) error {
	entry, err := s.From.Session(e.ctx, s.N)
	if err != nil {
		return err
	}
	head, err := marshal(headOf(&entry.Session))
	if err != nil {
		return err
	}
	own, err := withoutHeaders(&entry.Session)
	if err != nil {
		return err
	}
	e.writes(strings.TrimSuffix(string(head), "}"), fmt.Sprintf(`,"_wstape":{"version":%d,"session":`, ownVersion), string(own))
	rows, closed, err := e.lines(s)
	if err != nil {
		return err
	}
	e.writes(`},"_webSocketMessages":[`)
	if err := e.rows(s, entry.Started, rows); err != nil {
		return err
	}
	e.writes("]")
	if text, err := e.closing(&entry.Session, closed); err != nil {
		return err
	} else if text != nil {
		e.writes(`,"_webSocketClose":`, string(text))
	}
	e.writes("}")
	return nil
}

func headOf(s *tape.Session) *entryHead {
	address := dialled(s)
	life := milliseconds(s.Duration)
	h := &entryHead{
		ResourceType: websocketType, Started: s.Started.UTC().Format("2006-01-02T15:04:05.000000Z"), Time: life,
		Request: requestHead{
			Method: s.Handshake.Request.Method, URL: address, HTTPVersion: "HTTP/1.1", Cookies: []pair{},
			Headers: pairs(s.Handshake.Request.Headers), QueryString: query(address), HeadersSize: -1,
		},
		Response: responseHead{
			Status: s.Status, StatusText: http.StatusText(s.Status), HTTPVersion: "HTTP/1.1", Cookies: []pair{},
			Headers: pairs(s.Handshake.Response.Headers), Content: bodyOf(&s.Handshake.Response),
			RedirectURL: tape.Field(s.Handshake.Response.Headers, "Location"), HeadersSize: -1, BodySize: len(s.Handshake.Response.Body),
		},
		Timings: timings{Blocked: -1, DNS: -1, Connect: -1, SSL: -1, Receive: life},
	}
	if h.Request.Method == "" {
		h.Request.Method = http.MethodGet
	}
	if u, err := url.Parse(address); err == nil {
		if ip, err := netip.ParseAddr(u.Hostname()); err == nil {
			h.ServerIP = ip.String()
		}
	}
	return h
}

// dialled is where the session went, as a URL; failing that, what the client
// asked for of whom.
func dialled(s *tape.Session) string {
	if u, err := url.Parse(s.Upstream); err == nil && (u.Scheme == "ws" || u.Scheme == "wss") && u.Host != "" {
		return s.Upstream
	}
	host, path := tape.Field(s.Handshake.Request.Headers, "Host"), s.URL
	if host == "" {
		host = "localhost"
	}
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return "ws://" + host + path
}

func pairs(headers []tape.Header) []pair {
	out := make([]pair, 0, len(headers))
	for _, h := range headers {
		out = append(out, pair{h[0], h[1]})
	}
	return out
}

// query is the query of a URL in its order; what cannot be unescaped stays.
func query(address string) []pair {
	out := []pair{}
	_, rest, ok := strings.Cut(address, "?")
	if !ok {
		return out
	}
	rest, _, _ = strings.Cut(rest, "#")
	plain := func(s string) string {
		if p, err := url.QueryUnescape(s); err == nil {
			return p
		}
		return s
	}
	for part := range strings.SplitSeq(rest, "&") {
		if name, value, _ := strings.Cut(part, "="); part != "" {
			out = append(out, pair{plain(name), plain(value)})
		}
	}
	return out
}

func bodyOf(r *tape.Response) contentHead {
	c := contentHead{Size: len(r.Body), MimeType: tape.Field(r.Headers, "Content-Type")}
	if c.MimeType == "" {
		c.MimeType = "x-unknown"
	}
	if utf8.Valid(r.Body) {
		c.Text = string(r.Body)
	} else {
		c.Text, c.Encoding = base64.StdEncoding.EncodeToString(r.Body), "base64"
	}
	return c
}

// withoutHeaders is the session as a cassette has it, but for what the entry
// says already: whoever removes secrets from HAR files looks there only.
func withoutHeaders(s *tape.Session) ([]byte, error) {
	short := *s
	short.N = 0 // a number means something on its tape only
	short.Handshake.Request.Headers = nil
	short.Handshake.Response.Headers, short.Handshake.Response.Body = nil, nil
	return short.MarshalFull()
}

// isRow reports whether a line becomes a row. A browser only knows messages.
func (e *exporter) isRow(l *tape.Line) bool {
	m := l.Message
	return m != nil && (m.Op == tape.Text || m.Op == tape.Binary || e.o.Control && m.Op != tape.OpRaw)
}

// lines writes the lines that are no rows. It returns how many rows there are,
// and when the first close frame was sent, if there was one.
func (e *exporter) lines(s Session) (rows int, closed *time.Duration, err error) {
	sep := `,"lines":[`
	for line, err := range record.Lines(e.ctx, s.From, s.N, record.ReadOptions{}) {
		if err != nil {
			return 0, nil, err
		}
		if m := line.Message; m != nil && m.Op == tape.Close && m.Fate != tape.Dropped && closed == nil {
			closed = &m.T
		}
		if e.isRow(line) {
			rows++
			continue
		}
		text, err := line.MarshalJSON()
		if err != nil {
			return 0, nil, err
		}
		one, err := marshal(between{rows, text})
		if err != nil {
			return 0, nil, err
		}
		e.writes(sep, "\n ", string(one))
		sep = ","
	}
	if sep == "," {
		e.writes("]")
	}
	return rows, closed, nil
}

// rows writes the messages; no more than were counted before, for the session
// may still grow.
func (e *exporter) rows(s Session, started time.Time, left int) error {
	sep := "\n "
	for line, err := range record.Lines(e.ctx, s.From, s.N, record.ReadOptions{}) {
		if err != nil {
			return err
		}
		if !e.isRow(line) {
			continue
		}
		if left--; left < 0 {
			break
		}
		e.writes(sep)
		if err := e.row(line.Message, started); err != nil {
			return err
		}
		sep = ",\n "
	}
	return nil
}

// row writes one message as Chrome does: text as it is, all else in base64. The
// `encoding` is for programs that need to be told, and for text that is none.
func (e *exporter) row(m *tape.Message, started time.Time) error {
	own, err := markOf(m)
	if err != nil {
		return err
	}
	way := typeSend
	if m.From == tape.Server {
		way = typeReceive
	}
	e.writes(fmt.Sprintf(`{"type":"%s","time":%s,"opcode":%d,"data":"`, way, e.o.Dialect.stamp(started.Add(m.T)), m.Op))
	if m.Op == tape.Text && m.Error == "" && utf8.Valid(m.Payload) {
		err = e.text(m.Payload)
		e.writes(`"`)
	} else {
		enc := base64.NewEncoder(base64.StdEncoding, e.out)
		_, _ = enc.Write(m.Payload) // e.out keeps the error
		err = enc.Close()
		e.writes(`","encoding":"base64"`)
	}
	e.writes(`,"_wstape":`, string(own), "}")
	return err
}

// text writes valid UTF-8 as the inside of a JSON string, a piece at a time.
func (e *exporter) text(p []byte) error {
	const piece = 64 << 10
	for len(p) > 0 {
		n := min(len(p), piece)
		for n < len(p) && !utf8.RuneStart(p[n]) {
			n--
		}
		text, err := marshal(string(p[:n]))
		if err != nil {
			return err
		}
		e.writes(string(text[1 : len(text)-1]))
		p = p[n:]
	}
	return nil
}

// markOf takes from the line of `show --json` what the row does not say.
func markOf(m *tape.Message) ([]byte, error) {
	hollow := *m
	hollow.Payload, hollow.Len = nil, 0
	line, err := (&tape.Line{T: m.T, Message: &hollow}).MarshalJSON()
	if err != nil {
		return nil, err
	}
	var own mark
	if err := json.Unmarshal(line, &own); err != nil {
		return nil, err
	}
	return marshal(own)
}

// closing tells HTTP Toolkit how the session ended; nil if that is not known.
func (e *exporter) closing(s *tape.Session, at *time.Duration) ([]byte, error) {
	switch {
	case s.Ending == nil:
		return nil, nil
	case s.Ending.Kind != tape.EndClose:
		return marshal(aborted)
	}
	c := closing{Reason: s.Ending.Reason}
	if s.Ending.Code != tape.NoStatus {
		c.Code = s.Ending.Code
	}
	if at != nil {
		c.Timestamp = json.Number(e.o.Dialect.stamp(s.Started.Add(*at)))
	}
	return marshal(c)
}
