package proc

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zinit/zinit/graph"
	"github.com/zinit/zinit/internal/testkit/need"
)

func TestListeningIn(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0 100 0 0 10 0
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222 1 0 100 0 0 10 0
   2: 0100007F:0051 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 333 1 0 100 0 0 10 0
   3: 0100007F:1F90 0100007F:C351 06 00000000:00000000 03:00001770 00000000     0        0 0 3 0
`
	const table6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 444 1 0
`
	got := listeningIn(strings.NewReader(table), []uint16{8080, 81})
	if !slices.Equal(got, []socket{{8080, 111}}) {
		t.Errorf("got %v", got)
	}
	got = listeningIn(strings.NewReader(table6), []uint16{8080})
	if !slices.Equal(got, []socket{{8080, 444}}) {
		t.Errorf("got %v", got)
	}
	if got := listeningIn(strings.NewReader(""), []uint16{80}); got != nil {
		t.Errorf("got %v", got)
	}
}

func TestMatching(t *testing.T) {
	for _, test := range []struct {
		filter, comm, exe string
		want              bool
	}{
		{"redis", "redis-server", "/usr/bin/redis-server", true},
		{"REDIS", "redis-server", "", true},
		{"redis", "Redis", "", true},
		{"check-rdb", "redis-server", "/usr/bin/redis-check-rdb", true},
		{"usr", "redis-server", "/usr/bin/redis-server", false},
		{"nginx", "redis-server", "/usr/bin/redis-server", false},
		{"", "redis-server", "", false},
	} {
		if got := matching([]string{"zzz", test.filter}, test.comm, test.exe); (got != "") != test.want {
			t.Errorf("%q on %s %s: %q", test.filter, test.comm, test.exe, got)
		}
	}
}

// inOwnNetwork runs a test again in a network namespace of its own, as a process of its own.
func inOwnNetwork(t *testing.T) (inside bool) {
	t.Helper()
	if os.Getenv("ZINIT_PROC_TEST_NETWORK") == "1" {
		return true
	}
	need.Root(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), "ZINIT_PROC_TEST_NETWORK=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("in its own network: %v\n%s", err, out)
	}
	return false
}

// loopbackUp brings up lo.
func loopbackUp(t *testing.T) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	ifr.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		t.Fatal(err)
	}
}

func init() {
	// listen listens on an address until it ends; with "stubborn" it ignores SIGTERM.
	helpers["listen"] = func(args []string) {
		l, err := net.Listen("tcp", args[0])
		if err != nil {
			fmt.Println(err)
			return
		}
		if len(args) > 1 && args[1] == "stubborn" {
			ignoreTerm()
		}
		fmt.Println("listening on", l.Addr().(*net.TCPAddr).Port)
		time.Sleep(time.Hour) // until it is killed: it is what holds the port
	}
}

// listenOn starts such a helper, as a foreign process: it carries no ZINIT_ID.
func listenOn(t *testing.T, args ...string) (pid, port int) {
	t.Helper()
	o := newOutput(t)
	pid = mustStart(t, &Spec{Plan: Plan{Path: "/proc/self/exe", Argv: append([]string{"listener"}, args...)}, Files: o.files(t),
		Env: []string{helperVariable + "=listen"}})
	line, err := bufio.NewReader(o.r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	port, err = strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "listening on ")))
	if err != nil {
		t.Fatal(line)
	}
	return pid, port
}

func TestPortHoldersAreFoundAndToldApart(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	loopbackUp(t)
	pid4, port4 := listenOn(t, "127.0.0.1:0")
	pid6, port6 := listenOn(t, "[::1]:0")
	both, portBoth := listenOn(t, ":0")
	// A connection, an ended one (TIME_WAIT) and a port that is only bound hold nothing.
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port4))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	local := conn.LocalAddr().(*net.TCPAddr).Port
	waiting := timeWait(t)
	if got := Listening([]uint16{uint16(port4), uint16(port6), uint16(portBoth), uint16(local), uint16(waiting)}); len(got) != 3 {
		t.Errorf("listening: %v", got)
	}
	all := []uint16{uint16(port4), uint16(port6), uint16(portBoth), uint16(local), uint16(waiting)}
	if byProc, all := listeningByProc(all), listening(all); len(byProc) != 3 || !slices.Equal(byProc, all) {
		t.Errorf("by /proc %v, by netlink %v", byProc, all)
	}
	for port, want := range map[int]int{port4: pid4, port6: pid6, portBoth: both, local: 0, waiting: 0, 1: 0} {
		holders := PortHolders([]uint16{uint16(port)})
		switch {
		case want == 0 && len(holders) > 0, want != 0 && (len(holders) != 1 || holders[0].Process.PID != want || holders[0].Name != "exe"):
			t.Errorf("port %d: %+v, want %d", port, holders, want)
		}
	}
}

// timeWait makes a local port that is only in TIME_WAIT.
func timeWait(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s.Close() // the side that closes first waits
	_, _ = c.Read(make([]byte, 1))
	c.Close()
	l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestPortConflicts(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	loopbackUp(t)
	scanner := &Scanner{Instance: "test"}
	foreign, port := listenOn(t, "127.0.0.1:0")
	stubborn, port2 := listenOn(t, "127.0.0.1:0", "stubborn")
	bystander, port3 := listenOn(t, "127.0.0.1:0")
	waiting := timeWait(t)
	config := func(ports ...int) *graph.Config {
		c := &graph.Config{Name: "web", KillOthers: true}
		for _, p := range ports {
			c.Ports = append(c.Ports, uint16(p))
		}
		return c
	}
	if got := scanner.FindConflict(config(waiting), nil, true); got != nil {
		t.Errorf("TIME_WAIT: %+v", got)
	}
	got := scanner.FindConflict(config(port), nil, false)
	if got == nil || got.PID != foreign || got.Port != port || got.Process != "exe" || got.Service != "" {
		t.Errorf("a foreign process: %+v", got)
	}
	// As a service's it is never killed.
	p, err := ReadProcess(foreign)
	if err != nil {
		t.Fatal(err)
	}
	ours := []Owner{{Service: "other", Gen: 5, Main: foreign, Start: p.Start}}
	if got := scanner.FindConflict(config(port2, port), ours, true); got == nil || got.PID != foreign || got.Service != "other" {
		t.Errorf("a service's process: %+v", got)
	}
	for _, pid := range []int{foreign, stubborn} {
		if _, dead := PeekPID(pid); dead {
			t.Fatalf("%d was killed although a service blocks", pid)
		}
	}
	began := time.Now()
	if got := scanner.FindConflict(config(port, port2), nil, true); got != nil {
		t.Errorf("after killing: %+v", got)
	}
	if took := time.Since(began); took < holdersWait || took > holdersWait+5*time.Second {
		t.Errorf("the stubborn one took %v", took)
	}
	if status := waitPID(foreign); status.Signal != int32(unix.SIGTERM) {
		t.Errorf("the foreign one: %+v", status)
	}
	if status := waitPID(stubborn); status.Signal != int32(unix.SIGKILL) {
		t.Errorf("the stubborn one: %+v", status)
	}
	if _, dead := PeekPID(bystander); dead || len(Listening([]uint16{uint16(port3)})) != 1 {
		t.Error("a bystander was killed")
	}
	// The supervisor's own listener blocks, and is never killed.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	own := l.Addr().(*net.TCPAddr).Port
	if got := scanner.FindConflict(config(own), nil, true); got == nil || got.PID != os.Getpid() {
		t.Errorf("our own listener: %+v", got)
	}
}

func TestFilterConflicts(t *testing.T) {
	scanner := &Scanner{Instance: "test"}
	dir := t.TempDir()
	name := fmt.Sprintf("Zq%dx", os.Getpid())
	data, err := os.ReadFile("/bin/sleep")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/my"+name, data, 0o755); err != nil {
		t.Fatal(err)
	}
	pid := mustStart(t, &Spec{Plan: Plan{Path: dir + "/my" + name, Argv: []string{"sleep", "600"}}})
	c := &graph.Config{Name: "web", ProcessFilters: []string{"nothing-like-it", strings.ToLower(name)}}
	got := scanner.FindConflict(c, nil, false)
	if got == nil || got.PID != pid || got.Filter != strings.ToLower(name) || got.Port != 0 {
		t.Fatalf("got %+v", got)
	}
	if got := scanner.FindConflict(c, nil, true); got != nil {
		t.Errorf("after killing: %+v", got)
	}
	if status := waitPID(pid); status.Signal != int32(unix.SIGTERM) {
		t.Errorf("%+v", status)
	}
	// A filter that matches the supervisor is no conflict with itself.
	self, err := ReadProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range FilterHolders([]string{self.Comm}) {
		if h.Process.PID == os.Getpid() {
			c.ProcessFilters = []string{self.Comm}
			foreign, conflict := scanner.sortHolders([]Holder{h}, nil)
			if len(foreign) != 0 || conflict != nil {
				t.Errorf("ourselves: %+v %+v", foreign, conflict)
			}
		}
	}
}

// A process that has executed another program since it was found is not what the filter was about.
func TestHolderThatBecameAnother(t *testing.T) {
	filter, gate := fmt.Sprintf("zq%dy", os.Getpid()), t.TempDir()+"/go"
	shell := t.TempDir() + "/" + filter
	data, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(shell, data, 0o755); err != nil {
		t.Fatal(err)
	}
	script := "while [ ! -e " + gate + " ]; do :; done; exec /bin/sleep 600"
	pid := mustStart(t, &Spec{Plan: Plan{Path: shell, Argv: []string{shell, "-c", script}}})
	holders := FilterHolders([]string{filter})
	if len(holders) != 1 || holders[0].Process.PID != pid || !holders[0].stillHolds() {
		t.Fatalf("holders: %+v, want %d", holders, pid)
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	await(t, "the other program", func() bool { return strings.HasSuffix(Executable(pid), "/sleep") })
	endHolders(holders)
	if _, dead := PeekPID(pid); dead {
		t.Error("it was ended for a name that it had before")
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if status := waitPID(pid); status.Signal != int32(unix.SIGKILL) {
		t.Errorf("%+v", status)
	}
}

// FuzzDiagAnswers feeds the netlink reader with anything.
func FuzzDiagAnswers(f *testing.F) {
	f.Add(diagRequest(unix.AF_INET))
	f.Add(append(diagRequest(unix.AF_INET6), 16, 0, 0, 0, unix.NLMSG_DONE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
	f.Add(append([]byte{88, 0, 0, 0, sockDiagByFamily, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, make([]byte, 72)...))
	f.Fuzz(func(t *testing.T, data []byte) { diagAnswers(data, []uint16{0, 80}, nil) })
}

func BenchmarkListening(b *testing.B) {
	b.Run("netlink", func(b *testing.B) {
		for b.Loop() {
			listening([]uint16{1})
		}
	})
	b.Run("proc", func(b *testing.B) {
		for b.Loop() {
			listeningByProc([]uint16{1})
		}
	})
}
