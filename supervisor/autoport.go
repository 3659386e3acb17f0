package supervisor

import (
	"net"
	"strconv"
	"sync"
)

// The range that port = "auto" picks from: below the ports that the kernel gives to connections (ip_local_port_range).
const (
	autoFirst = 20000
	autoCount = 12000
)

// autoPorts picks ports for services and keeps them. The first choice follows from the file and the name, so that it is the same
// after a restart and another one in another copy of the project.
type autoPorts struct {
	mu   sync.Mutex
	kept map[string]int // by file and name
	used map[int]bool
}

func newAutoPorts() *autoPorts { return &autoPorts{kept: map[string]int{}, used: map[int]bool{}} }

// keep notes the port that a service has from the server before.
func (a *autoPorts) keep(file, name string, port int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if key := file + "#" + name; a.kept[key] == 0 {
		a.kept[key], a.used[port] = port, true
	}
}

// choose is the port of a service.
func (a *autoPorts) choose(file, name string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := file + "#" + name
	if port := a.kept[key]; port != 0 {
		return port
	}
	first := int(textHash(key) % autoCount)
	port := autoFirst + first
	for i := range autoCount {
		port = autoFirst + (first+i)%autoCount
		if !a.used[port] && free(port) {
			break
		}
	}
	a.kept[key], a.used[port] = port, true
	return port
}

// free reports whether nobody listens on a TCP port.
func free(port int) bool {
	l, err := net.Listen("tcp", ":"+strconv.Itoa(port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
