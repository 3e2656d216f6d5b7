package replay

import (
	"encoding/json"
	"io"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/wstape/wstape/tape"
)

// The JSON forms below are contracts, as those of package tape: additions only,
// absent beats null.

type reportJSON struct {
	Role       string       `json:"role"`
	Recording  string       `json:"recording,omitempty"`
	Held       bool         `json:"held"`
	Started    *time.Time   `json:"started,omitempty"`
	Duration   seconds      `json:"duration"`
	Sessions   sessionsJSON `json:"sessions"`
	Mismatches int          `json:"mismatches"`
	Skipped    int          `json:"skipped"`
}

type sessionsJSON struct {
	Total    int `json:"total"`
	Held     int `json:"held"`
	Failed   int `json:"failed"` // unplayed ones included
	Unplayed int `json:"unplayed"`
}

type outcomeJSON struct {
	Session    string         `json:"session"`
	N          uint64         `json:"n,omitempty"`
	Target     string         `json:"target,omitempty"`
	Peer       string         `json:"peer,omitempty"`
	Held       bool           `json:"held"`
	Steps      int            `json:"steps"`
	Played     int            `json:"played"`
	Started    *time.Time     `json:"started,omitempty"`
	Duration   seconds        `json:"duration"`
	Mismatches []mismatchJSON `json:"mismatches,omitempty"`
	Skipped    []mismatchJSON `json:"skipped,omitempty"`
	Notes      []string       `json:"notes,omitempty"`
}

type mismatchJSON struct {
	Kind     Kind             `json:"kind"`
	Step     int              `json:"step,omitempty"`
	Seq      uint64           `json:"seq,omitempty"`
	From     *tape.Side       `json:"from,omitempty"`
	T        seconds          `json:"t"`
	Why      string           `json:"why"`
	Expected *payloadJSON     `json:"expected,omitempty"`
	Received *payloadJSON     `json:"received,omitempty"`
	Diff     []differenceJSON `json:"diff,omitempty"`
	Nearest  *candidateJSON   `json:"nearest,omitempty"`
}

type differenceJSON struct {
	Path string `json:"path"`
	Want string `json:"want,omitempty"`
	Got  string `json:"got,omitempty"`
}

type candidateJSON struct {
	Step int              `json:"step"`
	Seq  uint64           `json:"seq,omitempty"`
	Same bool             `json:"same"`
	Diff []differenceJSON `json:"diff,omitempty"`
}

// payloadJSON is a message as the lines of `show --json` have it.
type payloadJSON struct {
	Op        tape.Opcode `json:"op"`
	Len       uint64      `json:"len"`
	Text      *string     `json:"text,omitempty"`
	B64       *[]byte     `json:"b64,omitempty"`
	UTF8      *bool       `json:"utf8,omitempty"`
	Code      *int        `json:"code,omitempty"`
	Reason    *string     `json:"reason,omitempty"`
	Truncated uint64      `json:"truncated,omitempty"`
}

// seconds are written with 6 decimals.
type seconds time.Duration

func (s seconds) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(s).Seconds(), 'f', 6, 64), nil
}

// WriteJSON writes the report for programs: a line for each session, and a last
// one with the totals.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for _, o := range r.Outcomes {
		if err := enc.Encode(outcomeJSON{
			Session: o.Session, N: o.N, Target: o.Target, Peer: o.Peer, Held: o.Held(), Steps: o.Steps, Played: o.Played,
			Started: instant(o.Started), Duration: seconds(o.Duration),
			Mismatches: mismatchesJSON(o.Mismatches), Skipped: mismatchesJSON(o.Skipped), Notes: o.Notes,
		}); err != nil {
			return err
		}
	}
	held, unplayed, mismatches, skipped := r.counts()
	return enc.Encode(struct {
		Report reportJSON `json:"report"`
	}{reportJSON{
		Role: r.Role.String(), Recording: r.Recording, Held: r.Held(), Started: instant(r.Started), Duration: seconds(r.Duration),
		Sessions:   sessionsJSON{Total: len(r.Outcomes), Held: held, Failed: len(r.Outcomes) - held, Unplayed: unplayed},
		Mismatches: mismatches, Skipped: skipped,
	}})
}

// instant is nil for no time.
func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func mismatchesJSON(list []Mismatch) []mismatchJSON {
	var out []mismatchJSON
	for i := range list {
		m := &list[i]
		j := mismatchJSON{
			Kind: m.Kind, Step: m.Step, Seq: m.Seq, From: &m.From, T: seconds(m.T), Why: m.Text,
			Expected: payload(m.Expected), Received: payload(m.Received), Diff: diffJSON(m.Diff),
		}
		if m.Kind == Unplayed {
			j.From = nil // there is nobody
		}
		if c := m.Nearest; c != nil {
			j.Nearest = &candidateJSON{c.Step, c.Seq, c.Same, diffJSON(c.Diff)}
		}
		out = append(out, j)
	}
	return out
}

func diffJSON(diff []Difference) []differenceJSON {
	var out []differenceJSON
	for _, d := range diff {
		out = append(out, differenceJSON(d))
	}
	return out
}

// payload writes a message in the clearest form that loses nothing.
func payload(c *tape.Content) *payloadJSON {
	if c == nil {
		return nil
	}
	n := uint64(len(c.Payload))
	j := &payloadJSON{Op: c.Op, Len: max(c.Len, n)}
	j.Truncated = j.Len - n
	if c.Op == tape.Close {
		if code, reason, ok := tape.ParseClose(c.Payload); ok {
			j.Reason = &reason
			if n > 0 {
				j.Code = &code
			}
			return j
		}
	}
	if c.Op == tape.Text {
		valid := utf8.Valid(c.Payload)
		if valid {
			text := string(c.Payload)
			j.Text = &text
			return j
		}
		j.UTF8 = &valid
	}
	b64 := append([]byte{}, c.Payload...) // nil would be written as null
	j.B64 = &b64
	return j
}
