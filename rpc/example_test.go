package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/zinit/zinit/rpc"
	"github.com/zinit/zinit/rpc/wire"
)

// demo is the least that the examples need of a supervisor.
type demo struct{ rpc.Backend }

func (demo) Ping() wire.Ping { return wire.Ping{Version: "0.4.0"} }
func (demo) List() []string  { return []string{"db", "web"} }
func (demo) Status(name string) (wire.Status, error) {
	if name != "web" {
		return wire.Status{}, wire.NewError(wire.CodeNotFound, "there is no service "+name)
	}
	return wire.Status{Name: name, State: "running"}, nil
}
func (demo) FollowEvents(ctx context.Context, _ uint64, send func(wire.Event) error) error {
	for i, to := range []string{"starting", "running"} {
		if err := send(wire.Event{Seq: uint64(i + 1), Service: "web", To: to}); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return nil
}

// serve answers on a socket as a supervisor does, until the returned function is called.
func serve() (path string, end func()) {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	socket, err := rpc.Listen(rpc.SocketOptions{Path: filepath.Join(dir, "s.sock")})
	if err != nil {
		panic(err)
	}
	server := rpc.NewServer(demo{}, rpc.ServerOptions{})
	go server.Serve(socket.Listener) //nolint:errcheck // it ends with Close
	return socket.Path, func() {
		_ = server.Close(context.Background())
		_ = socket.Close(true)
		_ = os.RemoveAll(dir)
	}
}

func ExampleDial() {
	path, end := serve() // a running zinit has it at /run/zinit.sock
	defer end()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	client, err := rpc.Dial(ctx, path)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	names, err := client.List(ctx)
	fmt.Println(names, err)
	status, err := client.Status(ctx, "web")
	fmt.Println(status.State, err)
	// Output:
	// [db web] <nil>
	// running <nil>
}

func ExampleClient_Status_error() {
	path, end := serve()
	defer end()
	client, err := rpc.Dial(context.Background(), path)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	_, err = client.Status(context.Background(), "wbe")
	var answer *wire.Error
	if errors.As(err, &answer) && answer.Code == wire.CodeNotFound {
		fmt.Println("the server says:", answer.Message)
	}
	// Output: the server says: there is no service wbe
}

func ExampleTransportError() {
	_, err := rpc.Dial(context.Background(), "/nonexistent/zinit.sock")
	var lost *rpc.TransportError
	fmt.Println(errors.As(err, &lost), errors.Is(err, syscall.ENOENT), lost.Sent)
	// Output: true true false
}

func ExampleClient_FollowEvents() {
	path, end := serve()
	defer end()
	client, err := rpc.Dial(context.Background(), path, rpc.WithReconnect(time.Minute))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	ctx, cancel := context.WithCancel(context.Background())
	err = client.FollowEvents(ctx, 1, func(e wire.Event) error {
		fmt.Println(e.Seq, e.Service, e.To)
		if e.To == "running" {
			cancel() // that is all we wanted to see
		}
		return nil
	})
	fmt.Println(errors.Is(err, context.Canceled))
	// Output:
	// 1 web starting
	// 2 web running
	// true
}
