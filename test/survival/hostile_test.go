package survival

import (
	"fmt"
	"strings"
	"testing"

	"github.com/zinit/zinit/internal/testkit"
)

// hostileProgram passes every check and then, as the server, does to its keeper all the harm that messages can do.
const hostileProgram = `package main

import (
	"encoding/binary"
	"fmt"
	"math/rand"
	"os"
	"strconv"
	"syscall"
)

var keeper int

func frame(kind byte, count int, body ...uint64) []byte {
	b := make([]byte, 8)
	binary.LittleEndian.PutUint16(b, 0x4b5a)
	b[2], b[3] = 1, kind
	binary.LittleEndian.PutUint16(b[4:], uint16(count))
	for _, v := range body {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

func send(b []byte, fds int) {
	var rights []byte
	if fds > 0 {
		rights = syscall.UnixRights(make([]int, fds)...) // the null device, again and again
	}
	_ = syscall.Sendmsg(keeper, b, rights, nil, syscall.MSG_NOSIGNAL)
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "--self-test" {
		fmt.Println("zinit 9.9.9 state 1")
		return
	}
	keeper, _ = strconv.Atoi(os.Getenv("ZINIT_KEEPER_FD"))
	r := rand.New(rand.NewSource(int64(os.Getpid())))
	for i := uint64(0); i < 300; i++ {
		send(frame(1, 1, i), 0) // a hello whose answer nobody reads
		pipes := frame(3, 100)
		for stream := uint64(0); stream < 100; stream++ {
			pipes = append(pipes, frame(0, 0, 1<<40+i, stream|3<<8)[8:]...)
			pipes = append(pipes, make([]byte, 128)...)
		}
		send(pipes, 253)
		send(frame(3, 100), 253)             // entries that are not there
		send(frame(2, 1), 253)               // a file without a name
		send(frame(2, 1, 0x0061_0000_0001_0000+i<<8), 253)
		send(frame(5, 100, make([]uint64, 200)...), 0)
		send(frame(5, 1, 3000000+i, i), 0)   // a process that cannot be
		send(frame(10, 1), 253)              // an upgrade to nothing
		send(frame(9, 1, 1<<63), 0)          // a negative budget
		send(frame(8, 1, 0xffff), 0)         // a goodbye for no reason
		send(frame(11, 1, 0xffff), 0)
		send(frame(200, 65535), 253)         // no such message
		send(nil, 0)
		send(make([]byte, 20000), 0)         // too long
		garbage := make([]byte, r.Intn(16384))
		r.Read(garbage)
		send(garbage, r.Intn(253))
		copy(garbage, frame(byte(1+r.Intn(12)), r.Intn(100)))
		if len(garbage) > 8 && garbage[3] != 4 && garbage[3] != 6 && garbage[3] != 7 && garbage[3] != 8 && garbage[3] != 10 {
			send(garbage, r.Intn(253)) // not those by which a server lets go of what is its own, or takes back its upgrade
		}
	}
	if !MORE {
		os.Exit(3)
	}
	upgrade := append(frame(10, 1), 1, 0, 'x') // to the null device
	send(upgrade, 1)
	os.Exit(3)
}
`

// TestHostileServer: a server that floods its keeper, sends sizes and counts that are not true, more descriptors than the
// keeper may have, and never reads, does it no harm. The keeper has 300 descriptors.
func TestHostileServer(t *testing.T) {
	for _, more := range []string{"false", "true"} { // true: it says that it is about to execute something that cannot be executed
		t.Run("upgrade "+more, func(t *testing.T) { sufferHostile(t, strings.Replace(hostileProgram, "MORE", more, 1)) })
	}
}

func sufferHostile(t *testing.T, text string) {
	const descriptors = 300
	bad := program(t, text)
	s := testkit.Start(t, map[string]string{"one.toml": sleeper}, testkit.Options{Applet: "pid1",
		Under: []string{"sh", "-c", fmt.Sprintf(`ulimit -n %d; "$@"; exit $?`, descriptors), "sh"}})
	c := s.Client()
	one := s.AwaitState(c, "one", "running")
	if _, err := c.Upgrade(ctx, bad); err != nil {
		t.Fatal(err)
	}
	awaitRollback(s, "") // the server has said what it is called, or not
	c = s.Client()
	if now := s.AwaitState(c, "one", "running"); now.PID != one.PID || now.Incarnation != one.Incarnation {
		t.Errorf("pid %d incarnation %d, were %d %d", now.PID, now.Incarnation, one.PID, one.Incarnation)
	}
	if !strings.Contains(s.Logs(), "malformed messages") {
		t.Errorf("the keeper says nothing of it:\n%s", s.Logs())
	}
	killServer(t, s, serverPIDOf(t, c))
	if now := s.AwaitState(s.Client(), "one", "running"); now.PID != one.PID {
		t.Errorf("pid %d, was %d", now.PID, one.PID)
	}
}
