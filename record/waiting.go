package record

import (
	"cmp"
	"slices"

	"github.com/wstape/wstape/tape"
)

// waiting holds what came in from one side and was not decided about. What is
// decided comes in the order of the messages, but pings and pongs do not wait for
// the messages before them: each have a line of their own.
type waiting[T any] struct {
	lines [2][]numbered[T] // messages; pings and pongs
}

type numbered[T any] struct {
	seq   uint64 // of its first frame
	value T
}

// overtakes reports whether a frame of that opcode does not wait for the messages
// before it. A close frame does: nothing may follow it.
func overtakes(op tape.Opcode) bool { return op.Control() && op != tape.Close }

func lineOf(control bool) int {
	if control {
		return 1
	}
	return 0
}

func (w *waiting[T]) add(op tape.Opcode, seq uint64, v T) {
	line := &w.lines[lineOf(overtakes(op))]
	*line = append(*line, numbered[T]{seq, v})
}

// take removes what a decision is about; false if that is not here, because
// reading began behind it or a part of the tape is damaged.
func (w *waiting[T]) take(r *Record) (v T, ok bool) {
	line := &w.lines[lineOf(r.Decision.Control)]
	if len(*line) == 0 && r.About == firstWaiting {
		line = &w.lines[1] // the first tapes know one line only
	}
	i := 0
	if r.About != firstWaiting {
		i, ok = slices.BinarySearchFunc(*line, r.About, func(n numbered[T], seq uint64) int { return cmp.Compare(n.seq, seq) })
		if !ok {
			return v, false
		}
	}
	if i == len(*line) {
		return v, false
	}
	v = (*line)[i].value
	if i == 0 {
		*line = (*line)[1:]
	} else {
		*line = slices.Delete(*line, i, i+1)
	}
	return v, true
}

// each hands out everything that waits.
func (w *waiting[T]) each(f func(T)) {
	for _, line := range w.lines {
		for _, n := range line {
			f(n.value)
		}
	}
}

// queue remembers for a [Tap] the numbers of the first frames of what waits for
// a decision, 0 for what is not on the tape. It allocates only while it grows.
type queue struct {
	numbers []uint64
	head    int // those before it are gone
}

func (q *queue) push(n uint64) {
	if q.head > len(q.numbers)/2 && len(q.numbers) == cap(q.numbers) {
		q.numbers = q.numbers[:copy(q.numbers, q.numbers[q.head:])]
		q.head = 0
	}
	q.numbers = append(q.numbers, n)
}

// pop returns 0 when there is none.
func (q *queue) pop() uint64 {
	if q.head == len(q.numbers) {
		return 0
	}
	n := q.numbers[q.head]
	if q.head++; q.head == len(q.numbers) {
		q.numbers, q.head = q.numbers[:0], 0
	}
	return n
}
