// Package script runs users' JavaScript and TypeScript on the messages of a
// session. A [Program] is loaded and compiled once; each session has a runtime
// of its own, in which one goroutine at a time runs hooks under a deadline.
package script
