package proc

import (
	"os"
	"slices"
	"syscall"

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
	if c.isOwn(id.Groups != nil) {
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

// isOwn reports whether the supervisor, not being root, already is what was asked for: then there is nothing to set, and
// setting it would be refused. Groups count only when they were written.
func (c *Credential) isOwn(groupsWritten bool) bool {
	if os.Geteuid() == 0 || c.UID != os.Geteuid() || c.GID != os.Getegid() {
		return false
	}
	if !groupsWritten {
		return true
	}
	own, err := syscall.Getgroups()
	if err != nil {
		return false
	}
	drop := func(gid int) bool { return gid == c.GID }
	own = slices.DeleteFunc(own, drop)
	want := slices.DeleteFunc(slices.Clone(c.Groups), drop)
	slices.Sort(own)
	slices.Sort(want)
	return slices.Equal(slices.Compact(own), slices.Compact(want))
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
