package xinet

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// maxPath is what fits into a Unix socket address, in bytes.
const maxPath = 107

// address is where to listen or connect.
type address struct {
	network string // "unix" or "tcp"
	target  string // a path, or HOST:PORT
}

// String is the address as 0.3.9 shows it.
func (a address) String() string { return a.network + ":" + a.target }

// parseAddress tells Unix paths and TCP addresses apart by their syntax: unix:PATH or anything with a slash is a path,
// tcp:HOST:PORT, HOST:PORT or :PORT is TCP. 0.3.9's client strips its prefixes, so that both must work without.
func parseAddress(text string) (address, error) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		return unixAddress(path)
	}
	rest, tcp := strings.CutPrefix(text, "tcp:")
	if !tcp && strings.Contains(text, "/") {
		return unixAddress(text)
	}
	if strings.Contains(rest, "/") {
		return address{}, fmt.Errorf("%q: a TCP address has no slash", text)
	}
	host, port, err := net.SplitHostPort(rest)
	if err != nil {
		return address{}, fmt.Errorf("%q is neither HOST:PORT nor an absolute path", text)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return address{}, fmt.Errorf("%q: %q is no port from 0 to 65535", text, port)
	} else {
		port = strconv.FormatUint(n, 10)
	}
	return address{"tcp", net.JoinHostPort(host, port)}, nil
}

func unixAddress(path string) (address, error) {
	switch {
	case !strings.HasPrefix(path, "/"):
		return address{}, fmt.Errorf("%q: the path of a socket must be absolute", path)
	case strings.ContainsRune(path, 0):
		return address{}, errors.New("the path of a socket must not contain NUL")
	case len(path) > maxPath:
		return address{}, fmt.Errorf("the path of a socket has %d bytes, at most %d are possible", len(path), maxPath)
	}
	return address{"unix", path}, nil
}
