package initramfs

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
)

// elfClass and elfMachine tell objects for different processors apart: e_ident[EI_CLASS] and e_machine of elf(5).
type (
	elfClass   byte
	elfMachine uint16
)

const elfClass64 elfClass = 2

// The numbers of elf(5) that matter here.
const (
	segmentLoad, segmentDynamic, segmentInterp = 1, 2, 3

	tagNeeded, tagStrings, tagStringsSize, tagRPath, tagRunPath = 1, 5, 10, 15, 29
)

// The bounds of what is read of one file, in bytes.
const (
	maxTable   = 1 << 20 // program headers, dynamic section
	maxStrings = 16 << 20
)

// elfFile is what a loader reads of a file: the program headers and the dynamic section, no section headers, which a
// stripped file may lack. Package debug/elf reads everything, and weighs a fifth of a megabyte.
type elfFile struct {
	class   elfClass
	machine elfMachine
	interp  string
	needed  []string
	rpath   string
	runPath string

	file     io.ReaderAt
	order    binary.ByteOrder
	segments []segment
}

type segment struct {
	kind                 uint32
	offset, address, len uint64 // len in the file
}

// readELF reads the headers; false when it is no ELF file or a damaged one.
func readELF(file io.ReaderAt) (*elfFile, bool) {
	var head [64]byte
	n, _ := file.ReadAt(head[:], 0)
	f := &elfFile{file: file, class: elfClass(head[4]), order: binary.LittleEndian}
	if n < 52 || string(head[:4]) != "\x7fELF" || f.class != 1 && f.class != elfClass64 || f.class == elfClass64 && n < len(head) {
		return nil, false
	}
	if head[5] == 2 {
		f.order = binary.BigEndian
	}
	f.machine = elfMachine(f.order.Uint16(head[18:]))
	if !f.readSegments(head[:]) {
		return nil, false
	}
	for _, s := range f.segments {
		switch s.kind {
		case segmentInterp:
			text, _ := f.read(s.offset, s.len, maxTable)
			f.interp = strings.TrimRight(string(text), "\x00")
		case segmentDynamic:
			f.readDynamic(s)
		}
	}
	return f, true
}

// word reads a number that is as wide as an address.
func (f *elfFile) word(b []byte) uint64 {
	if f.class == elfClass64 {
		return f.order.Uint64(b)
	}
	return uint64(f.order.Uint32(b))
}

// readSegments reads the program headers.
func (f *elfFile) readSegments(head []byte) bool {
	at, size, count := f.word(head[28:]), f.order.Uint16(head[42:]), f.order.Uint16(head[44:])
	least, offset, address, length := 32, 4, 8, 16
	if f.class == elfClass64 {
		at, size, count = f.word(head[32:]), f.order.Uint16(head[54:]), f.order.Uint16(head[56:])
		least, offset, address, length = 56, 8, 16, 32
	}
	if count == 0 {
		return true // an object file
	}
	if int(size) < least {
		return false
	}
	table, ok := f.read(at, uint64(size)*uint64(count), maxTable)
	for ; ok && len(table) > 0; table = table[size:] {
		f.segments = append(f.segments, segment{f.order.Uint32(table), f.word(table[offset:]), f.word(table[address:]), f.word(table[length:])})
	}
	return ok
}

// read reads a range of the file; false when it is not there or longer than most.
func (f *elfFile) read(offset, length, most uint64) ([]byte, bool) {
	if length > most || offset > 1<<62 {
		return nil, false
	}
	data := make([]byte, length)
	n, _ := f.file.ReadAt(data, int64(offset))
	return data[:n], n == len(data)
}

// readDynamic takes the names out of the dynamic section.
func (f *elfFile) readDynamic(s segment) {
	table, _ := f.read(s.offset, s.len, maxTable)
	half := 4
	if f.class == elfClass64 {
		half = 8
	}
	values := map[uint64][]uint64{}
	for ; len(table) >= 2*half; table = table[2*half:] {
		tag := f.word(table)
		if tag == 0 {
			break
		}
		values[tag] = append(values[tag], f.word(table[half:]))
	}
	text := f.strings(values[tagStrings], values[tagStringsSize])
	for _, at := range values[tagNeeded] {
		if name := nameAt(text, at); name != "" {
			f.needed = append(f.needed, name)
		}
	}
	for _, at := range values[tagRPath] {
		f.rpath = nameAt(text, at)
	}
	for _, at := range values[tagRunPath] {
		f.runPath = nameAt(text, at)
	}
}

// strings reads the string table, which is named by its address in memory.
func (f *elfFile) strings(address, size []uint64) []byte {
	if len(address) == 0 || len(size) == 0 {
		return nil
	}
	for _, s := range f.segments {
		if at := address[0] - s.address; s.kind == segmentLoad && address[0] >= s.address && at < s.len {
			text, _ := f.read(s.offset+at, size[0], maxStrings)
			return text
		}
	}
	return nil
}

func nameAt(text []byte, at uint64) string {
	if at >= uint64(len(text)) {
		return ""
	}
	name, _, _ := bytes.Cut(text[at:], []byte{0})
	return string(name)
}

// splitPath divides an RPATH or RUNPATH.
func splitPath(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ':' })
}
