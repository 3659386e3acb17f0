package rpc

import (
	"bytes"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"github.com/zinit/zinit/rpc/wire"
)

// The benchmarks of workload W6 of the performance plan. The floor is a bare echo of lines as long as the answers, in
// the same process and run: what remains is the codec, the dispatch and the backend's snapshot.

// echoFloor answers every line with a line of a fixed text.
func echoFloor(b *testing.B, answer []byte) string {
	path := filepath.Join(b.TempDir(), "echo")
	listener, err := net.Listen("unix", path)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buf := make([]byte, 4096)
				for {
					if _, err := conn.Read(buf); err != nil {
						return
					}
					if _, err := conn.Write(answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	return path
}

// roundTrips shares b.N round trips of one request over some connections.
func roundTrips(b *testing.B, path string, connections int, request []byte) {
	b.Helper()
	conns := make([]net.Conn, connections)
	for i := range conns {
		conn, err := net.Dial("unix", path)
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close() //nolint:errcheck // a benchmark
		conns[i] = conn
	}
	b.ResetTimer()
	var all sync.WaitGroup
	for i, conn := range conns {
		share := b.N / connections
		if i < b.N%connections {
			share++
		}
		all.Go(func() {
			buf := make([]byte, 1<<20)
			for range share {
				if _, err := conn.Write(request); err != nil {
					b.Error(err)
					return
				}
				for {
					n, err := conn.Read(buf)
					if err != nil {
						b.Error(err)
						return
					}
					if buf[n-1] == '\n' {
						break
					}
				}
			}
		})
	}
	all.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rt/s")
}

func BenchmarkRoundTrip(b *testing.B) {
	fake := newFake("web", "db")
	server := serveFake(b, fake, ServerOptions{})
	request := []byte(`{"jsonrpc":"2.0","id":17,"method":"service.status","params":{"name":"web"}}` + "\n")
	floor := echoFloor(b, []byte(`{"jsonrpc":"2.0","id":17,"result":{"name":"web","state":"running","pid":101}}`+"\n"))
	for _, connections := range []int{1, 50} {
		b.Run(fmt.Sprintf("floor/%d", connections), func(b *testing.B) { roundTrips(b, floor, connections, request) })
		b.Run(fmt.Sprintf("status/%d", connections), func(b *testing.B) { roundTrips(b, server.path, connections, request) })
	}
}

func BenchmarkList1000(b *testing.B) {
	fake := newFake()
	for i := range 1000 {
		pid, up := i, int64(i)
		fake.listed = append(fake.listed, wire.Listed{Name: fmt.Sprintf("service-%03d", i), Class: "user", Wanted: "up",
			State: wire.State{State: "running", PID: &pid}, UptimeMS: &up})
	}
	server := serveFake(b, fake, ServerOptions{})
	b.Run("raw", func(b *testing.B) {
		roundTrips(b, server.path, 1, []byte(`{"jsonrpc":"2.0","id":17,"method":"service.list_full"}`+"\n"))
	})
	client := dialClient(b, server.path)
	b.Run("client", func(b *testing.B) {
		for b.Loop() {
			if list, err := client.ListFull(b.Context(), false); err != nil || len(list) != 1000 {
				b.Fatal(len(list), err)
			}
		}
	})
}

func BenchmarkClientStatus(b *testing.B) {
	client := dialClient(b, serveFake(b, newFake("web"), ServerOptions{}).path)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Status(b.Context(), "web"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHandle is one request through codec, table and encoder, without a socket.
func BenchmarkHandle(b *testing.B) {
	c := &serverConn{server: NewServer(newFake("web"), ServerOptions{}), trusted: true, ctx: b.Context()}
	line := []byte(`{"jsonrpc":"2.0","id":17,"method":"service.status","params":{"name":"web"}}`)
	b.ReportAllocs()
	for b.Loop() {
		c.out = c.out[:0]
		c.handle(line)
	}
	if !bytes.Contains(c.out, []byte(`"running"`)) {
		b.Fatalf("%s", c.out)
	}
}
