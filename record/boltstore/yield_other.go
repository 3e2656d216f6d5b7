//go:build !linux

package boltstore

import "runtime"

// yield lets other goroutines go first.
func yield() { runtime.Gosched() }
