package bridge

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/binary"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// packet is what the tests read of one.
type packet struct {
	src, dst string
	seq, ack uint32
	flags    byte
	data     []byte
	nano     uint64
	comments []string
}

// sum adds up what a correct checksum makes 0xffff.
func sum(parts ...[]byte) uint16 {
	var n uint32
	all := bytes.Join(parts, nil)
	if len(all)%2 == 1 {
		all = append(all, 0)
	}
	for i := 0; i < len(all); i += 2 {
		n += uint32(all[i])<<8 | uint32(all[i+1])
	}
	for n > 0xffff {
		n = n&0xffff + n>>16
	}
	return uint16(n)
}

// packets reads a pcapng file and checks what holds for each block and packet.
func packets(t *testing.T, file []byte) (out []packet) {
	t.Helper()
	for len(file) > 0 {
		kind, length := binary.LittleEndian.Uint32(file), binary.LittleEndian.Uint32(file[4:])
		if length%4 != 0 || int(length) > len(file) || binary.LittleEndian.Uint32(file[length-4:]) != length {
			t.Fatalf("a block of type %x and length %d", kind, length)
		}
		body := file[8 : length-4]
		if file = file[length:]; kind != blockPacket {
			continue
		}
		n := binary.LittleEndian.Uint32(body[12:])
		p := decode(t, body[20:20+n])
		p.nano = uint64(binary.LittleEndian.Uint32(body[4:]))<<32 | uint64(binary.LittleEndian.Uint32(body[8:]))
		for options := body[20+(n+3)&^3:]; len(options) > 4; {
			size := binary.LittleEndian.Uint16(options[2:])
			if binary.LittleEndian.Uint16(options) == optComment {
				p.comments = append(p.comments, string(options[4:4+size]))
			}
			options = options[4+(size+3)&^3:]
		}
		out = append(out, p)
	}
	return out
}

func decode(t *testing.T, b []byte) (p packet) {
	t.Helper()
	var src, dst netip.Addr
	var segment []byte
	switch ethernet, rest := binary.BigEndian.Uint16(b[12:]), b[14:]; ethernet {
	case 0x0800:
		if sum(rest[:20]) != 0xffff || int(binary.BigEndian.Uint16(rest[2:])) != len(rest) || len(rest) > 1500 {
			t.Fatalf("IPv4 header % x", rest[:20])
		}
		src, _ = netip.AddrFromSlice(rest[12:16])
		dst, _ = netip.AddrFromSlice(rest[16:20])
		segment = rest[20:]
	case 0x86dd:
		if int(binary.BigEndian.Uint16(rest[4:])) != len(rest)-40 || len(rest) > 1500 {
			t.Fatalf("IPv6 header % x", rest[:40])
		}
		src, _ = netip.AddrFromSlice(rest[8:24])
		dst, _ = netip.AddrFromSlice(rest[24:40])
		segment = rest[40:]
	default:
		t.Fatalf("Ethernet type %x", ethernet)
	}
	pseudo := append(src.AsSlice(), dst.AsSlice()...)
	pseudo = append(pseudo, 0, 0, byte(len(segment)>>8), byte(len(segment)), 0, 0, 0, 6)
	if sum(pseudo, segment) != 0xffff {
		t.Fatalf("TCP checksum of % x", segment)
	}
	port := func(at int) uint16 { return binary.BigEndian.Uint16(segment[at:]) }
	p.src, p.dst = netip.AddrPortFrom(src, port(0)).String(), netip.AddrPortFrom(dst, port(2)).String()
	p.seq, p.ack, p.flags = binary.BigEndian.Uint32(segment[4:]), binary.BigEndian.Uint32(segment[8:]), segment[13]
	p.data = segment[segment[12]>>4*4:]
	return p
}

// streams follows a connection as TCP does, and returns what each side said.
func streams(t *testing.T, list []packet) (said map[string]string) {
	t.Helper()
	said, next := map[string]string{}, map[string]uint32{}
	for i, p := range list {
		if i >= 2 && p.seq != next[p.src] {
			t.Fatalf("packet %d: sequence number %d, expected %d", i, p.seq, next[p.src])
		}
		if p.flags&ack != 0 && p.ack != next[p.dst] {
			t.Fatalf("packet %d: acknowledges %d, expected %d", i, p.ack, next[p.dst])
		}
		if i > 0 && p.nano < list[i-1].nano {
			t.Fatalf("packet %d goes back in time", i)
		}
		next[p.src] = p.seq + uint32(len(p.data))
		if p.flags&(syn|fin) != 0 {
			next[p.src]++
		}
		said[p.src] += string(p.data)
	}
	return said
}

func captured(t *testing.T, text string, leg tape.Side) []packet {
	t.Helper()
	m := cassette(t, text)
	var out bytes.Buffer
	must(t, Pcapng(context.Background(), &out, all(t, m), leg, Options{}))
	return packets(t, out.Bytes())
}

// body is what follows the head of HTTP, which must be there.
func body(t *testing.T, stream, first string) string {
	t.Helper()
	head, rest, ok := strings.Cut(stream, "\r\n\r\n")
	if !ok || !strings.HasPrefix(head, first) {
		t.Fatalf("it begins %.80q, not %q", stream, first)
	}
	return rest
}

const longSession = oneSession + `
{"t":0.001,"from":"client","text":"hi"}
{"t":0.002,"from":"server","text":"abcd","frames":[3,1]}
{"t":0.003,"from":"server","op":"raw","b64":"3q0="}
{"t":0.004,"from":"client","op":"close","code":4000,"reason":"no"}
`

func TestPackets(t *testing.T) {
	list := captured(t, longSession, tape.Client)
	said := streams(t, list)
	if got := body(t, said["127.0.0.1:50514"], "GET /chat?room=1 HTTP/1.1\r\nHost: 192.0.2.1:8765\r\n"); got != "\x81\x82\x00\x00\x00\x00hi\x88\x84\x00\x00\x00\x00\x0f\xa0no" {
		t.Errorf("the client said %q", got)
	}
	if got := body(t, said["192.0.2.1:80"], "HTTP/1.1 101 Switching Protocols\r\n"); got != "\x01\x03abc\x80\x01d\xde\xad" {
		t.Errorf("the server said %q", got)
	}
	var flags []byte
	for _, p := range list {
		flags = append(flags, p.flags)
	}
	if diff := cmp.Diff([]byte{syn, syn | ack, ack, psh | ack, psh | ack, psh | ack, psh | ack, psh | ack, psh | ack, psh | ack, fin | ack, fin | ack, ack}, flags); diff != "" {
		t.Error(diff)
	}
	if list[0].nano != 1795342272345678901 || list[5].nano != 1795342272346678901 {
		t.Errorf("times %d and %d", list[0].nano, list[5].nano)
	}
}

// TestSequenceNumbersWrap: they begin where the UUID says, and go past 2^32 here.
func TestSequenceNumbersWrap(t *testing.T) {
	long := strings.Repeat("0123456789", 30_000)
	text := strings.Replace(oneSession, "8a9b-0c1d2e3f4a5b", "ffff-ff00ffff0000", 1) + `
{"t":0.001,"from":"client","text":"` + long + `"}
{"t":0.002,"from":"server","text":"` + long + `"}
`
	list := captured(t, text, tape.Client)
	said := streams(t, list)
	if list[0].seq != 0xffffff00 || list[len(list)-1].seq > 1<<20 {
		t.Errorf("the sequence numbers begin with %d and end with %d", list[0].seq, list[len(list)-1].seq)
	}
	if got := body(t, said["192.0.2.1:80"], "HTTP/1.1 101 "); !strings.HasSuffix(got, long) || len(got) != len(long)+10 {
		t.Errorf("the server said %d bytes", len(got))
	}
	unanswered := map[string]int{}
	for i, p := range list {
		if unanswered[p.src] += len(p.data); unanswered[p.src] > unackedLimit+1460 {
			t.Fatalf("packet %d: %d bytes are on their way", i, unanswered[p.src])
		}
		unanswered[p.dst] = 0
	}
}

func TestLegs(t *testing.T) {
	text := oneSession + `
{"t":0.001,"from":"client","text":"hi","fate":"edited","by":"script:a.js","received":{"text":"HI"}}
{"t":0.002,"from":"server","text":"no","fate":"dropped","by":"script:a.js"}
{"t":0.003,"from":"server","text":"in","fate":"injected","by":"script:a.js"}
{"gap":{"frames":2,"bytes":9,"why":"full"},"t":0.004}
{"note":"look","by":"operator","t":0.005}
`
	for leg, want := range map[tape.Side][2]string{
		tape.Client: {"\x81\x82\x00\x00\x00\x00HI", "\x81\x02in"},
		tape.Server: {"\x81\x82\x00\x00\x00\x00hi", "\x81\x02no"},
	} {
		list := captured(t, text, leg)
		said := streams(t, list)
		got := [2]string{body(t, said["127.0.0.1:50514"], "GET "), body(t, said["192.0.2.1:80"], "HTTP/1.1 101 ")}
		if got != want {
			t.Errorf("the %s's leg: %q, want %q", leg, got, want)
		}
		var comments []string
		for _, p := range list {
			comments = append(comments, p.comments...)
		}
		if diff := cmp.Diff([]string{
			"wstape: session 1, the " + leg.String() + "'s leg; 127.0.0.1:50514 to ws://192.0.2.1:8765/chat?room=1, without TLS and to port 80",
			"wstape: message 1 of the client was edited by script:a.js",
			"wstape: message 3 of the server was dropped by script:a.js",
			"wstape: message 4 of the server was injected by script:a.js",
			"wstape: 2 frames with 9 bytes are missing here: full",
			"wstape: note by operator: look",
		}, comments); diff != "" {
			t.Error(diff)
		}
	}
}

func TestAddressesAndEndings(t *testing.T) {
	for _, c := range []struct {
		name, session, src, dst string
		last                    byte
		response                string
	}{
		{"IPv6", `"client":"[::1]:5000","upstream":"wss://[2001:db8::1]/x"`, "[::1]:5000", "[2001:db8::1]:80", ack, "HTTP/1.1 101 "},
		{"both", `"client":"[::1]:5000","upstream":"ws://192.0.2.7/x"`, "[::1]:5000", "[::ffff:192.0.2.7]:80", ack, "HTTP/1.1 101 "},
		{"names", `"client":"","upstream":"ws://chat.example/x"`, "198.19.0.1:49152", "198.18.0.1:80", ack, "HTTP/1.1 101 "},
		{"reset", `"client":"127.0.0.1:1","upstream":"ws://127.0.0.1/x","ending":{"kind":"reset","from":"client"}`, "127.0.0.1:1", "127.0.0.1:80", rst | ack, "HTTP/1.1 101 "},
		{"refused", `"client":"127.0.0.1:1","upstream":"ws://127.0.0.1/x","state":"refused","status":403,"response":{"status":403,"headers":[["Transfer-Encoding","chunked"]],"body_b64":"bm8="}`,
			"127.0.0.1:1", "127.0.0.1:80", ack, "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"},
		{"interrupted", `"client":"127.0.0.1:1","upstream":"ws://127.0.0.1/x","state":"interrupted"`, "127.0.0.1:1", "127.0.0.1:80", psh | ack, "HTTP/1.1 101 "},
	} {
		t.Run(c.name, func(t *testing.T) {
			list := captured(t, `{"wstape":1,"session":{`+c.session+`}}`, tape.Client)
			said := streams(t, list)
			if list[0].src != c.src || list[0].dst != c.dst || list[len(list)-1].flags != c.last || !strings.HasPrefix(said[c.dst], c.response) {
				t.Errorf("%s to %s, at last %x; the server said %q", list[0].src, list[0].dst, list[len(list)-1].flags, said[c.dst])
			}
		})
	}
}

func TestAHeaderCannotEndTheHead(t *testing.T) {
	m := cassette(t, oneSession)
	e, err := m.Session(t.Context(), 1)
	must(t, err)
	e.Handshake.Request.Headers = []tape.Header{{"X", "a\r\n\r\nGET /"}}
	if text := string(requestHead(&e.Session)); strings.Count(text, "\r\n\r\n") != 1 || !strings.Contains(text, "X: a    GET /\r\n") {
		t.Errorf("%q", text)
	}
}

// TestRedactedFramesArePlain: what is stored of a redacted message is not what its
// compression bit and its lengths say.
func TestRedactedFramesArePlain(t *testing.T) {
	redactor, err := record.NewRedactor(make([]byte, 32), record.Rules{Text: []*regexp.Regexp{regexp.MustCompile("hunter2")}})
	must(t, err)
	m := record.NewMemory()
	recorder := record.NewRecorder(m, record.Options{Redactor: redactor})
	tap, err := recorder.Begin(tape.Session{URL: "/", Client: "127.0.0.1:1", Handshake: tape.Handshake{Request: tape.Request{Method: "GET", Target: "/"}}})
	must(t, err)
	tap.Answered("ws://192.0.2.1/", 101, "", []string{"permessage-deflate; server_no_context_takeover; client_no_context_takeover"}, tape.Response{Status: 101})
	var deflated bytes.Buffer
	w, err := flate.NewWriter(&deflated, flate.BestCompression)
	must(t, err)
	_, err = w.Write([]byte("password hunter2"))
	must(t, err)
	must(t, w.Flush())
	b := deflated.Bytes()[:deflated.Len()-4]
	for i, part := range [][]byte{b[:5], b[5:]} { // two frames, RSV1 in the first
		tap.Parts(tape.Server, tape.LegBoth, []tape.Part{{Begin: true, Head: []byte{0x41, 0x80}[i], Len: uint64(len(part)), Payload: part}})
	}
	tap.End(tape.Ending{Kind: tape.EndEOF})
	must(t, recorder.Close())
	var out bytes.Buffer
	must(t, Pcapng(context.Background(), &out, all(t, m), tape.Client, Options{}))
	got := body(t, streams(t, packets(t, out.Bytes()))["192.0.2.1:80"], "HTTP/1.1 101")
	if len(got) < 4 || got[0] != 0x01 || int(got[1]) != len(got)-4 || !strings.HasPrefix(got[2:], "password redacted:") || got[len(got)-2:] != "\x80\x00" {
		t.Errorf("the server said %q", got)
	}
}
