package keeper

import (
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// dialTimeout is how long Dial waits for the next part of the handover. A keeper answers at once; under QEMU or a storm
// of load that can be seconds.
const dialTimeout = 20 * time.Second

// sendTimeout bounds how long a stopped keeper can hold up its server.
const sendTimeout = 5 * time.Second

// Client is the server's side. Its methods that send may be used from any goroutine; Receive and Dial from one at a
// time. A sent message is as good as delivered: none is answered.
type Client struct {
	fd int
	in mailbox
}

// Dial says hello on fd, the socket that the keeper passed (see EnvFD), and waits until everything was handed over. The
// same after an exec in place: what came for the image before is thrown away, the keeper says it again.
func Dial(fd int) (*Client, *Handover, error) {
	unix.CloseOnExec(fd)
	timeout := unix.NsecToTimeval(sendTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout); err != nil {
		return nil, nil, err
	}
	c := &Client{fd: fd}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return nil, nil, err
	}
	nonce := uint64(now.Nano())<<8 ^ uint64(unix.Getpid())
	hello := newFrame(kHello, 1)
	hello.put64(nonce)
	if err := send(fd, hello, nil, 0); err != nil {
		return nil, nil, err
	}
	h, err := c.collect(nonce)
	if err != nil {
		h.Close()
		return nil, nil, err
	}
	return c, h, nil
}

// collect reads the handover. h is never nil.
func (c *Client) collect(nonce uint64) (h *Handover, err error) {
	h = &Handover{Listener: -1, Arena: -1, Journal: -1, Tracked: map[int]uint64{}}
	for begun := false; ; {
		if err := c.wait(dialTimeout); err != nil {
			return h, err
		}
		f, fds, err := c.in.receive(c.fd, unix.MSG_DONTWAIT)
		if err == unix.EAGAIN {
			continue
		}
		if err != nil {
			closeAll(fds)
			return h, err
		}
		switch {
		case f.kind == kBegin:
			if begun = f.get64() == nonce; begun {
				h.begin(f)
			}
			closeAll(fds)
		case !begun:
			closeAll(fds)
			h.takeOrder(f)
		case f.kind == kEnd && f.get64() == nonce:
			closeAll(fds)
			return h, nil
		default:
			closeAll(h.take(f, fds))
		}
		if f.bad {
			return h, errFrame
		}
	}
}

// wait polls until a message is there.
func (c *Client) wait(limit time.Duration) error {
	set := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(set, int(limit.Milliseconds()))
		if err == unix.EINTR {
			continue
		}
		if err == nil && n == 0 {
			err = errNoHello
		}
		return err
	}
}

// takeOrder keeps an order that the image before did not take. A stop under way is said again in the handover.
func (h *Handover) takeOrder(f *frame) {
	if f.kind != kOrder {
		return
	}
	if o := Order(f.get32()); o > OrderHalt && o < nOrders {
		h.Orders = append(h.Orders, o)
	}
}

func (h *Handover) begin(f *frame) {
	h.Version = int(f.version)
	h.Mode = Mode(f.get32())
	h.PID = int(int32(f.get32()))
	h.Starts = int(int32(f.get32()))
	h.Order = Order(f.get32())
	h.StartedAt = int64(f.get64())
	h.SpawnedAt = int64(f.get64())
	h.Lost = int(int32(f.get32()))
	h.UpgradeDone = f.get32() != 0
}

// take adds one message to h and returns the descriptors it did not keep.
func (h *Handover) take(f *frame, fds []int) []int {
	switch f.kind {
	case kText:
		h.takeText(int(f.get32()), f.getText())
	case kFiles:
		return h.takeFile(f, fds)
	case kPipeSet:
		for i := range f.count {
			p := f.getPipe()
			if f.bad || i >= len(fds) {
				return fds
			}
			p.FD, fds[i] = fds[i], -1
			h.Pipes = append(h.Pipes, p)
		}
	case kTracked:
		for range f.count {
			pid, gen := int(f.get64()), f.get64()
			h.Tracked[pid] = gen
		}
	case kExits:
		h.Exits = f.exits(h.Exits)
	}
	return fds
}

func (f *frame) exits(to []Exit) []Exit {
	for range f.count {
		if e := f.getExit(); !f.bad {
			to = append(to, e)
		}
	}
	return to
}

func (h *Handover) takeText(which int, text string) {
	switch which {
	case textTarget:
		h.Target = text
	case textCrash:
		h.LastCrash = text
	case textRollback:
		h.RolledBack = text
	case textExecutable:
		h.Executable = text
	}
}

func (h *Handover) takeFile(f *frame, fds []int) []int {
	name, path := f.getText(), f.getText()
	if f.bad || len(fds) == 0 {
		return fds
	}
	switch name {
	case fileListener:
		h.Listener, h.SocketPath = fds[0], path
	case fileArena:
		h.Arena = fds[0]
	case fileJournal:
		h.Journal = fds[0]
	default:
		h.Files = append(h.Files, File{Name: name, Path: path, FD: fds[0]})
	}
	return fds[1:]
}

// Close closes every descriptor of the handover; for a server that cannot use it.
func (h *Handover) Close() {
	closeAll([]int{h.Listener, h.Arena, h.Journal})
	for _, p := range h.Pipes {
		closeAll([]int{p.FD})
	}
	for _, f := range h.Files {
		closeAll([]int{f.FD})
	}
}

// FD returns the descriptor to poll for Receive.
func (c *Client) FD() int { return c.fd }

// Receive returns the next word of the keeper without waiting. ok is false when there is none; ErrGone says that the
// keeper is gone, from when on the server stands alone.
func (c *Client) Receive() (ev Event, ok bool, err error) {
	for {
		f, fds, err := c.in.receive(c.fd, unix.MSG_DONTWAIT)
		closeAll(fds)
		switch {
		case err == unix.EAGAIN:
			return Event{}, false, nil
		case err == errFrame:
			continue
		case err != nil:
			return Event{}, false, ErrGone
		}
		switch f.kind {
		case kExits:
			ev.Exits = f.exits(nil)
		case kOrder:
			ev.Order = Order(f.get32())
		}
		if !f.bad && (len(ev.Exits) > 0 || ev.Order > 0 && ev.Order < nOrders) {
			return ev, true, nil
		}
	}
}

// StoreListener gives the control socket to the keeper; fd -1 takes it back.
func (c *Client) StoreListener(fd int, path string) error { return c.StoreFile(fileListener, path, fd) }

// StoreArena gives the memfd of the log rings to the keeper.
func (c *Client) StoreArena(fd int) error { return c.StoreFile(fileArena, "", fd) }

// StoreJournal gives the journal's memfd to the keeper.
func (c *Client) StoreJournal(fd int) error { return c.StoreFile(fileJournal, "", fd) }

// StoreFile gives a descriptor under a name of at most MaxName bytes, in the place of one stored under that name before;
// fd -1 only drops that. It comes back as one of Handover.Files.
func (c *Client) StoreFile(name, path string, fd int) error {
	if name == "" || len(name) > MaxName || len(path) > MaxPath {
		return errors.New("cannot store a descriptor: its name or path is too long")
	}
	f := newFrame(kFile, 1)
	f.putText(name)
	f.putText(path)
	if fd < 0 {
		return c.send(f, nil)
	}
	return c.send(f, []int{fd})
}

// StorePipes gives the read ends of log pipes. Call it before the fork: once it has returned the keeper holds them,
// whatever happens to the caller.
func (c *Client) StorePipes(ps []Pipe) error {
	for part := range slices.Chunk(ps, maxEntries) {
		f, fds := pipeFrame(kPipes, part)
		if err := c.send(f, fds); err != nil {
			return err
		}
	}
	return nil
}

// DropPipe lets go of a pipe, at its end of file.
func (c *Client) DropPipe(gen uint64, stream uint8) error {
	return c.pair(kDropPipe, gen, uint64(stream))
}

// Track says that pid belongs to incarnation gen: its exit must reach the server, this one or the next.
func (c *Client) Track(pid int, gen uint64) error { return c.pair(kTrack, uint64(pid), gen) }

// Untrack takes a Track back, after the server itself reaped pid.
func (c *Client) Untrack(pid int) error {
	f := newFrame(kUntrack, 1)
	f.put64(uint64(pid))
	return c.send(f, nil)
}

// AckExits says that exits have been written to the journal: the keeper forgets them.
func (c *Client) AckExits(exits []Exit) error {
	for part := range slices.Chunk(exits, maxEntries) {
		f := newFrame(kAck, len(part))
		for i := range part {
			f.putExit(&part[i])
		}
		if err := c.send(f, nil); err != nil {
			return err
		}
	}
	return nil
}

// AckExit is AckExits for one exit by what identifies it.
func (c *Client) AckExit(pid int, start uint64) error {
	return c.AckExits([]Exit{{PID: pid, Start: start}})
}

// Settled says that this server serves and has the state of the one before: it counts as started.
func (c *Client) Settled() error { return c.send(newFrame(kSettled, 0), nil) }

// Booted says that every service that starts at boot has come up, is done, or cannot go on by itself.
func (c *Client) Booted() error { return c.send(newFrame(kBooted, 0), nil) }

// Budget tells how long an ordered stop may take, the longest chain of stop timeouts: the keeper adds it to its own
// deadline for the shutdown of the machine.
func (c *Client) Budget(longest time.Duration) error {
	f := newFrame(kBudget, 1)
	f.put64(uint64(max(longest, 0)))
	return c.send(f, nil)
}

// Upgrade says that the server is about to execute fd (path is for messages) in its own place, or to end with ByeUpgrade:
// from now on the keeper starts that one, and goes back to the present one when it dies three times within 60 s.
func (c *Client) Upgrade(fd int, path string) error {
	f := newFrame(kUpgrade, 1)
	f.putText(path)
	return c.send(f, []int{fd})
}

// CancelUpgrade takes Upgrade back: the new executable could not be executed and the server goes on.
func (c *Client) CancelUpgrade() error {
	f := newFrame(kUpgrade, 1)
	f.putText("")
	return c.send(f, nil)
}

// Emergency asks for a shell on the console of the machine and says why; service may be "". Without a shell the keeper
// prints one line, and while one is open no second one comes.
func (c *Client) Emergency(service, why string) error {
	f := newFrame(kEmergency, 1)
	f.putText(service)
	f.putText(why)
	return c.send(f, nil)
}

// Critical says that a critical service failed for good; reachable that somebody can still log in from elsewhere, when
// no emergency shell is wanted.
func (c *Client) Critical(service string, reachable bool) error {
	if reachable {
		return nil
	}
	return c.Emergency(service, "critical service "+service+" failed for good")
}

// Bye says why the server ends. It is the last word: exit right after it. code is the exit status of a container, 0 to 255.
func (c *Client) Bye(reason Reason, code int) error {
	f := newFrame(kBye, 1)
	f.put32(uint32(reason))
	f.put32(uint32(code & maxExitCode))
	return c.send(f, nil)
}

func (c *Client) pair(k kind, a, b uint64) error {
	f := newFrame(k, 1)
	f.put64(a)
	f.put64(b)
	return c.send(f, nil)
}

// send waits for room. With too many descriptors in flight (a limit for users without privileges) it waits for the
// keeper to take some.
func (c *Client) send(f *frame, fds []int) error {
	for range 1000 {
		err := send(c.fd, f, fds, 0)
		if err != unix.ETOOMANYREFS {
			return err
		}
		_, _ = unix.Poll(nil, 1)
	}
	return unix.ETOOMANYREFS
}

// EnvFD is the environment variable that holds the number of the server's keeper socket. It is private: services do not
// get it.
const EnvFD = "ZINIT_KEEPER_FD"

// EnvKillAfter is the environment variable that tells the server after how many milliseconds of a stop it must kill what is
// left, since whoever waits for the keeper's end does not wait longer. Without it only what the services ask for counts.
const EnvKillAfter = "ZINIT_KILL_AFTER_MS"
