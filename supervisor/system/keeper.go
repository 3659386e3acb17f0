package system

import (
	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/supervisor/keeper"
	"github.com/zinit/zinit/supervisor/loop"
)

// Keeper implements loop.World.
func (y *System) Keeper() loop.Keeper {
	if y.keeper == nil {
		return nil
	}
	return y.keeper
}

// HoldKeeper takes no further word of the keeper, until ReleaseKeeper: it waits in the socket.
func (y *System) HoldKeeper() { y.receiving.Lock() }

// ReleaseKeeper ends HoldKeeper.
func (y *System) ReleaseKeeper() { y.receiving.Unlock() }

// Listen implements loop.Past.
func (y *System) Listen() {
	if y.keeper != nil {
		go y.listenToKeeper()
	}
}

// listenToKeeper passes on what the keeper says until it is gone. It blocks in poll(2), which costs nothing while the
// keeper is silent.
func (y *System) listenToKeeper() {
	fds := []unix.PollFd{{Fd: int32(y.keeper.FD()), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return
		}
		for {
			ev, ok, err := y.receive()
			if err != nil {
				y.post(y.told.Alone)
				return
			}
			if !ok {
				break
			}
			for _, e := range ev.Exits {
				y.post(func() { y.told.Exited(e) })
			}
		}
	}
}

// receive takes one word of the keeper, and passes on an order: never while another image is about to take over.
func (y *System) receive() (keeper.Event, bool, error) {
	y.receiving.Lock()
	defer y.receiving.Unlock()
	ev, ok, err := y.keeper.Receive()
	if ev.Order != 0 && y.opt.Order != nil {
		y.opt.Order(ev.Order)
	}
	return ev, ok, err
}
