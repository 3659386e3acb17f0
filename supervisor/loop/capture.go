package loop

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/probe"
	"github.com/zinit/zinit/supervisor/proc"
)

// captureMax is how much of a captured command's output is kept, in bytes; the rest is read and dropped.
const captureMax = 64 << 10

// captureGrace is how long output is read after the command has ended.
const captureGrace = 100 * time.Millisecond

// capture runs a short command (an exec check, the self test of an upgrade) on behalf of another goroutine and returns
// what it wrote. When ctx ends first it is killed; the error is that of ctx, or a probe.Stuck.
func (d *driver) capture(ctx context.Context, h *helper, needs []string, start func(stdout int) (int, *proc.Error)) ([]byte, machine.Status, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, machine.Status{}, err
	}
	defer r.Close()
	type ending struct {
		st    machine.Status
		stuck string
		err   *proc.Error
	}
	ended := make(chan ending, 1)
	h.done = func(st machine.Status) { ended <- ending{st: st, stuck: h.stuckText()} }
	d.post(func() {
		d.startHelper(h, needs, 0, func() (int, *proc.Error) {
			defer w.Close()
			return start(int(w.Fd()))
		}, func(err *proc.Error) { ended <- ending{err: err} })
	})
	output := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(io.LimitReader(r, captureMax))
		_, _ = io.Copy(io.Discard, r)
		output <- b
	}()
	var end ending
	select {
	case end = <-ended:
	case <-ctx.Done():
		d.post(func() { d.endHelper(h) })
		select {
		case end = <-ended:
		case <-d.opt.done:
		}
		if err = ctx.Err(); end.stuck != "" {
			err = &probe.Stuck{Err: err, Text: end.stuck}
		}
	case <-d.opt.done:
		return nil, machine.Status{}, errors.New("the supervisor is stopping")
	}
	_ = r.SetReadDeadline(time.Now().Add(captureGrace)) // what its children hold open is not waited for
	if end.err != nil {
		return nil, end.st, end.err
	}
	return <-output, end.st, err
}
