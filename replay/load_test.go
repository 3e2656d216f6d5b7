package replay

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstape/wstape/tape"
)

// talk is a cassette of n questions, each of which is echoed.
func talk(n int) string {
	var b strings.Builder
	b.WriteString(session(`"url":"/talk"`))
	for i := range n {
		t := float64(i)
		b.WriteString(at(t, "C", fmt.Sprintf("question %d", i)) + at(t+0.5, "S", fmt.Sprintf("question %d", i)))
	}
	b.WriteString(closing(float64(n), "C", 1000, ""))
	return b.String()
}

// echoServer echoes what answer makes of each message of the n-th connection, from 1.
func echoServer(t *testing.T, answer func(conn int64, message string) string) Dialing {
	t.Helper()
	var conns atomic.Int64
	var upgrader websocket.Upgrader
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := conns.Add(1)
		c, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		for {
			kind, message, err := c.ReadMessage()
			if err != nil || c.WriteMessage(kind, []byte(answer(n, string(message)))) != nil {
				return
			}
		}
	}))
	t.Cleanup(s.Close)
	return Dialing{URL: wsURL(t, s.Listener.Addr())}
}

func wsURL(t *testing.T, addr net.Addr) *url.URL {
	t.Helper()
	u, err := url.Parse("ws://" + addr.String())
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func same(_ int64, message string) string { return message }

func TestLoadCountsEverything(t *testing.T) {
	var last LoadSnapshot
	one := loadText(t, tape.Client, talk(10), Matching{})
	report, err := one.Load(t.Context(), echoServer(t, same), Options{}, LoadTest{
		Clients: 20, Repeat: 3, Progress: func(s LoadSnapshot) { last = s },
	})
	if err != nil {
		t.Fatal(err)
	}
	const runs, messages, bytes = 60, 600, 600 * uint64(len("question 0"))
	if report.Runs != runs || report.Done != runs || report.Failed != 0 || report.Sessions != runs || !report.Held() {
		t.Errorf("%d of %d runs done, %d failed, %d sessions; want 60 of 60", report.Done, report.Runs, report.Failed, report.Sessions)
	}
	if want := (Traffic{messages, bytes}); report.Sent != want || report.Received != want {
		t.Errorf("sent %v and received %v, want %v", report.Sent, report.Received, want)
	}
	if report.Answer.Count() != messages || report.Connect.Count() != runs {
		t.Errorf("%d answers and %d connects were measured, want 600 and 60", report.Answer.Count(), report.Connect.Count())
	}
	if last.Done != runs || last.Runs != runs || last.Messages != 2*messages || last.Answer.Count() != messages || last.Share != 1 {
		t.Errorf("the last snapshot was %+v", last)
	}
}

// Sessions of a recording are one run together.
func TestLoadPlaysAllSessionsOfARecording(t *testing.T) {
	two := loadText(t, tape.Client, talk(2)+talk(3), Matching{})
	report, err := two.Load(t.Context(), echoServer(t, same), Options{}, LoadTest{Clients: 4, Repeat: 2})
	if err != nil || report.Done != 8 || report.Sessions != 16 || report.Sent.Messages != 40 || !report.Held() {
		t.Errorf("%v; %d runs, %d sessions, %d messages, %v; want 8, 16, 40", err, report.Done, report.Sessions, report.Sent.Messages, report.Errors)
	}
}

func TestLoadCountsMismatchesByKind(t *testing.T) {
	wrong := func(n int64, message string) string {
		if n%4 == 0 && message == "question 3" {
			return "something else"
		}
		return message
	}
	r := loadText(t, tape.Client, talk(5), Matching{})
	report, err := r.Load(t.Context(), echoServer(t, wrong), Options{}, LoadTest{Clients: 4, Repeat: 5})
	if err != nil {
		t.Fatal(err)
	}
	if report.Done != 20 || report.Failed != 5 || report.Held() || len(report.Errors) != 1 {
		t.Fatalf("%d done, %d failed, errors %v; want 20, 5 and one kind", report.Done, report.Failed, report.Errors)
	}
	e := report.Errors[0]
	if e.Kind != Changed || e.Count != 5 || e.First.Step != 8 || string(e.First.Received.Payload) != "something else" || e.Client == 0 || e.Run == 0 || e.Session == "" {
		t.Errorf("the errors are %+v", e)
	}

	report, err = r.Load(t.Context(), echoServer(t, wrong), Options{Playing: Playing{OnMismatch: Skip}}, LoadTest{Clients: 4, Repeat: 5})
	if err != nil || report.Failed != 0 || len(report.Skipped) != 1 || report.Skipped[0].Count != 5 || !report.Held() {
		t.Errorf("with skip: %v, %d failed, skipped %v", err, report.Failed, report.Skipped)
	}
}

func TestLoadEndsEarlyIfNobodyIsThere(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to := Dialing{URL: wsURL(t, ln.Addr())}
	ln.Close()
	r := loadText(t, tape.Client, talk(1), Matching{})
	report, err := r.Load(t.Context(), to, Options{}, LoadTest{Clients: 2, Repeat: 1e9})
	if !errors.Is(err, ErrReach) || report.Done > 100 || report.Done != report.Failed || report.Held() {
		t.Errorf("%v after %d runs of which %d failed, want ErrReach after a few", err, report.Done, report.Failed)
	}
	if len(report.Errors) != 1 || report.Errors[0].Kind != Unreached {
		t.Errorf("errors %v", report.Errors)
	}
}

// A server that goes away in between is a finding.
func TestLoadGoesOnIfTheServerGoesAway(t *testing.T) {
	for _, policy := range []Policy{Fail, Skip} {
		to := echoServer(t, same)
		var dialed atomic.Int64
		to.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if dialed.Add(1) > 5 {
				return nil, errors.New("out of order")
			}
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}
		r := loadText(t, tape.Client, talk(1), Matching{})
		report, err := r.Load(t.Context(), to, Options{Playing: Playing{OnMismatch: policy}}, LoadTest{Repeat: 20})
		if err != nil || report.Done != 20 || report.Failed != 15 || len(report.Errors) != 1 || report.Errors[0].Kind != Unreached || len(report.Skipped) > 0 {
			t.Errorf("%s: %v; %d done, %d failed, %v; want 20, 15 unreached", policy, err, report.Done, report.Failed, report.Errors)
		}
	}
}

func TestLoadReportsWhatItHasWhenStopped(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	silent := func(n int64, message string) string {
		if n == 3 {
			stop()
		}
		return message
	}
	r := loadText(t, tape.Client, talk(2), Matching{})
	report, err := r.Load(ctx, echoServer(t, silent), Options{}, LoadTest{Repeat: 1000})
	if err != nil || report.Done < 2 || report.Done+report.Unfinished > 4 || report.Failed != 0 || len(report.Errors) > 0 || !report.Held() {
		t.Errorf("%v; %d done, %d unfinished, %d failed, %v", err, report.Done, report.Unfinished, report.Failed, report.Errors)
	}
}

// virtually makes a load of a recording against a fake server of another, on a
// virtual clock, and returns when each run began.
func virtually(t *testing.T, client, server string, pace Pace, l LoadTest) (at []time.Duration, report *LoadReport) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ln, began := newMemoryListener(), time.Now()
		var mu sync.Mutex
		var serving sync.WaitGroup
		serving.Go(func() {
			_, _ = Serve(ctx, ln, loadText(t, tape.Server, server, Matching{}), Options{}, Serving{Loop: true})
		})
		to := Dialing{URL: &url.URL{Scheme: "ws", Host: "server"}, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			mu.Lock()
			at = append(at, time.Since(began))
			mu.Unlock()
			return ln.dial(ctx, network, address)
		}}
		var err error
		report, err = loadText(t, tape.Client, client, Matching{}).Load(ctx, to, Options{Playing: Playing{Pace: pace}}, l)
		if err != nil || report.Done != report.Runs {
			t.Errorf("%v; %d of %d runs", err, report.Done, report.Runs)
		}
		cancel()
		ln.Close()
		serving.Wait()
	})
	slices.Sort(at)
	return at, report
}

func TestLoadKeepsToItsRateAndRamp(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name string
		load LoadTest
		want []time.Duration
	}{
		{"all at once", LoadTest{Clients: 3}, []time.Duration{0, 0, 0}},
		{"rate", LoadTest{Clients: 3, Repeat: 2, Rate: 10}, []time.Duration{0, 100 * ms, 200 * ms, 300 * ms, 400 * ms, 500 * ms}},
		{"ramp", LoadTest{Clients: 4, Ramp: time.Second}, []time.Duration{0, 250 * ms, 500 * ms, 750 * ms}},
		{"both", LoadTest{Clients: 2, Ramp: 2 * time.Second, Repeat: 2, Rate: 4}, []time.Duration{0, 250 * ms, 1000 * ms, 1250 * ms}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if at, report := virtually(t, talk(1), talk(1), Pace{}, c.load); !slices.Equal(at, c.want) || !report.Held() {
				t.Errorf("runs began at %v with errors %v, want %v", at, report.Errors, c.want)
			}
		})
	}
}

// The pace is the recording's: a client closes as long after the answer as on the
// tape, and this server answers at once.
func TestLoadKeepsTheRecordedPace(t *testing.T) {
	at, report := virtually(t, talk(1), talk(1), Pace{Factor: 1}, LoadTest{Clients: 2, Repeat: 2})
	if want := []time.Duration{0, 0, time.Second / 2, time.Second / 2}; !slices.Equal(at, want) || report.Duration != time.Second {
		t.Errorf("runs began at %v and took %s, want %v and 1s", at, report.Duration, want)
	}
}

// A server that has hung up is not waited for.
func TestLoadGoesOnAtOnceIfTheServerHangsUp(t *testing.T) {
	early := session(`"url":"/talk"`) + at(0, "C", "question 0") + closing(0, "S", 1001, "")
	_, report := virtually(t, talk(3), early, Pace{}, LoadTest{Repeat: 3})
	if report.Failed != 3 || report.Errors[0].Kind != EarlyEnd || report.Duration >= time.Second {
		t.Errorf("%d failed in %s with %v, want 3 early ends at once", report.Failed, report.Duration, report.Errors)
	}
}

func TestLoadIsChecked(t *testing.T) {
	r := loadText(t, tape.Client, talk(1), Matching{})
	for _, l := range []LoadTest{{Rate: -1}, {Ramp: -1}} {
		if _, err := r.Load(t.Context(), Dialing{URL: &url.URL{}}, Options{}, l); err == nil {
			t.Errorf("%+v was taken", l)
		}
	}
}

// measured is a report as a test wants it.
func measured(failed int, answers ...time.Duration) *LoadReport {
	r := &LoadReport{
		Recording: "chat.cassette.jsonl", Server: "ws://localhost:8765", Clients: 50, Repeat: 2, Duration: 2 * time.Second,
		Runs: 100, Done: 100, Failed: failed, Sessions: 100, Pace: Pace{Factor: 1}, Connect: newLatency(), Answer: newLatency(),
		Sent: Traffic{150, 1500}, Received: Traffic{50, 700}, Started: began(),
	}
	for _, d := range answers {
		r.Answer.record(d)
	}
	if failed > 0 {
		sent := text(`{"n":1}`)
		r.Errors = []LoadError{{Kind: Changed, Count: failed, Session: "chat.cassette.jsonl", Client: 7, Run: 2, First: Mismatch{
			Kind: Changed, Step: 4, Seq: 9, From: tape.Server, Text: "this came, but not as on the tape", Expected: &sent, Received: &sent,
			Diff: []Difference{{"$.n", "1", "\x1b[31m2"}},
		}}}
	}
	return r
}

func TestReportOfALoad(t *testing.T) {
	r := measured(2, time.Millisecond, 2*time.Millisecond, 300*time.Millisecond)
	r.Judge([]Threshold{threshold(t, "p99>200ms"), threshold(t, "p50>200ms")})
	var out strings.Builder
	if err := r.WriteText(&out); err != nil {
		t.Fatal(err)
	}
	want := `load test: 98 of 100 runs went as recorded; crossed p99>200ms (300ms)
50 clients of chat.cassette.jsonl, 2 runs each, pace recorded, against ws://localhost:8765, took 2s

runs      100 of 100, 2 failed
sessions  100
messages  150 sent, 50 received, 100/s
bytes     1500 sent, 700 received

  latency  count   mean  p50    p90    p99  p99.9    max
  connect      0      -    -      -      -      -      -
   answer      3  101ms  2ms  300ms  300ms  300ms  300ms

errors
  changed message: 2, first by client 7 in run 2, chat.cassette.jsonl
    changed message at step 4 (message 9 on the tape), from the server
      this came, but not as on the tape
      expected  text, 7 bytes: {"n":1}
      received  text, 7 bytes: {"n":1}
      differs   $.n: 1 → \u001b[31m2

thresholds
  CROSSED p99>200ms: 300ms
  held    p50>200ms: 2ms
`
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}

	out.Reset()
	if err := r.WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	wantJSON := `{"recording":"chat.cassette.jsonl","server":"ws://localhost:8765","held":false,"clients":50,"repeat":2,"ramp":0.000000,"pace":"recorded",` +
		`"started":"2026-03-28T21:30:00Z","duration":2.000000,"runs":{"total":100,"done":100,"failed":2},"sessions":100,"messages":{"sent":150,"received":50},` +
		`"bytes":{"sent":1500,"received":700},"messages_per_second":100,"connect":{"count":0},` +
		`"answer":{"count":3,"mean":0.100968,"p50":0.002000,"p90":0.300031,"p99":0.300031,"p999":0.300031,"max":0.300031},` +
		`"errors":[{"kind":"changed message","count":2,"first":{"session":"chat.cassette.jsonl","client":7,"run":2,"kind":"changed message","step":4,"seq":9,"from":"server",` +
		`"t":0.000000,"why":"this came, but not as on the tape","expected":{"op":"text","len":7,"text":"{\"n\":1}"},"received":{"op":"text","len":7,"text":"{\"n\":1}"},` +
		`"diff":[{"path":"$.n","want":"1","got":"\u001b[31m2"}]}}],` +
		`"thresholds":[{"fail_if":"p99>200ms","crossed":true,"measured":"300ms"},{"fail_if":"p50>200ms","crossed":false,"measured":"2ms"}]}` + "\n"
	if out.String() != wantJSON || !json.Valid([]byte(out.String())) {
		t.Errorf("got\n%s\nwant\n%s", out.String(), wantJSON)
	}

	out.Reset()
	if err := r.WriteJUnit(&out); err != nil {
		t.Fatal(err)
	}
	var suites junitSuites
	if err := xml.Unmarshal([]byte(out.String()), &suites); err != nil {
		t.Fatalf("%v in\n%s", err, out.String())
	}
	var cases []string
	for _, c := range suites.Suites[0].Cases {
		cases = append(cases, fmt.Sprintf("%s %v", c.Name, c.Failure != nil))
	}
	if want := []string{"errors true", "p99>200ms true", "p50>200ms false"}; !slices.Equal(cases, want) || suites.Tests != 3 || suites.Failures != 2 {
		t.Errorf("the cases are %v, %d of %d failed; want %v", cases, suites.Failures, suites.Tests, want)
	}
}
