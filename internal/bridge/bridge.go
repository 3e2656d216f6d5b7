// Package bridge carries sessions to and from the tools that people use beside
// wstape: one file for each foreign format.
//
// [K6] and [Artillery] write load tests that drive a real server as the recorded
// client did, [Playwright] a module that plays the recorded server to a page,
// [Pcapng] the connection as packets, for Wireshark, and [Text] a transcript.
// [ImportMitmproxy] reads mitmproxy's dumps. What a format has no word for is
// refused by its place ([ErrCannot]) if leaving it out would tell another story,
// and else left out, which is said.
package bridge

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// Session is one session of one tape.
type Session struct {
	From record.Reader
	N    uint64
}

// ErrCannot says that a format cannot represent what a session holds.
var ErrCannot = errors.New("cannot be written in this format")

// cannot refuses what stands at a place of a session.
func cannot(place, format string, args ...any) error {
	return fmt.Errorf("%s %w: %s", place, ErrCannot, fmt.Sprintf(format, args...))
}

// elsewhere names what can hold everything.
const elsewhere = "--format jsonl and har keep it"

// step is one thing that happened on one leg of a session: a message, a ping, or
// the first close frame, which is the last step.
type step struct {
	tape.Content
	seq  uint64
	t    time.Duration
	from tape.Side
}

func (s *step) place() string { return fmt.Sprintf("message %d of the %s", s.seq, s.from) }

// steps yields what happened on a leg, as a program stands there that plays one
// side of it. What such a program cannot do is refused.
func steps(ctx context.Context, s Session, leg tape.Side) iter.Seq2[*step, error] {
	return func(yield func(*step, error) bool) {
		for line, err := range record.Lines(ctx, s.From, s.N, record.ReadOptions{}) {
			switch {
			case err != nil:
			case line.Gap != nil:
				err = cannot("the gap at "+line.T.String(), "%d frames are missing (%s), and nothing can be played without them; %s", line.Gap.Frames, line.Gap.Why, elsewhere)
			case line.Note != nil:
				continue
			default:
				var st *step
				if st, err = onLeg(line.Message, leg); st == nil && err == nil {
					continue
				}
				if err == nil {
					if !yield(st, nil) || st.Op == tape.Close {
						return
					}
					continue
				}
			}
			yield(nil, err)
			return
		}
	}
}

// onLeg is what of a message was on a leg, nil if nothing was. What a side sends
// is on its own leg as it came in, and on the other as it went out.
func onLeg(m *tape.Message, leg tape.Side) (*step, error) {
	st := &step{Content: m.Content, seq: m.Seq, t: m.T, from: m.From}
	broken := m.Error
	switch in := m.From == leg; {
	case in && m.Fate == tape.Injected, !in && m.Fate == tape.Dropped:
		return nil, nil
	case in && m.Received != nil:
		st.Content, broken = *m.Received, m.ReceivedError
	}
	switch {
	case st.Op == tape.Pong:
		return nil, nil // it comes by itself
	case broken != "":
		return nil, cannot(st.place(), "it could not be inflated (%s); %s", broken, elsewhere)
	case m.Partial:
		return nil, cannot(st.place(), "it never ended; %s", elsewhere)
	case st.Op == tape.Text && !utf8.Valid(st.Payload):
		return nil, cannot(st.place(), "it is text and not valid UTF-8, which no program sends; %s and pcapng", elsewhere)
	case st.Op != tape.Text && st.Op != tape.Binary && st.Op != tape.Ping && st.Op != tape.Close:
		return nil, cannot(st.place(), "its opcode is %s, which no program sends; %s and pcapng", st.Op, elsewhere)
	}
	return st, nil
}

// playable reads a session that a script is to be made of.
func playable(ctx context.Context, s Session) (*tape.Session, error) {
	e, err := s.From.Session(ctx, s.N)
	switch {
	case err != nil:
		return nil, err
	case e.Status != 101:
		return nil, cannot("it", "the handshake was refused with %d, and there are no messages; %s, pcapng and text", e.Status, elsewhere)
	}
	return &e.Session, nil
}

// inSession says which session an error is about.
func inSession(s Session, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("session %d: %w", s.N, err)
}

// dialled is where a session went: ws://HOST:PORT, and the path with its query.
// If it was dialled otherwise, what the client asked for of whom.
func dialled(s *tape.Session) (server, target string) {
	if u, err := url.Parse(s.Upstream); err == nil && (u.Scheme == "ws" || u.Scheme == "wss") && u.Host != "" {
		return u.Scheme + "://" + u.Host, requestURI(u)
	}
	host := tape.Field(s.Handshake.Request.Headers, "Host")
	if host == "" {
		host = "localhost"
	}
	return "ws://" + host, "/" + strings.TrimPrefix(s.URL, "/")
}

func requestURI(u *url.URL) string {
	_, rest, _ := strings.Cut(u.String(), "://")
	rest, _, _ = strings.Cut(rest, "#")
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		return "/" + strings.TrimPrefix(rest[i:], "/")
	}
	return "/"
}

// ownHeaders are the request's headers that a client does not make by itself, in
// their order; several of a name are joined.
func ownHeaders(s *tape.Session) (out []tape.Header) {
	for _, h := range s.Handshake.Request.Headers {
		name := strings.ToLower(h[0])
		switch {
		case name == "host", name == "connection", name == "upgrade", name == "content-length", strings.HasPrefix(name, "sec-websocket-"):
			continue
		}
		if i := indexOf(out, h[0]); i < 0 {
			out = append(out, h)
		} else if name == "cookie" {
			out[i][1] += "; " + h[1]
		} else {
			out[i][1] += ", " + h[1]
		}
	}
	return out
}

func indexOf(headers []tape.Header, name string) int {
	for i, h := range headers {
		if strings.EqualFold(h[0], name) {
			return i
		}
	}
	return -1
}

// protocols are the subprotocols that the client offered.
func protocols(s *tape.Session) []string {
	var out []string
	for _, h := range s.Handshake.Request.Headers {
		if !strings.EqualFold(h[0], "Sec-WebSocket-Protocol") {
			continue
		}
		for name := range strings.SplitSeq(h[1], ",") {
			if name = strings.TrimSpace(name); name != "" {
				out = append(out, name)
			}
		}
	}
	return out
}

// quote writes a string for JavaScript, in the quotes that need fewer escapes. What
// is not printable, which a terminal or an editor would obey, is escaped.
func quote(s string) string {
	mark := '"'
	if strings.Contains(s, `"`) && !strings.Contains(s, "'") {
		mark = '\''
	}
	return quoted(s, mark)
}

func quoted(s string, mark rune) string {
	var b strings.Builder
	b.WriteRune(mark)
	for _, r := range s {
		switch {
		case r == mark || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	b.WriteRune(mark)
	return b.String()
}
