package memory

import (
	"math"
	"reflect"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

// TestUnmap: code goes on after its pages were dropped.
func TestUnmap(t *testing.T) {
	Unmap()
	if text := smaps(); len(cleanMappings(text)) == 0 {
		t.Errorf("no mapping of the executable in %d bytes of smaps", len(text))
	}
	if got := cleanMappings("400000-992000 r-xp 00000000 fe:00 123 /bin/zinit\nAnonymous: 0 kB\n" +
		"992000-993000 rw-p 00000000 fe:00 123 /bin/zinit\nAnonymous: 0 kB\n" +
		"a00000-a01000 r--p 00000000 fe:00 123 /bin/zinit\nAnonymous: 4 kB\n" +
		"7f0000000000-7f0000001000 r--s 00000000 fe:00 99 /tmp/shared\nAnonymous: 0 kB\n" +
		"7fff70cc7000-7fff70ce8000 r--p 00000000 00:00 0 [vvar]\nAnonymous: 0 kB\n"); !reflect.DeepEqual(got, []mapping{{0x400000, 0x992000}}) {
		t.Errorf("mappings: %x", got)
	}
}

// TestRestEnds: at rest the collector has no percentage; a heap that grows beyond the limit brings it back.
func TestRestEnds(t *testing.T) {
	defer usual()
	Start()
	Rest()
	if resting.Load() == 0 || debug.SetGCPercent(-1) != -1 {
		t.Fatal("not at rest")
	}
	var keep [][]byte
	for end := time.Now().Add(20 * time.Second); resting.Load() != 0; {
		if keep = append(keep, make([]byte, 64<<10)); len(keep) > 4096 || time.Now().After(end) {
			t.Fatalf("still at rest with %d MB", len(keep)>>4)
		}
		runtime.Gosched()
	}
	runtime.KeepAlive(keep)
	for end := time.Now().Add(20 * time.Second); debug.SetMemoryLimit(-1) != math.MaxInt64; {
		if time.Now().After(end) {
			t.Fatal("the limit is still there")
		}
		runtime.Gosched()
	}
}
