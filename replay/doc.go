// Package replay plays recorded sessions back: as a fake server to real
// clients, or as a fake client to a real server.
//
// A session is a partial order: what one side sent after it had heard something
// may depend on having heard it, what it sent by itself depends on time. A
// [Plan] is that order as one of the two players sees it; a [Play] steps through
// it without sockets and without a clock; [Serve] and [Recording.Drive] give it
// connections and the time.
package replay
