package logring

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// Open after a crash: 1,000 services, 64 MiB of lines.
func BenchmarkOpen(b *testing.B) {
	a := newTestArena(b, 64<<20)
	line := make([]byte, 100)
	for i := range 550_000 {
		a.Ring(fmt.Sprint("service", i%1000), Limits{}).Append(Record{Text: line})
	}
	for b.Loop() {
		fd, err := unix.FcntlInt(uintptr(a.FD()), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			b.Fatal(err)
		}
		c, err := Open(fd)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		_ = c.Close()
		b.StartTimer()
	}
}

func BenchmarkAppend(b *testing.B) {
	r := newTestArena(b, 64<<20).Ring("s", Limits{})
	rec := Record{Text: make([]byte, 100)}
	b.ReportAllocs()
	for b.Loop() {
		r.Append(rec)
	}
}

// The newest 100 lines over 1,000 services.
func BenchmarkQuery(b *testing.B) {
	a := newTestArena(b, 64<<20)
	for i := range 200_000 {
		a.Ring(fmt.Sprint("service", i%1000), Limits{}).Append(Record{TimeMS: int64(i), Text: make([]byte, 100)})
	}
	for b.Loop() {
		if got := a.Query(Query{Lines: 100}); len(got) != 100 {
			b.Fatal(len(got))
		}
	}
}
