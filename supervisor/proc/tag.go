package proc

import (
	"hash/fnv"
	"math/bits"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// A tag marks all processes of an incarnation by something that nobody sheds: the resource limit RLIMIT_RTTIME, which
// children inherit over fork, exec, setsid and a change of user. As a limit the tag means nothing (300,000 years of
// realtime CPU time without a break). It tells members apart where there is no cgroup and a program has daemonized
// itself, closed its descriptors and overwritten its environment with its title, as nginx and PostgreSQL do.
//
// A tag is bit 63, then 23 bits that name the supervisor, then 40 bits of incarnation.

const tagGenBits = 40

// Tag makes the tag of incarnation gen under the supervisor called instance; 0 = none on a 32-bit machine, where limits
// have no room for it.
func Tag(instance string, gen uint64) uint64 {
	if bits.UintSize < 64 || instance == "" || gen == 0 || gen >= 1<<tagGenBits {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(instance))
	return 1<<63 | h.Sum64()>>41<<tagGenBits | gen
}

// setTag marks a fresh child, best effort: where it may not be set (a service of another user under a supervisor without
// CAP_SYS_RESOURCE) the other signs remain. A child that was started at since may have forked already if we came late,
// so its children are marked as well then.
func setTag(pid int, tag uint64, since time.Time) {
	limit := unix.Rlimit{Cur: tag, Max: tag}
	if unix.Prlimit(pid, unix.RLIMIT_RTTIME, &limit, nil) != nil || time.Since(since) < tagSlow {
		return
	}
	// A process that has just begun has one thread, and what it has forked by now is that thread's.
	name := strconv.Itoa(pid)
	var buf [8]int
	children, _ := childrenOfThread(buf[:0], "/proc/"+name+"/task/"+name)
	for _, child := range children {
		if tagOf(child) == 0 {
			setTag(child, tag, since)
		}
	}
}

// tagSlow is how long a start may take before its child is looked at for children: loading a dynamic program alone takes
// about as long.
const tagSlow = 700 * time.Microsecond

// tagOf reads the tag of a process, 0 = none or not readable.
func tagOf(pid int) uint64 {
	var limit unix.Rlimit
	if unix.Prlimit(pid, unix.RLIMIT_RTTIME, nil, &limit) != nil {
		return 0
	}
	if limit.Max == unix.RLIM_INFINITY || limit.Max>>63 == 0 {
		return 0
	}
	return limit.Max
}

// genOf takes the incarnation out of a tag, if it is one of this supervisor.
func genOf(tag uint64, instance string) (gen uint64, ok bool) {
	gen = tag & (1<<tagGenBits - 1)
	return gen, tag != 0 && Tag(instance, gen) == tag
}

// GenOf is the incarnation that a living process belongs to, by its tag or its ZINIT_ID; 0 = none of this supervisor's.
func (s *Scanner) GenOf(pid int) uint64 { return s.genOf(pid) }

// Tagged is the incarnation that a process, which may be a zombie, is tagged with; 0 = none of this supervisor's.
func (s *Scanner) Tagged(pid int) uint64 {
	gen, _ := genOf(tagOf(pid), s.Instance)
	return gen
}
