package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestMeter(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(0, 0)
	m := newMeter(&out, 70, "search", func() time.Time { return now })
	at := func(after time.Duration, part float64) string {
		out.Reset()
		now = time.Unix(0, 0).Add(after)
		m.at(part, "12 MiB")
		return out.String()
	}
	for _, step := range []struct {
		after time.Duration
		part  float64
		want  string
	}{
		{100 * time.Millisecond, 0.1, ""}, // it may be over soon
		{time.Second, 0.25, "\rsearch [=====               ]  25 %  12 MiB  3s left\x1b[K"},
		{time.Second + time.Millisecond, 0.3, ""},
		{2 * time.Second, 0.001, "\rsearch [                    ]   0 %  12 MiB\x1b[K"},
		{time.Hour, 0.5, "\rsearch [==========          ]  50 %  12 MiB  1h0m0s left\x1b[K"},
		{2 * time.Hour, 7, "\rsearch [====================] 100 %  12 MiB\x1b[K"}, // the work has grown
	} {
		if got := at(step.after, step.part); got != step.want {
			t.Errorf("after %v: %q, should be %q", step.after, got, step.want)
		}
	}
	out.Reset()
	m.clear()
	m.clear()
	if got := out.String(); got != "\r\x1b[K" {
		t.Errorf("cleared with %q", got)
	}
	m.columns = 20
	if got := at(3*time.Hour, 0.5); strings.Contains(got, "12 MiB") || len(got) > len("\r\x1b[K")+19 {
		t.Errorf("%q is wider than 20 columns", got)
	}
	var none *meter
	none.at(1, "")
	none.clear()
}
