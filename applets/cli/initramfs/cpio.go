package initramfs

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
)

// maxFile is the largest file the format can hold, in bytes.
const maxFile = 1<<32 - 1

// blockSize is what an archive is filled up to, in bytes, as cpio does it.
const blockSize = 512

const trailer = "TRAILER!!!"

// writer writes the newc format: a header of hexadecimal numbers, the name, the content, each filled up to 4 bytes.
type writer struct {
	w       *bufio.Writer
	written int64
	inode   uint32
}

// Write writes the archive to w.
func (t *Tree) Write(w io.Writer) error {
	a := &writer{w: bufio.NewWriterSize(w, 1<<20)}
	for _, p := range t.Paths() {
		if err := a.entry(p[1:], t.entries[p]); err != nil {
			return fmt.Errorf("cannot write %s into the archive: %w", p, bare(err))
		}
	}
	if err := a.header(trailer, &entry{}, 0, 1); err != nil {
		return err
	}
	if err := a.fill(blockSize); err != nil {
		return err
	}
	return a.w.Flush()
}

func (a *writer) entry(name string, e *entry) error {
	a.inode++
	links := 1
	if e.kind == kindDir {
		links = 2
	}
	if err := a.header(name, e, a.inode, links); err != nil {
		return err
	}
	if err := a.content(e); err != nil {
		return err
	}
	return a.fill(4)
}

func (a *writer) header(name string, e *entry, inode uint32, links int) error {
	mode, size := typeBits[e.kind]|e.mode, e.size
	switch {
	case inode == 0:
		mode = 0
	case e.kind == kindSymlink:
		size = int64(len(e.data))
	}
	const zero = 0 // uid, gid, time, device of the file system, checksum: the same everywhere
	n, err := fmt.Fprintf(a.w, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		inode, mode, zero, zero, links, zero, size, zero, zero, e.major, e.minor, len(name)+1, zero, name)
	a.written += int64(n)
	if err != nil {
		return err
	}
	return a.fill(4)
}

func (a *writer) content(e *entry) error {
	var source io.Reader = bytes.NewReader(e.data)
	want := int64(len(e.data))
	if e.source != "" {
		f, err := os.Open(e.source)
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // it is only read
		source, want = f, e.size
	}
	if e.kind != kindFile && e.kind != kindSymlink {
		return nil
	}
	n, err := io.Copy(a.w, io.LimitReader(source, want))
	a.written += n
	if err == nil && n != want {
		err = fmt.Errorf("%s became shorter while it was read", e.source)
	}
	return err
}

// fill adds zeros up to a multiple of unit.
func (a *writer) fill(unit int64) error {
	n := (unit - a.written%unit) % unit
	_, err := a.w.Write(make([]byte, n))
	a.written += n
	return err
}
