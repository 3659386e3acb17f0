package supervisor

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/internal/elf"
	"github.com/zinit/zinit/internal/fault"
	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/journal"
	"github.com/zinit/zinit/supervisor/keeper"
	"github.com/zinit/zinit/supervisor/proc"
	"github.com/zinit/zinit/supervisor/view"
)

// SelfTest is the hidden argument by which a new executable is asked whether it can take over: it prints its version
// and exits 0 if it reads the journal version that follows.
const SelfTest = "--self-test"

// KeeperEnv is the variable by which a server learns the descriptor of its keeper.
const KeeperEnv = "ZINIT_KEEPER_FD"

// JournalVersion is the newest state version that this executable reads.
const JournalVersion = journal.Version

// selfTest runs the new executable.
func (s *Supervisor) selfTest(ctx context.Context, fd int, path string, state int) (version string, err error) {
	if err := elf.Whole(fd); err != nil {
		return "", err
	}
	file := "/proc/self/fd/" + strconv.Itoa(fd)
	out, st, err := s.loop.Capture(ctx, &proc.Spec{Env: s.opt.Loop.Environ,
		Plan: proc.Plan{Path: file, Argv: []string{"zinit-server", SelfTest, strconv.Itoa(state)}}})
	words := strings.Fields(string(out))
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "", errors.New("its self test did not end in time")
	case err != nil:
		return "", errors.New(strings.TrimPrefix(err.Error(), "cannot execute "+file+": "))
	case st.Signal != 0 || st.Code != 0:
		text := strings.TrimSpace(string(out))
		if len(text) > 200 {
			text = text[:200]
		}
		return "", fmt.Errorf("its self test failed: %s %s", view.ExitText(st), text)
	case len(words) < 2 || words[0] != "zinit":
		return "", errors.New("it is not a zinit: its self test did not answer")
	}
	return words[1], nil
}

// upgradeNote is where the journal keeps the last upgrade, and ordersNote what was asked for by signal or by the keeper
// while the image that takes over was not there yet.
const (
	upgradeNote = "upgrade"
	ordersNote  = "orders"
)

// The outcomes of an upgrade as system.status tells them.
const (
	upgradeUnderWay   = "under way"
	upgradeDone       = "done"
	upgradeFailed     = "failed"
	upgradeRolledBack = "rolled back"
)

// execute replaces this process. First nothing more is asked of this image: requests are answered, connections and orders
// are kept for the next. Then the forks under way come to their end, and it happens in the driver, so that nothing is half
// done; the exec itself happens on the thread that forked the services of a lone server (their parent-death signal fires
// when that thread ends). Everything asked for before is carried out here, everything after by the next image, or by this
// one where there is no exec.
func (s *Supervisor) execute(u *upgrade) {
	fault.Here("handover")
	var conns []Connection
	var err error
	if s.opt.Exec.HandOver != nil {
		conns, err = s.opt.Exec.HandOver()
	}
	fault.Here("handed")
	s.loop.Pause(func() {
		if err != nil {
			s.undoExec(u, err)
			return
		}
		s.executeNow(u, conns)
	})
}

func (s *Supervisor) executeNow(u *upgrade, conns []Connection) {
	fault.Here("paused")
	if s.loop.Halting() {
		s.undoExec(u, errors.New("everything is being stopped"))
		return
	}
	s.log.Info("upgrading in place", "to", u.version, "path", u.path)
	if err := s.prepareExec(u, conns); err != nil {
		s.undoExec(u, err)
		return
	}
	s.world.OnForkThread(func() {
		fault.Here("exec")
		err := proc.Exec("/proc/self/fd/"+strconv.Itoa(u.fd), s.opt.Exec.Argv, os.Environ())
		s.loop.Do(func() { s.undoExec(u, err) })
	})
}

// prepareExec holds back what could still be asked for, tells the keeper, and lets the descriptors stay open and says
// which they are.
func (s *Supervisor) prepareExec(u *upgrade, conns []Connection) error {
	o := &s.opt.Loop
	u.prepared = true
	s.world.HoldKeeper() // what it sends from now on waits in its socket
	fault.Here("holding")
	if s.opt.Exec.LastWord != nil {
		if err := o.Journal.Note(ordersNote, orderBytes(s.opt.Exec.LastWord())); err != nil {
			return err
		}
	}
	fault.Here("held")
	if err := s.noteUpgrade(s.last.Load()); err != nil {
		return err
	}
	if u.state < o.Journal.Version() {
		if err := o.Journal.Convert(u.state); err != nil {
			return err
		}
	}
	if o.Keeper != nil {
		if err := u.passOn(conns, nil); err != nil {
			return err
		}
		keep(o.Keeper.FD())
		if err := os.Setenv(KeeperEnv, strconv.Itoa(o.Keeper.FD())); err != nil {
			return err
		}
		return o.Keeper.Upgrade(u.fd, u.path)
	}
	in := &inheritance{Syslog: s.syslogFD, Listener: -1, Arena: o.Arena.FD(), Journal: o.Journal.FD(), Lock: -1, Pipes: append(s.world.Pipes(), s.loop.Pipes()...)}
	if s.opt.Exec.Socket != nil {
		in.Listener, in.Lock = s.opt.Exec.Socket()
	}
	return u.passOn(conns, in)
}

// undoExec goes on where there was no exec.
func (s *Supervisor) undoExec(u *upgrade, err error) {
	s.log.Error("cannot upgrade; the running version goes on", "error", err)
	forgetHandover()
	os.Unsetenv(KeeperEnv)
	unix.Close(u.fd)
	if u.list >= 0 {
		unix.Close(u.list)
	}
	last := *s.last.Load()
	last.Outcome, last.Reason = upgradeFailed, err.Error()
	s.last.Store(&last)
	_ = s.noteUpgrade(&last)
	if u.prepared {
		_ = s.opt.Loop.Journal.Note(ordersNote, nil) // they are carried out here
		if k := s.opt.Loop.Keeper; k != nil {
			_ = k.CancelUpgrade()
		}
		s.world.ReleaseKeeper()
	}
	s.settleJournal()
	s.loop.Resume()
	s.endUpgrade()
	if s.opt.Exec.TakeBack != nil {
		go s.opt.Exec.TakeBack()
	}
}

// convertAfter is when a new image may write the journal so that the release before cannot read it any more: when a keeper
// does not take the upgrade back any more.
const convertAfter = keeper.UpgradeWindow + 10*time.Second

// settleJournal lets a journal of an older version be converted in its time.
func (s *Supervisor) settleJournal() {
	switch o := &s.opt.Loop; {
	case o.Journal == nil || o.Journal.Version() == journal.Version:
	case o.Keeper == nil:
		s.loop.ConvertJournal()
	default:
		time.AfterFunc(convertAfter, s.loop.ConvertJournal)
	}
}

// noteUpgrade writes what system.status tells of the last upgrade.
func (s *Supervisor) noteUpgrade(last *wire.LastUpgrade) error {
	b, err := json.Marshal(last)
	if err != nil {
		return err
	}
	return s.opt.Loop.Journal.Note(upgradeNote, b)
}

// takeLastUpgrade reads it back: who reads it has taken over, unless the keeper says that the upgrade was taken back.
func (s *Supervisor) takeLastUpgrade(st *journal.State) {
	var last wire.LastUpgrade
	if json.Unmarshal(st.Notes[upgradeNote], &last) != nil || last.ID == 0 {
		return
	}
	switch {
	case last.Outcome != upgradeUnderWay:
	case s.opt.About.RolledBack != "":
		last.Outcome, last.Reason = upgradeRolledBack, s.opt.About.RolledBack
	default:
		last.Outcome = upgradeDone
	}
	s.last.Store(&last)
}

// ordersValid is how long a note of orders counts: an image of a version that does not know it may come between.
const ordersValid = time.Minute

// orderBytes is what the next image is to carry out: the time, and one byte an order.
func orderBytes(orders []keeper.Order) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(boottime()))
	for _, o := range orders {
		b = append(b, byte(o))
	}
	return b
}

// parseOrders reads them back.
func parseOrders(b []byte) (orders []keeper.Order) {
	if len(b) < 8 || boottime()-time.Duration(binary.LittleEndian.Uint64(b)) > ordersValid {
		return nil
	}
	for _, o := range b[8:] {
		orders = append(orders, keeper.Order(o))
	}
	return orders
}

// boottime is the time since the machine was started.
func boottime() time.Duration {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &now)
	return time.Duration(now.Nano())
}

// carryOutOrders does what was asked of the image before, or of this one before it listened: each once, since the note is
// taken away behind them.
func (s *Supervisor) carryOutOrders() {
	o, orders := &s.opt.Loop, []keeper.Order(nil)
	if st := o.Restored; st != nil {
		orders = parseOrders(st.Notes[ordersNote])
	}
	if h := o.Handover; h != nil {
		orders = append(orders, h.Orders...)
	}
	if len(orders) == 0 || o.Order == nil {
		return
	}
	go func() {
		for _, order := range orders {
			o.Order(order)
		}
		s.loop.Note(ordersNote, nil)
	}()
}
