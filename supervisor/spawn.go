package supervisor

import (
	"runtime"
	"time"
)

// job is one thing for a spawn worker: run blocks at most for an exec, and returns the word that tells the driver.
type job struct {
	run func() (word func())
}

// spawnPool hands jobs to workers. The driver offers the first job in its select, so that it never blocks on a worker
// that is itself about to post a word.
type spawnPool struct {
	jobs    chan *job
	first   chan func() // for the first worker's thread only
	pending []*job
	post    func(func())
	workers int
}

// newSpawnPool starts the workers. Each is tied to an OS thread that lives as long as the process: the parent-death
// signal of a child fires when the thread that forked it ends (prctl(2), PR_SET_PDEATHSIG).
// A lone server (one without a keeper) forks on one thread only: an upgrade executes on that thread, and an exec ends
// all others.
func newSpawnPool(post func(func()), lone bool) *spawnPool {
	p := &spawnPool{jobs: make(chan *job), first: make(chan func()), post: post}
	n := spawners
	if lone {
		n = 1
	}
	p.addWorker(p.first)
	for range n - 1 {
		p.addWorker(nil)
	}
	return p
}

func (p *spawnPool) addWorker(own <-chan func()) {
	p.workers++
	go func() {
		runtime.LockOSThread()
		for {
			select {
			case j := <-p.jobs:
				stuck := time.AfterFunc(spawnStuck, func() { p.post(p.replaceStuck) })
				word := j.run()
				stuck.Stop()
				p.post(word)
			case f := <-own:
				f()
			}
		}
	}()
}

// onFirst runs f on the thread of the first worker.
func (p *spawnPool) onFirst(f func()) { go func() { p.first <- f }() }

func (p *spawnPool) waiting() bool { return len(p.pending) > 0 }
func (p *spawnPool) next() *job    { return p.pending[0] }

// submit queues a job.
func (p *spawnPool) submit(run func() func()) {
	p.pending = append(p.pending, &job{run: run})
}

// taken drops the first job, which a worker has now.
func (p *spawnPool) taken() {
	p.pending = p.pending[1:]
	if len(p.pending) == 0 {
		p.pending = nil
	}
}

// replaceStuck adds a worker for one that has hung in a spawn for spawnStuck, so that one program on a dead mount holds
// up nobody else.
func (p *spawnPool) replaceStuck() {
	if p.workers < spawnersMax {
		p.addWorker(nil)
	}
}
