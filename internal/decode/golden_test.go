package decode

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

// update is a flag of the tests: go test ./internal/decode -update
var update = flag.Bool("update", false, "write the golden files")

// line writes a view as a line of a golden file.
func line(from fmt.Stringer, v View) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", from, v.Type)
	if v.Key != "" {
		fmt.Fprintf(&b, " key=%q", v.Key)
	}
	if v.Answer {
		b.WriteString(" answer")
	}
	if v.Heartbeat {
		b.WriteString(" heartbeat")
	}
	fmt.Fprintf(&b, " | %s", v.Summary)
	if v.Err != nil {
		fmt.Fprintf(&b, " | error: %v", v.Err)
	}
	return b.String() + "\n"
}

func TestCapturedSessions(t *testing.T) {
	for _, file := range cassettes(t) {
		t.Run(file, func(t *testing.T) {
			var b strings.Builder
			for _, s := range captured(t, file+".cassette.jsonl") {
				p := Sniff(s.hint, s.messages)
				fmt.Fprintf(&b, "%s %q\n", p.Name, s.hint)
				sniffing, chosen := open(t, Auto, s.hint), p.Open(s.hint)
				for i, m := range s.messages {
					v := chosen.View(m)
					b.WriteString(line(m.From, v))
					// Who does not know what comes agrees, at the latest when all is decided.
					if auto := sniffing.View(m); i >= sniffMessages && !reflect.DeepEqual(auto, v) {
						t.Errorf("message %d: sniffing gives %+v, the protocol %+v", i, auto, v)
					}
				}
			}
			golden(t, file+".golden", b.String())
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s has\n%s\nbut the views are\n%s", file, want, got)
	}
}
