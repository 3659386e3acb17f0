package elf

import (
	"bytes"
	std "debug/elf"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestRead compares with debug/elf what this machine has: programs, libraries, scripts.
func TestRead(t *testing.T) {
	var files []string
	for _, pattern := range []string{"/bin/*", "/usr/lib/*/*.so*", "/lib/*.so*", "/usr/bin/a*", "/proc/self/exe"} {
		found, _ := filepath.Glob(pattern)
		files = append(files, found[:min(len(found), 150)]...)
	}
	compared := 0
	for _, path := range files {
		want, err := std.Open(path)
		if err != nil {
			continue
		}
		compared++
		compare(t, path, want)
		want.Close()
	}
	if compared < 2 {
		t.Errorf("only %d files were compared", compared)
	}
}

func compare(t *testing.T, path string, want *std.File) {
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	got, ok := Read(file)
	if !ok {
		t.Errorf("%s is taken for none", path)
		return
	}
	needed, _ := want.ImportedLibraries()
	rpath, _ := want.DynString(std.DT_RPATH)
	runPath, _ := want.DynString(std.DT_RUNPATH)
	interp := ""
	for _, p := range want.Progs {
		if p.Type == std.PT_INTERP {
			text := make([]byte, p.Filesz)
			_, _ = p.ReadAt(text, 0)
			interp = strings.TrimRight(string(text), "\x00")
		}
	}
	if got.Machine != uint16(want.Machine) || got.Wide != (want.Class == std.ELFCLASS64) || !slices.Equal(got.Needed, needed) ||
		strings.Join(got.RPath, ":") != strings.Join(rpath, ":") || strings.Join(got.RunPath, ":") != strings.Join(runPath, ":") || got.Interp != interp {
		t.Errorf("%s: %+v; want %v %v %v %v %v %q", path, got, want.Machine, want.Class, needed, rpath, runPath, interp)
	}
}

// TestLongInterp: a loader's name that no kernel takes is none, however much of it there is.
func TestLongInterp(t *testing.T) {
	file := func(length int) io.ReaderAt {
		b := make([]byte, 64+56+length)
		copy(b, "\x7fELF\x02\x01\x01")
		binary.LittleEndian.PutUint64(b[32:], 64)             // e_phoff
		binary.LittleEndian.PutUint16(b[54:], 56)             // e_phentsize
		binary.LittleEndian.PutUint16(b[56:], 1)              // e_phnum
		binary.LittleEndian.PutUint32(b[64:], segmentInterp)  // p_type
		binary.LittleEndian.PutUint64(b[72:], 120)            // p_offset
		binary.LittleEndian.PutUint64(b[96:], uint64(length)) // p_filesz
		copy(b[120:], strings.Repeat("x", length-1))
		return bytes.NewReader(b)
	}
	if got := Interp(file(maxInterp)); got != strings.Repeat("x", maxInterp-1) {
		t.Errorf("%d bytes, want %d", len(got), maxInterp-1)
	}
	if got := Interp(file(maxInterp + 1)); got != "" {
		t.Errorf("%d bytes, want none", len(got))
	}
}

// TestReadDamaged: no cut or changed file makes it panic, and what is no ELF file is none.
func TestReadDamaged(t *testing.T) {
	whole, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	whole = whole[:min(len(whole), 8192)]
	for n := range 600 {
		Read(bytes.NewReader(whole[:n]))
		changed := bytes.Clone(whole)
		for i := n % 64; i < len(changed); i += 64 {
			changed[i] ^= byte(n + i)
		}
		copy(changed, "\x7fELF")
		Read(bytes.NewReader(changed))
	}
	for _, text := range []string{"", "#!/bin/sh\n", strings.Repeat("x", 100), "\x7fELF", "\x7fELF" + strings.Repeat("\x00", 60)} {
		if _, ok := Read(strings.NewReader(text)); ok {
			t.Errorf("%.20q is an ELF file", text)
		}
	}
}
