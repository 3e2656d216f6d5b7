package proxy

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"testing"
)

// What front serves itself is what net/http makes of the same bytes, and a
// handshake without control characters.
func FuzzHandshakeRequest(f *testing.F) {
	const request = "GET /chat?a=b HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	for _, seed := range []string{request, request + "early", strings.ReplaceAll(request, "\r", ""), strings.Replace(request, "a=b", "\x00", 1), request[:40], "GET \n\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		br := bufio.NewReader(bytes.NewReader(in))
		head, _ := readHead(br)
		if !bytes.HasPrefix(in, head) {
			t.Fatalf("the head is %q", head)
		}
		got := handshakeRequest(br, head, DefaultHandshakeBytes)
		if !bytes.EqualFold(in[:len(head)], head) {
			t.Fatalf("the head has become %q", head)
		}
		if got == nil {
			return
		}
		early, _ := br.Peek(br.Buffered())
		consumed := in[:len(head)-len(early)]
		if len(consumed) != headEnd(in) {
			t.Errorf("%d bytes are the head, want %d", len(consumed), headEnd(in))
		}
		want, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(consumed)))
		if err != nil || want.RequestURI != got.RequestURI || want.Host != got.Host || len(want.Header) != len(got.Header) || !isHandshake(want) {
			t.Errorf("front reads %v, net/http %v, %v", got, want, err)
		}
		if bytes.ContainsAny(consumed, "\x00\x01\x1b\x7f") {
			t.Errorf("served %q", consumed)
		}
	})
}
