package server

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/supervisor/keeper"
)

// TestOrders: before close each order is carried out here; after it, it is kept for the next image, or carried out here
// when that did not come.
func TestOrders(t *testing.T) {
	var q orders
	var done []keeper.Order
	do := func(o keeper.Order) { done = append(done, o) }
	q.take(keeper.OrderStop, do)
	if err := q.close(wait.Patience); err != nil {
		t.Fatal(err)
	}
	q.take(keeper.OrderReload, do)
	q.take(keeper.OrderKill, do)
	if want := []keeper.Order{keeper.OrderStop}; !slices.Equal(done, want) {
		t.Errorf("carried out %v, want %v", done, want)
	}
	kept := []keeper.Order{keeper.OrderReload, keeper.OrderKill}
	if got := q.forNext(); !slices.Equal(got, kept) {
		t.Errorf("kept %v, want %v", got, kept)
	}
	q.open(do)
	q.take(keeper.OrderUpgrade, do)
	if want := []keeper.Order{keeper.OrderStop, keeper.OrderReload, keeper.OrderKill, keeper.OrderUpgrade}; !slices.Equal(done, want) {
		t.Errorf("carried out %v, want %v", done, want)
	}
	if got := q.forNext(); len(got) != 0 {
		t.Errorf("%v are still kept", got)
	}
}

// TestOrdersWaitForAReload: an upgrade does not begin in the middle of one, and is called off when it takes too long.
func TestOrdersWaitForAReload(t *testing.T) {
	var q orders
	end := make(chan struct{})
	q.take(keeper.OrderReload, func(keeper.Order) { q.goReload(func() { <-end }) })
	if err := q.close(time.Millisecond); !errors.Is(err, errReloading) {
		t.Errorf("%v", err)
	}
	close(end)
	if err := q.close(wait.Patience); err != nil {
		t.Errorf("%v", err)
	}
}

// TestOrdersKeepAnUpgradeThatWaits: one that waits for another to end is the next image's.
func TestOrdersKeepAnUpgradeThatWaits(t *testing.T) {
	var q orders
	turn, failed := make(chan struct{}), make(chan error, 1)
	q.take(keeper.OrderUpgrade, func(keeper.Order) {
		q.goUpgrade(func(context.Context) (func(), error) { <-turn; return nil, errReloading }, func(err error) { failed <- err })
	})
	if got := q.forNext(); !slices.Equal(got, []keeper.Order{keeper.OrderUpgrade}) {
		t.Errorf("%v", got)
	}
	close(turn)
	if err := <-failed; !errors.Is(err, errReloading) {
		t.Errorf("%v", err)
	}
	if got := q.forNext(); len(got) != 0 {
		t.Errorf("it failed and is still for the next: %v", got)
	}
}
