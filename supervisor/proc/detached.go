package proc

import (
	"os"
	"syscall"
)

// StartDetached starts a program in a session of its own, with output as its stdout and stderr and nothing to read: no terminal
// ends it. It is for the client, which starts a server; the server itself forks services in another way.
func StartDetached(path string, argv []string, dir string, environ []string, output *os.File) (*os.Process, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close() //nolint:errcheck // the child has its own
	return os.StartProcess(path, argv, &os.ProcAttr{Dir: dir, Env: environ, Files: []*os.File{null, output, output},
		Sys: &syscall.SysProcAttr{Setsid: true}})
}
