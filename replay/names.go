package replay

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// words splits a name at its separators, its changes of case and its numbers:
// createdAtMs is created, at, ms.
func words(name string) []string {
	var out []string
	start := 0
	cut := func(end int) {
		if start < end {
			out = append(out, strings.ToLower(name[start:end]))
		}
		start = end
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case c < utf8.RuneSelf && !isAlnum(c):
			cut(i)
			start++
		case i == 0 || start == i:
		case isDigit(c) != isDigit(name[i-1]):
			cut(i)
		case isUpper(c) && (!isUpper(name[i-1]) || i+1 < len(name) && isLower(name[i+1])):
			cut(i)
		}
	}
	cut(len(name))
	return out
}

// timeLike reports whether a key names a point in time. It need not be sure: a
// number counts as a time only if it is near the clock too.
func timeLike(key string) bool {
	if key == "E" { // the event's time of Binance's streams
		return true
	}
	parts := words(key)
	for i, w := range parts {
		switch w {
		case "ts", "time", "timestamp", "timestamps", "date", "datetime", "now", "clock", "epoch", "stamp",
			"created", "updated", "modified", "changed", "deleted", "expires", "expiry", "expire", "expiration", "exp", "iat", "nbf",
			"started", "ended", "start", "end", "begin", "finished", "completed", "since", "until", "deadline",
			"last", "seen", "sent", "received", "joined", "published", "utc", "unix", "ms", "ns":
			return true
		case "at", "on":
			return i == len(parts)-1 // createdAt; not "at_home"
		case "t":
			return len(parts) == 1
		default:
			if strings.HasSuffix(w, "time") || strings.HasSuffix(w, "timestamp") || len(w) > 4 && strings.HasSuffix(w, "edat") {
				return true // servertime, createdat
			}
		}
	}
	return false
}

// idLike reports whether a key names an identifier that one side chooses and
// the other echoes. What counts is the last word, numbers aside: requestId and
// id2, but not idle, grid or tokenType.
func idLike(key string) bool {
	parts := words(key)
	for len(parts) > 1 && isDigits(parts[len(parts)-1]) {
		parts = parts[:len(parts)-1]
	}
	if len(parts) == 0 {
		return false
	}
	last, before := parts[len(parts)-1], ""
	if len(parts) > 1 {
		before = parts[len(parts)-2]
	}
	switch last {
	case "id", "uuid", "guid", "ulid", "ref", "reference", "seq", "seqno", "sequence", "ack", "nonce", "challenge", "cookie",
		"token", "ticket", "receipt", "handle", "cursor", "tag", "cseq", "identifier",
		"sid", "cid", "rid", "tid", "uid", "mid", "qid", "xid", "txid", "jid", "pid",
		"req", "request", "correlation", "txn", "tx", "transaction", "session", "sub", "subscription", "stream", "invocation", "callback":
		return true
	case "to", "for": // reply_to, inReplyTo: an id of the other side
		return before == "reply" || before == "response"
	case "key": // a bare key is a key on a keyboard as often as not
		return slices.Contains([]string{"session", "correlation", "idempotency", "request", "routing", "dedup"}, before)
	}
	// Written in one word. Not by the ending alone: paid, valid and grid end in id too.
	if owner, ok := strings.CutSuffix(last, "id"); ok {
		return slices.Contains([]string{"req", "request", "res", "response", "msg", "message", "session", "client", "server", "user", "sub",
			"subscription", "conn", "connection", "socket", "peer", "stream", "trace", "span", "call", "room", "chan", "channel",
			"correlation", "transaction", "packet", "event", "order", "job", "task"}, owner)
	}
	return false
}
