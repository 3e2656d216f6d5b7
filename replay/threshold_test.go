package replay

import (
	"strings"
	"testing"
	"time"
)

func threshold(t *testing.T, text string) Threshold {
	t.Helper()
	th, err := ParseThreshold(text)
	if err != nil {
		t.Fatal(err)
	}
	return th
}

func TestThresholds(t *testing.T) {
	const ms = time.Millisecond
	var hundred []time.Duration // 1 ms to 100 ms
	for i := range 100 {
		hundred = append(hundred, time.Duration(i+1)*ms)
	}
	for _, c := range []struct {
		text     string
		report   *LoadReport
		crossed  bool
		measured string
	}{
		{"p99>200ms", measured(0, hundred...), false, "99ms"},
		{"p99>98ms", measured(0, hundred...), true, "99ms"},
		{"p50>=50ms", measured(0, hundred...), true, "50ms"},
		{" p50 < 50ms ", measured(0, hundred...), false, "50ms"},
		{"p99.9>99.5ms", measured(0, hundred...), true, "100ms"},
		{"p100<=1s", measured(0, hundred...), true, "100ms"},
		{"mean>50ms", measured(0, hundred...), true, "50.5ms"},
		{"max>100.5ms", measured(0, hundred...), false, "100ms"},
		{"errors>0", measured(0), false, "0 of 100 runs failed"},
		{"errors>0", measured(1), true, "1 of 100 runs failed"},
		{"errors>=3", measured(3), true, "3 of 100 runs failed"},
		{"errors>1%", measured(1), false, "1 of 100 runs failed, 1%"},
		{"errors>1.5%", measured(2), true, "2 of 100 runs failed, 2%"},
		{"rate<100", measured(0), false, "100.0 messages/s"},
		{"rate<100.5", measured(0), true, "100.0 messages/s"},
		{"p99>200ms", measured(0), true, "no answer was measured"},
	} {
		v := threshold(t, c.text).judge(c.report)
		if v.Crossed != c.crossed || v.Measured != c.measured {
			t.Errorf("%s: crossed %v with %q, want %v with %q", c.text, v.Crossed, v.Measured, c.crossed, c.measured)
		}
	}
}

// A threshold of errors decides how many runs may fail.
func TestThresholdsOfErrorsDecideAboutRuns(t *testing.T) {
	for _, c := range []struct {
		failed     int
		thresholds []string
		held       bool
	}{
		{0, nil, true},
		{1, nil, false},
		{1, []string{"max>1h"}, false},
		{1, []string{"errors>1%"}, true},
		{2, []string{"errors>1%"}, false},
		{2, []string{"errors>5", "max>100ms"}, false},
		{0, []string{"max>2ms"}, true},
	} {
		r := measured(c.failed, time.Millisecond)
		if c.failed == 2 {
			r.Answer.record(200 * time.Millisecond)
		}
		var list []Threshold
		for _, text := range c.thresholds {
			list = append(list, threshold(t, text))
		}
		if r.Judge(list); r.Held() != c.held {
			t.Errorf("%d failed with %v: held %v", c.failed, c.thresholds, r.Held())
		}
	}
}

func TestThresholdsThatAreNone(t *testing.T) {
	for text, want := range map[string]string{
		"":               "is not NAME>VALUE",
		"p99":            "is not NAME>VALUE",
		"p99=200ms":      "is not NAME>VALUE",
		"p99>200 ms":     "is not NAME>VALUE",
		"p99>200":        "200 is not a duration, as 200ms or 1.5s",
		"p99>-1ms":       "-1ms is not a duration",
		"p0>1ms":         "p0 is not a percentile",
		"p101>1ms":       "p101 is not a percentile",
		"pNaN>1ms":       "pNaN is not a percentile",
		"latency>1ms":    "there is no latency; names are p50, p99",
		"mean>x":         "x is not a duration",
		"errors>many":    "many is not a number from 0 or a share of the runs, as 1%",
		"errors>NaN":     "NaN is not a number",
		"errors>-1":      "-1 is not a number",
		"rate<1%":        "1% is not a number from 0",
		"rate<Inf":       "Inf is not a number",
		"p99>1ms<2ms":    "is not a duration",
		"errors>1%%":     "is not a number",
		"rate>1e999":     "is not a number",
		"percentile>1ms": "percentile is not a percentile",
	} {
		if _, err := ParseThreshold(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want something with %q", text, err, want)
		}
	}
}
