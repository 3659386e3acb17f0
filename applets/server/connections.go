package server

import (
	"context"
	"os"
	"time"

	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/supervisor"
)

// handOverPatience is how long requests under way may take before an upgrade; what is not answered then loses its
// connection. Calls that wait are asked again in the new server.
const handOverPatience = 3 * time.Second

// serve begins to accept connections.
func (s *server) serve() {
	go func() { s.served <- s.rpc.Serve(s.socket.Listener) }()
}

// inheritConnections takes the clients over from the server that this process was before an exec. Without them their
// owners would connect again.
func (s *server) inheritConnections() {
	conns, err := supervisor.InheritConnections()
	if err == nil {
		err = s.rpc.Adopt(statesOf(conns))
	}
	if err != nil {
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

// handOver gives up all connections before an exec in place.
func (s *server) handOver() []supervisor.Connection {
	ctx, stop := context.WithTimeout(context.Background(), handOverPatience)
	defer stop()
	states, err := s.rpc.Handover(ctx)
	if err != nil {
		s.log.Warn("some clients must connect again", "error", err)
	}
	<-s.served
	s.handed = states
	conns := make([]supervisor.Connection, len(states))
	for i, st := range states {
		conns[i] = supervisor.Connection{FD: descriptor(st.File), Pending: st.Pending}
	}
	return conns
}

// takeBack serves on after an exec that failed.
func (s *server) takeBack() {
	if err := s.rpc.Adopt(s.handed); err != nil {
		s.log.Error("some clients have lost their connection", "error", err)
	}
	s.handed = nil
	s.serve()
}
