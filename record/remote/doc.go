// Package remote serves a tape that a running proxy holds, on a unix socket
// beside it, and is the client of that socket: the same [record.Store], from
// another process. The socket is named after the tape and only its owner may
// connect (mode 0600).
//
// The protocol is HTTP with one request and reply a call: a line of JSON, then
// segments as a tape keeps them. Both ends are the same program, so it is not a
// contract.
package remote
