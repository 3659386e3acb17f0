package elf

import (
	"bytes"
	"io"
	"strings"
)

// Kind tells objects for different processors apart: a loader takes only libraries of its program's own.
type Kind struct {
	Wide    bool   // e_ident[EI_CLASS] is ELFCLASS64
	Machine uint16 // e_machine
}

// File is what a loader reads of a file: the program headers and the dynamic section, no section headers, which a stripped
// file may lack.
type File struct {
	Kind
	Interp  string   // the loader, "" = none
	Needed  []string // DT_NEEDED, in order
	RPath   []string // DT_RPATH
	RunPath []string // DT_RUNPATH

	format
	file  io.ReaderAt
	loads []segment
}

type segment struct{ offset, address, len uint64 } // len in the file

// The numbers of elf(5) that matter here.
const (
	segmentLoad, segmentDynamic, segmentInterp = 1, 2, 3

	tagNeeded, tagStrings, tagStringsSize, tagRPath, tagRunPath = 1, 5, 10, 15, 29
)

// The bounds of what is read of one file, in bytes.
const (
	maxTable   = 1 << 20 // program headers, dynamic section
	maxInterp  = 4096    // PATH_MAX: the kernel starts nothing with a longer name of a loader
	maxStrings = 16 << 20
)

// Read reads what a loader would; false when it is no ELF file or a damaged one.
func Read(file io.ReaderAt) (*File, bool) {
	f, dynamic, ok := readHeaders(file)
	for _, s := range dynamic {
		f.readDynamic(s)
	}
	return f, ok
}

// Interp is the loader that a file names, "" = none, or it is no ELF file. It reads the headers alone.
func Interp(file io.ReaderAt) string {
	f, _, ok := readHeaders(file)
	if !ok {
		return ""
	}
	return f.Interp
}

// readHeaders reads all but the dynamic sections, which it returns.
func readHeaders(file io.ReaderAt) (f *File, dynamic []segment, ok bool) {
	var head [headerSize]byte
	n, _ := file.ReadAt(head[:], 0)
	how, ok := formatOf(head[:])
	const narrow = 52
	if !ok || n < narrow || how.wide && n < len(head) {
		return nil, nil, false
	}
	f = &File{file: file, format: how, Kind: Kind{how.wide, how.order.Uint16(head[18:])}}
	entries, size, ok := f.programHeaders(head[:])
	if !ok {
		return nil, nil, false
	}
	for ; len(entries) > 0; entries = entries[size:] {
		at, length := f.segmentPlace(entries)
		s := segment{at, f.word(entries, 8, 16), length}
		switch f.order.Uint32(entries) {
		case segmentLoad:
			f.loads = append(f.loads, s)
		case segmentInterp:
			text, _ := f.read(at, length, maxInterp)
			f.Interp = strings.TrimRight(string(text), "\x00")
		case segmentDynamic:
			dynamic = append(dynamic, s)
		}
	}
	return f, dynamic, true
}

// programHeaders reads their table; an object file has none.
func (f *File) programHeaders(head []byte) (entries []byte, size int, ok bool) {
	t, sound := f.table(head, segments)
	if t.count == 0 {
		return nil, 0, true
	}
	if !sound {
		return nil, 0, false
	}
	entries, ok = f.read(t.at, uint64(t.size)*uint64(t.count), maxTable)
	return entries, t.size, ok
}

// read reads a range of the file; false when it is not there or longer than most.
func (f *File) read(offset, length, most uint64) ([]byte, bool) {
	if length > most || offset > 1<<62 {
		return nil, false
	}
	data := make([]byte, length)
	n, _ := f.file.ReadAt(data, int64(offset))
	return data[:n], n == len(data)
}

// readDynamic takes the names out of the dynamic section.
func (f *File) readDynamic(s segment) {
	entries, _ := f.read(s.offset, s.len, maxTable)
	size := 8
	if f.wide {
		size = 16
	}
	values := map[uint64][]uint64{}
	for ; len(entries) >= size; entries = entries[size:] {
		tag := f.word(entries, 0, 0)
		if tag == 0 {
			break
		}
		values[tag] = append(values[tag], f.word(entries, 4, 8))
	}
	text := f.strings(values[tagStrings], values[tagStringsSize])
	for _, at := range values[tagNeeded] {
		if name := nameAt(text, at); name != "" {
			f.Needed = append(f.Needed, name)
		}
	}
	for _, at := range values[tagRPath] {
		f.RPath = splitPath(nameAt(text, at))
	}
	for _, at := range values[tagRunPath] {
		f.RunPath = splitPath(nameAt(text, at))
	}
}

// strings reads the string table, which is named by its address in memory.
func (f *File) strings(address, size []uint64) []byte {
	if len(address) == 0 || len(size) == 0 {
		return nil
	}
	for _, s := range f.loads {
		if at := address[0] - s.address; address[0] >= s.address && at < s.len {
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
