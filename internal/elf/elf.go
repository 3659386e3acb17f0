// Package elf reads of an ELF file (elf(5)) what is needed here, without package debug/elf, which reads everything and weighs a
// fifth of a megabyte: whether it is whole, and what its loader will want.
package elf

import "encoding/binary"

// headerSize is that of the larger class.
const headerSize = 64

// format is the class and byte order of a file.
type format struct {
	wide  bool // 64 bit
	order binary.ByteOrder
}

// formatOf returns false for what is no ELF file, or one of a class or order that does not exist.
func formatOf(head []byte) (f format, ok bool) {
	const classAt, orderAt = 4, 5
	if string(head[:4]) != "\x7fELF" {
		return f, false
	}
	f.wide = head[classAt] == 2
	f.order = binary.LittleEndian
	if head[orderAt] == 2 {
		f.order = binary.BigEndian
	}
	return f, (head[classAt] == 1 || f.wide) && (head[orderAt] == 1 || head[orderAt] == 2)
}

// word reads an address, an offset or a size, whose place and width depend on the class.
func (f format) word(b []byte, at32, at64 int) uint64 {
	if f.wide {
		return f.order.Uint64(b[at64:])
	}
	return uint64(f.order.Uint32(b[at32:]))
}

// The tables that a header names.
const (
	segments = iota
	sections
)

// table is where a table lies in the file.
type table struct {
	at          uint64
	size, count int // of an entry in bytes; of entries
}

// table reads the place of one. sound is false when its entries have another size than they must.
func (f format) table(head []byte, which int) (t table, sound bool) {
	counts, sizes := 42, [2]int{32, 40}
	if f.wide {
		counts, sizes = 54, [2]int{56, 64}
	}
	t.at = [2]uint64{f.word(head, 28, 32), f.word(head, 32, 40)}[which]
	t.size, t.count = int(f.order.Uint16(head[counts+4*which:])), int(f.order.Uint16(head[counts+2+4*which:]))
	return t, t.size == sizes[which] && t.at < 1<<62
}

// segmentPlace is p_offset and p_filesz of an entry.
func (f format) segmentPlace(entry []byte) (at, size uint64) {
	return f.word(entry, 4, 8), f.word(entry, 16, 32)
}
