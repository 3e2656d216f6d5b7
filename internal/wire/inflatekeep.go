package wire

import (
	"bytes"
	"io"

	"github.com/klauspost/compress/flate"
)

// kept is a decoder that stays where a direction stands, instead of being given
// the window anew for each message, which costs more than inflating a small one.
type kept struct {
	fr    io.ReadCloser
	src   bytes.Reader // no type of our own: this one flate reads without calls through an interface
	input []byte
	chunk [WindowSize + 1]byte // longer than all that flate hands out at once
	at    uint64               // how far flate has come in its buffer of WindowSize, rounds included
	ready bool                 // the decoder is where the window ends
	spare []byte               // for the next window
}

const (
	maxKept   = 64 << 10                // bytes of a compressed message; the window is a small part of what a longer one costs
	maxPlain  = 4 << 20                 // the same of what it inflates to
	keptSlack = 2 * WindowSize          // windowSlack, where memory does not matter
	syncFlush = len("\x00\x00\xff\xff") // what a sender strips off, of deflateTail
)

// KeepDecoder makes the inflater keep its decoder between messages. That takes up to
// 330 KiB instead of 40 and less than half the time for small messages, and so is
// for those who read whole sessions. Without context takeover it changes nothing.
func (z *Inflater) KeepDecoder() {
	if z.takeover {
		z.kept = &kept{}
	}
}

// message inflates a message that ends in a sync flush, as they do. False means
// that it is something else, or damaged, and has to go the long way; nothing has
// changed then.
func (k *kept) message(z *Inflater, dst, message []byte, keep uint64) (plain []byte, total uint64, ok bool) {
	ready := k.ready
	if k.ready = false; len(message) > maxKept || !ready && !k.reset(z.Window()) {
		return dst, 0, false
	}
	k.input = append(append(k.input[:0], message...), deflateTail[:syncFlush]...)
	k.src.Reset(k.input)
	plain, history, moved := dst, z.window, false
	for k.src.Len() > 0 {
		n, err := k.fr.Read(k.chunk[:])
		if err != nil {
			return dst, 0, false
		}
		chunk := k.chunk[:n]
		if room := keep - min(keep, total); room > 0 {
			plain = append(plain, chunk[:min(uint64(n), room)]...)
		}
		total += uint64(n)
		k.at += uint64(n)
		if total > min(z.limit, maxPlain) {
			return dst, 0, false
		}
		if len(history)+n > WindowSize+keptSlack {
			if !moved {
				history, moved = append(k.spare[:0], last(history, WindowSize)...), true
			} else {
				history = history[:copy(history, last(history, WindowSize))]
			}
		}
		history = append(history, chunk...)
	}
	if k.at%WindowSize == 0 {
		return dst, 0, false // flate's buffer was full, which may be in the middle of a block: else it waits for the end of a flush
	}
	if moved {
		k.spare = z.window
	}
	z.window, k.ready = history, true
	return plain, total, true
}

// reset puts the decoder behind the window.
func (k *kept) reset(window []byte) bool {
	k.at = uint64(len(window))
	if k.fr == nil {
		k.fr = flate.NewReaderDict(&k.src, window)
		return true
	}
	return k.fr.(flate.Resetter).Reset(&k.src, window) == nil
}
