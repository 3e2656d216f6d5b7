package metrics

import (
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/wstape/wstape/tape"
)

func busy() Figures {
	return Figures{
		Open: 3, Refused: 2, Ended: map[tape.EndingKind]uint64{tape.EndClose: 7, tape.EndReset: 1},
		Frames: tape.Counts{Client: 10, Server: 20}, Messages: tape.Counts{Client: 9, Server: 18}, Bytes: tape.Counts{Client: 1000, Server: 2000},
		Changed: map[tape.Fate]uint64{tape.Edited: 4}, Draining: true, LogSkipped: 5,
		Tape:    &Tape{Waiting: 100, Buffer: 16 << 20, Size: 1 << 20, Gap: tape.Gap{Frames: 6, Bytes: 600}, Failing: true},
		Scripts: []Script{{Name: "chat.ts", Failures: 8, GivenUp: 2, Stuck: 1, Disabled: true}, {Name: "bad\xffname.js"}},
	}
}

// told is metrics that have been told something of everything.
func told(figures func() Figures) *Metrics {
	m := New("1.2.3", figures)
	m.Added(3 * time.Microsecond)
	m.Written(20*time.Millisecond, nil)
	m.Written(2*time.Second, errors.New("disk full"))
	m.Ran("chat.ts", time.Millisecond)
	m.Ran("bad\xffname.js", time.Millisecond)
	return m
}

func TestNamesFollowTheConventions(t *testing.T) {
	problems, err := testutil.GatherAndLint(told(busy).registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestWhatAScrapeGets(t *testing.T) {
	w := httptest.NewRecorder()
	told(busy).Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	body, err := io.ReadAll(w.Body)
	if err != nil || w.Code != 200 {
		t.Fatal(w.Code, err)
	}
	lines := strings.Split(string(body), "\n")
	for _, want := range []string{
		`wstape_build_info{version="1.2.3"} 1`,
		`wstape_sessions_open 3`,
		`wstape_handshakes_refused_total 2`,
		`wstape_sessions_ended_total{ending="close"} 7`,
		`wstape_sessions_ended_total{ending="timeout"} 0`,
		`wstape_frames_total{from="client"} 10`,
		`wstape_frames_total{from="server"} 20`,
		`wstape_messages_total{from="server"} 18`,
		`wstape_payload_bytes_total{from="client"} 1000`,
		`wstape_messages_changed_total{fate="edited"} 4`,
		`wstape_messages_changed_total{fate="injected"} 0`,
		`wstape_draining 1`,
		`wstape_log_lines_skipped_total 5`,
		`wstape_tape_waiting_bytes 100`,
		`wstape_tape_buffer_bytes 1.6777216e+07`,
		`wstape_tape_size_bytes 1.048576e+06`,
		`wstape_tape_failing 1`,
		`wstape_tape_gap_frames_total 6`,
		`wstape_tape_gap_bytes_total 600`,
		`wstape_tape_write_failures_total 1`,
		`wstape_tape_write_seconds_count 2`,
		`wstape_tape_write_seconds_bucket{le="0.025"} 1`,
		`wstape_added_latency_seconds_bucket{le="2.5e-06"} 0`,
		`wstape_added_latency_seconds_bucket{le="5e-06"} 1`,
		`wstape_script_run_seconds_count{script="chat.ts"} 1`,
		`wstape_script_failures_total{script="chat.ts"} 8`,
		`wstape_script_runtimes_given_up_total{script="chat.ts"} 2`,
		`wstape_script_runtimes_stuck{script="chat.ts"} 1`,
		`wstape_script_disabled{script="chat.ts"} 1`,
		"wstape_script_failures_total{script=\"bad\uFFFDname.js\"} 0",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("no line %s", want)
		}
	}
	for _, name := range []string{"go_goroutines ", "process_open_fds ", "process_resident_memory_bytes "} {
		if !slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, name) }) {
			t.Errorf("no %s", name)
		}
	}
}

func TestNothingIsSaidOfATapeThatIsNotThere(t *testing.T) {
	m := New("1", func() Figures { return Figures{} })
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if body := w.Body.String(); strings.Contains(body, "wstape_tape_waiting") || !strings.Contains(body, "wstape_sessions_open 0") {
		t.Error(body)
	}
}

// TestTheManualNamesWhatThereIs compares docs/operations.md with a scrape.
func TestTheManualNamesWhatThereIs(t *testing.T) {
	manual, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	families, err := told(busy).registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, f := range families {
		known[f.GetName()] = true
		if strings.HasPrefix(f.GetName(), "wstape_") && !strings.Contains(string(manual), f.GetName()) {
			t.Errorf("the manual does not have %s", f.GetName())
		}
	}
	for _, name := range regexp.MustCompile(`\b(wstape|process)_[a-z_]*[a-z]\b`).FindAllString(string(manual), -1) {
		if !known[strings.TrimSuffix(name, "_bucket")] {
			t.Errorf("the manual has %s, which there is not", name)
		}
	}
}
