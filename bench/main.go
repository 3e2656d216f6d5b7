//go:build unix

// Command bench measures wstape beside other proxies on this machine: the same
// load through each, in interleaved rounds, so that ratios hold even where the
// machine is noisy. `make bench` runs it and writes RESULTS.md.
//
// It is one program in several roles, each a process of its own, so that the
// CPU time of a proxy can be told from that of the load:
//
//	bench run [-quick]          the runner
//	bench replay                "replay client" as a load test: writes REPLAY.md
//	bench crowd                 9,000 idle sessions beside busy ones: writes CROWD.md
//	bench soak -duration 30m    sessions that come and go for long: writes SOAK.md
//	bench tape                  reading tapes of a million messages: writes TAPE.md
//	bench echo ADDR             a server that answers every message
//	bench relay ADDR UPSTREAM   a bare TCP relay (io.Copy, which splices)
//	bench pump ADDR UPSTREAM    gorilla/websocket: ReadMessage, WriteMessage
//
// The other proxies are taken where they are found: nginx, haproxy, caddy and
// mitmdump on the PATH, mockttp in bench/peers/node_modules. `make bench-peers`
// installs them.
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := role(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func role(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "echo":
		return echo(args[1])
	case len(args) == 3 && args[0] == "relay":
		return relay(args[1], args[2])
	case len(args) == 3 && args[0] == "pump":
		return pump(args[1], args[2])
	case len(args) >= 1 && args[0] == "run":
		return run(args[1:])
	case len(args) >= 1 && args[0] == "tape":
		return tapes(args[1:])
	case len(args) >= 1 && args[0] == "replay":
		return replay(args[1:])
	case len(args) >= 1 && args[0] == "crowd":
		return crowd(args[1:])
	case len(args) >= 1 && args[0] == "soak":
		return soak(args[1:])
	}
	return fmt.Errorf("usage: bench run [-quick] | replay | tape | crowd | soak [-duration 30m] | echo ADDR | relay ADDR UPSTREAM | pump ADDR UPSTREAM")
}
