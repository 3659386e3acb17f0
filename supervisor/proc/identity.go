package proc

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
)

// Credential is a resolved identity.
type Credential struct {
	UID, GID int
	// Groups are the supplementary groups to set; KeepGroups leaves them as they are.
	Groups     []int
	KeepGroups bool
}

// ResolveIdentity turns the names of user, group and groups into numbers by /etc/passwd and /etc/group. nil means that
// nothing is to be changed. Without groups a user has those that /etc/group lists it in; a group alone keeps the
// supervisor's. A user number without an entry in /etc/passwd needs a group: guessing one (0!) would be weaker than
// what was written.
func ResolveIdentity(id *graph.Identity) (*Credential, *Error) {
	if id.User == "" && id.Group == "" && id.Groups == nil {
		return nil, nil
	}
	c := &Credential{UID: os.Getuid(), GID: os.Getgid(), KeepGroups: true}
	groups, err := readGroups(StepGroup)
	if err != nil {
		return nil, err
	}
	if id.User != "" {
		if err := c.setUser(id, groups); err != nil {
			return nil, err
		}
	}
	if id.Group != "" {
		if c.GID, err = groupID(groups, id.Group, StepGroup); err != nil {
			return nil, err
		}
	}
	if id.Groups != nil {
		c.Groups, c.KeepGroups = nil, false
		for _, name := range id.Groups {
			gid, err := groupID(groups, name, StepGroups)
			if err != nil {
				return nil, err
			}
			c.Groups = append(c.Groups, gid)
		}
	}
	c.keepGroups(id.Groups != nil)
	if c.KeepGroups && c.UID == os.Getuid() && c.UID == os.Geteuid() && c.GID == os.Getgid() && c.GID == os.Getegid() {
		return nil, nil
	}
	return c, nil
}

func (c *Credential) setUser(id *graph.Identity, groups []group) *Error {
	u, err := lookupUser(id.User)
	if err != nil {
		return err
	}
	if u.GID < 0 && id.Group == "" {
		return failf(StepUser, 0, "cannot tell the group of user %s: it has no entry in %s; set group too", id.User, passwdFile)
	}
	c.UID, c.GID = u.UID, u.GID
	c.Groups, c.KeepGroups = memberOf(groups, u.Name), false
	return nil
}

// keepGroups leaves the supplementary groups alone where setting them would change nothing, and where they cannot be set:
// there a user that the supervisor already is keeps its groups, unless the file lists others.
func (c *Credential) keepGroups(written bool) {
	if c.KeepGroups || maySetGroups() {
		return
	}
	if !written && c.UID == os.Geteuid() && c.GID == os.Getegid() {
		c.KeepGroups = true
		return
	}
	own, err := syscall.Getgroups()
	if err != nil {
		return
	}
	drop := func(gid int) bool { return gid == c.GID }
	own = slices.DeleteFunc(own, drop)
	want := slices.DeleteFunc(slices.Clone(c.Groups), drop)
	slices.Sort(own)
	slices.Sort(want)
	c.KeepGroups = slices.Equal(slices.Compact(own), slices.Compact(want))
}

// maySetGroups reports whether setgroups(2) can succeed. Not even root may without CAP_SETGID, as in a container that
// drops all capabilities, or in a user namespace that denies it (user_namespaces(7)).
func maySetGroups() bool { return hasCapability(unix.CAP_SETGID) && !setgroupsDenied() }

// setgroupsDenied stays as it is once a user namespace has its map of groups, which ours has since before it had processes.
var setgroupsDenied = sync.OnceValue(func() bool {
	text, err := os.ReadFile("/proc/self/setgroups")
	return err == nil && strings.TrimSpace(string(text)) == "deny"
})

// hasCapability reports whether a capability is effective in the calling thread.
func hasCapability(number int) bool {
	c := &capabilities{header: unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}}
	return c.get() == 0 && c.data[number/32].Effective>>(number%32)&1 == 1
}

// refused returns the step of the identity that gave an error, "" when it was none of them. The library's fork does not
// tell.
func (c *Credential) refused(errno syscall.Errno) string {
	switch {
	case c == nil:
	case errno == syscall.EPERM && os.Geteuid() != 0:
		return StepUser
	case errno == syscall.EPERM && !c.KeepGroups && !maySetGroups():
		return StepGroups
	case errno == syscall.EPERM && c.GID != os.Getgid() && !hasCapability(unix.CAP_SETGID):
		return StepGroup
	case errno == syscall.EINVAL && !mapped("gid_map", c.GID):
		return StepGroup
	case errno == syscall.EPERM && c.UID != os.Getuid() && !hasCapability(unix.CAP_SETUID),
		errno == syscall.EINVAL && !mapped("uid_map", c.UID):
		return StepUser
	}
	return ""
}

// mapped reports whether a user or group exists in the user namespace (user_namespaces(7): first, there, how many).
func mapped(file string, id int) bool {
	text, err := os.ReadFile("/proc/self/" + file)
	for line := range strings.SplitSeq(string(text), "\n") {
		var first, outside, count int
		if n, _ := fmt.Sscan(line, &first, &outside, &count); n == 3 && id >= first && id-first < count {
			return true
		}
	}
	return err != nil
}

func (c *Credential) native() *syscall.Credential {
	if c == nil {
		return nil
	}
	n := &syscall.Credential{Uid: uint32(c.UID), Gid: uint32(c.GID), NoSetGroups: c.KeepGroups}
	for _, g := range c.Groups {
		n.Groups = append(n.Groups, uint32(g))
	}
	return n
}
