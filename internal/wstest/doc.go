// Package wstest holds what tests of several rooms need of a WebSocket peer: a
// codec of its own that can also write what RFC 6455 forbids ([Frame]), a raw
// connection with that codec ([Peer]), a listener for raw peers and an echo
// server ([Listen], [Echo]), certificates made at run time ([TLSPair]), a terminal
// ([RunOnTerminal]) and a disk that is soon full (SmallDisk, on unix).
//
// The codec is kept naive and shares nothing with internal/wire, so that wstape
// is never tested against itself.
package wstest

// TB is the part of testing.TB that the helpers need.
type TB interface {
	Helper()
	Cleanup(func())
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}
