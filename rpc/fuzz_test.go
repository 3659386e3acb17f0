package rpc

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"
)

// FuzzServer feeds any bytes to a connection. The server must live on, answer in lines of JSON, give one answer to each
// request that has an id and none to a notification, and close after the last.
func FuzzServer(f *testing.F) {
	for _, seed := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"system.ping"}` + "\n",
		`{"jsonrpc":"2.0","id":"x","method":"service.status","params":["a"]}` + "\r\n" + `["2.0",5,"service.list"]`,
		`[{"jsonrpc":"2.0","id":1,"method":"service.list"},{"jsonrpc":"2.0","method":"service.list"}]` + "\n",
		"{}\n[]\n\n   \nnull\n\xff\n",
		`{"jsonrpc":"2.0","id":1,"method":"service.set","params":{"service":{"name":"x"}}}` + "\n",
		`{"jsonrpc":"2.0","id":1,"method":"logs.follow","params":{"lines":"x"}}` + "\n",
		`{"jsonrpc":"2.0","id":1,"method":"rpc.discover","params":[[[[[[]]]]]]}` + "\n",
	} {
		f.Add([]byte(seed))
	}
	server := NewServer(newFake("a", "b"), ServerOptions{MaxRequestBytes: 4096})
	f.Fuzz(func(t *testing.T, data []byte) {
		near, far := pair(t)
		server.admit(far)
		answers := make(chan []byte, 1)
		go func() {
			all, _ := io.ReadAll(near)
			answers <- all
		}()
		_, _ = near.Write(data) // the server may have closed
		_ = near.CloseWrite()
		var all []byte
		select {
		case all = <-answers:
		case <-time.After(patience):
			t.Fatal("no end")
		}
		checkAnswers(t, data, all)
	})
}

// checkAnswers compares the number of answers with a count of the requests that knows nothing of the codec.
func checkAnswers(t *testing.T, data, all []byte) {
	t.Helper()
	if len(all) > 0 && all[len(all)-1] != '\n' {
		t.Fatalf("half a line: %q", all)
	}
	answers := 0
	for _, text := range bytes.Split(bytes.TrimSuffix(all, []byte("\n")), []byte("\n")) {
		if len(text) == 0 {
			continue
		}
		if !utf8.Valid(text) || !json.Valid(text) {
			t.Fatalf("an answer that is no JSON: %q", text)
		}
		if !bytes.Contains(text, []byte(`"id":`)) {
			continue // of a stream
		}
		answers++
	}
	least, most := 0, 0
	lines := bytes.Split(data, []byte("\n"))
	for i, line := range lines {
		if i == len(lines)-1 && len(line) == 0 {
			break
		}
		if len(bytes.TrimSuffix(line, []byte("\r"))) > 4096 {
			most++
			break // answered, if it got through, and closed
		}
		most++
		if !quiet(line) {
			least++
		}
	}
	if answers < least || answers > most {
		t.Fatalf("%d answers to %q, from %d to %d are right", answers, data, least, most)
	}
}

// quiet tells whether a line may have no answer: a notification, or a batch, which may hold nothing else.
func quiet(line []byte) bool {
	var one map[string]json.RawMessage
	if json.Unmarshal(line, &one) == nil && one != nil {
		_, has := one["id"]
		return !has
	}
	return bytes.HasPrefix(bytes.TrimSpace(line), []byte("["))
}

// pair returns two connected sockets.
func pair(t *testing.T) (near, far *net.UnixConn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ends := [2]*net.UnixConn{}
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "pair")
		conn, err := net.FileConn(file)
		_ = file.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = conn.(*net.UnixConn)
	}
	t.Cleanup(func() { _ = ends[0].Close() })
	return ends[0], ends[1]
}
