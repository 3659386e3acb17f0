package initramfs

import (
	"bytes"
	"debug/elf"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestELF compares with debug/elf what this machine has: programs, libraries, scripts.
func TestELF(t *testing.T) {
	var files []string
	for _, pattern := range []string{"/bin/*", "/usr/lib/*/*.so*", "/lib/*.so*", "/usr/bin/a*", "/proc/self/exe"} {
		found, _ := filepath.Glob(pattern)
		files = append(files, found[:min(len(found), 150)]...)
	}
	compared := 0
	for _, path := range files {
		want, err := elf.Open(path)
		if err != nil {
			continue
		}
		compared++
		compareELF(t, path, want)
		want.Close()
	}
	if compared < 2 {
		t.Errorf("only %d files were compared", compared)
	}
}

func compareELF(t *testing.T, path string, want *elf.File) {
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	got, ok := readELF(file)
	if !ok {
		t.Errorf("%s is taken for none", path)
		return
	}
	needed, _ := want.ImportedLibraries()
	rpath, _ := want.DynString(elf.DT_RPATH)
	runPath, _ := want.DynString(elf.DT_RUNPATH)
	interp := ""
	for _, p := range want.Progs {
		if p.Type == elf.PT_INTERP {
			text := make([]byte, p.Filesz)
			_, _ = p.ReadAt(text, 0)
			interp = strings.TrimRight(string(text), "\x00")
		}
	}
	if uint16(got.machine) != uint16(want.Machine) || byte(got.class) != byte(want.Class) || !slices.Equal(got.needed, needed) ||
		got.rpath != strings.Join(rpath, ":") || got.runPath != strings.Join(runPath, ":") || got.interp != interp {
		t.Errorf("%s: %+v; want %v %v %v %v %v %q", path, got, want.Machine, want.Class, needed, rpath, runPath, interp)
	}
}

// TestELFDamaged: no cut or changed file makes it panic, and what is no ELF file is none.
func TestELFDamaged(t *testing.T) {
	whole, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	whole = whole[:min(len(whole), 8192)]
	for n := range 600 {
		readELF(bytes.NewReader(whole[:n]))
		changed := bytes.Clone(whole)
		for i := n % 64; i < len(changed); i += 64 {
			changed[i] ^= byte(n + i)
		}
		copy(changed, "\x7fELF")
		readELF(bytes.NewReader(changed))
	}
	for _, text := range []string{"", "#!/bin/sh\n", strings.Repeat("x", 100), "\x7fELF", "\x7fELF" + strings.Repeat("\x00", 60)} {
		if _, ok := readELF(strings.NewReader(text)); ok {
			t.Errorf("%.20q is an ELF file", text)
		}
	}
}
