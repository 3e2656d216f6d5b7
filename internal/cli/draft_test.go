package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestHalfASession has imports fail in the midst of a session that is long enough to
// be written in parts, on a tape that nobody holds and on one that a proxy does.
func TestHalfASession(t *testing.T) {
	session := `{"wstape":1,"session":{"url":"/whole"}}` + "\n" + strings.Repeat(fmt.Sprintf(`{"t":0.1,"from":"client","text":%q}`+"\n", strings.Repeat("a", 1000)), 1000)
	cassette := filepath.Join(t.TempDir(), "half.cassette.jsonl")
	must(t, os.WriteFile(cassette, []byte(session+strings.Replace(session, "whole", "half", 1)+`{"t":`), 0o600))
	held := newSetting(t)
	defer held.proxy.stop()
	for _, path := range []string{filepath.Join(t.TempDir(), "t.db"), held.tape} {
		for range 2 { // the first session of each is whole, and stays
			out, talk, code := run("import", cassette, "--tape", path)
			if code != exitReach || strings.Count(out, "\n") != 1 || !strings.Contains(talk, "line 2003, column 5: the line is cut off") {
				t.Errorf("%d: %s%s", code, out, talk)
			}
		}
		list, _, _ := run("ls", "--tape", path)
		if strings.Count(list, "/whole") != 2 || strings.Contains(list, "/half") {
			t.Errorf("there is\n%s", list)
		}
		if report, _, code := run("check", "--tape", path); code != exitFine {
			t.Errorf("check: %d, %s", code, report)
		}
	}
}
