//go:build race

package e2e

// raced: the race detector makes our own checking ten times slower, and finds
// nothing in a peer or in the program, which is built without it.
const raced = true
