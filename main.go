// Command wstape is the tape recorder between an app and its WebSocket server.
package main

import (
	"os"

	"github.com/wstape/wstape/internal/cli"
)

func main() {
	os.Exit(cli.Main(cli.System()))
}
