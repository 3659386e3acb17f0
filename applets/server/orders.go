package server

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/zinit/zinit/supervisor/keeper"
)

// orders is what signals and the keeper ask. Each is carried out once: by this image, or, from the moment on when an
// upgrade has closed it, by the image that takes over; by this one again when there was no exec.
type orders struct {
	mu      sync.Mutex
	closed  bool
	kept    []keeper.Order // for the next image
	waiting int            // upgrades that wait for the end of another
	reloads sync.WaitGroup // reloads under way
}

// take carries out an order, or keeps it. do must be quick: what takes time it leaves to a goroutine.
func (q *orders) take(o keeper.Order, do func(keeper.Order)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		q.kept = append(q.kept, o)
		return
	}
	do(o)
}

// errReloading is the error of close.
var errReloading = errors.New("a reload is still under way")

// close keeps all further orders, and waits for a reload under way.
func (q *orders) close(patience time.Duration) error {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	done := make(chan struct{})
	go func() {
		q.reloads.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-time.After(patience):
		return errReloading
	}
}

// forNext is what the next image is to carry out.
func (q *orders) forNext() []keeper.Order {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := append([]keeper.Order{}, q.kept...)
	if q.waiting > 0 {
		list = append(list, keeper.OrderUpgrade) // one is as good as several: all mean the file that stands there then
	}
	return list
}

// open carries out what was kept, and whatever comes.
func (q *orders) open(do func(keeper.Order)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = false
	for _, o := range q.kept {
		do(o)
	}
	q.kept = nil
}

// goReload runs a reload that close waits for. It is called by do.
func (q *orders) goReload(reload func()) {
	q.reloads.Add(1)
	go func() {
		defer q.reloads.Done()
		reload()
	}()
}

// goUpgrade begins an upgrade when no other is under way any more. It is called by do.
func (q *orders) goUpgrade(prepare func(context.Context) (begin func(), err error), failed func(error)) {
	q.waiting++
	go func() {
		begin, err := prepare(context.Background())
		q.mu.Lock()
		q.waiting--
		q.mu.Unlock()
		if err != nil {
			failed(err)
			return
		}
		begin()
	}()
}
