package answer

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/rpc/wire"
	"github.com/zinit/zinit/supervisor/proc"
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
	if gen&proc.Aside != 0 { // a hook or a check of a service
		name, _ := proc.Variable(int(pid), proc.EnvService)
		if _, _, known := s.from.Views.Load().Lookup(name); known {
			return name
		}
		return ""
	}
	for _, e := range s.from.Views.Load().Entries {
		if uint64(e.Info.Gen) == gen {
			return e.Config.Name
		}
	}
	return ""
}

// OwnerOfGroup names the service whose control group, or that of a helper, has a number, the inode of its directory.
func (s *Reader) OwnerOfGroup(group uint64) string {
	for _, e := range s.from.Views.Load().Entries {
		if e.Run != nil && e.Run.Cgroup != "" && slices.ContainsFunc(proc.GroupFolders(e.Run.Cgroup), func(folder string) bool {
			var st unix.Stat_t
			return unix.Stat(folder, &st) == nil && st.Ino == group
		}) {
			return e.Config.Name
		}
	}
	return ""
}
