// Package proxy is the relay: it answers WebSocket handshakes with the
// upstream's own answers, pipes both directions byte for byte, and hands what
// passes to a recorder.
//
// A [Proxy] serves a listener and owns every goroutine it starts. A session has
// two legs (TCP connections) and two links (directions); each link is one
// goroutine that reads one leg and is the only writer of the other. The package
// knows no scripts, no storage and no configuration files; what it needs of a
// recorder is [Tap].
package proxy
