package cli

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestInterruptedWhileItWaits has commands read from who never says anything more.
func TestInterruptedWhileItWaits(t *testing.T) {
	for _, said := range []string{"", `{"wstape":1,"session":{"url":"/"}}` + "\n", `{"log":{`} {
		for _, command := range []string{"import -", "convert - OUT"} {
			out := filepath.Join(t.TempDir(), "out.db")
			args := strings.Fields(strings.Replace(command, "OUT", out, 1))
			if args[0] == "import" {
				args = append(args, "--tape", out)
			}
			from, to := io.Pipe()
			signals, done := make(chan os.Signal, 1), make(chan int)
			var talk bytes.Buffer
			go func() {
				done <- Main(Env{Args: args, Stdin: from, Stdout: io.Discard, Stderr: &talk, Getenv: func(string) string { return "" }, Signals: signals})
			}()
			_, err := io.WriteString(to, said)
			must(t, err)
			signals <- os.Interrupt
			if code := <-done; code != exitReach || !strings.Contains(talk.String(), "interrupted") {
				t.Errorf("%s after %q: %d, %s", command, said, code, &talk)
			}
			must(t, to.Close())
			if _, err := os.Stat(out); !os.IsNotExist(err) {
				t.Errorf("%s after %q leaves a tape behind: %v", command, said, err)
			}
		}
	}
}
