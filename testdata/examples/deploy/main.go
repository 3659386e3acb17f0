// Deploy is a whole program on rpc.Client: the last step of a deployment. It restarts services one after the other, each
// running again before the next, and stops at the first that does not come back, with the cause and its last lines.
//
//	deploy [-s SOCKET] [-timeout 30s] NAME...
//
// It ends with 0 when all run, 1 when one does not, 69 when no server answers.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/zinit/zinit/rpc"
)

func main() {
	socket := flag.String("s", "", "control socket (default: ZINIT_SOCKET, else where zinit has it)")
	timeout := flag.Duration("timeout", 30*time.Second, "for each service")
	flag.Parse()
	err := deploy(context.Background(), *socket, *timeout, flag.Args())
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "deploy:", err)
	var lost *rpc.TransportError
	if errors.As(err, &lost) {
		os.Exit(69)
	}
	os.Exit(1)
}

func deploy(ctx context.Context, socket string, timeout time.Duration, names []string) error {
	client, err := rpc.DialDefault(ctx, socket)
	if err != nil {
		return err
	}
	defer client.Close()
	for _, name := range names {
		answer, err := client.Restart(ctx, name, rpc.Change{Wait: true, TimeoutMS: timeout.Milliseconds()})
		if err != nil {
			return err
		}
		if answer.Outcome != "done" {
			tellWhy(ctx, client, name)
			return fmt.Errorf("%s did not come back: %s", name, answer.Text)
		}
		fmt.Println(name, "runs")
	}
	return nil
}

// tellWhy prints what the server knows of a service that failed.
func tellWhy(ctx context.Context, client *rpc.Client, name string) {
	if why, err := client.Why(ctx, name); err == nil {
		fmt.Fprintln(os.Stderr, why.ASCII)
	}
	lines, err := client.Logs(ctx, rpc.LogQuery{Names: []string{name}, Lines: 10})
	if err != nil {
		return
	}
	for _, line := range lines {
		fmt.Fprintln(os.Stderr, "  |", line.Content)
	}
}
