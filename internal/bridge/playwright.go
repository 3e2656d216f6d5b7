package bridge

import (
	"context"
	"io"

	"github.com/wstape/wstape/tape"
)

// Playwright writes sessions as a module that plays the recorded server to a page
// through routeWebSocket.
func Playwright(ctx context.Context, w io.Writer, sessions []Session, o Options) error {
	_, err := script(ctx, w, "playwright.js", sessions, tape.Server, false, o)
	return err
}
