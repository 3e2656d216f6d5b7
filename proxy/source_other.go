//go:build !unix

package proxy

import "net"

// newPollSource has no counterpart here: see source_unix.go.
func newPollSource(net.Conn) source { return nil }
