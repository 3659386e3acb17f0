// Package survival kills the server over and over and counts what is left: every process, exit status and log line.
package survival

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// TestMain plays the services of the storm when the binary is executed as one (ZT_ROLE), else runs the tests.
func TestMain(m *testing.M) {
	switch os.Getenv("ZT_ROLE") {
	case "":
		os.Exit(m.Run())
	case "lines":
		lines()
	case "crash":
		crash()
	case "flood":
		flood()
	case "run":
		runOnce()
	}
}

// lines writes numbered lines to both streams for ever, in bursts of every size, sometimes a line in two pieces.
func lines() {
	per, _ := strconv.Atoi(os.Getenv("ZT_PER_TICK"))
	tick := time.NewTicker(10 * time.Millisecond)
	out, errs := bufio.NewWriter(os.Stdout), bufio.NewWriter(os.Stderr)
	for n := 0; ; {
		<-tick.C
		for range per {
			fmt.Fprintf(out, "out %d ", n)
			if n%7 == 0 {
				out.Flush()
			}
			fmt.Fprintf(out, "end\n")
			fmt.Fprintf(errs, "err %d end\n", n)
			n++
		}
		out.Flush()
		errs.Flush()
	}
}

// crash notes in ZT_FILE with which code it is going to end, and ends with it after a second.
func crash() {
	f, err := os.OpenFile(os.Getenv("ZT_FILE"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		panic(err)
	}
	runs := 0
	for scan := bufio.NewScanner(f); scan.Scan(); {
		runs++
	}
	code := exitCodeOf(runs)
	fmt.Fprintf(f, "%s %d\n", os.Getenv("ZINIT_ID"), code)
	f.Close()
	time.Sleep(time.Second) // this is the service's work, not a test that waits
	os.Exit(code)
}

// exitCodeOf is the generator's list: the code of the n-th run, from 0.
func exitCodeOf(n int) int { return 1 + (n*37)%100 }

// runOnce notes in ZT_FILE when it begins and ends, and whether another copy was alive at the same time. It ends with 42
// on SIGUSR1 and 7 on SIGTERM; ZT_ONCE makes it end with 0 at once.
func runOnce() {
	asked := make(chan os.Signal, 4)
	signal.Notify(asked, syscall.SIGUSR1, syscall.SIGTERM)
	id := fmt.Sprintf("%s %d", os.Getenv("ZINIT_ID"), os.Getpid())
	lock, err := os.OpenFile(os.Getenv("ZT_FILE")+".lock", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		panic(err)
	}
	if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		note("double " + id)
	}
	fmt.Println("begin " + id)
	note("begin " + id)
	code := 0
	if os.Getenv("ZT_ONCE") == "" {
		code = map[os.Signal]int{syscall.SIGUSR1: 42, syscall.SIGTERM: 7}[<-asked]
	}
	fmt.Println("end " + id)
	note("end " + id)
	runtime.KeepAlive(lock)
	os.Exit(code)
}

func note(line string) {
	f, err := os.OpenFile(os.Getenv("ZT_FILE"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	fmt.Fprintln(f, line)
}

func raw(text string) json.RawMessage { return json.RawMessage(text) }

// floodLine is the length of each line of a flood.
const floodLine = 200

// flood writes ZT_RATE bytes a second of numbered lines, from 1.
func flood() {
	rate, _ := strconv.Atoi(os.Getenv("ZT_RATE"))
	out := bufio.NewWriterSize(os.Stdout, 32<<10)
	began := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	for n := 1; ; <-tick.C {
		for due := int(time.Since(began).Seconds() * float64(rate) / (floodLine + 1)); n <= due; n++ {
			fmt.Fprintf(out, "%0*d\n", floodLine, n)
		}
		out.Flush()
	}
}
