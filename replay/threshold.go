package replay

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Threshold is a bound of a load test: it is crossed if what it says is so. It
// is a name, one of > >= < <=, and a value:
//
//	p99>200ms    a percentile of the answers' latency (p50, p90, p99.9, …) and a duration
//	mean>20ms    their mean
//	max>=1s      the slowest
//	errors>0     runs that failed
//	errors>1%    and their share of those that are over
//	rate<1000    messages a second, both ways together
type Threshold struct {
	Text string // as it was written

	name    string
	percent float64 // of a percentile
	op      string
	bound   float64 // in seconds for a duration
	share   bool    // bound is a percentage
}

// Verdict is what came of a threshold.
type Verdict struct {
	Threshold
	Crossed  bool
	Measured string // for people, with its unit
}

// thresholdNames is for messages.
const thresholdNames = "p50, p99, p99.9 or any other percentile, mean, max (of the answers' latency, against a duration as 200ms), " +
	"errors (failed runs, against a number or a share as 1%), rate (messages a second, against a number)"

var thresholdForm = regexp.MustCompile(`^\s*([A-Za-z][A-Za-z0-9._]*)\s*(>=|<=|>|<)\s*(\S+)\s*$`)

// ParseThreshold reads a threshold.
func ParseThreshold(text string) (Threshold, error) {
	m := thresholdForm.FindStringSubmatch(text)
	if m == nil {
		return Threshold{}, fmt.Errorf("threshold %q is not NAME>VALUE (or >=, <, <=), such as p99>200ms; names are %s", text, thresholdNames)
	}
	t := Threshold{Text: strings.TrimSpace(text), name: m[1], op: m[2]}
	value := m[3]
	switch digits, isPercentile := strings.CutPrefix(t.name, "p"); {
	case isPercentile:
		p, err := strconv.ParseFloat(digits, 64)
		if err != nil || !(p > 0 && p <= 100) {
			return t, fmt.Errorf("threshold %q: %s is not a percentile above p0 up to p100", text, t.name)
		}
		t.percent = p
		return t, t.duration(value)
	case t.name == "mean", t.name == "max":
		return t, t.duration(value)
	case t.name == "errors":
		value, t.share = strings.CutSuffix(value, "%")
	case t.name != "rate":
		return t, fmt.Errorf("threshold %q: there is no %s; names are %s", text, t.name, thresholdNames)
	}
	var err error
	if t.bound, err = strconv.ParseFloat(value, 64); err != nil || !(t.bound >= 0 && t.bound <= math.MaxFloat64) {
		also := ""
		if t.name == "errors" {
			also = " or a share of the runs, as 1%"
		}
		return t, fmt.Errorf("threshold %q: %s is not a number from 0%s", text, m[3], also)
	}
	return t, nil
}

func (t *Threshold) duration(value string) error {
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 {
		return fmt.Errorf("threshold %q: %s is not a duration, as 200ms or 1.5s", t.Text, value)
	}
	t.bound = d.Seconds()
	return nil
}

// Judge measures a report against thresholds, in place of an earlier judgement.
func (r *LoadReport) Judge(list []Threshold) {
	r.Verdicts = nil
	for _, t := range list {
		r.Verdicts = append(r.Verdicts, t.judge(r))
	}
}

func (t Threshold) judge(r *LoadReport) Verdict {
	v := Verdict{Threshold: t}
	latency := func(d time.Duration) float64 {
		v.Measured = threeDigits(d)
		return d.Seconds()
	}
	var got float64
	switch {
	case t.name == "rate":
		got = r.MessageRate()
		v.Measured = fmt.Sprintf("%.1f messages/s", got)
	case t.share:
		got = 100 * float64(r.Failed) / float64(max(r.Done, 1))
		v.Measured = fmt.Sprintf("%d of %s failed, %.3g%%", r.Failed, many(r.Done, "run"), got)
	case t.name == "errors":
		got = float64(r.Failed)
		v.Measured = fmt.Sprintf("%d of %s failed", r.Failed, many(r.Done, "run"))
	case r.Answer.Count() == 0:
		v.Crossed, v.Measured = true, "no answer was measured" // what was not measured has not held
		return v
	case t.name == "mean":
		got = latency(r.Answer.Mean())
	case t.name == "max":
		got = latency(r.Answer.Max())
	default:
		got = latency(r.Answer.At(t.percent))
	}
	switch t.op {
	case ">":
		v.Crossed = got > t.bound
	case ">=":
		v.Crossed = got >= t.bound
	case "<":
		v.Crossed = got < t.bound
	case "<=":
		v.Crossed = got <= t.bound
	}
	return v
}
