package system

import (
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/zinit/zinit/supervisor/proc"
)

// job is one thing for a spawn worker: run blocks at most for an exec, and returns the word that tells the driver.
type job struct {
	run    func() (word func())
	pool   *spawnPool
	begun  bool // it is on its way to a worker
	called bool // off, before it was begun
	needs  string
}

// reaching is one look at files that jobs need, which may last for ever: all that need the same wait for the same look.
type reaching struct{ waiting []*job }

// Begun implements loop.Fork.
func (j *job) Begun() bool { return j.begun }

// CallOff implements loop.Fork.
func (j *job) CallOff() bool { return j.pool.callOff(j) }

// spawnPool hands jobs to workers. They take them from a channel with room, so that a worker goes from one job to the next
// without the driver; what has no room waits in pending. The driver never blocks on a worker, which may itself be about
// to post a word.
type spawnPool struct {
	jobs    chan *job
	first   chan func() // for the first worker's thread only
	pending []*job
	asked   map[string]*reaching // by what is needed; answered ones are not in it
	post    func(func())
	workers []*spawnWorker
	held    func()       // not nil: no job is begun; called once when none is under way
	left    int          // jobs submitted of which the word has not been taken
	forking atomic.Int32 // jobs that a worker has begun, and of which the word has not been taken
	lone    bool         // what another thread than the first forks would end in an upgrade
	watched bool         // a look for stuck workers is due
}

// spawnWorker is one worker as the others see it.
type spawnWorker struct {
	since    atomic.Int64 // when its job began, ns of the process's own clock; 0 = it has none
	replaced int64        // the job for which it got a replacement; the driver's own
}

// Processors is what runtime.GOMAXPROCS should be for a supervisor on a machine, or in a container, with n of them.
func Processors(n int) int { return n + sparePs }

// newSpawnPool starts the workers. Each is tied to an OS thread that lives as long as the process: the parent-death
// signal of a child fires when the thread that forked it ends (prctl(2), PR_SET_PDEATHSIG).
// A lone server (one without a keeper) forks on the main thread only, in serve: an upgrade executes on that thread, an
// exec ends all others, and the one that executes is the main thread of the new image.
func newSpawnPool(post func(func()), lone bool) *spawnPool {
	p := &spawnPool{jobs: make(chan *job, jobsReady), first: make(chan func()), post: post, lone: lone}
	if lone {
		p.workers = append(p.workers, &spawnWorker{})
		return p
	}
	p.addWorker(p.first)
	for range spawners - 1 {
		p.addWorker(nil)
	}
	return p
}

func (p *spawnPool) addWorker(own <-chan func()) {
	w := &spawnWorker{}
	p.workers = append(p.workers, w)
	go func() {
		runtime.LockOSThread()
		p.work(w, own, nil)
	}()
}

// serve is the first worker of a lone server, until the exit code is there.
func (p *spawnPool) serve(code <-chan int) int {
	return p.work(p.workers[0], p.first, code)
}

// work takes jobs, and functions for this thread alone, until there is a code.
func (p *spawnPool) work(w *spawnWorker, own <-chan func(), code <-chan int) int {
	for {
		select {
		case j := <-p.jobs:
			w.since.Store(int64(time.Since(processStart)) + 1)
			p.forking.Add(1)
			word := j.run()
			w.since.Store(0)
			p.post(word)
		case f := <-own:
			f()
		case c := <-code:
			return c
		}
	}
}

// processStart is time zero of spawnWorker.since.
var processStart = time.Now()

// onFirst runs f on the thread of the first worker.
func (p *spawnPool) onFirst(f func()) { go func() { p.first <- f }() }

// submit queues a job. Its word runs on the driver. What the job needs is reached first, elsewhere: on a mount that does not
// answer it would hold up a worker, and with it everybody's forks.
func (p *spawnPool) submit(needs []string, run func() func()) *job {
	p.left++
	j := &job{pool: p, run: func() func() {
		word := run()
		return func() {
			p.left--
			p.forking.Add(-1)
			word()
		}
	}}
	if len(needs) == 0 {
		p.begin(j)
		return j
	}
	j.needs = strings.Join(needs, "\x00")
	if q := p.asked[j.needs]; q != nil {
		q.waiting = append(q.waiting, j) // a look of its own would be one more that hangs
		return j
	}
	q := &reaching{waiting: []*job{j}}
	if p.asked == nil {
		p.asked = map[string]*reaching{}
	}
	p.asked[j.needs] = q
	go func() {
		proc.Reach(needs)
		p.post(func() {
			delete(p.asked, j.needs)
			for _, j := range q.waiting {
				p.begin(j)
			}
		})
	}()
	return j
}

// begin lays a job out for the workers.
func (p *spawnPool) begin(j *job) {
	if j.called {
		return
	}
	j.begun = true
	p.pending = append(p.pending, j)
	p.feed()
}

// callOff takes a job back that waits for what it needs; false when it is too late.
func (p *spawnPool) callOff(j *job) bool {
	if j.begun || j.called {
		return false
	}
	j.called = true
	if q := p.asked[j.needs]; q != nil {
		q.waiting = slices.DeleteFunc(q.waiting, func(w *job) bool { return w == j })
	}
	p.left--
	p.feed()
	return true
}

// busy reports whether a fork may be under way.
func (p *spawnPool) busy() bool { return p.forking.Load() > 0 }

// feed fills the room that workers have made. The driver calls it after each word of theirs.
func (p *spawnPool) feed() {
	if p.held != nil {
		if p.left == len(p.pending) {
			p.calm()
		}
		return
	}
	n := 0
	for n < len(p.pending) {
		select {
		case p.jobs <- p.pending[n]:
			n++
			continue
		default:
		}
		break
	}
	if p.pending = p.pending[n:]; len(p.pending) == 0 {
		p.pending = nil
	}
	if p.left > 0 && !p.watched {
		p.watched = true
		time.AfterFunc(spawnStuck, func() { p.post(p.look) })
	}
}

// pause begins no further job, and calls quiet when none is under way any more, or at calm.
func (p *spawnPool) pause(quiet func()) {
	p.held = quiet
	p.feed()
}

// calm does not wait any longer.
func (p *spawnPool) calm() {
	if quiet := p.held; quiet != nil {
		p.held = func() {}
		quiet()
	}
}

// resume ends a pause.
func (p *spawnPool) resume() {
	p.held = nil
	p.feed()
}

// look adds a worker for each that has hung in a spawn for spawnStuck, so that one program on a dead mount holds up nobody
// else. It comes again only while there are jobs.
func (p *spawnPool) look() {
	p.watched = false
	now, limit := int64(time.Since(processStart)), int64(spawnStuck)
	if p.lone {
		limit = int64(spawnStuckLone)
	}
	for _, w := range p.workers {
		since := w.since.Load()
		if since == 0 || since == w.replaced || now-since < limit || len(p.workers) >= spawnersMax {
			continue
		}
		w.replaced = since
		p.addWorker(nil)
	}
	p.feed()
}
