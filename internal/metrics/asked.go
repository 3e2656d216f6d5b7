package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/wstape/wstape/tape"
)

// asked turns figures into metrics when they are asked for.
type asked struct {
	figures func() Figures

	open, refused, ended, frames, messages, bytes, changed, draining, skipped *prometheus.Desc
	waiting, buffer, size, gapFrames, gapBytes, failing                       *prometheus.Desc
	failures, givenUp, stuck, disabled                                        *prometheus.Desc
}

func newAsked(figures func() Figures) *asked {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("wstape_"+name, help, labels, nil)
	}
	return &asked{
		figures:   figures,
		open:      desc("sessions_open", "Sessions that are open, or whose handshake is under way."),
		refused:   desc("handshakes_refused_total", "Handshakes that made no session, whoever refused."),
		ended:     desc("sessions_ended_total", "Sessions that have ended, by how.", "ending"),
		frames:    desc("frames_total", "Frames that came in, by who sent them.", "from"),
		messages:  desc("messages_total", "Messages that came in, by who sent them.", "from"),
		bytes:     desc("payload_bytes_total", "Payload of the frames that came in, by who sent them.", "from"),
		changed:   desc("messages_changed_total", "Messages that were edited, dropped or injected.", "fate"),
		draining:  desc("draining", "1 while wstape ends and waits for its sessions to do so."),
		skipped:   desc("log_lines_skipped_total", "Lines of the live log that there was no time to print."),
		waiting:   desc("tape_waiting_bytes", "What is recorded and not yet written."),
		buffer:    desc("tape_buffer_bytes", "How much may wait to be written (record.buffer)."),
		size:      desc("tape_size_bytes", "Size of the tape's file."),
		gapFrames: desc("tape_gap_frames_total", "Frames that were not recorded; the tape marks where."),
		gapBytes:  desc("tape_gap_bytes_total", "Payload of frames that was not recorded; the tape marks where."),
		failing:   desc("tape_failing", "1 while the tape cannot be written."),
		failures:  desc("script_failures_total", "Hooks that threw or were stopped.", "script"),
		givenUp:   desc("script_runtimes_given_up_total", "Runtimes that could not be stopped, or crashed; their sessions went on without scripts.", "script"),
		stuck:     desc("script_runtimes_stuck", "Runtimes that were given up and still run.", "script"),
		disabled:  desc("script_disabled", "1 if the script runs in no session any more.", "script"),
	}
}

// Describe implements [prometheus.Collector].
func (a *asked) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		a.open, a.refused, a.ended, a.frames, a.messages, a.bytes, a.changed, a.draining, a.skipped,
		a.waiting, a.buffer, a.size, a.gapFrames, a.gapBytes, a.failing, a.failures, a.givenUp, a.stuck, a.disabled,
	} {
		out <- d
	}
}

// Collect implements [prometheus.Collector].
func (a *asked) Collect(out chan<- prometheus.Metric) {
	f := a.figures()
	now := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	total := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	now(a.open, float64(f.Open))
	now(a.draining, truth(f.Draining))
	total(a.refused, f.Refused)
	total(a.skipped, f.LogSkipped)
	for _, kind := range []tape.EndingKind{tape.EndClose, tape.EndEOF, tape.EndReset, tape.EndTimeout, tape.EndError} {
		total(a.ended, f.Ended[kind], string(kind))
	}
	for _, fate := range []tape.Fate{tape.Edited, tape.Dropped, tape.Injected} {
		total(a.changed, f.Changed[fate], string(fate))
	}
	for d, n := range map[*prometheus.Desc]tape.Counts{a.frames: f.Frames, a.messages: f.Messages, a.bytes: f.Bytes} {
		total(d, n.Client, tape.Client.String())
		total(d, n.Server, tape.Server.String())
	}
	if t := f.Tape; t != nil {
		now(a.waiting, float64(t.Waiting))
		now(a.buffer, float64(t.Buffer))
		now(a.size, float64(t.Size))
		now(a.failing, truth(t.Failing))
		total(a.gapFrames, t.Gap.Frames)
		total(a.gapBytes, t.Gap.Bytes)
	}
	for _, s := range f.Scripts {
		total(a.failures, s.Failures, label(s.Name))
		total(a.givenUp, s.GivenUp, label(s.Name))
		now(a.stuck, float64(s.Stuck), label(s.Name))
		now(a.disabled, truth(s.Disabled), label(s.Name))
	}
}

func truth(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
