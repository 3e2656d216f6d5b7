//go:build unix && !linux

package main

import (
	"os"
	"time"
)

func sleep(d time.Duration) { time.Sleep(d) }

func fdatasync(f *os.File) error { return f.Sync() }
