package har

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/wstape/wstape/record"
)

// FuzzImport: whatever a file says, importing it ends with sessions or with an
// error that says something; and what was imported comes back from a HAR file.
func FuzzImport(f *testing.F) {
	files, err := fs.Glob(os.DirFS("testdata"), "*.[hz]*")
	must(f, err)
	for _, name := range files {
		text, err := os.ReadFile("testdata/" + name)
		must(f, err)
		f.Add(text)
	}
	f.Add([]byte(exported(f, cassette(f, allKinds), ExportOptions{Control: true}, 1)))
	small := limits{value: 1 << 20, session: 1 << 20, file: 1 << 20, archive: 2 << 20}
	f.Fuzz(func(t *testing.T, text []byte) {
		m := record.NewMemory()
		numbers, _, err := importHAR(context.Background(), Source{ReaderAt: bytes.NewReader(text), Size: int64(len(text))}, m, nil, small)
		switch {
		case err != nil && strings.TrimSpace(err.Error()) == "":
			t.Fatal("an error that says nothing")
		case err == nil && len(numbers) == 0:
			t.Fatal("no sessions and no error")
		}
		for _, n := range numbers {
			e, err := m.Session(t.Context(), n)
			must(t, err)
			last := e.Duration
			for line, err := range record.Lines(t.Context(), m, n, record.ReadOptions{}) {
				must(t, err)
				last = max(last, line.T)
			}
			if e.Started.Year() > 9999 || last > 100*24*time.Hour {
				continue // no RFC 3339 time; more than a float has microseconds for
			}
			comesBack(t, m, ExportOptions{}, asItIs, n)
		}
	})
}
