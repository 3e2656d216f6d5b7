package e2e

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/tape"
)

// hostileRSS is the bar: a peer may make the proxy use limits, not more.
const hostileRSS = 300 << 20

// bomb is a message of 10 MB that inflates to 10 GB: the same sync-flushed block
// of zeros again and again.
func bomb(t *testing.T) []byte {
	t.Helper()
	var block bytes.Buffer
	w, err := flate.NewWriter(&block, flate.BestCompression)
	must(t, err)
	_, err = w.Write(make([]byte, 16<<20))
	must(t, err)
	must(t, w.Flush())
	out := bytes.Repeat(block.Bytes(), 640)
	return out[:len(out)-4] // as RFC 7692 section 7.2.1 takes off the end
}

const deflateGrant = "Sec-WebSocket-Extensions: permessage-deflate"

// swallower serves handshakes, grants what is offered, and reads what comes; it
// tells how many bytes each session brought.
func swallower(t *testing.T) (addr string, sizes <-chan int64) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { ln.Close() })
	out := make(chan int64, 8)
	go func() {
		defer close(out)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			r := bufio.NewReader(conn)
			if req, err := http.ReadRequest(r); err == nil {
				grant := []string{}
				if req.Header.Get("Sec-WebSocket-Extensions") != "" {
					grant = append(grant, deflateGrant)
				}
				_, _ = io.WriteString(conn, wstest.Switching(grant...))
			}
			n, _ := io.Copy(io.Discard, r)
			conn.Close()
			out <- n
		}
	}()
	return ln.Addr().String(), out
}

// TestHostileMessages go through, recorder, live log and script beside them, and
// are on the tape; the proxy's memory stays bounded, and so does that of who
// reads the tape.
func TestHostileMessages(t *testing.T) {
	script := filepath.Join(t.TempDir(), "look.js")
	must(t, os.WriteFile(script, []byte("export function onMessage(msg) { if (msg.text === 'x') return false }\n"), 0o600))
	big := bomb(t)
	flood := func(n int, first, rest, last wstest.Frame) func(io.Writer) error {
		return func(w io.Writer) error {
			b := bufio.NewWriterSize(w, 256<<10)
			_, _ = b.Write(wstest.Bytes(first.From(tape.Client)))
			frame := wstest.Bytes(rest.From(tape.Client))
			for range n {
				_, _ = b.Write(frame)
			}
			_, _ = b.Write(wstest.Bytes(last.From(tape.Client)))
			return b.Flush()
		}
	}
	once := func(f wstest.Frame) func(io.Writer) error {
		return func(w io.Writer) error {
			_, err := w.Write(wstest.Bytes(f.From(tape.Client)))
			return err
		}
	}
	const many = 300_000
	hello := wstest.New(tape.Text, "still here")
	for _, a := range []struct {
		name    string
		deflate bool
		send    func(io.Writer) error
		lines   int    // of show
		first   string // what show --json says of the first
	}{
		{"a deflate bomb", true, once(wstest.Frame{Fin: true, RSV: 4, Op: tape.Binary, Payload: big}), 3, `"error":"inflates to more than 1 GiB`},
		{"a flood of empty fragments", false, flood(many, wstest.New(tape.Text, "").Part(false), wstest.New(tape.Continuation, "").Part(false), wstest.New(tape.Continuation, "")), 3, `"len":0`},
		{"a flood of pings", false, flood(many, wstest.New(tape.Ping, ""), wstest.New(tape.Ping, ""), wstest.New(tape.Ping, "")), many + 4, `"op":"ping"`},
		{"a flood of empty messages", true, flood(many, wstest.New(tape.Text, ""), wstest.New(tape.Text, ""), wstest.New(tape.Text, "")), many + 4, `"op":"text"`},
	} {
		for _, flags := range [][]string{nil, {"--script", script}} {
			t.Run(strings.TrimSpace(a.name+" "+strings.Join(flags[:min(1, len(flags))], "")), func(t *testing.T) {
				upstream, sizes := swallower(t)
				p := startProxy(t, "ws://"+upstream, flags...)
				idle := p.peakRSS()
				client := wstest.Dial(t, p.addr, nil)
				var offer []string
				if a.deflate {
					offer = append(offer, deflateGrant)
				}
				client.WriteString(wstest.Request("/", offer...))
				if head := client.ReadHead(); !strings.HasPrefix(head, "HTTP/1.1 101 ") {
					t.Fatalf("answered %q", head)
				}
				counted := &counter{w: client.Conn}
				must(t, a.send(counted))
				must(t, once(hello)(counted))
				must(t, once(wstest.CloseFrame(1000, ""))(counted))
				client.CloseWrite()
				if n, _ := receive(t, "the server", sizes); n != counted.n {
					t.Errorf("%d bytes arrived of %d", n, counted.n)
				}
				if above := p.peakRSS() - idle; above > hostileRSS {
					t.Errorf("peak RSS is %d MiB above idle, may be %d", above>>20, hostileRSS>>20)
				} else {
					t.Logf("peak RSS is %d MiB above idle", above>>20)
				}
				file := p.stop()
				noted := len(flags) > 0 && a.name == "a deflate bomb" // then a note says that the script could not be shown it
				out, code := file.run("show", "1", "--json", "--max-bytes", "100")
				lines := strings.Split(strings.TrimSpace(out), "\n")
				if code != 0 || len(lines) != a.lines+map[bool]int{true: 1}[noted] || !strings.Contains(lines[0], a.first) {
					t.Errorf("show: exit code %d, %d lines, the first %.300s", code, len(lines), lines[0])
				}
				if !strings.Contains(lines[len(lines)-2], `"text":"still here"`) {
					t.Errorf("the message behind it is %.300s", lines[len(lines)-2])
				}
			})
		}
	}
}

// counter counts what is written.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// says waits until the process has written something to its stderr.
func (p *process) says(text string) {
	p.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !strings.Contains(p.stderr.String(), text); <-tick.C {
		if time.Now().After(end) {
			p.t.Fatalf("%s has not said %q", p.name, text)
		}
	}
}

// TestLimitsAreLoggedWithTheirKeys by the real program, for a person and for a program.
func TestLimitsAreLoggedWithTheirKeys(t *testing.T) {
	config := filepath.Join(t.TempDir(), "c.yaml")
	must(t, os.WriteFile(config, []byte("limits: {connections: 3, sessions: 1, handshake_timeout: 300ms, handshake_bytes: 8KiB}\n"), 0o600))
	for _, format := range []string{"text", "json"} {
		upstream, _ := swallower(t)
		p := startProxy(t, "ws://"+upstream, "--config", config, "--log-format", format)
		var held []*wstest.Peer
		dial := func(say string) *wstest.Peer {
			peer := wstest.Dial(t, p.addr, nil)
			if say != "" {
				peer.WriteString(say)
			}
			held = append(held, peer)
			return peer
		}
		dial(wstest.Request("/")).ReadHead() // the one session
		refused := dial(wstest.Request("/"))
		if head := refused.ReadHead(); !strings.HasPrefix(head, "HTTP/1.1 503 ") {
			t.Errorf("answered %q", head)
		}
		slow := dial("GET / HTTP/1.1\r\n") // the third
		over := dial("")
		over.ExpectEOF()
		slow.ExpectEOF()
		long := dial("GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 20<<10))
		_, _ = long.ReadAll()
		for _, key := range []string{"limits.sessions", "limits.connections", "limits.handshake_timeout", "limits.handshake_bytes"} {
			p.says(key)
		}
		if format == "json" {
			for line := range strings.Lines(p.stderr.String()) {
				var any map[string]any
				if err := json.Unmarshal([]byte(line), &any); err != nil {
					t.Errorf("a line of the log is no JSON: %v: %s", err, line)
				}
			}
		}
		for _, peer := range held {
			peer.Conn.Close()
		}
		p.stop()
	}
}
