// Package metrics gives figures to Prometheus. It knows nobody who counts: what is
// counted elsewhere it asks for when it is asked, through a function; what takes
// time it is told as it happens. Labels come from the configuration and from the
// code, never from a peer, so that there are only so many series.
package metrics

import (
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/wstape/wstape/tape"
)

// Figures are what is counted elsewhere, since the start unless said otherwise.
type Figures struct {
	Open       int                        // sessions, now
	Refused    uint64                     // handshakes that made no session
	Ended      map[tape.EndingKind]uint64 // sessions
	Frames     tape.Counts                // by who sent them
	Messages   tape.Counts
	Bytes      tape.Counts // payload of the frames
	Changed    map[tape.Fate]uint64
	Draining   bool
	Tape       *Tape // nil if nothing is recorded
	Scripts    []Script
	LogSkipped uint64 // lines of the live log
}

// Tape is about recording.
type Tape struct {
	Waiting int64    // bytes that are not yet written, now
	Buffer  int64    // how many may
	Size    int64    // bytes of the file, now
	Gap     tape.Gap // what was not recorded
	Failing bool     // it cannot be written, now
}

// Script is about one script.
type Script struct {
	Name     string
	Failures uint64
	GivenUp  uint64 // runtimes
	Stuck    int    // those of them that still run, now
	Disabled bool
}

// Metrics holds what it is told, and answers scrapes. Its methods are safe for
// concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	added    prometheus.Histogram
	scripts  *prometheus.HistogramVec
	writes   prometheus.Histogram
	failures prometheus.Counter
}

// New makes metrics that ask for figures with each scrape.
func New(version string, figures func() Figures) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		added: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "wstape_added_latency_seconds",
			Help:    "How long what came in was kept before it was written on; a sample. Waiting for a peer that is slow to take it is not in it.",
			Buckets: []float64{1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 1e-3, 5e-3, 25e-3, 0.1, 0.5, 2.5, 10, 30},
		}),
		scripts: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "wstape_script_run_seconds",
			Help:    "How long scripts ran without yielding.",
			Buckets: []float64{5e-6, 2.5e-5, 1e-4, 5e-4, 2.5e-3, 1e-2, 5e-2, 0.1, 0.5, 2.5},
		}, []string{"script"}),
		writes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "wstape_tape_write_seconds",
			Help:    "How long writing to the tape took, each time, whether it succeeded or not.",
			Buckets: []float64{5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1, 2.5, 10},
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "wstape_tape_write_failures_total", Help: "Writes to the tape that failed; they are tried again.",
		}),
	}
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "wstape_build_info", Help: "1, with the version as a label.", ConstLabels: prometheus.Labels{"version": version},
	}, func() float64 { return 1 })
	m.registry.MustRegister(m.added, m.scripts, m.writes, m.failures, build, newAsked(figures),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// maxScrapes is how many may be under way at once.
const maxScrapes = 4

// Handler answers scrapes.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes})
}

// Added is told how long something was kept between being read and being written.
func (m *Metrics) Added(d time.Duration) { m.added.Observe(d.Seconds()) }

// Written is told how long a write to the tape took, and how it went.
func (m *Metrics) Written(took time.Duration, err error) {
	m.writes.Observe(took.Seconds())
	if err != nil {
		m.failures.Inc()
	}
}

// Ran is told how long a script ran.
func (m *Metrics) Ran(script string, took time.Duration) {
	m.scripts.WithLabelValues(label(script)).Observe(took.Seconds())
}

// label makes a file's name one that Prometheus takes.
func label(name string) string { return strings.ToValidUTF8(name, "\uFFFD") }
