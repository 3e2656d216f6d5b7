package tape

import "fmt"

// Side is one of the two ends of a session: who sent a frame.
type Side uint8

// The two ends.
const (
	Client Side = iota
	Server
)

// Sides lists both ends, for loops.
func Sides() [2]Side { return [2]Side{Client, Server} }

// Other returns the opposite end.
func (s Side) Other() Side { return s ^ 1 }

func (s Side) String() string {
	if s == Client {
		return "client"
	}
	return "server"
}

// MarshalText writes "client" or "server".
func (s Side) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads "client" or "server".
func (s *Side) UnmarshalText(b []byte) error {
	side, err := ParseSide(string(b))
	*s = side
	return err
}

// ParseSide reads "client" or "server".
func ParseSide(s string) (Side, error) {
	switch s {
	case "client":
		return Client, nil
	case "server":
		return Server, nil
	}
	return Client, fmt.Errorf("side %q is neither client nor server", s)
}
