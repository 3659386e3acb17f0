package server

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"github.com/zinit/zinit/applets/pid1/early"
	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/supervisor"
	"github.com/zinit/zinit/supervisor/keeper"
)

// handOverPatience is how long requests under way may take before an upgrade: more than a change that is answered as
// pending. A query that is not answered then loses its connection. Calls that wait are asked again in the new server.
const handOverPatience = 5 * time.Second

// serve begins to accept connections from the socket's present listener.
func (s *server) serve() {
	served := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	listener := s.socket.Listener
	s.served = append(slices.DeleteFunc(s.served, ended), served)
	go func() {
		_ = s.rpc.Serve(listener)
		close(served)
	}()
}

func ended(served chan struct{}) bool {
	select {
	case <-served:
		return true
	default:
		return false
	}
}

// awaitServed waits until no connection is accepted any more. Two may wait: an upgrade, and the end of the server.
func (s *server) awaitServed() {
	s.mu.Lock()
	list := slices.Clone(s.served)
	s.mu.Unlock()
	for _, served := range list {
		<-served
	}
}

// inheritConnections takes the clients over from the server that this process was before an exec. Without them their
// owners would connect again.
func (s *server) inheritConnections() {
	if s.inherited == nil {
		return
	}
	if err := s.rpc.Adopt(statesOf(s.inherited.Connections)); err != nil {
		s.log.Error("some clients have lost their connection in the upgrade", "error", err)
	}
}

func statesOf(conns []supervisor.Connection) []rpc.ConnState {
	states := make([]rpc.ConnState, len(conns))
	for i, c := range conns {
		states[i] = rpc.ConnState{File: os.NewFile(uintptr(c.FD), "connection"), Pending: c.Pending}
	}
	return states
}

// handOver gives up all connections before an exec in place, and keeps all orders from then on. An error means that
// something that was asked for is not finished: the next image would not know of it.
func (s *server) handOver() ([]supervisor.Connection, error) {
	ctx, stop := context.WithTimeout(context.Background(), handOverPatience)
	defer stop()
	states, err := s.rpc.Handover(ctx)
	s.handed = states
	switch {
	case errors.Is(err, rpc.ErrServerClosed):
		return nil, errors.New("the server is ending")
	case errors.Is(err, rpc.ErrChanging):
		s.awaitServed()
		return nil, err
	case err != nil:
		s.log.Warn("some clients must connect again", "error", err)
	}
	s.awaitServed()
	conns := make([]supervisor.Connection, len(states))
	for i, st := range states {
		conns[i] = supervisor.Connection{FD: descriptor(st.File), Pending: st.Pending}
	}
	return conns, s.orders.close(handOverPatience)
}

// lastWord holds signals back and returns the orders that the next image is to carry out.
func (s *server) lastWord() []keeper.Order {
	s.holdSignals()
	s.stderr.Flush(stderrPatience) // an exec takes away what waits
	return s.orders.forNext()
}

// takeBack serves on after an exec that failed.
func (s *server) takeBack() {
	early.ReleaseAll()
	early.Heed()
	s.orders.open(s.carryOut)
	if err := s.rpc.Adopt(s.handed); err != nil {
		s.log.Error("some clients have lost their connection", "error", err)
	}
	s.handed = nil
	s.serve()
}
