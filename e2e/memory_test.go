package e2e

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/base64"
	be "encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
)

// The bar: what passes is large, what the proxy holds is not.
const rssAbove = 150 << 20

// hugeBytes is 1 GiB, less where making and summing it is slow: still more than
// may be held.
func hugeBytes() int {
	if raced {
		return 1 << 28
	}
	return 1 << 30
}

// TestHugeMessagesPassInBoundedMemory sends 1 GiB as one frame and as many.
func TestHugeMessagesPassInBoundedMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 1 GiB twice")
	}
	for _, how := range []struct {
		name   string
		frames int
		read   [][]string
	}{
		{"one frame", 1, [][]string{{"show", "1", "--frames", "--json"}}},
		{"fragments", 64, [][]string{{"export", "1"}, {"show", "1", "--frames", "--json"}}},
	} {
		t.Run(how.name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			defer ln.Close()
			got := make(chan string, 1)
			go func() { got <- swallow(ln) }()
			p := startProxy(t, "ws://"+ln.Addr().String(), "--quiet")
			idle := p.peakRSS()
			sent := sendHuge(t, p.addr, how.frames)
			if sum := <-got; sum != sent {
				t.Fatalf("the server got %s, the client sent %s", sum, sent)
			}
			if above := p.peakRSS() - idle; above > rssAbove {
				t.Errorf("peak RSS is %d MiB above idle, may be %d", above>>20, rssAbove>>20)
			} else {
				t.Logf("peak RSS is %d MiB above idle", above>>20)
			}
			tape := p.stop()
			for _, command := range how.read {
				if sum := shownSum(t, tape, command...); sum != sent {
					t.Errorf("%v gives back %s, sent was %s", command, sum, sent)
				}
			}
		})
	}
}

// swallow accepts one WebSocket and sums the payload of its binary frames.
func swallow(ln net.Listener) string {
	conn, err := ln.Accept()
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	r := bufio.NewReaderSize(conn, 256<<10)
	if _, err := http.ReadRequest(r); err != nil {
		return err.Error()
	}
	const answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
	if _, err := io.WriteString(conn, answer); err != nil {
		return err.Error()
	}
	sum := sha256.New()
	for {
		var head [14]byte // always a 64-bit length and a mask
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return hex.EncodeToString(sum.Sum(nil))
		}
		mask := masked{sum, [4]byte(head[10:]), 0}
		if _, err := io.CopyN(&mask, r, int64(be.BigEndian.Uint64(head[2:]))); err != nil {
			return err.Error()
		}
	}
}

// masked applies a mask on the way to a writer, in place.
type masked struct {
	w   io.Writer
	key [4]byte
	at  int
}

func (m *masked) Write(p []byte) (int, error) {
	for i := range p {
		p[i] ^= m.key[(m.at+i)&3]
	}
	m.at += len(p)
	return m.w.Write(p)
}

// sendHuge sends one message in so many frames and returns its sum.
func sendHuge(t *testing.T, addr string, frames int) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	must(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /huge HTTP/1.1\r\nHost: huge\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
	must(t, err)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	must(t, err)
	if res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("handshake: %s", res.Status)
	}
	sum := sha256.New()
	w := bufio.NewWriterSize(conn, 256<<10)
	for i := range frames {
		must(t, hugeFrame(w, sum, i, frames))
	}
	must(t, w.Flush())
	return hex.EncodeToString(sum.Sum(nil))
}

// hugeFrame writes the i-th frame: incompressible bytes, the same on every run.
func hugeFrame(w io.Writer, sum hash.Hash, i, frames int) error {
	size := hugeBytes() / frames
	head := []byte{0, 0xff}
	if i == 0 {
		head[0] = 2
	}
	if i == frames-1 {
		head[0] |= 0x80
	}
	key := [4]byte{1, 2, 3, byte(i)}
	head = append(be.BigEndian.AppendUint64(head, uint64(size)), key[:]...)
	if _, err := w.Write(head); err != nil {
		return err
	}
	out := masked{w, key, 0}
	random := uint64(i)*0x9e3779b97f4a7c15 + 88172645463325252
	buf := make([]byte, 64<<10)
	for left := size; left > 0; left -= len(buf) {
		for j := 0; j < len(buf); j += 8 {
			random ^= random << 13
			random ^= random >> 7
			random ^= random << 17
			be.LittleEndian.PutUint64(buf[j:], random)
		}
		sum.Write(buf)
		if _, err := out.Write(buf); err != nil {
			return err
		}
	}
	return nil
}

// peakRSS is the process's high-water mark in bytes.
func (p *process) peakRSS() int {
	p.t.Helper()
	if runtime.GOOS != "linux" {
		p.t.Skip("the high-water mark of memory is read from /proc")
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	must(p.t, err)
	for line := range strings.Lines(string(text)) {
		var kib int
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	p.t.Fatal("no VmHWM")
	return 0
}

// shownSum runs a command and sums the payloads that it prints in base64,
// without holding one in memory.
func shownSum(t *testing.T, tape tapeFile, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, append(args, "--tape", tape.path)...)
	cmd.Env = cleanEnv()
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	sum := sha256.New()
	must(t, sumLines(bufio.NewReaderSize(out, 1<<20), sum))
	must(t, cmd.Wait())
	return hex.EncodeToString(sum.Sum(nil))
}

func sumLines(r *bufio.Reader, sum hash.Hash) error {
	const key = `"b64":"`
	for {
		head, err := r.Peek(1)
		if len(head) == 0 || err != nil {
			return nil
		}
		line, err := upTo(r, key)
		if err != nil {
			return err
		}
		if !strings.HasSuffix(line, key) {
			if !json.Valid([]byte(line)) {
				return fmt.Errorf("not JSON: %s", fold(line))
			}
			continue
		}
		if _, err := io.Copy(sum, base64.NewDecoder(base64.StdEncoding, &untilQuote{r: r})); err != nil {
			return err
		}
		if _, err := r.ReadString('\n'); err != nil {
			return err
		}
	}
}

// upTo reads through the key or, if the line has none, through its end.
func upTo(r *bufio.Reader, key string) (string, error) {
	var b strings.Builder
	for {
		c, err := r.ReadByte()
		if err != nil {
			return b.String(), err
		}
		b.WriteByte(c)
		if c == '\n' || c == '"' && strings.HasSuffix(b.String(), key) {
			return b.String(), nil
		}
	}
}

// untilQuote reads up to a quote.
type untilQuote struct {
	r    *bufio.Reader
	done bool
}

func (u *untilQuote) Read(p []byte) (int, error) {
	if u.done {
		return 0, io.EOF
	}
	peek, err := u.r.Peek(max(1, min(len(p), u.r.Buffered())))
	if err != nil {
		return 0, err
	}
	n := len(peek)
	if i := strings.IndexByte(string(peek), '"'); i >= 0 {
		u.done, n = true, i
	}
	copy(p, peek[:n])
	_, err = u.r.Discard(n)
	return n, err
}
