// Package rpc is the protocol of the control socket: JSON-RPC 2.0, one object a line, over a Unix stream socket. It has
// both ends: a Server that answers from a Backend, and a Client for Go programs that want to talk to a running zinit.
//
// # A client
//
// Dial connects; the methods of Client are the methods of the protocol. Calls of one Client go one after the other over
// one connection and may come from any goroutine. With WithReconnect a client outlives an upgrade or a crash of the server: what
// changes nothing is asked again, and streams go on where they were.
//
//	c, err := rpc.Dial(ctx, "/run/zinit.sock", rpc.WithReconnect(10*time.Second))
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//	_, err = c.Restart(ctx, "web", rpc.Change{Wait: true})
//
// Errors of the server are of type *wire.Error and carry a code and data; those of the connection are *TransportError and
// say whether the request had been sent.
//
// # A server
//
// Every method is a row of one table (table.go): its name, its parameters, the right it needs, and how the answer is made.
// The checks of parameters, the document that rpc.discover gives, and the tests come from that table. NewServer takes a
// Backend, an interface, so that this package knows nothing of the supervisor behind it.
//
// # Compatibility
//
// The methods of zinit 0.3.9 keep their shapes: members may be added, none is removed, and none of its enumerations gets
// a new value. docs/design/rpc.md is the contract, testdata/conform/DIFFERENCES.md lists what differs and why.
package rpc
