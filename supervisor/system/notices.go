package system

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/fault"
	"github.com/zinit/zinit/supervisor/keeper"
	"github.com/zinit/zinit/supervisor/loop"
	"github.com/zinit/zinit/supervisor/machine"
	"github.com/zinit/zinit/supervisor/notify"
	"github.com/zinit/zinit/supervisor/proc"
)

// newNotices starts the poller for readiness. A word is verified and told to the machine before the poller goes on, so
// that a barrier is released only when everything before it has been taken.
func (y *System) newNotices() *notify.Poller {
	p, err := notify.NewPoller(func(w notify.Word) {
		done := make(chan struct{})
		y.told.Post(func() {
			fault.Here("notice")
			y.told.Noticed(w, done)
			fault.Here("heed")
		})
		select {
		case <-done:
		case <-y.ended:
		}
	})
	if err != nil {
		y.log.Error("services with ready = … cannot be started", "error", err)
	}
	return p
}

// openNotify makes the way by which an incarnation reports, if its definition asks for one. The keeper gets it before
// the fork: a word that is said while no server is there must not be lost.
func (y *System) openNotify(c *graph.Config, gen uint64) (conn *notify.Conn, extra []string, fail *proc.Error) {
	if c.Ready.Kind == graph.ReadyNone && c.Watchdog == 0 {
		return nil, nil, nil
	}
	if y.notices == nil {
		return nil, nil, &proc.Error{Step: "ready", Detail: "cannot watch for readiness: no epoll set"}
	}
	var err error
	if c.Ready.Kind == graph.ReadyFD {
		conn, err = y.notices.Descriptor(gen)
	} else {
		conn, err = y.notifySocket(c, gen)
	}
	if err != nil {
		return nil, nil, &proc.Error{Step: "ready", Detail: err.Error()}
	}
	if y.keeper != nil {
		_ = y.keeper.StorePipes([]keeper.Pipe{{Service: c.Name, Gen: gen, Stream: loop.StreamOf(conn), FD: conn.FD()}})
	}
	if env := conn.Env(); env != "" {
		extra = append(extra, "NOTIFY_SOCKET="+env, "MANAGERPID="+strconv.Itoa(os.Getpid()))
		if c.Watchdog > 0 {
			extra = append(extra, "WATCHDOG_USEC="+strconv.FormatInt(c.Watchdog.Microseconds(), 10))
		}
	}
	return conn, extra, nil
}

// notifySocket makes the notify socket. A service that may become any user needs a folder that any user
// can search: it would never be ready, without a word why.
func (y *System) notifySocket(c *graph.Config, gen uint64) (*notify.Conn, error) {
	dir, cred := y.notifyDir(), &proc.Credential{UID: nobody, GID: nobody}
	if os.Geteuid() != 0 {
		var fail *proc.Error
		if cred, fail = proc.ResolveIdentity(&c.Identity); fail != nil {
			return nil, fail
		}
	}
	if cred != nil && !proc.MaySearch(dir, cred) {
		dir = ""
	}
	return y.notices.Socket(gen, dir)
}

// nobody is a user and group that own nothing.
const nobody = 65534

// notifyDir is where notify sockets are; "" makes abstract ones.
func (y *System) notifyDir() string {
	dir := y.opt.NotifyDir
	if dir == "" {
		return ""
	}
	if os.MkdirAll(filepath.Clean(dir), 0o711) != nil {
		return ""
	}
	return dir
}

// Verify implements loop.Processes.
func (y *System) Verify(w *notify.Word, owner proc.Owner, c *graph.Config, then func(loop.Verdict)) {
	y.beside(func() func() {
		members := map[int]proc.Process{}
		for _, p := range y.scanner.Members(&owner) {
			members[p.PID] = p
		}
		alive := func(pid int) bool { return unix.Kill(pid, 0) != unix.ESRCH && !zombie(pid) }
		member := func(pid int) bool { _, is := members[pid]; return is }
		var v loop.Verdict
		v.OK, v.Why = notify.Verify(w, userOf(c), alive, member)
		if m := w.Message.MainPID; m > 0 {
			v.Main = proc.Process{PID: m}
			if p, err := proc.ReadProcess(m); err == nil {
				v.Main, v.Ours = p, p.PPID == os.Getpid()
			}
		}
		return func() { then(v) }
	})
}

func zombie(pid int) bool {
	p, err := proc.ReadProcess(pid)
	return err != nil || p.Dead()
}

// userOf is the user a service runs as. It may have to read the list of accounts.
func userOf(c *graph.Config) uint32 {
	if cred, err := proc.ResolveIdentity(&c.Identity); err == nil && cred != nil {
		return uint32(cred.UID)
	}
	return uint32(os.Getuid())
}

// FlushNotices implements loop.Services.
func (y *System) FlushNotices(r loop.Reporter, then func()) {
	conn, _ := r.(*notify.Conn)
	y.notices.Flush(conn, func() { y.told.Post(then) })
}

// EndNotices implements loop.Services. The keeper lets go of its copy when nothing is left in it.
func (y *System) EndNotices(gen machine.Gen, r loop.Reporter) {
	stream := loop.StreamOf(r)
	conn, _ := r.(*notify.Conn)
	conn.Close(func() {
		if y.keeper != nil {
			_ = y.keeper.DropPipe(uint64(gen), stream)
		}
	})
}

// Adopt implements loop.Past.
func (y *System) Adopt(p keeper.Pipe) (loop.Reporter, error) {
	if y.notices == nil {
		return nil, errNoPoller
	}
	conn, err := y.notices.Adopt(p.Gen, p.FD)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

var errNoPoller = errors.New("no epoll set")
