package replay

import (
	"fmt"
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// Live gives the values that a recording does not hold.
type Live struct {
	// Headers are set in the player's handshake, in place of recorded ones of that
	// name; an empty value leaves the header out.
	Headers []tape.Header
	// Secrets are put in place of pseudonyms, by the name of the header, cookie or
	// query key, or by the pseudonym.
	Secrets map[string]string
}

// handshakeHeader reports whether a header belongs to the connection, or is made
// by who opens it, and so is never played (RFC 6455 section 4, RFC 9110 section 7.6.1).
func handshakeHeader(name string) bool {
	switch strings.ToLower(name) {
	case "connection", "upgrade", "host", "content-length", "transfer-encoding", "date", "keep-alive", "te", "trailer", "proxy-connection":
		return true
	}
	return strings.HasPrefix(strings.ToLower(name), "sec-websocket-")
}

// pseudonym is what the recorder writes in place of a secret, with the name in
// front of it, if there is one.
var pseudonym = regexp.MustCompile(`(?:([^\s=;,&?]+)=)?(` + record.PseudonymPattern + `)`)

// reveal puts secrets in place of pseudonyms. What it finds no secret for is
// returned by the name under which one may be given.
func (l *Live) reveal(name, value string) (revealed, missing string) {
	revealed = pseudonym.ReplaceAllStringFunc(value, func(found string) string {
		m := pseudonym.FindStringSubmatch(found)
		names := []string{m[2]}
		if m[1] != "" {
			names = append(names, m[1])
		}
		if name != "" {
			names = append(names, name)
		}
		for _, n := range names {
			for known, secret := range l.Secrets {
				if strings.EqualFold(known, n) {
					return strings.TrimSuffix(found, m[2]) + secret
				}
			}
		}
		missing = names[len(names)-1]
		if m[1] != "" {
			missing = m[1]
		}
		return found
	})
	return revealed, missing
}

// headers is what the player sends of recorded headers.
func (l *Live) headers(recorded []tape.Header) (http.Header, error) {
	out := http.Header{}
	given := map[string]bool{}
	for _, h := range l.Headers {
		name := textproto.CanonicalMIMEHeaderKey(h[0])
		given[name] = true
		if h[1] != "" {
			out[name] = append(out[name], h[1])
		}
	}
	for _, h := range recorded {
		name := textproto.CanonicalMIMEHeaderKey(h[0])
		if given[name] || handshakeHeader(name) {
			continue
		}
		value, missing := l.reveal(name, h[1])
		if missing != "" {
			return nil, fmt.Errorf("the recording holds only a pseudonym for the header %s (%s): give its value with --header '%s: VALUE' or --secret %s=env:VARIABLE, or leave it out with --header '%s:'",
				name, value, name, missing, name)
		}
		out[name] = append(out[name], value)
	}
	return out, nil
}

// target is what the player asks for of a recorded target.
func (l *Live) target(recorded string) (string, error) {
	escaped := Live{Secrets: map[string]string{}} // as they are written in a query
	for name, secret := range l.Secrets {
		escaped.Secrets[name] = url.QueryEscape(secret)
	}
	value, missing := escaped.reveal("", recorded)
	if missing != "" {
		return "", fmt.Errorf("the recording holds only a pseudonym in what the client asked for (%s): give its value with --secret %s=env:VARIABLE, or a URL with a query of its own", value, missing)
	}
	return value, nil
}

// compressed reports whether a session was recorded with permessage-deflate.
func compressed(s *tape.Session) bool {
	return record.Compression(s).On
}

// lines lists header fields by name.
func lines(h http.Header) (out []tape.Header) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			out = append(out, tape.Header{name, value})
		}
	}
	return out
}

// fields is the other way round, without what belongs to the connection.
func fields(list []tape.Header) http.Header {
	out := http.Header{}
	for _, h := range list {
		if !handshakeHeader(h[0]) {
			out.Add(h[0], h[1])
		}
	}
	return out
}

// about is what scripts may know of a session before it is open.
func about(recorded *tape.Session, req *http.Request) tape.Session {
	return tape.Session{
		N: recorded.N, URL: req.URL.RequestURI(), Client: req.RemoteAddr, Upstream: recorded.Upstream,
		Handshake: tape.Handshake{Request: tape.Request{Method: req.Method, Target: req.URL.RequestURI(), Headers: lines(req.Header)}},
	}
}
