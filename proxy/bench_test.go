package proxy_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/proxy"
	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// BenchmarkLink passes 16 frames of 128 bytes at a time from a client to a server
// over loopback TCP. The links allocate nothing; with a recorder, its flushes are
// counted too.
func BenchmarkLink(b *testing.B) {
	b.Run("not recorded", func(b *testing.B) { benchmarkLink(b, proxy.Config{}, nil) })
	b.Run("recorded", func(b *testing.B) {
		recorder := record.NewRecorder(&record.Nowhere{}, record.Options{})
		b.Cleanup(func() { _ = recorder.Close() })
		benchmarkLink(b, proxy.Config{Record: func(s tape.Session) (proxy.Tap, error) { return recorder.Begin(s) }}, nil)
	})
	b.Run("timed", func(b *testing.B) {
		var total atomic.Int64
		benchmarkLink(b, proxy.Config{Added: func(d time.Duration) { total.Add(int64(d)) }}, nil)
	})
}

// BenchmarkStage is the same past a stage that passes every message at once.
func BenchmarkStage(b *testing.B) {
	stage := func(tape.Session, proxy.Handle) proxy.Stage { return quick{} }
	b.Run("not recorded", func(b *testing.B) { benchmarkLink(b, proxy.Config{}, stage) })
	b.Run("recorded", func(b *testing.B) {
		recorder := record.NewRecorder(&record.Nowhere{}, record.Options{})
		b.Cleanup(func() { _ = recorder.Close() })
		benchmarkLink(b, proxy.Config{Record: func(s tape.Session) (proxy.Tap, error) { return recorder.Begin(s) }}, stage)
	})
}

// quick is a stage that passes every message.
type quick struct{}

func (quick) Request(context.Context, *tape.Request) *tape.Response   { return nil }
func (quick) Response(context.Context, *tape.Response) *tape.Response { return nil }
func (quick) Opened(string)                                           {}
func (quick) Wants(tape.Side) (messages, control bool)                { return true, false }
func (quick) Message(_ *tape.Message, done func(tape.Verdict))        { done(tape.Verdict{Fate: tape.Passed}) }
func (quick) Closed(tape.Ending)                                      {}

func benchmarkLink(b *testing.B, c proxy.Config, stage func(tape.Session, proxy.Handle) proxy.Stage) {
	client, server := through(b, c, stage)
	const frames = 16
	var chunk []byte
	for range frames {
		chunk = wstest.New(tape.Text, string(make([]byte, 128))).From(tape.Client).Append(chunk)
	}
	got := make([]byte, len(chunk))
	b.SetBytes(int64(len(chunk)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Write(chunk); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(server, got); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(frames, "frames/op")
}

// through opens a session through a proxy and returns both its ends.
func through(b *testing.B, c proxy.Config, stage func(tape.Session, proxy.Handle) proxy.Stage) (client, server net.Conn) {
	b.Helper()
	must := func(err error) {
		if err != nil {
			b.Helper()
			b.Fatal(err)
		}
	}
	upstream, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	b.Cleanup(func() { _ = upstream.Close() })
	u, err := proxy.ParseUpstream("ws://" + upstream.Addr().String())
	must(err)
	c.Routes = []proxy.Route{{Upstream: u, Stage: stage}}
	p := proxy.New(c)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	served := make(chan error, 1)
	go func() { served <- p.Serve(ln) }()
	client, err = net.Dial("tcp", ln.Addr().String())
	must(err)
	b.Cleanup(func() {
		_, _ = client.Close(), server.Close()
		_ = p.Shutdown(context.Background())
		<-served
	})
	_, err = io.WriteString(client, wstest.Request("/"))
	must(err)
	server, err = upstream.Accept()
	must(err)
	_, err = http.ReadRequest(bufio.NewReader(server))
	must(err)
	_, err = io.WriteString(server, wstest.Switching())
	must(err)
	_, err = http.ReadResponse(bufio.NewReader(client), nil)
	must(err)
	return client, server
}
