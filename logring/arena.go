package logring

import (
	"container/heap"
	cryptorand "crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Arena is the memory of all rings. Its methods are safe for concurrent use.
type Arena struct {
	mem    []byte
	fd     int // -1: anonymous memory
	dataAt int
	secret uint64

	mu        sync.Mutex // every writer holds it; a reader never does
	space     space
	freeSlots []uint32
	bySize    ringHeap          // rings that have pages
	parts     map[feedKey]*Feed // unfinished lines found by Open and not yet claimed
	adopting  map[*Ring]bool    // rings that Open gave a hold, which their sinks take over
	watchers  []*Watch          // of all rings
	canaries  *rand.ChaCha8
	feed      *Feed // of the intent under way
	recovery  Recovery

	namesMu sync.RWMutex // guards rings; taken last
	rings   map[string]*Ring
	epoch   atomic.Uint64 // grows when a ring comes or goes

	resume func(*Ring) // see OnResume

	onStep func() // tests: called at each instant at which a crash leaves something new to mend
}

// New makes an arena of at most totalBytes (brought within MinTotal and MaxTotal) for lines. Memory is taken as it is
// written. Where memfd_create fails the memory is anonymous, FD is -1 and nothing outlives the process. The error
// says that not even address space could be had.
func New(totalBytes int) (*Arena, error) {
	units := min(max(totalBytes, MinTotal), MaxTotal) / unitSize
	size := mapSize(units)
	fd, mem := newMemfd(size)
	if mem == nil {
		var err error
		mem, err = unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
		if err != nil {
			return nil, fmt.Errorf("cannot map %d bytes for logs: %w", size, err)
		}
	}
	a := newArena(mem, fd, units)
	*a.super() = superblock{magic: superMagic, version: version, unit: unitSize, units: uint32(units)}
	a.super().secret = a.canaries.Uint64()
	a.secret = a.super().secret
	return a, nil
}

// newMemfd maps a new memfd, or returns -1, nil.
func newMemfd(size int) (int, []byte) {
	fd, err := unix.MemfdCreate("zinit-logs", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, nil
	}
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		_ = unix.Close(fd)
		return -1, nil
	}
	// Best effort: nobody who gets hold of the descriptor can cut the file under the mapping.
	_, _ = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW)
	mem, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		_ = unix.Close(fd)
		return -1, nil
	}
	return fd, mem
}

func newArena(mem []byte, fd, units int) *Arena {
	var seed [32]byte
	_, _ = cryptorand.Read(seed[:])
	a := &Arena{
		mem: mem, fd: fd, dataAt: dataStart(units),
		space: newSpace(units), rings: map[string]*Ring{}, parts: map[feedKey]*Feed{}, adopting: map[*Ring]bool{},
		canaries: rand.NewChaCha8(seed),
	}
	a.prefault()
	return a
}

// prefault makes staging resident, and keeps it so where the limits allow: a read(2) into it never faults, so it is
// done whole or not at all even when the process is being killed.
func (a *Arena) prefault() {
	s := a.staging()
	for i := 0; i < len(s); i += 4096 {
		atomic.AddUint32((*uint32)(unsafe.Pointer(&s[i])), 0) // the page exists; what it holds stays, Open needs it
	}
	_ = unix.Mlock(a.mem[:tableAt])
}

func dataStart(units int) int { return (tableAt + 4*units + 4095) &^ 4095 }
func mapSize(units int) int   { return dataStart(units) + units*unitSize }

// FD is the memfd to hand to a keeper, -1 when there is none.
func (a *Arena) FD() int { return a.fd }

// Close unmaps the arena. No ring of it may be used afterwards; for tests and the end of the process.
func (a *Arena) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	mem := a.mem
	a.mem = nil
	err := unix.Munmap(mem)
	if a.fd >= 0 {
		err = errors.Join(err, unix.Close(a.fd))
		a.fd = -1
	}
	return err
}

// ID names this arena, also after Open: sequence numbers of its rings mean nothing in another one.
func (a *Arena) ID() string {
	sum := sha256.Sum256(binary.LittleEndian.AppendUint64(nil, a.secret)) // the secret itself stays here
	return hex.EncodeToString(sum[:8])
}

// Bytes is the memory in use by lines, heads and unfinished lines.
func (a *Arena) Bytes() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.space.used * unitSize
}

// Total is the bound of Bytes.
func (a *Arena) Total() int { return a.space.units * unitSize }

// Names lists the rings in order of name, also those that nothing was written to.
func (a *Arena) Names() []string {
	a.namesMu.RLock()
	names := make([]string, 0, len(a.rings))
	for name := range a.rings {
		names = append(names, name)
	}
	a.namesMu.RUnlock()
	slices.Sort(names)
	return names
}

// Find returns the ring of a service, nil when there is none.
func (a *Arena) Find(service string) *Ring {
	a.namesMu.RLock()
	defer a.namesMu.RUnlock()
	return a.rings[service]
}

// Ring finds or makes the ring of a service and sets its limits; a zero member means the default, and with both zero a
// ring that exists keeps its own. Names longer than MaxName are cut. It costs no arena memory before the first line.
func (a *Arena) Ring(service string, l Limits) *Ring {
	if len(service) > MaxName {
		service = service[:MaxName]
	}
	if r := a.Find(service); r != nil && l == (Limits{}) {
		return r
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.Find(service)
	if r == nil {
		r = newRing(a, service)
		a.namesMu.Lock()
		a.rings[service] = r
		a.namesMu.Unlock()
		a.epoch.Add(1)
		for _, w := range a.watchers {
			w.Wake()
		}
	} else if l == (Limits{}) {
		return r
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.setLimits(l)
	return r
}

// Drop forgets a service: its lines, its marks, its sequence numbers. Followers of it get nothing more, and what its
// pipes still say is discarded.
func (a *Arena) Drop(service string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.Find(service)
	if r == nil {
		return
	}
	a.namesMu.Lock()
	delete(a.rings, service)
	a.namesMu.Unlock()
	a.epoch.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop()
}

// evictOne takes the oldest page from the biggest ring; rings whose oldest page somebody holds come last. It
// reports false when there is no page at all. The caller holds a.mu, perhaps also the lock of the ring that it writes
// (a.writing), and no other ring's.
func (a *Arena) evictOne() bool {
	if len(a.bySize) == 0 {
		return false
	}
	victim := a.bySize[0]
	if victim.holdsOldest() {
		for _, r := range a.bySize {
			if !r.holdsOldest() && (victim.holdsOldest() || r.bytes > victim.bytes) {
				victim = r
			}
		}
	}
	if !victim.locked {
		victim.mu.Lock()
		defer victim.mu.Unlock()
	}
	victim.giveUpOldest()
	return true
}

// ringHeap orders rings by the bytes of their pages, the biggest first.
type ringHeap []*Ring

func (h ringHeap) Len() int           { return len(h) }
func (h ringHeap) Less(i, j int) bool { return h[i].bytes > h[j].bytes }
func (h ringHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}
func (h *ringHeap) Push(x any) {
	r := x.(*Ring)
	r.place = len(*h)
	*h = append(*h, r)
}
func (h *ringHeap) Pop() any {
	last := len(*h) - 1
	r := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	r.place = -1
	return r
}

// resize notes that a ring's bytes changed.
func (a *Arena) resize(r *Ring, delta int) {
	r.bytes += delta
	switch {
	case r.place < 0 && r.bytes > 0:
		heap.Push(&a.bySize, r)
	case r.place >= 0 && r.bytes == 0:
		heap.Remove(&a.bySize, r.place)
	case r.place >= 0:
		heap.Fix(&a.bySize, r.place)
	}
}

func (a *Arena) step() {
	if a.onStep != nil {
		a.onStep()
	}
}

// nextCanary is 8 bytes that no service can guess.
func (a *Arena) nextCanary() uint64 { return a.canaries.Uint64() }

func putCanary(b []byte, c uint64) {
	var w [8]byte
	binary.NativeEndian.PutUint64(w[:], c)
	copy(b[max(0, len(b)-8):], w[:])
}

func hasCanary(b []byte, c uint64) bool {
	var w [8]byte
	binary.NativeEndian.PutUint64(w[:], c)
	tail := b[max(0, len(b)-8):]
	return string(tail) == string(w[:len(tail)])
}
