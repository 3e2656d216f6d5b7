package record

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/wstape/wstape/internal/jsonpath"
	"github.com/wstape/wstape/tape"
)

// Redactor replaces secrets in what is recorded by pseudonyms: equal secrets
// become equal pseudonyms, on one tape and on no other. The wire is not touched.
// A nil Redactor does nothing. Safe for concurrent use.
type Redactor struct {
	key   []byte
	rules Rules
	json  *jsonRules   // nil if there are none
	held  atomic.Int64 // bytes of messages that are not complete, of all sessions
}

// Rules say what a secret is.
type Rules struct {
	Headers []string // names of header fields; "*" stands for any characters, case does not matter
	Query   []string // names of query values, likewise

	// The rules for payloads.
	JSON []*jsonpath.Pattern // places in JSON
	Text []*regexp.Regexp    // what matches, or its first group if there is one

	MaxMessage int64 // bytes of the longest message that they are applied to; default 4 MiB
	MaxHeld    int64 // bytes of the messages that wait to be complete; default 64 MiB
}

// The default limits of [Rules].
const (
	DefaultRedactMessage = 4 << 20
	DefaultRedactHeld    = 64 << 20
)

// NewRedactor returns a redactor whose pseudonyms are keyed by the tape's own key.
func NewRedactor(key []byte, rules Rules) (*Redactor, error) {
	lower := func(in []string) ([]string, error) {
		out := make([]string, len(in))
		for i, pattern := range in {
			if pattern == "" {
				return nil, errors.New("a redaction pattern is empty")
			}
			out[i] = strings.ToLower(pattern)
		}
		return out, nil
	}
	var err error
	if rules.Headers, err = lower(rules.Headers); err != nil {
		return nil, err
	}
	if rules.Query, err = lower(rules.Query); err != nil {
		return nil, err
	}
	if rules.MaxMessage <= 0 {
		rules.MaxMessage = DefaultRedactMessage
	}
	if rules.MaxHeld <= 0 {
		rules.MaxHeld = DefaultRedactHeld
	}
	return &Redactor{key: key, rules: rules, json: newJSONRules(rules.JSON)}, nil
}

// A pseudonym is this and so many bytes in hexadecimal.
const (
	pseudonymPrefix = "redacted:"
	pseudonymBytes  = 8
)

// PseudonymPattern is a regular expression for pseudonyms, for those who must not
// take one for a secret.
const PseudonymPattern = pseudonymPrefix + `[0-9a-f]{16}`

// isPseudonym reports whether all of a text is one.
func isPseudonym(text string) bool {
	digits, ok := strings.CutPrefix(text, pseudonymPrefix)
	return ok && len(digits) == 2*pseudonymBytes && strings.Trim(digits, "0123456789abcdef") == ""
}

// pseudonym returns the secret's stand-in. One that is a stand-in already stays.
func (r *Redactor) pseudonym(secret string) string {
	if secret == "" || isPseudonym(secret) {
		return secret
	}
	mac := hmac.New(sha256.New, r.key)
	mac.Write([]byte(secret))
	return pseudonymPrefix + hex.EncodeToString(mac.Sum(nil)[:pseudonymBytes])
}

func matches(patterns []string, name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc(patterns, func(p string) bool { return like(p, name) })
}

// like reports whether a name is as the pattern says.
func like(pattern, name string) bool {
	head, rest, wild := strings.Cut(pattern, "*")
	name, ok := strings.CutPrefix(name, head)
	if !ok || !wild {
		return ok && name == ""
	}
	for i := 0; i <= len(name); i++ {
		if like(rest, name[i:]) {
			return true
		}
	}
	return false
}

// Session redacts everything that a session records beside its frames.
func (r *Redactor) Session(s *tape.Session) {
	if r == nil {
		return
	}
	s.URL, s.Upstream, s.Client = r.URL(s.URL), r.URL(s.Upstream), r.Text(s.Client)
	s.Handshake.Request.Target = r.URL(s.Handshake.Request.Target)
	s.Handshake.Request.Headers = r.fields(s.Handshake.Request.Headers)
	s.Handshake.Response.Headers = r.fields(s.Handshake.Response.Headers)
	s.Subprotocol = r.field([2]string{subprotocolField, s.Subprotocol})
	if !r.Payloads() {
		return
	}
	s.Redacted = true
	if body := s.Handshake.Response.Body; len(body) > 0 {
		s.Handshake.Response.Body = []byte(r.Text(string(body)))
	}
	if s.Ending != nil {
		ending := r.ending(*s.Ending)
		s.Ending = &ending
	}
	s.Tags = r.tags(s.Tags)
	for i, note := range s.Notes {
		if plain := r.Text(note); plain != note {
			s.Notes = slices.Clone(s.Notes)
			s.Notes[i] = plain
		}
	}
}

func (r *Redactor) ending(e tape.Ending) tape.Ending {
	e.Reason, e.Why = r.Text(e.Reason), r.Text(e.Why)
	return e
}

// tags returns the same map if there is nothing to redact.
func (r *Redactor) tags(in map[string]string) map[string]string {
	out := make(map[string]string, len(in))
	same := true
	for key, value := range in {
		k, v := r.Text(key), r.Text(value)
		out[k] = v
		same = same && k == key && v == value
	}
	if same {
		return in
	}
	return out
}

// fields returns the same list if there is nothing to redact.
func (r *Redactor) fields(in []tape.Header) []tape.Header {
	out := in
	for i, h := range in {
		if value := r.field(h); value != h[1] {
			if &out[0] == &in[0] {
				out = slices.Clone(in)
			}
			out[i][1] = value
		}
	}
	return out
}

const subprotocolField = "sec-websocket-protocol"

// field returns a header field's value without its secrets.
func (r *Redactor) field(h tape.Header) string {
	name, value := strings.TrimSpace(h[0]), h[1]
	switch lower := strings.ToLower(name); {
	case matches(r.rules.Headers, name):
		value = r.secret(lower, value)
	case lower == "referer" || lower == "location" || lower == "content-location" || lower == "origin":
		return r.URL(value)
	}
	return r.Text(value)
}

// secret keeps what is not secret about a header's value: the scheme of
// credentials, the names and attributes of cookies.
func (r *Redactor) secret(name, value string) string {
	switch name {
	case "cookie", "set-cookie":
		parts := strings.Split(value, ";")
		for i, part := range parts {
			if i == 0 || name == "cookie" {
				parts[i] = r.cookie(part)
			}
		}
		return strings.Join(parts, ";")
	case "authorization", "proxy-authorization":
		if scheme, credentials, ok := strings.Cut(value, " "); ok {
			return scheme + " " + r.pseudonym(credentials)
		}
	case subprotocolField: // a list; what the server chose must be equal to what was offered
		parts := strings.Split(value, ",")
		for i, part := range parts {
			word := strings.TrimLeft(part, " ")
			parts[i] = part[:len(part)-len(word)] + r.pseudonym(word)
		}
		return strings.Join(parts, ",")
	}
	return r.pseudonym(value)
}

// cookie keeps the space before a cookie and its name; one without a name is
// all value.
func (r *Redactor) cookie(pair string) string {
	if key, val, ok := strings.Cut(pair, "="); ok {
		return key + "=" + r.pseudonym(val)
	}
	value := strings.TrimLeft(pair, " ")
	return pair[:len(pair)-len(value)] + r.pseudonym(value)
}

// URL redacts the credentials and the query of a URL or request target and what
// the rules for text find in it, and leaves every other byte.
func (r *Redactor) URL(text string) string {
	if r == nil {
		return text
	}
	return r.Text(r.query(r.userinfo(text)))
}

// userinfo redacts what stands before the host (RFC 3986 section 3.2.1).
func (r *Redactor) userinfo(text string) string {
	before, rest, ok := strings.Cut(text, "//")
	if !ok || before != "" && !strings.HasSuffix(before, ":") || strings.ContainsAny(before, "/?#") {
		return text
	}
	authority := rest
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		authority = rest[:end]
	}
	at := strings.LastIndex(authority, "@")
	if at < 0 {
		return text
	}
	return before + "//" + r.pseudonym(rest[:at]) + rest[at:]
}

func (r *Redactor) query(text string) string {
	base, query, ok := strings.Cut(text, "?")
	if !ok {
		return text
	}
	query, fragment, hasFragment := strings.Cut(query, "#")
	pairs := strings.Split(query, "&")
	for i, pair := range pairs {
		if key, val, ok := strings.Cut(pair, "="); ok && (matches(r.rules.Query, key) || matches(r.rules.Query, unescape(key))) {
			pairs[i] = key + "=" + r.pseudonym(val)
		}
	}
	text = base + "?" + strings.Join(pairs, "&")
	if hasFragment {
		text += "#" + fragment
	}
	return text
}

// unescape reads a query key as a server would.
func unescape(key string) string {
	plain, err := url.QueryUnescape(key)
	if err != nil {
		return key
	}
	return plain
}

// joinFields joins the values of a field that may come in several lines
// (RFC 9110 section 5.3).
func joinFields(values []string) string { return strings.Join(values, ", ") }
