// Package boot starts the binary as /init of Debian's kernel in QEMU and watches the serial console.
package boot

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zinit/zinit/internal/testkit"
	"github.com/zinit/zinit/internal/testkit/need"
)

// patience is how long a machine may take to the next marker: emulated, on a busy host, a boot takes most of a minute.
const patience = 4 * time.Minute

// machine is a running QEMU.
type machine struct {
	t       *testing.T
	cmd     *exec.Cmd
	console *console
	keys    io.WriteCloser // the serial line
	monitor string         // path of QEMU's monitor socket
	done    chan struct{}
}

// console collects what comes over the serial line and wakes those who wait for something in it.
type console struct {
	mu   sync.Mutex
	text []byte
	more chan struct{}
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text = append(c.text, bytes.ReplaceAll(p, []byte("\r"), nil)...)
	close(c.more)
	c.more = make(chan struct{})
	return len(p), nil
}

func (c *console) look() (string, chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.text), c.more
}

// kernel finds Debian's newest kernel.
func kernel(t *testing.T) string {
	t.Helper()
	list, _ := filepath.Glob("/boot/vmlinuz-*")
	need.That(t, len(list) > 0, "a kernel in /boot (linux-image-amd64)")
	slices.Sort(list)
	return list[len(list)-1]
}

// accelerator is KVM where it works, which /dev/kvm alone does not say.
var accelerator = sync.OnceValue(func() string {
	list, _ := filepath.Glob("/boot/vmlinuz-*")
	if fd, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err != nil || len(list) == 0 {
		return "tcg"
	} else {
		_ = fd.Close()
	}
	cmd := exec.Command("qemu-system-x86_64", "-accel", "kvm", "-m", "128", "-nodefaults", "-display", "none", "-no-reboot",
		"-serial", "stdio", "-kernel", list[0], "-append", "console=ttyS0 panic=-1")
	out := &console{more: make(chan struct{})}
	cmd.Stdout = out
	if cmd.Start() != nil {
		return "tcg"
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	for limit := time.After(8 * time.Second); ; {
		text, more := out.look()
		if strings.Contains(text, "Linux version") {
			return "kvm"
		}
		select {
		case <-more:
		case <-limit:
			return "tcg"
		}
	}
})

// image is what an initramfs is made of.
type image struct {
	config  map[string]string // files of /etc/zinit
	add     []string          // --add
	busybox bool              // with its applets in /bin
	bare    bool              // no /etc/zinit at all
}

// bootScript is a service that runs a shell script, whose words reach the console.
func bootScript(script string) map[string]string {
	return map[string]string{"run.sh": "exec >/dev/console 2>&1\n" + script, "services/script.toml": `
[service]
name = "script"
exec = "sh /etc/zinit/run.sh"
oneshot = true
[lifecycle]
restart = "never"
`}
}

// build writes the initramfs with the command that users have for it.
func (i *image) build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	args := []string{"image", "initramfs", "-o", dir + "/initramfs", "--no-check"}
	if !i.bare {
		args = append(args, "--config", dir+"/cfg")
	}
	_ = os.Mkdir(dir+"/cfg", 0o755)
	for name, text := range i.config {
		path := filepath.Join(dir, "cfg", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if i.busybox {
		args = append(args, "--add", busyboxTree(t)+":/bin")
	}
	for _, a := range i.add {
		args = append(args, "--add", a)
	}
	if out, err := exec.Command(testkit.Binary(t, ""), args...).CombinedOutput(); err != nil {
		t.Fatalf("zinit %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return dir + "/initramfs"
}

// busyboxTree is a directory with Debian's static busybox and links for its applets, but not for those that have names
// of ours.
func busyboxTree(t *testing.T) string {
	t.Helper()
	busybox := need.Program(t, "busybox")
	dir := t.TempDir()
	data, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/busybox", data, 0o755); err != nil {
		t.Fatal(err)
	}
	list, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	ours := []string{"busybox", "init", "reboot", "poweroff", "halt", "shutdown"}
	for _, name := range strings.Fields(string(list)) {
		if !slices.Contains(ours, name) {
			if err := os.Symlink("busybox", filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// slots keeps the number of machines that run at a time at what the host can bear.
var slots = make(chan struct{}, 2)

// boot starts a machine with 128 MB and one processor.
func boot(t *testing.T, initramfs, words string, more ...string) *machine {
	t.Helper()
	qemu := need.Program(t, "qemu-system-x86_64")
	slots <- struct{}{}
	t.Cleanup(func() { <-slots })
	run, err := os.MkdirTemp("", "qemu")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	m := &machine{t: t, console: &console{more: make(chan struct{})}, monitor: run + "/m", done: make(chan struct{})}
	args := append([]string{"-accel", accelerator(), "-m", "128", "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-monitor", "unix:" + m.monitor + ",server=on,wait=off", "-kernel", kernel(t), "-initrd", initramfs,
		// On a busy host the kernel finds that its emulated timer does not tick, and panics: it need not look.
		"-append", "console=ttyS0 panic=-1 nokaslr mitigations=off no_timer_check " + words}, more...)
	m.cmd = exec.Command(qemu, args...)
	m.cmd.Stdout, m.cmd.Stderr = m.console, m.console
	if m.keys, err = m.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = m.cmd.Wait()
		close(m.done)
	}()
	t.Cleanup(func() {
		_ = m.cmd.Process.Kill()
		<-m.done
		if t.Failed() {
			t.Log(m.text())
		}
	})
	return m
}

func (m *machine) text() string {
	text, _ := m.console.look()
	return text
}

// say waits for a marker on the console, and fails at once when the machine ends or the kernel panics before.
func (m *machine) say(marker string) {
	m.t.Helper()
	limit := time.After(patience)
	for {
		text, more := m.console.look()
		if strings.Contains(text, marker) {
			return
		}
		if strings.Contains(text, "Kernel panic") {
			m.t.Fatalf("kernel panic before %q", marker)
		}
		select {
		case <-more:
		case <-m.done:
			if !strings.Contains(m.text(), marker) {
				m.t.Fatalf("the machine ended before %q", marker)
			}
		case <-limit:
			m.t.Fatalf("no %q on the console", marker)
		}
	}
}

// How a machine ends, by the kernel's last words.
const (
	poweredOff = "reboot: Power down"
	restarted  = "reboot: Restarting system"
	halted     = "reboot: System halted"
)

// ends waits until the machine has ended in one way; nothing may have gone wrong on the way.
func (m *machine) ends(how string) {
	m.t.Helper()
	m.say(how)
	if how != halted {
		select {
		case <-m.done:
		case <-time.After(patience):
			m.t.Fatal("QEMU does not end")
		}
	}
	m.sane()
}

// escape finds terminal escapes, which do not belong on a console that nobody asked.
var escape = regexp.MustCompile(`\x1b`)

// sane checks what is on the console after the firmware's own words.
func (m *machine) sane() {
	m.t.Helper()
	text := m.text()
	if at := strings.Index(text, "Booting from ROM"); at >= 0 {
		text = text[at:]
		if _, rest, ok := strings.Cut(text, "\n"); ok {
			text = rest
		}
	}
	text = strings.TrimPrefix(text, "\x1bc\x1b[?7l\x1b[2J") // the firmware's last word
	for line := range strings.Lines(text) {
		if escape.MatchString(line) {
			m.t.Errorf("an escape on the console: %q", line)
		}
	}
	for _, bad := range []string{"Kernel panic", "panic:", "goroutine ", "fatal error", "internal error"} {
		if strings.Contains(text, bad) {
			m.t.Errorf("%q on the console", bad)
		}
	}
}

// enter types a line on the serial console.
func (m *machine) enter(line string) {
	m.t.Helper()
	if _, err := io.WriteString(m.keys, line+"\n"); err != nil {
		m.t.Fatal(err)
	}
}

// press sends a key combination to the machine's keyboard.
func (m *machine) press(keys string) {
	m.t.Helper()
	conn, err := net.Dial("unix", m.monitor)
	if err != nil {
		m.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(conn, "sendkey %s\n", keys); err != nil {
		m.t.Fatal(err)
	}
	// The prompt after the command says that it was taken.
	buf, text := make([]byte, 4096), ""
	for strings.Count(text, "(qemu)") < 2 {
		n, err := conn.Read(buf)
		if err != nil {
			m.t.Fatal(err)
		}
		text += string(buf[:n])
	}
}
