package bridge

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/wstape/wstape/internal/wire"
	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// Pcapng writes the connections of sessions as packets on made-up Ethernet: the
// TCP handshake, the HTTP upgrade and the frames of one leg as they were on the
// wire, without TLS, to port 80, for Wireshark goes by ports. What has no packet
// is a comment on the next one: gaps, notes, what the proxy decided.
func Pcapng(ctx context.Context, w io.Writer, sessions []Session, leg tape.Side, o Options) error {
	p := &pcapng{out: bufio.NewWriterSize(w, 64<<10), hosts: map[string]netip.Addr{}}
	p.section("wstape " + o.Version)
	for i, s := range sessions {
		if err := p.session(ctx, s, i, leg); err != nil {
			return inSession(s, err)
		}
	}
	return p.out.Flush()
}

// The blocks of a pcapng file and the options in them.
const (
	blockSection   = 0x0a0d0d0a
	blockInterface = 1
	blockNames     = 4
	blockPacket    = 6

	optComment     = 1
	optSoftware    = 4 // of a section
	optName        = 2 // of an interface
	optDescription = 3
	optResolution  = 9

	nameIPv4 = 1
)

type pcapng struct {
	out   *bufio.Writer // keeps its first error
	hosts map[string]netip.Addr
}

func (p *pcapng) block(kind uint32, body []byte) {
	length := uint32(12 + len(body))
	var b []byte
	b = binary.LittleEndian.AppendUint32(b, kind)
	b = binary.LittleEndian.AppendUint32(b, length)
	b = append(b, body...)
	_, _ = p.out.Write(binary.LittleEndian.AppendUint32(b, length))
}

// option appends an option, padded to 4 bytes; code 0 ends the list.
func option(b []byte, code uint16, value []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, code)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(value)))
	return pad(append(b, value...), len(value))
}

func pad(b []byte, n int) []byte { return append(b, make([]byte, -n&3)...) }

func (p *pcapng) section(software string) {
	var b []byte
	b = binary.LittleEndian.AppendUint32(b, 0x1a2b3c4d)
	b = binary.LittleEndian.AppendUint16(b, 1) // version 1.0
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint64(b, 1<<64-1) // length not said
	p.block(blockSection, option(option(b, optSoftware, []byte(software)), 0, nil))
}

// device describes the interface of a session: Ethernet, times in nanoseconds.
func (p *pcapng) device(name, description string) {
	b := []byte{1, 0, 0, 0, 0, 0, 0, 0} // LINKTYPE_ETHERNET, no limit of length
	b = option(b, optName, []byte(name))
	b = option(b, optDescription, []byte(description))
	b = option(b, optResolution, []byte{9})
	p.block(blockInterface, option(b, 0, nil))
}

// host gives a server an address: its own, or a made-up one with its name.
func (p *pcapng) host(name string) netip.Addr {
	if addr, err := netip.ParseAddr(name); err == nil {
		return addr.WithZone("")
	}
	if addr, ok := p.hosts[name]; ok {
		return addr
	}
	n := len(p.hosts)
	addr := netip.AddrFrom4([4]byte{198, 18, byte(n >> 8), byte(n + 1)}) // RFC 2544: never on the internet
	p.hosts[name] = addr
	if name != "" && len(name) < 256 {
		raw := addr.As4()
		value := append(append(raw[:], name...), 0)
		var b []byte
		b = binary.LittleEndian.AppendUint16(b, nameIPv4)
		b = binary.LittleEndian.AppendUint16(b, uint16(len(value)))
		b = pad(append(b, value...), len(value))
		p.block(blockNames, append(b, 0, 0, 0, 0))
	}
	return addr
}

// session writes one connection.
func (p *pcapng) session(ctx context.Context, s Session, device int, leg tape.Side) error {
	e, err := s.From.Session(ctx, s.N)
	if err != nil {
		return err
	}
	c := p.connect(&e.Session, device)
	c.comment(fmt.Sprintf("wstape: session %d, the %s's leg; %s to %s, without TLS and to port 80", s.N, leg, e.Client, e.Upstream))
	p.device(fmt.Sprintf("session %d", s.N), fmt.Sprintf("%s to %s, the %s's leg", e.Client, e.Upstream, leg))
	c.open()
	c.write(tape.Client, requestHead(&e.Session), 0)
	c.write(tape.Server, responseHead(&e.Session), 0)
	if err := c.frames(ctx, s, leg); err != nil {
		return err
	}
	if e.State == tape.Closed || e.State == tape.Refused {
		c.close(e.Ending, e.Duration)
	}
	return nil
}

// requestHead is the client's handshake; one that was not recorded is made up.
func requestHead(s *tape.Session) []byte {
	q := s.Handshake.Request
	headers := q.Headers
	server, target := dialled(s)
	if q.Target != "" {
		target = q.Target
	}
	if q.Method == "" {
		q.Method = http.MethodGet
	}
	_, host, _ := strings.Cut(server, "://")
	for _, h := range []tape.Header{
		{"Host", host}, {"Upgrade", "websocket"}, {"Connection", "Upgrade"}, {"Sec-WebSocket-Version", "13"}, {"Sec-WebSocket-Key", madeUpKey},
	} {
		if indexOf(headers, h[0]) < 0 {
			headers = append(headers[:len(headers):len(headers)], h)
		}
	}
	return head(q.Method+" "+target+" HTTP/1.1", headers)
}

const madeUpKey = "d3N0YXBlIG1hZGUgdXAhIQ=="

// responseHead is the answer, with its body if it refused.
func responseHead(s *tape.Session) []byte {
	a := s.Handshake.Response
	status := a.Status
	if status == 0 {
		status = s.Status
	}
	headers := a.Headers
	missing := []tape.Header{{"Content-Length", fmt.Sprint(len(a.Body))}}
	if status == http.StatusSwitchingProtocols {
		missing = []tape.Header{{"Upgrade", "websocket"}, {"Connection", "Upgrade"}}
		if indexOf(headers, "Sec-WebSocket-Accept") < 0 {
			key := tape.Field(s.Handshake.Request.Headers, "Sec-WebSocket-Key")
			if key == "" {
				key = madeUpKey
			}
			sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
			missing = append(missing, tape.Header{"Sec-WebSocket-Accept", base64.StdEncoding.EncodeToString(sum[:])})
		}
		for _, h := range []tape.Header{{"Sec-WebSocket-Protocol", s.Subprotocol}, {"Sec-WebSocket-Extensions", s.Extensions}} {
			if h[1] != "" {
				missing = append(missing, h)
			}
		}
	}
	body := a.Body
	if strings.EqualFold(tape.Field(headers, "Transfer-Encoding"), "chunked") {
		missing = nil
		if len(body) > 0 {
			body = fmt.Appendf(nil, "%x\r\n%s\r\n", len(body), body)
		}
		body = append(body, "0\r\n\r\n"...)
	}
	for _, h := range missing {
		if indexOf(headers, h[0]) < 0 {
			headers = append(headers[:len(headers):len(headers)], h)
		}
	}
	return append(head(fmt.Sprintf("HTTP/1.1 %d %s", status, http.StatusText(status)), headers), body...)
}

// head writes a head of HTTP/1.1; a line end in a field would begin another.
func head(first string, headers []tape.Header) []byte {
	var b bytes.Buffer
	clean := strings.NewReplacer("\r", " ", "\n", " ")
	fmt.Fprintf(&b, "%s\r\n", clean.Replace(first))
	for _, h := range headers {
		fmt.Fprintf(&b, "%s: %s\r\n", clean.Replace(h[0]), clean.Replace(h[1]))
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

// connection is a TCP connection whose packets are written.
type connection struct {
	p       *pcapng
	device  uint32
	started time.Time
	last    time.Duration
	ends    [2]end // by side
	notes   []string
}

// end is one side of it.
type end struct {
	addr    netip.AddrPort
	mac     [6]byte
	next    uint32 // sequence number of the next byte, modulo 2^32
	unacked int    // bytes sent since the other side last acknowledged
	packets uint16 // for the IP header's identification
}

// most is how many bytes a segment carries on Ethernet.
func (e *end) most() int {
	if e.addr.Addr().Is6() {
		return 1440
	}
	return 1460
}

// unackedLimit is after how much the other side acknowledges without having
// anything to say.
const unackedLimit = 32 << 10

// connect makes up what the tape does not know of a connection. The sequence
// numbers begin where the session's UUID says, so that they are not all the same.
func (p *pcapng) connect(s *tape.Session, device int) *connection {
	client, err := netip.ParseAddrPort(s.Client)
	if err != nil {
		client = netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 19, 0, 1}), uint16(49152+device%16384))
	}
	upstream, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(s.Upstream, "ws://"), "wss://"), "/")
	if u, err := url.Parse(s.Upstream); err == nil {
		upstream = u.Hostname()
	}
	a, b := client.Addr().WithZone(""), p.host(upstream)
	if a.Unmap().Is4() && b.Unmap().Is4() {
		a, b = a.Unmap(), b.Unmap()
	} else {
		a, b = netip.AddrFrom16(a.As16()), netip.AddrFrom16(b.As16())
	}
	c := &connection{p: p, device: uint32(device), started: s.Started}
	c.ends[tape.Client] = end{addr: netip.AddrPortFrom(a, client.Port()), mac: [6]byte{2, 0, 0, 0, 0, 1}, next: binary.BigEndian.Uint32(s.ID[8:])}
	c.ends[tape.Server] = end{addr: netip.AddrPortFrom(b, 80), mac: [6]byte{2, 0, 0, 0, 0, 2}, next: binary.BigEndian.Uint32(s.ID[12:])}
	return c
}

// comment stands on the next packet.
func (c *connection) comment(text string) { c.notes = append(c.notes, text) }

// TCP flags.
const (
	fin = 1 << iota
	syn
	rst
	psh
	ack
)

func (c *connection) open() {
	c.packet(tape.Client, syn, nil, 0)
	c.packet(tape.Server, syn|ack, nil, 0)
	c.packet(tape.Client, ack, nil, 0)
}

// write sends bytes in segments.
func (c *connection) write(from tape.Side, data []byte, t time.Duration) {
	most := c.ends[from].most()
	for first := true; len(data) > 0 || first; first = false {
		n := min(len(data), most)
		flags := uint8(ack)
		if n == len(data) {
			flags |= psh
		}
		c.packet(from, flags, data[:n], t)
		data = data[n:]
		if c.ends[from].unacked > unackedLimit {
			c.packet(from.Other(), ack, nil, t)
		}
	}
}

// frames writes the frames that were on a leg.
func (c *connection) frames(ctx context.Context, s Session, leg tape.Side) error {
	next, stop := iter.Pull2(remarks(ctx, s))
	defer stop()
	at, text, more := next()
	for frame, err := range record.Frames(ctx, s.From, s.N, record.ReadOptions{}) {
		if err != nil {
			return err
		}
		for ; more && at <= frame.T; at, text, more = next() {
			c.comment(text)
		}
		if out := frame.From != leg; out && frame.Leg == tape.LegIn || !out && frame.Leg == tape.LegOut {
			continue
		}
		c.write(frame.From, onWire(frame), frame.T)
	}
	for ; more; _, text, more = next() {
		c.comment(text)
	}
	return nil
}

// remarks yields what has no packet. What cannot be read the frames say.
func remarks(ctx context.Context, s Session) iter.Seq2[time.Duration, string] {
	return func(yield func(time.Duration, string) bool) {
		for line, err := range record.Lines(ctx, s.From, s.N, record.ReadOptions{Keep: 1}) {
			text := ""
			switch {
			case err != nil:
				return
			case line.Gap != nil:
				text = fmt.Sprintf("%d frames with %d bytes are missing here: %s", line.Gap.Frames, line.Gap.Bytes, line.Gap.Why)
			case line.Note != nil:
				text = fmt.Sprintf("note by %s: %s", line.Note.By, line.Note.Text)
			case line.Message.Fate != tape.Passed:
				text = fmt.Sprintf("message %d of the %s was %s by %s", line.Message.Seq, line.Message.From, line.Message.Fate, strings.Join(line.Message.By, ", "))
			}
			if text != "" && !yield(line.T, "wstape: "+text) {
				return
			}
		}
	}
}

// onWire is a frame as it was sent, with the shortest length that it can have.
func onWire(f *tape.Frame) []byte {
	if f.Opcode == tape.OpRaw {
		return f.Payload
	}
	var mask *[4]byte
	if f.Masked {
		mask = &f.Mask
	}
	rsv, length := f.RSV, f.Len
	if f.Redacted { // the payload is plain, and all of it in the message's first frame
		rsv, length = rsv&^4, uint64(len(f.Payload))
	}
	b := make([]byte, 0, wire.MaxHeader+len(f.Payload))
	b = wire.AppendHeader(b, wire.Head(f.Fin, rsv, f.Opcode), length, mask)
	if mask == nil {
		return append(b, f.Payload...)
	}
	return wire.AppendMasked(b, f.Payload, binary.LittleEndian.Uint32(mask[:]), 0)
}

// close ends the connection as the session ended; whoever closed a WebSocket, the
// server ends the connection (RFC 6455 section 7.1.1).
func (c *connection) close(how *tape.Ending, t time.Duration) {
	from := tape.Server
	if how == nil {
		how = &tape.Ending{Kind: tape.EndEOF}
	}
	if how.From != nil && how.Kind != tape.EndClose {
		from = *how.From
	}
	if how.Why != "" {
		c.comment("wstape: ended by " + string(how.Kind) + ": " + how.Why)
	}
	if how.Kind == tape.EndReset {
		c.packet(from, rst|ack, nil, t)
		return
	}
	c.packet(from, fin|ack, nil, t)
	c.packet(from.Other(), fin|ack, nil, t)
	c.packet(from, ack, nil, t)
}

// packet writes one packet: Ethernet, IPv4 or IPv6, TCP.
func (c *connection) packet(from tape.Side, flags uint8, data []byte, t time.Duration) {
	src, dst := &c.ends[from], &c.ends[from.Other()]
	c.last = max(c.last, t)
	at := uint64(max(0, c.started.Add(c.last).UnixNano()))
	packet := append(append([]byte{}, dst.mac[:]...), src.mac[:]...)
	segment := tcp(src, dst, flags, data)
	packet = append(ip(packet, src, dst, segment), segment...)

	var b []byte
	b = binary.LittleEndian.AppendUint32(b, c.device)
	b = binary.LittleEndian.AppendUint32(b, uint32(at>>32))
	b = binary.LittleEndian.AppendUint32(b, uint32(at))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(packet)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(packet)))
	b = pad(append(b, packet...), len(packet))
	for _, text := range c.notes {
		b = option(b, optComment, []byte(strings.ToValidUTF8(text[:min(len(text), commentLimit)], "")))
	}
	if len(c.notes) > 0 {
		b = option(b, 0, nil)
	}
	c.notes = nil
	c.p.block(blockPacket, b)

	length := len(data)
	if flags&(syn|fin) != 0 {
		length++
	}
	src.next += uint32(length)
	src.unacked += length
	src.packets++
	dst.unacked = 0
}

// commentLimit is less than what an option can hold.
const commentLimit = 32 << 10

// window is what both sides say they can take, in units of 256 bytes.
const window = 0xffff

// tcp makes a segment with its checksum.
func tcp(src, dst *end, flags uint8, data []byte) []byte {
	var options []byte
	if flags&syn != 0 {
		most := src.most()
		options = []byte{2, 4, byte(most >> 8), byte(most), 1, 3, 3, 8} // segments of that, windows in units of 256
	}
	b := binary.BigEndian.AppendUint16(nil, src.addr.Port())
	b = binary.BigEndian.AppendUint16(b, dst.addr.Port())
	b = binary.BigEndian.AppendUint32(b, src.next)
	acknowledged := dst.next
	if flags&ack == 0 {
		acknowledged = 0
	}
	b = binary.BigEndian.AppendUint32(b, acknowledged)
	b = append(b, byte(20+len(options))<<2, flags)
	b = binary.BigEndian.AppendUint16(b, window)
	b = append(b, 0, 0, 0, 0) // checksum, urgent pointer
	b = append(append(b, options...), data...)

	pseudo := append(src.addr.Addr().AsSlice(), dst.addr.Addr().AsSlice()...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(b)))
	pseudo = binary.BigEndian.AppendUint32(pseudo, protocolTCP)
	binary.BigEndian.PutUint16(b[16:], checksum(pseudo, b))
	return b
}

const protocolTCP = 6

// ip appends the Ethernet type and the IP header of a segment.
func ip(b []byte, src, dst *end, segment []byte) []byte {
	from, to := src.addr.Addr(), dst.addr.Addr()
	if from.Is6() {
		b = append(b, 0x86, 0xdd, 0x60, 0, 0, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(len(segment)))
		b = append(b, protocolTCP, 64)
		return append(append(b, from.AsSlice()...), to.AsSlice()...)
	}
	b = append(b, 0x08, 0x00)
	start := len(b)
	b = append(b, 0x45, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(20+len(segment)))
	b = binary.BigEndian.AppendUint16(b, src.packets)
	b = append(b, 0x40, 0, 64, protocolTCP, 0, 0) // do not fragment
	b = append(append(b, from.AsSlice()...), to.AsSlice()...)
	binary.BigEndian.PutUint16(b[start+10:], checksum(b[start:]))
	return b
}

// checksum is the internet checksum (RFC 1071) of parts, all but the last of even length.
func checksum(parts ...[]byte) uint16 {
	var sum uint32
	for _, p := range parts {
		for ; len(p) > 1; p = p[2:] {
			sum += uint32(binary.BigEndian.Uint16(p))
			sum = sum&0xffff + sum>>16
		}
		if len(p) == 1 {
			sum += uint32(p[0]) << 8
		}
	}
	sum = sum&0xffff + sum>>16
	sum = sum&0xffff + sum>>16
	return ^uint16(sum)
}
