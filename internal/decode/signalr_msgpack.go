package decode

import (
	"errors"
	"fmt"
)

// maxHubFields is more than any type of hub message has.
const maxHubFields = 16

// readHubMessagePack reads one record of SignalR's MessagePack protocol, without
// its length: an array. Containers in a record too long to be kept are nil.
func readHubMessagePack(frame []byte) ([]any, error) {
	d := newMsgPack(frame)
	n, err := d.length()
	if err != nil {
		return nil, d.explain(err)
	}
	if n > maxHubFields {
		return nil, fmt.Errorf("a record of %d fields is no hub message", n)
	}
	var all []any
	for range n {
		v, err := d.value(1)
		if err != nil {
			return nil, d.explain(err)
		}
		all = append(all, v)
	}
	if d.r.Len() > 0 {
		return nil, errors.New("a record goes on behind its array")
	}
	return all, nil
}
