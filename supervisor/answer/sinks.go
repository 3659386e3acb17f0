package answer

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/rpc/wire"
)

// sinksOf are the files and destinations of one service's log; "" means the destinations of all.
func (s *Reader) sinksOf(name string) []wire.Sink {
	if name == "" {
		return slices.Concat([]wire.Sink{}, s.from.Ship.Sinks())
	}
	out := []wire.Sink{}
	if sink, ok := s.from.Files.Sink(name); ok {
		out = append(out, sink)
	}
	if sink, ok := s.from.Ship.Sink(name); ok {
		out = append(out, sink)
	}
	return out
}

// OwnerOf names the service whose process sent a message, by the tag or the identity that it inherited.
func (s *Reader) OwnerOf(pid int32, _ uint32) string {
	gen := s.from.Scanner.GenOf(int(pid))
	if gen == 0 {
		return ""
	}
	for _, e := range s.from.Views.Load().Entries {
		if uint64(e.Info.Gen) == gen {
			return e.Config.Name
		}
	}
	return ""
}

// OwnerOfGroup names the service whose control group has a number, the inode of its directory.
func (s *Reader) OwnerOfGroup(group uint64) string {
	for _, e := range s.from.Views.Load().Entries {
		if e.Run == nil || e.Run.Cgroup == "" {
			continue
		}
		var st unix.Stat_t
		if unix.Stat(e.Run.Cgroup, &st) == nil && st.Ino == group {
			return e.Config.Name
		}
	}
	return ""
}
