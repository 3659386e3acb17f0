package rpc

import (
	"io/fs"
	"syscall"
)

// ownerOf returns the user id of a file, -1 when the file system has none.
func ownerOf(info fs.FileInfo) int {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Uid)
	}
	return -1
}
