// Package probe runs one health check, a TCP connection or an HTTP request, and judges one that is a command. It says what
// was got and what was wanted, holds nothing between two checks, and returns within the context's time.
package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
)

// Run runs one check that is no command until it passes, fails, or ctx is done. detail is one line: for a pass what was got ("200 OK",
// "connected", the last line of output), for a failure what was got and what was wanted.
func Run(ctx context.Context, h *graph.Health) (ok bool, detail string) {
	switch h.Type {
	case graph.HealthTCP:
		ok, detail = runTCP(ctx, h)
	case graph.HealthHTTP:
		ok, detail = runHTTP(ctx, h)
	default:
		return false, "it is a command"
	}
	return ok, oneLine(detail)
}

// runTCP connects and closes.
func runTCP(ctx context.Context, h *graph.Health) (bool, string) {
	address := strings.TrimPrefix(h.Target, "tcp://")
	conn, err := dial(ctx, "tcp", address)
	if err != nil {
		return false, fmt.Sprintf("connect %s: %s", address, reason(ctx, h, err))
	}
	conn.Close()
	return true, "connected to " + conn.RemoteAddr().String()
}

// dial connects. "localhost", and a target without a host, are the loopback addresses, first version 4: an image without
// /etc/hosts must not need a name server for them.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		if _, e := strconv.ParseUint(address, 10, 16); e != nil {
			return nil, fmt.Errorf("want host:port, got %q", address)
		}
		host, port = "", address
	}
	if host != "" && host != "localhost" {
		return d.DialContext(ctx, network, address)
	}
	conn, err := d.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
	if err == nil || !errors.Is(err, syscall.ECONNREFUSED) {
		return conn, err
	}
	if conn6, err6 := d.DialContext(ctx, network, net.JoinHostPort("::1", port)); err6 == nil {
		return conn6, nil
	}
	return nil, err
}

// reason shortens what the network says: the operation and addresses are in the line already.
func reason(ctx context.Context, h *graph.Health, err error) string {
	var timeout net.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return "called off"
	case ctx.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no answer within " + graph.Duration(h.Timeout)
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		err = op.Err
	}
	var sys *os.SyscallError
	if errors.As(err, &sys) {
		err = sys.Err
	}
	return err.Error()
}

// End is how the command of an exec check has ended.
type End struct {
	Output []byte // the end of what it printed
	Status machine.Status
	Err    error  // there was no command at all
	Late   bool   // its time was over, and it was killed
	Off    bool   // it was called off
	Stuck  string // which process of it is there after SIGKILL still, to follow "did not end within 5 s"
}

// Verdict judges an exec check, as Run does the others.
func Verdict(h *graph.Health, end *End) (ok bool, detail string) {
	ok, detail = judge(h, end)
	return ok, oneLine(detail)
}

func judge(h *graph.Health, end *End) (bool, string) {
	last := lastLine(end.Output)
	switch st := end.Status; {
	case end.Late:
		return false, withOutput("did not end within "+graph.Duration(h.Timeout)+end.Stuck, last)
	case end.Off:
		return false, "called off"
	case end.Err != nil:
		return false, end.Err.Error()
	case st.Unknown:
		return false, withOutput("its exit status is unknown", last)
	case st.Signal != 0:
		return false, withOutput(fmt.Sprintf("was killed by signal %d, want exit code 0", st.Signal), last)
	case st.Code != 0:
		return false, withOutput(fmt.Sprintf("exited with code %d, want 0", st.Code), last)
	case last == "":
		return true, "exited with code 0"
	}
	return true, last
}

func withOutput(what, last string) string {
	if last == "" {
		return what
	}
	return what + ": " + last
}

// lastLine is the last line of some output that has more than blanks.
func lastLine(output []byte) string {
	lines := strings.Split(string(output), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if line := strings.TrimSpace(lines[i]); line != "" {
			return line
		}
	}
	return ""
}

// oneLine makes a text fit for one line of a terminal.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) > detailMax {
		s = strings.ToValidUTF8(s[:detailMax], "") + "…"
	}
	return strings.TrimSpace(s)
}
