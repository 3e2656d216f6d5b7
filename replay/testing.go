package replay

import (
	"bytes"
	"context"
	"net"
	"net/url"
	"os"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/tape"
)

// TB is what the helpers need of a test: *testing.T is one.
type TB interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// Option changes how a test replays.
type Option func(*testOptions)

type testOptions struct {
	Options
	serving Serving
	reader  record.Reader
	numbers []uint64
}

// WithReader plays sessions of a tape, all if none is named, instead of a
// cassette's; the cassette's path is then only a name.
func WithReader(r record.Reader, sessions ...uint64) Option {
	return func(o *testOptions) { o.reader, o.numbers = r, sessions }
}

// WithOptions sets how the recording is played.
func WithOptions(options Options) Option { return func(o *testOptions) { o.Options = options } }

// WithPace sets when the player sends; the default in tests is as soon as the
// causes are there.
func WithPace(p Pace) Option { return func(o *testOptions) { o.Pace = p } }

// WithIgnore lets values at these paths differ: "$.price".
func WithIgnore(paths ...string) Option {
	return func(o *testOptions) { o.Ignore = append(o.Ignore, paths...) }
}

// WithLevel sets how closely messages must be as recorded.
func WithLevel(l Level) Option { return func(o *testOptions) { o.Level = l } }

// WithLoop lets a server start over when all sessions of a path have been played.
func WithLoop() Option { return func(o *testOptions) { o.serving.Loop = true } }

// TestServer is a fake server that a test runs against.
type TestServer struct {
	URL string // ws://127.0.0.1:PORT; add the path

	cancel context.CancelFunc
	done   chan struct{}
	report *Report
}

// NewServer serves a cassette until the test ends, and fails the test with the
// report if a session did not go as recorded or was never asked for.
func NewServer(tb TB, cassette string, opts ...Option) *TestServer {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	o, r := testRecording(ctx, tb, tape.Server, cassette, nil, opts)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		cancel()
		tb.Fatalf("replay %s: %v", cassette, err)
		return nil
	}
	s := &TestServer{URL: "ws://" + ln.Addr().String(), cancel: cancel, done: make(chan struct{})}
	o.serving.Once = !o.serving.Loop
	go func() {
		defer close(s.done)
		s.report, err = Serve(ctx, ln, r, o.Options, o.serving)
	}()
	tb.Cleanup(func() {
		report := s.Close()
		if err != nil {
			tb.Errorf("replay %s: %v", cassette, err)
		}
		if report != nil && !report.Held() {
			report.Recording = cassette
			tb.Errorf("%s", reportText(report))
		}
	})
	return s
}

// Close ends the server, waits for its connections and tells how the replay
// went. The test's end does it, too.
func (s *TestServer) Close() *Report {
	s.cancel()
	<-s.done
	return s.report
}

// Drive plays a cassette's client against a server under test, and fails the
// test with the report if a session did not go as recorded.
func Drive(tb TB, cassette, address string, opts ...Option) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	u, err := url.Parse(address)
	if err != nil {
		tb.Fatalf("replay %s: %v", cassette, err)
		return
	}
	o, r := testRecording(ctx, tb, tape.Client, cassette, u, opts)
	report, err := r.Drive(ctx, Dialing{URL: u}, o.Options)
	if err != nil {
		tb.Errorf("replay %s: %v", cassette, err)
		return
	}
	if report.Recording = cassette; !report.Held() {
		tb.Errorf("%s", reportText(report))
	}
}

func reportText(r *Report) string {
	var out bytes.Buffer
	_ = r.WriteText(&out) // a buffer takes everything
	return out.String()
}

// testRecording loads what a test plays.
func testRecording(ctx context.Context, tb TB, role tape.Side, cassette string, to *url.URL, opts []Option) (*testOptions, *Recording) {
	tb.Helper()
	o := &testOptions{}
	for _, option := range opts {
		option(o)
	}
	if o.reader == nil {
		f, err := os.Open(cassette)
		if err != nil {
			tb.Fatalf("replay: %v", err)
		}
		defer f.Close()
		memory := record.NewMemory()
		if o.numbers, err = record.ReadCassette(ctx, f, memory); err != nil {
			tb.Fatalf("read cassette %s: %v", cassette, err)
		}
		o.reader = memory
	}
	if o.numbers == nil {
		for e, err := range record.Sessions(ctx, o.reader) {
			if err != nil {
				tb.Fatalf("replay %s: %v", cassette, err)
			}
			o.numbers = append(o.numbers, e.N)
		}
	}
	var sources []Source
	for _, n := range o.numbers {
		sources = append(sources, Source{o.reader, n, sessionName(n)})
	}
	r, err := Load(ctx, role, sources, o.Matching)
	if err == nil {
		err = r.Check(&o.Live, to)
	}
	if err != nil {
		tb.Fatalf("replay %s: %v", cassette, err)
	}
	return o, r
}
