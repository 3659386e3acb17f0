// Blackbox is a whole program on logring: it runs a command in silence and keeps the last lines of its output in bounded
// memory. A command that ends well leaves nothing on the terminal, one that fails its last lines. Cron jobs like it.
//
//	blackbox [-n 20] CMD [ARGS...]
//
// It ends with the command's code, 128 + n when signal n ended it, 127 when it could not be started.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/zinit/zinit/logring"
)

func main() {
	lines := flag.Int("n", 20, "how many lines to keep")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "blackbox: name a command")
		os.Exit(2)
	}
	code, err := run(flag.Args(), *lines)
	if err != nil {
		fmt.Fprintln(os.Stderr, "blackbox:", err)
	}
	os.Exit(code)
}

func run(argv []string, lines int) (int, error) {
	arena, err := logring.New(8 << 20)
	if err != nil {
		return 127, err
	}
	defer arena.Close() //nolint:errcheck // the program ends
	ring := arena.Ring(argv[0], logring.Limits{Lines: lines})

	cmd := exec.Command(argv[0], argv[1:]...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return 127, err
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return 127, err
	}
	if err := cmd.Start(); err != nil {
		return 127, err
	}
	var readers sync.WaitGroup // the ring takes lines from any goroutine
	readers.Go(func() { record(ring, logring.Stdout, stdout) })
	readers.Go(func() { record(ring, logring.Stderr, stderr) })
	readers.Wait()
	err = cmd.Wait()
	if err == nil {
		return 0, nil
	}
	replay(ring, lines)
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return 127, err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), err
	}
	return exit.ExitCode(), err
}

// record puts every line of r into the ring. A line is cut where the ring cuts it.
func record(ring *logring.Ring, stream uint8, r io.Reader) {
	in := bufio.NewReaderSize(r, logring.MaxLine)
	for {
		text, err := in.ReadSlice('\n')
		cut := errors.Is(err, bufio.ErrBufferFull)
		if n := len(text); n > 0 && text[n-1] == '\n' {
			text = text[:n-1]
		} else if n == 0 {
			return
		}
		ring.Append(logring.Record{TimeMS: time.Now().UnixMilli(), Stream: stream, Continued: cut, Text: text})
		if err != nil && !cut {
			return
		}
	}
}

// replay prints what the ring still holds, and says how much it no longer does.
func replay(ring *logring.Ring, lines int) {
	if first := ring.First(); first > 1 {
		fmt.Fprintf(os.Stderr, "(%d earlier lines are not kept)\n", first-1)
	}
	for _, rec := range ring.Last(lines, nil) {
		stream := "out"
		if rec.Stream == logring.Stderr {
			stream = "err"
		}
		fmt.Fprintf(os.Stderr, "%s %s | %s\n", time.UnixMilli(rec.TimeMS).Format(time.TimeOnly), stream, rec.Text)
	}
}
