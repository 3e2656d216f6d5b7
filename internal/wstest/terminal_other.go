//go:build !linux

package wstest

import (
	"errors"
	"os/exec"
)

// Press is what a person at a terminal does: once it shows a text, press keys.
type Press struct{ When, Keys string }

// RunOnTerminal needs a pseudo-terminal, which is opened in another way here.
func RunOnTerminal(*exec.Cmd, uint16, uint16, ...Press) ([]byte, error) {
	return nil, errors.ErrUnsupported
}
