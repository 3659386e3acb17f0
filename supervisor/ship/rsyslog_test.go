package ship

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zinit/zinit/internal/testkit/need"
	"github.com/zinit/zinit/internal/testkit/wait"
	"github.com/zinit/zinit/logring"
)

const rsyslogConfig = `
global(workDirectory="%[1]s")
module(load="imtcp")
module(load="imudp")
module(load="imuxsock" SysSock.Use="off")
input(type="imtcp" address="127.0.0.1" port="%[2]d")
input(type="imudp" address="127.0.0.1" port="%[3]d" rcvbufSize="8m")
input(type="imuxsock" Socket="%[1]s/log" UseSpecialParser="off" ParseHostname="on" RateLimit.Interval="0")
template(name="plain" type="string" string="%%HOSTNAME%%|%%APP-NAME%%|%%PROCID%%|%%MSGID%%|%%syslogfacility-text%%.%%syslogseverity-text%%|%%STRUCTURED-DATA%%|%%msg%%\n")
action(type="omfile" file="%[1]s/out" template="plain")
`

// A real rsyslogd over TCP, UDP and a unix socket: what it wrote is read back.
func TestRsyslog(t *testing.T) {
	daemon := need.Program(t, "rsyslogd")
	dir := t.TempDir()
	tcp, udp := freePort(t, "tcp"), freePort(t, "udp")
	conf := filepath.Join(dir, "conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, rsyslogConfig, dir, tcp, udp), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(daemon, "-n", "-f", conf, "-i", filepath.Join(dir, "pid"))
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	wait.For(t, "rsyslogd: "+out.String(), func() bool {
		conn, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", tcp))
		if err == nil {
			_ = conn.Close()
		}
		_, statErr := os.Stat(filepath.Join(dir, "log"))
		return err == nil && statErr == nil
	})
	f := newFixture(t)
	urls := map[string]string{
		"viatcp":  fmt.Sprint("syslog+tcp://127.0.0.1:", tcp),
		"viaudp":  fmt.Sprint("syslog+udp://127.0.0.1:", udp),
		"viaunix": "syslog+unix://" + dir + "/log",
	}
	for service, url := range urls {
		f.log(service, 0, 300)
		f.a.Ring(service, logring.Limits{}).Append(logring.Record{PID: 42, Text: []byte("with \"quotes\" and ünïcode"),
			Stream: logring.Syslog, Priority: logring.MakePriority(10, 2)})
		f.a.Ring(service, logring.Limits{}).Append(logring.Record{PID: 42, Text: []byte(longLine)})
		f.set(t, service, url)
	}
	f.flush(t)
	got := map[string][]string{}
	wait.For(t, "the lines", func() bool {
		got = map[string][]string{}
		n := 0
		for _, line := range readLines(filepath.Join(dir, "out")) {
			fields := strings.SplitN(line, "|", 7)
			if len(fields) == 7 && fields[0] == "box" {
				got[fields[1]] = append(got[fields[1]], line)
				n++
			}
		}
		return n >= 3*(301+longPieces)
	})
	for service := range urls {
		checkRsyslogLines(t, service, got[service])
	}
}

// longLine is longer than rsyslog takes by default (8 KiB): as one frame its rest would be further messages, of nonsense.
var longLine = strings.Repeat("é<13>1 ", 2500)

// longPieces is in how many messages of at most 2 KiB it goes.
const longPieces = 11

func checkRsyslogLines(t *testing.T, service string, lines []string) {
	t.Helper()
	if len(lines) != 301+longPieces {
		t.Fatalf("%s: %d lines", service, len(lines))
	}
	var long strings.Builder
	for _, line := range lines[301:] {
		head, text, _ := strings.Cut(line, "]|")
		if want := fmt.Sprintf(`box|%s|42|stdout|daemon.info|[meta sequenceId="302"`, service); head != want {
			t.Errorf("a piece has the header %s, want %s", head, want)
		}
		long.WriteString(text)
	}
	if strings.ReplaceAll(long.String(), " ", "") != strings.ReplaceAll(longLine, " ", "") { // rsyslog puts one before the text
		t.Errorf("%s: the pieces of the long line are not the line", service)
	}
	lines = lines[:301]
	for i, line := range lines {
		stream, severity := "stdout", "daemon.info"
		if i < 300 && i%2 == 1 {
			stream, severity = "stderr", "daemon.err"
		}
		text := fmt.Sprint("line ", i)
		switch i {
		case 300:
			text = "with \"quotes\" and ünïcode"
			stream, severity = "syslog", "authpriv.crit" // of syslog: its own priority
		}
		want := fmt.Sprintf(`box|%s|42|%s|%s|[meta sequenceId="%d"]|%s`, service, stream, severity, i+1, text)
		if line != want && line != strings.Replace(want, "]|", "]| ", 1) {
			t.Fatalf("%s: got\n%.200s, want\n%.200s", service, line, want)
		}
	}
}

func freePort(t *testing.T, network string) int {
	t.Helper()
	if network == "udp" {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.LocalAddr().(*net.UDPAddr).Port
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
