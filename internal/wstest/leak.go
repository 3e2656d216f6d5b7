package wstest

import "go.uber.org/goleak"

// Lingering is what a check for leaked goroutines may find where net/http has
// refused requests: half a second later it closes their connections, and nobody can
// wait for that.
func Lingering() goleak.Option {
	return goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait")
}
