package replay

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/wstape/wstape/tape"
)

var updateGolden = flag.Bool("update", false, "write the golden files of testdata/report anew")

func said(op tape.Opcode, payload string) *tape.Content {
	return &tape.Content{Op: op, Payload: []byte(payload), Len: uint64(len(payload))}
}

// failedReport has a mismatch of each kind.
func failedReport() *Report {
	started := time.Date(2026, 11, 22, 10, 11, 12, 345678901, time.UTC)
	long := func(middle string) string {
		return `{"type":"snapshot","items":[` + strings.Repeat(`{"é":1},`, 100) + middle + strings.Repeat(`,{"é":1}`, 100) + `]}`
	}
	return &Report{
		Role: tape.Server, Recording: "chat.db", Started: started, Duration: 1520 * time.Millisecond,
		Outcomes: []*Outcome{
			{
				Session: "session 1", N: 1, Target: "/chat", Peer: "127.0.0.1:50514", Steps: 9, Played: 9, Started: started, Duration: 1200 * time.Millisecond,
				Notes: []string{"not played: 2 messages that a script dropped"},
			},
			{
				Session: "session 2", N: 2, Target: "/chat?room=1", Peer: "127.0.0.1:50516", Steps: 9, Played: 6, Started: started, Duration: 512345 * time.Microsecond,
				Mismatches: []Mismatch{{
					Kind: Changed, Step: 7, Seq: 12, From: tape.Client, Text: "this came, but not as on the tape", T: 498 * time.Millisecond,
					Expected: said(tape.Text, `{"a":1,"b":[true]}`), Received: said(tape.Text, `{"a":2,"c":"\u001b"}`),
					Diff:    []Difference{{"$.a", "1", "2"}, {"$.b[0]", "true", ""}, {"$.c", "", `"\u001b"`}},
					Nearest: &Candidate{Step: 9, Seq: 15, Diff: []Difference{{"$.a", "3", "2"}, {"$.b", "1", ""}, {"$.c", "1", "2"}, {"$.d", "1", "2"}}},
				}},
				Notes: []string{"compression was without takeover"},
			},
			{
				Session: "odd\x1b[31m.cassette.jsonl", Steps: 4, Played: 2, Started: started, Duration: 40 * time.Microsecond,
				Mismatches: []Mismatch{
					{
						Kind: Changed, Step: 1, Seq: 1, From: tape.Client, Text: "this came, but not as on the tape",
						Expected: said(tape.Text, long(`"expected"`)), Received: said(tape.Text, long(`"exported"`)),
						Diff: []Difference{{"$.items[100]", `"expected"`, `"exported"`}},
					},
					{
						Kind: WrongType, Step: 2, Seq: 2, From: tape.Client, Text: "this should have come as text, but came as binary",
						Expected: said(tape.Text, "bell \a, \x1b]0;title\a, \xff and \u202e"), Received: said(tape.Binary, "\x00\x01\x02\xff"+strings.Repeat("\x80", 200)),
						Diff: []Difference{{"type", "text", "binary"}},
					},
					{
						Kind: Order, Step: 3, Seq: 5, From: tape.Client, Text: "what is step 5 on the tape came before this one",
						Expected: said(tape.Binary, "{\"json\":\t1}\n"), Received: said(tape.Ping, ""),
						Nearest: &Candidate{Step: 5, Seq: 7, Same: true},
					},
					{Kind: WrongEnd, Step: 4, From: tape.Server, Text: "the client should have ended the session with close 1000", Expected: said(tape.Close, "\x03\xe8"), Received: said(tape.Close, "\x03\xe9going\naway")},
				},
				Skipped: []Mismatch{{Kind: Missing, Step: 2, Seq: 2, From: tape.Client, Text: "this did not come", Expected: said(tape.Close, "")}},
			},
			{
				Session: "session 4", N: 4, Target: "/feed", Peer: "127.0.0.1:50518", Steps: 1, Played: 1, Started: started, Duration: 2 * time.Second,
				Skipped: []Mismatch{{
					Kind: Extra, From: tape.Client, Text: "nothing more was to come from the client", T: 2 * time.Second,
					Received: &tape.Content{Op: tape.Text, Payload: []byte("the beginning"), Len: 1 << 20},
				}},
			},
			{Session: "session 5", N: 5, Target: "/chat", Steps: 3, Mismatches: []Mismatch{{Kind: Unplayed, Text: "nobody came for this session"}}},
			{
				Session: "session 6", N: 6, Target: "/admin", Peer: "127.0.0.1:50520", Steps: 3, Started: started,
				Mismatches: []Mismatch{{Kind: Handshake, Text: "the subprotocol \"v2\" was not offered"}, {Kind: TapeGap, Step: 1, Text: "the recording has a gap here"}},
			},
		},
	}
}

func heldReport() *Report {
	r := &Report{Role: tape.Client, Duration: 3 * time.Second}
	for i := range 25 {
		r.Outcomes = append(r.Outcomes, &Outcome{Session: fmt.Sprintf("session %d", i+1), N: uint64(i + 1), Steps: i, Played: i, Started: time.Unix(1, 0), Duration: time.Duration(i) * time.Millisecond})
	}
	return r
}

func TestReportGolden(t *testing.T) {
	for name, r := range map[string]*Report{"failed": failedReport(), "held": heldReport(), "empty": {Role: tape.Server}} {
		for kind, write := range map[string]func(io.Writer) error{"txt": r.WriteText, "jsonl": r.WriteJSON, "xml": r.WriteJUnit} {
			var b bytes.Buffer
			if err := write(&b); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", "report", name+"."+kind+".golden")
			if *updateGolden {
				if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, b.Bytes(), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if b.String() != string(want) {
				t.Errorf("%s: got\n%s\nwant\n%s", file, b.String(), want)
			}
		}
	}
}

// hostile makes text of what breaks terminals, JSON and XML.
func hostile(r *rand.Rand) string {
	parts := []string{"\x1b[2J", "\x00", "\x07", "\r\n", "\t", "\xff", "\xed\xa0\x80", "\uFFFE", "\uFFFD", "\u202e", "\u0085", "\u2028", "]]>", "<", "&", `"`, "'", "é", "😀", "a", "{\"a\":1}", "…", strings.Repeat("x", 300)}
	var b strings.Builder
	for range r.Intn(12) {
		b.WriteString(parts[r.Intn(len(parts))])
	}
	return b.String()
}

func hostileContent(r *rand.Rand) *tape.Content {
	ops := []tape.Opcode{tape.Text, tape.Binary, tape.Close, tape.Ping, tape.Pong, 3, tape.OpRaw}
	if r.Intn(4) == 0 {
		return nil
	}
	c := said(ops[r.Intn(len(ops))], hostile(r))
	c.Len += uint64(r.Intn(2) * r.Intn(100))
	return c
}

func hostileReport(r *rand.Rand) *Report {
	diff := func() (out []Difference) {
		for range r.Intn(30) {
			out = append(out, Difference{hostile(r), hostile(r), hostile(r)})
		}
		return out
	}
	mismatches := func() (out []Mismatch) {
		kinds := []Kind{Missing, Extra, Order, Changed, WrongType, WrongEnd, EarlyEnd, Handshake, Timeout, TapeGap, Unplayed}
		for range r.Intn(3) {
			m := Mismatch{
				Kind: kinds[r.Intn(len(kinds))], Step: r.Intn(3), Seq: uint64(r.Intn(3)), From: tape.Side(r.Intn(2)), Text: hostile(r),
				Expected: hostileContent(r), Received: hostileContent(r), Diff: diff(), T: time.Duration(r.Int63n(1e12)) - 1e9,
			}
			if r.Intn(2) == 0 {
				m.Nearest = &Candidate{r.Intn(3), uint64(r.Intn(3)), r.Intn(2) == 0, diff()}
			}
			out = append(out, m)
		}
		return out
	}
	report := &Report{Role: tape.Side(r.Intn(2)), Recording: hostile(r), Duration: time.Duration(r.Int63n(1e12)) - 1e9}
	if r.Intn(2) == 0 {
		report.Started = time.Unix(r.Int63n(1e10), 0)
	}
	for range r.Intn(4) {
		report.Outcomes = append(report.Outcomes, &Outcome{
			Session: hostile(r), N: uint64(r.Intn(3)), Target: hostile(r), Peer: hostile(r), Steps: r.Intn(5), Played: r.Intn(5), Started: report.Started,
			Duration: time.Duration(r.Int63n(1e12)), Mismatches: mismatches(), Skipped: mismatches(), Notes: []string{hostile(r), hostile(r)},
		})
	}
	return report
}

func TestReportIsHarmless(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	for range 500 {
		report := hostileReport(r)
		var text, lines bytes.Buffer
		if err := errors.Join(report.WriteText(&text), report.WriteJSON(&lines)); err != nil {
			t.Fatal(err)
		}
		if i := strings.IndexFunc(text.String(), func(c rune) bool { return c != '\n' && !unicode.IsPrint(c) }); i >= 0 || !utf8.Valid(text.Bytes()) {
			t.Fatalf("what a terminal obeys is written raw, at %d of %q", i, text.String())
		}
		for _, line := range strings.Split(text.String(), "\n") {
			if n := utf8.RuneCountInString(line); n > 6000 {
				t.Fatalf("a line of %d characters", n)
			}
		}
		n := 0
		for line := range strings.Lines(lines.String()) {
			var any map[string]any
			if err := json.Unmarshal([]byte(line), &any); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if strings.Contains(line, ":null") {
				t.Fatalf("null in %s", line)
			}
			n++
		}
		if n != len(report.Outcomes)+1 {
			t.Fatalf("%d lines for %d sessions", n, len(report.Outcomes))
		}
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("the disk is full") }

func TestReportTellsOfErrors(t *testing.T) {
	r := failedReport()
	for name, err := range map[string]error{"text": r.WriteText(brokenWriter{}), "JSON": r.WriteJSON(brokenWriter{}), "JUnit": r.WriteJUnit(brokenWriter{})} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestFoldShowsTheDifference checks for all sizes that a folded payload says
// how much is left out, and shows the place that matters.
func TestFoldShowsTheDifference(t *testing.T) {
	for n := range 400 {
		for at := 0; at < n; at += 7 {
			b := bytes.Repeat([]byte("é"), n/2+1)[:n]
			b[at] = '!'
			text := foldText(string(b), at, 120)
			if !strings.Contains(text, "!") || len(text) > 240 {
				t.Fatalf("%d bytes with the difference at %d: %d bytes: %s", n, at, len(text), text)
			}
			shown, hidden := 0, 0
			for i, part := range strings.Split(strings.NewReplacer(" […", "\x00", "…] ", "\x00").Replace(text), "\x00") {
				if i%2 == 0 {
					shown += len(part)
				} else {
					var left int
					if _, err := fmt.Sscanf(part, "%d byte", &left); err != nil {
						t.Fatal(err)
					}
					hidden += left
				}
			}
			if shown+hidden != n {
				t.Fatalf("%d bytes with the difference at %d: %d shown, %d hidden: %s", n, at, shown, hidden, text)
			}
		}
	}
}
