package script

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/dop251/goja"
)

const (
	storeLimit  = 64 << 20 // bytes that a store holds if nothing else is said
	mostUpdates = 100      // how often store.update tries
)

// Store is what the scripts of all sessions share: named values, each kept as a
// structured clone. It is safe for concurrent use, and no JavaScript ever runs
// while it is locked.
type Store struct {
	limit int64

	mu      sync.Mutex
	entries map[string]stored
	bytes   int64  // of all entries
	version uint64 // of the last change
}

// stored is one value. A version is used once, so that a value that was replaced by
// an equal one still shows as changed; 0 is that of no value.
type stored struct {
	value   *cloned
	bytes   int64
	version uint64
}

// errStoreFull is why a value was not stored.
var errStoreFull = errors.New("the store is full")

// NewStore makes a store for at most limit bytes by a rough guess, 64 MiB if limit is 0.
func NewStore(limit int64) *Store {
	if limit <= 0 {
		limit = storeLimit
	}
	return &Store{limit: limit, entries: map[string]stored{}}
}

// get returns what is stored under a key; its value is nil if nothing is.
func (s *Store) get(key string) stored {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entries[key]
}

// put stores a value.
func (s *Store) put(key string, value *cloned) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replace(key, value)
}

// swap stores a value if nothing was stored under that key since version.
func (s *Store) swap(key string, version uint64, value *cloned) (swapped bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries[key].version != version {
		return false, nil
	}
	return true, s.replace(key, value)
}

// replace stores a value; s is locked.
func (s *Store) replace(key string, value *cloned) error {
	size := value.size() + int64(len(key)) + 100
	total := s.bytes - s.entries[key].bytes + size
	if total > s.limit {
		return fmt.Errorf("%w: %q would make it hold %d bytes, and it holds at most %d", errStoreFull, key, total, s.limit)
	}
	s.bytes = total
	s.version++
	s.entries[key] = stored{value: value, bytes: size, version: s.version}
	return nil
}

// remove forgets a key and tells whether it was there.
func (s *Store) remove(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, found := s.entries[key]
	s.bytes -= old.bytes
	delete(s.entries, key)
	return found
}

// keys lists the keys in order.
func (s *Store) keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.entries))
}

// newStoreObject makes the global `store` of one runtime.
func newStoreObject(rt *goja.Runtime, s *Store) goja.Value {
	o := &storeObject{rt: rt, store: s}
	return newLazy(rt, o.member, func() []string { return []string{"get", "set", "has", "delete", "keys", "update"} })
}

// storeObject is a store as one runtime sees it.
type storeObject struct {
	rt    *goja.Runtime
	store *Store
}

func (o *storeObject) member(name string) goja.Value {
	switch name {
	case "get":
		return newMethod(o.rt, name, 1, func(c goja.FunctionCall) goja.Value { return o.value(o.store.get(o.key(c))) })
	case "set":
		return newMethod(o.rt, name, 2, o.set)
	case "has":
		return newMethod(o.rt, name, 1, func(c goja.FunctionCall) goja.Value {
			return o.rt.ToValue(o.store.get(o.key(c)).value != nil)
		})
	case "delete":
		return newMethod(o.rt, name, 1, func(c goja.FunctionCall) goja.Value { return o.rt.ToValue(o.store.remove(o.key(c))) })
	case "keys":
		return newMethod(o.rt, name, 0, o.keys)
	case "update":
		return newMethod(o.rt, name, 2, o.update)
	}
	return nil
}

// key is the first argument: a string or a number.
func (o *storeObject) key(c goja.FunctionCall) string {
	key := c.Argument(0)
	if !goja.IsString(key) && !goja.IsNumber(key) {
		panic(o.rt.NewTypeError("store: a key is a string, not %s", inspect(o.rt, key)))
	}
	return key.String()
}

// value makes a stored value in the runtime: a new one each time.
func (o *storeObject) value(s stored) goja.Value {
	if s.value == nil {
		return goja.Undefined()
	}
	return s.value.value(o.rt)
}

// clone clones a value to store.
func (o *storeObject) clone(function string, v goja.Value) *cloned {
	c, err := snapshot(o.rt, v, o.store.limit)
	var failed *cloneError
	if errors.As(err, &failed) {
		panic(o.rt.NewTypeError("%s", "store."+function+": "+failed.Error()))
	}
	propagate(err)
	return c
}

func (o *storeObject) set(c goja.FunctionCall) goja.Value {
	key := o.key(c)
	value := o.clone("set", c.Argument(1))
	o.checkFull(o.store.put(key, value))
	return goja.Undefined()
}

// checkFull throws why a value was not stored.
func (o *storeObject) checkFull(err error) {
	if err != nil {
		rangeError(o.rt, "store: "+err.Error())
	}
}

func (o *storeObject) keys(goja.FunctionCall) goja.Value {
	keys := o.store.keys()
	items := make([]any, len(keys))
	for i, key := range keys {
		items[i] = key
	}
	return o.rt.NewArray(items...)
}

// update calls a function with a copy of the stored value (undefined if there is
// none) and stores what it returns, unless another session has changed the value
// meanwhile: then it calls the function again with the new one. It returns what is
// stored then. A function that returns undefined leaves the value as it is.
func (o *storeObject) update(c goja.FunctionCall) goja.Value {
	key := o.key(c)
	change, ok := goja.AssertFunction(c.Argument(1))
	if !ok {
		panic(o.rt.NewTypeError("store.update needs a key and a function"))
	}
	for range mostUpdates {
		old := o.store.get(key)
		changed, err := change(goja.Undefined(), o.value(old))
		propagate(err)
		if goja.IsUndefined(changed) {
			return o.value(old)
		}
		if thing, ok := changed.(*goja.Object); ok && thing.ExportType() == promiseType() {
			panic(o.rt.NewTypeError("store.update needs a plain function, not an async one: it may run again when another session was faster"))
		}
		value := o.clone("update", changed)
		swapped, err := o.store.swap(key, old.version, value)
		o.checkFull(err)
		if swapped {
			return value.value(o.rt)
		}
	}
	panic(o.rt.NewGoError(fmt.Errorf("store.update: %q was changed by others %d times in a row", key, mostUpdates)))
}
