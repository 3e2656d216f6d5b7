package tape

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"
)

// The JSON forms below are contracts: additions only, absent beats null.

// seconds writes a time since the session began with 6 decimals.
type seconds float64

func (s seconds) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(s), 'f', 6, 64), nil
}

func toSeconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e6 }

func fromSeconds(s float64) (time.Duration, error) {
	d := math.Round(s * 1e6)
	if math.IsNaN(d) || d < 0 || d > math.MaxInt64/2/float64(time.Microsecond) {
		return 0, fmt.Errorf("%v seconds is not a time since the session began", s)
	}
	return time.Duration(d) * time.Microsecond, nil
}

// marshal is json.Marshal without the escapes that only HTML needs.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return EscapeJSON(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), nil
}

// EscapeJSON returns JSON in which the characters are escaped that a terminal
// would obey, or that would have it show others in another order: they say the
// same, and only stand in strings. Where there are none it returns text itself.
func EscapeJSON(text []byte) []byte {
	var out []byte
	done := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case 0x7f, 0xc2, 0xd8, 0xe2: // what all of them begin with
		default:
			continue
		}
		r, n := utf8.DecodeRune(text[i:])
		if !unicode.IsControl(r) && !unicode.Is(unicode.Bidi_Control, r) {
			continue
		}
		out = fmt.Appendf(append(out, text[done:i]...), `\u%04x`, r)
		done = i + n
		i += n - 1
	}
	if out == nil {
		return text
	}
	return append(out, text[done:]...)
}

// unmarshal refuses keys it does not know, so that a typo is not a silent default.
func unmarshal(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}

type endingJSON struct {
	Kind   EndingKind `json:"kind"`
	Code   int        `json:"code,omitempty"`
	Reason *string    `json:"reason,omitempty"`
	From   *Side      `json:"from,omitempty"`
	Why    string     `json:"why,omitempty"`
}

// MarshalJSON writes the `ending` object of `ls --json`.
func (e *Ending) MarshalJSON() ([]byte, error) {
	j := endingJSON{Kind: e.Kind, From: e.From, Why: e.Why}
	if e.Kind == EndClose {
		j.Reason = &e.Reason
		if e.Code != NoStatus {
			j.Code = e.Code
		}
	}
	return marshal(j)
}

// UnmarshalJSON reads it back.
func (e *Ending) UnmarshalJSON(data []byte) error {
	var j endingJSON
	if err := unmarshal(data, &j); err != nil {
		return err
	}
	*e = Ending{Kind: j.Kind, Code: j.Code, From: j.From, Why: j.Why}
	if j.Reason != nil {
		e.Reason = *j.Reason
	}
	if e.Kind == EndClose && e.Code == 0 {
		e.Code = NoStatus
	}
	return nil
}

type sessionJSON struct {
	N           uint64            `json:"n,omitempty"`
	ID          *ID               `json:"id,omitempty"`
	Started     *time.Time        `json:"started,omitempty"`
	Duration    float64           `json:"duration"`
	URL         string            `json:"url"`
	Upstream    string            `json:"upstream"`
	Client      string            `json:"client"`
	Status      int               `json:"status"`
	Subprotocol string            `json:"subprotocol"`
	Extensions  string            `json:"extensions"`
	State       State             `json:"state"`
	Frames      Counts            `json:"frames"`
	Bytes       Counts            `json:"bytes"`
	Ending      *Ending           `json:"ending,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	Notes       []string          `json:"notes,omitempty"`
	Redacted    bool              `json:"redacted,omitempty"`
	Request     *Request          `json:"request,omitempty"`
	Response    *Response         `json:"response,omitempty"`
	Rules       json.RawMessage   `json:"rules,omitempty"`
}

func (s *Session) json() sessionJSON {
	started := s.Started.UTC()
	return sessionJSON{
		N: s.N, ID: &s.ID, Started: &started, Duration: toSeconds(s.Duration), URL: s.URL, Upstream: s.Upstream,
		Client: s.Client, Status: s.Status, Subprotocol: s.Subprotocol, Extensions: s.Extensions, State: s.State,
		Frames: s.Frames, Bytes: s.Bytes, Ending: s.Ending, Tags: s.Tags, Notes: s.Notes, Redacted: s.Redacted,
	}
}

// MarshalJSON writes one line of `ls --json`: the session without its handshake.
func (s *Session) MarshalJSON() ([]byte, error) { return marshal(s.json()) }

// MarshalFull writes the session with its handshake and rules: what a cassette's
// first line and a tape's session entry hold.
func (s *Session) MarshalFull() ([]byte, error) {
	j := s.json()
	j.Request, j.Response, j.Rules = &s.Handshake.Request, &s.Handshake.Response, s.Rules
	return marshal(j)
}

// UnmarshalJSON reads what MarshalJSON and MarshalFull write. What is absent
// keeps the value it had; an unknown key is an error.
func (s *Session) UnmarshalJSON(data []byte) error {
	j, handshake := s.json(), s.Handshake
	j.Request, j.Response = &handshake.Request, &handshake.Response
	if err := unmarshal(data, &j); err != nil {
		return err
	}
	d, err := fromSeconds(j.Duration)
	if err != nil {
		return err
	}
	*s = Session{
		N: j.N, ID: s.ID, Started: s.Started, Duration: d, URL: j.URL, Upstream: j.Upstream,
		Client: j.Client, Status: j.Status, Subprotocol: j.Subprotocol, Extensions: j.Extensions, State: j.State,
		Frames: j.Frames, Bytes: j.Bytes, Ending: j.Ending, Tags: j.Tags, Notes: j.Notes, Redacted: j.Redacted, Rules: j.Rules,
	}
	if j.ID != nil {
		s.ID = *j.ID
	}
	if j.Started != nil {
		s.Started = *j.Started
	}
	if j.Request != nil {
		s.Handshake.Request = *j.Request
	}
	if j.Response != nil {
		s.Handshake.Response = *j.Response
	}
	return nil
}

type contentJSON struct {
	Op   *Opcode         `json:"op,omitempty"`
	Len  *uint64         `json:"len,omitempty"`
	Text *string         `json:"text,omitempty"`
	B64  *[]byte         `json:"b64,omitempty"`
	JSON json.RawMessage `json:"json,omitempty"` // read only: accepted in place of text
	UTF8 *bool           `json:"utf8,omitempty"`
	Code *int            `json:"code,omitempty"`
	Rsn  *string         `json:"reason,omitempty"`

	Truncated uint64 `json:"truncated,omitempty"`
}

// receivedJSON is what came in, of an edited message.
type receivedJSON struct {
	contentJSON
	Error string `json:"error,omitempty"`
}

type wireJSON struct {
	RSV1 bool   `json:"rsv1"`
	Len  uint64 `json:"len"`
}

type messageJSON struct {
	Seq  uint64   `json:"seq,omitempty"`
	T    *seconds `json:"t,omitempty"`
	From *Side    `json:"from,omitempty"`
	contentJSON
	Fate      Fate          `json:"fate,omitempty"`
	By        string        `json:"by,omitempty"`
	ByAll     []string      `json:"by_all,omitempty"`
	Received  *receivedJSON `json:"received,omitempty"`
	Frames    []uint64      `json:"frames,omitempty"`
	Wire      *wireJSON     `json:"wire,omitempty"`
	Violation string        `json:"violation,omitempty"`
	Redacted  bool          `json:"redacted,omitempty"`
	Partial   bool          `json:"partial,omitempty"`
	Error     string        `json:"error,omitempty"`
}

type lineJSON struct {
	messageJSON
	Gap  *gapJSON `json:"gap,omitempty"`
	Note *string  `json:"note,omitempty"`
}

type gapJSON struct {
	Frames uint64 `json:"frames"`
	Bytes  uint64 `json:"bytes"`
	Why    string `json:"why"`
}

// MarshalJSON writes one line of `show --json`.
func (l *Line) MarshalJSON() ([]byte, error) { return marshal(l.json(false)) }

// json is the line's JSON form; hollow leaves a long payload empty.
func (l *Line) json(hollow bool) any {
	t := seconds(toSeconds(l.T))
	switch {
	case l.Gap != nil:
		return struct {
			Gap gapJSON `json:"gap"`
			T   seconds `json:"t"`
		}{gapJSON(*l.Gap), t}
	case l.Note != nil:
		return struct {
			Note string  `json:"note"`
			By   string  `json:"by,omitempty"`
			T    seconds `json:"t"`
		}{l.Note.Text, l.Note.By, t}
	}
	m := l.Message
	j := messageJSON{
		Seq: m.Seq, T: &t, From: &m.From, contentJSON: m.json(m.Error != "", hollow), Fate: m.Fate,
		Violation: m.Violation, Redacted: m.Redacted, Partial: m.Partial, Error: m.Error,
	}
	if m.Received != nil {
		j.Received = &receivedJSON{m.Received.json(m.ReceivedError != "", false), m.ReceivedError}
	}
	if n := len(m.By); n > 0 {
		j.By = m.By[n-1]
		if n > 1 {
			j.ByAll = m.By
		}
	}
	if len(m.Frames) > 1 {
		j.Frames = m.Frames
	}
	if m.RSV1 {
		j.Wire = &wireJSON{true, m.WireLen}
	}
	return j
}

// json writes the payload in the clearest form that loses nothing; hollow
// leaves a long one empty.
func (c *Content) json(bytesOnly, hollow bool) contentJSON {
	hollow = hollow && c.long()
	j := contentJSON{Op: &c.Op, Len: &c.Len, Truncated: c.Len - uint64(len(c.Payload))}
	if c.Op == Close && !bytesOnly {
		if code, reason, ok := ParseClose(c.Payload); ok {
			j.Rsn = &reason
			if len(c.Payload) > 0 {
				j.Code = &code
			}
			return j
		}
	}
	if c.Op == Text && !bytesOnly {
		valid := utf8.Valid(c.Payload)
		if valid {
			text := ""
			if !hollow {
				text = string(c.Payload)
			}
			j.Text = &text
			return j
		}
		j.UTF8 = &valid
	}
	payload := c.Payload
	if hollow || payload == nil {
		payload = []byte{} // nil would be written as null
	}
	j.B64 = &payload
	return j
}

// UnmarshalJSON reads a line of `show --json` or of a cassette written by hand,
// where only `from` and one of `text`, `b64`, `json` are required of a message.
// T is left alone when the line has no `t`.
func (l *Line) UnmarshalJSON(data []byte) error {
	var j lineJSON
	if err := unmarshal(data, &j); err != nil {
		return err
	}
	if j.T != nil {
		t, err := fromSeconds(float64(*j.T))
		if err != nil {
			return err
		}
		l.T = t
	}
	switch {
	case j.Gap != nil:
		gap := Gap(*j.Gap)
		l.Gap = &gap
		return nil
	case j.Note != nil:
		l.Note = &Note{Text: *j.Note, By: j.By}
		return nil
	case j.From == nil:
		return fmt.Errorf("a message line needs \"from\": \"client\" or \"server\"")
	}
	content, err := j.content(!j.Partial)
	if err != nil {
		return err
	}
	m := &Message{
		Content: content, Seq: j.Seq, T: l.T, From: *j.From, Frames: j.Frames, Fate: j.Fate, By: j.ByAll,
		Violation: j.Violation, Redacted: j.Redacted, Partial: j.Partial, Error: j.Error,
	}
	if m.By == nil && j.By != "" {
		m.By = []string{j.By}
	}
	if m.Fate == "" {
		m.Fate = Passed
	}
	switch m.Fate {
	case Passed, Edited, Dropped, Injected:
	default:
		return fmt.Errorf("fate %q is not passed, edited, dropped or injected", m.Fate)
	}
	if j.Wire != nil {
		m.RSV1, m.WireLen = j.Wire.RSV1, j.Wire.Len
	}
	if j.Received != nil {
		received, err := j.Received.content(true)
		if err != nil {
			return fmt.Errorf("received: %w", err)
		}
		m.Received, m.ReceivedError = &received, j.Received.Error
	}
	l.Message = m
	return nil
}

// content reads the payload from whichever key holds it. The given length is
// not believed: what was edited by hand would make it a lie.
func (j *contentJSON) content(required bool) (Content, error) {
	var c Content
	op := Text
	switch {
	case j.Truncated > 0:
		return c, fmt.Errorf("the message was truncated by %d bytes when it was written: export it whole", j.Truncated)
	case j.B64 != nil:
		op, c.Payload = Binary, *j.B64
	case j.Text != nil:
		c.Payload = []byte(*j.Text)
	case j.JSON != nil:
		var compact bytes.Buffer
		if err := json.Compact(&compact, j.JSON); err != nil {
			return c, err
		}
		c.Payload = compact.Bytes()
	case j.Op != nil && *j.Op == Close:
		var err error
		if c.Payload, err = j.closePayload(); err != nil {
			return c, err
		}
	case required:
		return c, fmt.Errorf("a message line needs one of \"text\", \"b64\", \"json\"")
	}
	if j.Op != nil {
		op = *j.Op
	}
	c.Op, c.Len = op, uint64(len(c.Payload))
	return c, nil
}

// closePayload joins code and reason; a code that must not be sent is written
// as it is, for it may have been.
func (j *contentJSON) closePayload() ([]byte, error) {
	reason := ""
	if j.Rsn != nil {
		reason = *j.Rsn
	}
	switch {
	case j.Code == nil && reason != "":
		return nil, fmt.Errorf("a close with a \"reason\" needs a \"code\"")
	case j.Code == nil:
		return nil, nil
	case *j.Code < 0 || *j.Code > math.MaxUint16:
		return nil, fmt.Errorf("close code %d is not a number from 0 to 65535", *j.Code)
	}
	return append(binary.BigEndian.AppendUint16(nil, uint16(*j.Code)), reason...), nil
}

type frameJSON struct {
	Seq       uint64  `json:"seq"`
	T         seconds `json:"t"`
	From      Side    `json:"from"`
	Leg       string  `json:"leg,omitempty"`
	Opcode    *uint8  `json:"opcode,omitempty"`
	Fin       *bool   `json:"fin,omitempty"`
	RSV       *uint8  `json:"rsv,omitempty"`
	Masked    *bool   `json:"masked,omitempty"`
	Mask      string  `json:"mask,omitempty"`
	Raw       bool    `json:"raw,omitempty"`
	Len       uint64  `json:"len"`
	B64       []byte  `json:"b64"`
	Redacted  bool    `json:"redacted,omitempty"`
	Partial   bool    `json:"partial,omitempty"`
	Got       *int    `json:"got,omitempty"`
	Violation string  `json:"violation,omitempty"`
}

// MarshalJSON writes one line of `show --frames --json`.
func (f *Frame) MarshalJSON() ([]byte, error) { return marshal(f.json(false)) }

// json is the frame's JSON form; hollow leaves a long payload empty.
func (f *Frame) json(hollow bool) frameJSON {
	j := frameJSON{
		Seq: f.Seq, T: seconds(toSeconds(f.T)), From: f.From, Len: f.Len, Violation: f.Violation,
		B64: f.Payload, Redacted: f.Redacted, Partial: f.Partial(),
	}
	if j.B64 == nil || hollow && len(f.Payload) >= longPayload {
		j.B64 = []byte{} // nil would be written as null
	}
	if f.Leg != LegBoth {
		j.Leg = f.Leg.String()
	}
	if f.Opcode == OpRaw {
		j.Raw = true
	} else {
		op := uint8(f.Opcode)
		j.Opcode, j.Fin, j.RSV, j.Masked = &op, &f.Fin, &f.RSV, &f.Masked
	}
	if f.Masked {
		j.Mask = hex.EncodeToString(f.Mask[:])
	}
	if j.Partial {
		got := len(f.Payload)
		j.Got = &got
	}
	return j
}

// ParseClose reads a close frame's payload (RFC 6455 section 5.5.1). An empty
// one has the code [NoStatus]; one byte, or a reason that is not UTF-8, is not ok.
func ParseClose(p []byte) (code int, reason string, ok bool) {
	switch {
	case len(p) == 0:
		return NoStatus, "", true
	case len(p) == 1 || !utf8.Valid(p[2:]):
		return 0, "", false
	}
	return int(binary.BigEndian.Uint16(p)), string(p[2:]), true
}

// AppendClose appends a close frame's payload; without a code (0 or [NoStatus])
// it is empty.
func AppendClose(b []byte, code int, reason string) []byte {
	if code == 0 || code == NoStatus {
		return b
	}
	return append(binary.BigEndian.AppendUint16(b, uint16(code)), reason...)
}
