// Package storetest is the definition of [record.Store] as a test: every engine
// runs it, and one that passes may hold a tape.
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) record.Store { return record.NewMemory() })
//	}
package storetest

import (
	"github.com/wstape/wstape/record"
)

// T is what a check needs of a test; [*testing.T] has it.
type T interface {
	Helper()
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// Runner is a test that runs parts of itself as tests of the same type P.
type Runner[P any] interface {
	T
	Run(name string, f func(P)) bool
}

// Run checks an engine. Each part gets an empty store of its own from open,
// which also sees to its closing.
func Run[P Runner[P]](t P, open func(P) record.Store) {
	for _, part := range parts() {
		t.Run(part.name, func(t P) { part.check(t, open(t)) })
	}
}

type part struct {
	name  string
	check func(T, record.Store)
}

func parts() []part {
	return []part{
		{"BeginCountsFromOneAndStoresNothing", begin},
		{"MissingSessionIsErrNotFound", missing},
		{"AppendKeepsEntriesAndStream", keeps},
		{"AppendTwiceChangesNothing", twice},
		{"AppendIsAllOrNothing", atomic},
		{"AppendDoesNotKeepTheCallersBytes", borrowed},
		{"MissingPartOfStreamStaysMissing", hole},
		{"SegmentsBeginAtAnyOffset", offsets},
		{"SegmentsComeByPages", segmentPages},
		{"SessionsComeInOrderByPages", sessionPages},
		{"LabelReplacesAndStays", label},
		{"TagsOfTheRecorderStay", tags},
		{"DeleteRemovesEndedSessionsOnly", remove},
		{"DeleteRemovesMany", removeMany},
		{"UsageSaysHowMuchIsThere", usage},
		{"WindowIsTheLastAtOrBefore", window},
		{"WaitWakesOnChange", wait},
		{"ReadersDoNotDisturbTheWriter", concurrent},
		{"RandomOperationsAgreeWithMemory", random},
	}
}
