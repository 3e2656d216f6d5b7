//go:build unix

package main

import (
	"os"
	"path/filepath"
	"time"
)

// diskUse measures the tape that a load leaves behind.
type diskUse struct {
	load  paced
	share float64 // of bench.disk: how long
}

// measure counts what is there when the sessions have ended and the proxy has.
func (d diskUse) measure(b *bench, s subject) (sample, error) {
	got, err := d.load.run(s.target, 0, time.Duration(d.share*float64(b.disk)), true)
	if err != nil {
		return nil, err
	}
	s.stop()
	info, err := os.Stat(tapePath(s.dir))
	if err != nil {
		return nil, err
	}
	size, frames, payload := float64(info.Size()), float64(2*got.messages), float64(2*got.payload)
	return sample{"frames": frames, "frames/s": frames / got.took.Seconds(), "MB of payload": payload / 1e6, "MB of tape": size / 1e6,
		perFrame: size / frames, overhead: 100 * (size/payload - 1)}, nil
}

// writeFile writes what the large scenario carries to a file where the tapes are,
// as many bytes for each fdatasync as that scenario has in flight.
func (b *bench) writeFile() (sample, error) {
	f, err := os.Create(filepath.Join(b.dir, "written"))
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	noise := messagesOf(noiseKind, 1<<20).answers
	const chunk = 8 << 20
	var n int
	began := time.Now()
	for time.Since(began) < b.window {
		at := n % (len(noise) - chunk + 1)
		if _, err := f.Write(noise[at : at+chunk]); err != nil {
			return nil, err
		}
		if err := fdatasync(f); err != nil {
			return nil, err
		}
		n += chunk
	}
	return sample{megabytes: float64(n) / time.Since(began).Seconds() / 1e6}, nil
}
