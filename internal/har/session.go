package har

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/wstape/wstape/tape"
)

// What an entry says, as far as a tape wants to know.
type (
	request struct {
		Method  string `json:"method"`
		URL     string `json:"url"`
		Headers []pair `json:"headers"`
	}
	response struct {
		Status  *float64 `json:"status"`
		Headers []pair   `json:"headers"`
		Content struct {
			Size     *float64 `json:"size"`
			Text     string   `json:"text"`
			Encoding string   `json:"encoding"`
		} `json:"content"`
		FailureText string `json:"_failureText"` // Playwright's
		Error       string `json:"_error"`       // Chrome's
	}
)

// websocket reports whether an entry is a WebSocket.
func (im *importer) websocket(e *entry) (bool, error) {
	var kind string
	var answer response
	_ = json.Unmarshal(e.keys[keyType], &kind) // what is of another type is no WebSocket
	if kind == websocketType || e.has || e.own != nil {
		return true, nil
	}
	_ = json.Unmarshal(e.keys[keyResponse], &answer)
	if answer.Status == nil || *answer.Status != http.StatusSwitchingProtocols {
		return false, nil
	}
	upgrade := value(answer.Headers, "Upgrade")
	return upgrade == "" || strings.EqualFold(upgrade, websocketType), nil
}

// key reads one of the entry's values; null counts as absent.
func (e *entry) key(name string, v any) error {
	raw := e.keys[name]
	if raw == nil {
		return nil
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("%s: %w", name, explain(err))
	}
	return nil
}

// session makes the session of an entry. What we wrote ourselves says more than
// what HAR has words for, and is believed.
func (im *importer) session(e *entry) (*tape.Session, error) {
	var q request
	var a response
	var life float64
	var comment string
	err := errors.Join(e.key(keyRequest, &q), e.key(keyResponse, &a))
	if err != nil {
		return nil, err
	}
	if e.key(keyTime, &life) != nil || e.key(keyComment, &comment) != nil {
		im.warn("its time or comment is of the wrong type, and is ignored")
	}
	s := &tape.Session{State: tape.Closed, Status: http.StatusSwitchingProtocols}
	if err := address(s, q.URL); err != nil {
		return nil, fmt.Errorf("request.url: %w", err)
	}
	s.Handshake.Request = tape.Request{Method: q.Method, Target: s.URL, Headers: fields(q.Headers)}
	if q.Method == "" {
		s.Handshake.Request.Method = http.MethodGet // older DevTools leave it out
	}
	s.Handshake.Response.Headers = fields(a.Headers)
	s.Subprotocol, s.Extensions = value(a.Headers, "Sec-WebSocket-Protocol"), value(a.Headers, "Sec-WebSocket-Extensions")
	im.start(e, s)
	if e.own != nil && e.own.Session != nil {
		return s, im.ours(e, s, &a)
	}
	if life > 0 && life < 1e12 {
		s.Duration = time.Duration(life * float64(time.Millisecond))
	}
	if im.creator != "" {
		s.Tags = map[string]string{"har": im.creator}
	}
	if comment != "" {
		s.Notes = []string{comment}
	}
	return s, im.outcome(e, s, &a)
}

// ours takes what wstape wrote beside what HAR says.
func (im *importer) ours(e *entry, s *tape.Session, a *response) error {
	s.Handshake.Request.Method, s.Handshake.Request.Target = "", "" // if it was recorded, it is there
	if err := json.Unmarshal(e.own.Session, s); err != nil {
		return fmt.Errorf("%s.session: %w", keyOwn, explain(err))
	}
	e.started = s.Started.UnixMicro()
	return im.body(s, a)
}

// address reads where the session went. A proxy writes http for ws.
func address(s *tape.Session, text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return err
	}
	scheme, ok := map[string]string{"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}[strings.ToLower(u.Scheme)]
	if !ok || u.Host == "" {
		return fmt.Errorf("%q is not a ws, wss, http or https URL", text)
	}
	_, rest, _ := strings.Cut(text, "://")
	rest, _, _ = strings.Cut(rest, "#")
	s.URL = "/"
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		s.URL = "/" + strings.TrimPrefix(rest[i:], "/")
	}
	s.Upstream = scheme + "://" + u.Host + s.URL // without a password
	return nil
}

// fields reads headers. Those that HTTP/2 makes of the request line are left
// out: method, target and status say the same.
func fields(in []pair) (out []tape.Header) {
	for _, h := range in {
		if !strings.HasPrefix(h.Name, ":") {
			out = append(out, tape.Header{h.Name, h.Value})
		}
	}
	return out
}

func value(in []pair, name string) string {
	for _, h := range in {
		if strings.EqualFold(h.Name, name) {
			return h.Value
		}
	}
	return ""
}

// start finds when the session began: no later than its first message.
func (im *importer) start(e *entry, s *tape.Session) {
	first := int64(math.MaxInt64)
	for _, r := range e.rows {
		if r.at != unknown {
			first = min(first, r.at)
		}
	}
	var text string
	_ = e.key(keyStarted, &text)
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05"} {
		if t, err := time.Parse(layout, text); err == nil && t.Year() >= 1970 {
			s.Started = t.UTC()
			break
		}
	}
	switch {
	case s.Started.IsZero() && first != math.MaxInt64:
		s.Started = time.UnixMicro(first).UTC()
	case s.Started.IsZero():
		im.warn("startedDateTime %q is not a time; it begins now", text)
		s.Started = time.Now().UTC()
	case first < s.Started.UnixMicro():
		s.Started = time.UnixMicro(first).UTC()
	}
	e.started = s.Started.UnixMicro()
}

// body keeps what the server said with a refusal.
func (im *importer) body(s *tape.Session, a *response) error {
	if s.Status == http.StatusSwitchingProtocols || a.Content.Text == "" {
		return nil
	}
	body := []byte(a.Content.Text)
	if strings.EqualFold(a.Content.Encoding, "base64") {
		var err error
		if body, err = base64.StdEncoding.DecodeString(a.Content.Text); err != nil {
			return fmt.Errorf("response.content.text is said to be base64 and is not: %w", err)
		}
	}
	if n := a.Content.Size; n != nil && *n >= 0 && *n != float64(len(body)) {
		im.warn("response.content.size is said to be %.0f, and %d bytes are there", *n, len(body))
	}
	s.Handshake.Response.Body = body
	return nil
}

// outcome finds out how the handshake was answered and how the session ended.
func (im *importer) outcome(e *entry, s *tape.Session, a *response) error {
	status := 0
	if n := a.Status; n != nil {
		switch {
		case *n >= 100 && *n <= 599 && *n == math.Trunc(*n):
			status = int(*n)
		case *n != 0 && *n != -1: // what programs write when there was no answer
			im.warn("response.status %g is not one", *n)
		}
	}
	s.Handshake.Response.Status = status
	failure := a.FailureText
	if failure == "" {
		failure = a.Error
	}
	if failure == "" && len(e.rows) > 0 && e.rows[len(e.rows)-1].by == byDevTools {
		failure = *e.rows[len(e.rows)-1].note // Chrome puts a failure among the messages
	}
	why := ""
	switch {
	case status == http.StatusSwitchingProtocols:
	case e.messages && status < 200: // older DevTools leave the answer out
		s.Handshake.Response.Status = http.StatusSwitchingProtocols
	case e.messages && status < 300:
		im.warn("the handshake was answered with %d, as over HTTP/2; it is on the tape as 101, for messages followed", status)
	case e.messages:
		im.warn("the handshake was answered with %d, and yet messages followed; it is on the tape as 101", status)
	case status == 0:
		s.State, s.Status, why = tape.Refused, http.StatusBadGateway, "the HAR file has no answer to the handshake"
	default:
		s.State, s.Status = tape.Refused, status
	}
	if err := im.body(s, a); err != nil {
		return err
	}
	if failure != "" {
		why = failure
	}
	if !e.has && s.State == tape.Closed {
		im.warn("the file holds none of its messages: some programs only save them when they are told to")
	}
	return im.ending(e, s, why)
}

// ending reads HTTP Toolkit's `_webSocketClose`. Where nothing says how the
// session ended, the tape says that.
func (im *importer) ending(e *entry, s *tape.Session, why string) error {
	var word string
	var c struct {
		Code   *float64 `json:"code"`
		Reason string   `json:"reason"`
	}
	raw := e.keys[keyClose]
	switch {
	case e.closing:
		return nil // the close frame says it
	case raw == nil || string(raw) == "null":
	case json.Unmarshal(raw, &word) == nil:
		if why == "" {
			why = "the HAR file says " + word
		}
	default:
		if err := e.key(keyClose, &c); err != nil {
			return err
		}
		s.Ending = &tape.Ending{Kind: tape.EndClose, Code: tape.NoStatus, Reason: c.Reason}
		if c.Code != nil && *c.Code == 1006 { // never sent: what programs call an end without a close frame
			s.Ending = &tape.Ending{Kind: tape.EndEOF}
		} else if c.Code != nil {
			if *c.Code < 0 || *c.Code > math.MaxUint16 || *c.Code != math.Trunc(*c.Code) {
				return fmt.Errorf("%s.code %g is not a number from 0 to 65535", keyClose, *c.Code)
			}
			s.Ending.Code = int(*c.Code)
		}
		return nil
	}
	if why == "" && s.State == tape.Closed {
		why = "the HAR file does not say how"
	}
	if why != "" {
		s.Ending = &tape.Ending{Kind: tape.EndError, Why: why}
	}
	return nil
}
