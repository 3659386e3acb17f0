package mark

import (
	"math/bits"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const some = 1<<63 | 12345

func none(int) bool { return false }

// TestUnder: a child is born with the mark, and everybody can read it; the next one has none.
func TestUnder(t *testing.T) {
	place := Place(none)
	if bits.UintSize < 64 {
		if place >= 0 {
			t.Fatalf("a place for marks on a narrow machine: %d", place)
		}
		return
	}
	var text []byte
	var err error
	Under(place, some, func() { text, err = exec.Command("cat", "/proc/self/limits").Output() })
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := Parse(text); !ok || v.Ours() != some {
		t.Errorf("%x from\n%s", v.Ours(), text)
	}
	if v, err := Read(os.Getpid()); err != nil || v.Ours() != 0 {
		t.Errorf("left on ourselves: %x %v", v.Ours(), err)
	}
	Under(place, 0, func() { text, err = exec.Command("cat", "/proc/self/limits").Output() })
	if v, ok := Parse(text); err != nil || !ok || v.Ours() != 0 {
		t.Errorf("without a mark: %x %v", v.Ours(), err)
	}
}

// TestPlace: a limit that is asked for carries no mark.
func TestPlace(t *testing.T) {
	first := Place(none)
	second := Place(func(n int) bool { return n == first })
	if first == second || second < 0 || Place(func(int) bool { return true }) != -1 {
		t.Errorf("%d, %d", first, second)
	}
}

// TestParse: what the kernel writes, in either limit; a text that is cut short says nothing.
func TestParse(t *testing.T) {
	text, err := os.ReadFile("/proc/self/limits")
	if err != nil {
		t.Fatal(err)
	}
	v, ok := Parse(text)
	own, err := Read(0)
	if err != nil || !ok || v != own {
		t.Errorf("%x, want %x", v, own)
	}
	if _, ok := Parse(text[:len(text)/2]); ok {
		t.Error("half a text is taken for all")
	}
	locks := strings.Replace(string(text), "Max file locks            unlimited ", "Max file locks            9223372036854788153 ", 1)
	if v, ok := Parse([]byte(locks)); !ok || v.Ours() != some {
		t.Errorf("%x", v)
	}
}

// TestChanged: a limit that is neither free nor marked may hide what a process was.
func TestChanged(t *testing.T) {
	v, _ := Read(0)
	if v.Changed() {
		t.Errorf("%x", v)
	}
	v[1] = 200_000
	if !v.Changed() || Is(v[1]) || Is(unix.RLIM_INFINITY) {
		t.Errorf("%x", v)
	}
	v[0], v[1] = some, some
	if v.Changed() {
		t.Errorf("%x", v)
	}
}
