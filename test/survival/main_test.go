// Package survival kills the server over and over and counts what is left: every process, exit status and log line.
package survival

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
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
