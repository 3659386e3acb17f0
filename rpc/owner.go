package rpc

import (
	"io/fs"
	"syscall"
)

// inodeOf returns the number of a file's inode, 0 when the file system has none.
func inodeOf(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(stat.Ino)
	}
	return 0
}

// ownerOf returns the user id of a file, -1 when the file system has none.
func ownerOf(info fs.FileInfo) int {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Uid)
	}
	return -1
}
