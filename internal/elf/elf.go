// Package elf tells a whole executable from one that is cut short.
package elf

import (
	"encoding/binary"
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
	head := make([]byte, 64)
	if n, err := unix.Pread(fd, head, 0); err != nil || n < len(head) || string(head[:4]) != "\x7fELF" {
		return nil
	}
	f, ok := formatOf(head)
	if !ok {
		return nil
	}
	for _, t := range f.tables(head) {
		if end := t.at + uint64(t.count)*uint64(t.size); end > uint64(st.Size) {
			return cutShort(st.Size, end)
		}
		entries := make([]byte, t.count*t.size)
		if n, err := unix.Pread(fd, entries, int64(t.at)); err != nil || n < len(entries) {
			return nil
		}
		for ; len(entries) > 0; entries = entries[t.size:] {
			if end := t.end(f, entries); end > uint64(st.Size) {
				return cutShort(st.Size, end)
			}
		}
	}
	return nil
}

func cutShort(size int64, end uint64) error {
	return errors.New("it is cut short: " + strconv.FormatInt(size, 10) + " of at least " + strconv.FormatUint(end, 10) + " bytes")
}

// format is the class and byte order of an ELF file (elf(5)).
type format struct {
	wide  bool // 64 bit
	order binary.ByteOrder
}

func formatOf(head []byte) (f format, ok bool) {
	const classAt, orderAt = 4, 5
	f.wide = head[classAt] == 2
	f.order = binary.LittleEndian
	if head[orderAt] == 2 {
		f.order = binary.BigEndian
	}
	return f, (head[classAt] == 1 || f.wide) && (head[orderAt] == 1 || head[orderAt] == 2)
}

// word reads an address or offset, whose place depends on the class.
func (f format) word(b []byte, at32, at64 int) uint64 {
	if f.wide {
		return f.order.Uint64(b[at64:])
	}
	return uint64(f.order.Uint32(b[at32:]))
}

// table is the table of segments or of sections; end tells where what an entry names ends in the file.
type table struct {
	at          uint64
	size, count int
	end         func(f format, entry []byte) uint64
}

// tables returns those of the two that are there and have entries of the right size.
func (f format) tables(head []byte) (list []table) {
	counts, sizes := 42, [2]int{32, 40}
	if f.wide {
		counts, sizes = 54, [2]int{56, 64}
	}
	at := [2]uint64{f.word(head, 28, 32), f.word(head, 32, 40)}
	for i, end := range []func(format, []byte) uint64{segmentEnd, sectionEnd} {
		t := table{at: at[i], size: int(f.order.Uint16(head[counts+4*i:])), count: int(f.order.Uint16(head[counts+2+4*i:])), end: end}
		if t.at > 0 && t.count > 0 && t.size == sizes[i] && t.at < 1<<62 {
			list = append(list, t)
		}
	}
	return list
}

// segmentEnd is p_offset + p_filesz.
func segmentEnd(f format, b []byte) uint64 { return sum(f.word(b, 4, 8), f.word(b, 16, 32)) }

// sectionEnd is sh_offset + sh_size; a section of type NOBITS takes no room.
func sectionEnd(f format, b []byte) uint64 {
	const noBits = 8
	if f.order.Uint32(b[4:]) == noBits {
		return 0
	}
	return sum(f.word(b, 16, 24), f.word(b, 20, 32))
}

// sum is a + b, or the largest number when that is more.
func sum(a, b uint64) uint64 {
	if a+b < a {
		return 1<<64 - 1
	}
	return a + b
}
