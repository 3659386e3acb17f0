// Command zinit is a process supervisor and init in one static file. By the name it is called it is zinit-pid1 (the
// PID 1 shim), zinit-server (the supervisor) or zinit (the client).
package main

import (
	"os"
	"runtime"

	"github.com/zinit/zinit/applets"
)

// The main goroutine stays on the main thread: a lone server forks its services there (see supervisor.Run). Not the client's:
// each switch of goroutines would be one of threads.
func init() {
	if !applets.IsClient(os.Args) {
		runtime.LockOSThread()
	}
}

func main() {
	os.Exit(applets.Main(os.Args))
}
