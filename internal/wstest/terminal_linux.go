package wstest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// Press is what a person at a terminal does: once it shows a text, press keys.
type Press struct{ When, Keys string }

// RunOnTerminal runs a command as a shell in a terminal does, and returns all
// that the terminal was sent. The error is the command's.
func RunOnTerminal(cmd *exec.Cmd, columns, rows uint16, presses ...Press) (shown []byte, err error) {
	person, terminal, err := openTerminal(columns, rows)
	if err != nil {
		return nil, err
	}
	defer person.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err = cmd.Start()
	terminal.Close()
	if err != nil {
		return nil, err
	}
	buffer := make([]byte, 32<<10)
	for seen := 0; ; {
		n, err := person.Read(buffer)
		shown = append(shown, buffer[:n]...)
		for len(presses) > 0 {
			at := bytes.Index(shown[seen:], []byte(presses[0].When))
			if at < 0 {
				break
			}
			if _, err := person.WriteString(presses[0].Keys); err != nil {
				return shown, err
			}
			seen += at + len(presses[0].When)
			presses = presses[1:]
		}
		if err != nil { // EIO: nobody has the terminal open any more
			break
		}
	}
	err = cmd.Wait()
	if err == nil && len(presses) > 0 {
		err = fmt.Errorf("the terminal never showed %q", presses[0].When)
	}
	return shown, err
}

// openTerminal opens both ends of a new pseudo-terminal.
func openTerminal(columns, rows uint16) (person, terminal *os.File, err error) {
	person, err = os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	fd := int(person.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = errors.Join(unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0), unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows}))
	}
	if err == nil {
		terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	}
	if err != nil {
		person.Close()
	}
	return person, terminal, err
}
