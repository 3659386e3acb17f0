// Package storm is the kill storm: its services, the clients that watch meanwhile, and the book by which it is checked
// that nothing was lost. The tests here run it beside a keeper on this machine, and the program in guest runs it inside a
// machine that has the binary as its /init.
package storm

import (
	"bufio"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/zinit/zinit/supervisor/notify"
)

// role is the variable that makes an executable play a service.
const role = "ZT_ROLE"

// Play plays a service when the process was executed as one (ZT_ROLE), else it returns at once.
func Play() {
	switch os.Getenv(role) {
	case "":
		return
	case "lines":
		lines()
	case "crash":
		crash()
	case "flood":
		flood()
	case "run":
		runOnce()
	case "halves":
		halves()
	case "count":
		count()
	case "once":
		note("ran")
	case "fail":
		os.Exit(7)
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		time.Sleep(forEver)
	case "sleep":
		time.Sleep(forEver)
	}
	os.Exit(0)
}

const forEver = 1e5 * time.Hour

// lines writes numbered lines to both streams for ever, ZT_PER_TICK at a time, sometimes a line in two pieces.
func lines() {
	per, _ := strconv.Atoi(os.Getenv("ZT_PER_TICK"))
	every, _ := strconv.Atoi(os.Getenv("ZT_TICK_MS"))
	tick := time.NewTicker(time.Duration(max(every, 1)) * time.Millisecond)
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
// on SIGUSR1 and 7 on SIGTERM; ZT_ONCE makes it end with 0 at once. ZT_READY makes it say that it is ready, once: on its
// notify socket, or with 3 on that descriptor.
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
	sayReady(os.Getenv("ZT_READY"))
	code := 0
	if os.Getenv("ZT_ONCE") == "" {
		code = map[os.Signal]int{syscall.SIGUSR1: 42, syscall.SIGTERM: 7}[<-asked]
	}
	fmt.Println("end " + id)
	note("end " + id)
	runtime.KeepAlive(lock)
	os.Exit(code)
}

func sayReady(how string) {
	var err error
	switch how {
	case "1":
		err = notify.Send(os.Getenv("NOTIFY_SOCKET"), "READY=1")
	case "3":
		_, err = os.NewFile(3, "ready").WriteString("\n")
	}
	if err != nil {
		panic(err)
	}
}

// halves writes a line in three pieces, each on a SIGUSR1, and notes in ZT_FILE when it has done so.
func halves() {
	asked := make(chan os.Signal, 4)
	signal.Notify(asked, syscall.SIGUSR1)
	for n := 0; ; n++ {
		for _, piece := range []string{"one", " two", " three\n"} {
			fmt.Print(piece)
			note(fmt.Sprintf("%d%s", n, piece))
			<-asked
		}
	}
}

// count notes each SIGTERM in ZT_FILE and goes on.
func count() {
	asked := make(chan os.Signal, 16)
	signal.Notify(asked, syscall.SIGTERM)
	note("ready")
	for range asked {
		note("TERM")
	}
}

func note(line string) {
	f, err := os.OpenFile(os.Getenv("ZT_FILE"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	fmt.Fprintln(f, line)
}

// FloodLine is the length of each line of a flood, without its end.
const FloodLine = 200

// flood writes ZT_RATE bytes a second of numbered lines, from 1.
func flood() {
	rate, _ := strconv.Atoi(os.Getenv("ZT_RATE"))
	out := bufio.NewWriterSize(os.Stdout, 32<<10)
	began := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	for n := 1; ; <-tick.C {
		for due := int(time.Since(began).Seconds() * float64(rate) / (FloodLine + 1)); n <= due; n++ {
			fmt.Fprintf(out, "%0*d\n", FloodLine, n)
		}
		out.Flush()
	}
}
