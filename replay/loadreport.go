package replay

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// LoadReport is what a load test measured.
type LoadReport struct {
	Recording string
	Server    string
	Clients   int
	Repeat    int
	Rate      float64
	Ramp      time.Duration
	Pace      Pace

	Started        time.Time
	Duration       time.Duration
	Runs           int // that were to be
	Done           int
	Failed         int // of those done
	Unfinished     int // cut short when the test was stopped
	Sessions       int
	Sent, Received Traffic
	Connect        Latency     // from dialing to the server's answer to the handshake
	Answer         Latency     // from a message to the answer that came next on the tape
	Errors         []LoadError // by kind, the most frequent first
	Skipped        []LoadError // went on in spite of them
	Verdicts       []Verdict   // of thresholds
}

// Traffic is messages and the bytes of their payloads.
type Traffic struct{ Messages, Bytes uint64 }

// LoadError is how often runs differed from the recording in one way, and the
// first time that they did.
type LoadError struct {
	Kind    Kind
	Count   int
	First   Mismatch
	Session string
	Client  int // from 1
	Run     int // of the client, from 1
	At      time.Time
}

// addError counts an error by its kind.
func addError(list []LoadError, e LoadError) []LoadError {
	i := slices.IndexFunc(list, func(known LoadError) bool { return known.Kind == e.Kind })
	if i < 0 {
		return append(list, e)
	}
	e.Count += list[i].Count
	if !e.At.Before(list[i].At) {
		list[i].Count = e.Count
		return list
	}
	list[i] = e
	return list
}

func sortErrors(list []LoadError) {
	slices.SortStableFunc(list, func(a, b LoadError) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Kind, b.Kind))
	})
}

// MessageRate is how many messages went to and fro in a second.
func (r *LoadReport) MessageRate() float64 {
	if r.Duration <= 0 {
		return 0
	}
	return float64(r.Sent.Messages+r.Received.Messages) / r.Duration.Seconds()
}

// Held reports whether no threshold was crossed and no run failed. With a
// threshold for errors that one alone decides about runs.
func (r *LoadReport) Held() bool { return r.errorsHeld() && len(r.crossed()) == 0 }

func (r *LoadReport) errorsHeld() bool {
	return r.Failed == 0 || slices.ContainsFunc(r.Verdicts, func(v Verdict) bool { return v.name == "errors" })
}

func (r *LoadReport) crossed() (out []Verdict) {
	for _, v := range r.Verdicts {
		if v.Crossed {
			out = append(out, v)
		}
	}
	return out
}

// Verdict says in a sentence how it went.
func (r *LoadReport) Verdict() string {
	text := fmt.Sprintf("load test: %d of %s went as recorded", r.Done-r.Failed, many(r.Runs, "run"))
	if left := r.Runs - r.Done; left > 0 {
		text += fmt.Sprintf(", %d had not come to an end", left)
	}
	for _, v := range r.crossed() {
		text += fmt.Sprintf("; crossed %s (%s)", v.Text, v.Measured)
	}
	return text
}

// WriteText writes the report for people. Whatever the server sent is escaped.
func (r *LoadReport) WriteText(w io.Writer) error {
	b := bufio.NewWriter(w) // keeps the first error for Flush
	fmt.Fprintf(b, "%s\n%s, against %s, took %s\n\n", r.Verdict(), escaped(r.shape()), escaped(r.Server), shortTime(r.Duration))
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	runs := fmt.Sprintf("%d of %d, %d failed", r.Done, r.Runs, r.Failed)
	if r.Unfinished > 0 {
		runs += fmt.Sprintf(", %d cut short", r.Unfinished)
	}
	fmt.Fprintf(t, "runs\t%s\nsessions\t%d\n", runs, r.Sessions)
	fmt.Fprintf(t, "messages\t%d sent, %d received, %.0f/s\n", r.Sent.Messages, r.Received.Messages, r.MessageRate())
	fmt.Fprintf(t, "bytes\t%d sent, %d received\n", r.Sent.Bytes, r.Received.Bytes)
	_ = t.Flush()
	fmt.Fprintln(b)
	t = tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "latency\tcount\tmean\tp50\tp90\tp99\tp99.9\tmax\t\n")
	for _, row := range []struct {
		name string
		l    Latency
	}{{"connect", r.Connect}, {"answer", r.Answer}} {
		fmt.Fprintf(t, "%s\t%d\t", row.name, row.l.Count())
		for _, d := range row.l.figures() {
			text := "-"
			if row.l.Count() > 0 {
				text = threeDigits(d)
			}
			fmt.Fprintf(t, "%s\t", text)
		}
		fmt.Fprintln(t)
	}
	_ = t.Flush()
	writeErrors(b, "errors", r.Errors)
	writeErrors(b, "skipped", r.Skipped)
	if len(r.Verdicts) > 0 {
		fmt.Fprint(b, "\nthresholds\n")
	}
	for _, v := range r.Verdicts {
		fmt.Fprintf(b, "  %s\n", v.line())
	}
	return b.Flush()
}

// shape is what load it was.
func (r *LoadReport) shape() string {
	text := many(r.Clients, "client")
	if r.Recording != "" {
		text += " of " + r.Recording
	}
	if r.Repeat > 1 {
		text += fmt.Sprintf(", %d runs each", r.Repeat)
	}
	if r.Rate > 0 {
		text += fmt.Sprintf(", at most %g new runs a second", r.Rate)
	}
	if r.Ramp > 0 {
		text += fmt.Sprintf(", started over %s", r.Ramp)
	}
	return text + ", pace " + paceText(r.Pace)
}

func paceText(p Pace) string {
	switch p {
	case Pace{}:
		return "instant"
	case Pace{Factor: 1}:
		return "recorded"
	}
	return fmt.Sprintf("%gx", p.Factor)
}

// figures are the columns of a report: the mean, percentiles and the slowest.
func (l Latency) figures() []time.Duration {
	return []time.Duration{l.Mean(), l.At(50), l.At(90), l.At(99), l.At(99.9), l.Max()}
}

// threeDigits writes a time as precisely as it was measured.
func threeDigits(d time.Duration) string {
	unit := time.Microsecond
	for d >= 1000*unit {
		unit *= 10
	}
	return d.Round(unit).String()
}

func (v *Verdict) line() string {
	text := "held"
	if v.Crossed {
		text = "CROSSED"
	}
	return fmt.Sprintf("%-7s %s: %s", text, escaped(v.Text), v.Measured)
}

func writeErrors(w io.Writer, title string, list []LoadError) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", title)
	for i := range list {
		io.WriteString(w, list[i].text()) // the buffer keeps the error
	}
}

// text tells an error with its first example.
func (e *LoadError) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "  %s: %d, first by client %d in run %d, %s\n", e.Kind, e.Count, e.Client, e.Run, escaped(e.Session))
	for line := range strings.Lines(explain([]Mismatch{e.First})) {
		b.WriteString("  " + line)
	}
	return b.String()
}

type loadJSON struct {
	Recording string  `json:"recording,omitempty"`
	Server    string  `json:"server"`
	Held      bool    `json:"held"`
	Clients   int     `json:"clients"`
	Repeat    int     `json:"repeat"`
	Rate      float64 `json:"rate,omitempty"`
	Ramp      seconds `json:"ramp"`
	Pace      string  `json:"pace"`

	Started    *time.Time      `json:"started,omitempty"`
	Duration   seconds         `json:"duration"`
	Runs       runsJSON        `json:"runs"`
	Sessions   int             `json:"sessions"`
	Messages   bothJSON        `json:"messages"`
	Bytes      bothJSON        `json:"bytes"`
	PerSecond  float64         `json:"messages_per_second"`
	Connect    latencyJSON     `json:"connect"`
	Answer     latencyJSON     `json:"answer"`
	Errors     []loadErrorJSON `json:"errors,omitempty"`
	Skipped    []loadErrorJSON `json:"skipped,omitempty"`
	Thresholds []verdictJSON   `json:"thresholds,omitempty"`
}

type runsJSON struct {
	Total      int `json:"total"`
	Done       int `json:"done"`
	Failed     int `json:"failed"`
	Unfinished int `json:"unfinished,omitempty"` // cut short when the test was stopped
}

type bothJSON struct {
	Sent     uint64 `json:"sent"`
	Received uint64 `json:"received"`
}

// latencyJSON has nothing but its count if nothing was measured.
type latencyJSON struct {
	Count int64    `json:"count"`
	Mean  *seconds `json:"mean,omitempty"`
	P50   *seconds `json:"p50,omitempty"`
	P90   *seconds `json:"p90,omitempty"`
	P99   *seconds `json:"p99,omitempty"`
	P999  *seconds `json:"p999,omitempty"`
	Max   *seconds `json:"max,omitempty"`
}

type loadErrorJSON struct {
	Kind  Kind             `json:"kind"`
	Count int              `json:"count"`
	First firstFailureJSON `json:"first"`
}

type firstFailureJSON struct {
	Session string `json:"session"`
	Client  int    `json:"client"`
	Run     int    `json:"run"`
	mismatchJSON
}

type verdictJSON struct {
	FailIf   string `json:"fail_if"`
	Crossed  bool   `json:"crossed"`
	Measured string `json:"measured"`
}

// WriteJSON writes the report for programs, as one object in one line. Times are
// in seconds.
func (r *LoadReport) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	j := loadJSON{
		Recording: r.Recording, Server: r.Server, Held: r.Held(), Clients: r.Clients, Repeat: r.Repeat, Rate: r.Rate,
		Ramp: seconds(r.Ramp), Pace: paceText(r.Pace), Started: instant(r.Started), Duration: seconds(r.Duration),
		Runs: runsJSON{r.Runs, r.Done, r.Failed, r.Unfinished}, Sessions: r.Sessions,
		Messages: bothJSON{r.Sent.Messages, r.Received.Messages}, Bytes: bothJSON{r.Sent.Bytes, r.Received.Bytes},
		PerSecond: r.MessageRate(), Connect: r.Connect.json(), Answer: r.Answer.json(),
		Errors: errorsJSON(r.Errors), Skipped: errorsJSON(r.Skipped),
	}
	for _, v := range r.Verdicts {
		j.Thresholds = append(j.Thresholds, verdictJSON{v.Text, v.Crossed, v.Measured})
	}
	return enc.Encode(j)
}

func (l Latency) json() latencyJSON {
	j := latencyJSON{Count: l.Count()}
	if j.Count == 0 {
		return j
	}
	f := l.figures()
	for i, to := range []**seconds{&j.Mean, &j.P50, &j.P90, &j.P99, &j.P999, &j.Max} {
		s := seconds(f[i])
		*to = &s
	}
	return j
}

func errorsJSON(list []LoadError) (out []loadErrorJSON) {
	for i := range list {
		e := &list[i]
		out = append(out, loadErrorJSON{e.Kind, e.Count, firstFailureJSON{
			Session: e.Session, Client: e.Client, Run: e.Run, mismatchJSON: mismatchesJSON([]Mismatch{e.First})[0],
		}})
	}
	return out
}

// WriteJUnit writes the report as JUnit XML: a test case for the runs and one for
// each threshold.
func (r *LoadReport) WriteJUnit(w io.Writer) error {
	const class = "replay.load"
	suite := junitSuite{
		Name: "replay load", Package: "replay", Hostname: "localhost",
		Timestamp: r.Started.UTC().Format("2006-01-02T15:04:05"), Time: junitTime(r.Duration),
		Properties: []junitProperty{{"recording", r.Recording}, {"load", r.shape()}},
	}
	var text strings.Builder
	if err := r.WriteText(&text); err != nil {
		return err
	}
	suite.SystemOut = junitText{text.String()}
	add := func(name string, failure *junitFailure) {
		suite.Cases = append(suite.Cases, junitCase{Name: name, Class: class, Time: junitTime(r.Duration), Failure: failure})
		suite.Tests++
		if failure != nil {
			suite.Failures++
		}
	}
	var failed *junitFailure
	if !r.errorsHeld() {
		var all strings.Builder
		writeErrors(&all, "errors", r.Errors)
		failed = &junitFailure{fmt.Sprintf("%d of %s failed", r.Failed, many(r.Done, "run")), "", junitText{all.String()}}
		if len(r.Errors) > 0 {
			failed.Type = r.Errors[0].Kind
		}
	}
	add("errors", failed)
	for _, v := range r.Verdicts {
		var crossed *junitFailure
		if v.Crossed {
			crossed = &junitFailure{fmt.Sprintf("%s: %s", v.Text, v.Measured), "threshold", junitText{v.line()}}
		}
		add(v.Text, crossed)
	}
	return suite.write(w)
}
