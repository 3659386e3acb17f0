package elf

import (
	"errors"
	"strconv"

	"golang.org/x/sys/unix"
)

// Whole refuses an ELF file that ends before the last byte which its own tables name. The kernel maps such a
// file and starts it, and it dies of SIGBUS when it comes to what is missing: perhaps long after its self test. What is
// no ELF file, or none that can be understood, is left to the kernel and the self test.
func Whole(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil
	}
	head := make([]byte, headerSize)
	if n, err := unix.Pread(fd, head, 0); err != nil || n < len(head) {
		return nil
	}
	f, ok := formatOf(head)
	if !ok {
		return nil
	}
	for which, end := range []func(format, []byte) uint64{segments: segmentEnd, sections: sectionEnd} {
		t, sound := f.table(head, which)
		if !sound || t.at == 0 || t.count == 0 {
			continue
		}
		if end := t.at + uint64(t.count)*uint64(t.size); end > uint64(st.Size) {
			return cutShort(st.Size, end)
		}
		entries := make([]byte, t.count*t.size)
		if n, err := unix.Pread(fd, entries, int64(t.at)); err != nil || n < len(entries) {
			return nil
		}
		for ; len(entries) > 0; entries = entries[t.size:] {
			if end := end(f, entries); end > uint64(st.Size) {
				return cutShort(st.Size, end)
			}
		}
	}
	return nil
}

func cutShort(size int64, end uint64) error {
	return errors.New("it is cut short: " + strconv.FormatInt(size, 10) + " of at least " + strconv.FormatUint(end, 10) + " bytes")
}

func segmentEnd(f format, entry []byte) uint64 { return sum(f.segmentPlace(entry)) }

// sectionEnd is sh_offset + sh_size; a section of type NOBITS takes no room.
func sectionEnd(f format, entry []byte) uint64 {
	const noBits = 8
	if f.order.Uint32(entry[4:]) == noBits {
		return 0
	}
	return sum(f.word(entry, 16, 24), f.word(entry, 20, 32))
}

// sum is a + b, or the largest number when that is more.
func sum(a, b uint64) uint64 {
	if a+b < a {
		return 1<<64 - 1
	}
	return a + b
}
