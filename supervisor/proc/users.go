package proc

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// passwdFile and groupFile are read at every start that names a user; no name service is asked (no cgo).
var passwdFile, groupFile = "/etc/passwd", "/etc/group"

// accountsMax bounds the two files.
const accountsMax = 16 << 20

// user is a line of passwd(5). Name is empty for a number without an entry; GID is then -1.
type user struct {
	Name, Home, Shell string
	UID, GID          int
}

// lookupUser finds a user by name or number. A number needs no entry.
func lookupUser(name string) (user, *Error) {
	uid, isNumber := parseID(name)
	data, err := readSmall(passwdFile, accountsMax)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return user{}, failf(StepUser, errnoOf(err), "cannot read %s: %v", passwdFile, cause(err))
	}
	for line := range strings.SplitSeq(string(data), "\n") {
		u, ok := parsePasswd(line)
		if ok && (u.Name == name || isNumber && u.UID == uid) {
			return u, nil
		}
	}
	if isNumber {
		return user{UID: uid, GID: -1}, nil
	}
	return user{}, failf(StepUser, syscall.ENOENT, "cannot find the user %q in %s", name, passwdFile)
}

// parsePasswd reads name:password:uid:gid:gecos:home:shell.
func parsePasswd(line string) (user, bool) {
	f := strings.Split(line, ":")
	if len(f) < 6 || f[0] == "" || line[0] == '#' {
		return user{}, false
	}
	uid, ok1 := parseID(f[2])
	gid, ok2 := parseID(f[3])
	u := user{Name: f[0], UID: uid, GID: gid, Home: f[5], Shell: shellPath}
	if len(f) > 6 && f[6] != "" {
		u.Shell = f[6]
	}
	if u.Home == "" {
		u.Home = "/"
	}
	return u, ok1 && ok2
}

// group is a line of group(5).
type group struct {
	Name    string
	GID     int
	Members string // separated by commas
}

func parseGroup(line string) (group, bool) {
	f := strings.SplitN(line, ":", 4)
	if len(f) < 4 || f[0] == "" || line[0] == '#' {
		return group{}, false
	}
	gid, ok := parseID(f[2])
	return group{Name: f[0], GID: gid, Members: f[3]}, ok
}

// parseID reads a user or group number. The highest value means "unchanged" to the kernel and is refused.
func parseID(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return int(n), err == nil && n != 1<<32-1
}

// readGroups reads all of /etc/group; a missing file has no groups.
func readGroups(step string) ([]group, *Error) {
	data, err := readSmall(groupFile, accountsMax)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, failf(step, errnoOf(err), "cannot read %s: %v", groupFile, cause(err))
	}
	var out []group
	for line := range strings.SplitSeq(string(data), "\n") {
		if g, ok := parseGroup(line); ok {
			out = append(out, g)
		}
	}
	return out, nil
}

// groupID finds a group by name or number. A number needs no entry.
func groupID(groups []group, name, step string) (int, *Error) {
	if gid, ok := parseID(name); ok {
		return gid, nil
	}
	for _, g := range groups {
		if g.Name == name {
			return g.GID, nil
		}
	}
	return 0, failf(step, syscall.ENOENT, "cannot find the group %q in %s", name, groupFile)
}

// memberOf lists the groups that name user as a member.
func memberOf(groups []group, user string) []int {
	var out []int
	for _, g := range groups {
		for m := range strings.SplitSeq(g.Members, ",") {
			if m == user && user != "" {
				out = append(out, g.GID)
				break
			}
		}
	}
	return out
}

// LookupGroup finds the number of a group by name or number.
func LookupGroup(name string) (int, error) {
	groups, err := readGroups(StepGroup)
	if err != nil {
		return 0, err
	}
	gid, err := groupID(groups, name, StepGroup)
	if err != nil {
		return 0, err
	}
	return gid, nil
}
