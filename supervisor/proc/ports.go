package proc

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/supervisor/machine"
)

// Holder is a process that listens on a port or matches a process filter.
type Holder struct {
	Port    int    // 0 = it matches Filter
	Filter  string // "" = it holds Port
	Process Process
	Name    string // its name for people
	inode   uint64 // of the listening socket
}

// socket is a listening socket of /proc/net/tcp.
type socket struct {
	port  int
	inode uint64
}

// tcpListen is TCP_LISTEN in the st column.
const tcpListen = "0A"

// Listening finds the sockets that listen on one of the ports and returns the ports that are taken, sorted. It is cheap:
// it looks at no process.
func Listening(ports []uint16) []int {
	var out []int
	for _, s := range listening(ports) {
		out = append(out, s.port)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// listening asks by netlink, or reads /proc/net/tcp and tcp6 where that is not possible.
func listening(ports []uint16) []socket {
	v4, ok4 := listeningByDiag(unix.AF_INET, ports)
	v6, ok6 := listeningByDiag(unix.AF_INET6, ports)
	if ok4 && ok6 {
		return append(v4, v6...)
	}
	return listeningByProc(ports)
}

func listeningByProc(ports []uint16) (out []socket) {
	for _, path := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		f, err := os.Open(path)
		if err != nil {
			continue // no IPv6, or no network
		}
		out = append(out, listeningIn(f, ports)...)
		f.Close()
	}
	return out
}

// listeningIn reads lines of the form "sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …", where
// an address is hexadecimal with the port behind the colon.
func listeningIn(r io.Reader, ports []uint16) (out []socket) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 4096), 1<<16)
	lines.Scan() // the heading
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 10 {
			continue
		}
		if f[3] != tcpListen {
			return out // net/ipv4/tcp_ipv4.c walks the listening sockets first
		}
		colon := strings.LastIndexByte(f[1], ':')
		port, ok := hex(f[1][colon+1:])
		inode, ok2 := atou([]byte(f[9]))
		if colon >= 0 && ok && ok2 && slices.Contains(ports, uint16(port)) {
			out = append(out, socket{port: int(port), inode: inode})
		}
	}
	return out
}

func hex(s string) (uint64, bool) {
	if len(s) != 4 {
		return 0, false
	}
	var n uint64
	for i := range len(s) {
		digit := strings.IndexByte("0123456789ABCDEF", s[i])
		if digit < 0 {
			return 0, false
		}
		n = n<<4 | uint64(digit)
	}
	return n, true
}

// PortHolders finds the processes that listen on the ports. A port whose process cannot be seen (another user's, or one
// in another pid namespace) is listed with a zero Process. Connections and what they leave behind (TIME_WAIT) hold
// nothing.
func PortHolders(ports []uint16) (out []Holder) {
	sockets := listening(ports)
	if len(sockets) == 0 {
		return nil
	}
	byInode := make(map[uint64]int, len(sockets))
	for _, s := range sockets {
		byInode[s.inode] = s.port
	}
	seen := map[uint64]bool{}
	for _, pid := range listProcesses(nil) {
		for _, inode := range socketsOf(pid, byInode) {
			p, err := ReadProcess(pid)
			if err != nil {
				continue
			}
			seen[inode] = true
			out = append(out, Holder{Port: byInode[inode], Process: p, Name: p.Comm, inode: inode})
		}
	}
	for _, s := range sockets {
		if !seen[s.inode] {
			out = append(out, Holder{Port: s.port, inode: s.inode})
		}
	}
	return out
}

// socketsOf lists which of the sockets a process has open, each once.
func socketsOf(pid int, sockets map[uint64]int) (out []uint64) {
	forEachFD(pid, func(target string) bool {
		inode, ok := inodeIn(target, "socket:[")
		if _, ours := sockets[inode]; ok && ours && !slices.Contains(out, inode) {
			out = append(out, inode)
		}
		return true
	})
	return out
}

// FilterHolders finds the processes whose name, or the base name of whose program, contains one of the filters, without
// regard to case. Kernel threads and zombies match nothing.
func FilterHolders(filters []string) (out []Holder) {
	for _, pid := range listProcesses(nil) {
		p, err := ReadProcess(pid)
		if err != nil || p.Dead() || p.Kernel {
			continue
		}
		if filter := matching(filters, p.Comm, Executable(pid)); filter != "" {
			out = append(out, Holder{Filter: filter, Process: p, Name: p.Comm})
		}
	}
	return out
}

func matching(filters []string, comm, exe string) string {
	comm, exe = strings.ToLower(comm), strings.ToLower(filepath.Base(exe))
	for _, f := range filters {
		lower := strings.ToLower(f)
		if lower != "" && (strings.Contains(comm, lower) || strings.Contains(exe, lower)) {
			return f
		}
	}
	return ""
}

// holdersWait is how long a holder has to end after SIGTERM (docs/design/process.md, Ports and process filters).
const holdersWait = 5 * time.Second

// FindConflict tells who stands in the way of a service's ports and process filters; nil = nobody. With kill, exactly the
// foreign processes that do are ended first: SIGTERM, 5 s, SIGKILL; so it may take that long. ours are the present
// incarnations: a process of one of them blocks and is never killed, no more than process 1, the supervisor, its keeper
// and its ancestors. The service's own former processes are not told apart: it has none when it starts.
func (s *Scanner) FindConflict(c *graph.Config, ours []Owner, kill bool) *machine.Conflict {
	holders := holdersFor(c)
	if len(holders) == 0 {
		return nil
	}
	foreign, conflict := s.sortHolders(holders, ours)
	if conflict != nil {
		return conflict
	}
	if kill {
		endHolders(foreign)
		if foreign, conflict = s.sortHolders(holdersFor(c), ours); conflict != nil {
			return conflict
		}
	}
	if len(foreign) == 0 {
		return nil
	}
	return conflictOf(&foreign[0], "")
}

func holdersFor(c *graph.Config) (out []Holder) {
	if len(c.Ports) > 0 {
		out = PortHolders(c.Ports)
	}
	if len(c.ProcessFilters) > 0 {
		out = append(out, FilterHolders(c.ProcessFilters)...)
	}
	return out
}

// sortHolders drops matches of a filter that may never count, and separates what may be killed from what blocks for good.
func (s *Scanner) sortHolders(holders []Holder, ours []Owner) (foreign []Holder, conflict *machine.Conflict) {
	services, guard := s.servicesOf(ours), s.guard()
	for i := range holders {
		h := &holders[i]
		pid := h.Process.PID
		protected := guard.protects(pid)
		switch {
		case h.Filter != "" && protected: // a filter that matches the supervisor's own name is a mistake, not a conflict
		case services[pid] != "":
			return nil, conflictOf(h, services[pid])
		case protected:
			return nil, conflictOf(h, "")
		default:
			foreign = append(foreign, *h)
		}
	}
	return foreign, nil
}

// servicesOf names the service of each process that belongs to one.
func (s *Scanner) servicesOf(ours []Owner) map[int]string {
	names := map[int]string{}
	members, _ := s.Scan(ours)
	for i := range ours {
		for _, p := range members[ours[i].Gen] {
			names[p.PID] = ours[i].Service
		}
	}
	return names
}

func conflictOf(h *Holder, service string) *machine.Conflict {
	return &machine.Conflict{Port: h.Port, Filter: h.Filter, PID: h.Process.PID, Process: h.Name, Service: service}
}

// endHolders ends the holders, each after making sure that it still holds what it was found for.
func endHolders(holders []Holder) {
	var fds []int
	pinned := map[int]*Process{}
	for i := range holders {
		p := &holders[i].Process
		fd, err := OpenPidfd(p.PID, p.Start)
		if err != nil {
			if noPidfd(err) && holders[i].stillHolds() {
				_ = SignalProcess(p.PID, p.Start, unix.SIGTERM)
			}
			continue
		}
		if !holders[i].stillHolds() || signalPidfd(fd, p.PID, p.Start, unix.SIGTERM) != nil {
			unix.Close(fd)
			continue
		}
		fds = append(fds, fd)
		pinned[fd] = p
	}
	left := WaitPidfds(fds, holdersWait)
	for _, fd := range left {
		_ = signalPidfd(fd, pinned[fd].PID, pinned[fd].Start, unix.SIGKILL)
	}
	WaitPidfds(left, time.Second)
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// stillHolds looks again, after the process is pinned by a descriptor: it may have closed its socket, or executed another
// program, since.
func (h *Holder) stillHolds() bool {
	if h.Filter != "" {
		p, err := ReadProcess(h.Process.PID)
		return err == nil && p.Start == h.Process.Start && matching([]string{h.Filter}, p.Comm, Executable(p.PID)) != ""
	}
	for _, s := range listening([]uint16{uint16(h.Port)}) {
		if s.inode == h.inode && len(socketsOf(h.Process.PID, map[uint64]int{h.inode: h.Port})) > 0 {
			return true
		}
	}
	return false
}
