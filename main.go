// Command zinit is a process supervisor and init in one static file. By the name it is called it is zinit-pid1 (the
// PID 1 shim), zinit-server (the supervisor) or zinit (the client).
package main

import (
	"os"

	"github.com/zinit/zinit/applets"
)

func main() {
	os.Exit(applets.Main(os.Args))
}
