package proc

import (
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
)

// Needs are the paths that a start of a command of a service looks at, as far as the definition tells.
func Needs(c *graph.Config, cmd graph.Command) []string {
	var paths []string
	add := func(path string) {
		path = strings.TrimPrefix(path, "-")
		if !filepath.IsAbs(path) {
			path = filepath.Join(c.Dir, path)
		}
		paths = append(paths, path)
	}
	program, _, _ := strings.Cut(strings.TrimSpace(cmd.Line), " ")
	if len(cmd.Argv) > 0 {
		program = cmd.Argv[0]
	}
	if filepath.IsAbs(program) {
		add(program)
	}
	if c.Dir != "" {
		add(c.Dir)
	}
	for _, path := range c.EnvFiles {
		add(path)
	}
	for _, path := range c.EnvFromFile {
		add(path)
	}
	for _, path := range c.Credentials {
		add(path)
	}
	return paths
}

// Reach returns when each of the paths has answered, whatever it said. On a mount that does not answer that is never.
func Reach(paths []string) {
	for _, path := range paths {
		var st unix.Stat_t
		_ = unix.Stat(path, &st)
	}
}

// Asker lets one question at a time go to files that may never answer: on a mount that hangs each would keep a thread. The
// zero value is ready; methods are safe for concurrent use.
type Asker struct {
	mu   sync.Mutex
	open map[string]chan struct{} // by key; closed when the question is answered
}

// Ask runs look on a goroutine of its own, once others with its key have been answered. It is false when all that takes
// longer than patience. Then look may still be under way, and what it sets is not to be read.
func (a *Asker) Ask(key string, patience time.Duration, look func()) bool {
	over := time.NewTimer(patience)
	defer over.Stop()
	answered := make(chan struct{})
	for {
		before := a.enter(key, answered)
		if before == nil {
			break
		}
		select {
		case <-before:
		case <-over.C:
			return false
		}
	}
	go func() {
		defer close(answered)
		defer a.leave(key)
		look()
	}()
	select {
	case <-answered:
		return true
	case <-over.C:
		return false
	}
}

// enter opens a question, or returns the one that is open.
func (a *Asker) enter(key string, answered chan struct{}) (before chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if before = a.open[key]; before != nil {
		return before
	}
	if a.open == nil {
		a.open = map[string]chan struct{}{}
	}
	a.open[key] = answered
	return nil
}

func (a *Asker) leave(key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.open, key)
}
