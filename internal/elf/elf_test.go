package elf

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWhole: this test's own executable is whole, and no part of it that has its header is.
func TestWhole(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := check(t, whole); err != nil {
		t.Errorf("the executable that runs: %v", err)
	}
	for _, n := range []int{64, 65, 100, 463, len(whole) / 3, len(whole) / 2, len(whole) - 70000, len(whole) - 1} {
		if err := check(t, whole[:n]); err == nil || !strings.Contains(err.Error(), "cut short") {
			t.Errorf("the first %d of %d bytes: %v", n, len(whole), err)
		}
	}
}

// FuzzWhole: no header makes it fail otherwise than by an error. What is no ELF file is not its business.
func FuzzWhole(f *testing.F) {
	head := make([]byte, 200)
	copy(head, "\x7fELF\x02\x01\x01")
	for _, at := range []int{32, 40, 54, 56, 58, 60} {
		head[at] = 64
	}
	f.Add(head)
	f.Add([]byte("#!/bin/sh\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := check(t, b); err != nil && !strings.HasPrefix(string(b), "\x7fELF") {
			t.Errorf("%q: %v", b, err)
		}
	})
}

func check(t *testing.T, b []byte) error {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	return Whole(fd)
}
