package record

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/wstape/wstape/tape"
)

// Redactor replaces secrets in a recorded handshake by pseudonyms: equal
// secrets become equal pseudonyms, on one tape and on no other. The wire is not
// touched. A nil Redactor does nothing. Safe for concurrent use.
type Redactor struct {
	key     []byte
	headers []string
	query   []string
}

// NewRedactor returns a redactor for the given patterns ("*" stands for any
// characters, case does not matter), keyed by the tape's own key.
func NewRedactor(key []byte, headers, query []string) (*Redactor, error) {
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
	r := &Redactor{key: key}
	var err error
	if r.headers, err = lower(headers); err != nil {
		return nil, err
	}
	if r.query, err = lower(query); err != nil {
		return nil, err
	}
	return r, nil
}

// A pseudonym is this and so many bytes in hexadecimal.
const (
	pseudonymPrefix = "redacted:"
	pseudonymBytes  = 8
)

// PseudonymPattern is a regular expression for pseudonyms, for those who must not
// take one for a secret.
const PseudonymPattern = pseudonymPrefix + `[0-9a-f]{16}`

// pseudonym returns the secret's stand-in. One that is a stand-in already stays.
func (r *Redactor) pseudonym(secret string) string {
	if digits, ok := strings.CutPrefix(secret, pseudonymPrefix); ok && len(digits) == 2*pseudonymBytes {
		if _, err := hex.DecodeString(digits); err == nil {
			return secret
		}
	}
	if secret == "" {
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

// Session redacts everything that a session records of its handshake.
func (r *Redactor) Session(s *tape.Session) {
	if r == nil {
		return
	}
	s.URL, s.Upstream = r.URL(s.URL), r.URL(s.Upstream)
	s.Handshake.Request.Target = r.URL(s.Handshake.Request.Target)
	s.Handshake.Request.Headers = r.fields(s.Handshake.Request.Headers)
	s.Handshake.Response.Headers = r.fields(s.Handshake.Response.Headers)
}

// fields returns the same list if there is nothing to redact.
func (r *Redactor) fields(in []tape.Header) []tape.Header {
	out := in
	for i, h := range in {
		name, value := h[0], h[1]
		switch lower := strings.ToLower(name); {
		case matches(r.headers, name):
			value = r.secret(lower, value)
		case lower == "referer" || lower == "location" || lower == "content-location" || lower == "origin":
			value = r.URL(value)
		}
		if value != h[1] {
			if &out[0] == &in[0] {
				out = slices.Clone(in)
			}
			out[i][1] = value
		}
	}
	return out
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

// URL redacts the query of a URL or request target, and leaves every other byte.
func (r *Redactor) URL(text string) string {
	if r == nil {
		return text
	}
	base, query, ok := strings.Cut(text, "?")
	if !ok {
		return text
	}
	query, fragment, hasFragment := strings.Cut(query, "#")
	pairs := strings.Split(query, "&")
	for i, pair := range pairs {
		if key, val, ok := strings.Cut(pair, "="); ok && (matches(r.query, key) || matches(r.query, unescape(key))) {
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
