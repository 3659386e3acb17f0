package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// echoMain is the floor of queries: it answers each line with the same text.
func echoMain(socket, answer string) int {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return 1
	}
	sigs := make(chan os.Signal, 1)
	signal.Notify(sigs, syscall.SIGTERM)
	go func() { <-sigs; os.Exit(0) }()
	for {
		c, err := l.Accept()
		if err != nil {
			return 1
		}
		go func() {
			r := bufio.NewReader(c)
			for {
				if _, err := r.ReadSlice('\n'); err != nil {
					return
				}
				if _, err := c.Write([]byte(answer + "\n")); err != nil {
					return
				}
			}
		}()
	}
}

// queries is W6: round trips over the socket, and the client as a whole process.
func (b *bench) queries(t *testing.T) {
	s := listen(t)
	stay := []string{b.service, "stay", s.path}
	dir := b.services(t, b.many, stay, nil)
	p := b.server(t, ours, dir)
	s.take(t, b.many)
	p.settle(b.many)
	ask := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"service.status","params":{"name":%q}}`, name(b.many/2)) + "\n"
	answer := exchange(t, p.socket, ask)
	if !strings.Contains(answer, `"running"`) {
		t.Fatalf("status answered %s", answer)
	}
	list := `{"jsonrpc":"2.0","id":1,"method":"service.list_full"}` + "\n"
	if rows := exchange(t, p.socket, list); strings.Count(rows, `"running"`) != b.many {
		t.Fatalf("list answered %.300s", rows)
	}
	echo := &program{t: t, socket: filepath.Join(shortDir(t), "e")}
	echo.cmd = exec.Command(b.self, "echo", echo.socket, strings.TrimSpace(answer))
	echo.cmd.Env = append(os.Environ(), roleEnv+"=1")
	echo.begin()
	one, fifty := b.row("W6 status round trips, 1 connection", "1/s", least(25000), ratioTo(0.83)), b.row("   50 connections", "1/s", least(130000), ratioTo(0.85))
	full := b.row(fmt.Sprintf("   list of %d with states", b.many), "1/s", least(2000))
	for range b.repeat {
		for who, socket := range map[string]string{floorGo: echo.socket, ours: p.socket} {
			one.add(who, b.rate(t, socket, ask, 1), nil)
			fifty.add(who, b.rate(t, socket, ask, 50), nil)
		}
		full.add(ours, b.rate(t, p.socket, list, 1), nil)
	}
	b.client(t, s, p.socket)
	echo.cmd.Process.Signal(syscall.SIGTERM)
	_ = echo.cmd.Wait()
	p.stop()
}

func dial(t *testing.T, socket string) net.Conn {
	var c net.Conn
	var err error
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		if c, err = net.Dial("unix", socket); err == nil {
			return c
		}
	}
	t.Fatal(err)
	return nil
}

func exchange(t *testing.T, socket, ask string) string {
	c := dial(t, socket)
	defer c.Close()
	_, _ = c.Write([]byte(ask))
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return line
}

// rate asks on n connections at once for a while and returns the answers a second.
func (b *bench) rate(t *testing.T, socket, ask string, n int) float64 {
	var wg sync.WaitGroup
	counts := make([]int, n)
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i] = dial(t, socket)
		defer conns[i].Close()
	}
	began := time.Now()
	for i, c := range conns {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r := bufio.NewReaderSize(c, 1<<20)
			for time.Since(began) < b.rateFor {
				if _, err := c.Write([]byte(ask)); err != nil {
					t.Error(err)
					return
				}
				line, err := r.ReadSlice('\n')
				if err != nil || !bytes.Contains(line, []byte(`"running"`)) {
					t.Errorf("answer %.100s, %v", line, err)
					return
				}
				counts[i]++
			}
		}()
	}
	wg.Wait()
	total := 0
	for _, c := range counts {
		total += c
	}
	return float64(total) / time.Since(began).Seconds()
}

// client is the whole process: zinit status NAME and others, beside a program that does nothing, and dinit's.
func (b *bench) client(t *testing.T, s *stamps, socket string) {
	rows := []struct {
		row  *row
		args []string
		want string
		peer []string // of dinitctl
	}{
		{b.row("W6 zinit status NAME, whole process", "ms", most(3), to(peerDinit, 1.3)), []string{"status", name(b.many / 2)}, "running", []string{"status", name(b.many / 2)}},
		{b.row(fmt.Sprintf("   zinit list of %d", b.many), "ms", most(7), to(peerDinit, 1.2)), []string{"list"}, name(b.many - 1), []string{"list"}},
		{b.row(fmt.Sprintf("   zinit list -o json of %d", b.many), "ms", most(20)), []string{"list", "-o", "json"}, name(b.many - 1), nil},
		{b.row(fmt.Sprintf("   zinit status over %d", b.many), "ms", most(5)), []string{"status"}, "running", nil},
	}
	var peer *program
	if p := b.peer(peerDinit); p != nil {
		peer = b.launch(t, peerDinit, &work{n: b.many, command: []string{b.service, "stay", s.path}})
		s.take(t, b.many)
	}
	run := func(want string, argv ...string) float64 {
		var out bytes.Buffer
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Env = append(os.Environ(), "ZINIT_SOCKET="+socket)
		if want != "" {
			cmd.Stdout = &out
		}
		began := monotonic()
		err := cmd.Run()
		took := float64(monotonic()-began) / 1e6
		if err != nil || !strings.Contains(out.String(), want) {
			t.Fatalf("%q: %v: %.200s", argv, err, out.String())
		}
		return took
	}
	for range 4 * b.repeat {
		for _, r := range rows {
			r.row.add(floorC, run("", b.service, "true"), nil)
			r.row.add(ours, run(r.want, append([]string{b.zinit}, r.args...)...), nil)
			if peer != nil && r.peer != nil {
				ctl := b.peer(peerDinit).path + "ctl" // beside it
				r.row.add(peerDinit, run("s", append([]string{ctl, "--socket-path", peer.control}, r.peer...)...), nil)
			}
		}
	}
	if peer != nil {
		peer.stop()
	}
}
