package config

import (
	"fmt"
	"strconv"
	"strings"
)

// Bytes is an amount of memory, written like 32MiB, 64KiB or 4096.
type Bytes int64

var units = []struct {
	name string
	size Bytes
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

func (b Bytes) String() string {
	for _, u := range units {
		if b != 0 && b%u.size == 0 {
			return strconv.FormatInt(int64(b/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// ParseBytes reads what String writes, and plain numbers.
func ParseBytes(s string) (Bytes, error) {
	size := Bytes(1)
	number := strings.TrimSpace(s)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(number, u.name); ok {
			number, size = strings.TrimSpace(rest), u.size
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > int64(1<<62/size) {
		return 0, fmt.Errorf("%q is not an amount of bytes like 32MiB, 64KiB or 4096", s)
	}
	return Bytes(n) * size, nil
}
