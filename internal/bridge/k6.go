package bridge

import (
	"context"
	"fmt"
	"io"

	"github.com/wstape/wstape/tape"
)

// K6 writes sessions as a script for k6: each iteration is the recorded client,
// with its pacing, to a real server, whose answers are checked. Secrets of which
// the recording has pseudonyms come from the environment. What is left out, and what
// it wants, comes back in words.
func K6(ctx context.Context, w io.Writer, sessions []Session, o Options) (remarks []string, err error) {
	s, err := script(ctx, w, "k6.js", sessions, tape.Client, true, o)
	if err != nil {
		return nil, err
	}
	if s.pings > 0 {
		remarks = append(remarks, fmt.Sprintf("left out the payloads of the client's pings (%d): k6 makes its own", s.pings))
	}
	return append(remarks, s.secrets.wanted("k6 run -e NAME=…")...), nil
}
