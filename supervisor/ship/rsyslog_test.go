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
global(workDirectory="%[1]s" maxMessageSize="128k")
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
		f.a.Ring(service, logring.Limits{}).Append(logring.Record{PID: 42, Text: []byte(strings.Repeat("x", 5000))})
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
		return n >= 3*302
	})
	for service := range urls {
		checkRsyslogLines(t, service, got[service])
	}
}

func checkRsyslogLines(t *testing.T, service string, lines []string) {
	t.Helper()
	if len(lines) != 302 {
		t.Fatalf("%s: %d lines", service, len(lines))
	}
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
		case 301:
			text = strings.Repeat("x", 5000)
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
