package stats

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/wstape/wstape/tape"
)

// figure is a number with as many decimals as anybody wants.
type figure float64

func (f figure) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(f), 'f', -1, 64), nil
}

// rounded rounds to 6 decimals: microseconds of seconds.
func rounded(f float64) figure {
	v, _ := strconv.ParseFloat(strconv.FormatFloat(f, 'f', 6, 64), 64) // what was just written
	return figure(v)
}

func seconds(d time.Duration) figure { return rounded(d.Seconds()) }

type summaryJSON struct {
	Sessions  int           `json:"sessions,omitempty"` // of a total
	Open      figure        `json:"open"`
	Protocols []string      `json:"protocols,omitempty"`
	Client    trafficJSON   `json:"client"`
	Server    trafficJSON   `json:"server"`
	Types     []typeJSON    `json:"types,omitempty"`
	Silences  []silenceJSON `json:"silences,omitempty"`
	Gaps      *gapsJSON     `json:"gaps,omitempty"`
	Edited    uint64        `json:"edited,omitempty"`
	Dropped   uint64        `json:"dropped,omitempty"`
	Injected  uint64        `json:"injected,omitempty"`
	Problems  uint64        `json:"problems,omitempty"`
	Capped    *cappedJSON   `json:"capped,omitempty"`
}

type trafficJSON struct {
	Messages uint64    `json:"messages"`
	PerS     *figure   `json:"messages_per_second,omitempty"`
	Bytes    uint64    `json:"bytes"`
	BytesS   *figure   `json:"bytes_per_second,omitempty"`
	Wire     uint64    `json:"wire"`
	Saved    figure    `json:"saved"`
	Size     *sizeJSON `json:"size,omitempty"`
}

type sizeJSON struct {
	Min  int64  `json:"min"`
	Mean figure `json:"mean"`
	P50  int64  `json:"p50"`
	P95  int64  `json:"p95"`
	Max  int64  `json:"max"`
}

type typeJSON struct {
	From    tape.Side `json:"from"`
	Type    string    `json:"type,omitempty"`
	Control bool      `json:"control,omitempty"`
	Other   bool      `json:"other,omitempty"` // all types that were not told apart
	trafficJSON
	Heartbeat  bool          `json:"heartbeat,omitempty"`
	Interval   *intervalJSON `json:"interval,omitempty"`
	Answered   *latencyJSON  `json:"answered,omitempty"`
	Unanswered uint64        `json:"unanswered,omitempty"`
}

type intervalJSON struct {
	Count  uint64  `json:"count"`
	Min    figure  `json:"min"`
	Mean   figure  `json:"mean"`
	P50    figure  `json:"p50"`
	Max    figure  `json:"max"`
	Jitter *figure `json:"jitter,omitempty"`
}

type latencyJSON struct {
	Count uint64 `json:"count"`
	Min   figure `json:"min"`
	Mean  figure `json:"mean"`
	P50   figure `json:"p50"`
	P90   figure `json:"p90"`
	P99   figure `json:"p99"`
	Max   figure `json:"max"`
}

type silenceJSON struct {
	N       uint64 `json:"n,omitempty"`
	T       figure `json:"t"`
	Seconds figure `json:"seconds"`
}

type gapsJSON struct {
	Count  int           `json:"count"`
	Frames uint64        `json:"frames"`
	Bytes  uint64        `json:"bytes"`
	Marks  []gapMarkJSON `json:"marks"` // the first
}

type gapMarkJSON struct {
	N      uint64 `json:"n,omitempty"`
	T      figure `json:"t"`
	Frames uint64 `json:"frames"`
	Bytes  uint64 `json:"bytes"`
	Why    string `json:"why"`
}

type cappedJSON struct {
	Types    int    `json:"types,omitempty"`    // how many are told apart
	Messages uint64 `json:"messages,omitempty"` // of other types
	Requests uint64 `json:"requests,omitempty"` // given up as unanswered, because so many were made after them
}

// MarshalJSON writes a summary as one object. Times are in seconds, sizes in bytes.
func (s *Summary) MarshalJSON() ([]byte, error) {
	open := s.Open()
	j := summaryJSON{
		Open: seconds(open), Protocols: s.Protocols, Client: s.Sides[tape.Client].json(open), Server: s.Sides[tape.Server].json(open),
		Edited: s.Edited, Dropped: s.Dropped, Injected: s.Injected, Problems: s.Problems,
	}
	total := s.Sessions > 1
	n := func(session uint64) uint64 {
		if total {
			return session
		}
		return 0 // it is the one
	}
	if total {
		j.Sessions = s.Sessions
	}
	for _, t := range s.Sorted() {
		j.Types = append(j.Types, t.json(open))
	}
	for _, x := range s.Silences {
		j.Silences = append(j.Silences, silenceJSON{n(x.N), seconds(x.T), seconds(x.Long)})
	}
	if s.Marks > 0 {
		j.Gaps = &gapsJSON{Count: s.Marks, Frames: s.Lost.Frames, Bytes: s.Lost.Bytes}
		for _, g := range s.Gaps {
			j.Gaps.Marks = append(j.Gaps.Marks, gapMarkJSON{n(g.N), seconds(g.T), g.Frames, g.Bytes, g.Why})
		}
	}
	if s.Untold+s.Forgotten > 0 {
		j.Capped = &cappedJSON{Messages: s.Untold, Requests: s.Forgotten}
		if s.Untold > 0 {
			j.Capped.Types = maxTypes
		}
	}
	return json.Marshal(j)
}

func (t *Traffic) json(open time.Duration) trafficJSON {
	j := trafficJSON{Messages: t.Messages, Bytes: t.Bytes, Wire: t.Wire, Saved: rounded(t.Saved())}
	if open > 0 {
		messages, bytes := rounded(float64(t.Messages)/open.Seconds()), rounded(float64(t.Bytes)/open.Seconds())
		j.PerS, j.BytesS = &messages, &bytes
	}
	if s := &t.Size; s.Count > 0 {
		j.Size = &sizeJSON{s.Min, rounded(s.Mean()), s.At(50), s.At(95), s.Max}
	}
	return j
}

func (t *Type) json(open time.Duration) typeJSON {
	j := typeJSON{
		From: t.From, Type: t.Name, Control: t.Control, Other: t.Untold, trafficJSON: t.Traffic.json(open),
		Heartbeat: t.Heartbeat, Unanswered: t.Unanswered,
	}
	if s := &t.Interval; s.Count > 0 {
		j.Interval = &intervalJSON{s.Count, micros(s.Min), rounded(s.Mean() / 1e6), micros(s.At(50)), micros(s.Max), nil}
		if t.jitters > 0 {
			jitter := rounded(t.Jitter() / 1e6)
			j.Interval.Jitter = &jitter
		}
	}
	if s := &t.Answered; s.Count > 0 {
		j.Answered = &latencyJSON{s.Count, micros(s.Min), rounded(s.Mean() / 1e6), micros(s.At(50)), micros(s.At(90)), micros(s.At(99)), micros(s.Max)}
	}
	return j
}

// micros writes microseconds as seconds.
func micros(v int64) figure { return rounded(float64(v) / 1e6) }
