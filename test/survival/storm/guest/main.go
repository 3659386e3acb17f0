// Command guest runs the kill storm inside a machine whose /init is the zinit binary. It is a service of that machine,
// plays the others as well, and needs nothing else in the initramfs. Its words go to the console; one of them is
// "STORM: passed" when nothing was lost.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/zinit/zinit/test/survival/storm"
)

func main() {
	storm.Play()
	kills := flag.Int("kills", 300, "how often the server is killed")
	limit := flag.Duration("for", 100*time.Second, "for how long at most, on a host that is too busy for all")
	seed := flag.Uint64("seed", 1, "seed of the pauses")
	tick := flag.Duration("tick", 100*time.Millisecond, "between two bursts of lines")
	write := flag.String("write", "", "write the services' files into this directory, for an image, and end")
	flag.Parse()
	s := &storm.Storm{Self: inImage, Work: "/tmp", Socket: "/run/zinit.sock", Keeper: 1, Tick: *tick, Seed: *seed, Patience: 2 * time.Minute}
	if *write != "" {
		if err := writeFiles(*write, s.Config()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	console, err := os.OpenFile("/dev/console", os.O_WRONLY, 0)
	if err != nil {
		console = os.Stdout
	}
	if bad := run(console, s, *kills, *limit); len(bad) > 0 {
		fmt.Fprintf(console, "STORM: failed\n%s\n", strings.Join(bad, "\n"))
	} else {
		fmt.Fprintln(console, "STORM: passed")
	}
	fmt.Fprintln(console, "STORM: ended")
}

// inImage is where the image has this program.
const inImage = "/bin/storm"

func writeFiles(dir string, files map[string]string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// run is the storm. The pauses are to the time that a server needs here to come back as 1 to 50 ms are to the 10 ms that it
// needs on a machine of today.
func run(console io.Writer, s *storm.Storm, kills int, limit time.Duration) (bad []string) {
	if err := s.Begin(); err != nil {
		return []string{err.Error()}
	}
	gap, err := s.Gap()
	if err != nil {
		return append(s.Finish(), err.Error())
	}
	s.Pause = min(max(50*time.Millisecond, 3*gap), 250*time.Millisecond)
	fmt.Fprintf(console, "STORM: begins, %v to the first answer after a kill, pauses up to %v\n", gap, s.Pause)
	began := time.Now()
	s.End = began.Add(limit)
	s.Progress = func(n int) {
		if n%25 == 0 {
			fmt.Fprintf(console, "STORM: killed %d within %v\n", n, time.Since(began).Round(time.Millisecond))
		}
	}
	killed, err := s.Kill(kills)
	if err != nil {
		bad = append(bad, err.Error())
	}
	fmt.Fprintln(console, "STORM: kills end")
	bad = append(bad, s.Finish()...)
	fmt.Fprintf(console, "STORM: %d kills, %s\n", killed, s.Summary())
	return bad
}
